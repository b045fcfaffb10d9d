//! What happens to an order that couldn't be read or stored: it is retried later, or recorded as failed, or ends its run.

use std::sync::Arc;
use std::time::Duration;

use database::{Awaited, Database, Failure, Recorded};
use domain::failure::Pace;
use domain::{Cause, FailureClass, failure};
use jiff::Timestamp;
use orders::FetchError;
use queues::{OrderMessage, Queue};
use runs::Announcements;
use telemetry::metrics::{self, Metric};

use crate::batch::Task;

/// How long after its time the message of an order that GHL doesn't know yet may come.
const AWAITED_LONGER: Duration = Duration::from_secs(15);

/// Why an order isn't stored.
pub(crate) enum NotStored {
    /// There was no slot in time.
    NotStarted(Duration),
    /// The fetch failed.
    Failed(FetchError),
    /// The product list, which decides whether an order is valid, couldn't be read.
    Products(Arc<FetchError>),
    /// The database refuses this order's data.
    Refused(String),
    /// The database didn't answer.
    NoDatabase,
}

impl NotStored {
    /// GHL doesn't know the order.
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed(FetchError::Ghl(error)) if error.is_not_found())
    }

    /// What went wrong, with its causes, where the reason doesn't say all of it.
    fn chain(&self) -> Option<String> {
        match self {
            Self::Failed(error) => Some(telemetry::chain(error)),
            Self::Products(error) => Some(telemetry::chain(error.as_ref())),
            Self::NotStarted(_) | Self::Refused(_) | Self::NoDatabase => None,
        }
    }
}

/// An order that isn't tried again.
struct GivenUp {
    task: Task,
    class: FailureClass,
    code: &'static str,
    reason: String,
    error: Option<String>,
}

impl GivenUp {
    fn failure(&self) -> Failure {
        let OrderMessage { order_id, run_id, cause, attempt, .. } = &self.task.message;
        let (order_id, run_id, reason) = (order_id.clone(), run_id.clone(), self.reason.clone());
        Failure { order_id, run_id, cause: *cause, class: self.class, code: self.code, reason, attempts: *attempt }
    }

    /// Whether it wasn't logged before: the database says so, or has kept an earlier try from its answer.
    fn is_told_by(&self, recorded: &Recorded) -> bool {
        recorded.first.contains(&self.task.message.order_id) || self.task.message.waiting_since.is_some()
    }

    fn tell(&self) {
        runs::tell_failure(&self.failure(), self.error.as_deref());
    }
}

/// What is done with an order that wasn't stored.
#[derive(Debug, PartialEq)]
pub(crate) enum NextStep {
    /// A new message is sent, to be received after `wait`.
    Retry { wait: Duration, attempt: u32 },
    /// The same attempt is made again in some seconds: it isn't the order that failed.
    AwaitDatabase,
    /// The failure is recorded.
    GiveUp { class: FailureClass, code: &'static str, reason: String, stops_run: bool },
}

/// Decides what is done; `jitter` in `0.0..=1.0`.
pub(crate) fn next_step(not_stored: &NotStored, cause: Cause, attempt: u32, jitter: f64, pace: Pace) -> NextStep {
    let error = match not_stored {
        // Whole seconds; a worker waits for the rest.
        NotStored::NotStarted(wait) => return NextStep::Retry { wait: Duration::from_secs(wait.as_secs()), attempt },
        NotStored::Refused(reason) => {
            return NextStep::GiveUp {
                class: FailureClass::Permanent,
                code: "data_refused",
                reason: reason.clone(),
                stops_run: false,
            };
        }
        NotStored::NoDatabase => return NextStep::AwaitDatabase,
        NotStored::Failed(error) => error,
        NotStored::Products(error) => error,
    };
    if matches!(error, FetchError::Database(error) if error.class() != FailureClass::Permanent) {
        return NextStep::AwaitDatabase;
    }
    let wait = match error.class() {
        _ if error.stops_run() => None,
        FailureClass::Transient => failure::retry_after(attempt, jitter),
        FailureClass::Permanent if not_stored.is_not_found() && cause == Cause::Webhook => {
            failure::retry_not_found(attempt)
        }
        FailureClass::Permanent | FailureClass::Auth => None,
    };
    match wait {
        Some(wait) => NextStep::Retry { wait: pace.of(wait), attempt: attempt.saturating_add(1) },
        None => NextStep::GiveUp {
            class: error.class(),
            code: error.code(),
            reason: error.order_reason(),
            stops_run: error.stops_run(),
        },
    }
}

/// Where orders go that have to wait.
pub(crate) struct Retries {
    pub(crate) orders: Queue<OrderMessage>,
    pub(crate) bulk: Queue<OrderMessage>,
    /// How long they wait, relative to the designed times.
    pub(crate) pace: Pace,
}

impl Retries {
    /// Sends the message that follows a task's, to be handled after `wait`. Returns the messages to hand back if that failed.
    pub(crate) async fn later(&self, task: &Task, message: &OrderMessage, wait: Duration) -> Vec<String> {
        let queue = if task.is_bulk() { &self.bulk } else { &self.orders };
        let Err(error) = queue.send(message, wait).await else { return Vec::new() };
        tracing::error!(order_id = %task.message.order_id, error = telemetry::chain(&error), "A message could not be resent");
        task.message_ids.clone()
    }

    /// Sends the messages of tasks again that the database has kept from being done. Returns those to hand back: SQS doesn't
    /// take them either, or they have waited for too long.
    async fn await_database(&self, tasks: Vec<Task>) -> Vec<String> {
        let (bulk, orders): (Vec<_>, Vec<_>) = tasks.into_iter().partition(Task::is_bulk);
        let mut hand_back = Vec::new();
        for (queue, tasks) in [(&self.orders, orders), (&self.bulk, bulk)] {
            let messages = tasks.iter().map(Task::same_message).collect();
            let impatient = queue.postpone(messages, Timestamp::now(), fastrand::f64, self.pace).await;
            let impatient = impatient.into_iter().filter_map(|index| tasks.get(index));
            hand_back.extend(impatient.flat_map(|task| task.message_ids.clone()));
        }
        hand_back
    }

    /// Retries or records each order. Returns the messages to hand back because neither was possible.
    pub(crate) async fn handle(
        &self,
        database: &Database,
        announcements: &Announcements,
        not_stored: Vec<(Task, NotStored)>,
    ) -> Vec<String> {
        let (mut hand_back, mut given_up, mut stopping) = (Vec::new(), Vec::new(), None);
        let (mut waiting, mut awaited) = (Vec::new(), Vec::new());
        for (task, problem) in not_stored {
            match next_step(&problem, task.message.cause, task.message.attempt, fastrand::f64(), self.pace) {
                NextStep::Retry { wait, attempt } => {
                    let claimed = matches!(problem, NotStored::NotStarted(_));
                    let message = OrderMessage { claimed, ..task.retry_message(attempt) };
                    let unsent = self.later(&task, &message, wait).await;
                    if unsent.is_empty() && problem.is_not_found() {
                        let in_ms = u64::try_from((wait + AWAITED_LONGER).as_millis()).unwrap_or(u64::MAX);
                        awaited.push(Awaited { order_id: task.message.order_id.clone(), in_ms });
                    }
                    hand_back.extend(unsent);
                }
                NextStep::AwaitDatabase => {
                    tracing::warn!(order_id = %task.message.order_id, "An order waits for the database");
                    waiting.push(task);
                }
                NextStep::GiveUp { class, code, reason, stops_run } => {
                    if let (true, Some(run_id)) = (stops_run, &task.message.run_id) {
                        stopping.get_or_insert_with(|| (run_id.clone(), code, reason.clone()));
                    }
                    given_up.push(GivenUp { error: problem.chain(), task, class, code, reason });
                }
            }
        }
        if !awaited.is_empty()
            && let Err(error) = database.await_orders(&awaited).await
        {
            // Then other notices of them cost fetches of their own.
            tracing::warn!(
                orders = awaited.len(),
                error = telemetry::chain(&error),
                "Orders that GHL doesn't know yet could not be noted"
            );
        }
        if let Some((run_id, code, reason)) = &stopping {
            match database.end_run(run_id, code, reason).await {
                // Whoever publishes the end logs it.
                Ok(ended) => announcements.ask(database, ended.publication_due).await,
                Err(error) => {
                    tracing::error!(run_id = %run_id, error = telemetry::chain(&error), "A run could not be ended")
                }
            }
        }
        let failures: Vec<_> = given_up.iter().map(GivenUp::failure).collect();
        if !failures.is_empty() {
            match database.record_failures(&failures).await {
                Ok(recorded) => {
                    metrics::count(Metric::OrdersFailed, failures.len());
                    metrics::count(Metric::FailuresRecorded, failures.len());
                    given_up.iter().filter(|order| order.is_told_by(&recorded)).for_each(GivenUp::tell);
                    announcements.ask(database, recorded.publication_due).await;
                }
                Err(error) => {
                    tracing::error!(error = telemetry::chain(&error), "Failures could not be recorded");
                    let tasks = given_up.into_iter().map(|order| order.task);
                    match error.class() {
                        // What it refuses, a dead letter may still tell of.
                        FailureClass::Permanent => hand_back.extend(tasks.flat_map(|task| task.message_ids)),
                        FailureClass::Transient | FailureClass::Auth => waiting.extend(tasks),
                    }
                }
            }
        }
        hand_back.extend(self.await_database(waiting).await);
        hand_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> NotStored {
        let error = ghl_error(status, status == 404);
        NotStored::Failed(FetchError::Ghl(error))
    }

    fn ghl_error(status: u16, not_found: bool) -> ghl_client::Error {
        ghl_client::Error::Status { call: "get order", status, not_found, timed_out: false, trace_id: None }
    }

    fn waits(not_stored: &NotStored, cause: Cause) -> Vec<Option<u64>> {
        (1..=5)
            .map(|attempt| match next_step(not_stored, cause, attempt, 1.0, Pace::default()) {
                NextStep::Retry { wait, attempt: next } => {
                    assert_eq!(next, attempt + 1);
                    Some(wait.as_secs())
                }
                NextStep::GiveUp { .. } => None,
                NextStep::AwaitDatabase => panic!("the database has answered"),
            })
            .collect()
    }

    #[test]
    fn each_class_has_its_waits() {
        assert_eq!(waits(&answered(500), Cause::Run), [Some(2), Some(4), Some(8), Some(16), None]);
        assert_eq!(waits(&answered(404), Cause::Run), [None; 5]);
        assert_eq!(waits(&answered(404), Cause::Webhook), [Some(5), Some(30), Some(120), Some(600), None]);
        assert_eq!(waits(&answered(401), Cause::Webhook), [None; 5]);
        assert_eq!(waits(&answered(422), Cause::Webhook), [None; 5]);
    }

    #[test]
    fn what_befalls_every_order_stops_the_run() {
        let stops = |not_stored| match next_step(&not_stored, Cause::Run, 1, 0.0, Pace::default()) {
            NextStep::GiveUp { stops_run, reason, .. } => (stops_run, reason),
            other => panic!("given up at once, not {other:?}"),
        };
        assert!(stops(answered(401)).0 && stops(answered(403)).0);
        assert!(!stops(answered(404)).0);
        let (stopped, reason) = stops(NotStored::Failed(FetchError::DailyBudget));
        assert!(stopped && reason.contains("budget") && !reason.contains("token"), "{reason}");
    }

    #[test]
    fn an_order_that_ghl_refuses_for_good_is_its_own_failure() {
        let refused = NotStored::Failed(FetchError::OrderRefused(ghl_error(403, false)));
        for cause in [Cause::Run, Cause::Webhook] {
            match next_step(&refused, cause, 1, 0.0, Pace::default()) {
                NextStep::GiveUp { class, code, reason, stops_run } => {
                    assert_eq!((class, code, stops_run), (FailureClass::Permanent, "order_refused", false));
                    assert!(reason.contains("accepts the access token"), "{reason}");
                }
                other => panic!("given up at once, not {other:?}"),
            }
        }
        let undecided = NotStored::Failed(FetchError::Undecided(ghl_error(403, false)));
        assert_eq!(waits(&undecided, Cause::Run), [Some(2), Some(4), Some(8), Some(16), None]);
    }

    #[test]
    fn an_order_is_not_to_blame_for_the_database() {
        let refused = |status| {
            let error = database::Error::Refused { function: "f", status, sqlstate: "-".into(), hint: None };
            NotStored::Failed(FetchError::Database(error))
        };
        for not_stored in [NotStored::NoDatabase, refused(503), refused(401)] {
            let step = next_step(&not_stored, Cause::Run, 5, 0.0, Pace::default());
            assert_eq!(step, NextStep::AwaitDatabase);
        }
        let step = next_step(&refused(404), Cause::Run, 1, 0.0, Pace::default());
        assert!(matches!(step, NextStep::GiveUp { .. }), "a missing migration won't go away: {step:?}");
    }

    #[test]
    fn a_failure_is_told_by_whom_the_database_names_or_has_kept_waiting() {
        let order_id = domain::OrderId::try_new("a").unwrap();
        let location_id = domain::LocationId::try_new("loc").unwrap();
        let told = |first: &[&domain::OrderId], waits: bool| {
            let message = OrderMessage::new(location_id.clone(), order_id.clone(), Cause::Run);
            let waiting_since = waits.then_some(Timestamp::UNIX_EPOCH);
            let task = Task {
                message: OrderMessage { waiting_since, ..message },
                sent_at: None,
                received_at: None,
                message_ids: Vec::new(),
                is_first_try: true,
            };
            let (class, reason) = (FailureClass::Permanent, String::new());
            let order = GivenUp { task, class, code: "order_not_found", reason, error: None };
            let first = first.iter().map(|id| (*id).clone()).collect();
            order.is_told_by(&Recorded { orders: Vec::new(), first, publication_due: false })
        };
        assert!(told(&[&order_id], false) && told(&[], true));
        assert!(!told(&[], false), "its run knows already");
    }

    #[test]
    fn waiting_for_a_slot_is_no_failure() {
        let wait = Duration::from_secs(3);
        assert_eq!(
            next_step(&NotStored::NotStarted(wait), Cause::Run, 2, 0.0, Pace::default()),
            NextStep::Retry { wait, attempt: 2 }
        );
    }
}
