//! What was done with an order: what its upsert did to its row, and what reconciling did to its tickets.

use serde::{Deserialize, Serialize};

use crate::ids::OrderId;
use crate::issue::Issue;

/// What an upsert did to an order's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The row was inserted or changed.
    Written,
    /// The row held the same values already.
    Unchanged,
    /// The row is newer than what was read.
    Stale,
}

/// What an upsert did with an order: `skipped`, or a [`Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpsertResult {
    /// Not a valid order of ours: it has no row.
    Skipped,
    /// It has a row; its tickets come next.
    #[serde(untagged)]
    Stored(Change),
}

/// What reconciling did to the tickets of one order.
#[derive(Debug, Clone, Deserialize)]
pub struct Reconciled {
    /// Which order.
    pub order_id: OrderId,
    /// Tickets made.
    pub added: u32,
    /// Tickets brought back.
    pub reinstated: u32,
    /// Tickets cancelled.
    pub cancelled: u32,
    /// Tickets left as they were.
    pub kept: u32,
    /// Validated tickets beyond what the order entitles to.
    pub over_validated: u32,
    /// What a person should look at.
    #[serde(default)]
    pub issues: Vec<Issue>,
}

impl Reconciled {
    /// Whether a ticket was made, brought back or cancelled.
    #[must_use]
    pub const fn changed(&self) -> bool {
        self.added > 0 || self.reinstated > 0 || self.cancelled > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_json() {
        let read = |word: &str| serde_json::from_value::<UpsertResult>(word.into());
        for (change, word) in [(Change::Written, "written"), (Change::Unchanged, "unchanged"), (Change::Stale, "stale")]
        {
            assert_eq!(serde_json::to_value(change).unwrap(), word);
            assert_eq!(read(word).unwrap(), UpsertResult::Stored(change));
        }
        assert_eq!(read("skipped").unwrap(), UpsertResult::Skipped);
        assert!(read("lost").is_err());
    }

    #[test]
    fn kept_tickets_are_no_change() {
        let done = |added: u32, reinstated: u32, cancelled: u32| Reconciled {
            order_id: OrderId::try_new("a").unwrap(),
            added,
            reinstated,
            cancelled,
            kept: 3,
            over_validated: 1,
            issues: Vec::new(),
        };
        assert!(!done(0, 0, 0).changed());
        assert!(done(1, 0, 0).changed() && done(0, 1, 0).changed() && done(0, 0, 1).changed());
    }
}
