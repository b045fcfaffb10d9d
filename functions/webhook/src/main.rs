//! Verifies GHL webhooks and enqueues the orders they name. Uses no database, so that GHL gets an answer fast and at any time.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;

use std::process::ExitCode;

use handler::Webhook;
use settings::{Env, aws_config};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_http::Error> {
    let env = Env::process();
    let verification = handler::Verification::from_env(&env)?;
    let (location_id, queue_url) = (env.required_as("GHL_LOCATION_ID")?, env.url("ORDERS_QUEUE_URL")?);
    let orders = queues::Queue::new(queues::client(&aws_config().await), queue_url);
    let webhook = Webhook { verification, location_id, orders };
    http_api::serve(|request| webhook.handle(request)).await
}
