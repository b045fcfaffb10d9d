//! The function's state, and what its modules share: dispatching, ending a run early.

use std::time::Duration;

use database::{Database, RunSettings};
use domain::failure::Pace;
use domain::{Cause, Change, Run, RunKind};
use orders::Fetcher;
use queues::{OrderMessage, Queue, TicketMessage};
use runs::{Announcements, Pulses};

use crate::publish::Publisher;

/// The function's state.
pub(crate) struct RunWorker {
    pub(crate) database: Database,
    pub(crate) fetcher: Fetcher,
    pub(crate) settings: RunSettings,
    pub(crate) interval: Duration,
    pub(crate) pace: Pace,
    pub(crate) pulses: Pulses,
    pub(crate) bulk: Queue<OrderMessage>,
    pub(crate) tickets: Queue<TicketMessage>,
    pub(crate) announcements: Announcements,
    pub(crate) publisher: Publisher,
}

/// A dispatched order without an outcome is dispatched again after this time, which is longer than a worker may hold it and
/// GHL's failures let it wait. After a longer outage of the database some orders are fetched twice, a window's at most.
const RESEND_AFTER: Duration = Duration::from_secs(120);
/// Orders whose tickets have been due for this long are handed over again.
const DUE_AFTER: Duration = Duration::from_secs(30);
/// Due orders handed over per pulse, and per watch.
const DUE_LIMIT: u32 = 100;

impl RunWorker {
    /// Hands recorded orders to the workers, so that at most two windows' worth are under way.
    pub(crate) async fn dispatch(&self, run: &Run) -> Result<(), lambda_runtime::Error> {
        let dispatch = self
            .database
            .dispatch_orders(&run.run_id, self.fetcher.limits().outstanding(), self.pace.of(RESEND_AFTER))
            .await?;
        let cause = match run.kind {
            RunKind::ValidList => Cause::ValidList,
            RunKind::Retry => Cause::Retry,
            RunKind::Full | RunKind::Incremental => Cause::Run,
        };
        let location_id = self.database.location_id();
        let message = |id| OrderMessage::new(location_id.clone(), id, cause).for_run(run.run_id.clone());
        let messages: Vec<_> = dispatch.order_ids.into_iter().map(message).collect();
        if !messages.is_empty() {
            tracing::info!(run_id = %run.run_id, orders = messages.len(), outstanding = dispatch.outstanding, "Orders were dispatched");
        }
        // An order whose message isn't sent now is dispatched again after RESEND_AFTER.
        Ok(self.bulk.send_all(&messages).await?)
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

    /// Ends a run early; `message` is for an admin, and says what to do.
    pub(crate) async fn end(&self, run: &Run, code: &str, message: &str) -> Result<(), lambda_runtime::Error> {
        tracing::error!(run_id = %run.run_id, code, reason = message, "A run ends with an error");
        let ended = self.database.end_run(&run.run_id, code, message).await?;
        self.announcements.ask(&self.database, ended.publication_due).await;
        Ok(())
    }
}
