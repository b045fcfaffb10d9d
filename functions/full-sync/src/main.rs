//! Starts and cancels runs. Answers at once: the work is done by the run's pulse.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;

use std::process::ExitCode;

use handler::FullSync;
use runs::Publisher;
use settings::{Env, aws_config};
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_http::Error> {
    let env = Env::process();
    let (database, settings) = (wiring::database(&env, HttpClient::new()?)?, runs::setup::run_settings(&env)?);
    let runs_url = env.url("RUNS_QUEUE_URL")?;
    let publisher_config = runs::setup::publisher_config(&env)?;
    let config = aws_config().await;
    let pulses = runs::setup::pulses(&env, queues::Queue::new(queues::client(&config), runs_url))?;
    let full_sync = FullSync { database, settings, pulses, publisher: Publisher::connect(&config, &publisher_config) };
    http_api::serve(|request| full_sync.handle(request)).await
}
