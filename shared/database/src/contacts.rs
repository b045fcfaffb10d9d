//! People who are to be forgotten.

use domain::ContactId;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{Database, Error};

/// What is recorded of a person who is forgotten, and how far it is.
#[derive(Debug, Clone, Deserialize)]
pub struct Forgotten {
    /// When they were marked: from then on nothing of them is written any more.
    pub forgotten_at: Timestamp,
    /// Who wanted it.
    pub forgotten_by: Option<String>,
    /// Their orders that were blanked, so far.
    pub orders: u64,
    /// Whether all are. Else ask again.
    pub done: bool,
}

impl Database {
    /// Marks a contact as forgotten, and then blanks some hundred of its orders with each call. Repeat it until it is done; after that it
    /// answers the same.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn forget_contact(&self, contact_id: &ContactId, by: &str) -> Result<Forgotten, Error> {
        self.call("forget_contact", json!({ "contact_id": contact_id, "by": by })).await
    }
}
