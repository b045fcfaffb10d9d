//! Fetched orders become rows: stale reads don't, unchanged ones cost nothing, unreadable lines take no tickets along.

use serde_json::{Value, json};

use crate::harness::{TestDatabase, sql_state};
use crate::orders::{READ_AT, line, order, reconcile, start, sync, tickets, upsert, with};

/// The stale guard. Stored: updatedAt 09:00, read at 10:00. What a second, different read does:
#[tokio::test]
async fn stale_guard() {
    // (updatedAt, read at, result, why)
    let cases = [
        ("2026-03-01T09:00:01Z", "2026-03-01T10:00:05Z", "written", "newer"),
        ("2026-03-01T09:00:01Z", "2026-03-01T09:59:00Z", "written", "newer, though read earlier"),
        ("2026-03-01T09:00:00Z", "2026-03-01T10:00:05Z", "written", "equal, read later"),
        ("2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z", "written", "equal, read at the same grant"),
        ("2026-03-01T09:00:00Z", "2026-03-01T09:59:59Z", "stale", "equal, read earlier"),
        ("2026-03-01T08:59:59Z", "2026-03-01T10:00:05Z", "stale", "older, though read later"),
        ("2026-03-01T08:59:59Z", "2026-03-01T10:15:00Z", "stale", "older, read exactly 15 minutes later"),
        ("2026-03-01T08:59:59Z", "2026-03-01T10:15:01Z", "written", "older, but read over 15 minutes later"),
        ("", "2026-03-01T10:15:00Z", "stale", "without updatedAt, read exactly 15 minutes later"),
        ("", "2026-03-01T10:15:01Z", "written", "without updatedAt, but read over 15 minutes later"),
    ];
    let database = TestDatabase::new().await;
    for (number, (stamp, read_at, expected, why)) in cases.into_iter().enumerate() {
        let id = format!("o{number}");
        sync(&database, order(&id, &[line("p1", "vip", "VIP", 1)])).await;
        let stamp = if stamp.is_empty() { Value::Null } else { json!(stamp) };
        let second = with(
            order(&id, &[line("p1", "vip", "VIP", 3)]),
            json!({"source_updated_at": stamp, "fetched_at": read_at}),
        );
        let result = upsert(&database, second).await;
        assert_eq!(result["result"], expected, "{why}: {result}");
        reconcile(&database, &id).await;
        let live = if expected == "written" { 3 } else { 1 };
        assert_eq!(tickets(&database, &id).await.len(), live, "{why}");
        let reported = why.contains("but read over");
        assert_eq!(result["issues"] != json!([]), reported, "{why}: {result}");
    }
}

#[tokio::test]
async fn a_first_updated_at_wins_over_none_and_without_any_the_later_read_wins() {
    let database = TestDatabase::new().await;
    let first = with(order("o1", &[line("p1", "vip", "VIP", 1)]), json!({"source_updated_at": null}));
    assert_eq!(upsert(&database, first).await["result"], "written");
    let earlier = with(
        order("o1", &[line("p1", "vip", "VIP", 2)]),
        json!({"source_updated_at": null, "fetched_at": "2026-03-01T09:00:00Z"}),
    );
    assert_eq!(upsert(&database, earlier).await["result"], "stale");
    let later = with(
        order("o1", &[line("p1", "vip", "VIP", 3)]),
        json!({"source_updated_at": null, "fetched_at": "2026-03-01T11:00:00Z"}),
    );
    assert_eq!(upsert(&database, later).await["result"], "written");
    let stamped = with(order("o1", &[line("p1", "vip", "VIP", 4)]), json!({"fetched_at": "2026-03-01T09:00:00Z"}));
    assert_eq!(upsert(&database, stamped).await["result"], "written");
}

/// A, B, A again without a new updatedAt; the read of B arrives last. That A was confirmed later is known although the
/// row wasn't rewritten for it.
#[tokio::test]
async fn an_unchanged_read_still_makes_earlier_ones_stale() {
    let database = TestDatabase::new().await;
    let a = order("o1", &[line("p1", "vip", "VIP", 1)]);
    upsert(&database, a.clone()).await;
    let again = with(a, json!({"fetched_at": "2026-03-01T10:00:20Z"}));
    assert_eq!(upsert(&database, again).await["result"], "unchanged");
    let b = with(order("o1", &[line("p1", "vip", "VIP", 9)]), json!({"fetched_at": "2026-03-01T10:00:10Z"}));
    assert_eq!(upsert(&database, b).await["result"], "stale");
}

#[tokio::test]
async fn a_stale_read_doesnt_make_a_good_earlier_one_stale() {
    let database = TestDatabase::new().await;
    upsert(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let lagging = json!({"source_updated_at": "2026-03-01T08:00:00Z", "fetched_at": "2026-03-01T10:00:30Z"});
    assert_eq!(upsert(&database, with(order("o1", &[line("p1", "vip", "VIP", 5)]), lagging)).await["result"], "stale");
    let edited = with(order("o1", &[line("p1", "vip", "VIP", 2)]), json!({"fetched_at": "2026-03-01T10:00:20Z"}));
    assert_eq!(upsert(&database, edited).await["result"], "written");
}

#[tokio::test]
async fn a_stamp_in_the_future_freezes_nothing_for_ever() {
    let database = TestDatabase::new().await;
    let bogus = with(order("o1", &[line("p1", "vip", "VIP", 1)]), json!({"source_updated_at": "2099-01-01T00:00:00Z"}));
    sync(&database, bogus).await;
    let edit = order("o1", &[line("p1", "vip", "VIP", 2)]);
    let soon = with(edit.clone(), json!({"fetched_at": "2026-03-01T10:10:00Z"}));
    assert_eq!(upsert(&database, soon).await["result"], "stale");
    let later = with(edit, json!({"fetched_at": "2026-03-01T10:15:01Z"}));
    let result = upsert(&database, later).await;
    assert_eq!((&result["result"], &result["issues"][0]["code"]), (&json!("written"), &json!("older_version_applied")));
    assert_eq!(reconcile(&database, "o1").await["added"], 1);
}

/// An order whose updatedAt vanished isn't frozen, and what was on its way before that doesn't win for it.
#[tokio::test]
async fn a_vanished_updated_at_counts_as_the_last_one() {
    let database = TestDatabase::new().await;
    let read = |quantity, stamp: Value, at: &str| {
        with(order("o1", &[line("p1", "vip", "VIP", quantity)]), json!({"source_updated_at": stamp, "fetched_at": at}))
    };
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let undated = read(3, Value::Null, "2026-03-01T10:20:00Z");
    let result = upsert(&database, undated.clone()).await;
    assert_eq!((&result["result"], &result["issues"][0]["code"]), (&json!("written"), &json!("older_version_applied")));
    let late = read(2, json!("2026-03-01T08:00:00Z"), "2026-03-01T10:21:00Z");
    assert_eq!(upsert(&database, late).await["result"], "stale", "older than what the order had");
    let again = upsert(&database, with(undated, json!({"fetched_at": "2026-03-01T11:00:00Z"}))).await;
    assert_eq!((&again["result"], &again["issues"]), (&json!("unchanged"), &json!([])), "said once");
    let dated = read(4, json!("2026-03-01T09:30:00Z"), "2026-03-01T11:01:00Z");
    assert_eq!(upsert(&database, dated).await["result"], "written");
}

#[tokio::test]
async fn an_unchanged_row_is_not_rewritten() {
    let database = TestDatabase::new().await;
    let o1 = order("o1", &[line("p1", "vip", "VIP", 1)]);
    sync(&database, o1.clone()).await;
    let version = "select array_agg(xmin::text) from ghl_qr_orders";
    let before = database.value(version).await;
    let again = with(o1, json!({"fetched_at": "2026-03-01T11:00:00Z"}));
    assert_eq!(upsert(&database, again).await["result"], "unchanged");
    assert_eq!(database.value(version).await, before);
    assert_eq!(database.value("select fetched_at from sync_order_memory").await, "2026-03-01T11:00:00+00:00");
}

#[tokio::test]
async fn lines_that_vanish_keep_the_tickets_until_forced() {
    let database = TestDatabase::new().await;
    for (id, gone) in [("empty", json!({"lines": []})), ("unreadable", json!({"lines": [], "lines_readable": false}))] {
        let full = with(order(id, &[line("p1", "vip", "VIP", 2)]), json!({"ticket_quantities": {"VIP": 2}}));
        sync(&database, full.clone()).await;
        let changes = json!({"source_updated_at": "2026-03-02T00:00:00Z", "fetched_at": "2026-03-02T00:00:01Z"});
        let vanished = with(with(full, changes), gone);
        let result = upsert(&database, vanished.clone()).await;
        assert_eq!(result["issues"][0]["code"], "lines_unreadable", "{id}");
        reconcile(&database, id).await;
        assert_eq!(tickets(&database, id).await, ["VIP/live", "VIP/live"]);
        let quantities = format!("select ticket_quantities from ghl_qr_orders where order_id = '{id}'");
        assert_eq!(database.value(&quantities).await, json!({"VIP": 2}), "kept beside the lines");

        let forced = with(vanished, json!({"force": true, "fetched_at": "2026-03-02T00:00:02Z"}));
        let result = upsert(&database, forced).await;
        assert_eq!((&result["result"], &result["issues"]), (&json!("written"), &json!([])), "{id}");
        reconcile(&database, id).await;
        assert_eq!(tickets(&database, id).await, ["VIP/cancelled", "VIP/cancelled"]);
    }
}

#[tokio::test]
async fn a_refund_cancels_even_when_lines_are_unreadable() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    let refunded = with(
        order("o1", &[]),
        json!({
        "source_updated_at": "2026-03-02T00:00:00Z", "lines_readable": false, "entitled": false, "entitlement_reason": "refunded"}),
    );
    assert_eq!(upsert(&database, refunded).await["issues"], json!([]));
    reconcile(&database, "o1").await;
    assert_eq!(tickets(&database, "o1").await, ["VIP/cancelled", "VIP/cancelled"]);
    // Paid again, still unreadable: what it had comes back.
    let reverted =
        with(order("o1", &[]), json!({"source_updated_at": "2026-03-03T00:00:00Z", "lines_readable": false}));
    assert_eq!(upsert(&database, reverted).await["issues"][0]["code"], "lines_unreadable");
    reconcile(&database, "o1").await;
    assert_eq!(tickets(&database, "o1").await, ["VIP/live", "VIP/live"]);
}

#[tokio::test]
async fn a_new_order_without_readable_lines_simply_gets_no_tickets() {
    let database = TestDatabase::new().await;
    let result = upsert(&database, with(order("o1", &[]), json!({"lines_readable": false}))).await;
    assert_eq!((&result["result"], &result["issues"]), (&json!("written"), &json!([])));
    assert_eq!(reconcile(&database, "o1").await["found"], 0);
}

#[tokio::test]
async fn what_isnt_ours_is_skipped() {
    let database = TestDatabase::new().await;
    let foreign = with(order("foreign", &[line("p1", "vip", "VIP", 1)]), json!({"foreign": true}));
    let result = upsert(&database, foreign).await;
    assert_eq!((&result["result"], &result["reason"]), (&json!("skipped"), &json!("other_location")));
    let invalid = with(order("invalid", &[line("p9", "x", "Mug", 1)]), json!({"valid": false, "product_ids": ["p9"]}));
    let result = upsert(&database, invalid).await;
    assert_eq!((&result["result"], &result["reason"]), (&json!("skipped"), &json!("no_valid_product")));

    assert_eq!(database.value("select count(*) from ghl_qr_orders").await, 0);
    let memory = database.rows("select order_id, valid, product_ids from sync_order_memory").await;
    assert_eq!(memory, [json!({"order_id": "invalid", "valid": false, "product_ids": ["p9"]})]);
}

#[tokio::test]
async fn a_stored_order_is_kept_in_step_when_its_product_is_delisted() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let delisted = with(
        order("o1", &[line("p1", "vip", "VIP", 2)]),
        json!({
        "valid": false, "source_updated_at": "2026-03-02T00:00:00Z"}),
    );
    assert_eq!(upsert(&database, delisted).await["result"], "written");
    assert_eq!(reconcile(&database, "o1").await["added"], 1);
}

#[tokio::test]
async fn remembering_only_writes_no_order() {
    let database = TestDatabase::new().await;
    let run = start(&database, "valid_list").await;
    crate::orders::page(&database, &run, &[("good", READ_AT), ("bad", READ_AT)], true).await;
    let good = with(order("good", &[]), json!({"remember_only": true, "run_id": run}));
    let bad = with(order("bad", &[]), json!({"remember_only": true, "run_id": run, "valid": false, "product_ids": []}));
    database.call("upsert_orders", json!({"orders": [good, bad]})).await;
    assert_eq!(database.value("select count(*) from ghl_qr_orders").await, 0);
    let state = crate::orders::run(&database, &run).await;
    assert_eq!(
        (&state["run"]["synced"], &state["run"]["unchanged"], &state["run"]["skipped"]),
        (&json!(1), &json!(1), &json!(1))
    );
    let valid = database.call("valid_orders", json!({"run_id": run, "limit": 10})).await;
    assert_eq!(valid, json!({"order_ids": ["good"], "next": null}));
}

#[tokio::test]
async fn the_same_order_twice_in_a_batch_is_one() {
    let database = TestDatabase::new().await;
    let early = order("o1", &[line("p1", "vip", "VIP", 1)]);
    let late = with(order("o1", &[line("p1", "vip", "VIP", 2)]), json!({"fetched_at": "2026-03-01T10:00:01Z"}));
    let answer = database.call("upsert_orders", json!({"orders": [late, early]})).await;
    assert_eq!(answer["orders"].as_array().unwrap().len(), 1);
    assert_eq!(reconcile(&database, "o1").await["added"], 2);
}

#[tokio::test]
async fn odd_values_are_stored_as_they_are() {
    let database = TestDatabase::new().await;
    let label = "🎟️ כרטיס ".repeat(1000);
    let odd = with(
        order("o1", &[line("", "", &label, 1)]),
        json!({"row": {
        "total_paid": "1e21", "payment_status": "Brand_New_Status", "contact_firstname": "Zoë 🦊", "event_available_qty": null}}),
    );
    sync(&database, odd).await;
    assert_eq!(database.value("select total_paid::text from ghl_qr_orders").await, "1000000000000000000000");
    assert_eq!(database.value("select ticket_type from ghl_qr_tickets").await, json!(label));
    let refused = database.try_call("upsert_orders", json!({"orders": [{"order_id": "o2"}]})).await.unwrap_err();
    assert_eq!(sql_state(&refused), "22023");
}
