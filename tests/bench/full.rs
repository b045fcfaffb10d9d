//! Full syncs against the bound of an exact window.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{
    api::As,
    dashboard::Dashboard,
    world::{World, assert_adds_up},
};

use crate::counting::{self, Calls, calls};
use crate::report::Report;
use crate::seed::Seed;
use crate::{BULK_LANE, GHL_LATENCY_MS, WINDOW_SECONDS, like_ghl, processes};

const SYNC: &str = "/api/ghl/orders/sync?mode=full";

/// A full sync that was measured.
pub(crate) struct Run {
    pub(crate) orders: u32,
    pub(crate) seconds: f64,
    /// The bound of an exact window for the bulk lane.
    pub(crate) bound_seconds: f64,
    pub(crate) calls: Calls,
    /// Frames that one dashboard got.
    pub(crate) frames: usize,
    /// The most memory that any worker of a function has had, in MB.
    pub(crate) peak_mb: f64,
    /// Seconds since the start, and orders synced by then.
    pub(crate) progress: Vec<(f64, f64)>,
}

/// `T* = latency + window x floor((calls - 1) / bulk lane)`: the last window's calls are answered one latency after it opens.
fn bound_seconds(calls: u64) -> f64 {
    GHL_LATENCY_MS as f64 / 1000.0 + windows(calls)
}

/// The seconds that pass before the window in which the last of these calls may be made.
pub(crate) fn windows(calls: u64) -> f64 {
    WINDOW_SECONDS * (calls.saturating_sub(1) / BULK_LANE) as f64
}

/// GHL with so many orders and these settings, none of the orders stored, and nothing of its limit used.
pub(crate) async fn prepare(world: &World, orders: u32, settings: &Value) {
    world.ghl.reset(orders).await;
    world.ghl.settings(settings.clone()).await;
    world.database.forget_orders().await;
    world.database.execute("delete from public.sync_limiter").await;
}

/// Syncs so many orders, none of which is stored, with one dashboard looking on.
pub(crate) async fn sync(world: &World, orders: u32, settings: &Value) -> Run {
    prepare(world, orders, settings).await;
    let mut dashboard = Dashboard::open(world, As::Member).await;
    counting::begin(world).await;
    let begun = Instant::now();
    let run_id = world.api.start(SYNC).await;
    let (row, progress) = follow(world, &run_id, begun).await;
    dashboard.until_told(&run_id, "Delay", Duration::from_secs(15)).await;
    assert_adds_up(&row);
    assert_eq!((row["state"].as_str(), row["failed"].as_u64()), (Some("Delay"), Some(0)), "{row}");
    let calls = calls(world).await;
    world.database.end_cooldown().await;
    Run {
        orders,
        seconds: seconds(&row),
        bound_seconds: bound_seconds(calls.to_ghl()),
        frames: dashboard.of_run(&run_id).len(),
        peak_mb: processes::peak_mb(world).into_values().fold(0.0, f64::max),
        calls,
        progress,
    }
}

/// The row of a run when it has ended, and how far it was when.
pub(crate) async fn follow(world: &World, run_id: &str, begun: Instant) -> (Value, Vec<(f64, f64)>) {
    let mut progress = Vec::new();
    loop {
        let row = world.database.run(run_id).await;
        progress.push((begun.elapsed().as_secs_f64(), row["synced"].as_f64().unwrap()));
        if row["state"] != "Syncing" {
            return (row, progress);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// How long a run took, by the database's clock.
pub(crate) fn seconds(row: &Value) -> f64 {
    let time = |column: &str| row[column].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    time("ended_at").duration_since(time("started_at")).as_secs_f64()
}

impl Run {
    pub(crate) fn ratio(&self) -> f64 {
        self.seconds / self.bound_seconds
    }

    pub(crate) fn database_calls_per_order(&self) -> f64 {
        self.calls.to_database() as f64 / f64::from(self.orders)
    }

    pub(crate) fn print(&self) {
        println!(
            "full sync of {}: {:.1} s, bound {:.1} s, {} calls to GHL, {} of them 429, {:.2} calls to the database per \
             order {:?}, {} frames, at most {:.0} MB",
            self.orders,
            self.seconds,
            self.bound_seconds,
            self.calls.to_ghl(),
            self.calls.throttled,
            self.database_calls_per_order(),
            self.calls.database,
            self.frames,
            self.peak_mb
        );
    }

    /// For 150 orders: what doesn't depend on the machine.
    pub(crate) fn assert_counts(&self) {
        let of = |endpoint: &str| self.calls.ghl.get(endpoint).copied().unwrap_or(0);
        // 162 with the odd ones, in pages of 100 that overlap by 10; the one of another location isn't fetched.
        assert_eq!((of("list"), of("detail")), (2, 161), "{:?}", self.calls.ghl);
        assert_eq!(self.calls.throttled, 0, "GHL was asked too often");
        // At most four frames for each 250 ms, and a run of this size takes 20 s.
        assert!(self.frames <= 4 * 4 * 30, "{} frames", self.frames);
    }
}

/// Syncs of at most `largest` orders, of the thousand at least.
pub(crate) async fn measure(world: &World, report: &mut Report, seed: &Seed, largest: u32) -> Vec<Run> {
    let mut runs = Vec::new();
    for orders in [150, 1_000, 5_000].into_iter().filter(|orders| *orders <= largest.max(1_000)) {
        let run = sync(world, orders, &like_ghl()).await;
        run.print();
        runs.push(run);
    }
    let rows = runs.iter().map(|run| {
        let goal = if run.orders >= 1000 { 1.10 } else { 1.25 };
        vec![
            run.orders.to_string(),
            format!("{:.1}", run.seconds),
            format!("{:.1}", run.bound_seconds),
            format!("{:.3}{}", run.ratio(), if run.ratio() <= goal { "" } else { " (missed)" }),
            format!("{goal:.2}"),
            format!("{:.1}", seed.seconds_per_order * f64::from(run.orders) / run.seconds),
            run.calls.to_ghl().to_string(),
            run.calls.throttled.to_string(),
            format!("{:.2}", run.database_calls_per_order()),
            run.frames.to_string(),
            format!("{:.0}", run.peak_mb),
        ]
    });
    report.section(
        "Full sync",
        &format!(
            "T* = latency + {WINDOW_SECONDS} s x floor((calls - 1) / {BULK_LANE}). The original app's way took {:.2} s per order, measured on {} orders \
             on the same servers and extrapolated for the larger runs.",
            seed.seconds_per_order, seed.orders
        ),
        &["orders", "T (s)", "T* (s)", "T / T*", "goal", "times as fast as the original's way", "calls to GHL", "429s",
          "database calls per order", "frames per dashboard", "largest worker (MB)"],
        rows.collect(),
    );
    runs
}
