//! One pulse. Everything in it may be done twice: the database decides what still has to be done.

use std::time::{Duration, Instant};

use domain::run::PULSE_CLAIM;
use domain::{Run, RunId, RunKind, RunState};

use crate::worker::RunWorker;

/// Order ids per page of the list of valid orders.
const VALID_PAGE: u32 = 5000;

impl RunWorker {
    /// Claims the pulse, does what is due, and sends the next one.
    pub(crate) async fn pulse(
        &self,
        run_id: &RunId,
        pulse: i64,
        deadline: Instant,
    ) -> Result<(), lambda_runtime::Error> {
        let begun = self.database.begin_pulse(run_id, pulse, self.pace.of(PULSE_CLAIM)).await?;
        let (true, Some(run)) = (begun.accepted, begun.run) else {
            tracing::debug!(run_id = %run_id, pulse, "A superseded pulse was ignored");
            return Ok(());
        };
        let published = match &begun.publication {
            Some(publication) => self.publisher.publish(&self.database, publication).await,
            None => run.announced_state == Some(run.state),
        };
        let next = match run.state {
            RunState::Syncing => {
                self.work(&run, deadline).await?;
                Some(self.interval)
            }
            RunState::Delay => {
                self.write_valid_orders(&run).await?;
                let left = u64::try_from(run.delay_seconds()).unwrap_or(0);
                Some(if published { Duration::from_secs(left.max(1)) } else { self.interval })
            }
            // The end is acknowledged only after it was published. A pulse that came after a short cool-down finds the
            // list still to be written; writing it again changes nothing.
            RunState::Completed => {
                self.write_valid_orders(&run).await?;
                (!published).then_some(self.interval)
            }
            _ => (!published).then_some(self.interval),
        };
        if let Some(wait) = next {
            self.pulses.send(&self.database, run_id, pulse + 1, wait).await?;
        }
        Ok(())
    }

    /// Lists pages, dispatches orders, and hands over again the orders whose tickets are due.
    async fn work(&self, run: &Run, deadline: Instant) -> Result<(), lambda_runtime::Error> {
        if !run.listing_complete && !self.list(run, deadline).await? {
            return Ok(());
        }
        self.dispatch(run).await?;
        self.hand_over_due().await
    }

    /// Writes `valid_order_list.json`: the one document that grows with the number of orders.
    async fn write_valid_orders(&self, run: &Run) -> Result<(), lambda_runtime::Error> {
        if run.kind == RunKind::Retry {
            return Ok(());
        }
        let (mut list, mut after) = (self.publisher.store().valid_orders(), None);
        let written = loop {
            let (page, next) = self.database.valid_orders(&run.run_id, after.as_deref(), VALID_PAGE).await?;
            if let Err(error) = list.append(&page).await {
                break Err(error);
            }
            match next {
                Some(next) => after = Some(next),
                None => break list.finish().await,
            }
        };
        if let Err(error) = written {
            tracing::warn!(run_id = %run.run_id, error = telemetry::chain(&error), "The list of valid orders could not be written");
        }
        Ok(())
    }
}
