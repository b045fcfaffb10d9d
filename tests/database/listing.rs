//! What each kind of run makes of a listed order before anything is fetched, and how orders are handed out.

use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::orders::{dispatch, line, order, page, run, start, sync, upsert, with};

const SAME: &str = "2026-03-01T09:00:00.000Z";
const NEWER: &str = "2026-03-05T09:00:00.000Z";

/// A location that has seen a few orders: all with updatedAt [`SAME`].
async fn seasoned() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.call("replace_products", json!({"products": [{"product_id": "p1", "name": "Gala"}]})).await;
    sync(&database, order("stored", &[line("p1", "vip", "VIP", 2)])).await;
    let refunded = json!({"entitled": false, "row": {"payment_status": "refunded"}});
    sync(&database, with(order("refunded", &[line("p1", "vip", "VIP", 1)]), refunded)).await;
    upsert(&database, order("due", &[line("p1", "vip", "VIP", 1)])).await;
    sync(&database, order("touched", &[line("p1", "vip", "VIP", 1)])).await;
    database.execute("delete from ghl_qr_tickets where order_id = 'touched'").await;
    upsert(&database, with(order("invalid", &[]), json!({"valid": false, "product_ids": ["p9"]}))).await;
    sync(&database, order("failing", &[line("p1", "vip", "VIP", 1)])).await;
    let failure = json!({"order_id": "failing", "cause": "webhook", "class": "permanent", "code": "x", "reason": "y", "attempts": 5});
    database.call("record_failures", json!({"failures": [failure]})).await;
    let run = start(&database, "valid_list").await;
    page(&database, &run, &[("remembered", SAME)], false).await;
    upsert(&database, with(order("remembered", &[]), json!({"remember_only": true, "run_id": run}))).await;
    database.call("cancel_run", json!({})).await;
    database
}

/// Lists the order and says what became of it: fetch, synced, skipped.
async fn triage(database: &TestDatabase, kind: &str, id: &str, stamp: &str) -> String {
    let run_id = start(database, kind).await;
    page(database, &run_id, &[(id, stamp)], false).await;
    let row =
        database.rows(&format!("select outcome, by_listing, code from sync_outcomes where run_id = '{run_id}'")).await;
    let fetched = dispatch(database, &run_id).await;
    database.call("cancel_run", json!({})).await;
    match row[0]["outcome"].as_str() {
        None => {
            assert_eq!(fetched, [id]);
            "fetch".to_owned()
        }
        Some(outcome) => {
            assert!(fetched.is_empty());
            outcome.to_owned()
        }
    }
}

#[tokio::test]
async fn what_each_kind_fetches() {
    let database = seasoned().await;
    // (order, updatedAt, full, incremental, valid_list)
    let cases = [
        ("never seen", SAME, "fetch", "fetch", "fetch"),
        ("stored", SAME, "fetch", "synced", "synced"),
        ("stored", NEWER, "fetch", "fetch", "synced"),
        ("stored", "", "fetch", "fetch", "synced"),
        ("due", SAME, "fetch", "fetch", "synced"),
        ("touched", SAME, "fetch", "fetch", "synced"),
        ("failing", SAME, "fetch", "fetch", "synced"),
        ("invalid", SAME, "skipped", "skipped", "skipped"),
        ("invalid", NEWER, "fetch", "fetch", "skipped"),
        ("remembered", SAME, "fetch", "fetch", "synced"),
    ];
    for (id, stamp, full, incremental, valid_list) in cases {
        // GHL may leave updatedAt out.
        let stamp = if stamp.is_empty() { "infinity" } else { stamp };
        for (kind, expected) in [("full", full), ("incremental", incremental), ("valid_list", valid_list)] {
            assert_eq!(triage(&database, kind, id, stamp).await, expected, "{kind} run: {id} listed with {stamp}");
        }
    }
}

#[tokio::test]
async fn an_invalid_order_is_fetched_again_once_its_product_is_listed() {
    let database = seasoned().await;
    database.call("replace_products", json!({"products": [{"product_id": "p1"}, {"product_id": "p9"}]})).await;
    for kind in ["full", "incremental"] {
        assert_eq!(triage(&database, kind, "invalid", SAME).await, "fetch", "{kind}");
    }
}

#[tokio::test]
async fn another_locations_order_is_listed_and_skipped() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    let orders = json!([{"order_id": "theirs", "foreign": true}, {"order_id": "ours"}]);
    let answer = database.call("record_page", json!({"run_id": run_id, "orders": orders})).await;
    assert_eq!((&answer["run"]["listed"], &answer["run"]["skipped"]), (&json!(2), &json!(1)));
    assert_eq!(run(&database, &run_id).await["skips"][0]["code"], "other_location");
}

#[tokio::test]
async fn overlapping_pages_and_redelivered_ones_count_once() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    assert_eq!(page(&database, &run_id, &[("a", SAME), ("b", SAME)], false).await["recorded"], 2);
    assert_eq!(page(&database, &run_id, &[("b", SAME), ("c", SAME), ("c", SAME)], false).await["recorded"], 1);
    let answer = page(&database, &run_id, &[("a", SAME), ("b", SAME)], false).await;
    assert_eq!((&answer["recorded"], &answer["run"]["listed"]), (&json!(0), &json!(3)));
}

#[tokio::test]
async fn unchanged_orders_of_an_incremental_run_bring_their_tickets_to_the_count() {
    let database = seasoned().await;
    let run_id = start(&database, "incremental").await;
    let answer = page(&database, &run_id, &[("stored", SAME), ("invalid", SAME)], true).await;
    let state = &answer["run"];
    assert_eq!(state["state"], "Delay", "nothing to fetch: over with its listing");
    assert_eq!(
        [&state["listed"], &state["synced"], &state["unchanged"], &state["skipped"], &state["tickets_total"]],
        [2, 1, 1, 1, 2]
    );
}

async fn sweep(database: &TestDatabase, run_id: &str, ids: &[&str]) -> Value {
    let orders: Vec<_> = ids.iter().map(|id| json!({"order_id": id, "source_updated_at": SAME})).collect();
    database.call("record_page", json!({"run_id": run_id, "sweep": true, "orders": orders})).await
}

#[tokio::test]
async fn a_refund_sweep_fetches_only_rows_that_arent_refunded() {
    let database = seasoned().await;
    let run_id = start(&database, "incremental").await;
    assert_eq!(sweep(&database, &run_id, &["stored", "refunded", "invalid"]).await["recorded"], 1);
    assert_eq!(dispatch(&database, &run_id).await, ["stored"]);
    // The listing that follows doesn't take it for unchanged.
    let answer = page(&database, &run_id, &[("stored", SAME), ("refunded", SAME)], true).await;
    assert_eq!(
        [&answer["run"]["listed"], &answer["run"]["synced"], &answer["run"]["state"]],
        [&json!(2), &json!(1), &json!("Syncing")]
    );
}

#[tokio::test]
async fn a_refund_sweep_after_the_listing_opens_the_order_again() {
    let database = seasoned().await;
    let run_id = start(&database, "incremental").await;
    page(&database, &run_id, &[("stored", SAME), ("refunded", SAME)], false).await;
    let answer = sweep(&database, &run_id, &["stored", "refunded"]).await;
    assert_eq!(
        [
            &answer["run"]["listed"],
            &answer["run"]["synced"],
            &answer["run"]["unchanged"],
            &answer["run"]["tickets_total"]
        ],
        [2, 1, 1, 0]
    );
    assert_eq!(dispatch(&database, &run_id).await, ["stored"]);
}

#[tokio::test]
async fn orders_are_handed_out_up_to_a_limit_and_again_when_silent() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[("c", SAME), ("a", SAME), ("b", SAME), ("d", SAME)], true).await;
    let ask = |outstanding: u32, resend: u32| {
        json!({
        "run_id": run_id, "max_outstanding": outstanding, "resend_after_ms": resend, "limit": 100})
    };
    let first = database.call("dispatch_orders", ask(3, 60_000)).await;
    assert_eq!((first["order_ids"].as_array().unwrap().len(), &first["outstanding"]), (3, &json!(3)));
    let none = database.call("dispatch_orders", ask(3, 60_000)).await;
    assert_eq!(none, json!({"order_ids": [], "outstanding": 3}));
    assert_eq!(database.call("dispatch_orders", ask(10, 60_000)).await["order_ids"].as_array().unwrap().len(), 1);
    // Silent for longer than zero milliseconds: all of them again.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert_eq!(database.call("dispatch_orders", ask(10, 1)).await["order_ids"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn valid_orders_come_page_by_page_by_the_products_listed_now() {
    let database = seasoned().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[("stored", SAME), ("refunded", SAME), ("invalid", SAME), ("never seen", SAME)], true)
        .await;
    let first = database.call("valid_orders", json!({"run_id": run_id, "limit": 1})).await;
    assert_eq!(first, json!({"order_ids": ["refunded"], "next": "refunded"}));
    let rest = database.call("valid_orders", json!({"run_id": run_id, "after": "refunded", "limit": 10})).await;
    assert_eq!(rest, json!({"order_ids": ["stored"], "next": null}));
}

#[tokio::test]
async fn issues_of_the_listing_have_no_order() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    let issue = json!({"code": "listing_short", "message": "GHL counts 5 orders and lists 3"});
    for _ in 0..2 {
        database.call("record_page", json!({"run_id": run_id, "orders": [], "issues": [issue]})).await;
    }
    let state = run(&database, &run_id).await;
    assert_eq!(state["issues"], json!([{"order_id": null, "code": "listing_short", "message": issue["message"]}]));
}
