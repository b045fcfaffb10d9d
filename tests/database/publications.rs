//! Pulses keep a run alive, one chain of them; publications are made one at a time, sparingly and in order.

use serde_json::{Value, json};

use crate::clock::{pass, with_stopped_clock};
use crate::harness::TestDatabase;
use crate::orders::{page, run, start};

const STAMP: &str = "2026-03-01T09:00:00Z";

async fn pulse(database: &TestDatabase, run_id: &str, number: u64, claim_ms: u64) -> Value {
    database.call("begin_pulse", json!({"run_id": run_id, "pulse": number, "claim_ms": claim_ms})).await
}

async fn begin(database: &TestDatabase) -> Value {
    database.call("begin_publication", json!({})).await
}

/// Confirms what was begun, as its publisher does: with the last number that it used.
fn confirmation(begun: &Value, next: bool) -> Value {
    let publication = &begun["publication"];
    let seq = publication["seq_first"].as_u64().expect("a publication") + 2;
    json!({"run_id": publication["run"]["run_id"], "seq": seq, "state": publication["run"]["state"], "next": next})
}

/// Confirms, and begins the next one.
async fn confirm(database: &TestDatabase, begun: &Value) -> Value {
    database.call("confirm_publication", confirmation(begun, true)).await
}

/// Publishes until nothing is new.
async fn publish(database: &TestDatabase) {
    let mut begun = begin(database).await;
    while !begun["publication"].is_null() {
        begun = confirm(database, &begun).await;
    }
}

fn shown<'a>(begun: &'a Value, field: &str) -> &'a Value {
    &begun["publication"]["run"][field]
}

/// Whether a page with this order on it is to be followed by a request.
async fn page_asks(database: &TestDatabase, run_id: &str, order_id: &str) -> Value {
    page(database, run_id, &[(order_id, STAMP)], false).await["publication_due"].clone()
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
    publish(&database).await;
    pass(&database, 199).await;
    assert_eq!(pulse(&database, &run_id, 1, 1).await["run"]["state"], "Delay");
    pass(&database, 1).await;
    let ended = pulse(&database, &run_id, 2, 1).await;
    assert_eq!((&ended["run"]["state"], &ended["publication_due"]), (&json!("Completed"), &json!(true)));
    // Not announced yet: should the request be lost, or its publisher die, a later pulse asks again.
    assert_eq!(pulse(&database, &run_id, 3, 1).await["accepted"], true);
    pass(&database, 2_000).await;
    assert_eq!(pulse(&database, &run_id, 4, 1).await["publication_due"], true);
    let begun = begin(&database).await;
    assert_eq!(shown(&begun, "state"), "Completed");
    assert_eq!(pulse(&database, &run_id, 5, 1).await["accepted"], true, "begun is not confirmed");
    confirm(&database, &begun).await;
    assert_eq!(pulse(&database, &run_id, 6, 1).await["accepted"], false);
}

#[tokio::test]
async fn of_two_publishers_at_once_one_publishes_and_looks_again_at_its_end() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let first = begin(&database).await;
    assert_eq!((&first["publication"]["seq_first"], shown(&first, "announced_state")), (&json!(1), &Value::Null));
    assert_eq!(page_asks(&database, &run_id, "a").await, false, "the one under way will see it");
    assert_eq!(page_asks(&database, &run_id, "b").await, false);
    assert_eq!(begin(&database).await["publication"], Value::Null, "one at a time");

    let second = confirm(&database, &first).await;
    assert_eq!((shown(&second, "listed"), shown(&second, "announced_state")), (&json!(2), &json!("Syncing")));
    assert_eq!(second["publication"]["seq_first"], 5, "the newest wins, in one publication");
    assert_eq!(confirm(&database, &second).await["publication"], Value::Null, "nothing is new");
    assert_eq!(begin(&database).await["publication"], Value::Null);
    assert_eq!(page_asks(&database, &run_id, "c").await, true);
}

#[tokio::test]
async fn one_request_is_pending_and_a_lost_one_is_repeated_after_two_seconds() {
    let database = with_stopped_clock().await;
    let started = database.call("start_run", json!({"kind": "full"})).await;
    assert_eq!(started["publication_due"], true);
    let run_id = started["run"]["run_id"].as_str().unwrap();
    assert_eq!(page_asks(&database, run_id, "a").await, false, "it is asked for");
    pass(&database, 1_999).await;
    assert_eq!(page_asks(&database, run_id, "b").await, false);
    pass(&database, 1).await;
    assert_eq!(page_asks(&database, run_id, "c").await, true);
    assert_eq!(page_asks(&database, run_id, "d").await, false);
    // Both requests arrive after all.
    let begun = begin(&database).await;
    assert_eq!(shown(&begun, "listed"), 4);
    assert_eq!(begin(&database).await["publication"], Value::Null);
    confirm(&database, &begun).await;
    assert_eq!(pulse(&database, run_id, 1, 1).await["publication_due"], false, "nothing is new");
}

#[tokio::test]
async fn a_lost_publication_is_repeated_after_fifteen_seconds_or_once_it_is_given_up() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let lost = begin(&database).await;
    pass(&database, 14_999).await;
    assert_eq!(pulse(&database, &run_id, 1, 1).await["publication_due"], false);
    assert_eq!(begin(&database).await["publication"], Value::Null);
    pass(&database, 1).await;
    assert_eq!(pulse(&database, &run_id, 2, 1).await["publication_due"], true);
    let second = begin(&database).await;
    assert_eq!((&second["publication"]["seq_first"], shown(&second, "announced_state")), (&json!(5), &Value::Null));
    // The lost one comes after all: that ends it, and not the other.
    assert_eq!(confirm(&database, &lost).await["publication"], Value::Null);
    assert_eq!(begin(&database).await["publication"], Value::Null, "the second is under way");

    let give_up = |seq_first: u64| json!({"seq_first": seq_first});
    database.call("give_up_publication", give_up(9)).await;
    assert_eq!(begin(&database).await["publication"], Value::Null, "that was another's");
    database.call("give_up_publication", give_up(5)).await;
    assert_eq!(pulse(&database, &run_id, 3, 1).await["publication_due"], true, "it was never confirmed");
    assert_eq!(begin(&database).await["publication"]["seq_first"], 9);
}

#[tokio::test]
async fn an_end_during_another_publication_comes_right_after_it() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let first = begin(&database).await;
    let cancelled = database.call("cancel_run", json!({})).await;
    assert_eq!(cancelled["publication_due"], false, "the one under way will see it");
    let end = confirm(&database, &first).await;
    assert_eq!((shown(&end, "state"), shown(&end, "announced_state")), (&json!("Cancelled"), &json!("Syncing")));
    assert_eq!(end["wait_ms"], 0, "a change of state waits for nothing");
    confirm(&database, &end).await;
    // The confirmation of the first comes late, once more: what was announced since stays.
    confirm(&database, &first).await;
    assert_eq!(run(&database, &run_id).await["run"]["announced_state"], "Cancelled");
    assert_eq!(begin(&database).await["publication"], Value::Null, "all is said");
}

#[tokio::test]
async fn progress_keeps_the_interval_between_two_beginnings() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let first = begin(&database).await;
    assert_eq!(first["wait_ms"], 0);
    page_asks(&database, &run_id, "a").await;
    pass(&database, 40).await;
    let second = confirm(&database, &first).await;
    assert_eq!(second["wait_ms"], 60);
    page_asks(&database, &run_id, "b").await;
    // It begins in 60 ms, and takes 30.
    pass(&database, 90).await;
    let third = confirm(&database, &second).await;
    assert_eq!((shown(&third, "listed"), &third["wait_ms"]), (&json!(2), &json!(70)));
    pass(&database, 300).await;
    confirm(&database, &third).await;
    assert_eq!(page_asks(&database, &run_id, "c").await, true);
    let fourth = begin(&database).await;
    assert_eq!(fourth["wait_ms"], 0, "the interval is over");
    // A clock that is set back makes nobody wait for longer.
    page_asks(&database, &run_id, "d").await;
    pass(&database, -5_000).await;
    assert_eq!(confirm(&database, &fourth).await["wait_ms"], 100);
}

#[tokio::test]
async fn who_does_not_go_on_is_told_whether_to_ask() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let first = begin(&database).await;
    page_asks(&database, &run_id, "a").await;
    let answer = database.call("confirm_publication", confirmation(&first, false)).await;
    assert_eq!(answer, json!({"publication_due": true, "ended": false}));
    let second = begin(&database).await;
    assert_eq!(shown(&second, "listed"), 1);
    let answer = database.call("confirm_publication", confirmation(&second, false)).await;
    assert_eq!(answer, json!({"publication_due": false, "ended": false}));
}

#[tokio::test]
async fn a_publication_names_the_dashboards_that_are_open() {
    let database = TestDatabase::new().await;
    start(&database, "full").await;
    for (id, expires) in [("b", "2099-01-01T00:00:00Z"), ("a", "2099-01-01T00:00:00Z"), ("old", "2020-01-01T00:00:00Z")]
    {
        let dashboard = json!({"connection_id": id, "user_id": id, "role": "admin", "expires_at": expires});
        database.call("add_connection", dashboard).await;
    }
    assert_eq!(begin(&database).await["connection_ids"], json!(["a", "b"]));
}

#[tokio::test]
async fn sequence_numbers_only_grow_over_runs_and_snapshots() {
    let database = TestDatabase::new().await;
    let mut last = 0;
    for _ in 0..3 {
        let run_id = start(&database, "full").await;
        let begun = begin(&database).await;
        let first = begun["publication"]["seq_first"].as_u64().unwrap();
        assert!(first > last && shown(&begun, "run_id") == &json!(run_id));
        let snapshot = database.call("sync_snapshot", json!({"next_seq": true})).await;
        assert_eq!((snapshot["seq"].as_u64().unwrap(), &snapshot["run"]["run_id"]), (first + 4, &json!(run_id)));
        last = first + 4;
        let still = database.call("sync_snapshot", json!({"next_seq": false})).await;
        assert_eq!(still["seq"].as_u64().unwrap(), last);
        database.call("cancel_run", json!({})).await;
        let end = confirm(&database, &begun).await;
        last = end["publication"]["seq_first"].as_u64().unwrap() + 3;
        confirm(&database, &end).await;
    }
}

#[tokio::test]
async fn the_end_of_the_run_before_is_published_before_the_next() {
    let database = with_stopped_clock().await;
    let first = start(&database, "full").await;
    page(&database, &first, &[], true).await;
    publish(&database).await;
    pass(&database, 199).await;
    let start = json!({"kind": "full"});
    assert_eq!(database.call("start_run", start.clone()).await["reason"], "cooldown");
    pass(&database, 1).await;
    let started = database.call("start_run", start).await;
    assert_eq!((&started["started"], &started["publication_due"]), (&json!(true), &json!(true)));
    let second = &started["run"]["run_id"];
    // From now on the new run speaks; the old one's pulse dies.
    assert_eq!(pulse(&database, &first, 9, 1).await["accepted"], false);

    let end = begin(&database).await;
    assert_eq!((shown(&end, "run_id"), shown(&end, "state")), (&json!(first), &json!("Completed")));
    assert_eq!(shown(&end, "announced_state"), "Delay");
    // Its publisher dies: the end still comes first.
    pass(&database, 15_000).await;
    let end = begin(&database).await;
    assert_eq!((shown(&end, "run_id"), &end["wait_ms"]), (&json!(first), &json!(0)));
    let beginning = confirm(&database, &end).await;
    assert_eq!((shown(&beginning, "run_id"), &beginning["wait_ms"]), (second, &json!(0)));
    assert_eq!(confirm(&database, &beginning).await["publication"], Value::Null, "each is told once");
}

#[tokio::test]
async fn an_end_that_is_being_published_at_the_next_start_is_told_once() {
    let database = with_stopped_clock().await;
    let first = start(&database, "full").await;
    database.call("cancel_run", json!({})).await;
    let end = begin(&database).await;
    pass(&database, 1).await;
    let started = database.call("start_run", json!({"kind": "full"})).await;
    assert_eq!((&started["started"], &started["publication_due"]), (&json!(true), &json!(false)));
    assert_eq!(shown(&end, "run_id"), &json!(first));
    assert_eq!(shown(&confirm(&database, &end).await, "run_id"), &started["run"]["run_id"]);
}

#[tokio::test]
async fn an_end_that_a_start_finds_is_published_also_if_nothing_starts() {
    let database = with_stopped_clock().await;
    let first = start(&database, "full").await;
    page(&database, &first, &[], true).await;
    publish(&database).await;
    pass(&database, 200).await;
    let retry = json!({"kind": "retry", "retry_of": first});
    let refused = database.call("start_run", retry).await;
    assert_eq!((&refused["reason"], &refused["publication_due"]), (&json!("nothing_to_retry"), &json!(true)));
    assert_eq!(shown(&begin(&database).await, "state"), "Completed");
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
    database.call("cancel_run", json!({})).await;
    assert_eq!(database.call("sync_snapshot", json!({})).await["needs_pulse"], true, "final, but nobody was told");
    publish(&database).await;
    assert_eq!(database.call("sync_snapshot", json!({})).await["needs_pulse"], false);
}

#[tokio::test]
async fn numbers_of_a_restored_database_go_on_above_what_was_published() {
    let database = TestDatabase::new().await;
    start(&database, "full").await;
    let first = begin(&database).await["publication"]["seq_first"].as_i64().unwrap();
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
    assert_eq!(database.call("end_run", end(json!(9))).await["ended"], false, "a number that it never reached");
    database.execute("update sync_runs set last_pulse_at = now() - interval '31 seconds'").await;
    assert_eq!(database.call("end_run", end(json!(1))).await["ended"], false);
    assert_eq!(database.call("end_run", end(json!(2))).await["ended"], true);
    let other = start(&database, "full").await;
    let unknown = json!({"run_id": other, "state": "Error", "code": "pulse_failed", "message": "", "dead_pulse": null});
    assert_eq!(database.call("end_run", unknown).await["ended"], true, "no sign of life");
}

/// Whether each confirmation was the one that told the end of a run.
#[tokio::test]
async fn the_end_of_a_run_is_told_by_one_publication() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let beginning = begin(&database).await;
    page(&database, &run_id, &[], true).await;
    let end = confirm(&database, &beginning).await;
    assert_eq!((&end["ended"], shown(&end, "state")), (&json!(false), &json!("Delay")));
    assert_eq!(confirm(&database, &end).await["ended"], true);
    assert_eq!(confirm(&database, &end).await["ended"], false, "the same once more");
    pass(&database, 200).await;
    pulse(&database, &run_id, 1, 1).await;
    let completed = begin(&database).await;
    assert_eq!(shown(&completed, "state"), "Completed");
    assert_eq!(database.call("confirm_publication", confirmation(&completed, false)).await["ended"], false);

    // Of an end that wasn't told when the next run began, its last words tell.
    let second = start(&database, "full").await;
    database.call("cancel_run", json!({})).await;
    start(&database, "full").await;
    let last_words = begin(&database).await;
    assert_eq!((shown(&last_words, "run_id"), shown(&last_words, "state")), (&json!(second), &json!("Cancelled")));
    assert_eq!(confirm(&database, &last_words).await["ended"], true);
    assert_eq!(confirm(&database, &last_words).await["ended"], false);
}

#[tokio::test]
async fn who_gives_a_publication_up_learns_whether_it_was_confirmed() {
    let database = with_stopped_clock().await;
    start(&database, "full").await;
    let begun = begin(&database).await;
    let seq_first = begun["publication"]["seq_first"].clone();
    let give_up =
        async || database.call("give_up_publication", json!({"seq_first": seq_first})).await["confirmed"].clone();
    assert_eq!(give_up().await, false);
    confirm(&database, &begun).await;
    assert_eq!(give_up().await, true);
}
