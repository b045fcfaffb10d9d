//! What dashboards are told of a run beside its counts: when the limit will let its calls pass, and from the first frame on how many
//! orders it has.

use serde_json::{Value, json};

use crate::clock::{pass, with_stopped_clock};
use crate::harness::TestDatabase;
use crate::orders::{dispatch, line, order, page, run, start, sync, with};

const STAMP: &str = "2026-03-01T09:00:00Z";

async fn outlook(database: &TestDatabase) -> Value {
    database.call("sync_snapshot", json!({})).await["run"]["outlook"].clone()
}

/// Asks for calls, of which there are 20 in 10 s.
async fn acquire(database: &TestDatabase, lane: &str, wanted: u32, observed: Value) {
    let limits = json!({"max": 20, "window_ms": 10_000, "margin_ms": 250});
    let request = json!({"lane": lane, "wanted": wanted, "remaining": 1, "limits": limits, "observed": observed});
    database.call("acquire_slots", request).await;
}

/// Begins a publication that may wait for GHL's count.
async fn begin(database: &TestDatabase) -> Value {
    database.call("begin_publication", json!({"count_within_ms": 1_500})).await
}

async fn confirm(database: &TestDatabase, begun: &Value, counted: bool) -> Value {
    let publication = &begun["publication"];
    let (run, seq) = (&publication["run"], publication["seq_first"].as_u64().expect("a publication") + 2);
    let request = json!({
        "run_id": run["run_id"], "seq": seq, "state": run["state"], "counted": counted, "next": true, "count_within_ms": 1_500,
    });
    database.call("confirm_publication", request).await
}

#[tokio::test]
async fn a_syncing_run_is_shown_with_what_the_limiter_knows() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    assert_eq!(outlook(&database).await, Value::Null, "nobody has asked the limiter yet");
    acquire(&database, "bulk", 12, Value::Null).await;
    page(&database, &run_id, &[("a", STAMP), ("b", STAMP)], false).await;
    assert_eq!(dispatch(&database, &run_id).await.len(), 2);
    pass(&database, 1_550).await;
    // Of 20 calls GHL has counted 15: three are another app's. A webhook takes two more.
    acquire(&database, "priority", 2, json!({"max": 20, "remaining": 5, "age_ms": 0, "took_ms": 0})).await;
    pass(&database, 100).await;

    let mut shown = outlook(&database).await;
    let grants = shown["grants"].take();
    let rest = json!({
        "max": 20, "window_ms": 10_000, "closed_ms": 0, "asked": 2, "awaited": 0, "dispatched": 2, "grants": null,
    });
    assert_eq!(shown, rest);
    let grants = grants.as_array().unwrap();
    // Ages rounded down and times left up, to a tenth of a second.
    for grant in [
        json!({"bulk": true, "calls": 12, "age_ms": 1_600, "left_ms": 8_600}),
        json!({"bulk": false, "calls": 3, "age_ms": 100, "left_ms": 9_900}),
        json!({"bulk": false, "calls": 2, "age_ms": 100, "left_ms": 10_200}),
    ] {
        assert!(grants.contains(&grant), "{grant} in {grants:#?}");
    }
    assert_eq!(grants.len(), 3, "{grants:#?}");

    acquire(&database, "priority", 0, json!({"closed_for_ms": 7_000})).await;
    assert_eq!(outlook(&database).await["closed_ms"], 7_000);
    let published = &begin(&database).await["publication"]["run"]["outlook"];
    assert_eq!(published, &outlook(&database).await, "frames are made of the same");
    database.call("cancel_run", json!({})).await;
    assert_eq!(outlook(&database).await, Value::Null);
}

#[tokio::test]
async fn who_looks_on_never_waits_for_the_limiter() {
    let database = TestDatabase::new().await;
    start(&database, "full").await;
    acquire(&database, "bulk", 12, Value::Null).await;
    let asking = database.another_server().await;
    asking.batch_execute("begin; select from sync_limiter for update").await.unwrap();
    assert_eq!(outlook(&database).await["max"], 20);
    let begun = database.call("begin_publication", json!({})).await;
    assert_eq!(begun["publication"]["run"]["outlook"]["max"], 20);
    asking.batch_execute("rollback").await.unwrap();
}

#[tokio::test]
async fn the_first_words_of_a_run_wait_for_its_count() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    pass(&database, 1_499).await;
    let begun = begin(&database).await;
    assert_eq!(begun, json!({"publication": null, "wait_ms": 200, "connection_ids": []}));
    let asks = page(&database, &run_id, &[("a", STAMP)], false).await["publication_due"].clone();
    assert_eq!(asks, false, "who waits will see it");
    let begun = begin(&database).await;
    assert_eq!(begun["publication"]["run"]["total_count"], 1);
    assert_eq!(begun["wait_ms"], 0);
    assert_eq!(begun["publication"]["run"]["announced_count"], false);
    confirm(&database, &begun, true).await;
    let snapshot = database.call("sync_snapshot", json!({})).await;
    assert_eq!(snapshot["run"]["announced_count"], true);
}

#[tokio::test]
async fn a_count_that_takes_longer_is_not_waited_for_and_told_later() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    pass(&database, 1_500).await;
    let begun = begin(&database).await;
    assert_eq!(begun["publication"]["run"]["total_count"], Value::Null);
    assert_eq!(confirm(&database, &begun, false).await["publication"], Value::Null);
    page(&database, &run_id, &[("a", STAMP)], false).await;
    let counted = begin(&database).await;
    let told = &counted["publication"]["run"];
    assert_eq!(
        [&told["total_count"], &told["announced_state"], &told["announced_count"]],
        [&json!(1), &json!("Syncing"), &json!(false)]
    );
    confirm(&database, &counted, true).await;
    page(&database, &run_id, &[("b", STAMP)], false).await;
    let next = begin(&database).await;
    assert_eq!(next["publication"]["run"]["announced_count"], true);
    // A late confirmation doesn't take it back.
    confirm(&database, &begun, false).await;
    assert_eq!(database.call("sync_snapshot", json!({})).await["run"]["announced_count"], true);
}

#[tokio::test]
async fn an_end_is_told_without_waiting_and_so_are_retries() {
    let database = with_stopped_clock().await;
    start(&database, "full").await;
    database.call("cancel_run", json!({})).await;
    let end = begin(&database).await;
    assert_eq!(end["publication"]["run"]["state"], "Cancelled");
    assert_eq!(confirm(&database, &end, false).await["publication"], Value::Null);
    // Of two runs that began at the same moment neither is the newer one.
    pass(&database, 1).await;
    let retry = json!({"kind": "retry", "order_ids": ["a"]});
    assert_eq!(database.call("start_run", retry).await["started"], true);
    assert_eq!(begin(&database).await["publication"]["run"]["listed"], 1);
}

#[tokio::test]
async fn a_run_expects_as_many_valid_orders_as_the_last_complete_listing_had() {
    let database = TestDatabase::new().await;
    let expected = async || database.call("sync_snapshot", json!({})).await["run"]["expected_orders"].clone();
    let end = async |state: &str, listed: u32, skipped: u32, complete: bool| {
        let ended = format!(
            "update sync_runs set state = '{state}', ended_at = now(), cooldown_until = now(), listing_complete = {complete},
             listed = {listed}, synced = {listed} - {skipped}, skipped = {skipped} where state = 'Syncing'"
        );
        database.execute(&ended).await;
    };
    start(&database, "full").await;
    assert_eq!(expected().await, Value::Null, "the first run of all");
    end("Completed", 162, 12, true).await;
    start(&database, "incremental").await;
    assert_eq!(expected().await, 150);
    end("Cancelled", 40, 0, false).await;
    start(&database, "valid_list").await;
    assert_eq!(expected().await, 150, "one that broke off knows nothing");
    end("Completed", 165, 13, true).await;
    let retry = json!({"kind": "retry", "order_ids": ["a"]});
    database.call("start_run", retry).await;
    assert_eq!(expected().await, Value::Null, "it knows its orders");
    end("Completed", 1, 0, true).await;
    start(&database, "full").await;
    assert_eq!(expected().await, 152, "and a retry says nothing of the others");
}

/// 610 tickets beside "Tickets 557" stood on the page: those that were looked at, and those that are valid.
#[tokio::test]
async fn a_runs_tickets_are_those_that_admit_or_have_admitted() {
    const CHANGED: &str = "2026-03-01T10:00:00Z";
    let database = TestDatabase::new().await;
    sync(&database, order("a", &[line("p1", "vip", "VIP", 5)])).await;
    let fewer = order("a", &[line("p1", "vip", "VIP", 3)]);
    sync(&database, with(fewer, json!({"source_updated_at": CHANGED, "fetched_at": "2026-03-01T11:00:00Z"}))).await;
    let live = "select min(ticket_id) from ghl_qr_tickets where status = 'live'";
    let ticket = database.value(live).await;
    assert_eq!(
        database.call("validate_ticket", json!({"ticket_id": ticket, "by": "gate"})).await["result"],
        "admitted"
    );
    let counts = async |run_id: &str| {
        let row = run(&database, run_id).await["run"].clone();
        ["state", "tickets_total", "tickets_checked", "tickets_cancelled"].map(|key| row[key].clone())
    };

    let full = start(&database, "full").await;
    page(&database, &full, &[("a", CHANGED)], true).await;
    let reconciled = json!({"orders": [{"order_id": "a", "run_id": full, "change": "unchanged"}]});
    database.call("reconcile_tickets", reconciled).await;
    // Two live and one admitted; two cancelled ones were looked at as well.
    assert_eq!(counts(&full).await, [json!("Delay"), json!(3), json!(5), json!(0)]);
    database.execute("update sync_runs set cooldown_until = now()").await;
    let incremental = start(&database, "incremental").await;
    page(&database, &incremental, &[("a", CHANGED)], true).await;
    assert_eq!(counts(&incremental).await, [json!("Delay"), json!(3), json!(0), json!(0)], "the same, none looked at");
    let listed = database.call("list_runs", json!({"limit": 2})).await;
    let listed = listed["runs"].as_array().unwrap();
    assert!(listed.iter().all(|run| run["tickets_total"] == 3), "{listed:#?}");
}
