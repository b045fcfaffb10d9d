//! The parts: each on an idle stack, within its time, and none in the way of the next.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tests::waiting::until;
use tests::world::World;

use crate::full::{self, Run};
use crate::report::{Fate, Report, directory};
use crate::seed::{self, Seed};
use crate::{DATABASE_LATENCY_MS, crowd, fan_out, far, incremental, large, plot, start_up, throughput, webhooks};

/// In their order, with the minutes after which each is given up: about three times what it takes. Fan-out comes last on the stack, since
/// it leaves the local gateway with much to do.
pub(crate) const PARTS: [(&str, u64); 11] = [
    ("start-up", 10),
    ("seed", 15),
    ("full", 45),
    ("far", 25),
    ("incremental", 15),
    ("incremental-100000", 25),
    ("webhooks", 20),
    ("crowd", 10),
    ("throughput", 15),
    ("simulation", 15),
    ("fan-out", 20),
];
/// Which run the plot shows.
const PLOTTED_ORDERS: u32 = 1_000;
/// What is still under way of a part that was given up may take so long.
const QUIET_WITHIN: Duration = Duration::from_secs(120);
/// How long after its time a part that doesn't let itself be ended ends the whole.
const GRACE: Duration = Duration::from_secs(60);

/// What later parts compare with.
#[derive(Default)]
pub(crate) struct Measured {
    seed: Option<Seed>,
    runs: Vec<Run>,
}

/// Ends the process if a part hangs so that nobody can end it. What was measured is written by then.
struct Watchdog(Arc<Mutex<Option<(&'static str, Instant)>>>);

impl Watchdog {
    fn start() -> Self {
        let due = Arc::new(Mutex::new(None));
        let watched = Arc::clone(&due);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let due: Option<(&'static str, Instant)> = *watched.lock().unwrap();
                if let Some((part, at)) = due
                    && Instant::now() > at
                {
                    println!("{part} hangs: the benchmark ends");
                    std::process::exit(1);
                }
            }
        });
        Self(due)
    }

    fn expect(&self, part: Option<(&'static str, Duration)>) {
        *self.0.lock().unwrap() = part.map(|(part, within)| (part, Instant::now() + within));
    }
}

/// Measures these parts; whether each could be. With `write`, the results are written after each.
pub(crate) async fn measure(parts: &[&'static str], largest: u32, write: bool) -> bool {
    let mut report = Report::new(parts);
    let mut measured = Measured::default();
    let watchdog = Watchdog::start();
    for (part, minutes) in PARTS.into_iter().filter(|(part, _)| parts.contains(part)) {
        println!("== {part}, at most {minutes} minutes");
        let (begun, limit) = (Instant::now(), Duration::from_secs(60 * minutes));
        watchdog.expect(Some((part, limit + GRACE)));
        let work = AssertUnwindSafe(one(part, largest, &mut report, &mut measured)).catch_unwind();
        let fate = match tokio::time::timeout(limit, work).await {
            Ok(Ok(())) => Fate::Measured,
            Ok(Err(panic)) => Fate::Failed(said(panic.as_ref())),
            Err(_) => Fate::GivenUp(minutes),
        };
        watchdog.expect(None);
        let told = match &fate {
            Fate::Measured | Fate::NotYet => "done".to_owned(),
            Fate::Failed(why) => format!("failed: {why}"),
            Fate::GivenUp(minutes) => format!("given up after {minutes} minutes"),
        };
        println!("== {part}: {told}, {:.0} s", begun.elapsed().as_secs_f64());
        report.note(part, fate);
        if write {
            report.write();
            draw(&measured);
        }
    }
    if write {
        println!("tests/bench/RESULTS.md was written");
    } else {
        report.print();
    }
    report.is_whole()
}

/// The first line of what a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let line = text.and_then(|text| text.lines().next()).unwrap_or("a panic");
    line.chars().take(200).collect()
}

fn draw(measured: &Measured) {
    let run = measured.runs.iter().find(|run| run.orders == PLOTTED_ORDERS);
    if let (Some(run), Some(seed)) = (run, &measured.seed) {
        plot::plot(&directory().join("orders.svg"), run, seed).expect("a plot can be drawn");
    }
}

/// The stack, idle, with its database where it is measured, and nothing under way of what was before.
async fn idle_stack() -> World {
    let world = World::with_orders(150).await;
    for queue in ["runs", "orders", "orders-bulk", "tickets"] {
        until(&format!("an empty queue {queue}"), QUIET_WITHIN, async || world.cloud().is_empty(queue).await).await;
    }
    world.move_database(DATABASE_LATENCY_MS).await;
    world
}

async fn one(part: &str, most_orders: u32, report: &mut Report, measured: &mut Measured) {
    match part {
        "simulation" => {
            let of_1000 = measured.runs.iter().find(|run| run.orders == 1_000);
            large::measure(report, of_1000.map(|run| run.seconds));
        }
        "start-up" => start_up::measure(report).await,
        "seed" => measured.seed = Some(seed::sync(&idle_stack().await, 150).await),
        "full" => {
            let world = idle_stack().await;
            measured.runs = full::measure(&world, report, measured.seed.as_ref(), most_orders).await;
        }
        "far" => far::measure(&idle_stack().await, report).await,
        "incremental" => incremental::measure(&idle_stack().await, report, most_orders).await,
        "incremental-100000" => incremental::measure_unchanged(&idle_stack().await, report).await,
        "webhooks" => webhooks::measure(&idle_stack().await, report).await,
        "crowd" => crowd::measure(&idle_stack().await, report).await,
        "throughput" => throughput::measure(&idle_stack().await, report).await,
        "fan-out" => fan_out::measure(&idle_stack().await, report).await,
        other => panic!("{other}: no such part of the benchmark"),
    }
}
