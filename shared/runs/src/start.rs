//! Starting a run on request: its row and its first pulse.

use std::time::Duration;

use database::{Database, Error, NewRun, RunSettings, Started};
use domain::run::{NotStarted, Start};

use crate::announcements::Announcements;
use crate::pulses::Pulses;

/// When another start is suggested if the database doesn't say how long a run is in the way.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Starts a run, sends its first pulse, and asks for its publication; the end of the previous run comes before it, if that
/// wasn't published.
///
/// # Errors
/// When the database call fails.
pub async fn start_run(
    database: &Database,
    announcements: &Announcements,
    settings: RunSettings,
    pulses: &Pulses,
    new: &NewRun,
) -> Result<Start, Error> {
    let started = database.start_run(new, settings).await?;
    let (pulse, publication_due) = (started.pulse, started.publication_due);
    let start = read(started);
    if let (Start::Started(run_id), Some(pulse)) = (&start, pulse) {
        if let Err(error) = pulses.send(database, run_id, pulse, Duration::ZERO, None).await {
            // The run has started; the watch and every reader of its status find it without a pulse and send one.
            tracing::error!(run_id = %run_id, error = telemetry::chain(&error), "A run's first pulse could not be sent");
        }
        tracing::info!(run_id = %run_id, kind = new.kind.as_str(), "A run started");
    }
    announcements.ask(database, publication_due).await;
    Ok(start)
}

fn read(started: Started) -> Start {
    let Some(run) = started.run else { return Start::UnknownRun };
    let run_id = run.run_id;
    if started.started && started.pulse.is_some() {
        return Start::Started(run_id);
    }
    let retry_after = Duration::from_secs(started.retry_after_seconds.unwrap_or(RETRY_AFTER_SECONDS));
    match started.reason {
        Some(NotStarted::Cooldown) => Start::CoolingDown { run_id, retry_after },
        Some(NotStarted::NothingToRetry) => Start::NothingToRetry,
        Some(NotStarted::UnknownRun) => Start::UnknownRun,
        // Only schedules ask for the day's budget.
        Some(NotStarted::Running | NotStarted::DailyBudget) | None => Start::Running { run_id, retry_after },
    }
}

#[cfg(test)]
mod tests {
    use domain::RunId;
    use serde_json::{Value, json};

    use super::*;

    /// The database's answer to a start, with these fields changed.
    fn answered(changes: Value) -> Start {
        let mut answer = json!({
            "started": false, "reason": null, "pulse": null, "publication_due": false, "retry_after_seconds": 7,
            "run": {
                "run_id": "r1", "location_id": "loc", "kind": "full", "state": "Syncing", "started_at": "2026-07-01T10:00:00Z",
                "ended_at": null, "cooldown_until": null, "listing": {}, "listing_complete": false, "total_count": null,
                "listed": 0, "synced": 0, "failed": 0, "skipped": 0, "unchanged": 0, "tickets_total": 0, "tickets_checked": 0,
                "ticket_types": 0, "tickets_added": 0, "tickets_cancelled": 0, "error_code": null, "error_message": null,
                "requested_by": "u1", "pulse": 1, "announced_state": null, "now": "2026-07-01T10:00:00Z",
            },
        });
        answer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read(serde_json::from_value(answer).unwrap())
    }

    #[test]
    fn the_databases_answers() {
        let run_id = RunId::try_new("r1").unwrap();
        let running = |seconds| Start::Running { run_id: run_id.clone(), retry_after: Duration::from_secs(seconds) };
        let cooling =
            |seconds| Start::CoolingDown { run_id: run_id.clone(), retry_after: Duration::from_secs(seconds) };
        for (changes, start) in [
            (json!({"started": true, "pulse": 1}), Start::Started(run_id.clone())),
            (json!({"started": true}), running(7)),
            (json!({"reason": "running"}), running(7)),
            (json!({"reason": "running", "retry_after_seconds": null}), running(5)),
            (json!({"reason": "cooldown"}), cooling(7)),
            (json!({"reason": "nothing_to_retry"}), Start::NothingToRetry),
            (json!({"reason": "unknown_run"}), Start::UnknownRun),
            (json!({"reason": "unknown_run", "run": null}), Start::UnknownRun),
        ] {
            assert_eq!(answered(changes.clone()), start, "{changes}");
        }
    }
}
