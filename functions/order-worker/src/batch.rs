//! A batch of messages, by order: several messages for one order are served by one fetch.

use domain::{OrderId, RunId};
use jiff::Timestamp;
use queues::batch::Received;
use queues::{Cause, OrderMessage};

/// What is asked for one order, by one or more messages.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) order_id: OrderId,
    pub(crate) run_id: Option<RunId>,
    /// The newest of the messages.
    pub(crate) message: OrderMessage,
    /// When the newest notice was sent.
    pub(crate) sent_at: Option<Timestamp>,
    /// When the first of them was received.
    pub(crate) received_at: Option<Timestamp>,
    /// All of them: acknowledged or handed back together.
    pub(crate) message_ids: Vec<String>,
}

impl Task {
    /// The message to send when this one has to wait; it is as old as what it follows.
    pub(crate) fn again(&self, attempt: u32) -> OrderMessage {
        let noticed_at_ms = self.sent_at.map(Timestamp::as_millisecond);
        OrderMessage { attempt, noticed_at_ms, ..self.message.clone() }
    }

    pub(crate) fn is_bulk(&self) -> bool {
        matches!(self.message.cause, Cause::Run | Cause::ValidList | Cause::Retry)
    }
}

/// The tasks of a batch, and the messages that name no order of this location: those are handed back, and end as dead letters.
pub(crate) fn tasks(received: Vec<Received<OrderMessage>>, ours: &str) -> (Vec<Task>, Vec<String>) {
    let (mut tasks, mut refused): (Vec<Task>, Vec<String>) = (Vec::new(), Vec::new());
    for received in received {
        let Received { message_id, message, sent_at_ms, received_at_ms, .. } = received;
        let run_id = message.run_id.clone().map(RunId::try_new).transpose();
        let (Ok(order_id), Ok(run_id)) = (OrderId::try_new(message.order_id.clone()), run_id) else {
            tracing::warn!(message_id, "A message names no order");
            refused.push(message_id);
            continue;
        };
        if message.location_id != ours {
            tracing::warn!(message_id, order_id = %order_id, "A message is for another location");
            refused.push(message_id);
            continue;
        }
        let time = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let (sent_at, received_at) = (time(message.noticed_at_ms.or(sent_at_ms)), time(received_at_ms));
        match tasks.iter_mut().find(|task| task.order_id == order_id && task.run_id == run_id) {
            Some(task) => {
                task.message_ids.push(message_id);
                task.sent_at = task.sent_at.max(sent_at);
                task.received_at = task.received_at.min(received_at);
                if message.attempt < task.message.attempt {
                    task.message = message;
                }
            }
            None => tasks.push(Task { order_id, run_id, message, sent_at, received_at, message_ids: vec![message_id] }),
        }
    }
    (tasks, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(id: &str, order: &str, location: &str, sent_at_ms: i64) -> Received<OrderMessage> {
        Received {
            message_id: id.into(),
            queue: "orders".into(),
            sent_at_ms: Some(sent_at_ms),
            received_at_ms: None,
            receive_count: 1,
            message: OrderMessage::new(location, order, Cause::Webhook),
        }
    }

    #[test]
    fn a_burst_for_one_order_is_one_task_as_young_as_its_newest_message() {
        let batch =
            vec![received("1", "a", "loc", 1000), received("2", "b", "loc", 2000), received("3", "a", "loc", 3000)];
        let (tasks, refused) = tasks(batch, "loc");
        assert!(refused.is_empty());
        assert_eq!(tasks.len(), 2);
        assert_eq!(tasks[0].message_ids, ["1", "3"]);
        assert_eq!(tasks[0].sent_at.unwrap().as_millisecond(), 3000);
    }

    #[test]
    fn a_message_that_waited_is_as_old_as_its_notice() {
        let first = tasks(vec![received("1", "a", "loc", 1000)], "loc").0.remove(0);
        let later = Received { message: first.again(2), ..received("2", "a", "loc", 9000) };
        let (tasks, _) = tasks(vec![later], "loc");
        assert_eq!((tasks[0].sent_at.unwrap().as_millisecond(), tasks[0].message.attempt), (1000, 2));
    }

    #[test]
    fn what_names_no_order_of_ours_is_handed_back_and_the_rest_goes_on() {
        let (tasks, refused) = tasks(
            vec![received("1", "a/../b", "loc", 0), received("2", "a", "other", 0), received("3", "a", "loc", 0)],
            "loc",
        );
        assert_eq!(refused, ["1", "2"]);
        assert_eq!(tasks[0].message_ids, ["3"]);
    }
}
