//! Incremental runs: with nothing, little or everything to do.

use std::collections::BTreeSet;
use std::time::Instant;

use domain::listing::{OVERLAP, PAGE_SIZE};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tests::keys::Keys;
use tests::world::World;

use crate::counting::{self, calls};
use crate::full::{self, follow, seconds, windows};
use crate::goals::Goal;
use crate::like_ghl;
use crate::report::Report;

const SYNC: &str = "/api/ghl/orders/sync?mode=incremental";
const MANY: u32 = 100_000;

/// What a run with so many changed orders took: seconds, its bound, and calls by endpoint.
async fn run(world: &World, changed: usize) -> (f64, f64, counting::Calls) {
    let ids = world.ghl.census().await.ordinary;
    stream::iter(&ids[..changed]).for_each_concurrent(8, |id| async { drop(world.ghl.put(id, json!({})).await) }).await;
    full::empty_window(world).await;
    counting::begin(world).await;
    let run_id = world.api.start(SYNC).await;
    let (row, _) = follow(world, &run_id, Instant::now()).await;
    assert_eq!((row["state"].as_str(), row["failed"].as_u64()), (Some("Delay"), Some(0)), "{row}");
    world.database.end_cooldown().await;
    let calls = calls(world).await;
    // What can't be done at once: products, transactions, the sweep's page, the first page, which tells how many there are, the others, and what changed.
    let steps = if changed == 0 { 5.0 } else { 6.0 };
    let latency = crate::GHL_LATENCY_MS as f64 / 1000.0;
    (seconds(&row), (windows(calls.to_ghl()) + latency).max(steps * latency), calls)
}

/// Pages that overlap, the last one not full.
pub(crate) fn pages(listed: u64) -> u64 {
    1 + listed.saturating_sub(u64::from(PAGE_SIZE)).div_ceil(u64::from(PAGE_SIZE - OVERLAP))
}

/// Exactly the calls that are needed: pages, a page of products and of transactions, the sweep's two pages, and what changed.
pub(crate) async fn assert_counts(world: &World) {
    let all = world.ghl.census().await.all.len() as u64;
    for changed in [0, 15] {
        let (_, _, calls) = run(world, changed).await;
        let of = |endpoint: &str| calls.ghl.get(endpoint).copied().unwrap_or(0);
        println!("incremental with {changed} changed: {:?}", calls.ghl);
        // The orders that are refunded are listed once more, on one page, and another shows that no more follow.
        let found = (of("list"), of("products"), of("detail"), of("transactions"));
        // None is of the last two days.
        assert_eq!(found, (pages(all) + 2, 1, changed as u64, 1), "{:?}", calls.ghl);
        assert_eq!(calls.throttled, 0);
    }
}

/// With so many orders stored.
async fn store(world: &World, orders: u32) {
    drop(full::sync(world, orders, &json!({ "rateMax": 1_000_000, "latencyMs": 0 })).await);
    world.ghl.settings(like_ghl()).await;
}

pub(crate) async fn measure(world: &World, report: &mut Report, largest: u32) {
    store(world, largest.min(5_000)).await;
    let all = world.ghl.census().await.ordinary.len();
    let mut rows = Vec::new();
    for (changed, goal) in [(0, 2.0), (all / 10, 1.10)] {
        let (seconds, bound, calls) = run(world, changed).await;
        let expected = pages(world.ghl.census().await.all.len() as u64) + 3 + changed as u64;
        let what = format!("incremental sync, {changed} of {all} changed");
        println!("{what}: {seconds:.1} s, {:?}", calls.ghl);
        let told = format!("{seconds:.1} s of {bound:.1} s; database calls by function: {:?}", calls.database);
        report.goal(Goal::at_most(format!("{what}: T / bound"), seconds / bound, goal, 2, "").because(told));
        report.goal(Goal::at_most(format!("{what}: calls answered with 429"), calls.throttled as f64, 0.0, 0, ""));
        rows.push(row(&format!("{changed} of {all}"), &calls, expected, seconds, bound));
    }
    section(report, "Incremental sync", rows);
}

fn row(what: &str, calls: &counting::Calls, expected: u64, seconds: f64, bound: f64) -> Vec<String> {
    vec![
        what.to_owned(),
        calls.to_ghl().to_string(),
        expected.to_string(),
        format!("{seconds:.1}"),
        format!("{bound:.1}"),
        format!("{:.2}", seconds / bound),
        format!("{:.3}", calls.to_database() as f64 / calls.to_ghl() as f64),
        calls.throttled.to_string(),
    ]
}

fn section(report: &mut Report, title: &str, rows: Vec<Vec<String>>) {
    report.section(
        title,
        "The bound is the larger of the windows that all calls need, and of the latencies of what can't be done at once: products, \
         transactions, the sweep's page, the first page, the other pages, what changed.",
        &["changed", "calls to GHL", "pages + changed", "T (s)", "bound (s)", "T / bound", "database calls per call to GHL", "429s"],
        rows,
    );
}

/// Nothing has changed, of very many orders: the list's calls alone. The orders are stored as the list shows them, by SQL.
pub(crate) async fn measure_unchanged(world: &World, report: &mut Report) {
    full::prepare(world, MANY, &json!({ "rateMax": 1_000_000, "latencyMs": 0 })).await;
    let listed = remember(world).await;
    world.ghl.settings(like_ghl()).await;
    let (seconds, _, calls) = run(world, 0).await;
    let fetched = calls.ghl.get("detail").copied().unwrap_or(0);
    let bound = full::bound_seconds(calls.to_ghl());
    println!("incremental with 0 of {listed} changed: {seconds:.1} s, {:?}", calls.ghl);
    let what = format!("incremental sync, 0 of {listed} changed");
    let told = format!("{seconds:.1} s of {bound:.1} s; database calls by function: {:?}", calls.database);
    report.goal(
        Goal::at_most(format!("{what}: T / time of the list's calls"), seconds / bound, 1.15, 2, "").because(told),
    );
    report.goal(Goal::at_most(format!("{what}: orders fetched"), fetched as f64, 0.0, 0, ""));
    report.goal(Goal::at_most(format!("{what}: calls answered with 429"), calls.throttled as f64, 0.0, 0, ""));
    section(
        report,
        "Incremental sync of very many",
        vec![row(&format!("0 of {listed}"), &calls, pages(listed) + 3, seconds, bound)],
    );
}

/// Remembers all orders as GHL's lists show them; how many.
async fn remember(world: &World) -> u64 {
    let refunded = list(world, "&paymentStatus=refunded").await;
    let refunded: BTreeSet<_> = refunded.iter().filter_map(|row| row["_id"].as_str()).collect();
    let rows = list(world, "").await;
    for portion in rows.chunks(2_000) {
        let portion: Vec<_> = portion
            .iter()
            .map(|row| {
                let is_refunded = row["_id"].as_str().is_some_and(|id| refunded.contains(id));
                json!({
                    "order_id": row["_id"], "location_id": row["altId"], "at": row["updatedAt"], "status": row["status"],
                    "amount": row["amount"], "payment_status": if is_refunded { "refunded" } else { "paid" },
                })
            })
            .collect();
        let portion = Value::from(portion).to_string().replace('\'', "''");
        world
            .database
            .execute(&format!(
                "with listed as materialized (
                   select * from jsonb_to_recordset('{portion}'::jsonb) as i (
                     order_id text, location_id text, at timestamptz, status text, amount numeric, payment_status text)
                 ), stored as (
                   insert into public.ghl_qr_orders (order_id, location_id, payment_status, order_status, total_paid, source_updated_at,
                     fetched_at, lines, entitled)
                   select order_id, location_id, payment_status, status, amount, at, clock_timestamp(), '[]', true from listed
                 )
                 insert into public.sync_order_memory (location_id, order_id, source_updated_at, fetched_at, product_ids, valid)
                 select location_id, order_id, at, clock_timestamp(), '{{}}', true from listed"
            ))
            .await;
    }
    world.database.execute("vacuum analyze public.ghl_qr_orders, public.sync_order_memory").await;
    rows.len() as u64
}

/// A whole list of GHL.
async fn list(world: &World, filter: &str) -> Vec<Value> {
    let (http, token) = (tests::http(), Keys::of_the_stack().ghl_token);
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let url = format!(
            "{}/payments/orders?altId={}&altType=location&limit=100&offset={}{filter}",
            world.ghl_url,
            world.location_id,
            rows.len()
        );
        let request = http.get(url).bearer_auth(&token).header("Version", "2021-07-28");
        let page: Value = request.send().await.expect("the fake GHL answers").json().await.expect("a page");
        let found = page["data"].as_array().expect("rows").clone();
        if found.is_empty() {
            return rows;
        }
        rows.extend(found);
    }
}
