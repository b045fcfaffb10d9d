//! One call for the whole batch; order by order only when the database refuses the batch's data.

use database::{Database, Failure, Recorded, ToReconcile};
use domain::{FailureClass, OrderId, RunId};
use queues::TicketMessage;
use queues::batch::{BatchItemFailures, Received, SqsEvent, failures, receive_all};
use sync::Publisher;

/// The function's state.
pub(crate) struct Tickets {
    pub(crate) database: Database,
    pub(crate) publisher: Publisher,
}

/// One order's tickets, asked for by one or more messages.
struct Task {
    order: ToReconcile,
    cause: &'static str,
    message_ids: Vec<String>,
}

impl Tickets {
    /// Handles a batch. Handed back is only what failed for want of the database.
    pub(crate) async fn handle(&self, event: SqsEvent) -> BatchItemFailures {
        let (received, unreadable) = receive_all::<TicketMessage>(&event);
        for problem in &unreadable {
            tracing::error!(message_id = problem.message_id, queue = problem.queue, "{problem}");
        }
        let (tasks, mut back) = tasks(received, self.database.location_id().as_str());
        back.extend(unreadable.into_iter().map(|problem| problem.message_id));
        if tasks.is_empty() {
            return failures(back);
        }
        match self.reconcile(&tasks).await {
            Ok(()) => {}
            Err(error) if error.class() == FailureClass::Permanent => {
                for task in tasks {
                    back.extend(self.reconcile_one(task).await);
                }
            }
            Err(error) => {
                tracing::error!(
                    orders = tasks.len(),
                    error = telemetry::chain(&error),
                    "Database connection error: tickets wait"
                );
                back.extend(tasks.into_iter().flat_map(|task| task.message_ids));
            }
        }
        failures(back)
    }

    async fn reconcile(&self, tasks: &[Task]) -> Result<(), database::Error> {
        let orders: Vec<_> = tasks.iter().map(|task| task.order.clone()).collect();
        let recorded = self.database.reconcile_tickets(&orders).await?;
        self.publish(&recorded).await;
        Ok(())
    }

    /// One order alone; refused for good, it is recorded as failed.
    async fn reconcile_one(&self, task: Task) -> Vec<String> {
        let Err(error) = self.reconcile(std::slice::from_ref(&task)).await else { return Vec::new() };
        let order_id = task.order.order_id.clone();
        tracing::error!(order_id = %order_id, error = telemetry::chain(&error), "The tickets of an order could not be reconciled");
        if error.class() != FailureClass::Permanent {
            return task.message_ids;
        }
        let failure = Failure {
            order_id,
            run_id: task.order.run_id,
            cause: task.cause,
            class: FailureClass::Permanent,
            code: "tickets_refused",
            reason: format!("The tickets could not be reconciled: {error}"),
            attempts: task.order.attempts,
        };
        match self.database.record_failures(&[failure]).await {
            Ok(recorded) => {
                self.publish(&recorded).await;
                Vec::new()
            }
            Err(error) => {
                tracing::error!(error = telemetry::chain(&error), "A failure could not be recorded");
                task.message_ids
            }
        }
    }

    async fn publish(&self, recorded: &Recorded) {
        self.publisher.publish_granted(&self.database, recorded.publication.as_ref()).await;
    }
}

/// The tasks of a batch, one per order and run, and the messages that name none of this location.
fn tasks(received: Vec<Received<TicketMessage>>, ours: &str) -> (Vec<Task>, Vec<String>) {
    let (mut tasks, mut refused): (Vec<Task>, Vec<String>) = (Vec::new(), Vec::new());
    for Received { message_id, message, .. } in received {
        let run_id = message.run_id.clone().map(RunId::try_new).transpose();
        let (Ok(order_id), Ok(run_id), true) =
            (OrderId::try_new(message.order_id), run_id, message.location_id == ours)
        else {
            tracing::error!(message_id, "A message names no order of this location");
            refused.push(message_id);
            continue;
        };
        match tasks.iter_mut().find(|task| task.order.order_id == order_id && task.order.run_id == run_id) {
            Some(task) => task.message_ids.push(message_id),
            None => tasks.push(Task {
                order: ToReconcile { order_id, run_id, change: message.change.as_str(), attempts: message.attempt },
                cause: message.cause.as_str(),
                message_ids: vec![message_id],
            }),
        }
    }
    (tasks, refused)
}

#[cfg(test)]
mod tests {
    use queues::{Cause, Change, OrderMessage};

    use super::*;

    #[test]
    fn duplicates_are_one_task_and_strangers_are_handed_back() {
        let received = |id: &str, location: &str, order: &str| Received {
            message_id: id.into(),
            queue: "tickets".into(),
            sent_at_ms: None,
            received_at_ms: None,
            receive_count: 1,
            message: OrderMessage::new(location, order, Cause::Webhook).into_ticket_message(Change::Written),
        };
        let (tasks, refused) = tasks(
            vec![
                received("1", "loc", "a"),
                received("2", "loc", "a"),
                received("3", "other", "a"),
                received("4", "loc", "a b"),
            ],
            "loc",
        );
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].message_ids, ["1", "2"]);
        assert_eq!(refused, ["3", "4"]);
    }
}
