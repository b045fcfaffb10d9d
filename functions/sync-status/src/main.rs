//! What a dashboard reads, retries of runs, and the ticket for the WebSocket.
//!
//! | module | what it is for |
//! |---|---|
//! | `handler` | the routes |
//! | `report` | runs, failures and issues in the form of the API |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;
mod report;

use std::process::ExitCode;

use handler::SyncStatus;
use queues::Queue;
use runs::Publisher;
use settings::{Env, Secret, aws_config};
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_http::Error> {
    let env = Env::process();
    let (database, settings) = (wiring::database(&env, HttpClient::new()?)?, runs::setup::run_settings(&env)?);
    let (runs_url, publisher_config) = (env.url("RUNS_QUEUE_URL")?, runs::setup::publisher_config(&env)?);
    let ws_ticket_secret = Secret::required(&env, "WS_TICKET_SECRET")?;
    let config = aws_config().await;
    let pulses = runs::setup::pulses(&env, Queue::new(queues::client(&config), runs_url))?;
    let publisher = Publisher::connect(&config, &publisher_config);
    let sync_status = SyncStatus { database, settings, pulses, publisher, ws_ticket_secret };
    http_api::serve(|request| sync_status.handle(request)).await
}
