//! One call for the whole batch; order by order only when the database refuses the batch's data.

use database::{Database, Failure, Recorded, ToReconcile};
use domain::outcome::Reconciled;
use domain::{Cause, Change, FailureClass, LocationId, RunId};
use queues::TicketMessage;
use queues::batch::{BatchItemFailures, OTHER_LOCATION, Received, SqsEvent, failures, measure_age, receive_all};
use runs::Publisher;
use telemetry::metrics::{self, Metric};

/// The function's state.
pub(crate) struct Tickets {
    pub(crate) database: Database,
    pub(crate) publisher: Publisher,
}

/// One order's tickets, requested by one or more messages.
struct Task {
    order: ToReconcile,
    cause: Cause,
    message_ids: Vec<String>,
}

impl Tickets {
    /// Handles a batch. Hands back only what failed because the database couldn't be reached.
    pub(crate) async fn handle(&self, event: SqsEvent) -> BatchItemFailures {
        measure_age(&event);
        let (received, unreadable) = receive_all::<TicketMessage>(&event);
        for problem in &unreadable {
            tracing::warn!(message_id = problem.message_id, queue = problem.queue, "{problem}");
        }
        let (tasks, mut hand_back) = tasks(received, self.database.location_id());
        hand_back.extend(unreadable.into_iter().map(|problem| problem.message_id));
        if tasks.is_empty() {
            return failures(hand_back);
        }
        match self.reconcile(&tasks).await {
            Ok(()) => {}
            Err(error) if error.class() == FailureClass::Permanent => {
                for task in tasks {
                    hand_back.extend(self.reconcile_one(task).await);
                }
            }
            Err(error) => {
                tracing::error!(
                    orders = tasks.len(),
                    error = telemetry::chain(&error),
                    "Database connection error: the tickets will be retried"
                );
                hand_back.extend(tasks.into_iter().flat_map(|task| task.message_ids));
            }
        }
        failures(hand_back)
    }

    async fn reconcile(&self, tasks: &[Task]) -> Result<(), database::Error> {
        let orders: Vec<_> = tasks.iter().map(|task| task.order.clone()).collect();
        let recorded = self.database.reconcile_tickets(&orders).await?;
        count(&orders, &recorded);
        self.publish(&recorded).await;
        Ok(())
    }

    /// Reconciles one order alone. If the database refuses it, the failure is recorded.
    async fn reconcile_one(&self, task: Task) -> Vec<String> {
        let Err(error) = self.reconcile(std::slice::from_ref(&task)).await else { return Vec::new() };
        let order_id = task.order.order_id.clone();
        let run_id = task.order.run_id.as_ref().map(RunId::as_str);
        tracing::error!(order_id = %order_id, run_id, error = telemetry::chain(&error), "The tickets of an order could not be reconciled");
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
        match self.database.record_failures(std::slice::from_ref(&failure)).await {
            Ok(recorded) => {
                metrics::count(Metric::OrdersFailed, 1);
                metrics::count(Metric::FailuresRecorded, 1);
                self.publish(&recorded).await;
                Vec::new()
            }
            Err(error) => {
                tracing::error!(order_id = %failure.order_id, error = telemetry::chain(&error), "A failure could not be recorded");
                task.message_ids
            }
        }
    }

    async fn publish(&self, recorded: &Recorded) {
        self.publisher.publish_granted(&self.database, recorded.publication.as_ref()).await;
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

/// The tasks of a batch, one per order and run, and the messages for another location.
fn tasks(received: Vec<Received<TicketMessage>>, ours: &LocationId) -> (Vec<Task>, Vec<String>) {
    let (mut tasks, mut refused): (Vec<Task>, Vec<String>) = (Vec::new(), Vec::new());
    for Received { message_id, message, .. } in received {
        let TicketMessage { location_id, order_id, cause, run_id, attempt, change } = message;
        if location_id != *ours {
            tracing::warn!(message_id, order_id = %order_id, "{OTHER_LOCATION}");
            refused.push(message_id);
            continue;
        }
        match tasks.iter_mut().find(|task| task.order.order_id == order_id && task.order.run_id == run_id) {
            Some(task) => task.message_ids.push(message_id),
            None => tasks.push(Task {
                order: ToReconcile { order_id, run_id, change, attempts: attempt },
                cause,
                message_ids: vec![message_id],
            }),
        }
    }
    (tasks, refused)
}

#[cfg(test)]
mod tests {
    use domain::OrderId;
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
        let done = json!({ "orders": [done("a", 0), done("b", 0), done("c", 0), done("d", 1)], "publication": null });
        let recorded = serde_json::from_value(done).unwrap();
        let counted = Collector::default();
        counted.scope(async { count(&orders, &recorded) }).await;
        let of = |metric| counted.counted(metric, &[]);
        assert_eq!((of(Metric::OrdersSynced), of(Metric::OrdersUnchanged)), (4, 2));
    }

    #[test]
    fn duplicates_are_one_task_and_strangers_are_handed_back() {
        let location = |id: &str| LocationId::try_new(id).unwrap();
        let received = |id: &str, of: &str, order: &str| Received {
            message_id: id.into(),
            sent_at: None,
            received_at: None,
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
