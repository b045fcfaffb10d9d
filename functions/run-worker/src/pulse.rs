//! One pulse. Everything it does may be done twice: the database decides what still has to happen.

use std::time::{Duration, Instant};

use database::{Database, Settings};
use domain::failure::Pace;
use domain::frames::Publication;
use domain::{FailureClass, Run, RunId, RunKind, RunState};
use queues::batch::{SqsEvent, failures, measure_age, receive_all};
use queues::{Cause, Change, OrderMessage, Queue, RunMessage, TicketMessage};
use serde_json::{Value, json};
use sync::{Fetcher, Publisher, Pulses};
use tracing::{Instrument, error_span};

/// The function's state.
pub(crate) struct RunWorker {
    pub(crate) database: Database,
    pub(crate) fetcher: Fetcher,
    pub(crate) settings: Settings,
    pub(crate) interval: Duration,
    pub(crate) pace: Pace,
    pub(crate) pulses: Pulses,
    pub(crate) bulk: Queue<OrderMessage>,
    pub(crate) tickets: Queue<TicketMessage>,
    pub(crate) publisher: Publisher,
}

/// How long a pulse is claimed: the function's time-out, which is less than the queue's visibility time-out, since a pulse that
/// is redelivered while it is claimed counts as a duplicate and dies.
const CLAIM: Duration = Duration::from_secs(60);
/// An order dispatched and silent for this long is dispatched again: longer than a worker may hold it and its retries wait.
const RESEND_AFTER: Duration = Duration::from_secs(120);
/// Tickets due for this long are handed over again.
const DUE_AFTER: Duration = Duration::from_secs(30);
/// Due orders handed over per pulse.
const DUE_LIMIT: u32 = 100;
/// Order ids per page of the list of valid orders.
const VALID_PAGE: u32 = 5000;

impl RunWorker {
    /// Handles pulses from the queue, or a schedule's event.
    pub(crate) async fn handle(&self, event: Value, deadline: Instant) -> Result<Value, lambda_runtime::Error> {
        if let Some(schedule) = event.get("schedule").and_then(Value::as_str) {
            self.scheduled(schedule).await?;
            return Ok(json!({}));
        }
        let event: SqsEvent =
            serde_json::from_value(event).map_err(|_| "the event is neither a batch of messages nor a schedule's")?;
        measure_age(&event);
        let (received, unreadable) = receive_all::<RunMessage>(&event);
        for problem in &unreadable {
            tracing::warn!(message_id = problem.message_id, queue = problem.queue, "{problem}");
        }
        let mut back: Vec<String> = unreadable.into_iter().map(|problem| problem.message_id).collect();
        for received in received {
            let RunMessage { location_id, run_id, pulse } = received.message;
            let run_id = RunId::try_new(run_id).ok().filter(|_| location_id == self.database.location_id().as_str());
            let Some(run_id) = run_id else {
                tracing::warn!(message_id = received.message_id, "A message names no run of this location");
                back.push(received.message_id);
                continue;
            };
            let span = error_span!("pulse", run_id = run_id.as_str());
            if let Err(error) = self.pulse(&run_id, pulse, deadline).instrument(span).await {
                tracing::error!(run_id = %run_id, pulse, error = telemetry::chain(error.as_ref()), "A pulse failed");
                back.push(received.message_id);
            }
        }
        Ok(serde_json::to_value(failures(back))?)
    }

    async fn pulse(&self, run_id: &RunId, pulse: i64, deadline: Instant) -> Result<(), lambda_runtime::Error> {
        let begun = self.database.begin_pulse(run_id, pulse, self.pace.of(CLAIM)).await?;
        let (true, Some(run)) = (begun.accepted, begun.run) else {
            tracing::debug!(run_id = %run_id, pulse, "A superseded pulse ends here");
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

    /// What a syncing run needs: pages, dispatch, and whatever fell silent.
    async fn work(&self, run: &Run, deadline: Instant) -> Result<(), lambda_runtime::Error> {
        if !run.listing_complete && !self.list(run, deadline).await? {
            return Ok(());
        }
        self.dispatch(run).await?;
        let due = self.database.due_orders(self.pace.of(DUE_AFTER), DUE_LIMIT).await?;
        let location_id = self.database.location_id().as_str();
        let messages: Vec<_> = due
            .into_iter()
            .map(|due| {
                let message = OrderMessage::new(location_id, due.order_id.as_str(), Cause::Due);
                let message = due.run_id.into_iter().fold(message, |message, run_id| message.for_run(run_id.as_str()));
                message.into_ticket_message(Change::Written)
            })
            .collect();
        self.tickets.send_all(&messages).await?;
        Ok(())
    }

    /// Hands recorded orders to the workers, so that at most two windows' worth are under way.
    pub(crate) async fn dispatch(&self, run: &Run) -> Result<(), lambda_runtime::Error> {
        let dispatch = self
            .database
            .dispatch_orders(&run.run_id, 2 * self.fetcher.bulk_window(), self.pace.of(RESEND_AFTER))
            .await?;
        let cause = match run.kind {
            RunKind::ValidList => Cause::ValidList,
            RunKind::Retry => Cause::Retry,
            RunKind::Full | RunKind::Incremental => Cause::Run,
        };
        let location_id = self.database.location_id().as_str();
        let message =
            |id: &domain::OrderId| OrderMessage::new(location_id, id.as_str(), cause).for_run(run.run_id.as_str());
        let messages: Vec<_> = dispatch.order_ids.iter().map(message).collect();
        if !messages.is_empty() {
            tracing::info!(run_id = %run.run_id, orders = messages.len(), outstanding = dispatch.outstanding, "Orders were dispatched");
        }
        // What isn't sent now counts as silent, and is dispatched again.
        Ok(self.bulk.send_all(&messages).await?)
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

    /// Ends a run early, in words a person can act on.
    pub(crate) async fn end(&self, run: &Run, code: &str, message: &str) -> Result<(), lambda_runtime::Error> {
        tracing::error!(run_id = %run.run_id, code, reason = message, "A run ends with an error");
        let ended = self.database.end_run(&run.run_id, code, message).await?;
        self.publish(ended.publication).await;
        Ok(())
    }

    /// Publishes what was granted.
    pub(crate) async fn publish(&self, publication: Option<Publication>) {
        self.publisher.publish_granted(&self.database, publication.as_ref()).await;
    }
}

/// The sentence for a failure that ends a run.
pub(crate) fn words(class: FailureClass, what: &str, error: &dyn std::error::Error) -> String {
    match class {
        FailureClass::Auth => format!("{what}: GoHighLevel refuses the access token, please check it"),
        _ => format!("{what}: {error}"),
    }
}
