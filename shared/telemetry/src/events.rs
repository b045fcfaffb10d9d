//! What happens to orders, runs and dashboards, in the words of the original app, with the same facts in fields: one line for each
//! event. Who prints it is decided by what the database answered, so that a message that comes twice is told once.
//!
//! The lines have this module as their target, so that a sync can be read by itself: `filter target = "telemetry::events"`.
//!
//! | event | level | line | fields |
//! |---|---|---|---|
//! | `order_synced` | info | `Order <id> synced successfully` | `order_id`, `run_id?` |
//! | `order_failed` | error | `Failed to sync order <id>: <message>` | `order_id`, `run_id?`, `cause`, `class`, `code`, `attempts`, `error?` |
//! | `tickets_added` | info | `Added <n> tickets for order <id>` | `order_id`, `run_id?`, `tickets` |
//! | `tickets_failed` | error | `Failed to create ticket: <message>` | `order_id`, `run_id?`, `attempts` |
//! | `run_succeeded` | info | `SYNC SUCCESSFUL! Orders: <n>, Tickets: <n>, Time: <n>ms` | `run_id`, `kind`, `orders`, `tickets`, `tickets_added`, `failed`, `skipped`, `unchanged`, `duration_ms` |
//! | `run_failed` | error | `Error during sync: <message>` | `run_id`, `kind`, `code`, `orders`, `failed`, `skipped`, `not_attempted`, `duration_ms` |
//! | `connected` | info | `Client connected: <id>` | `connection_id` |
//! | `disconnected` | info | `Client disconnected: <id>` | `connection_id` |

/// An order that failed for good.
#[derive(Debug, Clone, Copy)]
pub struct OrderFailed<'a> {
    /// Which order.
    pub order_id: &'a str,
    /// The run it was looked at for.
    pub run_id: Option<&'a str>,
    /// Why it was looked at.
    pub cause: &'a str,
    /// How the failure is treated.
    pub class: &'a str,
    /// Its stable code.
    pub code: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// A sentence for a person.
    pub reason: &'a str,
    /// What went wrong, with its causes, where that is known.
    pub error: Option<&'a str>,
}

/// A run that has ended.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the columns of the run's row")]
pub struct RunEnded<'a> {
    pub run_id: &'a str,
    pub kind: &'a str,
    pub synced: u64,
    pub failed: u64,
    pub skipped: u64,
    pub unchanged: u64,
    pub not_attempted: u64,
    pub tickets: u64,
    pub tickets_added: u64,
    pub duration_ms: u64,
}

/// An order is in step now.
pub fn order_synced(order_id: &str, run_id: Option<&str>) {
    tracing::info!(event = "order_synced", order_id, run_id, "Order {order_id} synced successfully");
}

/// An order has failed for good.
pub fn order_failed(failed: OrderFailed<'_>) {
    let OrderFailed { order_id, run_id, cause, class, code, attempts, reason, error } = failed;
    tracing::error!(
        event = "order_failed",
        order_id,
        run_id,
        cause,
        class,
        code,
        attempts,
        error,
        "Failed to sync order {order_id}: {reason}"
    );
}

/// Tickets were made; for none there is no line.
pub fn tickets_added(order_id: &str, run_id: Option<&str>, tickets: u32) {
    if tickets > 0 {
        tracing::info!(
            event = "tickets_added",
            order_id,
            run_id,
            tickets,
            "Added {tickets} tickets for order {order_id}"
        );
    }
}

/// The database refuses an order's tickets; `message` is what it said.
pub fn tickets_failed(order_id: &str, run_id: Option<&str>, attempts: u32, message: &str) {
    tracing::error!(event = "tickets_failed", order_id, run_id, attempts, "Failed to create ticket: {message}");
}

/// A run has come to its end: every order has its outcome.
pub fn run_succeeded(run: RunEnded<'_>) {
    let RunEnded { run_id, kind, synced, failed, skipped, unchanged, tickets, tickets_added, duration_ms, .. } = run;
    tracing::info!(
        event = "run_succeeded",
        run_id,
        kind,
        orders = synced,
        tickets,
        tickets_added,
        failed,
        skipped,
        unchanged,
        duration_ms,
        "SYNC SUCCESSFUL! Orders: {synced}, Tickets: {tickets}, Time: {duration_ms}ms"
    );
}

/// A run has ended early; `message` is for an admin, and says what to do.
pub fn run_failed(run: RunEnded<'_>, code: &str, message: &str) {
    let RunEnded { run_id, kind, synced, failed, skipped, not_attempted, duration_ms, .. } = run;
    tracing::error!(
        event = "run_failed",
        run_id,
        kind,
        code,
        orders = synced,
        failed,
        skipped,
        not_attempted,
        duration_ms,
        "Error during sync: {message}"
    );
}

/// A dashboard is connected.
pub fn connected(connection_id: &str) {
    tracing::info!(event = "connected", connection_id, "Client connected: {connection_id}");
}

/// A dashboard is gone.
pub fn disconnected(connection_id: &str) {
    tracing::info!(event = "disconnected", connection_id, "Client disconnected: {connection_id}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::line::tests::logged;

    const FAILED: OrderFailed<'_> = OrderFailed {
        order_id: "order_abc123",
        run_id: None,
        cause: "webhook",
        class: "permanent",
        code: "order_not_found",
        attempts: 5,
        reason: "Failed to fetch order details: GHL answered 404",
        error: Some("GHL answered 404"),
    };

    const ENDED: RunEnded<'_> = RunEnded {
        run_id: "r1",
        kind: "full",
        synced: 150,
        failed: 1,
        skipped: 3,
        unchanged: 9,
        not_attempted: 7,
        tickets: 450,
        tickets_added: 12,
        duration_ms: 330_000,
    };

    /// The one line that is printed, without its time.
    fn line(telling: impl FnOnce()) -> Value {
        let mut lines = logged(telling);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let mut line = lines.remove(0);
        let fields = line.as_object_mut().unwrap();
        assert!(fields.remove("timestamp").is_some_and(|time| time.as_str().unwrap().ends_with('Z')));
        assert_eq!(fields.remove("target"), Some(json!("telemetry::events")));
        line
    }

    #[test]
    fn each_line_has_the_original_words_and_its_facts_as_fields() {
        let synced = line(|| order_synced("order_abc123", Some("r1")));
        assert_eq!(
            synced,
            json!({
                "level": "INFO", "message": "Order order_abc123 synced successfully", "event": "order_synced",
                "order_id": "order_abc123", "run_id": "r1",
            })
        );
        let failed = line(|| order_failed(FAILED));
        assert_eq!(
            failed,
            json!({
                "level": "ERROR", "event": "order_failed", "order_id": "order_abc123", "cause": "webhook",
                "message": "Failed to sync order order_abc123: Failed to fetch order details: GHL answered 404",
                "class": "permanent", "code": "order_not_found", "attempts": 5, "error": "GHL answered 404",
            })
        );
        let added = line(|| tickets_added("order_abc123", None, 5));
        assert_eq!(
            added,
            json!({
                "level": "INFO", "message": "Added 5 tickets for order order_abc123", "event": "tickets_added",
                "order_id": "order_abc123", "tickets": 5,
            })
        );
        let refused = line(|| tickets_failed("order_abc123", Some("r1"), 2, "the database answered 400"));
        assert_eq!(
            refused,
            json!({
                "level": "ERROR", "message": "Failed to create ticket: the database answered 400", "event": "tickets_failed",
                "order_id": "order_abc123", "run_id": "r1", "attempts": 2,
            })
        );
        for (event, words, telling) in [
            ("connected", "Client connected: c1=", connected as fn(&str)),
            ("disconnected", "Client disconnected: c1=", disconnected),
        ] {
            let told = line(|| telling("c1="));
            assert_eq!(told, json!({"level": "INFO", "message": words, "event": event, "connection_id": "c1="}));
        }
    }

    #[test]
    fn the_end_of_a_run_is_told_with_its_counts() {
        let succeeded = line(|| run_succeeded(ENDED));
        assert_eq!(
            succeeded,
            json!({
                "level": "INFO", "message": "SYNC SUCCESSFUL! Orders: 150, Tickets: 450, Time: 330000ms",
                "event": "run_succeeded", "run_id": "r1", "kind": "full", "orders": 150, "tickets": 450, "tickets_added": 12,
                "failed": 1, "skipped": 3, "unchanged": 9, "duration_ms": 330_000,
            })
        );
        let failed = line(|| run_failed(ENDED, "no_valid_products", "No valid products found"));
        assert_eq!(
            failed,
            json!({
                "level": "ERROR", "message": "Error during sync: No valid products found", "event": "run_failed",
                "run_id": "r1", "kind": "full", "code": "no_valid_products", "orders": 150, "failed": 1, "skipped": 3,
                "not_attempted": 7, "duration_ms": 330_000,
            })
        );
    }

    #[test]
    fn no_tickets_are_no_line() {
        assert_eq!(logged(|| tickets_added("order_abc123", None, 0)), Vec::<Value>::new());
    }

    #[test]
    fn the_tables_list_exactly_these() {
        let told = logged(|| {
            order_synced("a", Some("r1"));
            order_failed(OrderFailed { run_id: Some("r1"), ..FAILED });
            tickets_added("a", Some("r1"), 1);
            tickets_failed("a", Some("r1"), 1, "-");
            run_succeeded(ENDED);
            run_failed(ENDED, "-", "-");
            connected("c");
            disconnected("c");
        });
        let of_a_line: BTreeSet<_> = ["timestamp", "level", "message", "target", "event"].into();
        let told: Vec<(String, String, BTreeSet<String>)> = told
            .iter()
            .map(|line| {
                let text = |field: &str| line[field].as_str().unwrap().to_owned();
                let fields = line.as_object().unwrap().keys().filter(|field| !of_a_line.contains(field.as_str()));
                (text("event"), text("level").to_lowercase(), fields.cloned().collect())
            })
            .collect();
        let (own, _) = include_str!("events.rs").split_once("/// An order that failed").unwrap();
        let page = include_str!("../../../infra/docs/reference/metrics.md");
        let (_, page) = page.split_once("\n## Logs\n").unwrap();
        for (name, text) in [("events.rs", own), ("metrics.md", page.split("\n## ").next().unwrap())] {
            let rows = text.lines().map(|line| line.trim_start_matches("//! ")).filter(|line| line.starts_with("| `"));
            let rows: Vec<_> = rows
                .map(|row| {
                    let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
                    let codes = |cell: &str| {
                        cell.split('`').skip(1).step_by(2).map(|code| code.trim_end_matches('?').to_owned()).collect()
                    };
                    let event: Vec<String> = codes(cells[0]);
                    (event[0].clone(), cells[1].to_owned(), BTreeSet::from_iter::<Vec<String>>(codes(cells[3])))
                })
                .collect();
            assert_eq!(rows, told, "{name}");
        }
    }
}
