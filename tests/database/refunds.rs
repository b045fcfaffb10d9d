//! Refunds that move no date: what transactions tell is taken once, and its order is fetched.

use serde_json::{Value, json};

use crate::harness::{LOCATION, TestDatabase};
use crate::orders::{dispatch, line, order, page, run, start, sync, tickets, with};

const STAMP: &str = "2026-03-01T09:00:00.000Z";

/// Two tickets of a paid order, which is worth 150.10 EUR.
async fn with_an_order() -> TestDatabase {
    let database = TestDatabase::new().await;
    sync(&database, order("one", &[line("p1", "vip", "VIP", 2)])).await;
    database
}

/// The orders whose sums may have changed by these transactions, each `(id, order, refunded)`.
async fn changed(database: &TestDatabase, transactions: &[(&str, &str, &str)]) -> Value {
    let transactions: Vec<_> = transactions
        .iter()
        .map(|(id, order, refunded)| json!({"transaction_id": id, "order_id": order, "refunded": refunded}))
        .collect();
    database.call("changed_refunds", json!({"transactions": transactions})).await["order_ids"].clone()
}

fn refund(order: &str, refunded: &str, received: &str, transactions: Value) -> Value {
    json!({"order_id": order, "refunded": refunded, "received": received, "transactions": transactions})
}

async fn record(database: &TestDatabase, run_id: &str, refunds: &[Value]) -> Value {
    let request = json!({"run_id": run_id, "transactions": {"offset": 7}, "refunds": refunds});
    database.call("record_refunds", request).await["run"].clone()
}

/// A run that takes this refund. Returns its issues, and whether it fetches the order, listed as it was.
async fn taken(database: &TestDatabase, refund: Value) -> (Vec<Value>, bool) {
    let run_id = start(database, "incremental").await;
    assert_eq!(record(database, &run_id, &[refund]).await["transactions"], json!({"offset": 7}));
    page(database, &run_id, &[("one", STAMP)], false).await;
    let fetched = dispatch(database, &run_id).await;
    let issues = run(database, &run_id).await["issues"].as_array().unwrap().clone();
    database.call("cancel_run", json!({})).await;
    (issues, !fetched.is_empty())
}

/// Fetches the order anew: nothing about it has changed.
async fn fetch(database: &TestDatabase) {
    let now = database.value("clock_timestamp()").await;
    sync(database, with(order("one", &[line("p1", "vip", "VIP", 2)]), json!({"fetched_at": now}))).await;
}

#[tokio::test]
async fn only_transactions_that_tell_something_new_of_stored_orders_are_looked_into() {
    let database = with_an_order().await;
    let run_id = start(&database, "incremental").await;
    assert_eq!(changed(&database, &[("t1", "one", "0"), ("t9", "never stored", "5")]).await, json!([]));
    assert_eq!(changed(&database, &[("t1", "one", "5.5"), ("t2", "one", "1")]).await, json!(["one"]));
    record(&database, &run_id, &[refund("one", "5.50", "150.10", json!({"t1": "5.5"}))]).await;
    assert_eq!(changed(&database, &[("t1", "one", "5.50"), ("t2", "one", "0")]).await, json!([]), "equal as numbers");
    assert_eq!(changed(&database, &[("t2", "one", "0.01")]).await, json!(["one"]));
    assert_eq!(changed(&database, &[("t1", "one", "0")]).await, json!(["one"]), "taken back");

    let elsewhere = "update public.ghl_qr_orders set location_id = 'AnotherLocation'";
    database.execute(elsewhere).await;
    assert_eq!(changed(&database, &[("t2", "one", "0.01")]).await, json!([]));
}

#[tokio::test]
async fn what_is_refunded_already_is_not_looked_into() {
    let database = TestDatabase::new().await;
    let row = json!({"entitled": false, "row": {"payment_status": "Refunded"}});
    sync(&database, with(order("one", &[]), row)).await;
    assert_eq!(changed(&database, &[("t1", "one", "5")]).await, json!([]));
}

#[tokio::test]
async fn a_partial_refund_is_stored_and_reported_once_and_takes_no_ticket() {
    let database = with_an_order().await;
    let partial = || refund("one", "5.50", "150.10", json!({"t1": "5.50"}));
    let (issues, fetched) = taken(&database, partial()).await;
    assert_eq!(issues.len(), 1, "{issues:?}");
    assert_eq!((&issues[0]["order_id"], &issues[0]["code"]), (&json!("one"), &json!("partial_refund")));
    let message = issues[0]["message"].as_str().unwrap();
    assert!(message.contains("5.5 EUR of 150.1 were refunded") && message.contains("tickets stay"), "{message}");
    assert!(fetched, "its status decides");
    let stored = database.rows("select refunded::text, received::text, transactions from sync_refunds").await;
    assert_eq!(stored, [json!({"refunded": "5.50", "received": "150.10", "transactions": {"t1": "5.50"}})]);

    fetch(&database).await;
    assert_eq!(taken(&database, partial()).await, (Vec::new(), false), "acted upon once");
    let more = refund("one", "7.50", "150.10", json!({"t1": "7.50"}));
    let (issues, fetched) = taken(&database, more).await;
    assert_eq!((issues.len(), fetched), (1, true), "more was given back: {issues:?}");
    assert_eq!(tickets(&database, "one").await, ["VIP/live", "VIP/live"]);
}

#[tokio::test]
async fn an_order_whose_run_broke_off_is_fetched_by_the_next_one() {
    let database = with_an_order().await;
    let full = || refund("one", "150.10", "150.10", json!({"t1": "150.10"}));
    assert_eq!(taken(&database, full()).await, (Vec::new(), true));
    // Cancelled before it was.
    assert_eq!(taken(&database, full()).await, (Vec::new(), true));
}

#[tokio::test]
async fn a_full_refund_is_reported_once_if_its_order_was_fetched_and_still_has_tickets() {
    let database = with_an_order().await;
    let full = || refund("one", "150.10", "150.10", json!({"t1": "150.10"}));
    let shown = [("t1", "one", "150.10")];
    assert_eq!(taken(&database, full()).await, (Vec::new(), true), "its status decides");
    assert_eq!(changed(&database, &shown).await, json!([]), "it isn't fetched yet");
    fetch(&database).await;
    assert_eq!(changed(&database, &shown).await, json!(["one"]), "it is still entitled");
    let (issues, fetched) = taken(&database, full()).await;
    assert_eq!((&issues[0]["code"], issues.len(), fetched), (&json!("full_refund"), 1, false), "{issues:?}");
    assert_eq!(changed(&database, &shown).await, json!([]));
    assert_eq!(taken(&database, full()).await, (Vec::new(), false), "once");
    assert_eq!(tickets(&database, "one").await, ["VIP/live", "VIP/live"]);
}

#[tokio::test]
async fn a_full_refund_of_an_order_that_gave_its_tickets_back_is_no_issue() {
    let database = with_an_order().await;
    let full = || refund("one", "150.10", "150.10", json!({"t1": "150.10"}));
    assert_eq!(taken(&database, full()).await, (Vec::new(), true));
    let now = database.value("clock_timestamp()").await;
    let refunded = json!({"fetched_at": now, "entitled": false, "entitlement_reason": "refunded"});
    sync(&database, with(order("one", &[line("p1", "vip", "VIP", 2)]), refunded)).await;
    assert_eq!(changed(&database, &[("t1", "one", "150.10")]).await, json!([]));
    assert_eq!(taken(&database, full()).await, (Vec::new(), false));
}

#[tokio::test]
async fn a_refund_of_an_order_without_tickets_is_no_issue() {
    let database = TestDatabase::new().await;
    sync(&database, with(order("one", &[]), json!({"entitled": false, "entitlement_reason": "unpaid"}))).await;
    let (issues, fetched) = taken(&database, refund("one", "5", "10", json!({}))).await;
    assert_eq!((issues, fetched), (Vec::new(), true));
    assert_eq!(database.value("(select refunded from sync_refunds)").await, 5);
}

#[tokio::test]
async fn only_a_run_under_way_takes_refunds_and_keeps_where_it_stands() {
    let database = with_an_order().await;
    let run_id = start(&database, "full").await;
    let issue = json!({"code": "transactions_refused", "message": "no scope"});
    let request = json!({"run_id": run_id, "transactions": null, "refunds": [], "issues": [issue]});
    let answer = database.call("record_refunds", request).await;
    assert_eq!(answer["run"]["transactions"], Value::Null, "as it was");
    record(&database, &run_id, &[]).await;
    let request = json!({"run_id": run_id, "transactions": null, "refunds": []});
    assert_eq!(database.call("record_refunds", request).await["run"]["transactions"], json!({"offset": 7}));
    assert_eq!(run(&database, &run_id).await["issues"][0]["code"], "transactions_refused");

    database.call("cancel_run", json!({})).await;
    let late = record(&database, &run_id, &[refund("one", "1", "2", json!({}))]).await;
    assert_eq!(late["state"], "Cancelled");
    assert_eq!(database.value("(select count(*) from sync_refunds)").await, 0);
    let unknown = json!({"run_id": "00000000-0000-4000-8000-000000000000", "refunds": [], "location_id": LOCATION});
    assert_eq!(database.call("record_refunds", unknown).await["run"], Value::Null);
}

#[tokio::test]
async fn sums_are_exact() {
    let database = with_an_order().await;
    let run_id = start(&database, "full").await;
    record(&database, &run_id, &[refund("one", "0.30", "0.3", json!({}))]).await;
    assert_eq!(run(&database, &run_id).await["issues"], json!([]), "all of it: nothing partial");
    assert_eq!(database.value("(select to_report from sync_refunds)").await, true);
}
