//! The dead-letter queues of a stack, and which of their messages go back: those that their queue's workers can read.
//!
//! These queues empty themselves into the failures, once the database answers. What stands in them for longer is moved back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use domain::LocationId;
use queues::{OrderMessage, RunMessage, TicketMessage};
use serde::de::DeserializeOwned;

use crate::operate::aws::{Aws, Deployment};
use crate::stop;

const DEAD_LETTERS: &str = "DeadLetterQueue";

/// A dead-letter queue and where its messages came from.
pub(crate) struct DeadLetterQueue<'a> {
    name: &'a str,
    url: &'a str,
    /// `OrdersBulk` of `OrdersBulkQueue`: tells what its messages are.
    stem: &'a str,
    origin_url: &'a str,
}

/// What became of the messages.
#[derive(Default)]
pub(crate) struct MovedBack {
    pub(crate) moved: usize,
    pub(crate) left: usize,
}

/// All of the stack.
pub(crate) fn queues_of(deployment: &Deployment) -> Result<Vec<DeadLetterQueue<'_>>> {
    let mut found = Vec::new();
    for (name, url) in &deployment.queues {
        if let Some(stem) = name.strip_suffix(DEAD_LETTERS) {
            found.push(DeadLetterQueue { name, url, stem, origin_url: deployment.queue(&format!("{stem}Queue"))? });
        }
    }
    if found.is_empty() {
        bail!("the stack has no dead-letter queues: is it one of ghl-sync?");
    }
    Ok(found)
}

/// Says what each holds, and counts what can be moved, approximately.
pub(crate) fn show(aws: &Aws, queues: &[DeadLetterQueue<'_>]) -> Result<u64> {
    let counts = aws.waiting(&queues.iter().map(|queue| queue.url).collect::<Vec<_>>())?;
    let mut visible = 0;
    for queue in queues {
        let count = counts.get(queue.url).context("a queue wasn't counted")?;
        println!("{:<28} {:>6} waiting, {:>6} being recorded as failures", queue.name, count.visible, count.in_hand);
        visible += count.visible;
    }
    Ok(visible)
}

/// Moves what is of this location, a batch in `per_batch`.
pub(crate) fn move_back(
    aws: &Aws,
    queues: &[DeadLetterQueue<'_>],
    location_id: &LocationId,
    per_batch: Duration,
) -> Result<MovedBack> {
    let mut done = MovedBack::default();
    for queue in queues {
        loop {
            let began = Instant::now();
            let received = aws.receive(queue.url)?;
            let (ours, others): (Vec<_>, Vec<_>) =
                received.into_iter().partition(|message| is_of(location_id, queue.stem, &message.body));
            done.left += others.len();
            if ours.is_empty() {
                break;
            }
            aws.move_messages(queue.url, queue.origin_url, &ours)?;
            done.moved += ours.len();
            stop::sleep(per_batch.saturating_sub(began.elapsed()))
                .with_context(|| format!("{} were moved", done.moved))?;
        }
    }
    Ok(done)
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
