//! Full syncs against the bound of an exact window.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{
    api::As,
    dashboard::Dashboard,
    world::{World, assert_adds_up},
};

use crate::billing::{Billed, Meter};
use crate::counting::{self, Calls, calls};
use crate::goals::Goal;
use crate::report::Report;
use crate::seed::Seed;
use crate::{CALLS_PER_WINDOW, GHL_LATENCY_MS, WINDOW_SECONDS, like_ghl, processes};

const SYNC: &str = "/api/ghl/orders/sync?mode=full";

/// A full sync that was measured.
pub(crate) struct Run {
    pub(crate) orders: u32,
    pub(crate) seconds: f64,
    /// The bound of GHL's own window.
    pub(crate) bound_seconds: f64,
    pub(crate) calls: Calls,
    pub(crate) billed: Billed,
    /// Frames that one dashboard got.
    pub(crate) frames: usize,
    /// The most memory that any worker of a function has had, in MB.
    pub(crate) peak_mb: f64,
    /// Seconds since the start, and orders synced by then.
    pub(crate) progress: Vec<(f64, f64)>,
}

/// `T100 = latency + window x floor((calls - 1) / 100)`: the last window's calls are answered one latency after it opens.
pub(crate) fn bound_seconds(calls: u64) -> f64 {
    GHL_LATENCY_MS as f64 / 1000.0 + windows(calls)
}

/// The seconds that pass before the window in which the last of these calls may be made.
pub(crate) fn windows(calls: u64) -> f64 {
    WINDOW_SECONDS * (calls.saturating_sub(1) / CALLS_PER_WINDOW) as f64
}

/// GHL with so many orders and these settings, none of the orders stored, and nothing of its limit used.
pub(crate) async fn prepare(world: &World, orders: u32, settings: &Value) {
    world.ghl.reset(orders).await;
    world.ghl.settings(settings.clone()).await;
    world.database.forget_orders().await;
    empty_window(world).await;
}

/// Nothing of GHL's limit used, as far as anybody knows.
pub(crate) async fn empty_window(world: &World) {
    world.database.execute("delete from public.sync_limiter").await;
    // Of GHL's window the functions may know from the calls before, and would take them for another app's.
    tokio::time::sleep(Duration::from_secs_f64(WINDOW_SECONDS + 1.0)).await;
}

/// Syncs so many orders, none of which is stored, with one dashboard looking on.
pub(crate) async fn sync(world: &World, orders: u32, settings: &Value) -> Run {
    prepare(world, orders, settings).await;
    let mut dashboard = Dashboard::open(world, As::Member).await;
    counting::begin(world).await;
    let meter = Meter::start(world).await;
    let begun = Instant::now();
    let run_id = world.api.start(SYNC).await;
    let (row, progress) = follow(world, &run_id, begun).await;
    let billed = meter.read(world).await;
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
        billed,
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

    pub(crate) fn gb_seconds_per_1000(&self) -> f64 {
        self.billed.gb_seconds * 1_000.0 / f64::from(self.orders)
    }

    /// What every run must keep to.
    pub(crate) fn throttled(&self, what: &str) -> Goal {
        Goal::at_most(format!("{what}: calls answered with 429"), self.calls.throttled as f64, 0.0, 0, "")
    }

    /// The ratio to the bound, beside its goal.
    pub(crate) fn in_time(&self, what: &str, goal: f64) -> Goal {
        let told = format!("{:.1} s of {:.1} s; {}", self.seconds, self.bound_seconds, self.billed.told());
        Goal::at_most(format!("{what}: T / T100"), self.ratio(), goal, 3, "").because(told)
    }

    pub(crate) fn database_calls_per_order(&self) -> f64 {
        self.calls.to_database() as f64 / f64::from(self.orders)
    }

    pub(crate) fn print(&self) {
        println!(
            "full sync of {}: {:.1} s, bound {:.1} s, {} calls to GHL, {} of them 429, {:.2} calls to the database per \
             order {:?}, {} frames, at most {:.0} MB, {:?}",
            self.orders,
            self.seconds,
            self.bound_seconds,
            self.calls.to_ghl(),
            self.calls.throttled,
            self.database_calls_per_order(),
            self.calls.database,
            self.frames,
            self.peak_mb,
            self.billed
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

/// Full syncs of one location alone.
pub(crate) async fn measure(world: &World, report: &mut Report, seed: Option<&Seed>, largest: u32) -> Vec<Run> {
    let mut runs = Vec::new();
    for orders in [150, 1_000, 5_000].into_iter().filter(|orders| *orders <= largest.max(1_000)) {
        let run = sync(world, orders, &like_ghl()).await;
        run.print();
        let what = format!("full sync of {orders}");
        if orders >= 1_000 {
            goals(&run, &what).into_iter().for_each(|goal| report.goal(goal));
        } else {
            report.goal(Goal::at_most(format!("{what}: T"), run.seconds, 12.5, 1, " s").because(run.billed.told()));
        }
        report.goal(run.throttled(&what));
        runs.push(run);
    }
    let rows = runs.iter().map(|run| {
        let Billed { gb_seconds, computed_gb_seconds, mean_at_once, most_at_once } = run.billed;
        let thousands = f64::from(run.orders) / 1_000.0;
        vec![
            run.orders.to_string(),
            format!("{:.1}", run.seconds),
            format!("{:.1}", run.bound_seconds),
            format!("{:.3}", run.ratio()),
            seed.map_or_else(String::new, |seed| {
                format!("{:.1}", seed.seconds_per_order * f64::from(run.orders) / run.seconds)
            }),
            run.calls.to_ghl().to_string(),
            run.calls.throttled.to_string(),
            format!("{:.2}", run.database_calls_per_order()),
            format!("{:.1}", gb_seconds / thousands),
            format!("{:.1}", computed_gb_seconds / thousands),
            format!("{mean_at_once:.1} / {most_at_once}"),
            run.frames.to_string(),
            format!("{:.0}", run.peak_mb),
        ]
    });
    let original = seed.map_or_else(String::new, |seed| {
        format!(
            " The original app's way took {:.2} s per order, measured on {} orders on the same servers and extrapolated for the larger runs.",
            seed.seconds_per_order, seed.orders
        )
    });
    report.section(
        "Full sync",
        &format!(
            "What a function computed is its processor time, on this machine; the rest of what is billed it waited for GHL, the database, \
             queues and the limit. At 256 MB Lambda gives a seventh of a processor: there computing takes longer.{original}"
        ),
        &["orders", "T (s)", "T100 (s)", "T / T100", "times as fast as the original's way", "calls to GHL", "429s",
          "database calls per order", "GB-s per 1,000 orders", "of them computed", "invocations behind queues at once, mean / most",
          "frames per dashboard", "largest worker (MB)"],
        rows.collect(),
    );
    runs
}

fn goals(run: &Run, what: &str) -> Vec<Goal> {
    let database = format!("by function: {:?}", run.calls.database);
    vec![
        run.in_time(what, 1.08),
        Goal::at_most(format!("{what}: database calls per order"), run.database_calls_per_order(), 0.25, 2, "")
            .because(database),
        Goal::at_most(format!("{what}: Lambda GB-s per 1,000 orders"), run.gb_seconds_per_1000(), 30.0, 1, "")
            .because(run.billed.told()),
        Goal::at_most(format!("{what}: invocations behind queues at once, mean"), run.billed.mean_at_once, 2.0, 1, ""),
        Goal::at_most(format!("{what}: the same, most"), run.billed.most_at_once as f64, 5.0, 0, ""),
    ]
}
