//! The shared rate limit: grants with ids and margins of their own, two lanes, closed by a 429, corrected by what GHL counted. What it
//! grants after any history, its model tells (`limiter_model`).

use serde_json::{Value, json};

use crate::clock::{pass, with_stopped_clock};
use crate::harness::{TestDatabase, sql_state};

/// 20 in 350 ms, and 50 ms in which they may be sent. A run has little left to do, so that it takes all that it can get at once.
fn request(lane: &str, wanted: u32) -> Value {
    json!({
        "lane": lane, "wanted": wanted, "remaining": 1,
        "limits": {"max": 20, "window_ms": 350, "margin_ms": 50},
    })
}

fn observing(lane: &str, wanted: u32, observed: Value) -> Value {
    let mut request = request(lane, wanted);
    request["observed"] = observed;
    request
}

fn with_remaining(remaining: u32) -> Value {
    let mut request = request("bulk", 50);
    request["remaining"] = json!(remaining);
    request
}

fn with_id(lane: &str, wanted: u32, number: u32) -> Value {
    let mut request = request(lane, wanted);
    request["id"] = json!(id(number));
    request
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[tokio::test]
async fn bulk_leaves_two_slots_to_webhooks_that_are_idle() {
    let database = with_stopped_clock().await;
    let bulk = database.call("acquire_slots", request("bulk", 50)).await;
    assert_eq!((&bulk["granted"], &bulk["wait_ms"]), (&json!(18), &json!(400)));
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["granted"], 0);

    let priority = database.call("acquire_slots", request("priority", 1)).await;
    assert_eq!((&priority["granted"], &priority["wait_ms"]), (&json!(1), &json!(0)));
    assert_eq!(database.call("acquire_slots", request("priority", 9)).await["granted"], 1);
    let priority = database.call("acquire_slots", request("priority", 1)).await;
    assert_eq!((&priority["granted"], &priority["wait_ms"]), (&json!(0), &json!(400)));
}

#[tokio::test]
async fn bulk_leaves_webhooks_what_they_lately_asked_for_and_one() {
    let database = with_stopped_clock().await;
    assert_eq!(database.call("acquire_slots", request("priority", 5)).await["granted"], 5);
    let bulk = database.call("acquire_slots", request("bulk", 50)).await;
    assert_eq!((&bulk["granted"], &bulk["wait_ms"]), (&json!(20 - 5 - 6), &json!(70)));
    // A fifth of a window later that is forgotten.
    pass(&database, 69).await;
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 0);
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 4);
}

#[tokio::test]
async fn the_next_slots_are_for_webhooks_that_were_refused() {
    let database = with_stopped_clock().await;
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 18);
    let burst = database.call("acquire_slots", request("priority", 12)).await;
    assert_eq!((&burst["granted"], &burst["wait_ms"]), (&json!(2), &json!(400)));
    pass(&database, 400).await;
    let bulk = database.call("acquire_slots", request("bulk", 50)).await;
    assert_eq!(bulk["granted"], 20 - 13, "first come, but not first served");
    assert_eq!(database.call("acquire_slots", request("priority", 10)).await["granted"], 10);
}

#[tokio::test]
async fn bulk_always_keeps_a_quarter() {
    let database = with_stopped_clock().await;
    // Webhooks leave it that only if there is a run.
    assert_eq!(database.call("acquire_slots", request("priority", 50)).await["granted"], 20);
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 0);
    pass(&database, 400).await;
    let webhooks = database.call("acquire_slots", request("priority", 50)).await;
    assert_eq!(webhooks["granted"], 15);
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 5);
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 0);
}

#[tokio::test]
async fn bulk_takes_a_third_in_a_third_of_a_window_until_little_is_left() {
    let database = with_stopped_clock().await;
    let bulk = database.call("acquire_slots", with_remaining(40)).await;
    assert_eq!((&bulk["granted"], &bulk["wait_ms"]), (&json!(6), &json!(116)));
    pass(&database, 115).await;
    assert_eq!(database.call("acquire_slots", with_remaining(40)).await["granted"], 0);
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", with_remaining(40)).await["granted"], 6);
    // Less than two windows.
    assert_eq!(database.call("acquire_slots", with_remaining(39)).await["granted"], 6);
}

/// Without `remaining`, the run tells: what GHL says there is, or what its complete listing has found, less what is decided.
#[tokio::test]
async fn a_run_tells_how_little_it_has_left() {
    let database = with_stopped_clock().await;
    let run = crate::orders::start(&database, "full").await;
    let ask = async || {
        let mut request = request("bulk", 50);
        (request["run_id"], request["remaining"]) = (json!(run), Value::Null);
        let granted = database.call("acquire_slots", request).await["granted"].clone();
        pass(&database, 400).await;
        granted
    };
    assert_eq!(ask().await, 6, "nobody has said how many there are");
    database.execute("update sync_runs set listed = 20, total_count = 40").await;
    assert_eq!(ask().await, 6);
    database.execute("update sync_runs set total_count = 39").await;
    assert_eq!(ask().await, 18);
    database.execute("update sync_runs set listed = 40").await;
    assert_eq!(ask().await, 6, "GHL said less than it has listed");
    // GHL's number counts for nothing once all is listed.
    database.execute("update sync_runs set listed = 100, synced = 50, skipped = 10, listing_complete = true").await;
    assert_eq!(ask().await, 6);
    database.execute("update sync_runs set failed = 1").await;
    assert_eq!(ask().await, 18);
}

#[tokio::test]
async fn the_same_id_gets_the_same_grant() {
    let database = with_stopped_clock().await;
    let first = database.call("acquire_slots", with_id("priority", 15, 1)).await;
    assert_eq!(first["granted"], 15);
    pass(&database, 399).await;
    assert_eq!(database.call("acquire_slots", with_id("priority", 15, 1)).await, first, "granted then, not now");
    let other = database.call("acquire_slots", with_id("priority", 15, 2)).await;
    assert_eq!(other["granted"], 5);
    // Once it has left the window it is a new request.
    pass(&database, 1).await;
    let again = database.call("acquire_slots", with_id("priority", 15, 1)).await;
    assert_eq!(again["granted"], 15);
    assert_ne!(again["granted_at"], first["granted_at"]);
    assert_eq!(database.call("acquire_slots", with_id("priority", 15, 3)).await["granted"], 0);
    // Where nothing was granted there is nothing to repeat.
    pass(&database, 399).await;
    assert_eq!(database.call("acquire_slots", with_id("priority", 5, 3)).await["granted"], 5);
}

#[tokio::test]
async fn calls_that_will_never_be_sent_are_handed_back_once() {
    let database = with_stopped_clock().await;
    let hand_back = async |number: u32, unused: i32| {
        let back = json!({ "id": id(number), "unused": unused });
        database.call("hand_back_slots", back).await["handed_back"].clone()
    };
    let ask = async |wanted, number| {
        database.call("acquire_slots", with_id("priority", wanted, number)).await["granted"].clone()
    };
    assert_eq!((ask(12, 1).await, ask(12, 2).await), (json!(12), json!(8)));
    assert_eq!((hand_back(9, 12).await, hand_back(1, 0).await, hand_back(1, -3).await), (json!(0), json!(0), json!(0)));
    assert_eq!(hand_back(1, 7).await, 7);
    assert_eq!(hand_back(1, 5).await, 0, "once");
    assert_eq!(ask(12, 1).await, 5, "and it is what is left of it from then on");
    assert_eq!(ask(20, 3).await, 7);
    assert_eq!(hand_back(2, 100).await, 8, "no more than were granted");
    pass(&database, 399).await;
    assert_eq!(ask(20, 4).await, 8);
    pass(&database, 1).await;
    assert_eq!(hand_back(3, 7).await, 0, "it has left the window");
    assert_eq!(ask(20, 5).await, 12);

    let elsewhere = json!({ "location_id": "another", "id": id(5), "unused": 1 });
    assert_eq!(database.call("hand_back_slots", elsewhere).await["handed_back"], 0);
    let nobodys =
        database.rows("select 1 as n from sync_limiter where location_id = 'another' and last_at is not null").await;
    assert_eq!(nobodys, Vec::<Value>::new());
}

#[tokio::test]
async fn who_looks_is_told_when_slots_become_free_and_takes_none() {
    let database = with_stopped_clock().await;
    let steps = async |lane| database.call("peek_slots", request(lane, 0)).await["steps"].clone();
    assert_eq!(steps("bulk").await, json!([{"in_ms": 0, "calls": 18}]));
    database.call("acquire_slots", request("bulk", 8)).await;
    pass(&database, 100).await;
    database.call("acquire_slots", request("bulk", 50)).await;
    let then = json!([{"in_ms": 0, "calls": 0}, {"in_ms": 300, "calls": 8}, {"in_ms": 400, "calls": 18}]);
    assert_eq!((steps("bulk").await, steps("bulk").await), (then.clone(), then));
    assert_eq!(
        steps("priority").await,
        json!([
            {"in_ms": 0, "calls": 2}, {"in_ms": 300, "calls": 10}, {"in_ms": 400, "calls": 20},
        ])
    );
    database.call("acquire_slots", observing("priority", 0, json!({"closed_for_ms": 350}))).await;
    let closed = json!([{"in_ms": 0, "calls": 0}, {"in_ms": 350, "calls": 8}, {"in_ms": 400, "calls": 18}]);
    assert_eq!(steps("bulk").await, closed);
}

/// From the pulse's look on, before any of its workers has asked.
#[tokio::test]
async fn webhooks_leave_its_quarter_to_a_run_that_has_looked() {
    let database = with_stopped_clock().await;
    database.call("peek_slots", request("bulk", 3)).await;
    assert_eq!(database.call("acquire_slots", request("priority", 50)).await["granted"], 17);
    pass(&database, 400).await;
    assert_eq!(database.call("acquire_slots", request("priority", 50)).await["granted"], 20);
}

#[tokio::test]
async fn waiting_as_told_is_enough_and_not_too_long() {
    let database = with_stopped_clock().await;
    let ask = async || {
        let answer = database.call("acquire_slots", request("bulk", 1)).await;
        (answer["granted"].as_u64().unwrap(), answer["wait_ms"].as_u64().unwrap())
    };
    database.call("acquire_slots", request("bulk", 17)).await;
    pass(&database, 150).await;
    assert_eq!(ask().await, (1, 0));
    // Told to wait for the oldest, not for the newest.
    assert_eq!(ask().await, (0, 250));
    pass(&database, 249).await;
    assert_eq!(ask().await, (0, 1));
    pass(&database, 1).await;
    assert_eq!(ask().await, (1, 0));
}

#[tokio::test]
async fn a_429_closes_both_lanes_until_its_time_is_over() {
    let database = with_stopped_clock().await;
    let closed = database.call("acquire_slots", observing("priority", 1, json!({"closed_for_ms": 300}))).await;
    assert_eq!((&closed["granted"], &closed["wait_ms"]), (&json!(0), &json!(300)));
    for lane in ["bulk", "priority"] {
        assert_eq!(database.call("acquire_slots", request(lane, 1)).await["granted"], 0, "{lane}");
    }
    // A shorter one doesn't open them earlier.
    database.call("acquire_slots", observing("bulk", 0, json!({"closed_for_ms": 1}))).await;
    assert_eq!(database.call("acquire_slots", request("priority", 1)).await["granted"], 0);
    pass(&database, 299).await;
    assert_eq!(database.call("acquire_slots", request("priority", 1)).await["granted"], 0);
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", request("priority", 1)).await["granted"], 1);
}

#[tokio::test]
async fn calls_of_others_are_counted_once_and_only_upwards() {
    let database = with_stopped_clock().await;
    assert_eq!(database.call("acquire_slots", request("priority", 5)).await["granted"], 5);
    // GHL counted 15: ten are not ours.
    let seen = json!({"max": 20, "remaining": 5});
    assert_eq!(database.call("acquire_slots", observing("priority", 9, seen.clone())).await["granted"], 5);
    // GHL hasn't counted all of ours yet: nothing is given back.
    let behind = json!({"max": 20, "remaining": 18});
    assert_eq!(database.call("acquire_slots", observing("priority", 9, behind)).await["granted"], 0);
    // Said again by another caller, a millisecond after the first, the same calls aren't counted again: they would stay
    // in the window for a millisecond longer.
    pass(&database, 400).await;
    let aged = json!({"max": 20, "remaining": 5, "age_ms": 399});
    assert_eq!(database.call("acquire_slots", observing("priority", 20, aged)).await["granted"], 20);
}

/// Others' calls take slots, and nobody keeps any free for them: they don't ask us.
#[tokio::test]
async fn calls_of_others_enlarge_no_reserve() {
    let database = with_stopped_clock().await;
    let seen = json!({"max": 20, "remaining": 10, "age_ms": 0, "took_ms": 0});
    assert_eq!(database.call("acquire_slots", observing("bulk", 50, seen)).await["granted"], 8);
    let priority = database.call("acquire_slots", request("priority", 3)).await;
    assert_eq!((&priority["granted"], &priority["wait_ms"]), (&json!(2), &json!(350)), "GHL's window, not ours");
}

/// What is learned from a response a window ago describes that window, not this one.
#[tokio::test]
async fn an_old_observation_of_our_own_calls_invents_no_others() {
    let database = with_stopped_clock().await;
    database.call("acquire_slots", request("priority", 20)).await;
    pass(&database, 799).await;
    let own_calls = json!({"max": 20, "remaining": 0});
    assert_eq!(database.call("acquire_slots", observing("priority", 20, own_calls)).await["granted"], 20);
}

/// GHL counts when a call comes, and says so when it has answered: a slow one tells of calls that have left the window since.
#[tokio::test]
async fn a_slow_answer_invents_no_calls_of_others() {
    let database = with_stopped_clock().await;
    database.call("acquire_slots", request("priority", 20)).await;
    // Sent in the last millisecond in which they count.
    pass(&database, 749).await;
    let own_calls = json!({"max": 20, "remaining": 0, "age_ms": 0, "took_ms": 350});
    assert_eq!(database.call("acquire_slots", observing("priority", 5, own_calls)).await["granted"], 5);
    // What own calls at no moment of it explain are calls of others.
    let others = json!({"max": 20, "remaining": 5, "age_ms": 0, "took_ms": 0});
    assert_eq!(database.call("acquire_slots", observing("priority", 9, others)).await["granted"], 5);
    // Of a call sent a whole window ago nothing is believed, of one sent since everything.
    pass(&database, 800).await;
    let too_slow = json!({"max": 20, "remaining": 0, "age_ms": 0, "took_ms": 350});
    assert_eq!(database.call("acquire_slots", observing("priority", 5, too_slow)).await["granted"], 5);
    let slow = json!({"max": 20, "remaining": 0, "age_ms": 0, "took_ms": 349});
    assert_eq!(database.call("acquire_slots", observing("priority", 5, slow)).await["granted"], 0);
}

/// Like `request`, with a margin of its own.
fn with_margin(wanted: u32, margin_ms: u32) -> Value {
    let mut request = request("priority", wanted);
    request["limits"]["margin_ms"] = json!(margin_ms);
    request
}

#[tokio::test]
async fn a_grant_takes_its_slot_as_long_as_its_own_callers_margin() {
    let database = with_stopped_clock().await;
    // One caller is far away: it may use its grants three seconds later.
    assert_eq!(database.call("acquire_slots", with_margin(12, 3_000)).await["granted"], 12);
    let near = database.call("acquire_slots", with_margin(12, 50)).await;
    assert_eq!((&near["granted"], &near["wait_ms"]), (&json!(8), &json!(400)));
    pass(&database, 399).await;
    assert_eq!(database.call("acquire_slots", with_margin(1, 50)).await["granted"], 0);
    pass(&database, 1).await;
    let near = database.call("acquire_slots", with_margin(20, 50)).await;
    assert_eq!(
        (&near["granted"], &near["wait_ms"]),
        (&json!(8), &json!(400)),
        "near ones don't wait for the far one's"
    );
    pass(&database, 2_949).await;
    assert_eq!(
        database.call("acquire_slots", with_margin(20, 50)).await["granted"],
        8,
        "the far one's may yet be sent"
    );
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 12);
}

#[tokio::test]
async fn how_long_no_grant_came_in_time_is_known_to_everybody() {
    let database = with_stopped_clock().await;
    let say = async |late: Value| {
        let mut request = request("priority", 0);
        request["late"] = late;
        database.call("acquire_slots", request).await["late_ms"].clone()
    };
    let shown = async || database.call("sync_snapshot", json!({})).await["limiter_late_ms"].clone();
    assert_eq!((say(Value::Null).await, shown().await), (Value::Null, Value::Null));
    assert_eq!(say(json!(true)).await, 0);
    pass(&database, 50_000).await;
    assert_eq!(say(json!(true)).await, 50_000);
    pass(&database, 20_000).await;
    assert_eq!((say(Value::Null).await, shown().await), (json!(70_000), json!(70_000)));
    assert_eq!((say(json!(false)).await, shown().await), (Value::Null, Value::Null), "one came in time");

    say(json!(true)).await;
    pass(&database, 59_999).await;
    assert_eq!(shown().await, 59_999);
    pass(&database, 1).await;
    assert_eq!(shown().await, Value::Null, "nobody has said anything for a minute");
    pass(&database, 1).await;
    assert_eq!(say(json!(true)).await, 0, "and what was before is another time");
}

#[tokio::test]
async fn the_maximum_is_learned_from_ghl() {
    let database = with_stopped_clock().await;
    let answer = database.call("acquire_slots", observing("bulk", 50, json!({"max": 5, "remaining": 5}))).await;
    assert_eq!(answer["granted"], 3);
    assert_eq!(database.call("acquire_slots", request("priority", 50)).await["granted"], 2);
    let nonsense = json!({"remaining": 99_999_999_999_u64, "daily_remaining": 99_999_999_999_u64});
    assert_eq!(database.call("acquire_slots", observing("bulk", 50, nonsense)).await["granted"], 0);
}

/// A worker that was idle tells what it once heard. GHL's limit may have changed since.
#[tokio::test]
async fn a_maximum_heard_a_window_ago_replaces_none_that_is_known() {
    let database = with_stopped_clock().await;
    let heard = |max: u32, age_ms: u32, took_ms: u32| json!({"max": max, "age_ms": age_ms, "took_ms": took_ms});
    let free = async |observed| {
        pass(&database, 400).await;
        database.call("acquire_slots", observing("bulk", 50, observed)).await["granted"].clone()
    };
    assert_eq!(free(heard(5, 60_000, 100)).await, 3, "better than nothing");
    assert_eq!(free(heard(12, 250, 100)).await, 3);
    assert_eq!(free(heard(12, 249, 100)).await, 10);
}

#[tokio::test]
async fn the_daily_budget_is_remembered() {
    let database = with_stopped_clock().await;
    let answer = database.call("acquire_slots", observing("bulk", 1, json!({"daily_remaining": 1234}))).await;
    assert_eq!(answer["daily_remaining"], 1234);
    pass(&database, 86_399_999).await;
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["daily_remaining"], 1234);
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["daily_remaining"], Value::Null);
}

#[tokio::test]
async fn a_clock_set_back_opens_no_second_window() {
    let database = with_stopped_clock().await;
    let ask = async |wanted| database.call("acquire_slots", request("priority", wanted)).await["granted"].clone();
    assert_eq!(ask(15).await, 15);
    pass(&database, -3_600_000).await;
    assert_eq!(ask(20).await, 5);
    pass(&database, 400).await;
    assert_eq!(ask(20).await, 0);
    // Set right again, it makes none of them older than they are.
    pass(&database, 3_600_000 - 1).await;
    assert_eq!(ask(20).await, 0);
    pass(&database, 1).await;
    assert_eq!(ask(20).await, 20);
}

#[tokio::test]
async fn nothing_is_granted_for_a_run_that_is_over() {
    let database = TestDatabase::new().await;
    let run = crate::orders::start(&database, "full").await;
    let mut for_run = request("bulk", 2);
    for_run["run_id"] = json!(run);
    let answer = database.call("acquire_slots", for_run.clone()).await;
    assert_eq!((&answer["granted"], &answer["run_state"]), (&json!(2), &json!("Syncing")));
    database.call("cancel_run", json!({})).await;
    let answer = database.call("acquire_slots", for_run).await;
    assert_eq!((&answer["granted"], &answer["run_state"]), (&json!(0), &json!("Cancelled")));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let database = TestDatabase::new().await;
    for (without, message) in [("lane", "lane is missing"), ("location_id", "location_id is missing")] {
        let mut incomplete = request("bulk", 1);
        incomplete[without] = json!("");
        let refused = database.try_call("acquire_slots", incomplete).await.unwrap_err();
        assert_eq!(sql_state(&refused), "22023");
        assert_eq!(refused.as_db_error().unwrap().message(), message);
    }
}
