//! The SQL functions of the rate limit against their model, call by call: whatever callers, other apps and clocks have done, both grant the
//! same, and tell the same times.

use limiter_model::history::{acts, limits};
use limiter_model::world::{Call, What, World};
use limiter_model::{Answer, Ask, Lane, Limits, Step};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::clock::with_stopped_clock;
use crate::harness::TestDatabase;

/// Histories, each of three locations and so many acts.
const HISTORIES: u64 = 60;
const ACTS: usize = 60;

/// The same number always makes the same id.
fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

pub(crate) fn request(location: &str, ask: &Ask) -> Value {
    let Limits { max, window_ms, daily_reserve } = ask.limits;
    let mut observed = json!({});
    let seen = [
        ("max", ask.seen.max),
        ("remaining", ask.seen.remaining),
        ("daily_remaining", ask.seen.daily_remaining),
        ("closed_for_ms", ask.seen.closed_for_ms),
        ("age_ms", ask.seen.age_ms),
        ("took_ms", ask.seen.took_ms),
    ];
    for (name, value) in seen.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        observed[name] = json!(value);
    }
    json!({
        "location_id": location, "id": ask.id.map(id), "wanted": ask.wanted, "remaining": ask.remaining, "observed": observed,
        "lane": if ask.lane == Lane::Bulk { "bulk" } else { "priority" },
        "limits": {"max": max, "window_ms": window_ms, "margin_ms": ask.margin_ms, "daily_reserve": daily_reserve},
    })
}

/// What an answer of the model looks like as the SQL function's; `granted_at` counts from the beginning of the clock.
pub(crate) fn told(answer: Answer) -> Value {
    json!({
        "granted": answer.granted, "granted_at": answer.granted_at, "wait_ms": answer.wait_ms,
        "daily_remaining": answer.daily_remaining, "budget_exhausted": answer.budget_exhausted,
    })
}

async fn asked(database: &TestDatabase, began: jiff::Timestamp, location: &str, ask: &Ask) -> Value {
    let answer = database.call("acquire_slots", request(location, ask)).await;
    let at: jiff::Timestamp = answer["granted_at"].as_str().unwrap().parse().unwrap();
    json!({
        "granted": answer["granted"], "granted_at": at.as_microsecond() - began.as_microsecond(), "wait_ms": answer["wait_ms"],
        "daily_remaining": answer["daily_remaining"], "budget_exhausted": answer["budget_exhausted"],
    })
}

#[tokio::test]
async fn the_limiter_grants_what_its_model_grants() {
    let in_ci = std::env::var_os("CI").is_some();
    let only: Option<u64> = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let first = only.unwrap_or_else(|| if in_ci { 1 } else { u64::from(rand::random::<u32>()) });
    let database = with_stopped_clock().await;
    let began = database.value("select time from sync_internal.stopped_clock").await;
    let began: jiff::Timestamp = began.as_str().unwrap().parse().unwrap();
    let mut granted = 0;
    for seed in first..first + if only.is_some() { 1 } else { HISTORIES } {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), random);
        let (limits, acts) = (limits(), acts(ACTS)).new_tree(&mut runner).unwrap().current();
        let mut world = World::new(limits);
        world.play(&acts);
        for (number, Call { location, clock, what }) in world.calls.iter().enumerate() {
            let location = format!("{seed}-{location}");
            database
                .execute(&format!(
                    "update sync_internal.stopped_clock set time = timestamptz '{began}' + interval '{clock} microseconds'"
                ))
                .await;
            let (ours, theirs) = match what {
                What::Ask(ask, answer) => {
                    granted += answer.granted;
                    (told(*answer), asked(&database, began, &location, ask).await)
                }
                What::HandBack(number, unused, freed) => {
                    let back = json!({"location_id": location, "id": id(*number), "unused": unused});
                    (json!({"handed_back": freed}), database.call("hand_back_slots", back).await)
                }
                What::Peek(ask, steps) => {
                    let steps = steps.iter().map(|Step { in_ms, calls }| json!({"in_ms": in_ms, "calls": calls}));
                    let answer = database.call("peek_slots", request(&location, ask)).await;
                    (steps.collect(), answer["steps"].clone())
                }
            };
            assert_eq!(ours, theirs, "TEST_SEED={seed}: call {number} of {limits:?}: {what:?}");
        }
    }
    assert!(granted > 0, "nothing was granted at all");
    println!("{granted} calls were granted, from seed {first}");
}
