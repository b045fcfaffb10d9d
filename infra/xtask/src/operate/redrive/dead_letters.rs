//! A stack's dead-letter queue, and which of its messages go back: those that the workers of the queue they come from can read.
//!
//! The queue empties itself into the failures, once the database answers. What stands in it for longer is moved back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use domain::LocationId;
use queues::{OrderMessage, RunMessage, TicketMessage};
use serde::de::DeserializeOwned;

use crate::operate::aws::{Aws, Deployment, InHand};
use crate::stop;

const DEAD_LETTERS: &str = "DeadLetterQueue";

/// The dead-letter queue of a stack.
pub(crate) struct DeadLetters<'a> {
    url: &'a str,
    /// Where its messages come from, by the queues' names in AWS.
    origins: BTreeMap<&'a str, Origin<'a>>,
}

struct Origin<'a> {
    /// `OrdersBulk` of `OrdersBulkQueue`: tells what its messages are.
    stem: &'a str,
    url: &'a str,
}

/// What became of the messages.
#[derive(Default)]
pub(crate) struct MovedBack {
    pub(crate) moved: usize,
    pub(crate) left: usize,
}

impl<'a> DeadLetters<'a> {
    pub(crate) fn of(deployment: &'a Deployment) -> Result<Self> {
        let url = deployment.queue(DEAD_LETTERS)?;
        let stem_of = |name: &'a str| name.strip_suffix("Queue").filter(|_| name != DEAD_LETTERS);
        let queues = deployment.queues.iter();
        let origins = queues.filter_map(|(name, url)| Some((name_of(url), Origin { stem: stem_of(name)?, url })));
        Ok(Self { url, origins: origins.collect() })
    }

    /// Says what it holds, and counts what can be moved, approximately.
    pub(crate) fn show(&self, aws: &Aws) -> Result<u64> {
        let count = aws.waiting(&[self.url])?.remove(self.url).context("the queue wasn't counted")?;
        println!("{} waiting, {} being recorded as failures", count.visible, count.in_hand);
        Ok(count.visible)
    }

    /// Moves what is of this location, a batch in `per_batch`.
    pub(crate) fn move_back(&self, aws: &Aws, location_id: &LocationId, per_batch: Duration) -> Result<MovedBack> {
        let mut done = MovedBack::default();
        loop {
            let began = Instant::now();
            let (by_target, left) = self.sort(aws.receive(self.url)?, location_id);
            done.left += left;
            if by_target.is_empty() {
                return Ok(done);
            }
            for (target, messages) in by_target {
                aws.move_messages(self.url, target, &messages)?;
                done.moved += messages.len();
            }
            stop::sleep(per_batch.saturating_sub(began.elapsed()))
                .with_context(|| format!("{} were moved", done.moved))?;
        }
    }

    /// What goes back, by the queue it goes to, and how many stay.
    fn sort(&self, received: Vec<InHand>, location_id: &LocationId) -> (BTreeMap<&'a str, Vec<InHand>>, usize) {
        let (mut by_target, mut left) = (BTreeMap::<_, Vec<_>>::new(), 0);
        for message in received {
            let origin = message.origin.as_deref().and_then(|name| self.origins.get(name));
            match origin.filter(|origin| is_of(location_id, origin.stem, &message.body)) {
                Some(origin) => by_target.entry(origin.url).or_default().push(message),
                None => left += 1,
            }
        }
        (by_target, left)
    }
}

/// The last part of a queue's URL.
fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Whether the workers of a queue can read a message, and it is about this location.
fn is_of(location_id: &LocationId, stem: &str, body: &str) -> bool {
    let ours = location_id.as_str();
    match stem {
        "Orders" | "OrdersBulk" => read::<OrderMessage>(body).is_some_and(|order| order.location_id.as_str() == ours),
        "Tickets" => read::<TicketMessage>(body).is_some_and(|tickets| tickets.location_id.as_str() == ours),
        "Runs" => read::<RunMessage>(body).is_some_and(|pulse| pulse.location_id.as_str() == ours),
        _ => false,
    }
}

fn read<T: DeserializeOwned>(body: &str) -> Option<T> {
    serde_json::from_str(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{"location_id": "loc", "order_id": "a", "cause": "run", "run_id": "r"}"#;
    const TICKETS: &str = r#"{"location_id": "loc", "order_id": "a", "cause": "due", "change": "written"}"#;
    const PULSE: &str = r#"{"location_id": "loc", "run_id": "r", "pulse": 3}"#;

    fn moved(stem: &str, body: &str) -> bool {
        is_of(&LocationId::try_new("loc").unwrap(), stem, body)
    }

    #[test]
    fn each_queue_gets_back_what_its_workers_read() {
        for (stem, body) in [("Orders", ORDER), ("OrdersBulk", ORDER), ("Tickets", TICKETS), ("Runs", PULSE)] {
            assert!(moved(stem, body), "{stem}");
        }
        for (stem, body) in [("Orders", PULSE), ("Tickets", ORDER), ("Runs", ORDER), ("Later", ORDER)] {
            assert!(!moved(stem, body), "{stem}");
        }
    }

    #[test]
    fn a_letter_goes_back_where_it_comes_from() {
        let deployment: Deployment = serde_json::from_value(serde_json::json!({
            "name": "ghl-sync", "outputs": {}, "parameters": {},
            "queues": { "DeadLetterQueue": "http://sqs/0/s-dead", "OrdersQueue": "http://sqs/0/s-orders", "RunsQueue": "http://sqs/0/s-runs" },
        }))
        .unwrap();
        let received = [
            (ORDER, Some("s-orders")),
            (PULSE, Some("s-runs")),
            (ORDER, None),
            (PULSE, Some("s-orders")),
            (ORDER, Some("t-orders")),
        ];
        let received =
            received.map(|(body, origin)| serde_json::json!({ "body": body, "origin": origin, "receipt": "r" }));
        let received = serde_json::from_value(serde_json::Value::from(received.to_vec())).unwrap();
        let letters = DeadLetters::of(&deployment).unwrap();
        let (by_target, left) = letters.sort(received, &LocationId::try_new("loc").unwrap());
        let moved: Vec<_> =
            by_target.iter().map(|(url, messages)| (*url, messages[0].body.as_str(), messages.len())).collect();
        assert_eq!(moved, [("http://sqs/0/s-orders", ORDER, 1), ("http://sqs/0/s-runs", PULSE, 1)]);
        assert_eq!(left, 3);
    }

    #[test]
    fn what_is_of_another_location_or_cannot_be_read_stays() {
        for stem in ["Orders", "OrdersBulk", "Tickets", "Runs"] {
            for body in [ORDER, TICKETS, PULSE] {
                assert!(!moved(stem, &body.replace("loc\"", "other\"")), "{stem}: {body}");
            }
            for body in ["", "poison", "[]", "null", "7", r#"{"location_id": "loc"}"#] {
                assert!(!moved(stem, body), "{stem}: {body}");
            }
        }
    }
}
