//! Removing expired rows.

use serde_json::{Value, json};

use crate::{Database, Error};

impl Database {
    /// Removes outcomes older than 30 days and other rows whose time has passed, at most `limit` of each.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn purge(&self, limit: u32) -> Result<(), Error> {
        self.call::<Value>("purge", json!({ "limit": limit })).await.map(drop)
    }
}
