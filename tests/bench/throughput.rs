//! The pipeline without a limit and without latency: what each order costs us.

use serde_json::json;

use crate::counting;
use crate::full::{Run, sync};
use crate::processes::cpu_seconds;
use crate::report::Report;
use crate::world::World;

/// Calls to the database per order in a run without a limit: the goal, and what is a regression. How full batches are depends on who
/// is faster, the lister or the workers.
const GOAL: f64 = 0.3;
const MOST_DATABASE_CALLS: f64 = 0.38;

pub(crate) async fn measure(world: &World, report: &mut Report) {
    counting::slow_database(world, 0).await;
    let mut rows = Vec::new();
    for orders in [250, 1_000, 4_000] {
        let (run, cpu) = unlimited(world, orders).await;
        run.print();
        let each = f64::from(orders);
        rows.push(vec![
            orders.to_string(),
            format!("{:.0}", each / run.seconds),
            format!("{:.1}", cpu * 1000.0 / each),
            format!(
                "{:.2}{}",
                run.database_calls_per_order(),
                if run.database_calls_per_order() <= GOAL { "" } else { " (missed)" }
            ),
            run.frames.to_string(),
        ]);
    }
    report.section(
        "Throughput without a limit",
        "Everything shares two cores, the local cloud most of them: the rate says more of the machine than of the system. Costs per order are \
         to stay what they are as runs grow.",
        &["orders", "orders/s", "CPU-ms of the functions per order", "database calls per order (goal 0.3)", "frames per dashboard"],
        rows,
    );
}

/// Calls to the database follow batches, not orders.
pub(crate) async fn assert_counts(world: &World) {
    counting::slow_database(world, 0).await;
    let (small, _) = unlimited(world, 250).await;
    let (large, _) = unlimited(world, 1_000).await;
    small.print();
    large.print();
    let each = large.database_calls_per_order();
    assert!(each <= MOST_DATABASE_CALLS, "{each:.2} calls to the database per order");
    assert!(each <= small.database_calls_per_order() * 1.1, "calls to the database grow faster than the orders");
    let growth = large.peak_mb / small.peak_mb;
    assert!(growth <= 1.25, "four times the orders take {growth:.2} times the memory");
}

async fn unlimited(world: &World, orders: u32) -> (Run, f64) {
    let before = cpu_seconds(world);
    let run = sync(world, orders, &json!({ "rateMax": 1_000_000, "latencyMs": 0 })).await;
    (run, cpu_seconds(world) - before)
}
