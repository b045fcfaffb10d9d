//! The shared rate limit: exact for any window, two lanes, closed by a 429, corrected by what GHL counted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

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
    let database = TestDatabase::new().await;
    let bulk = database.call("acquire_slots", request("bulk", 50)).await;
    assert_eq!(bulk["granted"], 16);
    assert!(bulk["wait_ms"].as_u64().unwrap() > 300, "{bulk}");
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["granted"], 0);

    let priority = database.call("acquire_slots", request("priority", 3)).await;
    assert_eq!((&priority["granted"], &priority["wait_ms"]), (&json!(3), &json!(0)));
    assert_eq!(database.call("acquire_slots", request("priority", 9)).await["granted"], 1);
    assert_eq!(database.call("acquire_slots", request("priority", 1)).await["granted"], 0);
}

#[tokio::test]
async fn priority_calls_count_against_bulk_only_when_all_is_used() {
    let database = TestDatabase::new().await;
    assert_eq!(database.call("acquire_slots", request("priority", 10)).await["granted"], 10);
    assert_eq!(database.call("acquire_slots", request("bulk", 50)).await["granted"], 10);
}

#[tokio::test]
async fn waiting_as_told_is_enough_and_not_too_long() {
    let database = TestDatabase::new().await;
    database.call("acquire_slots", request("bulk", 16)).await;
    let refused = database.call("acquire_slots", request("bulk", 1)).await;
    let wait = refused["wait_ms"].as_u64().unwrap();
    assert!((1..=401).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["granted"], 1);
}

/// Eight callers take what they can for two seconds: whatever window of 400 ms one looks at, at most 20 lie in it (a
/// token bucket lets up to twice as many through), and the limit is used, not merely kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_ever_holds_more_than_the_maximum() {
    let database = TestDatabase::new().await;
    let mut callers = JoinSet::new();
    let until = Instant::now() + Duration::from_secs(2);
    for caller in 0..8 {
        let client = database.another_server().await;
        callers.spawn(async move {
            let mut grants = Vec::new();
            while Instant::now() < until {
                let lane = if caller % 2 == 0 { "bulk" } else { "priority" };
                let answer = call(&client, "acquire_slots", request(lane, 3)).await;
                for _ in 0..answer["granted"].as_u64().unwrap() {
                    grants.push((answer["granted_at"].as_str().unwrap().to_owned(), lane));
                }
                tokio::time::sleep(Duration::from_millis(answer["wait_ms"].as_u64().unwrap().min(50))).await;
            }
            grants
        });
    }
    let grants: Vec<Value> =
        callers.join_all().await.concat().into_iter().map(|(at, lane)| json!({"at": at, "lane": lane})).collect();
    assert!(grants.len() >= 80, "only {} grants in 2 s of 5 windows of 20", grants.len());

    let grants = Value::from(grants).to_string();
    let fullest = database
        .rows(&format!(
            "with grants as (select * from jsonb_to_recordset('{grants}') as g (at timestamptz, lane text))
             select max(fullest) as all_lanes, max(bulk) as bulk from (
               select count(*) over w as fullest, count(*) filter (where lane = 'bulk') over w as bulk from grants
               window w as (order by at range between interval '399.999 milliseconds' preceding and current row)) as w"
        ))
        .await;
    assert!(fullest[0]["all_lanes"].as_u64().unwrap() <= 20, "{fullest:?}");
    assert!(fullest[0]["bulk"].as_u64().unwrap() <= 16, "{fullest:?}");
}

#[tokio::test]
async fn a_429_closes_both_lanes_until_its_time_is_over() {
    let database = TestDatabase::new().await;
    let closed = database.call("acquire_slots", observing("priority", 1, json!({"closed_for_ms": 300}))).await;
    assert_eq!(closed["granted"], 0);
    assert!((250..=301).contains(&closed["wait_ms"].as_u64().unwrap()), "{closed}");
    for lane in ["bulk", "priority"] {
        assert_eq!(database.call("acquire_slots", request(lane, 1)).await["granted"], 0, "{lane}");
    }
    // A shorter one doesn't open them earlier.
    database.call("acquire_slots", observing("bulk", 0, json!({"closed_for_ms": 1}))).await;
    assert_eq!(database.call("acquire_slots", request("priority", 1)).await["granted"], 0);
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert_eq!(database.call("acquire_slots", request("priority", 1)).await["granted"], 1);
}

#[tokio::test]
async fn calls_of_others_are_counted_once_and_only_upwards() {
    let database = TestDatabase::new().await;
    assert_eq!(database.call("acquire_slots", request("priority", 5)).await["granted"], 5);
    // GHL counted 15: ten are not ours.
    let seen = json!({"max": 20, "remaining": 5});
    assert_eq!(database.call("acquire_slots", observing("priority", 9, seen.clone())).await["granted"], 5);
    // GHL hasn't counted all of ours yet: nothing is given back.
    let behind = json!({"max": 20, "remaining": 18});
    assert_eq!(database.call("acquire_slots", observing("priority", 9, behind)).await["granted"], 0);
    // Said again by another caller, the same calls aren't counted again.
    tokio::time::sleep(Duration::from_millis(410)).await;
    let aged = json!({"max": 20, "remaining": 5, "age_ms": 405});
    assert_eq!(database.call("acquire_slots", observing("priority", 20, aged)).await["granted"], 20);
}

/// What is learned from a response a window ago describes that window, not this one.
#[tokio::test]
async fn an_old_observation_of_our_own_calls_invents_no_others() {
    let database = TestDatabase::new().await;
    database.call("acquire_slots", request("priority", 20)).await;
    tokio::time::sleep(Duration::from_millis(420)).await;
    let own_calls = json!({"max": 20, "remaining": 0});
    assert_eq!(database.call("acquire_slots", observing("priority", 20, own_calls)).await["granted"], 20);
}

/// GHL counts when a call comes, and says so when it has answered: a slow one tells of calls that have left the window since.
#[tokio::test]
async fn a_slow_answer_invents_no_calls_of_others() {
    let database = TestDatabase::new().await;
    database.call("acquire_slots", request("priority", 20)).await;
    tokio::time::sleep(Duration::from_millis(420)).await;
    let own_calls = json!({"max": 20, "remaining": 0, "age_ms": 0, "took_ms": 350});
    assert_eq!(database.call("acquire_slots", observing("priority", 5, own_calls)).await["granted"], 5);
    // What own calls at no moment of it explain are calls of others.
    let others = json!({"max": 20, "remaining": 5, "age_ms": 0, "took_ms": 0});
    assert_eq!(database.call("acquire_slots", observing("priority", 9, others)).await["granted"], 5);
}

/// Like `request`, with a margin of its own.
fn with_margin(wanted: u32, margin_ms: u32) -> Value {
    let mut request = request("priority", wanted);
    request["limits"]["margin_ms"] = json!(margin_ms);
    request
}

/// Grants as if they had been given so long ago.
async fn age_grants(database: &TestDatabase, ms: u32) {
    let by = format!("interval '{ms} milliseconds'");
    let grants = format!(
        "update sync_limiter set priority_grants = array(select t - {by} from unnest(priority_grants) as t),
         bulk_grants = array(select t - {by} from unnest(bulk_grants) as t), last_at = last_at - {by},
         margin_since = margin_since - {by}, late_since = late_since - {by}, late_at = late_at - {by}"
    );
    database.execute(&grants).await;
}

#[tokio::test]
async fn a_grant_takes_its_slot_as_long_as_its_own_callers_margin() {
    let database = TestDatabase::new().await;
    // One caller is far away: it may use its grants three seconds later.
    assert_eq!(database.call("acquire_slots", with_margin(20, 3_000)).await["granted"], 20);
    age_grants(&database, 3_000).await;
    assert_eq!(database.call("acquire_slots", with_margin(1, 50)).await["granted"], 0, "the far one's may yet be sent");
    age_grants(&database, 400).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 20);
    // The wide margin still counts while a grant of its time could; afterwards it is forgotten.
    age_grants(&database, 3_400).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 20);
    age_grants(&database, 410).await;
    assert_eq!(database.call("acquire_slots", with_margin(20, 50)).await["granted"], 20);
}

#[tokio::test]
async fn how_long_no_grant_came_in_time_is_known_to_everybody() {
    let database = TestDatabase::new().await;
    let say = async |late: Value| {
        let mut request = request("priority", 0);
        request["late"] = late;
        database.call("acquire_slots", request).await["late_ms"].clone()
    };
    let shown = async || database.call("sync_snapshot", json!({})).await["limiter_late_ms"].clone();
    assert_eq!((say(Value::Null).await, shown().await), (Value::Null, Value::Null));
    assert!(say(json!(true)).await.as_u64().unwrap() < 5_000);
    age_grants(&database, 50_000).await;
    assert!(say(json!(true)).await.as_u64().unwrap() >= 50_000);
    age_grants(&database, 20_000).await;
    assert!(say(Value::Null).await.as_u64().unwrap() >= 70_000);
    assert!(shown().await.as_u64().unwrap() >= 70_000);
    assert_eq!((say(json!(false)).await, shown().await), (Value::Null, Value::Null), "one came in time");

    say(json!(true)).await;
    age_grants(&database, 61_000).await;
    assert_eq!(shown().await, Value::Null, "nobody has said anything for a minute");
    assert!(say(json!(true)).await.as_u64().unwrap() < 5_000, "and what was before is another time");
}

#[tokio::test]
async fn the_maximum_is_learned_from_ghl() {
    let database = TestDatabase::new().await;
    let answer = database.call("acquire_slots", observing("bulk", 50, json!({"max": 5, "remaining": 5}))).await;
    assert_eq!(answer["granted"], 4);
    assert_eq!(database.call("acquire_slots", request("priority", 50)).await["granted"], 1);
    let nonsense = json!({"remaining": 99_999_999_999_u64, "daily_remaining": 99_999_999_999_u64});
    assert_eq!(database.call("acquire_slots", observing("bulk", 50, nonsense)).await["granted"], 0);
}

#[tokio::test]
async fn the_daily_budget_is_remembered() {
    let database = TestDatabase::new().await;
    let answer = database.call("acquire_slots", observing("bulk", 1, json!({"daily_remaining": 1234}))).await;
    assert_eq!(answer["daily_remaining"], 1234);
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["daily_remaining"], 1234);
    database.execute("update sync_limiter set daily_observed_at = now() - interval '25 hours'").await;
    assert_eq!(database.call("acquire_slots", request("bulk", 1)).await["daily_remaining"], Value::Null);
}

#[tokio::test]
async fn a_clock_set_back_opens_no_second_window() {
    let database = TestDatabase::new().await;
    database.call("acquire_slots", request("priority", 20)).await;
    // As if the clock had stood an hour ahead for those grants.
    database
        .execute(
            "update sync_limiter set last_at = last_at + interval '1 hour',
             priority_grants = array(select t + interval '1 hour' from unnest(priority_grants) as t)",
        )
        .await;
    tokio::time::sleep(Duration::from_millis(420)).await;
    let answer = database.call("acquire_slots", request("priority", 1)).await;
    assert_eq!(answer["granted"], 0);
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
