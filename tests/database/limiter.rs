//! The shared rate limit: exact for any window, two lanes, closed by a 429, corrected by what GHL counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::clock::{pass, with_stopped_clock};
use crate::harness::{TestDatabase, call, sql_state};

/// 20 in 400 ms, of which bulk may have 16.
fn request(lane: &str, wanted: u32) -> Value {
    json!({
        "lane": lane, "wanted": wanted,
        "limits": {"max": 20, "window_ms": 350, "margin_ms": 50, "bulk_percent": 80},
    })
}

fn observing(lane: &str, wanted: u32, observed: Value) -> Value {
    let mut request = request(lane, wanted);
    request["observed"] = observed;
    request
}

#[tokio::test]
async fn bulk_sees_its_share_and_priority_the_rest() {
    let database = with_stopped_clock().await;
    let bulk = database.call("acquire_slots", request("bulk", 50)).await;
    assert_eq!((&bulk["granted"], &bulk["wait_ms"]), (&json!(16), &json!(400)));
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["granted"], 0);

    let priority = database.call("acquire_slots", request("priority", 3)).await;
    assert_eq!((&priority["granted"], &priority["wait_ms"]), (&json!(3), &json!(0)));
    assert_eq!(database.call("acquire_slots", request("priority", 9)).await["granted"], 1);
    assert_eq!(database.call("acquire_slots", request("priority", 1)).await["granted"], 0);
}

#[tokio::test]
async fn priority_calls_count_against_bulk_only_when_all_is_used() {
    let database = with_stopped_clock().await;
    assert_eq!(database.call("acquire_slots", request("priority", 10)).await["granted"], 10);
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 10);
}

#[tokio::test]
async fn waiting_as_told_is_enough_and_not_too_long() {
    let database = with_stopped_clock().await;
    let ask = async || {
        let answer = database.call("acquire_slots", request("bulk", 1)).await;
        (answer["granted"].as_u64().unwrap(), answer["wait_ms"].as_u64().unwrap())
    };
    database.call("acquire_slots", request("bulk", 15)).await;
    pass(&database, 150).await;
    assert_eq!(ask().await, (1, 0));
    // Told to wait for the oldest, not for the newest.
    assert_eq!(ask().await, (0, 250));
    pass(&database, 249).await;
    assert_eq!(ask().await, (0, 1));
    pass(&database, 1).await;
    assert_eq!(ask().await, (1, 0));
}

/// Eight callers take what they can until they have four windows full: whatever window of 400 ms one looks at, at most
/// 20 lie in it (a token bucket lets up to twice as many through), and the limit is used, not merely kept: nobody is
/// refused what a window has room for. This needs real callers and real time; how much of it is left to the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_ever_holds_more_than_the_maximum() {
    let database = TestDatabase::new().await;
    let mut callers = JoinSet::new();
    let taken = Arc::new(AtomicU64::new(0));
    for caller in 0..8 {
        let (client, taken) = (database.another_server().await, Arc::clone(&taken));
        callers.spawn(async move {
            let mut answers = Vec::new();
            while taken.load(Ordering::Relaxed) < 80 {
                let lane = if caller % 2 == 0 { "bulk" } else { "priority" };
                let mut answer = call(&client, "acquire_slots", request(lane, 3)).await;
                answer["lane"] = json!(lane);
                taken.fetch_add(answer["granted"].as_u64().unwrap(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(answer["wait_ms"].as_u64().unwrap().min(50))).await;
                answers.push(answer);
            }
            answers
        });
    }
    let answers = tokio::time::timeout(Duration::from_secs(300), callers.join_all()).await;
    let answers = Value::from(answers.expect("four windows full are granted").concat()).to_string();
    let windows = database
        .rows(&format!(
            "with windows as (
               select a.*, sum(granted) over w as calls, sum(granted) filter (where lane = 'bulk') over w as bulk_calls
               from jsonb_to_recordset('{answers}') as a (granted_at timestamptz, lane text, granted int)
               window w as (
                 order by granted_at range between interval '399.999 milliseconds' preceding and current row))
             select max(calls) as fullest, max(bulk_calls) as fullest_of_bulk,
               count(*) filter (
                 where granted < 3 and calls < 20 and (lane = 'priority' or bulk_calls < 16)) as refused_room
             from windows"
        ))
        .await;
    assert!(windows[0]["fullest"].as_u64().unwrap() <= 20, "{windows:?}");
    assert!(windows[0]["fullest_of_bulk"].as_u64().unwrap() <= 16, "{windows:?}");
    assert_eq!(windows[0]["refused_room"], 0, "{windows:?}");
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
    let too_slow = json!({"max": 20, "remaining": 0, "age_ms": 0, "took_ms": 400});
    assert_eq!(database.call("acquire_slots", observing("priority", 5, too_slow)).await["granted"], 5);
    let slow = json!({"max": 20, "remaining": 0, "age_ms": 0, "took_ms": 399});
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
    assert_eq!(database.call("acquire_slots", with_margin(20, 3_000)).await["granted"], 20);
    pass(&database, 3_349).await;
    assert_eq!(database.call("acquire_slots", with_margin(1, 50)).await["granted"], 0, "the far one's may yet be sent");
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 20);
    // The wide margin still counts while a grant of its time could; afterwards it is forgotten.
    pass(&database, 3_349).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 0);
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 20);
    pass(&database, 399).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 0);
    pass(&database, 1).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 20);
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
    assert_eq!(answer["granted"], 4);
    assert_eq!(database.call("acquire_slots", request("priority", 50)).await["granted"], 1);
    let nonsense = json!({"remaining": 99_999_999_999_u64, "daily_remaining": 99_999_999_999_u64});
    assert_eq!(database.call("acquire_slots", observing("bulk", 50, nonsense)).await["granted"], 0);
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
