//! Scans that name themselves: which were decided, and whose admissions stand.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Scans {
    /// Each with the ticket that was scanned.
    decided: Vec<(String, i32)>,
    /// The scan that admitted a ticket, as long as nobody has touched that.
    admitted: BTreeMap<i32, String>,
}

impl Scans {
    pub(super) fn next_id(&self, seed: u64) -> String {
        format!("scan {} of {seed}", self.decided.len() + 1)
    }

    pub(super) fn choose(&self, random: &mut StdRng) -> Option<(String, i32)> {
        self.decided.choose(random).cloned()
    }

    /// Somebody changes the ticket's status.
    pub(super) fn touched(&mut self, ticket: i32) {
        self.admitted.remove(&ticket);
    }

    /// What kind of scan it was, if the answer is right.
    pub(super) fn told(&mut self, scan_id: &str, ticket: i32, answer: &Value) -> Result<Kind, String> {
        let (result, repeated) = (&answer["result"], answer["repeated"] == true);
        let Some((_, before)) = self.decided.iter().find(|(id, _)| id == scan_id) else {
            self.decided.push((scan_id.to_owned(), ticket));
            if result == "admitted" {
                self.admitted.insert(ticket, scan_id.to_owned());
            }
            let new = !repeated && result != "scan_ended" && result != "scan_id_reused";
            return if new { Ok(Kind::New) } else { Err(format!("a new scan was told {answer}")) };
        };
        let (kind, right) = match self.admitted.get(&ticket) {
            _ if *before != ticket => (Kind::Reused, result == "scan_id_reused"),
            Some(id) if id == scan_id => (Kind::Again, result == "admitted" && repeated),
            _ => (Kind::Used, ["already_validated", "cancelled", "scan_ended"].iter().any(|ended| result == ended)),
        };
        if right { Ok(kind) } else { Err(format!("{scan_id} was told {answer}, {kind:?}")) }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    New,
    /// Its admission stands.
    Again,
    /// It was refused, or its admission doesn't stand any more.
    Used,
    /// Of another ticket.
    Reused,
}
