//! What couldn't be applied of an order's data: the order is synced as far as possible, and an issue says what was left out.

use serde::{Deserialize, Serialize};

/// A problem in outside data, with ids and field names but never a buyer's data, in words a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// A stable code for programs, such as `quantity_refused`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}

/// The longest sentence, in characters: an id or a status that is quoted may be of any length, since it comes from outside.
pub const MAX_MESSAGE_CHARS: usize = 500;

impl Issue {
    /// An issue from its code and its sentence, which is cut at [`MAX_MESSAGE_CHARS`].
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(end);
            message.push('…');
        }
        Self { code: code.to_owned(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_that_quotes_too_much_is_cut() {
        assert_eq!(Issue::new("x", "é".repeat(500)).message.chars().count(), 500);
        assert_eq!(Issue::new("x", "é".repeat(501)).message, "é".repeat(500) + "…");
    }
}
