//! Authenticates callers and finds their role, for the HTTP API (a Supabase user token in `Authorization`) and for the
//! WebSocket API (a ticket in the URL).
//!
//! | module | what it is for |
//! |---|---|
//! | `handler` | the events of the two gateways and the answers they understand |
//! | `tokens` | Supabase user tokens: signature, issuer, audience, time, role |
//! | `keys` | Supabase's public keys (JWKS), cached |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;
mod keys;
mod tokens;

use std::process::ExitCode;

use handler::Authorizer;
use http_client::HttpClient;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use settings::Env;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), Error> {
    let authorizer = Authorizer::from_env(&Env::process(), HttpClient::new()?)?;
    let handle = async |event: LambdaEvent<Value>| {
        let gateway_id = event.payload.pointer("/requestContext/requestId").and_then(Value::as_str).map(str::to_owned);
        let work = deadline::in_time(event.context.deadline(), authorizer.answer(event.payload));
        telemetry::invocation(&event.context.request_id, gateway_id.as_deref(), work).await?
    };
    lambda_runtime::run(service_fn(handle)).await
}
