//! How fast a sync is and what it costs: counts, and ratios to bounds and baselines that are measured in the same run.
//!
//! `cargo xtask bench` starts a stack and runs this on it. Without arguments it measures everything and writes
//! `tests/bench/RESULTS.md` with its plot, after each part; nothing in there is written by hand. A part that fails or takes too long is
//! marked there and keeps no other from being measured; the status tells. `--quick` measures what fits in a few minutes, and fails
//! if a count that doesn't depend on the machine has grown.
//!
//! | module | measures |
//! |---|---|
//! | `full` | full syncs against the bound of GHL's window |
//! | `far` | full syncs while the database is far, and one in which it pauses |
//! | `seed` | the original app's way of syncing, on the same servers |
//! | `incremental` | runs with nothing or little to do, of 5,000 and of 100,000 orders |
//! | `webhooks` | acknowledgements, and the way to the tickets, idle and during a run |
//! | `crowd` | webhooks and scans at the same moment |
//! | `fan_out` | frames to many dashboards |
//! | `start_up` | each function from nothing, beside a function that does nothing |
//! | `throughput` | the pipeline without a limit |
//! | `large` | a million orders, and a hundred locations, on a virtual clock, and what they cost |
//! | `billing`, `counting`, `processes` | what Lambda would bill; calls to GHL and the database; memory and time of the functions |
//! | `parts` | runs the parts within their times |
//! | `goals`, `report`, `plot` | goals, the table of results, and the plot |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod billing;
mod counting;
mod crowd;
mod fan_out;
mod far;
mod full;
mod goals;
mod incremental;
mod large;
mod parts;
mod plot;
mod processes;
mod report;
mod seed;
mod start_up;
mod throughput;
mod webhooks;

use std::process::ExitCode;

use domain::rate;
use parts::PARTS;
use serde_json::{Value, json};
use tests::world::World;

/// GHL's window in seconds, and its calls.
const WINDOW_SECONDS: f64 = rate::WINDOW.as_secs() as f64;
const CALLS_PER_WINDOW: u64 = rate::CALLS_PER_WINDOW as u64;

/// GHL's median latency here, with a long tail.
const GHL_LATENCY_MS: u64 = 400;
/// The way to Supabase and back.
const DATABASE_LATENCY_MS: u64 = 40;

/// GHL as it is measured.
fn like_ghl() -> Value {
    json!({ "latencyMs": GHL_LATENCY_MS, "rateMax": CALLS_PER_WINDOW })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let all: Vec<_> = PARTS.iter().map(|(part, _)| *part).collect();
    let is_measured = runtime.block_on(async {
        match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => parts::measure(&all, u32::MAX, true).await,
            ["--largest", orders] => parts::measure(&all, orders.parse().expect("a number of orders"), true).await,
            ["--quick"] => measure_counts().await,
            ["--far"] => sync_from_afar().await,
            wanted => {
                let known = |part: &&str| all.contains(part);
                assert!(wanted.iter().all(known), "the parts are {all:?}");
                let wanted: Vec<_> = all.iter().copied().filter(|part| wanted.contains(part)).collect();
                parts::measure(&wanted, u32::MAX, false).await
            }
        }
    });
    if is_measured { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What doesn't depend on the machine: a count that has grown is a regression.
async fn measure_counts() -> bool {
    let world = World::with_orders(150).await;
    world.move_database(5).await;
    let run = full::sync(&world, 150, &json!({ "latencyMs": 50 })).await;
    run.print();
    run.assert_counts();
    incremental::assert_counts(&world).await;
    throughput::assert_counts(&world).await;
    start_up::assert_sizes();
    large::assert_scale();
    println!("no count has grown");
    true
}

/// Whether a full sync ends, adds up and provokes no 429, wherever the database is. It may take as long as it takes.
async fn sync_from_afar() -> bool {
    let world = World::with_orders(150).await;
    let run = full::sync(&world, 150, &like_ghl()).await;
    run.print();
    assert_eq!(run.calls.throttled, 0, "GHL was asked too often");
    true
}
