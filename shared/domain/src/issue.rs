//! What couldn't be honoured in an order's data: the order is synced as far as it makes sense and this says what was left.

use serde::{Deserialize, Serialize};

/// A problem in outside data, with ids and field names but never a buyer's data, in words a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// A stable word for programs, such as `quantity_refused`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}

impl Issue {
    /// An issue from its code and its sentence.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}
