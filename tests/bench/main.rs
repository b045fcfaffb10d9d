//! How fast a sync is and what it costs: counts, and ratios to bounds and baselines that are measured in the same run.
//!
//! `cargo xtask bench` starts a stack and runs this on it. Without arguments it measures everything and writes
//! `tests/bench/RESULTS.md` with its plot; `--quick` measures what fits in a few minutes, and fails if a count that doesn't depend on the
//! machine has grown.
//!
//! | module | measures |
//! |---|---|
//! | `full` | full syncs against the exact window's bound |
//! | `seed` | the original app's way of syncing, on the same servers |
//! | `incremental` | runs with nothing, little or everything to do |
//! | `webhooks` | acknowledgements, and the way to the tickets, idle and during a run |
//! | `fan_out` | frames to many dashboards |
//! | `start_up` | each function from nothing, beside a function that does nothing |
//! | `throughput` | the pipeline without a limit |
//! | `simulation` | a million orders on a virtual clock, and what they cost |
//! | `counting`, `processes` | calls to GHL and the database; memory and time of the functions |
//! | `report` | the table of results, and the plot |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod counting;
mod fan_out;
mod full;
mod incremental;
mod processes;
mod report;
mod seed;
mod simulation;
mod start_up;
mod throughput;
mod webhooks;

use database::Limits;
use report::Report;
use serde_json::{Value, json};
use tests::world::World;

/// The limit as it is deployed.
const LIMITS: Limits = Limits::DEFAULT;
/// GHL's window in seconds, and how many calls of it a run may make.
const WINDOW_SECONDS: f64 = LIMITS.window_ms as f64 / 1000.0;
const BULK_LANE: u64 = LIMITS.bulk_window() as u64;

/// GHL's median latency here, with a long tail.
const GHL_LATENCY_MS: u64 = 400;
/// The way to Supabase and back.
const DATABASE_LATENCY_MS: u64 = 40;

/// GHL as it is measured.
fn like_ghl() -> Value {
    json!({ "latencyMs": GHL_LATENCY_MS })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => measure_everything(u32::MAX).await,
            ["--largest", orders] => measure_everything(orders.parse().expect("a number of orders")).await,
            ["--quick"] => measure_counts().await,
            ["--far"] => sync_from_afar().await,
            parts => measure_parts(parts).await,
        }
    });
}

/// What doesn't depend on the machine: a count that has grown is a regression.
async fn measure_counts() {
    let world = World::with_orders(150).await;
    world.move_database(5).await;
    let run = full::sync(&world, 150, &json!({ "latencyMs": 50 })).await;
    run.print();
    run.assert_counts();
    incremental::assert_counts(&world).await;
    throughput::assert_counts(&world).await;
    start_up::assert_sizes();
    simulation::assert_scale();
    println!("no count has grown");
}

/// Whether a full sync ends, adds up and provokes no 429, wherever the database is. It may take as long as it takes.
async fn sync_from_afar() {
    let world = World::with_orders(150).await;
    let run = full::sync(&world, 150, &like_ghl()).await;
    run.print();
    assert_eq!(run.calls.throttled, 0, "GHL was asked too often");
}

/// Everything, with full syncs of at most so many orders.
async fn measure_everything(largest: u32) {
    let world = World::with_orders(150).await;
    let mut report = Report::new(&world).await;
    start_up::measure(&mut report).await;
    world.move_database(DATABASE_LATENCY_MS).await;
    let seed = seed::sync(&world, 150).await;
    let runs = full::measure(&world, &mut report, &seed, largest).await;
    // The orders of the last and largest full sync are stored now.
    incremental::measure(&world, &mut report).await;
    webhooks::measure(&world, &mut report).await;
    throughput::measure(&world, &mut report).await;
    world.move_database(DATABASE_LATENCY_MS).await;
    let of_1000 = runs.iter().find(|run| run.orders == 1_000).expect("it was measured");
    simulation::measure(&mut report, of_1000.seconds);
    report.write(&runs, &seed);
    // Last, since it leaves the local gateway with much to do.
    fan_out::measure(&world, &mut report).await;
    report.write(&runs, &seed);
}

/// Only some of it, printed and not written.
async fn measure_parts(parts: &[&str]) {
    let world = World::with_orders(150).await;
    let mut report = Report::new(&world).await;
    world.move_database(DATABASE_LATENCY_MS).await;
    for part in parts {
        match *part {
            "full" => {
                let seed = seed::Seed { orders: 0, seconds_per_order: 0.0 };
                full::measure(&world, &mut report, &seed, u32::MAX).await;
            }
            "seed" => {
                seed::sync(&world, 150).await;
            }
            "incremental" => {
                full::sync(&world, 1_000, &json!({ "rateMax": 1_000_000, "latencyMs": 0 })).await;
                world.ghl.settings(like_ghl()).await;
                incremental::measure(&world, &mut report).await;
            }
            "webhooks" => {
                full::prepare(&world, 1_000, &like_ghl()).await;
                webhooks::measure(&world, &mut report).await;
            }
            "fan-out" => fan_out::measure(&world, &mut report).await,
            "throughput" => throughput::measure(&world, &mut report).await,
            "start-up" => start_up::measure(&mut report).await,
            "simulation" => simulation::measure(&mut report, f64::NAN),
            other => panic!("{other}: no such part of the benchmark"),
        }
        world.move_database(DATABASE_LATENCY_MS).await;
    }
    report.print();
}
