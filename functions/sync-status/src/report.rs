//! Runs, failures and issues in the form of the API.

use database::{Drift, DriftRow, FailureRow, IssueRow, RunDetail};
use domain::frames::utc_ms;
use domain::{Run, RunState};
use serde_json::{Value, json};

/// A run, as lists and details show it.
pub(crate) fn run(run: &Run) -> Value {
    let mut report = json!({
        "runId": run.run_id,
        "kind": run.kind,
        "status": run.state.as_str(),
        "startTime": utc_ms(run.started_at),
        "endTime": run.ended_at.map(utc_ms),
        "totalOrders": run.total_orders(),
        "listedOrders": run.listed,
        "syncedOrders": run.synced,
        "failedOrders": run.failed,
        "notAttemptedOrders": run.not_attempted,
        "skippedOrders": run.skipped,
        "unchangedOrders": run.unchanged,
        "totalTickets": run.tickets_total,
        "ticketsAdded": run.tickets_added,
        "ticketsReinstated": run.tickets_reinstated,
        "ticketsCancelled": run.tickets_cancelled,
        "requestedBy": run.requested_by,
    });
    if let (Some(fields), Some(message)) = (report.as_object_mut(), &run.error_message) {
        // The message of a skipped start is the code of the reason.
        let (error, code) = match run.state {
            RunState::Skipped => (skipped_because(message), Some(message)),
            _ => (message.as_str(), run.error_code.as_ref()),
        };
        fields.insert("error".to_owned(), json!(error));
        fields.insert("errorCode".to_owned(), json!(code));
    }
    report
}

/// Why a scheduled start was skipped, as a sentence; an unknown code is returned as it is.
fn skipped_because(reason: &str) -> &str {
    match reason {
        "running" => "Another sync was running",
        "cooldown" => "The previous sync had only just ended",
        "daily_budget" => "Too little of GoHighLevel's daily budget was left",
        other => other,
    }
}

/// A run with its failures, skips and issues.
pub(crate) fn detail(found: &Run, detail: &RunDetail) -> Value {
    json!({
        "run": run(found),
        "failures": detail.failures.iter().map(failure_in_run).collect::<Vec<_>>(),
        "skips": detail.skips.iter().map(failure).collect::<Vec<_>>(),
        "issues": detail.issues.iter().map(issue).collect::<Vec<_>>(),
        "drift": drift(detail.drift.as_ref().unwrap_or(&Drift::default()), &detail.open),
        "next": detail.next,
    })
}

/// Orders whose tickets disagreed before the run, in all and one by one, and which tables anybody with the public key may have changed.
fn drift(drift: &Drift, open: &[String]) -> Value {
    let row = |row: &DriftRow| json!({ "orderId": row.order_id, "added": row.added, "reinstated": row.reinstated, "cancelled": row.cancelled });
    json!({
        "orders": drift.orders, "added": drift.added, "reinstated": drift.reinstated, "cancelled": drift.cancelled,
        "list": drift.list.iter().map(row).collect::<Vec<_>>(), "openTables": open,
    })
}

/// A failure in a run's report, which keeps what happened in the run; `resolvedAt` is when the order was synced since.
fn failure_in_run(row: &FailureRow) -> Value {
    let mut report = failure(row);
    if let Some(fields) = report.as_object_mut() {
        fields.insert("resolvedAt".to_owned(), json!(row.resolved_at.map(utc_ms)));
    }
    report
}

/// A failure or skip.
pub(crate) fn failure(row: &FailureRow) -> Value {
    let mut report = json!({
        "orderId": row.order_id,
        "class": row.class,
        "code": row.code,
        "reason": row.reason,
        "attempts": row.attempts,
        "lastTryAt": row.last_try_at.map(utc_ms),
    });
    if let (Some(fields), Some(cause)) = (report.as_object_mut(), &row.cause) {
        fields.insert("cause".to_owned(), json!(cause));
    }
    report
}

fn issue(row: &IssueRow) -> Value {
    json!({ "orderId": row.order_id, "code": row.code, "message": row.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_start_says_why_in_a_sentence_and_in_a_word() {
        let mut skipped: Run = serde_json::from_value(json!({
            "run_id": "r1", "location_id": "loc", "kind": "incremental", "state": "Skipped", "listing": {},
            "started_at": "2026-05-01T10:00:00Z", "ended_at": "2026-05-01T10:00:00Z", "cooldown_until": null,
            "listing_complete": true, "total_count": null, "listed": 0, "synced": 0, "failed": 0, "skipped": 0,
            "unchanged": 0, "tickets_total": 0, "tickets_checked": 0, "ticket_types": 0, "tickets_added": 0,
            "tickets_cancelled": 0, "error_code": "skipped", "error_message": "running", "requested_by": "schedule",
            "pulse": 0, "announced_state": "Skipped", "now": "2026-05-01T10:00:00Z",
        }))
        .unwrap();
        let report = run(&skipped);
        assert_eq!((&report["error"], &report["errorCode"]), (&json!("Another sync was running"), &json!("running")));

        skipped.error_message = Some("full moon".to_owned());
        assert_eq!(run(&skipped)["error"], "full moon");
    }

    #[test]
    fn the_drift_says_which_tables_are_open() {
        let drift = drift(&Drift { orders: 1, ..Drift::default() }, &["ghl_qr_tickets".to_owned()]);
        assert_eq!((&drift["orders"], &drift["openTables"]), (&json!(1), &json!(["ghl_qr_tickets"])));
    }

    #[test]
    fn a_failure_in_a_run_tells_whether_the_order_was_synced_since() {
        let row: FailureRow = serde_json::from_value(json!({
            "order_id": "a", "class": "permanent", "code": "order_not_found", "reason": "GHL has no such order",
            "attempts": 1, "last_try_at": "2026-05-01T10:00:00Z", "resolved_at": "2026-05-01T10:05:00Z",
        }))
        .unwrap();
        assert_eq!(failure_in_run(&row)["resolvedAt"], "2026-05-01T10:05:00.000Z");
        let open = FailureRow { resolved_at: None, ..row };
        assert_eq!(failure_in_run(&open)["resolvedAt"], Value::Null);
        assert!(failure(&open).get("resolvedAt").is_none(), "what failed outside of a run stands until it is synced");
    }
}
