//! The documents the tests send: orders as fetched from GHL, runs, pages. Built here so that a test names only what it is
//! about.

use serde_json::{Value, json};

use crate::harness::TestDatabase;

/// The moment of the first read in most tests.
pub(crate) const READ_AT: &str = "2026-03-01T10:00:00Z";

/// A line of an order.
pub(crate) fn line(product: &str, price: &str, label: &str, quantity: u32) -> Value {
    json!({"product_id": product, "price_id": price, "ticket_type": label, "quantity": quantity})
}

/// A paid, valid order with these lines, read at [`READ_AT`].
pub(crate) fn order(id: &str, lines: &[Value]) -> Value {
    json!({
        "order_id": id, "run_id": null, "cause": "webhook", "fetched_at": READ_AT,
        "source_updated_at": "2026-03-01T09:00:00.000Z", "foreign": false, "valid": true, "remember_only": false,
        "force": false, "attempts": 1, "product_ids": ["p1"], "lines_readable": true, "lines": lines,
        "ticket_quantities": {}, "entitled": true, "entitlement_reason": null, "live_mode": true, "issues": [],
        "row": {
            "total_paid": "150.10", "payment_status": "paid", "payment_currency": "EUR", "order_status": "completed",
            "contact_firstname": "Ada", "contact_lastname": "Example", "contact_email": "ada@example.test",
            "event_name": "Spring Gala", "date_added": "2026-02-28T12:00:00.000Z",
        },
    })
}

/// `order` with some fields replaced.
pub(crate) fn with(mut order: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        order[key] = value.clone();
    }
    order
}

/// Upserts one order and returns what became of it: `{order_id, result, reason, issues}`.
pub(crate) async fn upsert(database: &TestDatabase, order: Value) -> Value {
    database.call("upsert_orders", json!({"orders": [order]})).await["orders"][0].clone()
}

/// Reconciles one order outside a run.
pub(crate) async fn reconcile(database: &TestDatabase, id: &str) -> Value {
    database.call("reconcile_tickets", json!({"orders": [{"order_id": id}]})).await["orders"][0].clone()
}

/// Upserts and reconciles.
pub(crate) async fn sync(database: &TestDatabase, order: Value) -> Value {
    let id = order["order_id"].as_str().unwrap().to_owned();
    upsert(database, order).await;
    reconcile(database, &id).await
}

/// The tickets of an order as `label/status` in order of their ids.
pub(crate) async fn tickets(database: &TestDatabase, id: &str) -> Vec<String> {
    let query = format!("select ticket_type, status from ghl_qr_tickets where order_id = '{id}' order by ticket_id");
    let rows = database.rows(&query).await;
    rows.iter()
        .map(|row| format!("{}/{}", row["ticket_type"].as_str().unwrap(), row["status"].as_str().unwrap_or("null")))
        .collect()
}

/// Nothing may break the promise at rest.
pub(crate) async fn assert_in_step(database: &TestDatabase) {
    let broken = database.rows("select * from ghl_qr_tickets_out_of_step").await;
    assert!(broken.is_empty(), "out of step: {broken:#?}");
}

/// Starts a run with short times and returns its id.
pub(crate) async fn start(database: &TestDatabase, kind: &str) -> String {
    let started = database
        .call(
            "start_run",
            json!({
                "kind": kind, "requested_by": "admin@example.test", "cooldown_ms": 200, "lease_ms": 60000,
                "publish_interval_ms": 100,
            }),
        )
        .await;
    assert_eq!(started["started"], true, "{started:#}");
    started["run"]["run_id"].as_str().unwrap().to_owned()
}

/// Records a page of orders, each `(id, updatedAt)`, and returns the whole answer.
pub(crate) async fn page(database: &TestDatabase, run: &str, orders: &[(&str, &str)], complete: bool) -> Value {
    let orders: Vec<_> = orders.iter().map(|(id, stamp)| json!({"order_id": id, "source_updated_at": stamp})).collect();
    database
        .call(
            "record_page",
            json!({
                "run_id": run, "listing": {"offset": 0}, "listing_complete": complete, "total_count": orders.len(),
                "orders": orders,
            }),
        )
        .await
}

/// The ids that a run wants fetched next.
pub(crate) async fn dispatch(database: &TestDatabase, run: &str) -> Vec<String> {
    let request = json!({"run_id": run, "max_outstanding": 1000, "resend_after_ms": 60000, "limit": 1000});
    let answer = database.call("dispatch_orders", request).await;
    answer["order_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// The run as it stands now.
pub(crate) async fn run(database: &TestDatabase, run: &str) -> Value {
    database.call("get_run", json!({"run_id": run, "limit": 100})).await
}
