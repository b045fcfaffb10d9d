//! Webhooks: how fast they are acknowledged, and how fast their tickets are there, idle and during a run.

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all, stream, stream::FuturesUnordered};
use serde_json::{Value, json};
use tests::{fake_ghl::new_id, waiting::until, world::World};

use crate::counting::{self, Calls, calls, quantile};
use crate::full;
use crate::goals::Goal;
use crate::like_ghl;
use crate::report::Report;

const WEBHOOKS: usize = 200;
const ORDERS: usize = 30;
/// Between two webhooks beside a run of so many orders, which takes longer than they do.
const EVERY: Duration = Duration::from_secs(2);
const RUN_ORDERS: u32 = 1_000;
/// So many at once, in the middle of a shorter run.
const BURST: usize = 30;
const BURST_AFTER: Duration = Duration::from_secs(12);
const BURST_RUN_ORDERS: u32 = 500;

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

/// The same for webhooks one after the other.
async fn to_the_tickets(world: &World) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..ORDERS {
        times.push(one_to_the_tickets(world).await);
    }
    times
}

/// Milliseconds from a webhook's acknowledgement to its tickets in the database.
async fn one_to_the_tickets(world: &World) -> f64 {
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.ghl.notify(&id).await;
    let begun = Instant::now();
    while world.database.tickets(&id).await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no tickets of {id}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    begun.elapsed().as_secs_f64() * 1000.0
}

/// A full sync with webhooks beside it; its row, and what GHL was asked.
async fn sync_beside<T>(world: &World, orders: u32, beside: impl Future<Output = T>) -> (Value, Calls, T) {
    full::prepare(world, orders, &like_ghl()).await;
    counting::begin(world).await;
    let begun = Instant::now();
    let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
    let (measured, still) = {
        let measured = beside.await;
        (measured, world.database.run(&run_id).await["state"] == "Syncing")
    };
    assert!(still, "the run was over before the webhooks were");
    let (row, _) = full::follow(world, &run_id, begun).await;
    let calls = calls(world).await;
    world.database.end_cooldown().await;
    assert_eq!((row["state"].as_str(), row["failed"].as_u64()), (Some("Delay"), Some(0)), "{row}");
    (row, calls, measured)
}

/// Milliseconds to the tickets of webhooks that come one every so often.
async fn steadily(world: &World, webhooks: usize, every: Duration) -> Vec<f64> {
    let mut ticks = tokio::time::interval(every);
    let mut sent = FuturesUnordered::new();
    let mut times = Vec::new();
    let mut left = webhooks;
    while left > 0 || !sent.is_empty() {
        tokio::select! {
            _ = ticks.tick(), if left > 0 => {
                left -= 1;
                sent.push(one_to_the_tickets(world));
            }
            Some(time) = sent.next(), if !sent.is_empty() => times.push(time),
        }
    }
    times
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let mut rows = Vec::new();
    let mut row = |what: String, times: &[f64]| {
        let ms = |share| format!("{:.0}", quantile(times, share));
        let cells = vec![what, ms(0.5), ms(0.99), ms(1.0)];
        println!("webhook: {}", cells.join(" "));
        rows.push(cells);
    };
    for at_once in [1, 10, 50] {
        row(format!("acknowledged, {at_once} at once"), &acknowledgements(world, at_once).await);
    }
    full::prepare(world, 150, &like_ghl()).await;
    let idle = to_the_tickets(world).await;
    row("tickets in the database, idle".to_owned(), &idle);

    let (run, calls, during) = sync_beside(world, RUN_ORDERS, steadily(world, ORDERS, EVERY)).await;
    row(format!("the same, one every {} s during a full sync", EVERY.as_secs()), &during);
    let (idle_p99, p99) = (quantile(&idle, 0.99), quantile(&during, 0.99));
    let goal = 2.0 * idle_p99 + crate::GHL_LATENCY_MS as f64;
    report.goal(Goal::at_most("webhook to tickets during a sync, p99", p99, goal, 0, " ms").because(format!(
        "twice the idle {idle_p99:.0} ms and one call to GHL; a webhook waits for the next slots to free, up to a third of a window"
    )));
    let (seconds, bound) = (full::seconds(&run), full::bound_seconds(calls.to_ghl()));
    report.goal(
        Goal::at_most(
            format!("full sync of {RUN_ORDERS} with a webhook every {} s: T / T100", EVERY.as_secs()),
            seconds / bound,
            1.15,
            3,
            "",
        )
        .because(format!("{seconds:.1} s of {bound:.1} s, the webhooks' calls among them")),
    );
    report.goal(Goal::at_most("webhooks during a sync: calls answered with 429", calls.throttled as f64, 0.0, 0, ""));

    let (_, calls, burst) = sync_beside(world, BURST_RUN_ORDERS, async {
        tokio::time::sleep(BURST_AFTER).await;
        join_all((0..BURST).map(|_| one_to_the_tickets(world))).await
    })
    .await;
    row(format!("the same, {BURST} at once during a full sync"), &burst);
    report.goal(
        Goal::at_most(
            format!("{BURST} webhooks at once during a sync: the slowest"),
            quantile(&burst, 1.0) / 1_000.0,
            5.0,
            1,
            " s",
        )
        .because("each from its acknowledgement on"),
    );
    report.goal(Goal::at_most(
        format!("{BURST} webhooks at once: calls answered with 429"),
        calls.throttled as f64,
        0.0,
        0,
        "",
    ));
    report.section(
        "Webhooks",
        "To the tickets it is from the acknowledgement on: the gateway lets webhooks wait that come faster than a small account can take. \
         Each way holds one call to GHL, the half second in which a burst is waited for, and five calls to the database.",
        &["", "p50 (ms)", "p99 (ms)", "slowest (ms)"],
        rows,
    );
}
