//! Registers dashboards and answers with the current snapshot.
//!
//! | module | what it is for |
//! |---|---|
//! | `event` | the WebSocket API's events |
//! | `handler` | what happens at `$connect`, `$disconnect` and for each message |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod event;
mod handler;

use std::process::ExitCode;

use event::Event;
use handler::{ConnectionLimits, Socket};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use push::Pusher;
use queues::Queue;
use settings::{Env, aws_config};
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), Error> {
    let env = Env::process();
    let (database, endpoint) = (wiring::database(&env, HttpClient::new()?)?, env.url("WEBSOCKET_ENDPOINT")?);
    let runs_url = env.url("RUNS_QUEUE_URL")?;
    let config = aws_config().await;
    let pulses = runs::setup::pulses(&env, Queue::new(queues::client(&config), runs_url))?;
    let (limits, thresholds) = (ConnectionLimits::from_env(&env)?, runs::setup::thresholds(&env)?);
    let socket = Socket { limits, database, pusher: Pusher::new(&config, &endpoint), pulses, thresholds };
    let handle = async |event: LambdaEvent<Event>| {
        let gateway_id = event.payload.request_context.request_id.clone();
        let work = deadline::in_time(event.context.deadline(), socket.handle(event.payload));
        telemetry::invocation(&event.context.request_id, Some(&gateway_id), work).await?
    };
    lambda_runtime::run(service_fn(handle)).await
}
