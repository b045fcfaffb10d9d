//! Pulses keep a run alive, one chain of them; publications are granted sparingly and in order.

use serde_json::{Value, json};

use crate::clock::{pass, with_stopped_clock};
use crate::harness::TestDatabase;
use crate::orders::{page, run, start};

const STAMP: &str = "2026-03-01T09:00:00Z";

async fn pulse(database: &TestDatabase, run_id: &str, number: u64, claim_ms: u64) -> Value {
    database.call("begin_pulse", json!({"run_id": run_id, "pulse": number, "claim_ms": claim_ms})).await
}

async fn grant(database: &TestDatabase, run_id: &str) -> Value {
    database.call("grant_publication", json!({"run_id": run_id})).await["publication"].clone()
}

async fn confirm(database: &TestDatabase, run_id: &str, publication: &Value) {
    let seq = publication["seq_first"].as_u64().expect("a publication") + 3;
    let request = json!({"run_id": run_id, "seq": seq, "state": publication["run"]["state"]});
    database.call("confirm_publication", request).await;
}

#[tokio::test]
async fn of_a_redelivered_pulse_one_goes_on() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    assert_eq!(pulse(&database, &run_id, 1, 60).await["accepted"], true);
    pass(&database, 59).await;
    assert_eq!(pulse(&database, &run_id, 1, 60).await["accepted"], false, "claimed");
    pass(&database, 1).await;
    assert_eq!(pulse(&database, &run_id, 1, 60).await["accepted"], true, "the first claimer died");
    assert_eq!(pulse(&database, &run_id, 2, 60).await["accepted"], true);
    assert_eq!(pulse(&database, &run_id, 1, 60).await["accepted"], false, "an older one");
    let unknown = pulse(&database, "00000000-0000-4000-8000-000000000000", 1, 60).await;
    assert_eq!((&unknown["accepted"], &unknown["run"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn a_pulse_ends_the_cooldown_and_dies_once_the_end_was_announced() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[], true).await;
    pass(&database, 199).await;
    assert_eq!(pulse(&database, &run_id, 1, 1).await["run"]["state"], "Delay");
    pass(&database, 1).await;
    let last = pulse(&database, &run_id, 2, 1).await;
    assert_eq!(last["publication"]["run"]["state"], "Completed");
    // Not announced yet: should its publisher die, a later pulse publishes.
    assert_eq!(pulse(&database, &run_id, 3, 1).await["accepted"], true);
    pass(&database, 2_000).await;
    assert_eq!(pulse(&database, &run_id, 4, 1).await["publication"]["run"]["state"], "Completed");
    confirm(&database, &run_id, &last["publication"]).await;
    assert_eq!(pulse(&database, &run_id, 5, 1).await["accepted"], false);
}

#[tokio::test]
async fn progress_is_granted_once_per_interval_and_only_when_there_is_some() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let first = grant(&database, &run_id).await;
    assert_eq!((&first["seq_first"], &first["run"]["announced_state"]), (&json!(1), &Value::Null));
    confirm(&database, &run_id, &first).await;
    pass(&database, 100).await;
    assert_eq!(grant(&database, &run_id).await, Value::Null, "nothing new");

    let granted = page(&database, &run_id, &[("a", STAMP)], false).await["publication"].clone();
    assert_eq!((&granted["seq_first"], &granted["run"]["announced_state"]), (&json!(5), &json!("Syncing")));
    assert_eq!(page(&database, &run_id, &[("b", STAMP)], false).await["publication"], Value::Null, "too soon");
    pass(&database, 99).await;
    assert_eq!(grant(&database, &run_id).await, Value::Null, "a millisecond too soon");
    pass(&database, 1).await;
    assert_eq!(grant(&database, &run_id).await["run"]["listed"], 2, "what wasn't granted is published later");
}

#[tokio::test]
async fn a_change_of_state_is_granted_at_once() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let first = grant(&database, &run_id).await;
    assert_eq!(first["run"]["state"], "Syncing");
    assert_eq!(grant(&database, &run_id).await, Value::Null, "somebody is publishing it");
    let cancelled = database.call("cancel_run", json!({})).await["publication"].clone();
    assert_eq!((&cancelled["seq_first"], &cancelled["run"]["state"]), (&json!(5), &json!("Cancelled")));
    confirm(&database, &run_id, &cancelled).await;
    // The confirmation of the first comes late: what was announced since stays.
    confirm(&database, &run_id, &first).await;
    assert_eq!(run(&database, &run_id).await["run"]["announced_state"], "Cancelled");
    assert_eq!(grant(&database, &run_id).await, Value::Null, "all is said");
}

#[tokio::test]
async fn what_was_never_confirmed_is_granted_anew_after_two_seconds() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    assert_ne!(grant(&database, &run_id).await, Value::Null);
    pass(&database, 1_999).await;
    assert_eq!(grant(&database, &run_id).await, Value::Null);
    pass(&database, 1).await;
    assert_eq!(grant(&database, &run_id).await["seq_first"], 5);
}

#[tokio::test]
async fn sequence_numbers_only_grow_over_runs_and_snapshots() {
    let database = TestDatabase::new().await;
    let mut last = 0;
    for _ in 0..3 {
        let run_id = start(&database, "full").await;
        let first = grant(&database, &run_id).await["seq_first"].as_u64().unwrap();
        assert!(first > last);
        let snapshot = database.call("sync_snapshot", json!({"next_seq": true})).await;
        assert_eq!((snapshot["seq"].as_u64().unwrap(), &snapshot["run"]["run_id"]), (first + 4, &json!(run_id)));
        last = first + 4;
        let still = database.call("sync_snapshot", json!({"next_seq": false})).await;
        assert_eq!(still["seq"].as_u64().unwrap(), last);
        database.call("cancel_run", json!({})).await;
        last += 4;
    }
}

#[tokio::test]
async fn the_end_of_the_run_before_is_handed_to_the_next_start() {
    let database = with_stopped_clock().await;
    let first = start(&database, "full").await;
    page(&database, &first, &[], true).await;
    pass(&database, 199).await;
    assert_eq!(database.call("start_run", json!({"kind": "full"})).await["reason"], "cooldown");
    pass(&database, 1).await;
    let started = database.call("start_run", json!({"kind": "full"})).await;
    assert_eq!(
        (&started["finished"]["run"]["run_id"], &started["finished"]["run"]["state"]),
        (&json!(first), &json!("Completed"))
    );
    // From now on the new run speaks; the old one's pulse dies.
    assert_eq!(grant(&database, &first).await, Value::Null);
    assert_eq!(pulse(&database, &first, 9, 1).await["accepted"], false);
}

#[tokio::test]
async fn a_lost_pulse_is_noticed() {
    let database = with_stopped_clock().await;
    let nothing = database.call("sync_snapshot", json!({})).await;
    assert_eq!((&nothing["run"], &nothing["needs_pulse"], &nothing["seq"]), (&Value::Null, &json!(false), &json!(0)));
    let run_id = start(&database, "full").await;
    pulse(&database, &run_id, 1, 1).await;
    pass(&database, 30_000).await;
    assert_eq!(database.call("sync_snapshot", json!({})).await["needs_pulse"], false);
    pass(&database, 1).await;
    let lost = database.call("sync_snapshot", json!({})).await;
    assert_eq!((&lost["needs_pulse"], &lost["pulse"]), (&json!(true), &json!(2)));
    let cancelled = database.call("cancel_run", json!({})).await["publication"].clone();
    assert_eq!(database.call("sync_snapshot", json!({})).await["needs_pulse"], true, "final, but nobody was told");
    confirm(&database, &run_id, &cancelled).await;
    assert_eq!(database.call("sync_snapshot", json!({})).await["needs_pulse"], false);
}

#[tokio::test]
async fn numbers_of_a_restored_database_go_on_above_what_was_published() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    let first = grant(&database, &run_id).await["seq_first"].as_i64().unwrap();
    assert_eq!(database.call("raise_seq", json!({"seq": first})).await["raised"], false, "given out already");
    let published = first + 1000;
    assert_eq!(database.call("raise_seq", json!({"seq": published})).await["raised"], true);
    assert_eq!(database.call("raise_seq", json!({"seq": published})).await["raised"], false);
    assert_eq!(database.call("raise_seq", json!({"seq": i64::MAX})).await["raised"], false, "no number of ours");
    assert_eq!(database.call("sync_snapshot", json!({"next_seq": true})).await["seq"], published + 1);
}

#[tokio::test]
async fn a_dead_pulse_ends_a_run_only_if_no_newer_one_works() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    let end = |dead_pulse: Value| {
        json!({
            "run_id": run_id, "state": "Error", "code": "pulse_failed", "message": "It stopped", "dead_pulse": dead_pulse,
            "pulse_lost_after_ms": 30000,
        })
    };
    pulse(&database, &run_id, 1, 0).await;
    pulse(&database, &run_id, 2, 0).await;
    assert_eq!(database.call("end_run", end(json!(1))).await["ended"], false);
    assert_eq!(database.call("end_run", end(Value::Null)).await["ended"], false, "it had a pulse just now");
    database.execute("update sync_runs set last_pulse_at = now() - interval '31 seconds'").await;
    assert_eq!(database.call("end_run", end(json!(1))).await["ended"], false);
    assert_eq!(database.call("end_run", end(json!(2))).await["ended"], true);
    let other = start(&database, "full").await;
    let unknown = json!({"run_id": other, "state": "Error", "code": "pulse_failed", "message": "", "dead_pulse": null});
    assert_eq!(database.call("end_run", unknown).await["ended"], true, "no sign of life");
}
