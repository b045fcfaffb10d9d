//! What a dashboard reads, also of a single order, retries of runs, forgetting a person, and the ticket for the WebSocket.
//!
//! | module | what it is for |
//! |---|---|
//! | `handler` | the routes |
//! | `cursor` | where a list goes on |
//! | `forget` | what is blanked of a person who is to be forgotten |
//! | `history` | what is known of one order |
//! | `report` | runs, failures and issues in the form of the API |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod cursor;
mod forget;
mod handler;
mod history;
mod report;

use std::process::ExitCode;

use handler::SyncStatus;
use queues::Queue;
use runs::Announcements;
use settings::{Env, Secret, aws_config};
use status_store::StatusStore;
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_http::Error> {
    let env = Env::process();
    let (database, settings) = (wiring::database(&env, HttpClient::new()?)?, runs::setup::run_settings(&env)?);
    let (runs_url, bucket) = (env.url("RUNS_QUEUE_URL")?, env.required("STATUS_BUCKET")?);
    let ws_ticket_secret = Secret::required(&env, "WS_TICKET_SECRET")?;
    let config = aws_config().await;
    let sqs = queues::client(&config);
    let pulses = runs::setup::pulses(&env, Queue::new(sqs.clone(), runs_url.clone()))?;
    let announcements = Announcements::new(Queue::new(sqs, runs_url));
    let store = StatusStore::new(status_store::client(&config), bucket);
    let thresholds = runs::setup::thresholds(&env)?;
    let sync_status = SyncStatus { database, settings, pulses, announcements, store, ws_ticket_secret, thresholds };
    http_api::serve(|request| sync_status.handle(request)).await
}
