//! What the gate decides about a ticket.

use jiff::Timestamp;
use serde::Deserialize;

/// What the gate decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateResult {
    /// The ticket was admitted.
    Admitted,
    /// It had been admitted before.
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
    /// Its order. A text: the original app's rows aren't checked.
    pub order_id: String,
    /// Its label.
    pub ticket_type: String,
    /// Its status. A text: the original app and people write others than ours, or none.
    pub status: Option<String>,
    /// When it was admitted.
    pub validated_at: Option<Timestamp>,
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
