//! The gate: a ticket is admitted once.

use serde::Deserialize;
use serde_json::json;

use crate::{Database, Error};

/// What the gate decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateResult {
    /// Let them in.
    Admitted,
    /// It was let in before.
    AlreadyValidated,
    /// It is cancelled.
    Cancelled,
    /// There is no such ticket.
    NotFound,
    /// The validation was taken back.
    Undone,
    /// There was no validation to take back.
    NotValidated,
}

/// A ticket, as the gate shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GateTicket {
    /// Its number.
    pub ticket_id: i64,
    /// Its order.
    pub order_id: String,
    /// Its label.
    pub ticket_type: String,
    /// Its status.
    pub status: String,
    /// When it was let in.
    pub validated_at: Option<String>,
    /// Why it is cancelled.
    pub reason: Option<String>,
}

/// The gate's answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GateAnswer {
    /// What was decided.
    pub result: GateResult,
    /// The ticket, where there is one.
    pub ticket: Option<GateTicket>,
}

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
