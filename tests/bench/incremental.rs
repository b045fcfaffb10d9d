//! Incremental runs: with nothing, little or everything to do.

use std::time::Instant;

use domain::listing::{OVERLAP, PAGE_SIZE};
use futures::{StreamExt, stream};
use serde_json::json;
use tests::world::World;

use crate::counting::{self, calls};
use crate::full::{follow, seconds, windows};
use crate::report::Report;

const SYNC: &str = "/api/ghl/orders/sync?mode=incremental";

/// What a run with so many changed orders took: seconds, its bound, and calls by endpoint.
async fn run(world: &World, changed: usize) -> (f64, f64, counting::Calls) {
    let ids = world.ghl.census().await.ordinary;
    stream::iter(&ids[..changed]).for_each_concurrent(8, |id| async { drop(world.ghl.put(id, json!({})).await) }).await;
    world.database.execute("delete from public.sync_limiter").await;
    counting::begin(world).await;
    let run_id = world.api.start(SYNC).await;
    let (row, _) = follow(world, &run_id, Instant::now()).await;
    assert_eq!((row["state"].as_str(), row["failed"].as_u64()), (Some("Delay"), Some(0)), "{row}");
    world.database.end_cooldown().await;
    let calls = calls(world).await;
    // What can't be done at once: products, the sweep's page, the first page, which tells how many there are, the others, and what changed.
    let steps = if changed == 0 { 4.0 } else { 5.0 };
    let latency = crate::GHL_LATENCY_MS as f64 / 1000.0;
    (seconds(&row), (windows(calls.to_ghl()) + latency).max(steps * latency), calls)
}

/// Pages that overlap, the last one not full.
pub(crate) fn pages(listed: u64) -> u64 {
    1 + listed.saturating_sub(u64::from(PAGE_SIZE)).div_ceil(u64::from(PAGE_SIZE - OVERLAP))
}

/// Exactly the calls that are needed: pages, a page of products, the sweep's two pages, and what changed.
pub(crate) async fn assert_counts(world: &World) {
    let all = world.ghl.census().await.all.len() as u64;
    for changed in [0, 15] {
        let (_, _, calls) = run(world, changed).await;
        let of = |endpoint: &str| calls.ghl.get(endpoint).copied().unwrap_or(0);
        println!("incremental with {changed} changed: {:?}", calls.ghl);
        // The orders that are refunded are listed once more, on one page, and another shows that no more follow.
        let found = (of("list"), of("products"), of("detail"));
        assert_eq!(found, (pages(all) + 2, 1, changed as u64), "{:?}", calls.ghl);
        assert_eq!(calls.throttled, 0);
    }
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let all = world.ghl.census().await.ordinary.len();
    let mut rows = Vec::new();
    for changed in [0, all / 10, all] {
        let (seconds, bound, calls) = run(world, changed).await;
        let expected = pages(world.ghl.census().await.all.len() as u64) + 2 + changed as u64;
        println!("incremental with {changed} of {all} changed: {seconds:.1} s, {:?}", calls.ghl);
        rows.push(vec![
            format!("{changed} of {all}"),
            calls.to_ghl().to_string(),
            expected.to_string(),
            format!("{seconds:.1}"),
            format!("{bound:.1}"),
            format!("{:.2}{}", seconds / bound, if seconds / bound <= 1.15 { "" } else { " (missed)" }),
            calls.throttled.to_string(),
        ]);
    }
    report.section(
        "Incremental run",
        "The bound is the larger of the windows that all calls need, and of the latencies of what can't be done at once: products, the \
         sweep's page, the first page, the other pages, what changed. With nothing to do the run waits for its pages: four are \
         read at the same time, but recorded one after the other, with two calls to the database for each. Recording several in one \
         call would end that.",
        &["changed", "calls to GHL", "pages + changed", "T (s)", "bound (s)", "T / bound (goal 1.15)", "429s"],
        rows,
    );
}
