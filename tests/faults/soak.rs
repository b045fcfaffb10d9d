//! Ten runs of 500 orders with random faults, webhooks all the while and workers killed at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tests::{
    api::As,
    waiting::until,
    world::{World, assert_adds_up},
};

use crate::harm;
use crate::scene::assert_nothing_lost;

const SYNC: &str = "/api/ghl/orders/sync?mode=full";
const ORDERS: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(180);
const VICTIMS: [&str; 3] = ["order-worker", "tickets", "run-worker"];

#[tokio::test]
async fn runs_with_random_faults_lose_nothing() {
    if !crate::all() {
        println!("runs in CI and with TEST_ALL=1");
        return;
    }
    let seed = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("repeat it with TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::with_orders(ORDERS).await;
    harm::heal(&world).await;
    let ids = world.ghl.census().await.ordinary;
    let runs = if crate::given("TEST_ALL") { 10 } else { 5 };
    for run in 1..=runs {
        world.ghl.heal().await;
        order_faults(&world, &ids, &mut random).await;
        let run_id = until("a start", PATIENCE, async || {
            let started = world.api.post(As::Admin, SYNC).await;
            started.body["runId"].as_str().filter(|_| started.status == 202).map(str::to_owned).ok_or("busy".to_owned())
        })
        .await;
        let row = until("the end of the run", PATIENCE, async || {
            let id = &ids[random.random_range(0..ids.len())];
            world.ghl.put_quantity(id, random.random_range(1..6)).await;
            world.ghl.notify(id).await;
            if random.random_bool(0.1) {
                harm::kill_workers(&world, VICTIMS[random.random_range(0..VICTIMS.len())]).await;
            }
            world.status().await;
            let row = world.database.run(&run_id).await;
            if row["state"] == "Syncing" { Err(row.to_string()) } else { Ok(row) }
        })
        .await;
        assert_adds_up(&row);
        assert_eq!(row["error_code"], json!(null), "{row}");
        println!("run {run}: {} listed, {} synced, {} failed", row["listed"], row["synced"], row["failed"]);
        world.database.end_cooldown().await;
    }
    harm::heal(&world).await;
    assert_nothing_lost(&world).await;
}

/// 2 % of the orders fail in some way, for a while.
async fn order_faults(world: &World, ids: &[String], random: &mut StdRng) {
    for _ in 0..ids.len() / 50 {
        let fault = match random.random_range(0..6) {
            0 => json!({ "kind": "status", "status": 500 }),
            1 => json!({ "kind": "status", "status": 429 }),
            2 => json!({ "kind": "reset" }),
            3 => json!({ "kind": "truncate" }),
            4 => json!({ "kind": "html", "status": 502 }),
            _ => json!({ "kind": "delay", "ms": 4000 }),
        };
        let id = &ids[random.random_range(0..ids.len())];
        let times = random.random_range(1..4);
        world.ghl.fail(json!({ "endpoint": "detail", "orderId": id, "times": times, "fault": fault })).await;
    }
}
