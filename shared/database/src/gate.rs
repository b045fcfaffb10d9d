//! The gate: a ticket is admitted once. And what admins do with tickets by hand.

use domain::gate::{GateAnswer, Reason, Scan};
use jiff::Timestamp;
use serde_json::json;

use crate::{Database, Error};

impl Database {
    /// Admits a ticket, once. The same scan may be sent again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn validate_ticket(&self, ticket_id: i64, by: &str, scan: Option<&Scan>) -> Result<GateAnswer, Error> {
        let gate = scan.and_then(|scan| scan.gate.as_ref()).map(|gate| gate.as_str());
        let scan_id = scan.map(|scan| scan.id.as_str());
        let request = json!({ "ticket_id": ticket_id, "by": by, "scan_id": scan_id, "gate": gate });
        self.call("validate_ticket", request).await
    }

    /// Takes a validation back: the one of this moment, or without it the one that stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn undo_ticket(
        &self,
        ticket_id: i64,
        by: &str,
        validated_at: Option<Timestamp>,
    ) -> Result<GateAnswer, Error> {
        self.call("undo_ticket", json!({ "ticket_id": ticket_id, "by": by, "validated_at": validated_at })).await
    }

    /// Cancels a ticket by hand.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_ticket(&self, ticket_id: i64, by: &str, reason: &Reason) -> Result<GateAnswer, Error> {
        let request = json!({ "ticket_id": ticket_id, "by": by, "reason": reason.as_str() });
        self.call("cancel_ticket", request).await
    }

    /// Makes a ticket live again that a person had cancelled.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reinstate_ticket(&self, ticket_id: i64, by: &str, reason: &Reason) -> Result<GateAnswer, Error> {
        let request = json!({ "ticket_id": ticket_id, "by": by, "reason": reason.as_str() });
        self.call("reinstate_ticket", request).await
    }
}
