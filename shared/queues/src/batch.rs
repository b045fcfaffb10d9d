//! What a Lambda receives from a queue, and the messages it hands back.

use std::fmt;

pub use aws_lambda_events::sqs::{SqsBatchResponse as BatchItemFailures, SqsEvent, SqsMessage};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use telemetry::metrics::{self, Metric};
use thiserror::Error;

use crate::OneOrMore;

const SENT_AT: &str = "SentTimestamp";

/// What is logged of a message that names a location this deployment doesn't serve.
pub const OTHER_LOCATION: &str = "A message is for another location";

/// A message as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<T> {
    /// SQS's id of the message, for [`failures`] and logs.
    pub message_id: String,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// When it was first received, by the same clock.
    pub received_at: Option<Timestamp>,
    /// Whether it was received before, and whoever had it came to no end.
    pub again: bool,
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
    what: String,
    line: usize,
    column: usize,
}

/// Reads one message.
///
/// # Errors
/// [`UnreadableMessage`] if its body isn't a `T`.
pub fn receive<T: DeserializeOwned>(record: &SqsMessage) -> Result<Received<T>, UnreadableMessage> {
    let message_id = record.message_id.clone().unwrap_or_default();
    let body = record.body.as_deref().unwrap_or_default();
    match serde_json::from_str(body) {
        Ok(message) => Ok(Received {
            message_id,
            sent_at: time(record, SENT_AT),
            received_at: time(record, "ApproximateFirstReceiveTimestamp"),
            again: record.attributes.get("ApproximateReceiveCount").is_some_and(|count| count != "1"),
            message,
        }),
        Err(error) => {
            let queue = queue_of(record).to_owned();
            Err(UnreadableMessage { message_id, queue, problem: BodyProblem::of(body, &error) })
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

/// Reads a whole batch of messages about one order or about several.
pub fn receive_work<One: DeserializeOwned, More: DeserializeOwned>(
    event: &SqsEvent,
) -> (Vec<Received<OneOrMore<One, More>>>, Vec<UnreadableMessage>) {
    let (mut read, mut unreadable) = (Vec::with_capacity(event.records.len()), Vec::new());
    for record in &event.records {
        let message = if is_about_several(record) {
            receive(record).map(|received| received.map(OneOrMore::More))
        } else {
            receive(record).map(|received| received.map(OneOrMore::One))
        };
        match message {
            Ok(message) => read.push(message),
            Err(problem) => unreadable.push(problem),
        }
    }
    (read, unreadable)
}

/// By the field that holds them.
fn is_about_several(record: &SqsMessage) -> bool {
    #[derive(Deserialize)]
    struct Several {
        order_ids: Option<IgnoredAny>,
        orders: Option<IgnoredAny>,
    }
    serde_json::from_str(record.body.as_deref().unwrap_or_default())
        .is_ok_and(|Several { order_ids, orders }| order_ids.is_some() || orders.is_some())
}

impl<T> Received<T> {
    /// The same receipt of another message.
    pub fn map<U>(self, message: impl FnOnce(T) -> U) -> Received<U> {
        let Self { message_id, sent_at, received_at, again, message: received } = self;
        Received { message_id, sent_at, received_at, again, message: message(received) }
    }
}

/// Records the age of the oldest message of a batch, by queue. A batch comes from one queue. One that was sent again on account
/// of the database is as old as its wait.
pub fn measure_age(event: &SqsEvent) {
    let sent = event.records.iter().filter_map(|record| Some((waits_since(record)?, queue_of(record)))).min();
    let Some((sent_at, queue)) = sent else { return };
    let age = Timestamp::now().duration_since(sent_at).as_secs_f64();
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

/// Since when a message waits to be handled.
fn waits_since(record: &SqsMessage) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Since {
        waiting_since_ms: Option<i64>,
    }
    let sent_at = time(record, SENT_AT)?;
    let since = serde_json::from_str(record.body.as_deref().unwrap_or_default()).ok();
    let since = since.and_then(|Since { waiting_since_ms }| Timestamp::from_millisecond(waiting_since_ms?).ok());
    Some(since.map_or(sent_at, |since| since.min(sent_at)))
}

/// The name of the queue it came from: the last part of the queue's ARN.
fn queue_of(record: &SqsMessage) -> &str {
    record.event_source_arn.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default()
}

/// SQS gives times in ms since the Unix epoch.
fn time(record: &SqsMessage, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(record.attributes.get(name)?.parse().ok()?).ok()
}

impl BodyProblem {
    /// serde's own text quotes the value it met, and a body may hold anything; only the name of a field that is missing
    /// is ours.
    fn of(body: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let what = match missing {
            Some(field) => format!("the field {field} is missing"),
            // Parsed again: serde_json reports a number in the place of a text as an error of syntax.
            None if serde_json::from_str::<IgnoredAny>(body).is_ok() => "not the expected fields".to_owned(),
            None => "not JSON".to_owned(),
        };
        Self { what, line: error.line(), column: error.column() }
    }
}

impl fmt::Display for BodyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at line {} column {}", self.what, self.line, self.column)
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
        assert_eq!(read[0].message_id, "good");
        let sent_at = Timestamp::from_millisecond(1_750_000_000_123).ok();
        assert_eq!(read[0].sent_at, sent_at);
        assert_eq!(read[0].message.pulse, 4);
        let texts: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "the message text of the queue runs can't be read: not JSON, at line 1 column 1");
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
    fn what_waits_for_the_database_is_as_old_as_its_wait() {
        let mut record = event().records.remove(0);
        let since = |record: &SqsMessage| waits_since(record).unwrap().as_millisecond();
        assert_eq!(since(&record), 1_750_000_000_123);
        for (waiting_since_ms, expected) in
            [(1_740_000_000_000_i64, 1_740_000_000_000), (1_760_000_000_000, 1_750_000_000_123)]
        {
            record.body = Some(json!({"pulse": "x", "waiting_since_ms": waiting_since_ms}).to_string());
            assert_eq!(since(&record), expected);
        }
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
        let several =
            r#"{"location_id": "loc", "order_ids": ["ord"], "cause": "run", "run_id": "r1", "dispatched_at_ms": 3}"#;
        let seeds = [order.as_bytes(), ticket.as_bytes(), pulse.as_bytes(), several.as_bytes(), b"poison"];
        fuzz::fuzz(&seeds, |input| {
            let body = String::from_utf8_lossy(input).into_owned();
            let mut record = SqsMessage::default();
            (record.message_id, record.body) = (Some("m".into()), Some(body));
            let mut event = SqsEvent::default();
            event.records = vec![record];
            let (orders, unreadable) = receive_all::<OrderMessage>(&event);
            assert_eq!(orders.len() + unreadable.len(), 1);
            assert!(unreadable.iter().all(|problem| problem.to_string().len() < 300), "{unreadable:?}");
            let (work, unreadable) = receive_work::<OrderMessage, crate::OrdersMessage>(&event);
            assert_eq!(work.len() + unreadable.len(), 1);
            for (read, named) in [counts::<crate::TicketMessage>(&event), counts::<crate::RunMessage>(&event)] {
                assert_eq!(read + named, 1);
            }
            let about = crate::Subject::of(&event.records[0]);
            assert!(
                orders
                    .iter()
                    .all(|order| about.as_ref().map(crate::Subject::location_id) == Some(&order.message.location_id))
            );
        });
    }

    fn counts<T: DeserializeOwned>(event: &SqsEvent) -> (usize, usize) {
        let (read, named) = receive_all::<T>(event);
        (read.len(), named.len())
    }
}
