//! The function's state, and what its modules share: dispatching, ending a run early.

use std::time::{Duration, Instant};

use database::{Database, Dispatch, DispatchLimits, RunSettings};
use domain::failure::Pace;
use domain::{Cause, Change, Run, RunKind};
use jiff::Timestamp;
use orders::{FetchError, Fetcher};
use queues::{MOST_TOGETHER, OrderMessage, OrdersMessage, Queue, QueueError, TicketMessage};
use runs::{Announcements, Pulses};
use telemetry::events::{self, OrderFailed};

use crate::publish::Publisher;

/// The function's state.
pub(crate) struct RunWorker {
    pub(crate) database: Database,
    pub(crate) fetcher: Fetcher,
    pub(crate) settings: RunSettings,
    pub(crate) interval: Duration,
    pub(crate) pace: Pace,
    pub(crate) pulses: Pulses,
    pub(crate) bulk: Bulk,
    pub(crate) tickets: Queue<TicketMessage>,
    pub(crate) announcements: Announcements,
    pub(crate) publisher: Publisher,
}

/// Where a run's orders go.
pub(crate) struct Bulk {
    pub(crate) one: Queue<OrderMessage>,
    pub(crate) several: Queue<OrdersMessage>,
}

/// Orders leave so long before there are calls for them, and the way to the database besides: the time of a message, so that workers
/// are there in time and don't wait for long.
const AHEAD: Duration = Duration::from_millis(500);

/// A dispatched order without an outcome is dispatched again after this time, which is longer than a worker may hold it and
/// GHL's failures let it wait. After a longer outage of the database some orders are fetched twice, a window's at most.
const RESEND_AFTER: Duration = Duration::from_secs(120);
/// Orders whose tickets have been due for this long are handed over again.
const DUE_AFTER: Duration = Duration::from_secs(30);
/// Due orders handed over per pulse, and per watch.
const DUE_LIMIT: u32 = 100;

impl RunWorker {
    /// Hands recorded orders to the workers just before the rate limit has calls for them. Returns how long it will be until it has calls
    /// for more; `None` if no orders are left, or nobody can tell.
    pub(crate) async fn dispatch(&self, run: &Run) -> Result<Option<Duration>, lambda_runtime::Error> {
        let begun = Instant::now();
        let dispatch = self.database.dispatch_orders(&run.run_id, &self.dispatch_limits()).await?;
        self.fetcher.measured(begun.elapsed());
        self.hand_over(run, dispatch).await
    }

    pub(crate) fn dispatch_limits(&self) -> DispatchLimits {
        DispatchLimits {
            max_outstanding: self.fetcher.limits().outstanding(),
            resend_after: self.pace.of(RESEND_AFTER),
            ahead: self.ahead(),
            limits: *self.fetcher.limits(),
        }
    }

    /// Hands to the workers what was dispatched. Returns what [`Self::dispatch`] does.
    pub(crate) async fn hand_over(
        &self,
        run: &Run,
        dispatch: Dispatch,
    ) -> Result<Option<Duration>, lambda_runtime::Error> {
        for given_up in &dispatch.given_up {
            let database::GivenUp { order_id, class, code, reason, attempts } = given_up;
            events::order_failed(OrderFailed {
                order_id: order_id.as_str(),
                run_id: Some(run.run_id.as_str()),
                cause: cause(run.kind).as_str(),
                class: class.as_str(),
                code,
                attempts: *attempts,
                reason,
                error: None,
            });
        }
        if dispatch.budget_exhausted {
            let error = FetchError::DailyBudget;
            self.end(run, error.code(), &error.order_reason()).await?;
            return Ok(None);
        }
        if !dispatch.order_ids.is_empty() {
            let (orders, alone) = (dispatch.order_ids.len(), dispatch.alone.len());
            tracing::info!(run_id = %run.run_id, orders, alone, outstanding = dispatch.outstanding, "Orders were dispatched");
        }
        let next = dispatch.next_ms.map(Duration::from_millis);
        let calls_at = dispatch.in_ms.and_then(|ms| Timestamp::now().checked_add(Duration::from_millis(ms)).ok());
        // An order whose message isn't sent now is dispatched again after RESEND_AFTER.
        self.send(run, dispatch, calls_at).await?;
        Ok(next)
    }

    /// How long before there are calls for them orders leave.
    pub(crate) fn ahead(&self) -> Duration {
        AHEAD + self.fetcher.usual_round_trip()
    }

    /// Sends dispatched orders, as many together as share calls.
    async fn send(&self, run: &Run, dispatch: Dispatch, calls_at: Option<Timestamp>) -> Result<(), QueueError> {
        let cause = cause(run.kind);
        let dispatched_at = dispatch.dispatched_at.unwrap_or_default();
        let message = |order_ids| OrdersMessage {
            location_id: self.database.location_id().clone(),
            order_ids,
            cause,
            run_id: run.run_id.clone(),
            dispatched_at,
            calls_at,
        };
        let (alone, together): (Vec<_>, Vec<_>) =
            dispatch.order_ids.into_iter().partition(|id| dispatch.alone.contains(id));
        let messages = together.len().div_ceil(MOST_TOGETHER).max(1);
        let share = together.len().div_ceil(messages).max(1);
        let several: Vec<_> = together.chunks(share).map(|ids| message(ids.to_vec())).collect();
        let alone: Vec<_> = message(alone).each().collect();
        self.bulk.several.send_all(&several).await?;
        self.bulk.one.send_all(&alone).await
    }

    /// Hands over again the orders whose tickets are due.
    pub(crate) async fn hand_over_due(&self) -> Result<(), lambda_runtime::Error> {
        let due = self.database.due_orders(self.pace.of(DUE_AFTER), DUE_LIMIT).await?;
        let location_id = self.database.location_id();
        let messages: Vec<_> = due
            .into_iter()
            .map(|due| {
                let message = OrderMessage::new(location_id.clone(), due.order_id, Cause::Due);
                OrderMessage { run_id: due.run_id, ..message }.into_ticket_message(Change::Written)
            })
            .collect();
        Ok(self.tickets.send_all(&messages).await?)
    }

    /// Ends a run early; `message` is for an admin, and says what to do. Whoever publishes the end logs it.
    pub(crate) async fn end(&self, run: &Run, code: &str, message: &str) -> Result<(), lambda_runtime::Error> {
        let ended = self.database.end_run(&run.run_id, code, message).await?;
        self.announcements.ask(&self.database, ended.publication_due).await;
        Ok(())
    }
}

/// Why a run looks at an order.
const fn cause(kind: RunKind) -> Cause {
    match kind {
        RunKind::ValidList => Cause::ValidList,
        RunKind::Retry => Cause::Retry,
        RunKind::Full | RunKind::Incremental => Cause::Run,
    }
}
