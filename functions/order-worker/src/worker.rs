//! The steps of an order: fetch, validity, upsert, hand-over to `tickets`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use database::{Database, Lane, Notice, OrderUpsert};
use domain::outcome::UpsertResult;
use domain::{Cause, Change, FailureClass, RunId};
use jiff::Timestamp;
use orders::prepare::Rules;
use orders::{FetchError, FetchOrder, Fetched, Fetcher, Products, Purpose, prepare};
use queues::batch::BatchItemFailures;
use queues::batch::{SqsEvent, failures, measure_age, receive_work};
use queues::{MOST_TOGETHER, Queue, QueueError, TicketMessage, TicketsMessage};
use runs::Announcements;
use telemetry::metrics::{self, Metric};
use tracing::{Instrument, error_span};

use crate::batch::{Task, each, tasks};
use crate::failed::{NotStored, Retries};

/// The function's state.
pub(crate) struct Worker {
    pub(crate) database: Database,
    pub(crate) fetcher: Fetcher,
    pub(crate) products: Products,
    pub(crate) rules: Rules,
    pub(crate) retries: Retries,
    pub(crate) tickets: HandOver,
    pub(crate) announcements: Announcements,
    /// How long a worker waits for the other webhooks of a burst.
    pub(crate) settle: Duration,
}

/// How long an order is claimed for a fetch: longer than a fetch takes, and short enough to wait for if its worker dies.
const CLAIM: Duration = Duration::from_secs(15);
/// When the message of an order that another worker is fetching is received again.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a worker waits for calls of the rate limit. Longer waits are those of messages: they cost nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// An order that was read, with the task it was read for and the time of the grant.
type Read = (Task, domain::Order, Timestamp);

impl Worker {
    /// Handles a batch. Hands back only what failed because the database or a queue couldn't be reached.
    pub(crate) async fn handle(&self, event: SqsEvent, deadline: Instant) -> BatchItemFailures {
        measure_age(&event);
        let (received, unreadable) = receive_work(&event);
        for problem in &unreadable {
            tracing::warn!(message_id = problem.message_id, queue = problem.queue, "{problem}");
        }
        let (received, calls_at) = each(received);
        let (tasks, mut hand_back) = tasks(received, self.database.location_id());
        hand_back.extend(unreadable.into_iter().map(|problem| problem.message_id));
        let (bulk, priority): (Vec<_>, Vec<_>) = tasks.into_iter().partition(Task::is_bulk);
        let mut groups: Vec<(Lane, Vec<Task>)> = Vec::new();
        if !priority.is_empty() {
            groups.push((Lane::Priority, priority));
        }
        for task in bulk {
            match groups.iter_mut().find(|(lane, group)| {
                *lane == Lane::Bulk && group.first().is_some_and(|t| t.message.run_id == task.message.run_id)
            }) {
                Some((_, group)) => group.push(task),
                None => groups.push((Lane::Bulk, vec![task])),
            }
        }
        for (lane, group) in groups {
            if let (Lane::Bulk, Some(calls_at)) = (lane, calls_at) {
                // Until a request for calls arrives when there are some.
                orders::wait_before(calls_at, self.fetcher.usual_round_trip() / 2, PATIENCE).await;
            }
            let run_id = group.first().filter(|task| task.is_bulk()).and_then(|task| task.message.run_id.clone());
            let span = error_span!("orders", run_id = run_id.as_ref().map(RunId::as_str));
            hand_back.extend(self.sync(lane, group, deadline).instrument(span).await);
        }
        failures(hand_back)
    }

    /// Syncs orders of one lane and run. Returns the messages to hand back.
    async fn sync(&self, lane: Lane, tasks: Vec<Task>, deadline: Instant) -> Vec<String> {
        let mut not_stored = Vec::new();
        let (tasks, mut hand_back) = self.not_yet_served(tasks, &mut not_stored).await;
        let wanted = tasks.iter().map(|task| FetchOrder {
            id: task.message.order_id.clone(),
            run_id: task.message.run_id.clone(),
            dispatched_at: task.message.dispatched_at,
        });
        let (wanted, patience) = (wanted.collect(), PATIENCE + self.fetcher.usual_round_trip());
        let fetched = self.fetcher.fetch_all(&self.database, wanted, lane, patience, deadline).await;
        let (mut read, mut too_early) = (Vec::new(), Vec::new());
        for (order, fetched) in fetched {
            let asked = |task: &&Task| task.message.order_id == order.id && task.message.run_id == order.run_id;
            let Some(task) = tasks.iter().find(asked) else { continue };
            match fetched {
                Fetched::Order { order, at } => read.push((task.clone(), *order, at)),
                // The end of the run has decided the outcome of its remaining orders.
                Fetched::RunOver => {}
                Fetched::NotStarted(wait) => too_early.push((task.clone(), wait)),
                Fetched::NoDatabase => not_stored.push((task.clone(), NotStored::NoDatabase)),
                Fetched::Failed(error) => not_stored.push((task.clone(), NotStored::Failed(error))),
            }
        }
        // First, so that the run dispatches them again as soon as may be.
        self.give_back(too_early, &mut not_stored).await;
        hand_back.extend(self.store(lane, read, &mut not_stored, deadline).await);
        hand_back.extend(self.retries.handle(&self.database, &self.announcements, not_stored).await);
        hand_back
    }

    /// Gives orders back to the run that dispatched them too early. The others wait in messages.
    async fn give_back(&self, too_early: Vec<(Task, Duration)>, not_stored: &mut Vec<(Task, NotStored)>) {
        let mut dispatched: BTreeMap<(RunId, Timestamp), Vec<Task>> = BTreeMap::new();
        for (task, wait) in too_early {
            match (&task.message.run_id, task.message.dispatched_at) {
                (Some(run_id), Some(at)) => dispatched.entry((run_id.clone(), at)).or_default().push(task),
                _ => not_stored.push((task, NotStored::NotStarted(wait))),
            }
        }
        for ((run_id, dispatched_at), tasks) in dispatched {
            let ids: Vec<_> = tasks.iter().map(|task| task.message.order_id.clone()).collect();
            tracing::debug!(run_id = %run_id, orders = ids.len(), "There were no calls for dispatched orders; the run dispatches them again");
            if let Err(error) = self.database.give_back_orders(&run_id, dispatched_at, &ids).await {
                let error = telemetry::chain(&error);
                tracing::error!(run_id = %run_id, error, "Database connection error: dispatched orders could not be given back");
                not_stored.extend(tasks.into_iter().map(|task| (task, NotStored::NoDatabase)));
            }
        }
    }

    /// Drops the webhooks' orders that a fetch has served which was granted after the webhook was sent, and postpones those
    /// that another worker is fetching. Returns the tasks to fetch and the messages to hand back.
    async fn not_yet_served(
        &self,
        tasks: Vec<Task>,
        not_stored: &mut Vec<(Task, NotStored)>,
    ) -> (Vec<Task>, Vec<String>) {
        // What is forced no other fetch serves.
        let (named, mut to_fetch): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| {
            task.message.cause == Cause::Webhook && task.sent_at.is_some() && task.message.force.is_none()
        });
        if named.is_empty() {
            return (to_fetch, Vec::new());
        }
        let notices: Vec<_> = named
            .iter()
            .filter_map(|task| {
                let (order_id, first_try) = (task.message.order_id.clone(), task.is_first_try);
                Some(Notice { order_id, sent_at: task.sent_at?, received_at: task.received_at, first_try })
            })
            .collect();
        let plan = match self.database.plan_orders(&notices, CLAIM).await {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(
                    error = telemetry::chain(&error),
                    "Database connection error: the webhooks' orders will be retried"
                );
                not_stored.extend(named.into_iter().map(|task| (task, NotStored::NoDatabase)));
                return (to_fetch, Vec::new());
            }
        };
        let (mut hand_back, mut settled_at) = (Vec::new(), plan.now);
        let mut due: Vec<Task> = Vec::new();
        for task in named {
            if plan.served.contains(&task.message.order_id) {
                if plan.due.contains(&task.message.order_id) {
                    due.push(task);
                }
                continue;
            }
            if plan.busy.contains(&task.message.order_id) {
                let message = task.retry_message(task.message.attempt);
                hand_back.extend(self.retries.later(&task, &message, BUSY_RETRY_AFTER).await);
                continue;
            }
            if let (true, Some(sent_at)) = (task.is_first_try, task.sent_at) {
                settled_at = settled_at.max(sent_at.saturating_add(self.settle).unwrap_or(sent_at));
            }
            to_fetch.push(task);
        }
        if !due.is_empty() {
            let messages = due.iter().map(|task| task.message.clone().into_ticket_message(Change::Written)).collect();
            let message_ids = due.into_iter().flat_map(|task| task.message_ids).collect();
            hand_back.extend(self.hand_over(messages, message_ids).await);
        }
        let wait = Duration::try_from(settled_at.duration_since(plan.now)).unwrap_or_default();
        tokio::time::sleep(wait.min(self.settle)).await;
        (to_fetch, hand_back)
    }

    async fn store(
        &self,
        lane: Lane,
        read: Vec<Read>,
        not_stored: &mut Vec<(Task, NotStored)>,
        deadline: Instant,
    ) -> Vec<String> {
        if read.is_empty() {
            return Vec::new();
        }
        let orders: Vec<_> = read.iter().map(|(_, order, _)| order).collect();
        let listed = match self.products.listed_for(&orders, &self.database, &self.fetcher, lane, deadline).await {
            Ok(listed) => listed,
            Err(error) => {
                let error = std::sync::Arc::new(error);
                not_stored.extend(read.into_iter().map(|(task, ..)| (task, NotStored::Products(error.clone()))));
                return Vec::new();
            }
        };
        let mut prepared: Vec<(Task, OrderUpsert)> = Vec::with_capacity(read.len());
        for (task, order, at) in read {
            let purpose = Purpose {
                run_id: task.message.run_id.clone(),
                cause: task.message.cause,
                attempts: task.message.attempt,
                remember_only: task.message.cause == Cause::ValidList,
                force: task.message.force.clone(),
            };
            let preparing = || prepare(&order, self.database.location_id(), &listed, self.rules, purpose, at);
            match catch_unwind(AssertUnwindSafe(preparing)) {
                Ok(upsert) => prepared.push((task, upsert)),
                Err(_panic) => not_stored.push((task, NotStored::Failed(FetchError::Panicked))),
            }
        }
        match self.upsert(&prepared).await {
            Err(error) if error.class() == FailureClass::Permanent && prepared.len() > 1 => {
                // One record that the database refuses must not take the others with it.
                let mut hand_back = Vec::new();
                for one in prepared {
                    match self.upsert(std::slice::from_ref(&one)).await {
                        Ok(ids) => hand_back.extend(ids),
                        Err(error) => refused(vec![one], &error, not_stored),
                    }
                }
                hand_back
            }
            Err(error) => {
                refused(prepared, &error, not_stored);
                Vec::new()
            }
            Ok(hand_back) => hand_back,
        }
    }

    /// Writes orders and hands them over to `tickets`. Returns the messages whose hand-over failed.
    async fn upsert(&self, prepared: &[(Task, OrderUpsert)]) -> Result<Vec<String>, database::Error> {
        let rows: Vec<_> = prepared.iter().map(|(_, upsert)| upsert.clone()).collect();
        let upserts = self.database.upsert_orders(&rows).await?;
        let mut handed_over = Vec::new();
        let mut messages = Vec::new();
        for upserted in &upserts.orders {
            let change = match upserted.result {
                UpsertResult::Stored(change) => change,
                UpsertResult::Skipped => {
                    metrics::count(Metric::OrdersSkipped, 1);
                    continue;
                }
            };
            // An order that is only remembered has its outcome now, the others when their tickets are reconciled.
            let of_order = || prepared.iter().filter(|(_, upsert)| upsert.order_id == upserted.order_id);
            let remembered = of_order().filter(|(_, upsert)| upsert.remember_only).count();
            metrics::count(Metric::OrdersSynced, remembered);
            metrics::count(Metric::OrdersUnchanged, if change == Change::Written { 0 } else { remembered });
            for (task, _) in of_order().filter(|(_, upsert)| !upsert.remember_only) {
                messages.push(task.message.clone().into_ticket_message(change));
                handed_over.extend(task.message_ids.iter().cloned());
            }
        }
        let hand_back = self.hand_over(messages, handed_over).await;
        self.announcements.ask(&self.database, upserts.publication_due).await;
        Ok(hand_back)
    }

    /// Hands orders over to `tickets`. Returns `message_ids`, those to hand back, if SQS didn't take all of them.
    async fn hand_over(&self, messages: Vec<TicketMessage>, message_ids: Vec<String>) -> Vec<String> {
        match self.tickets.send(messages).await {
            Ok(()) => Vec::new(),
            Err(error) => {
                tracing::error!(error = telemetry::chain(&error), "Orders could not be handed over to tickets");
                message_ids
            }
        }
    }
}

/// Where stored orders go.
pub(crate) struct HandOver {
    pub(crate) one: Queue<TicketMessage>,
    pub(crate) several: Queue<TicketsMessage>,
}

impl HandOver {
    /// Hands orders over: those of a run together, a webhook's each alone, so that it waits for no other.
    async fn send(&self, messages: Vec<TicketMessage>) -> Result<(), QueueError> {
        let mut of_runs: BTreeMap<RunId, Vec<TicketMessage>> = BTreeMap::new();
        let mut alone = Vec::new();
        for message in messages {
            match &message.run_id {
                Some(run_id) => of_runs.entry(run_id.clone()).or_default().push(message),
                None => alone.push(message),
            }
        }
        let mut several = Vec::new();
        for mut messages in of_runs.into_values() {
            if messages.len() == 1 {
                alone.append(&mut messages);
            }
            several.extend(messages.chunks(MOST_TOGETHER).filter_map(TicketsMessage::of));
        }
        self.one.send_all(&alone).await?;
        self.several.send_all(&several).await
    }
}

/// Orders that the database didn't store: recorded as failed if it refuses them, tried again if it can't be reached.
fn refused(prepared: Vec<(Task, OrderUpsert)>, error: &database::Error, not_stored: &mut Vec<(Task, NotStored)>) {
    let permanent = error.class() == FailureClass::Permanent;
    if !permanent {
        let order_id = if let [(task, _)] = prepared.as_slice() { Some(task.message.order_id.as_str()) } else { None };
        let (orders, error) = (prepared.len(), telemetry::chain(error));
        tracing::error!(order_id, orders, error, "Database connection error: the orders will be retried");
    }
    let problem = || if permanent { NotStored::Refused(error.to_string()) } else { NotStored::NoDatabase };
    not_stored.extend(prepared.into_iter().map(|(task, _)| (task, problem())));
}
