//! The bounds of the shared rate limit, whatever workers do at the same time: any number of them, in any lane, with any margin, that ask at
//! random, want more than there is, or die between grant and call. In real time, as the clocks of this machine show it.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use limiter_model::{Ask, Lane, Limiter, Limits, Seen};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::{TestDatabase, call};
use crate::limiter_model::{request, told};

const SCENARIOS: u64 = 48;
/// Scenarios at a time, of at most so many workers each: the server has 100 connections.
const AT_ONCE: usize = 6;
const MOST_WORKERS: u32 = 8;
const LENGTH: Duration = Duration::from_millis(900);

/// An ask and its answer. The limiter decides one after the other, so the database's times are their order.
struct Answered {
    at_us: i64,
    ask: Ask,
    answer: Value,
}

/// What one worker has done.
#[derive(Default)]
struct Work {
    answered: Vec<Answered>,
    /// When calls were sent, by the worker's clock, and how many.
    sent: Vec<(Duration, i64)>,
}

fn any_limits(random: &mut StdRng) -> Limits {
    Limits { max: random.random_range(1..40), window_ms: random.random_range(60..250), daily_reserve: 0 }
}

fn any_ask(limits: Limits, is_bulk: bool, random: &mut StdRng) -> Ask {
    let remaining = random.random_bool(0.5).then(|| random.random_range(0..limits.max * 4));
    Ask {
        id: Some(random.random_range(0..0xffff_ffff_ffff)),
        lane: if is_bulk { Lane::Bulk } else { Lane::Priority },
        wanted: random.random_range(0..=limits.max * 2),
        remaining,
        // A wide one is kept on a busy machine, too.
        margin_ms: if random.random_bool(0.2) { 1_000 } else { random.random_range(0..60) },
        limits,
        seen: Seen::default(),
    }
}

/// Asks at random until its time is over, and sends what it was granted at any moment within its margin, as it measures it from its ask.
async fn work(client: Client, location: String, limits: Limits, seed: u64, begun: Instant) -> Work {
    let (mut random, mut work) = (StdRng::seed_from_u64(seed), Work::default());
    let always_bulk = random.random_bool(0.4);
    while begun.elapsed() < LENGTH {
        let is_bulk = always_bulk || random.random_bool(0.3);
        let ask = any_ask(limits, is_bulk, &mut random);
        let margin = Duration::from_millis(ask.margin_ms.unsigned_abs());
        let asked_at = begun.elapsed();
        let mut answer = call(&client, "acquire_slots", request(&location, &ask)).await;
        let at: Timestamp = answer["granted_at"].as_str().unwrap().parse().unwrap();
        answer["granted_at"] = json!(at.as_microsecond());
        let (granted, wait_ms) = (answer["granted"].as_i64().unwrap(), answer["wait_ms"].as_u64().unwrap());
        let is_all = granted == ask.wanted;
        work.answered.push(Answered { at_us: at.as_microsecond(), ask, answer });

        // Tokio's timer may be late: whoever is too late dies with its grant.
        tokio::time::sleep(margin.mul_f64(random.random_range(0.0..1.0))).await;
        let now = begun.elapsed();
        if granted > 0 && now - asked_at <= margin {
            work.sent.push((now, granted));
        }
        let pause = if !is_all && random.random_bool(0.6) {
            Duration::from_millis(wait_ms)
        } else {
            Duration::from_millis(random.random_range(0..limits.window_ms.unsigned_abs() / 6))
        };
        tokio::time::sleep(pause).await;
    }
    work
}

/// Returns how many calls were granted.
async fn play(database: &TestDatabase, number: u64, seed: u64) -> i64 {
    let mut random = StdRng::seed_from_u64(seed);
    let limits = any_limits(&mut random);
    let location = format!("location-{number}");
    let (mut workers, begun) = (Vec::new(), Instant::now());
    for _ in 0..random.random_range(1..=MOST_WORKERS) {
        let client = database.another_server().await;
        workers.push(tokio::spawn(work(client, location.clone(), limits, random.random(), begun)));
    }
    let mut done = Work::default();
    for worker in workers {
        let work = worker.await.expect("a worker ends");
        done.answered.extend(work.answered);
        done.sent.extend(work.sent);
    }
    let story = format!("TEST_SEED={seed}: {limits:?}, {} answers", done.answered.len());

    // Two clocks measure: the workers' and the database's, which may be slewed.
    let window = Duration::from_millis(limits.window_ms.unsigned_abs()).mul_f64(0.998);
    for (from, _) in &done.sent {
        let in_window = done.sent.iter().filter(|(at, _)| at >= from && *at < *from + window);
        let calls: i64 = in_window.map(|(_, calls)| calls).sum();
        assert!(calls <= limits.max, "{story}: {calls} sent in the window from {from:?}");
    }

    done.answered.sort_by_key(|answered| answered.at_us);
    let mut model = Limiter::default();
    for Answered { at_us, ask, answer } in &done.answered {
        for (name, value) in told(model.ask(*at_us, ask)).as_object().unwrap() {
            assert_eq!(&answer[name], value, "{story}: {name} of {ask:?} at {at_us}");
        }
    }
    done.answered.iter().filter_map(|answered| answered.answer["granted"].as_i64()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_of_the_rate_limit_hold_whatever_workers_do() {
    let first = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let only = first.is_some();
    // The same ones in CI, new ones everywhere else; when a worker asks is chance all the same.
    let in_ci = std::env::var_os("CI").is_some();
    let first = first.unwrap_or_else(|| if in_ci { 1 } else { u64::from(rand::random::<u32>()) });
    let database = TestDatabase::new().await;
    let scenarios = if only { 1 } else { SCENARIOS };
    let played = stream::iter(0..scenarios).map(|number| play(&database, number, first + number));
    let granted: Vec<i64> = played.buffer_unordered(AT_ONCE).collect().await;
    assert!(granted.iter().sum::<i64>() > 0, "nothing was granted at all");
}
