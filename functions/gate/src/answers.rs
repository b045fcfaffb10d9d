//! What callers are told of a decision.

use domain::frames::utc_ms;
use domain::gate::{GateAnswer, GateResult, GateTicket};
use http_api::{ApiError, Response, StatusCode, json};
use serde_json::{Value, json};

use crate::action::Action;

/// The answer, with words for whoever stands at the gate.
pub(crate) fn told(action: &Action, answer: GateAnswer) -> Result<Response, ApiError> {
    let ticket = answer.ticket.as_ref().map(shown).unwrap_or_default();
    let validated_at = ticket.get("validatedAt").cloned().unwrap_or_default();
    let reason = answer.ticket.and_then(|ticket| ticket.reason);
    match answer.result {
        GateResult::Admitted => done("admitted", answer.repeated, &ticket),
        GateResult::Undone => done("undone", answer.repeated, &ticket),
        GateResult::CancelledByHand => done("cancelled", answer.repeated, &ticket),
        GateResult::Reinstated => done("reinstated", answer.repeated, &ticket),
        GateResult::AlreadyValidated => {
            let message = match action {
                Action::Cancel(_) => "This ticket has been admitted: undo that first, then cancel it",
                _ => "This ticket has already been admitted",
            };
            Err(ApiError::conflict("already_validated", message)
                .with("validatedAt", validated_at)
                .with("ticket", ticket))
        }
        GateResult::Cancelled => Err(ApiError::conflict("ticket_cancelled", "This ticket is no longer valid")
            .with("reason", reason)
            .with("ticket", ticket)),
        GateResult::ScanEnded => {
            let message = "This scan was decided before, and the ticket has changed since: scan it anew";
            Err(ApiError::conflict("scan_ended", message).with("ticket", ticket))
        }
        GateResult::ScanIdReused => {
            let message = "This scanId belongs to another scan: each scan needs a new one";
            Err(ApiError::conflict("scan_id_reused", message))
        }
        GateResult::NotValidated => {
            Err(ApiError::conflict("not_validated", "This ticket has not been admitted yet").with("ticket", ticket))
        }
        GateResult::OtherAdmission => {
            let message = "This ticket was admitted at another time than the one to undo";
            Err(ApiError::conflict("other_admission", message).with("validatedAt", validated_at).with("ticket", ticket))
        }
        GateResult::CancelledBySync => {
            let message =
                "Sync has cancelled this ticket already; it comes back only if its order entitles to it again";
            Err(ApiError::conflict("cancelled_by_sync", message).with("reason", reason).with("ticket", ticket))
        }
        GateResult::NotCancelled => {
            Err(ApiError::conflict("not_cancelled", "This ticket is not cancelled").with("ticket", ticket))
        }
        GateResult::NotEntitled => {
            let message = "Its order has no place for this ticket: the next sync would cancel it again";
            Err(ApiError::conflict("not_entitled", message).with("reason", answer.why_not).with("ticket", ticket))
        }
        GateResult::NotFound => Err(ApiError::not_found("ticket_not_found", "There is no such ticket")),
    }
}

/// 200; `repeated` only where it is so.
fn done(result: &str, repeated: bool, ticket: &Value) -> Result<Response, ApiError> {
    let body = if repeated {
        json!({"result": result, "repeated": true, "ticket": ticket})
    } else {
        json!({"result": result, "ticket": ticket})
    };
    json(StatusCode::OK, &body)
}

/// A ticket as the scanner shows it; nothing of its buyer.
fn shown(ticket: &GateTicket) -> Value {
    json!({
        "ticketId": ticket.ticket_id,
        "orderId": ticket.order_id,
        "ticketType": ticket.ticket_type,
        "status": ticket.status,
        "validatedAt": ticket.validated_at.map(utc_ms),
    })
}
