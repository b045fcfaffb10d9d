//! The bounds of the shared rate limit, whatever workers do: any number of them, in any lane, that ask at random, want more
//! than there is, or die between grant and call. Every answer is checked afterwards against all grants.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio_postgres::Client;

use crate::harness::{TestDatabase, call};

const SCENARIOS: u64 = 48;
/// Scenarios at a time, of at most so many workers each: the server has 100 connections.
const AT_ONCE: usize = 6;
const MOST_WORKERS: u32 = 8;
const LENGTH: Duration = Duration::from_millis(900);

/// A location's limit.
#[derive(Clone, Copy, Debug)]
struct Limit {
    max: i64,
    bulk_percent: i64,
    window_ms: i64,
    margin_ms: i64,
}

/// What a worker was told.
#[derive(Clone, Copy, Debug)]
struct Answer {
    at_us: i64,
    is_bulk: bool,
    wanted: i64,
    granted: i64,
    wait_us: i64,
}

impl Limit {
    fn any(random: &mut StdRng) -> Self {
        Self {
            max: random.random_range(1..40),
            bulk_percent: random.random_range(1..=100),
            window_ms: random.random_range(60..250),
            margin_ms: random.random_range(0..40),
        }
    }

    fn bulk_max(self) -> i64 {
        (self.max * self.bulk_percent / 100).max(1)
    }

    fn window_us(self) -> i64 {
        (self.window_ms + self.margin_ms) * 1000
    }
}

async fn ask(client: &Client, location: &str, limit: Limit, is_bulk: bool, wanted: i64) -> Answer {
    let Limit { max, bulk_percent, window_ms, margin_ms } = limit;
    let limits = json!({ "max": max, "window_ms": window_ms, "margin_ms": margin_ms, "bulk_percent": bulk_percent });
    let lane = if is_bulk { "bulk" } else { "priority" };
    let request = json!({ "location_id": location, "lane": lane, "wanted": wanted, "limits": limits });
    let answer = call(client, "acquire_slots", request).await;
    let at: Timestamp = answer["granted_at"].as_str().unwrap().parse().unwrap();
    let number = |key: &str| answer[key].as_i64().unwrap();
    Answer {
        at_us: at.as_microsecond(),
        is_bulk,
        wanted,
        granted: number("granted"),
        wait_us: number("wait_ms") * 1000,
    }
}

/// Asks at random until its time is over; a worker that dies leaves its grants unused, which gives none of them back.
async fn work(client: Client, location: String, limit: Limit, seed: u64) -> Vec<Answer> {
    let (mut random, begun) = (StdRng::seed_from_u64(seed), Instant::now());
    let (mut answers, always_bulk) = (Vec::new(), random.random_bool(0.4));
    while begun.elapsed() < LENGTH {
        let is_bulk = always_bulk || random.random_bool(0.3);
        let answer = ask(&client, &location, limit, is_bulk, random.random_range(0..=limit.max * 2)).await;
        answers.push(answer);
        let pause = if answer.granted < answer.wanted && random.random_bool(0.6) {
            Duration::from_micros(answer.wait_us.try_into().unwrap())
        } else {
            Duration::from_micros(random.random_range(0..limit.window_us().unsigned_abs() / 6))
        };
        tokio::time::sleep(pause).await;
    }
    answers
}

async fn play(database: &TestDatabase, number: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let limit = Limit::any(&mut random);
    let location = format!("location-{number}");
    let mut workers = Vec::new();
    for _ in 0..random.random_range(1..=MOST_WORKERS) {
        let client = database.another_server().await;
        workers.push(tokio::spawn(work(client, location.clone(), limit, random.random())));
    }
    let mut answers = Vec::new();
    for worker in workers {
        answers.extend(worker.await.expect("a worker ends"));
    }
    let story = format!("TEST_SEED={seed}: {limit:?}, {} answers", answers.len());
    check(limit, &answers, &story);
}

fn check(limit: Limit, answers: &[Answer], story: &str) {
    let window = limit.window_us();
    // Those granted after one moment and up to another, in one lane or in both.
    let granted = |after: i64, until: i64, bulk_only: bool| -> i64 {
        let of_time = answers.iter().filter(|one| one.at_us > after && one.at_us <= until);
        of_time.filter(|one| one.is_bulk || !bulk_only).map(|one| one.granted).sum()
    };
    for answer in answers {
        let now = answer.at_us;
        let (all, bulk) = (granted(now - window, now, false), granted(now - window, now, true));
        assert!(all <= limit.max, "{story}: {all} in the window that ends with {answer:?}");
        assert!(bulk <= limit.bulk_max(), "{story}: {bulk} of bulk in the window that ends with {answer:?}");
        assert!((0..=answer.wanted).contains(&answer.granted), "{story}: {answer:?}");
        if answer.granted == answer.wanted {
            continue;
        }
        // A priority call waits only while the whole window is full, a bulk call while that or its lane is.
        let is_full = |all: i64, bulk: i64| all >= limit.max || answer.is_bulk && bulk >= limit.bulk_max();
        assert!(is_full(all, bulk), "{story}: {answer:?} waits although there is room: {all} and {bulk} of bulk");
        // It is told to wait until there is room, and not longer; a millisecond is the answer's unit.
        let later = |wait: i64| (granted(now + wait - window, now, false), granted(now + wait - window, now, true));
        let (all, bulk) = later(answer.wait_us);
        assert!(!is_full(all, bulk), "{story}: {answer:?} is told too early a time");
        let (all, bulk) = later(answer.wait_us - 1001);
        assert!(answer.wait_us <= 1000 || is_full(all, bulk), "{story}: {answer:?} is told too late a time");
    }
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
    stream::iter(0..scenarios).for_each_concurrent(AT_ONCE, |number| play(&database, number, first + number)).await;
}
