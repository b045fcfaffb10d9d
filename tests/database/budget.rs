//! The day's budget of calls: runs leave a reserve of it to webhooks, and a schedule starts none that it can't hold.

use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::orders::{page, start};

const STAMP: &str = "2026-03-01T09:00:00Z";

fn asking(lane: &str, daily_remaining: Value) -> Value {
    json!({
        "lane": lane, "wanted": 2, "observed": {"daily_remaining": daily_remaining},
        "limits": {"max": 20, "window_ms": 350, "margin_ms": 50, "daily_reserve": 1000},
    })
}

async fn scheduled(database: &TestDatabase, kind: &str) -> Value {
    let start = json!({"kind": kind, "requested_by": "schedule", "cooldown_ms": 0, "daily_reserve": 1000});
    database.call("start_run", start).await
}

/// As if GHL had told so many calls left, and a full run had listed so many orders.
async fn after_a_run(database: &TestDatabase, listed: usize, daily_remaining: u32) {
    let run_id = start(database, "full").await;
    page(database, &run_id, &[("o1", STAMP)], true).await;
    database
        .execute(&format!(
            "update sync_runs set listed = {listed}, state = 'Completed', announced_state = 'Completed' where run_id = '{run_id}'"
        ))
        .await;
    database.call("acquire_slots", asking("priority", json!(daily_remaining))).await;
}

#[tokio::test]
async fn what_is_left_below_the_reserve_is_for_webhooks() {
    let database = TestDatabase::new().await;
    let enough = database.call("acquire_slots", asking("bulk", json!(1000))).await;
    assert_eq!((&enough["granted"], &enough["budget_exhausted"]), (&json!(2), &json!(false)));
    let bulk = database.call("acquire_slots", asking("bulk", json!(999))).await;
    assert_eq!((&bulk["granted"], &bulk["budget_exhausted"]), (&json!(0), &json!(true)));
    let webhook = database.call("acquire_slots", asking("priority", json!(998))).await;
    assert_eq!((&webhook["granted"], &webhook["budget_exhausted"]), (&json!(2), &json!(false)));

    // Nobody knows when GHL's day ends: after a while one call finds out.
    database.execute("update sync_limiter set daily_observed_at = now() - interval '11 minutes'").await;
    assert_eq!(database.call("acquire_slots", asking("bulk", Value::Null)).await["granted"], 1);
    assert_eq!(database.call("acquire_slots", asking("bulk", json!(150_000))).await["granted"], 2, "another day");
}

#[tokio::test]
async fn what_a_worker_saw_before_others_is_no_news() {
    let database = TestDatabase::new().await;
    database.call("acquire_slots", asking("bulk", json!(5000))).await;
    let mut late = asking("bulk", json!(10));
    late["observed"]["age_ms"] = json!(60_000);
    assert_eq!(database.call("acquire_slots", late).await["daily_remaining"], 5000);
}

#[tokio::test]
async fn a_schedule_starts_only_what_half_of_the_rest_holds() {
    // Beside the reserve of 1,000: a full run of 900 orders makes about 939 calls, an incremental one about 48.
    for (kind, daily_remaining, starts) in
        [("full", 2877, false), ("full", 2879, true), ("incremental", 1095, false), ("incremental", 1097, true)]
    {
        let database = TestDatabase::new().await;
        after_a_run(&database, 900, daily_remaining).await;
        let answer = scheduled(&database, kind).await;
        assert_eq!(answer["started"], starts, "{kind} with {daily_remaining} calls left: {answer}");
        if !starts {
            assert_eq!(answer["reason"], "daily_budget");
        }
        let by_hand = json!({"kind": kind, "requested_by": "admin@example.test", "cooldown_ms": 0});
        let by_hand = database.call("start_run", by_hand).await;
        assert_eq!(by_hand["started"], !starts, "a person may spend what is left: {by_hand}");
    }
}

#[tokio::test]
async fn where_nothing_is_known_there_is_enough() {
    let database = TestDatabase::new().await;
    assert_eq!(scheduled(&database, "full").await["started"], true);
    let database = TestDatabase::new().await;
    after_a_run(&database, 900, 0).await;
    database.execute("update sync_limiter set daily_observed_at = now() - interval '7 hours'").await;
    assert_eq!(scheduled(&database, "full").await["started"], true);
}

#[tokio::test]
async fn a_full_run_that_could_not_start_is_the_next_scheduled_one() {
    let database = TestDatabase::new().await;
    let end = "update sync_runs set state = 'Completed', announced_state = 'Completed', listed = 1000,
        listing_complete = true where state = 'Syncing'";
    let running = start(&database, "incremental").await;
    assert_eq!(scheduled(&database, "full").await["reason"], "running", "{running}");
    database.call("skip_run", json!({"kind": "full", "reason": "running"})).await;
    assert_eq!(scheduled(&database, "incremental").await["reason"], "running");
    database.call("skip_run", json!({"kind": "incremental", "reason": "running"})).await;
    database.execute(end).await;

    // Asked by a person, an incremental run is one.
    assert_eq!(
        database
            .value(&format!("(select kind from sync_runs where run_id = '{}')", start(&database, "incremental").await))
            .await,
        "incremental"
    );
    database.execute(end).await;
    // 1,000 calls and some for lists are more than half of what is left over the reserve: the day holds no full run.
    database.call("acquire_slots", asking("priority", json!(2900))).await;
    assert_eq!(scheduled(&database, "incremental").await["run"]["kind"], "incremental");
    database.execute(end).await;
    database.call("acquire_slots", asking("priority", json!(150_000))).await;
    assert_eq!(scheduled(&database, "incremental").await["run"]["kind"], "full");
    database.execute(end).await;
    assert_eq!(scheduled(&database, "incremental").await["run"]["kind"], "incremental", "it is made up for");
}

#[tokio::test]
async fn a_full_run_that_was_under_way_when_another_was_due_is_that_one() {
    let database = TestDatabase::new().await;
    start(&database, "full").await;
    assert_eq!(scheduled(&database, "full").await["reason"], "running");
    database.call("skip_run", json!({"kind": "full", "reason": "running"})).await;
    let end = "update sync_runs set state = 'Completed', announced_state = 'Completed', ended_at = clock_timestamp()
        where state = 'Syncing'";
    database.execute(end).await;
    assert_eq!(scheduled(&database, "incremental").await["run"]["kind"], "incremental");
}

/// The database was away when it was due, so nothing tells that it was skipped.
#[tokio::test]
async fn a_full_run_that_is_too_long_ago_is_made_up_for() {
    let database = TestDatabase::new().await;
    let incremental = async |hours: Value| {
        let start = json!({
            "kind": "incremental", "requested_by": "schedule", "cooldown_ms": 0, "daily_reserve": 1000,
            "full_run_within_hours": hours,
        });
        let kind = database.call("start_run", start).await["run"]["kind"].clone();
        let end =
            "update sync_runs set state = 'Completed', announced_state = 'Completed', ended_at = clock_timestamp()
            where state = 'Syncing'";
        database.execute(end).await;
        kind
    };
    assert_eq!(incremental(json!(30)).await, "incremental", "there was none yet");
    assert_eq!(scheduled(&database, "full").await["started"], true);
    let aged =
        "update sync_runs set state = 'Error', announced_state = 'Error', ended_at = now() - interval '29 hours',
        started_at = now() - interval '30 hours 1 minute' where kind = 'full'";
    database.execute(aged).await;
    assert_eq!(incremental(json!(31)).await, "incremental");
    assert_eq!(incremental(Value::Null).await, "incremental");
    assert_eq!(incremental(json!(30)).await, "full");
    assert_eq!(incremental(json!(30)).await, "incremental", "it is made up for");
}
