//! Starts and cancels runs. Answers at once: the work is done by the run's pulse.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;

use std::process::ExitCode;

use handler::FullSync;
use queues::Queue;
use runs::Announcements;
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
    let sqs = queues::client(&aws_config().await);
    let pulses = runs::setup::pulses(&env, Queue::new(sqs.clone(), runs_url.clone()))?;
    let full_sync =
        FullSync { database, settings, pulses, announcements: Announcements::new(Queue::new(sqs, runs_url)) };
    http_api::serve(|request| full_sync.handle(request)).await
}
