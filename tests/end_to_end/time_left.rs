//! A full run of several windows of GHL's limit, as those see it who look on: recorded frame by frame, and asked for in between.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{api::As, dashboard::Dashboard, waiting::A_RUN, world::World};
use tokio::time::{Instant, sleep, timeout};

/// Beside the odd dozen: four windows' worth, of which the first comes at once.
const ORDERS: u32 = 300;
const SYNC: &str = "/api/ghl/orders/sync?mode=full";
/// What never counts down. `totalOrders` does, as orders turn out not to be ours.
const COUNTS: [&str; 11] = [
    "listedOrders",
    "syncedOrders",
    "failedOrders",
    "skippedOrders",
    "unchangedOrders",
    "totalTickets",
    "totalTicketsChecked",
    "totalTicketTypes",
    "ticketsAdded",
    "ticketsCancelled",
    "elapsedSeconds",
];

/// What was told, and when it came.
type Told = Vec<(Instant, Value)>;

/// The frames of a run until it cools down.
async fn record(dashboard: &mut Dashboard, run_id: &str) -> Told {
    let mut told = Told::new();
    loop {
        let frame = dashboard.next().await;
        if frame["runId"] != run_id {
            continue;
        }
        let is_end = frame["event"] == "sync_complete";
        told.push((Instant::now(), frame));
        if is_end {
            return told;
        }
    }
}

/// The status as a page that joins would get it, several times a second.
async fn ask(world: &World, run_id: &str) -> Told {
    let mut told = Told::new();
    loop {
        let status = world.status().await;
        if status["runId"] == run_id {
            if status["syncInProgress"] == false {
                return told;
            }
            told.push((Instant::now(), status));
        }
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn counts_only_go_up_and_the_time_left_is_right_from_a_fifth_of_the_run_on() {
    let world = World::with_orders(ORDERS).await;
    let all = world.ghl.census().await.all.len() as u64;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let run_id = world.api.start(SYNC).await;
    let seen = timeout(A_RUN, async { tokio::join!(record(&mut dashboard, &run_id), ask(&world, &run_id)) }).await;
    let (frames, asked) = seen.expect("the run ends");

    assert_begins_with_its_count(&frames, all);
    let last: Vec<_> = frames.iter().rev().take(4).map(|(_, frame)| frame["event"].as_str().unwrap()).collect();
    assert_eq!(last, ["sync_complete", "sync_status", "sync_ticket_progress", "sync_progress"]);
    let numbers: Vec<_> = frames.iter().map(|(_, frame)| frame["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert_counts_up(frames.iter().map(|(_, frame)| &frame["data"]));
    assert_counts_up(asked.iter().map(|(_, status)| status));

    let (began, ended) = (frames[0].0, frames[frames.len() - 2].0);
    let took = ended - began;
    assert!(took > Duration::from_secs(20), "several windows: {took:?}");
    let told =
        frames.iter().map(|(at, frame)| (*at, &frame["data"])).filter(|(_, data)| data["syncInProgress"] == true);
    let told: Vec<_> = told.chain(asked.iter().map(|(at, status)| (*at, status))).collect();
    for (at, data) in &told {
        assert!(data["etaSeconds"] != 0, "something is left: {data}");
        let since = (*at - began).as_secs_f64() + frames[0].1["data"]["elapsedSeconds"].as_f64().unwrap();
        let elapsed = data["elapsedSeconds"].as_f64();
        assert!(elapsed.is_some_and(|elapsed| (elapsed - since).abs() <= 5.0), "{since:.1} s after the start: {data}");
        if *at < began + took / 5 || *at > ended {
            continue;
        }
        let (left, eta) = ((ended - *at).as_secs_f64(), data["etaSeconds"].as_f64());
        let is_right = eta.is_some_and(|eta| (eta - left).abs() <= 0.25 * left + 2.0);
        assert!(is_right, "{:.1} s after the start, {left:.1} s before the end: {data}", (*at - began).as_secs_f64());
    }
    assert_says_what_is_waited_for(&asked);
}

/// The first frame is a status with GHL's count; where GHL was slow, the next status is.
fn assert_begins_with_its_count(frames: &[(Instant, Value)], all: u64) {
    let first = &frames[0].1;
    assert_eq!((&first["event"], &first["data"]["status"]), (&json!("sync_status"), &json!("Syncing")), "{first}");
    assert_eq!([&first["data"]["endTime"], &first["data"]["syncedOrders"]], [&Value::Null, &json!(0)], "{first}");
    let statuses = frames.iter().map(|(_, frame)| frame).filter(|frame| frame["event"] == "sync_status");
    let counted = |frame: &&Value| {
        let count = |name: &str| frame["data"][name].as_u64().unwrap();
        frame["data"]["status"] == "Syncing" && count("totalOrders") + count("skippedOrders") == all
    };
    assert!(statuses.take(2).any(|frame| counted(&frame)), "no status with {all} orders: {first}");
}

fn assert_counts_up<'a>(told: impl Iterator<Item = &'a Value> + Clone) {
    for name in COUNTS {
        let values: Vec<_> = told.clone().filter_map(|data| data[name].as_u64()).collect();
        assert!(!values.is_empty() && values.is_sorted(), "{name} goes back: {values:?}");
    }
}

/// In the pauses of the limit the time left doesn't rise, and it is said what is waited for.
fn assert_says_what_is_waited_for(asked: &[(Instant, Value)]) {
    let etas: Vec<_> =
        asked.iter().skip(asked.len() / 5).filter_map(|(_, status)| status["etaSeconds"].as_u64()).collect();
    assert!(etas.windows(2).all(|pair| pair[1] <= pair[0] + 2), "it rises: {etas:?}");
    let waiting = asked.iter().filter(|(_, status)| status["waitSeconds"].is_u64()).count();
    assert!(waiting * 3 > asked.len(), "a run mostly waits for the limit: {waiting} of {}", asked.len());
}
