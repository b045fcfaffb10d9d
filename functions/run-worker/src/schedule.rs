//! The schedules: incremental runs, full runs, and a watch for runs that lost their pulse.

use std::time::Duration;

use database::NewRun;
use domain::RunKind;
use domain::run::NotStarted;
use serde::Deserialize;
use telemetry::metrics::{self, Metric};

use crate::worker::RunWorker;

/// Rows removed per watch and table.
const PURGE_LIMIT: u32 = 10_000;

/// A schedule's event, as the template writes it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "schedule", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(crate) enum Scheduled {
    /// A full run instead, if the last one couldn't start or is longer ago than this.
    Incremental {
        full_run_within_hours: Option<u32>,
    },
    Full,
    Watch,
}

impl RunWorker {
    /// Handles a schedule's event.
    pub(crate) async fn scheduled(&self, event: Scheduled) -> Result<(), lambda_runtime::Error> {
        match event {
            Scheduled::Incremental { full_run_within_hours } => {
                self.start(RunKind::Incremental, full_run_within_hours).await
            }
            Scheduled::Full => self.start(RunKind::Full, None).await,
            Scheduled::Watch => self.watch().await,
        }
    }

    /// Starts a run. If another is running or the daily budget is too low, the start is recorded as skipped, which is no error.
    async fn start(&self, kind: RunKind, full_run_within_hours: Option<u32>) -> Result<(), lambda_runtime::Error> {
        let daily_reserve = Some(self.fetcher.limits().daily_reserve);
        let new = NewRun { daily_reserve, full_run_within_hours, ..NewRun::of(kind, "schedule".to_owned()) };
        let started = self.database.start_run(&new, self.settings).await?;
        self.announcements.ask(&self.database, started.publication_due).await;
        match (started.started, started.run, started.pulse) {
            (true, Some(run), Some(pulse)) => {
                // The database may have made it a full run, if that couldn't start when it was due.
                tracing::info!(run_id = %run.run_id, kind = run.kind.as_str(), "A scheduled run started");
                self.pulses.send(&self.database, &run.run_id, pulse, Duration::ZERO, None).await?;
            }
            _ => {
                let reason = started.reason.unwrap_or(NotStarted::Running);
                tracing::info!(kind = kind.as_str(), reason = reason.as_str(), "A scheduled run was skipped");
                self.database.skip_run(kind, reason).await?;
            }
        }
        Ok(())
    }

    /// Resends a lost pulse and orders whose tickets are due, tells how long ago runs completed, and removes rows that have expired.
    async fn watch(&self) -> Result<(), lambda_runtime::Error> {
        self.pulses.snapshot(&self.database, false).await?;
        // Before what may take long: an alarm goes off if nobody tells.
        let hours = self.database.hours_since_sync().await?;
        metrics::value(Metric::HoursSinceSync, hours.sync);
        metrics::value(Metric::HoursSinceFullSync, hours.full_sync);
        self.hand_over_due().await?;
        Ok(self.database.purge(PURGE_LIMIT).await?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(event: Value) -> Result<Scheduled, serde_json::Error> {
        serde_json::from_value(event)
    }

    #[test]
    fn events_of_schedules() {
        let hours = |full_run_within_hours| Scheduled::Incremental { full_run_within_hours };
        assert_eq!(read(json!({"schedule": "incremental", "fullRunWithinHours": 30})).unwrap(), hours(Some(30)));
        assert_eq!(read(json!({"schedule": "incremental"})).unwrap(), hours(None), "of an older deployment");
        assert_eq!(read(json!({"schedule": "full"})).unwrap(), Scheduled::Full);
        assert_eq!(read(json!({"schedule": "watch"})).unwrap(), Scheduled::Watch);
        let unknown = read(json!({"schedule": "hourly"})).unwrap_err().to_string();
        assert!(unknown.contains("hourly") && unknown.contains("incremental"), "{unknown}");
    }
}
