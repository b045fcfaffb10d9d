//! One pulse. Everything in it may be done twice: the database decides what still has to be done.

use std::time::{Duration, Instant};

use database::Dispatch;
use domain::run::PULSE_CLAIM;
use domain::{Run, RunId, RunKind, RunState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use status_store::Upload;

use crate::listed::Listed;
use crate::worker::RunWorker;

/// A pulse waits for so long itself before it dispatches; else the next one does, whose message waits for nothing.
const SHORT_WAIT: Duration = Duration::from_millis(1_500);
/// Between two looks at the limiter, since the first may have come a moment too early.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// A pulse dispatches for so long at most; another one goes on.
const LONGEST_STAY: Duration = Duration::from_secs(5);

/// Every so many pulses look for orders whose tickets are due, and those that have nothing left to dispatch.
const DUE_EVERY: i64 = 8;

/// When the next pulse is to come.
struct NextPulse {
    wait: Duration,
    /// When there will be calls for more orders, if that is known.
    calls_at: Option<Timestamp>,
}

impl NextPulse {
    const fn after(wait: Duration) -> Self {
        Self { wait, calls_at: None }
    }
}

/// How long the message of the next pulse waits: whole seconds, and a second less than there are calls, so that it isn't late.
fn whole_seconds_before(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs().saturating_sub(1))
}

/// Remembered orders per page of the list of valid orders: the most that `valid_orders` in `listing.sql` looks at.
const VALID_PAGE: u32 = 10_000;

impl RunWorker {
    /// Claims the pulse, does what is due, and sends the next one.
    pub(crate) async fn pulse(
        &self,
        run_id: &RunId,
        pulse: i64,
        calls_at: Option<Timestamp>,
        deadline: Instant,
    ) -> Result<(), lambda_runtime::Error> {
        // The pulse before knew when there will be calls; what is dispatched is dispatched with the claim.
        if let Some(calls_at) = calls_at {
            orders::wait_before(calls_at, self.ahead(), SHORT_WAIT).await;
        }
        let limits = self.dispatch_limits();
        let begun = self.database.begin_pulse(run_id, pulse, self.pace.of(PULSE_CLAIM), Some(&limits)).await?;
        let (true, Some(run)) = (begun.accepted, begun.run) else {
            tracing::debug!(run_id = %run_id, pulse, "A superseded pulse was ignored");
            return Ok(());
        };
        self.announcements.ask(&self.database, begun.publication_due).await;
        let published = run.announced_state == Some(run.state);
        let soon = NextPulse::after(self.interval);
        let next = match run.state {
            RunState::Syncing => Some(self.work(&run, pulse, begun.dispatch, deadline).await?),
            RunState::Delay => {
                let concluded = self.conclude(&run, deadline).await?;
                let left = u64::try_from(run.delay_seconds()).unwrap_or(0);
                Some(if published && concluded { NextPulse::after(Duration::from_secs(left.max(1))) } else { soon })
            }
            // The end is acknowledged only after it was published. A pulse that came after a short cool-down finds the
            // list still to be written.
            RunState::Completed => {
                let concluded = self.conclude(&run, deadline).await?;
                (!published || !concluded).then_some(soon)
            }
            _ => (!published).then_some(soon),
        };
        if let Some(NextPulse { wait, calls_at }) = next {
            self.pulses.send(&self.database, run_id, pulse + 1, wait, calls_at).await?;
        }
        Ok(())
    }

    /// Lists pages, dispatches orders beside those that its claim has dispatched, and hands over again the orders whose tickets are due.
    /// Returns when the next pulse is to come.
    async fn work(
        &self,
        run: &Run,
        pulse: i64,
        mut dispatched: Option<Dispatch>,
        deadline: Instant,
    ) -> Result<NextPulse, lambda_runtime::Error> {
        let begun = Instant::now();
        let mut until_slots = None;
        if !run.listing_complete {
            match self.list(run, deadline).await? {
                Listed::Complete => {}
                Listed::Later(wait) => until_slots = Some(wait),
                Listed::RunOver => return Ok(NextPulse::after(self.interval)),
            }
        }
        let next = loop {
            let next = match dispatched.take() {
                Some(dispatched) => self.hand_over(run, dispatched).await?,
                None => self.dispatch(run).await?,
            };
            let Some(wait) = next.into_iter().chain(until_slots).min() else {
                break NextPulse::after(self.interval);
            };
            // Short waits aren't worth a message.
            let here = wait.saturating_sub(self.ahead());
            if until_slots.is_some() || here >= SHORT_WAIT || begun.elapsed() + here >= LONGEST_STAY {
                let calls_at = Timestamp::now().checked_add(wait).ok();
                break NextPulse { wait: self.interval.min(whole_seconds_before(wait)), calls_at };
            }
            tokio::time::sleep(here.max(SHORTEST_WAIT)).await;
        };
        if next.calls_at.is_none() || pulse % DUE_EVERY == 0 {
            self.hand_over_due().await?;
        }
        Ok(next)
    }

    /// Draws the conclusions from a complete listing: which stored orders it doesn't name, and the list of valid orders. `false` if
    /// the time is up before that is done: the next pulse goes on.
    async fn conclude(&self, run: &Run, deadline: Instant) -> Result<bool, lambda_runtime::Error> {
        let mut comparing = run.comparing;
        while comparing {
            comparing = self.database.compare_stored(&run.run_id).await?;
            if comparing && Instant::now() >= deadline {
                return Ok(false);
            }
        }
        self.write_valid_orders(run, deadline).await
    }

    /// Writes `valid_order_list.json`: the one document that grows with the number of orders. After each part that was uploaded, how
    /// far it is is kept on the run. `false` if the time is up before the list is whole. Nothing follows from a short listing.
    async fn write_valid_orders(&self, run: &Run, deadline: Instant) -> Result<bool, lambda_runtime::Error> {
        if run.kind == RunKind::Retry || run.listing_short {
            return Ok(true);
        }
        let kept = match &run.valid_list {
            Some(kept) if kept.get("done").is_some() => return Ok(true),
            Some(kept) => serde_json::from_value(kept.clone()).ok(),
            None => None,
        };
        let store = self.publisher.store();
        let (mut list, mut after) = match kept {
            Some(KeptList { upload, after }) => (store.go_on_with_valid_orders(upload), Some(after)),
            None => (store.valid_orders(), None),
        };
        let written = loop {
            let (page, next) = self.database.valid_orders(&run.run_id, after.as_deref(), VALID_PAGE).await?;
            let uploaded = match list.append(&page).await {
                Ok(uploaded) => uploaded,
                Err(error) => break Err(error),
            };
            let Some(next) = next else { break list.finish().await };
            if let Some(upload) = uploaded {
                let kept = serde_json::to_value(KeptList { upload, after: next.clone() })?;
                self.database.keep_valid_list(&run.run_id, Some(&kept)).await?;
                if Instant::now() >= deadline {
                    return Ok(false);
                }
            }
            after = Some(next);
        };
        match written {
            Ok(()) => self.database.keep_valid_list(&run.run_id, Some(&json!({ "done": true }))).await?,
            Err(error) => {
                tracing::warn!(run_id = %run.run_id, error = telemetry::chain(&error), "The list of valid orders could not be written");
                self.database.keep_valid_list(&run.run_id, None).await?;
            }
        }
        Ok(true)
    }
}

/// How far the list of valid orders is, as it is kept on the run.
#[derive(Serialize, Deserialize)]
struct KeptList {
    upload: Upload,
    /// The page that follows what was uploaded.
    after: String,
}
