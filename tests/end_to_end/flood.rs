//! A flood of unsigned webhooks during a sync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::{
    accounts::assert_tickets,
    api::As,
    fake_ghl::new_id,
    waiting::A_RUN,
    world::{World, assert_adds_up},
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

const PER_SECOND: u32 = 2_000;
/// What the route lets through in that time and in the second around it, in the smallest account: ten per second, after a burst of
/// five.
const MOST_PASSED: u32 = 5 + 10 * 12;
/// Half as long as the sync, which then still is under way on a slow machine.
const LASTS: Duration = Duration::from_secs(10);
/// Requests under way at a time: as many as a flood from a few machines has, and fewer than this process may open.
const AT_ONCE: u32 = 200;

#[tokio::test]
async fn a_flood_of_unsigned_webhooks_changes_nothing() {
    let world = World::with_orders(150).await;
    let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
    let statuses = flood(&world).await;
    println!("{PER_SECOND} requests per second offered for {LASTS:?}, answered: {statuses:?}");
    // Those above the route's limit get 429 from the gateway, all others 401 from the function.
    assert!(statuses.keys().all(|status| [401, 429].contains(status)), "{statuses:?}");
    let passed = statuses.get(&401).copied().unwrap_or_default();
    assert!((1..=MOST_PASSED).contains(&passed), "{statuses:?}");
    world.cloud().is_empty("orders").await.expect("no message was queued");

    let row = world.until_ended(&run_id, A_RUN).await;
    assert_eq!(row["state"], "Delay", "{row}");
    assert_adds_up(&row);
    assert_eq!(row["failed"], json!(0), "{row}");
    let census = world.ghl.census().await;
    assert_tickets(&world, &census.valid).await;
    let counters = world.ghl.counters().await;
    assert!(counters["perOrder"].as_object().unwrap().values().all(|fetches| *fetches == json!(1)), "{counters}");
    world.assert_no_failures().await;
    world.api.get(As::Member, "/api/qrapp/sync-status").await.ok();
}

/// Sends them evenly, as far as they are answered in time; how many got which status.
async fn flood(world: &World) -> BTreeMap<u16, u32> {
    let (url, location) = (format!("{}/api/ghl/webhook-qr", world.http_url), world.location_id.clone());
    let (client, sent, begun) = (tests::http(), Arc::new(AtomicU32::new(0)), Instant::now());
    let mut senders = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, url, location, sent) = (client.clone(), url.clone(), location.clone(), Arc::clone(&sent));
        senders.spawn(async move {
            let mut statuses = BTreeMap::<u16, u32>::new();
            loop {
                let due = Duration::from_secs(1) * sent.fetch_add(1, Ordering::Relaxed) / PER_SECOND;
                if due.max(begun.elapsed()) >= LASTS {
                    return statuses;
                }
                sleep_until(begun + due).await;
                let body = json!({ "type": "OrderStatusUpdate", "locationId": location, "_id": new_id() });
                let answer = client.post(&url).json(&body).header("x-ghl-signature", "A".repeat(88)).send().await;
                let status = answer.map_or(0, |answer| answer.status().as_u16());
                *statuses.entry(status).or_default() += 1;
            }
        });
    }
    let mut all = BTreeMap::new();
    while let Some(statuses) = senders.join_next().await {
        for (status, count) in statuses.expect("a sender ends") {
            *all.entry(status).or_default() += count;
        }
    }
    all
}
