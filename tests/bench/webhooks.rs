//! Webhooks: how fast they are acknowledged, and how fast their tickets are there, idle and during a run.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::json;
use tests::{api::As, fake_ghl::new_id, waiting::until, world::World};

use crate::counting::quantile;
use crate::report::Report;

const WEBHOOKS: usize = 200;
const ORDERS: usize = 30;

/// Milliseconds to each acknowledgement, so many at a time. They name no order that exists for long: the queue is emptied after.
async fn acknowledgements(world: &World, at_once: usize) -> Vec<f64> {
    let ids: Vec<String> = (0..10).map(|_| new_id()).collect();
    for id in &ids {
        world.ghl.put(id, json!({})).await;
    }
    let url = format!("{}/api/ghl/webhook-qr", world.http_url);
    let client = tests::http();
    let send = |number: usize| {
        let order =
            json!({ "customData": { "order_id": ids[number % ids.len()] }, "location": { "id": world.location_id } });
        let request = client.post(&url).json(&order).header("x-webhook-secret", &world.webhook_secret);
        async move {
            // As GHL does, only sooner: what the gateway refuses is sent again.
            loop {
                let begun = Instant::now();
                let again = request.try_clone().expect("a body that can be sent again");
                let status = again.send().await.expect("the webhook answers").status();
                if status != 429 {
                    assert_eq!(status, 202);
                    return begun.elapsed().as_secs_f64() * 1000.0;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    let times = stream::iter(0..WEBHOOKS).map(send).buffer_unordered(at_once).collect().await;
    until("an empty queue", Duration::from_secs(60), async || world.cloud().is_empty("orders").await).await;
    times
}

/// Milliseconds from each webhook to its tickets in the database, one webhook after the other.
async fn to_the_tickets(world: &World) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..ORDERS {
        let id = new_id();
        world.ghl.put(&id, json!({})).await;
        let begun = Instant::now();
        world.ghl.notify(&id).await;
        while world.database.tickets(&id).await.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no tickets of {id}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let mut rows = Vec::new();
    let mut row = |what: String, times: &[f64]| {
        let cells = vec![what, format!("{:.0}", quantile(times, 0.5)), format!("{:.0}", quantile(times, 0.99))];
        println!("webhook: {}", cells.join(" "));
        rows.push(cells);
    };
    for at_once in [1, 10, 50] {
        row(format!("acknowledged, {at_once} at once"), &acknowledgements(world, at_once).await);
    }
    let idle = to_the_tickets(world).await;
    row("tickets in the database, idle".to_owned(), &idle);
    let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
    let during = to_the_tickets(world).await;
    row("tickets in the database, during a full run".to_owned(), &during);
    let still = world.database.run(&run_id).await["state"] == "Syncing";
    world.api.post(As::Admin, "/api/ghl/orders/sync/cancel").await;
    world.database.end_cooldown().await;
    // What the run has under way would meet whoever forgets its orders next.
    for queue in ["runs", "orders-bulk", "tickets"] {
        until("the end of what was under way", Duration::from_secs(90), async || world.cloud().is_empty(queue).await)
            .await;
    }
    assert!(still, "the run was over before the webhooks were");
    let (idle, during) = (quantile(&idle, 0.99), quantile(&during, 0.99));
    let goal = 2.0 * idle + crate::GHL_LATENCY_MS as f64;
    let text = format!(
        "The last p99 is to be at most twice the idle one and one call: {during:.0} ms of {goal:.0} ms{}. Each way holds one call to \
         GHL, the half second in which a burst is waited for, and five calls to the database.",
        if during <= goal { "" } else { " (missed)" }
    );
    report.section("Webhooks", &text, &["", "p50 (ms)", "p99 (ms)"], rows);
}
