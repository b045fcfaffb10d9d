//! Many writers on the same few orders: no deadlock reaches a caller, no ticket is doubled, the promise holds.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::harness::{TestDatabase, call};
use crate::orders::{assert_in_step, line, order, page, run, start, with};

const ORDERS: [&str; 6] = ["o1", "o2", "o3", "o4", "o5", "o6"];

/// A batch of some orders in random order, each with a random quantity and age.
fn batch(random: &mut StdRng, run_id: &str) -> (Vec<Value>, Vec<Value>) {
    let mut ids = ORDERS;
    ids.shuffle(random);
    let mut fetched = Vec::new();
    let mut handed = Vec::new();
    for id in &ids[..random.random_range(1..=ids.len())] {
        let run_id = random.random_bool(0.5).then_some(run_id);
        let minute = random.random_range(0..10);
        let lines = [line("p1", "vip", "VIP", minute), line("p1", "", "Regular", 2)];
        fetched.push(with(
            order(id, &lines),
            json!({
            "run_id": run_id, "source_updated_at": format!("2026-03-01T09:{minute:02}:00Z"), "entitled": minute != 5}),
        ));
        handed.push(json!({"order_id": id, "run_id": run_id, "change": "written", "attempts": 1}));
    }
    (fetched, handed)
}

async fn act(client: &Client, random: &mut StdRng, run_id: &str) {
    let (fetched, handed) = batch(random, run_id);
    match random.random_range(0..10) {
        0..=2 => drop(call(client, "upsert_orders", json!({"orders": fetched})).await),
        3..=5 => drop(call(client, "reconcile_tickets", json!({"orders": handed})).await),
        6 => {
            drop(call(client, "validate_ticket", json!({"ticket_id": random.random_range(1..40), "by": "gate"})).await)
        }
        7 => {
            let scan = "update public.ghl_qr_tickets set status = 'used' where ticket_id = $1 and status = 'live'";
            client.execute(scan, &[&random.random_range(1..40)]).await.unwrap_or_else(|error| panic!("{error:?}"));
        }
        8 => {
            let failures: Vec<_> = handed
                .iter()
                .rev()
                .map(|order| with(order.clone(), json!({"cause": "webhook", "code": "x"})))
                .collect();
            call(client, "record_failures", json!({"failures": failures})).await;
        }
        _ => {
            let listed: Vec<_> = ORDERS.iter().map(|id| json!({"order_id": id})).collect();
            call(client, "record_page", json!({"run_id": run_id, "orders": listed})).await;
            call(
                client,
                "dispatch_orders",
                json!({"run_id": run_id, "max_outstanding": 9, "resend_after_ms": 1, "limit": 9}),
            )
            .await;
            call(client, "start_run", json!({"kind": "full"})).await;
            call(client, "sync_snapshot", json!({"next_seq": true})).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_on_six_orders() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &ORDERS.map(|id| (id, "2026-03-01T09:00:00Z")), false).await;
    let mut writers = JoinSet::new();
    for seed in 0..16 {
        let client = database.another_server().await;
        let run_id = run_id.clone();
        writers.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            for _ in 0..60 {
                act(&client, &mut random, &run_id).await;
            }
        });
    }
    writers.join_all().await;

    let everything: Vec<_> = ORDERS.iter().map(|id| json!({"order_id": id})).collect();
    database.call("reconcile_tickets", json!({"orders": everything})).await;
    assert_in_step(&database).await;
    // Also the run's counts are those of its rows, and no sequence number was given twice.
    let counted = database
        .rows(&format!(
            "select count(*) as listed, count(*) filter (where outcome = 'synced') as synced,
             count(*) filter (where outcome = 'failed') as failed from sync_outcomes where run_id = '{run_id}'"
        ))
        .await;
    let state = &run(&database, &run_id).await["run"];
    for count in ["listed", "synced", "failed"] {
        assert_eq!(state[count], counted[0][count], "{count}");
    }
}
