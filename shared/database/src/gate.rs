//! The gate: a ticket is admitted once.

use domain::gate::GateAnswer;
use serde_json::json;

use crate::{Database, Error};

impl Database {
    /// Admits a ticket, once.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn validate_ticket(&self, ticket_id: i64, by: &str) -> Result<GateAnswer, Error> {
        self.call("validate_ticket", json!({ "ticket_id": ticket_id, "by": by })).await
    }

    /// Takes a validation back.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn undo_ticket(&self, ticket_id: i64, by: &str) -> Result<GateAnswer, Error> {
        self.call("undo_ticket", json!({ "ticket_id": ticket_id, "by": by })).await
    }
}
