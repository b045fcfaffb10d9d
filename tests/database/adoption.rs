//! Tickets of the original app: adopted by label when their order is first fetched, never renumbered or reset.

use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::orders::{assert_in_step, line, order, reconcile, run, start, sync, tickets, upsert, with};

/// The original app's database with our migrations.
async fn dirty() -> TestDatabase {
    let database = TestDatabase::empty().await;
    database.execute(include_str!("fixtures/original_app_with_dirty_rows.sql")).await;
    database.migrate().await;
    database
}

async fn lines_of(database: &TestDatabase, id: &str) -> Vec<String> {
    let query = format!(
        "select product_id, price_id, ordinal, status from ghl_qr_tickets where order_id = '{id}' order by ticket_id"
    );
    let rows = database.rows(&query).await;
    rows.iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            format!("{}/{}/{} {}", text("product_id"), text("price_id"), row["ordinal"], text("status"))
        })
        .collect()
}

#[tokio::test]
async fn duplicates_beyond_the_quantity_are_left_over_and_cancelled() {
    let database = dirty().await;
    let result = sync(&database, order("doubled", &[line("p1", "vip", "VIP", 2)])).await;
    assert_eq!(
        (&result["found"], &result["kept"], &result["cancelled"], &result["added"]),
        (&json!(4), &json!(2), &json!(2), &json!(0))
    );
    assert_eq!(
        lines_of(&database, "doubled").await,
        ["p1/vip/1 live", "p1/vip/2 live", "legacy//1 cancelled", "legacy//2 cancelled"]
    );
    assert_eq!(result["issues"][0]["code"], "legacy_tickets");
    assert_eq!(
        sync(&database, order("doubled", &[line("p1", "vip", "VIP", 2)])).await["issues"],
        json!([]),
        "said once"
    );
    assert_in_step(&database).await;
}

#[tokio::test]
async fn validated_and_used_ones_are_adopted_first() {
    let database = dirty().await;
    let result =
        sync(&database, order("scanned", &[line("p1", "vip", "VIP", 2), line("p1", "reg", "Regular", 1)])).await;
    // VIP: the used one, then the live one; the one of unknown status and the unknown label are left over.
    assert_eq!(
        lines_of(&database, "scanned").await,
        ["p1/vip/2 live", "p1/vip/1 used", "p1/reg/1 validated", "legacy//1 used", "legacy//2 lost at the door"]
    );
    assert_eq!((&result["added"], &result["cancelled"], &result["over_validated"]), (&json!(0), &json!(0), &json!(1)));
    assert_in_step(&database).await;
}

#[tokio::test]
async fn labels_are_matched_exactly_then_trimmed_and_case_folded() {
    let database = dirty().await;
    let result = sync(&database, order("renamed", &[line("p1", "vip", "VIP", 1)])).await;
    assert_eq!(lines_of(&database, "renamed").await, ["p1/vip/1 validated", "legacy//1 cancelled"]);
    assert_eq!(tickets(&database, "renamed").await[0], "VIP/validated");
    assert_eq!(result["added"], 0);

    database.execute("insert into ghl_qr_orders (order_id) values ('mixed');
        insert into ghl_qr_tickets (ticket_id, order_id, ticket_type) values (1001, 'mixed', 'vip '), (1002, 'mixed', 'VIP')").await;
    sync(&database, order("mixed", &[line("p1", "vip", "VIP", 1)])).await;
    assert_eq!(
        lines_of(&database, "mixed").await,
        ["legacy//1 cancelled", "p1/vip/1 live"],
        "the exact label goes first"
    );
}

#[tokio::test]
async fn what_a_person_cancelled_before_isnt_replaced() {
    let database = dirty().await;
    let result = sync(&database, order("cancelled by hand", &[line("p1", "vip", "VIP", 2)])).await;
    assert_eq!((&result["added"], &result["kept"]), (&json!(0), &json!(2)));
    assert_eq!(tickets(&database, "cancelled by hand").await, ["VIP/cancelled", "VIP/live"]);
}

#[tokio::test]
async fn a_refunded_order_keeps_its_tickets_ids_for_the_day_it_is_paid_again() {
    let database = dirty().await;
    let lines = [line("p1", "vip", "VIP", 2)];
    sync(&database, with(order("doubled", &lines), json!({"entitled": false, "entitlement_reason": "refunded"}))).await;
    assert_eq!(tickets(&database, "doubled").await, ["VIP/cancelled"; 4]);
    sync(&database, with(order("doubled", &lines), json!({"source_updated_at": "2026-03-02T00:00:00Z"}))).await;
    assert_eq!(tickets(&database, "doubled").await, ["VIP/live", "VIP/live", "VIP/cancelled", "VIP/cancelled"]);
}

#[tokio::test]
async fn unreadable_lines_leave_the_original_tickets_alone() {
    let database = dirty().await;
    let unreadable = with(order("doubled", &[]), json!({"lines_readable": false}));
    assert_eq!(upsert(&database, unreadable).await["issues"][0]["code"], "lines_unreadable");
    let result = reconcile(&database, "doubled").await;
    assert_eq!((&result["kept"], &result["cancelled"]), (&json!(4), &json!(0)));
    // Readable at last: adopted as on a first fetch.
    let readable =
        with(order("doubled", &[line("p1", "vip", "VIP", 3)]), json!({"source_updated_at": "2026-03-02T00:00:00Z"}));
    assert_eq!(sync(&database, readable).await["cancelled"], 1);
}

#[tokio::test]
async fn orders_ghl_no_longer_has_are_never_touched() {
    let database = dirty().await;
    let before = lines_of(&database, "gone from GHL").await;
    reconcile(&database, "gone from GHL").await;
    assert_eq!(lines_of(&database, "gone from GHL").await, before);
}

#[tokio::test]
async fn no_ticket_id_and_no_validated_status_is_lost_over_the_whole_database() {
    let database = dirty().await;
    let ids = "select jsonb_agg(ticket_id order by ticket_id) from ghl_qr_tickets where ticket_id <= 18";
    let validated =
        "select jsonb_object_agg(ticket_id, status) from ghl_qr_tickets where status in ('used', 'validated')";
    let before = (database.value(ids).await, database.value(validated).await);
    let run_id = start(&database, "full").await;
    let all = ["doubled", "scanned", "renamed", "cancelled by hand"];
    crate::orders::page(&database, &run_id, &all.map(|id| (id, "2026-03-01T09:00:00Z")), true).await;
    let orders: Vec<_> =
        all.iter().map(|id| with(order(id, &[line("p1", "vip", "VIP", 2)]), json!({"run_id": run_id}))).collect();
    database.call("upsert_orders", json!({"orders": orders})).await;
    let handed: Vec<Value> =
        all.iter().map(|id| json!({"order_id": id, "run_id": run_id, "change": "written"})).collect();
    database.call("reconcile_tickets", json!({"orders": handed})).await;
    assert_eq!((database.value(ids).await, database.value(validated).await), before);
    assert_in_step(&database).await;
    let state = run(&database, &run_id).await;
    let reported: Vec<_> =
        state["issues"].as_array().unwrap().iter().filter(|issue| issue["code"] == "legacy_tickets").collect();
    assert_eq!(reported.len(), 3, "{state:#}");
}

#[tokio::test]
async fn a_ticket_the_original_app_adds_later_is_a_duplicate() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    database.execute("insert into ghl_qr_tickets (order_id, ticket_type) values ('o1', 'VIP')").await;
    assert_eq!(database.call("due_orders", json!({"limit": 10})).await["orders"][0]["order_id"], "o1");
    assert_eq!(reconcile(&database, "o1").await["cancelled"], 1);
    assert_eq!(tickets(&database, "o1").await, ["VIP/live", "VIP/cancelled"]);
}
