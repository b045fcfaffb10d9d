//! What a Lambda receives from a queue, and which of it it hands back.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

pub use aws_lambda_events::sqs::{SqsBatchResponse as BatchItemFailures, SqsEvent, SqsMessage};
use serde::de::DeserializeOwned;
use telemetry::metrics::{self, Metric};
use thiserror::Error;

const SENT_AT: &str = "SentTimestamp";

/// A message as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<T> {
    /// SQS's id of the message, for [`failures`] and logs.
    pub message_id: String,
    /// The queue it came from, by name.
    pub queue: String,
    /// When it was sent, in ms since the Unix epoch.
    pub sent_at_ms: Option<i64>,
    /// When it was first received, in ms since the Unix epoch, by the same clock.
    pub received_at_ms: Option<i64>,
    /// How often it was received, this time included; at least 1. Grows by crashes and unreachable dependencies only.
    pub receive_count: u32,
    /// What it says.
    pub message: T,
}

/// A message that can't be read. Hand it back as failed: after its last receive it reaches the dead-letter queue,
/// where it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the message {message_id} of the queue {queue} can't be read: {problem}")]
pub struct UnreadableMessage {
    /// SQS's id of the message.
    pub message_id: String,
    /// The queue it came from, by name.
    pub queue: String,
    /// What is wrong and where, without any of the body.
    pub problem: BodyProblem,
}

/// Where a body stops being what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyProblem {
    is_json: bool,
    line: usize,
    column: usize,
}

/// Reads one message.
///
/// # Errors
/// [`UnreadableMessage`] if its body isn't a `T`.
pub fn receive<T: DeserializeOwned>(record: &SqsMessage) -> Result<Received<T>, UnreadableMessage> {
    let message_id = record.message_id.clone().unwrap_or_default();
    let queue = queue_of(record).to_owned();
    let number = |name: &str| number(record, name);
    match serde_json::from_str(record.body.as_deref().unwrap_or_default()) {
        Ok(message) => Ok(Received {
            message_id,
            queue,
            sent_at_ms: number(SENT_AT),
            received_at_ms: number("ApproximateFirstReceiveTimestamp"),
            receive_count: number("ApproximateReceiveCount").and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1),
            message,
        }),
        Err(error) => {
            let problem = BodyProblem { is_json: error.is_data(), line: error.line(), column: error.column() };
            Err(UnreadableMessage { message_id, queue, problem })
        }
    }
}

/// Reads a whole batch: what could be read, and what couldn't.
pub fn receive_all<T: DeserializeOwned>(event: &SqsEvent) -> (Vec<Received<T>>, Vec<UnreadableMessage>) {
    let (mut read, mut unreadable) = (Vec::with_capacity(event.records.len()), Vec::new());
    for record in &event.records {
        match receive(record) {
            Ok(message) => read.push(message),
            Err(problem) => unreadable.push(problem),
        }
    }
    (read, unreadable)
}

/// Takes down how old the oldest message of a batch is, by its queue. A batch comes from one queue.
pub fn measure_age(event: &SqsEvent) {
    let sent = event.records.iter().filter_map(|record| Some((number(record, SENT_AT)?, queue_of(record)))).min();
    let Some((sent_at_ms, queue)) = sent else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.as_secs_f64() - sent_at_ms as f64 / 1000.0;
    metrics::value_by(Metric::OldestMessageSeconds, &[queue], age.max(0.0));
}

/// The answer that hands these messages back to the queue and acknowledges all others.
pub fn failures<I: Into<String>>(message_ids: impl IntoIterator<Item = I>) -> BatchItemFailures {
    let mut answer = BatchItemFailures::default();
    for id in message_ids {
        answer.add_failure(id);
    }
    answer
}

/// The name of the queue it came from: the last part of the queue's ARN.
fn queue_of(record: &SqsMessage) -> &str {
    record.event_source_arn.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default()
}

fn number(record: &SqsMessage, attribute: &str) -> Option<i64> {
    record.attributes.get(attribute)?.parse().ok()
}

impl fmt::Display for BodyProblem {
    // serde's own text quotes the value it met; a body may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_json { "not the expected fields" } else { "no JSON" };
        write!(f, "{what}, at line {} column {}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{OrderMessage, RunMessage};

    fn event() -> SqsEvent {
        let record = |id: &str, body: &str| {
            json!({
                "messageId": id,
                "body": body,
                "attributes": {"SentTimestamp": "1750000000123", "ApproximateReceiveCount": "2"},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:runs",
            })
        };
        let body = r#"{"location_id": "loc", "run_id": "r", "pulse": 4}"#;
        serde_json::from_value(json!({"Records": [
            record("good", body), record("text", "Jane Roe"), record("fields", r#"{"pulse": "Jane Roe"}"#),
        ]}))
        .unwrap()
    }

    #[test]
    fn good_and_unreadable_messages_part() {
        let (read, unreadable) = receive_all::<RunMessage>(&event());
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].message_id.as_str(), read[0].queue.as_str()), ("good", "runs"));
        assert_eq!((read[0].sent_at_ms, read[0].receive_count), (Some(1_750_000_000_123), 2));
        assert_eq!(read[0].message.pulse, 4);
        let texts: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "the message text of the queue runs can't be read: no JSON, at line 1 column 1");
        assert!(texts[1].contains("not the expected fields"), "{}", texts[1]);
        assert!(!texts.concat().contains("Jane"), "a body is never quoted");
    }

    #[test]
    fn a_message_of_another_kind_is_unreadable() {
        assert!(receive::<OrderMessage>(&event().records[0]).is_err());
    }

    #[tokio::test]
    async fn the_age_of_a_batch_is_measured_once_by_its_queue() {
        let counted = metrics::Collector::default();
        counted.scope(async { measure_age(&event()) }).await;
        counted.scope(async { measure_age(&SqsEvent::default()) }).await;
        assert_eq!(counted.counted(Metric::OldestMessageSeconds, &["runs"]), 1);
    }

    #[test]
    fn the_answer_lambda_understands() {
        let answer = serde_json::to_value(failures(["a", "b"])).unwrap();
        assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}));
        assert_eq!(serde_json::to_value(failures([""; 0])).unwrap(), json!({"batchItemFailures": []}));
    }

    /// Whatever stands in a queue: each message is read or named, and what is said of it quotes none of it.
    #[test]
    fn fuzz_messages() {
        let order = r#"{"location_id": "loc", "order_id": "ord", "cause": "webhook", "attempt": 1}"#;
        let ticket = r#"{"location_id": "loc", "order_id": "ord", "cause": "run", "run_id": "r", "change": "written"}"#;
        let pulse = r#"{"location_id": "loc", "run_id": "r1", "pulse": 3}"#;
        fuzz::fuzz(&[order.as_bytes(), ticket.as_bytes(), pulse.as_bytes(), b"poison"], |input| {
            let body = String::from_utf8_lossy(input).into_owned();
            let mut record = SqsMessage::default();
            (record.message_id, record.body) = (Some("m".into()), Some(body));
            let mut event = SqsEvent::default();
            event.records = vec![record];
            let (orders, unreadable) = receive_all::<OrderMessage>(&event);
            assert_eq!(orders.len() + unreadable.len(), 1);
            assert!(unreadable.iter().all(|problem| problem.to_string().len() < 300), "{unreadable:?}");
            assert!(orders.iter().all(|order| order.receive_count >= 1));
            for (read, named) in [counts::<crate::TicketMessage>(&event), counts::<crate::RunMessage>(&event)] {
                assert_eq!(read + named, 1);
            }
        });
    }

    fn counts<T: DeserializeOwned>(event: &SqsEvent) -> (usize, usize) {
        let (read, named) = receive_all::<T>(event);
        (read.len(), named.len())
    }
}
