//! Runs, failures and issues in the words of the API.

use database::{Drift, DriftRow, FailureRow, IssueRow, RunDetail};
use domain::Run;
use domain::frames::utc_ms;
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
        "skippedOrders": run.skipped,
        "unchangedOrders": run.unchanged,
        "totalTickets": run.tickets_total,
        "ticketsAdded": run.tickets_added,
        "ticketsReinstated": run.tickets_reinstated,
        "ticketsCancelled": run.tickets_cancelled,
        "requestedBy": run.requested_by,
    });
    if let (Some(fields), Some(message)) = (report.as_object_mut(), &run.error_message) {
        fields.insert("error".to_owned(), json!(message));
        fields.insert("errorCode".to_owned(), json!(run.error_code));
    }
    report
}

/// A run with its failures, skips and issues.
pub(crate) fn detail(found: &Run, detail: &RunDetail) -> Value {
    json!({
        "run": run(found),
        "failures": detail.failures.iter().map(failure).collect::<Vec<_>>(),
        "skips": detail.skips.iter().map(failure).collect::<Vec<_>>(),
        "issues": detail.issues.iter().map(issue).collect::<Vec<_>>(),
        "drift": drift(detail.drift.as_ref().unwrap_or(&Drift::default())),
        "next": detail.next,
    })
}

/// Orders whose tickets disagreed before the run, in all and one by one.
fn drift(drift: &Drift) -> Value {
    let row = |row: &DriftRow| json!({ "orderId": row.order_id, "added": row.added, "reinstated": row.reinstated, "cancelled": row.cancelled });
    json!({
        "orders": drift.orders, "added": drift.added, "reinstated": drift.reinstated, "cancelled": drift.cancelled,
        "list": drift.list.iter().map(row).collect::<Vec<_>>(),
    })
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
