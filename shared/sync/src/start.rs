//! Starting a run from the HTTP API: the row, its first pulse, and the answer.

use std::time::Duration;

use database::{Database, NewRun, Settings};
use domain::run::NotStarted;
use http_api::{ApiError, Response, StatusCode, json};
use serde_json::json;

use crate::publish::Publisher;
use crate::pulses::Pulses;

/// Starts a run and answers 202, or says with 409 which run is in the way and when to try again. Also tells the end of the
/// run before, where nobody else did.
///
/// # Errors
/// 409 `sync_in_progress`, `cooling_down` or `nothing_to_retry`; 404 `run_not_found`; 503 `database_unavailable`.
pub async fn start_run(
    database: &Database,
    publisher: &Publisher,
    settings: Settings,
    pulses: &Pulses,
    new: &NewRun,
) -> Result<Response, ApiError> {
    let started =
        database.start_run(new, settings).await.map_err(|error| ApiError::database_unavailable().caused_by(error))?;
    publisher.publish_granted(database, started.finished.as_ref()).await;
    let Some(run) = started.run else {
        return Err(ApiError::not_found("run_not_found", "There is no such run"));
    };
    let (true, Some(pulse)) = (started.started, started.pulse) else {
        let wait = started.retry_after_seconds.unwrap_or(5);
        let (code, message) = match started.reason {
            Some(NotStarted::Cooldown) => {
                ("cooling_down", format!("The last sync has just ended; the next can start in {wait} s"))
            }
            Some(NotStarted::NothingToRetry) => {
                return Err(ApiError::conflict("nothing_to_retry", "There is nothing to retry in this run"));
            }
            Some(NotStarted::UnknownRun) => return Err(ApiError::not_found("run_not_found", "There is no such run")),
            // Only schedules ask for the day's budget.
            Some(NotStarted::Running | NotStarted::DailyBudget) | None => {
                ("sync_in_progress", "A sync is running already; wait until it has ended, or cancel it".to_owned())
            }
        };
        return Err(ApiError::conflict(code, message)
            .with("runId", run.run_id.as_str())
            .with("retryAfterSeconds", wait)
            .retry_after(Duration::from_secs(wait)));
    };
    if let Err(error) = pulses.send(database, &run.run_id, pulse, Duration::ZERO).await {
        // The run has started; the watch and every reader of its status find it without a pulse and send one.
        tracing::error!(run_id = %run.run_id, error = telemetry::chain(&error), "A run's first pulse could not be sent");
    }
    tracing::info!(run_id = %run.run_id, kind = new.kind.as_str(), "A run starts");
    json(StatusCode::ACCEPTED, &json!({ "message": "Sync started", "runId": run.run_id }))
}
