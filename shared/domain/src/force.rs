//! What an admin insists on: that an order is applied as GHL shows it now, although that takes tickets.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use serde::{Deserialize, Serialize};

/// Which lines are forced. Lines that nobody has seen aren't: those that are read later may be others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Force {
    /// Only these, by the hash that the database gave them when it reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<String>,
    /// Without a hash: only those that were reported before this moment, when the admin asked (in ms since the Unix epoch on the
    /// wire). Without either, whatever is read: for a caller who is told at once.
    #[serde(rename = "asked_at_ms", default, skip_serializing_if = "Option::is_none", with = "millisecond::optional")]
    pub asked_at: Option<Timestamp>,
}

impl Force {
    /// Of two demands about one order the newer; one that names its lines before one that doesn't.
    #[must_use]
    pub fn newer(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).max_by_key(|force| (force.lines.is_some(), force.asked_at))
    }

    /// Whether a text may be the hash of lines: 32 hexadecimal digits.
    #[must_use]
    pub fn is_hash(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}
