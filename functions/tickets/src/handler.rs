//! One call for the whole batch; order by order only when the database refuses the batch's data.

use database::{Database, Failure, Recorded, ToReconcile};
use domain::failure::Pace;
use domain::outcome::Reconciled;
use domain::{Change, FailureClass, LocationId, RunId};
use jiff::Timestamp;
use queues::batch::{BatchItemFailures, OTHER_LOCATION, Received, SqsEvent, failures, measure_age, receive_work};
use queues::{MOST_TOGETHER, OneOrMore, Queue, TicketMessage, TicketWork, earlier};
use runs::Announcements;
use telemetry::events;
use telemetry::metrics::{self, Metric};

/// The function's state.
pub(crate) struct Tickets {
    pub(crate) database: Database,
    pub(crate) announcements: Announcements,
    /// The function's own queue, where messages wait for the database.
    pub(crate) queue: Queue<TicketMessage>,
    /// How long they wait, relative to the designed times.
    pub(crate) pace: Pace,
}

/// One order's tickets, requested by one or more messages.
struct Task {
    message: TicketMessage,
    message_ids: Vec<String>,
    /// Whether each of them was received before.
    again: bool,
}

impl Task {
    fn order(&self) -> ToReconcile {
        let TicketMessage { order_id, run_id, change, attempt, .. } = self.message.clone();
        ToReconcile { order_id, run_id, change, attempts: attempt }
    }

    /// Whether its order is logged though the database had nothing to do: an earlier try had no answer, so nobody has said it; or a
    /// webhook's order was unchanged, which leaves no trace, and this message comes for the first time.
    fn is_told_by_itself(&self) -> bool {
        let TicketMessage { run_id, change, waiting_since, .. } = &self.message;
        waiting_since.is_some() || (run_id.is_none() && *change != Change::Written && !self.again)
    }
}

impl Tickets {
    /// Handles a batch. What the database keeps from being done waits in a new message; handed back is what can't be read, and
    /// what SQS doesn't take.
    pub(crate) async fn handle(&self, event: SqsEvent) -> BatchItemFailures {
        measure_age(&event);
        let (received, unreadable) = receive_work(&event);
        for problem in &unreadable {
            tracing::warn!(message_id = problem.message_id, queue = problem.queue, "{problem}");
        }
        let (received, again) = each(received);
        let (tasks, mut hand_back) = tasks(received, self.database.location_id());
        hand_back.extend(unreadable.into_iter().map(|problem| problem.message_id));
        hand_back.extend(self.split(again).await);
        let mut tasks = tasks.into_iter().peekable();
        while tasks.peek().is_some() {
            hand_back.extend(self.sync(tasks.by_ref().take(MOST_TOGETHER).collect()).await);
        }
        failures(hand_back)
    }

    /// Sends a message for each order of a message about several that came again: whoever had it came to no end with it, maybe on
    /// account of one of them. Returns those to hand back.
    async fn split(&self, again: Vec<(String, Vec<TicketMessage>)>) -> Vec<String> {
        let mut hand_back = Vec::new();
        for (message_id, each) in again {
            tracing::warn!(
                message_id,
                orders = each.len(),
                "A message about several orders came again; each of them is sent alone"
            );
            if let Err(error) = self.queue.send_all(&each).await {
                tracing::error!(message_id, error = telemetry::chain(&error), "Orders could not be sent alone");
                hand_back.push(message_id);
            }
        }
        hand_back
    }

    /// Reconciles orders in one call. Returns the messages to hand back.
    async fn sync(&self, tasks: Vec<Task>) -> Vec<String> {
        let Err(error) = self.reconcile(&tasks).await else { return Vec::new() };
        if error.class() != FailureClass::Permanent {
            tracing::error!(
                orders = tasks.len(),
                error = telemetry::chain(&error),
                "Database connection error: the tickets will be retried"
            );
            return self.await_database(tasks).await;
        }
        let (mut hand_back, mut waiting) = (Vec::new(), Vec::new());
        for task in tasks {
            match self.reconcile_one(&task).await {
                Ok(()) => {}
                Err(error) if error.class() == FailureClass::Permanent => hand_back.extend(task.message_ids),
                Err(_) => waiting.push(task),
            }
        }
        hand_back.extend(self.await_database(waiting).await);
        hand_back
    }

    /// Sends the messages again, to be handled in some seconds. Returns those to hand back.
    async fn await_database(&self, tasks: Vec<Task>) -> Vec<String> {
        let messages = tasks.iter().map(|task| task.message.clone()).collect();
        let hand_back = self.queue.postpone(messages, Timestamp::now(), fastrand::f64, self.pace).await;
        hand_back.into_iter().filter_map(|index| tasks.get(index)).flat_map(|task| task.message_ids.clone()).collect()
    }

    async fn reconcile(&self, tasks: &[Task]) -> Result<(), database::Error> {
        let orders: Vec<_> = tasks.iter().map(Task::order).collect();
        let recorded = self.database.reconcile_tickets(&orders).await?;
        count(&orders, &recorded);
        tell(tasks, &recorded);
        self.announcements.ask(&self.database, recorded.publication_due).await;
        Ok(())
    }

    /// Reconciles one order alone. If the database refuses it, the failure is recorded.
    async fn reconcile_one(&self, task: &Task) -> Result<(), database::Error> {
        let Err(error) = self.reconcile(std::slice::from_ref(task)).await else { return Ok(()) };
        let TicketMessage { order_id, run_id, cause, attempt, .. } = task.message.clone();
        if error.class() != FailureClass::Permanent {
            let (of_run, error_and_causes) = (run_id.as_ref().map(RunId::as_str), telemetry::chain(&error));
            tracing::error!(order_id = %order_id, run_id = of_run, error = error_and_causes, "The tickets of an order could not be reconciled now");
            return Err(error);
        }
        let failure = Failure {
            order_id,
            run_id,
            cause,
            class: FailureClass::Permanent,
            code: "tickets_refused",
            reason: format!("The tickets could not be reconciled: {error}"),
            attempts: attempt,
        };
        let recorded = self.database.record_failures(std::slice::from_ref(&failure)).await.inspect_err(|error| {
            tracing::error!(order_id = %failure.order_id, error = telemetry::chain(error), "A failure could not be recorded");
        })?;
        metrics::count(Metric::OrdersFailed, 1);
        metrics::count(Metric::FailuresRecorded, 1);
        if recorded.first.contains(&failure.order_id) || task.message.waiting_since.is_some() {
            tell_failure(&failure, &telemetry::chain(&error));
        }
        self.announcements.ask(&self.database, recorded.publication_due).await;
        Ok(())
    }
}

/// An order is synced now; it was unchanged where neither its row nor its tickets had to be written.
fn count(orders: &[ToReconcile], recorded: &Recorded) {
    let changed = |order: &ToReconcile| {
        let tickets = recorded.orders.iter().find(|tickets| tickets.order_id == order.order_id);
        order.change == Change::Written || tickets.is_some_and(Reconciled::changed)
    };
    metrics::count(Metric::OrdersSynced, orders.len());
    metrics::count(Metric::OrdersUnchanged, orders.iter().filter(|order| !changed(order)).count());
}

/// Logs each order that is in step now, and the tickets that were made.
fn tell(tasks: &[Task], recorded: &Recorded) {
    for done in &recorded.orders {
        let of_order: Vec<_> = tasks.iter().filter(|task| task.message.order_id == done.order_id).collect();
        let run_id = of_order.iter().find_map(|task| task.message.run_id.as_ref()).map(RunId::as_str);
        events::tickets_added(done.order_id.as_str(), run_id, done.added);
        if recorded.first.contains(&done.order_id) || of_order.iter().any(|task| task.is_told_by_itself()) {
            events::order_synced(done.order_id.as_str(), run_id);
        }
    }
}

/// Logs an order whose tickets the database refuses.
fn tell_failure(failure: &Failure, error: &str) {
    let Failure { order_id, run_id, attempts, .. } = failure;
    events::tickets_failed(order_id.as_str(), run_id.as_ref().map(RunId::as_str), *attempts, error);
    runs::tell_failure(failure, None);
}

/// The orders of a batch, each as if it had come alone, those that did first: a webhook's don't wait for a run's. And the orders
/// of messages about several that were received before.
#[expect(clippy::type_complexity, reason = "each message with its orders")]
fn each(received: Vec<Received<TicketWork>>) -> (Vec<Received<TicketMessage>>, Vec<(String, Vec<TicketMessage>)>) {
    let (mut alone, mut together, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for received in received {
        let Received { message_id, sent_at, received_at, again: comes_again, message } = received;
        let of =
            |message| Received { message_id: message_id.clone(), sent_at, received_at, again: comes_again, message };
        match message {
            OneOrMore::One(message) => alone.push(of(message)),
            OneOrMore::More(message) if comes_again => again.push((message_id, message.each().collect())),
            OneOrMore::More(message) => together.extend(message.each().map(of)),
        }
    }
    alone.append(&mut together);
    (alone, again)
}

/// The tasks of a batch, one per order and run, and the messages for another location.
fn tasks(received: Vec<Received<TicketMessage>>, ours: &LocationId) -> (Vec<Task>, Vec<String>) {
    let (mut tasks, mut refused): (Vec<Task>, Vec<String>) = (Vec::new(), Vec::new());
    for Received { message_id, message, again, .. } in received {
        if message.location_id != *ours {
            tracing::warn!(message_id, order_id = %message.order_id, "{OTHER_LOCATION}");
            refused.push(message_id);
            continue;
        }
        let same =
            |task: &&mut Task| (&task.message.order_id, &task.message.run_id) == (&message.order_id, &message.run_id);
        match tasks.iter_mut().find(same) {
            Some(task) => {
                task.message_ids.push(message_id);
                task.again &= again;
                task.message.waiting_since = earlier(task.message.waiting_since, message.waiting_since);
            }
            None => tasks.push(Task { message, message_ids: vec![message_id], again }),
        }
    }
    (tasks, refused)
}

#[cfg(test)]
mod tests {
    use domain::{Cause, OrderId};
    use queues::OrderMessage;
    use serde_json::json;
    use telemetry::metrics::Collector;

    use super::*;

    #[tokio::test]
    async fn an_order_is_unchanged_if_neither_row_nor_tickets_were_written() {
        let order = |id: &str, change| ToReconcile {
            order_id: OrderId::try_new(id).unwrap(),
            run_id: None,
            change,
            attempts: 1,
        };
        let orders = [
            order("a", Change::Written),
            order("b", Change::Unchanged),
            order("c", Change::Stale),
            order("d", Change::Unchanged),
        ];
        let done = |id: &str, added: u32| {
            json!({
                "order_id": id, "found": 0, "added": added, "reinstated": 0, "cancelled": 0, "kept": 0,
                "over_validated": 0,
            })
        };
        let done =
            json!({ "orders": [done("a", 0), done("b", 0), done("c", 0), done("d", 1)], "publication_due": false });
        let recorded = serde_json::from_value(done).unwrap();
        let counted = Collector::default();
        counted.scope(async { count(&orders, &recorded) }).await;
        let of = |metric| counted.counted(metric, &[]);
        assert_eq!((of(Metric::OrdersSynced), of(Metric::OrdersUnchanged)), (4, 2));
    }

    #[test]
    fn an_unchanged_order_is_told_by_the_first_message_and_what_was_not_answered_by_the_next() {
        let task = |change, run_id: Option<&str>, again, waits: bool| {
            let order_id = OrderId::try_new("a").unwrap();
            let message = OrderMessage::new(LocationId::try_new("loc").unwrap(), order_id, Cause::Webhook);
            let message = TicketMessage {
                run_id: run_id.map(|id| RunId::try_new(id).unwrap()),
                waiting_since: waits.then_some(Timestamp::UNIX_EPOCH),
                ..message.into_ticket_message(change)
            };
            Task { message, message_ids: vec!["1".to_owned()], again }.is_told_by_itself()
        };
        assert!(task(Change::Unchanged, None, false, false) && task(Change::Stale, None, false, false));
        assert!(!task(Change::Unchanged, None, true, false), "delivered again");
        assert!(!task(Change::Unchanged, Some("r"), false, false), "its run knows");
        assert!(!task(Change::Written, None, false, false), "the database knows");
        assert!(task(Change::Written, Some("r"), true, true));
    }

    #[test]
    fn orders_that_came_alone_go_before_those_of_a_run_and_what_comes_again_is_split() {
        let alone = |id: &str| {
            let location_id = LocationId::try_new("loc").unwrap();
            OrderMessage::new(location_id, OrderId::try_new(id).unwrap(), Cause::Run)
                .for_run(RunId::try_new("r").unwrap())
                .into_ticket_message(Change::Written)
        };
        let several = queues::TicketsMessage::of(&[alone("a"), alone("b")]).unwrap();
        let received = |message_id: &str, again, message| Received {
            message_id: message_id.to_owned(),
            sent_at: None,
            received_at: None,
            again,
            message,
        };
        let (orders, again) = each(vec![
            received("1", false, OneOrMore::More(several.clone())),
            received("2", true, OneOrMore::One(alone("c"))),
            received("3", true, OneOrMore::More(several)),
        ]);
        let order: Vec<_> = orders.iter().map(|received| (&*received.message_id, &received.message)).collect();
        assert_eq!(order, [("2", &alone("c")), ("1", &alone("a")), ("1", &alone("b"))]);
        assert_eq!(again, [("3".to_owned(), vec![alone("a"), alone("b")])]);
    }

    #[test]
    fn duplicates_are_one_task_and_strangers_are_handed_back() {
        let location = |id: &str| LocationId::try_new(id).unwrap();
        let received = |id: &str, of: &str, order: &str| Received {
            message_id: id.into(),
            sent_at: None,
            received_at: None,
            again: false,
            message: OrderMessage::new(location(of), OrderId::try_new(order).unwrap(), Cause::Webhook)
                .into_ticket_message(Change::Written),
        };
        let (tasks, refused) = tasks(
            vec![received("1", "loc", "a"), received("2", "loc", "a"), received("3", "other", "a")],
            &location("loc"),
        );
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].message_ids, ["1", "2"]);
        assert_eq!(refused, ["3"]);
    }
}
