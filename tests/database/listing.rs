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
    let other = [line("p9", "mug", "Mug", 1)];
    upsert(&database, with(order("invalid", &other), json!({"valid": false, "product_ids": ["p9"]}))).await;
    upsert(
        &database,
        with(order("unreadable", &[]), json!({"valid": false, "product_ids": [], "lines_readable": false})),
    )
    .await;
    let lost = [line("", "vip", "VIP", 1), line("p9", "mug", "Mug", 1)];
    upsert(&database, with(order("productless", &lost), json!({"valid": false, "product_ids": ["p9"]}))).await;
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
    let answer = page(database, &run_id, &[(id, stamp)], false).await;
    decided(database, &run_id, &answer["run"], id).await
}

/// What became of the only order that the run has listed; ends the run.
async fn decided(database: &TestDatabase, run_id: &str, run: &Value, id: &str) -> String {
    let fetched = dispatch(database, run_id).await;
    database.call("cancel_run", json!({})).await;
    assert_eq!(run["listed"], 1);
    match (run["synced"].as_u64(), run["skipped"].as_u64()) {
        (Some(0), Some(0)) => {
            assert_eq!(fetched, [id]);
            "fetch".to_owned()
        }
        (synced, _) => {
            assert!(fetched.is_empty());
            if synced == Some(1) { "synced" } else { "skipped" }.to_owned()
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
        // They may be ours: a full run looks again, whatever updatedAt says.
        ("unreadable", SAME, "fetch", "skipped", "skipped"),
        ("productless", SAME, "fetch", "skipped", "skipped"),
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
async fn what_a_run_has_decided_is_never_opened_again() {
    let database = seasoned().await;
    let run_id = start(&database, "incremental").await;
    page(&database, &run_id, &[("stored", SAME), ("refunded", SAME), ("invalid", SAME)], false).await;
    let counts = |answer: &Value| {
        ["listed", "synced", "unchanged", "skipped", "tickets_total"].map(|key| answer["run"][key].clone())
    };
    let swept = sweep(&database, &run_id, &["stored", "refunded", "invalid"]).await;
    assert_eq!((&swept["recorded"], counts(&swept)), (&json!(0), [3, 2, 2, 1, 2].map(|count| json!(count))));
    let again = page(&database, &run_id, &[("stored", NEWER), ("refunded", NEWER), ("invalid", NEWER)], false).await;
    assert_eq!((&again["recorded"], counts(&again)), (&json!(0), counts(&swept)));
    assert_eq!(dispatch(&database, &run_id).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_listing_decides_is_a_bit_and_no_row() {
    let database = seasoned().await;
    let first = start(&database, "incremental").await;
    let orders = json!([{"order_id": "stored", "source_updated_at": SAME}, {"order_id": "invalid", "source_updated_at": SAME},
        {"order_id": "theirs", "foreign": true}, {"order_id": "new", "source_updated_at": SAME}]);
    let answer = database.call("record_page", json!({"run_id": first, "orders": orders})).await;
    assert_eq!(
        ["listed", "synced", "skipped"].map(|key| answer["run"][key].clone()),
        [4, 1, 2].map(|count| json!(count))
    );
    let rows = format!(
        "select coalesce(jsonb_agg(order_id order by order_id), '[]') from sync_outcomes where run_id = '{first}'"
    );
    assert_eq!(database.value(&rows).await, json!(["new", "theirs"]), "no row remembers another location's order");
    let bits = format!(
        "select jsonb_agg(jsonb_build_array(bit_count(unchanged), bit_count(skipped))) from sync_run_bits where run_id = '{first}'"
    );
    assert_eq!(database.value(&bits).await, json!([[1, 1]]));
    database.call("cancel_run", json!({})).await;

    // A later run has bits of its own, and the older one still names what it skipped.
    let second = start(&database, "incremental").await;
    page(&database, &second, &[("stored", SAME)], true).await;
    for (run_id, named) in [(&first, json!(["invalid", "theirs"])), (&second, json!([]))] {
        let skips = run(&database, run_id).await["skips"].clone();
        let ids: Vec<_> = skips.as_array().unwrap().iter().map(|skip| skip["order_id"].clone()).collect();
        assert_eq!(json!(ids), named, "{skips}");
    }
    let skips = run(&database, &first).await["skips"].clone();
    assert_eq!(
        (&skips[0]["code"], &skips[0]["reason"]),
        (&json!("no_valid_product"), &json!("None of its products is in the product list"))
    );
}

#[tokio::test]
async fn remembering_an_order_again_spends_no_number() {
    let database = seasoned().await;
    let numbers = "select jsonb_object_agg(order_id, number) from sync_order_memory";
    let before = database.value(numbers).await;
    for _ in 0..5 {
        upsert(&database, order("stored", &[line("p1", "vip", "VIP", 2)])).await;
    }
    upsert(&database, order("next", &[])).await;
    let after = database.value(numbers).await;
    let highest = before.as_object().unwrap().values().filter_map(Value::as_u64).max();
    assert_eq!(after["next"].as_u64(), highest.map(|number| number + 1));
    assert_eq!(after["stored"], before["stored"]);
}

/// The row says completed, paid, 150.10.
#[tokio::test]
async fn a_change_is_seen_in_every_field_that_the_list_shows() {
    let database = seasoned().await;
    for (shown, expected) in [
        (json!({}), "synced"),
        (json!({"status": "Completed", "payment_status": "PAID", "amount": 150.1}), "synced"),
        (json!({"status": "refunded"}), "fetch"),
        (json!({"payment_status": "refunded"}), "fetch"),
        (json!({"amount": 150.2}), "fetch"),
        (json!({"status": "completed", "payment_status": "partially_paid", "amount": "150.10"}), "fetch"),
    ] {
        let run_id = start(&database, "incremental").await;
        let listed = with(json!({"order_id": "stored", "source_updated_at": SAME}), shown.clone());
        let answer = database.call("record_page", json!({"run_id": run_id, "orders": [listed]})).await;
        assert_eq!(decided(&database, &run_id, &answer["run"], "stored").await, expected, "listed as {shown}");
    }
}

#[tokio::test]
async fn a_list_that_differs_from_the_order_for_good_is_fetched_once() {
    let database = seasoned().await;
    let listed = |shown: Value| with(json!({"order_id": "stored", "source_updated_at": SAME}), shown);
    for (shown, expected) in [
        (json!({"payment_status": "Succeeded", "amount": 140}), "fetch"),
        (json!({"payment_status": "succeeded", "amount": 140.0}), "synced"),
        (json!({"payment_status": "succeeded"}), "synced"),
        (json!({"payment_status": "paid", "amount": 150.1}), "synced"),
        (json!({"payment_status": "refunded", "amount": 140}), "fetch"),
    ] {
        let run_id = start(&database, "incremental").await;
        let answer = database.call("record_page", json!({"run_id": run_id, "orders": [listed(shown.clone())]})).await;
        if expected == "fetch" {
            assert_eq!(dispatch(&database, &run_id).await, ["stored"], "listed as {shown}");
            // The order itself says what it said before.
            sync_in(&database, &run_id, "stored").await;
            database.call("cancel_run", json!({})).await;
        } else {
            assert_eq!(decided(&database, &run_id, &answer["run"], "stored").await, expected, "listed as {shown}");
        }
    }
}

/// Fetches and reconciles an order of the run.
async fn sync_in(database: &TestDatabase, run_id: &str, id: &str) {
    upsert(database, with(order(id, &[line("p1", "vip", "VIP", 2)]), json!({"run_id": run_id}))).await;
    let handed = json!({"order_id": id, "run_id": run_id, "change": "unchanged", "attempts": 1});
    database.call("reconcile_tickets", json!({ "orders": [handed] })).await;
}

#[tokio::test]
async fn nothing_is_concluded_from_a_short_listing() {
    let database = seasoned().await;
    let complete = |run_id: &str, short: bool, deficit: u32| json!({"run_id": run_id, "listing_complete": true, "short": short, "deficit": deficit, "orders": [{"order_id": "new"}]});
    for (short, reported) in [(true, false), (false, true)] {
        let run_id = start(&database, "full").await;
        let answer = database.call("record_page", complete(&run_id, short, 3)).await;
        assert_eq!((&answer["run"]["listing_short"], &answer["run"]["comparing"]), (&json!(short), &json!(false)));
        let issues = run(&database, &run_id).await["issues"].clone();
        assert_eq!(issues[0]["code"] == "orders_not_listed", reported, "{issues}");
        database.call("cancel_run", json!({})).await;
    }
    // The next run knows by how many the last one fell short.
    let run_id = start(&database, "incremental").await;
    assert_eq!(run(&database, &run_id).await["run"]["known_deficit"], 3);
}

#[tokio::test]
async fn stored_orders_are_compared_with_the_listing_in_portions() {
    let database = TestDatabase::new().await;
    let stored = "insert into ghl_qr_orders (order_id, location_id)
      select lpad(n::text, 6, '0'), $location from generate_series(1, 25000) as n";
    database.execute(&stored.replace("$location", &format!("'{}'", crate::harness::LOCATION))).await;
    let run_id = start(&database, "full").await;
    let answer = page(&database, &run_id, &[("000002", SAME), ("024999", SAME)], true).await;
    assert_eq!(answer["run"]["comparing"], true);
    assert_eq!(run(&database, &run_id).await["issues"], json!([]), "not before all are compared");
    let mut comparing = Vec::new();
    for _ in 0..3 {
        comparing.push(database.call("compare_stored", json!({"run_id": run_id})).await["run"]["comparing"].clone());
    }
    assert_eq!(comparing, [true, false, false]);
    let issues = run(&database, &run_id).await["issues"].clone();
    let message = issues[0]["message"].as_str().unwrap();
    assert!(message.starts_with("24998 stored order(s) with 0 live ticket(s)"), "{message}");
    assert!(message.contains(": 000001, 000003, 000004, 000005, 000006, ..."), "{message}");
    assert_eq!(issues.as_array().unwrap().len(), 1);
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
    assert_eq!(
        none,
        json!({
            "order_ids": [], "alone": [], "given_up": [], "outstanding": 3, "in_ms": null, "next_ms": null, "budget_exhausted": false,
            "dispatched_at_ms": none["dispatched_at_ms"],
        })
    );
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
    for limit in [1, 2, 3, 100] {
        let (mut found, mut after) = (Vec::new(), Value::Null);
        for _ in 0..20 {
            let answer = database.call("valid_orders", json!({"run_id": run_id, "after": after, "limit": limit})).await;
            found.extend(answer["order_ids"].as_array().unwrap().clone());
            after = answer["next"].clone();
            if after.is_null() {
                break;
            }
        }
        assert_eq!((found, after), (vec![json!("refunded"), json!("stored")], Value::Null), "in pages of {limit}");
    }
    database.call("cancel_run", json!({})).await;
    // What the listing decided alone is on the list as well.
    let run_id = start(&database, "incremental").await;
    page(&database, &run_id, &[("stored", SAME), ("invalid", SAME)], true).await;
    let list = database.call("valid_orders", json!({"run_id": run_id, "limit": 100})).await;
    assert_eq!(list, json!({"order_ids": ["stored"], "next": null}));
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
