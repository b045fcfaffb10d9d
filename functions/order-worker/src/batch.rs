//! A batch of messages, by order: several messages for one order are served by one fetch.

use domain::{Force, LocationId};
use jiff::Timestamp;
use queues::batch::{OTHER_LOCATION, Received};
use queues::{OneOrMore, OrderMessage, OrderWork, earlier};

/// One order to sync, requested by one or more messages.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The newest of the messages.
    pub(crate) message: OrderMessage,
    /// When the newest notice was sent.
    pub(crate) sent_at: Option<Timestamp>,
    /// When the first of them was received.
    pub(crate) received_at: Option<Timestamp>,
    /// All of them: acknowledged or handed back together.
    pub(crate) message_ids: Vec<String>,
    /// Whether each of them is received for the first time, and not again because it had to wait.
    pub(crate) is_first_try: bool,
}

impl Task {
    /// The message to send when this one has to wait. It keeps the time of the first notice.
    pub(crate) fn retry_message(&self, attempt: u32) -> OrderMessage {
        OrderMessage { attempt, waiting_since: None, ..self.same_message() }
    }

    /// The message to send when the database has kept this one from its work: the same attempt again.
    pub(crate) fn same_message(&self) -> OrderMessage {
        OrderMessage { noticed_at: self.sent_at, dispatched_at: None, ..self.message.clone() }
    }

    pub(crate) fn is_bulk(&self) -> bool {
        self.message.cause.is_bulk()
    }
}

/// The orders of a batch, each as if it had come alone. A message about several that is received again is left out: whoever had it
/// came to no end with it, maybe on account of one of its orders, so its run sends each of them again, alone. And when there
/// will be calls for them, as far as that is known.
pub(crate) fn each(received: Vec<Received<OrderWork>>) -> (Vec<Received<OrderMessage>>, Option<Timestamp>) {
    let (mut each, mut calls_at) = (Vec::with_capacity(received.len()), None);
    for received in received {
        let Received { message_id, sent_at, received_at, again, message } = received;
        let of = |message| Received { message_id: message_id.clone(), sent_at, received_at, again, message };
        match message {
            OneOrMore::One(message) => each.push(of(message)),
            OneOrMore::More(message) if again => {
                let (run_id, orders) = (&message.run_id, message.order_ids.len());
                tracing::warn!(message_id, run_id = %run_id, orders, "A message about several orders came again; each of them will be sent alone");
            }
            OneOrMore::More(message) => {
                calls_at = calls_at.max(message.calls_at);
                each.extend(message.each().map(of));
            }
        }
    }
    (each, calls_at)
}

/// The tasks of a batch, and the messages for another location: those are handed back, and end as dead letters.
pub(crate) fn tasks(received: Vec<Received<OrderMessage>>, ours: &LocationId) -> (Vec<Task>, Vec<String>) {
    let (mut tasks, mut refused): (Vec<Task>, Vec<String>) = (Vec::new(), Vec::new());
    for received in received {
        let Received { message_id, message, sent_at, received_at, .. } = received;
        if message.location_id != *ours {
            tracing::warn!(message_id, order_id = %message.order_id, "{OTHER_LOCATION}");
            refused.push(message_id);
            continue;
        }
        let sent_at = message.noticed_at.or(sent_at);
        let is_first_try = message.attempt == 1 && message.waiting_since.is_none() && !message.claimed;
        let same =
            |task: &&mut Task| (&task.message.order_id, &task.message.run_id) == (&message.order_id, &message.run_id);
        match tasks.iter_mut().find(same) {
            Some(task) => {
                task.message_ids.push(message_id);
                task.sent_at = task.sent_at.max(sent_at);
                task.received_at = task.received_at.min(received_at);
                // Nobody else will fetch what one of them has waited for.
                task.is_first_try &= is_first_try;
                let force = Force::newer(task.message.force.take(), message.force.clone());
                let waiting_since = earlier(task.message.waiting_since, message.waiting_since);
                if message.attempt < task.message.attempt {
                    task.message = message;
                }
                task.message.waiting_since = waiting_since;
                task.message.force = force;
            }
            None => tasks.push(Task { message, sent_at, received_at, message_ids: vec![message_id], is_first_try }),
        }
    }
    (tasks, refused)
}

#[cfg(test)]
mod tests {
    use domain::{Cause, OrderId};

    use super::*;

    fn location(id: &str) -> LocationId {
        LocationId::try_new(id).unwrap()
    }

    fn received(id: &str, order: &str, of: &str, sent_at_ms: i64) -> Received<OrderMessage> {
        Received {
            message_id: id.into(),
            sent_at: Timestamp::from_millisecond(sent_at_ms).ok(),
            received_at: None,
            again: false,
            message: OrderMessage::new(location(of), OrderId::try_new(order).unwrap(), Cause::Webhook),
        }
    }

    #[test]
    fn a_burst_for_one_order_is_one_task_as_young_as_its_newest_message() {
        let batch =
            vec![received("1", "a", "loc", 1000), received("2", "b", "loc", 2000), received("3", "a", "loc", 3000)];
        let (tasks, refused) = tasks(batch, &location("loc"));
        assert!(refused.is_empty());
        assert_eq!(tasks.len(), 2);
        assert_eq!(tasks[0].message_ids, ["1", "3"]);
        assert_eq!(tasks[0].sent_at.unwrap().as_millisecond(), 3000);
    }

    #[test]
    fn a_message_that_waited_is_as_old_as_its_notice() {
        let first = tasks(vec![received("1", "a", "loc", 1000)], &location("loc")).0.remove(0);
        let later = Received { message: first.retry_message(2), ..received("2", "a", "loc", 9000) };
        let (tasks, _) = tasks(vec![later], &location("loc"));
        assert_eq!((tasks[0].sent_at.unwrap().as_millisecond(), tasks[0].message.attempt), (1000, 2));
    }

    #[test]
    fn waiting_for_the_database_is_the_same_attempt_but_no_first_try() {
        let mut message = received("1", "a", "loc", 1000);
        assert!(tasks(vec![message.clone()], &location("loc")).0[0].is_first_try);
        message.message.waiting_since = Timestamp::from_millisecond(2000).ok();
        let task = tasks(vec![message], &location("loc")).0.remove(0);
        assert!(!task.is_first_try);
        assert_eq!((task.same_message().attempt, task.same_message().noticed_at), (1, task.sent_at));
        assert!(task.retry_message(2).waiting_since.is_none(), "the database has answered since");
    }

    #[test]
    fn what_is_served_together_has_waited_as_long_as_the_longest() {
        let since = |ms| Timestamp::from_millisecond(ms).ok();
        let waiting = |id: &str, ms| {
            let mut message = received(id, "a", "loc", 1000);
            message.message.waiting_since = since(ms);
            message
        };
        let batch = vec![received("1", "a", "loc", 9000), waiting("2", 3000), waiting("3", 2000)];
        assert_eq!(tasks(batch, &location("loc")).0[0].message.waiting_since, since(2000));
    }

    #[test]
    fn what_an_admin_insists_on_survives_waiting_and_company() {
        let force = |lines: Option<&str>, ms| Force {
            lines: lines.map(str::to_owned),
            asked_at: Timestamp::from_millisecond(ms).ok(),
        };
        let mut forced = received("1", "a", "loc", 1000);
        forced.message.force = Some(force(None, 1000));
        let others = |order: usize| {
            let mut batch = vec![received("2", "a", "loc", 2000), received("3", "a", "loc", 3000)];
            batch.insert(order, forced.clone());
            tasks(batch, &location("loc")).0.remove(0)
        };
        for task in (0..3).map(others) {
            assert_eq!(task.retry_message(2).force, forced.message.force);
        }
        let mut named = received("4", "a", "loc", 500);
        named.message.force = Some(force(Some("hash"), 500));
        let task = tasks(vec![named.clone(), forced], &location("loc")).0.remove(0);
        assert_eq!(task.message.force, named.message.force, "the one that names its lines");
    }

    #[test]
    fn a_new_notice_beside_one_that_waited_is_no_first_try() {
        let waited = tasks(vec![received("1", "a", "loc", 1000)], &location("loc")).0.remove(0).retry_message(3);
        let new = received("2", "a", "loc", 5000);
        for batch in [
            [new.clone(), received("3", "a", "loc", 9000).map(|_| waited.clone())],
            [received("3", "a", "loc", 9000).map(|_| waited.clone()), new],
        ] {
            let task = tasks(batch.to_vec(), &location("loc")).0.remove(0);
            assert_eq!((task.is_first_try, task.message.attempt), (false, 1), "it is fetched, and has patience");
        }
    }

    #[test]
    fn several_orders_are_tasks_of_one_message_unless_it_comes_again() {
        let dispatched_at = Timestamp::from_millisecond(5000).unwrap();
        let several = |again| {
            let order_ids = ["a", "b"].map(|id| OrderId::try_new(id).unwrap()).to_vec();
            let run_id = domain::RunId::try_new("r").unwrap();
            let message = queues::OrdersMessage {
                location_id: location("loc"),
                order_ids,
                cause: Cause::Run,
                run_id,
                dispatched_at,
                calls_at: None,
            };
            Received { again, ..received("1", "a", "loc", 6000).map(|_| OneOrMore::More(message)) }
        };
        let (tasks, _) = tasks(each(vec![several(false)]).0, &location("loc"));
        let named: Vec<_> =
            tasks.iter().map(|task| (task.message.order_id.as_str(), task.message_ids.join(","))).collect();
        assert_eq!(named, [("a", "1".to_owned()), ("b", "1".to_owned())]);
        assert!(tasks.iter().all(|task| task.message.dispatched_at == Some(dispatched_at) && task.is_bulk()));
        assert!(tasks[0].retry_message(2).dispatched_at.is_none(), "its run doesn't get it back");
        assert!(each(vec![several(true)]).0.is_empty());
    }

    #[test]
    fn what_names_another_location_is_handed_back_and_the_rest_goes_on() {
        let batch = vec![received("1", "a", "other", 0), received("2", "a", "loc", 0)];
        let (tasks, refused) = tasks(batch, &location("loc"));
        assert_eq!(refused, ["1"]);
        assert_eq!(tasks[0].message_ids, ["2"]);
    }
}
