//! The schedules: incremental runs, full runs, and a watch for runs that lost their pulse.

use std::time::Duration;

use database::NewRun;
use domain::RunKind;
use domain::run::NotStarted;

use crate::worker::RunWorker;

/// Rows removed per watch and table.
const PURGE_LIMIT: u32 = 10_000;

impl RunWorker {
    /// Handles a schedule's event.
    pub(crate) async fn scheduled(&self, schedule: &str) -> Result<(), lambda_runtime::Error> {
        match schedule {
            "incremental" => self.start(RunKind::Incremental).await,
            "full" => self.start(RunKind::Full).await,
            "watch" => self.watch().await,
            other => Err(format!("unknown schedule {other:?}: expected incremental, full or watch").into()),
        }
    }

    /// Starts a run. If another is running or the daily budget is too low, the start is recorded as skipped, which is no error.
    async fn start(&self, kind: RunKind) -> Result<(), lambda_runtime::Error> {
        let daily_reserve = Some(self.fetcher.limits().daily_reserve);
        let new = NewRun { kind, requested_by: "schedule".to_owned(), order_ids: None, retry_of: None, daily_reserve };
        let started = self.database.start_run(&new, self.settings).await?;
        self.publish(started.finished).await;
        match (started.started, started.run, started.pulse) {
            (true, Some(run), Some(pulse)) => {
                // The database may have made it a full run, if that couldn't start when it was due.
                tracing::info!(run_id = %run.run_id, kind = run.kind.as_str(), "A scheduled run started");
                self.pulses.send(&self.database, &run.run_id, pulse, Duration::ZERO).await?;
            }
            _ => {
                let reason = started.reason.unwrap_or(NotStarted::Running);
                tracing::info!(kind = kind.as_str(), reason = reason.as_str(), "A scheduled run was skipped");
                self.database.skip_run(kind, reason).await?;
            }
        }
        Ok(())
    }

    /// Resends a lost pulse and orders whose tickets are due, and removes rows that have expired.
    async fn watch(&self) -> Result<(), lambda_runtime::Error> {
        self.pulses.snapshot(&self.database, false).await?;
        self.hand_over_due().await?;
        Ok(self.database.purge(PURGE_LIMIT).await?)
    }
}
