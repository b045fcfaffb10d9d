//! The pipeline without a limit and without latency: what each order costs us.

use serde_json::json;
use tests::world::World;

use crate::full::{Run, sync};
use crate::goals::Goal;
use crate::processes::cpu_seconds;
use crate::report::Report;

/// Calls to the database per order in a run without a limit: the goal for all of them, and what is a regression for those of batches.
/// How full batches are depends on who is faster, the lister or the workers.
const GOAL: f64 = 0.15;
const MOST_CALLS_OF_BATCHES: f64 = 0.35;

pub(crate) async fn measure(world: &World, report: &mut Report) {
    world.move_database(0).await;
    let mut rows = Vec::new();
    for orders in [250, 1_000, 4_000] {
        let (run, cpu) = unlimited(world, orders).await;
        run.print();
        let each = f64::from(orders);
        let what = format!("{orders} orders without a limit: database calls per order");
        let told = format!("by function: {:?}", run.calls.database);
        // Of few orders the calls that follow time are many.
        if orders >= 1_000 {
            report.goal(Goal::at_most(what, run.database_calls_per_order(), GOAL, 2, "").because(told));
        }
        rows.push(vec![
            orders.to_string(),
            format!("{:.0}", each / run.seconds),
            format!("{:.1}", cpu * 1000.0 / each),
            format!("{:.2}", run.database_calls_per_order()),
            run.frames.to_string(),
        ]);
    }
    report.section(
        "Throughput without a limit",
        "Everything shares two cores, the local cloud most of them: the rate says more of the machine than of the system. Costs per order are \
         to stay what they are as runs grow.",
        &["orders", "orders/s", "CPU-ms of the functions per order", "database calls per order", "frames per dashboard"],
        rows,
    );
}

/// Calls to the database follow batches, not orders. Those that follow time, such as publications, are left out: on a slow machine
/// there are more of them.
pub(crate) async fn assert_counts(world: &World) {
    world.move_database(0).await;
    let (small, _) = unlimited(world, 250).await;
    let (large, _) = unlimited(world, 1_000).await;
    small.print();
    large.print();
    let each = |run: &Run| {
        let of = |function: &str| run.calls.database.get(&format!("/rpc/{function}")).copied().unwrap_or(0);
        let batches = ["acquire_slots", "upsert_orders", "reconcile_tickets", "record_page"].map(of);
        batches.iter().sum::<u64>() as f64 / f64::from(run.orders)
    };
    assert!(each(&large) <= MOST_CALLS_OF_BATCHES, "{:.2} calls to the database per order", each(&large));
    assert!(each(&large) <= each(&small) * 1.25, "calls to the database grow faster than the orders");
    let growth = large.peak_mb / small.peak_mb;
    assert!(growth <= 1.25, "four times the orders take {growth:.2} times the memory");
}

async fn unlimited(world: &World, orders: u32) -> (Run, f64) {
    let before = cpu_seconds(world);
    let run = sync(world, orders, &json!({ "rateMax": 1_000_000, "latencyMs": 0 })).await;
    (run, cpu_seconds(world) - before)
}
