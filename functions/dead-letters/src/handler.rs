//! What a dead letter was about, and where that is recorded.

use database::{Database, Failure};
use domain::frames::Publication;
use domain::{FailureClass, OrderId, RunId};
use queues::batch::{BatchItemFailures, SqsEvent, SqsMessage, failures, measure_age};
use serde_json::Value;
use sync::Publisher;
use telemetry::metrics::{self, Metric};

/// Receives before a message becomes a dead letter: `maxReceiveCount` of the template.
const RECEIVES: u32 = 5;
const REASON: &str =
    "It failed five times because a part of the system was out of reach. Look at the logs of that time, then retry it.";

/// The code of a message that names nothing.
const UNREADABLE: &str = "unreadable_message";

/// The function's state.
pub(crate) struct DeadLetters {
    pub(crate) database: Database,
    pub(crate) publisher: Publisher,
}

/// What a dead letter is about.
#[derive(Debug, PartialEq)]
enum Subject {
    /// An order, in a run or alone.
    Order { order_id: OrderId, run_id: Option<RunId> },
    /// A run's pulse.
    Run(RunId),
    /// Nothing that can be read.
    Unreadable,
}

impl DeadLetters {
    /// Records each letter; what can't be recorded now stays in its queue.
    pub(crate) async fn handle(&self, event: SqsEvent) -> BatchItemFailures {
        measure_age(&event);
        let mut back = Vec::new();
        for record in &event.records {
            let message_id = record.message_id.clone().unwrap_or_default();
            match self.record(&message_id, record).await {
                Ok(Some(publication)) => {
                    self.publisher.publish(&self.database, &publication).await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(
                        message_id,
                        error = telemetry::chain(&error),
                        "A dead letter could not be recorded"
                    );
                    back.push(message_id);
                }
            }
        }
        failures(back)
    }

    /// Records what a letter is about, and says so in the log once it is recorded: what isn't comes again.
    async fn record(&self, message_id: &str, record: &SqsMessage) -> Result<Option<Publication>, database::Error> {
        let failure = match subject(record, self.database.location_id().as_str()) {
            Subject::Run(run_id) => {
                let message = format!("The sync stopped. {REASON}");
                let ended = self.database.end_run(&run_id, "pulse_failed", &message).await?;
                tracing::error!(message_id, run_id = %run_id, "A run's pulse failed for good");
                return Ok(ended.publication);
            }
            Subject::Order { order_id, run_id } => Failure {
                order_id,
                run_id,
                cause: "dead_letter",
                class: FailureClass::Permanent,
                code: "dead_letter",
                reason: REASON.to_owned(),
                attempts: RECEIVES,
            },
            Subject::Unreadable => {
                // The message's own id stands for the order it doesn't name.
                let Ok(order_id) = OrderId::try_new(message_id) else {
                    tracing::error!(message_id, "A message that can't be read was given up");
                    return Ok(None);
                };
                Failure {
                    order_id,
                    run_id: None,
                    cause: "dead_letter",
                    class: FailureClass::Permanent,
                    code: UNREADABLE,
                    reason: "A queue held a message that names no order of this location; this id is the message's."
                        .to_owned(),
                    attempts: RECEIVES,
                }
            }
        };
        let recorded = self.database.record_failures(std::slice::from_ref(&failure)).await?;
        let run_id = failure.run_id.as_ref().map(RunId::as_str);
        let Failure { order_id, code, .. } = &failure;
        tracing::error!(message_id, order_id = %order_id, run_id, code, "A message failed for good");
        metrics::count(Metric::FailuresRecorded, 1);
        metrics::count(Metric::OrdersFailed, usize::from(*code != UNREADABLE));
        Ok(recorded.publication)
    }
}

fn subject(record: &SqsMessage, ours: &str) -> Subject {
    let body: Value = record.body.as_deref().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    if text("location_id").as_deref() != Some(ours) {
        return Subject::Unreadable;
    }
    let run_id = text("run_id").and_then(|id| RunId::try_new(id).ok());
    match (text("order_id").map(OrderId::try_new), run_id, body.get("pulse")) {
        (Some(Ok(order_id)), run_id, _) => Subject::Order { order_id, run_id },
        (None, Some(run_id), Some(_)) => Subject::Run(run_id),
        _ => Subject::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(body: &str) -> Subject {
        let mut record = SqsMessage::default();
        record.body = Some(body.to_owned());
        subject(&record, "loc")
    }

    #[test]
    fn letters_of_all_queues_are_understood() {
        let order_id = OrderId::try_new("a1").unwrap();
        let run_id = RunId::try_new("r1").unwrap();
        let order = r#"{"location_id": "loc", "order_id": "a1", "cause": "run", "run_id": "r1", "attempt": 1}"#;
        assert_eq!(about(order), Subject::Order { order_id: order_id.clone(), run_id: Some(run_id.clone()) });
        let webhook = r#"{"location_id": "loc", "order_id": "a1", "cause": "webhook", "change": "written"}"#;
        assert_eq!(about(webhook), Subject::Order { order_id, run_id: None });
        assert_eq!(about(r#"{"location_id": "loc", "run_id": "r1", "pulse": 3}"#), Subject::Run(run_id));
    }

    #[test]
    fn poison_is_unreadable() {
        for body in [
            "",
            "poison",
            "[]",
            r#"{"order_id": "a1"}"#,
            r#"{"location_id": "other", "order_id": "a1"}"#,
            r#"{"location_id": "loc", "order_id": "a/b"}"#,
        ] {
            assert_eq!(about(body), Subject::Unreadable, "{body}");
        }
    }
}
