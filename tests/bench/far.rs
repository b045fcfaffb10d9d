//! Full syncs while the database is far, and one in which it pauses.

use std::time::Duration;

use tests::world::World;

use crate::DATABASE_LATENCY_MS;
use crate::full::{Run, sync};
use crate::goals::Goal;
use crate::like_ghl;
use crate::report::Report;

const ORDERS: u32 = 1_000;
/// Orders of the sync with a pause: three windows.
const PAUSED_ORDERS: u32 = 300;
/// In the middle of it.
const PAUSE_AFTER: Duration = Duration::from_secs(15);
const PAUSE_MS: u64 = 2_000;
/// Round trips that a pause may cost besides: of the call that it met, of the one that follows, and of their queues.
const ROUND_TRIPS: u64 = 5;

fn row(what: &str, run: &Run) -> Vec<String> {
    vec![
        what.to_owned(),
        run.orders.to_string(),
        format!("{:.1}", run.seconds),
        format!("{:.1}", run.bound_seconds),
        format!("{:.3}", run.ratio()),
        format!("{:.2}", run.database_calls_per_order()),
        format!("{:.1}", run.gb_seconds_per_1000()),
        run.calls.throttled.to_string(),
    ]
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let mut rows = Vec::new();
    for (latency_ms, goal) in [(300, 1.20), (600, 1.35)] {
        world.move_database(latency_ms).await;
        let run = sync(world, ORDERS, &like_ghl()).await;
        run.print();
        let what = format!("database {latency_ms} ms away, full sync of {ORDERS}");
        report.goal(run.in_time(&what, goal));
        report.goal(run.throttled(&what));
        rows.push(row(&format!("{latency_ms} ms away"), &run));
    }
    world.move_database(DATABASE_LATENCY_MS).await;
    let without = sync(world, PAUSED_ORDERS, &like_ghl()).await;
    let ghl = like_ghl();
    let (paused, ()) = tokio::join!(sync(world, PAUSED_ORDERS, &ghl), async {
        tokio::time::sleep(PAUSE_AFTER).await;
        world.pause_database(DATABASE_LATENCY_MS, PAUSE_MS).await;
    });
    without.print();
    paused.print();
    let cost = paused.seconds - without.seconds;
    let goal = (PAUSE_MS + ROUND_TRIPS * DATABASE_LATENCY_MS) as f64 / 1_000.0;
    let told = format!("{:.1} s instead of {:.1} s", paused.seconds, without.seconds);
    report.goal(Goal::at_most("a pause of the database of 2 s in a sync costs", cost, goal, 1, " s").because(told));
    report.goal(paused.throttled("a pause of the database"));
    rows.push(row("no pause", &without));
    rows.push(row("a pause of 2 s", &paused));
    report.section(
        "A database that is far",
        &format!(
            "Each call of the database takes so long; the pause comes {} s after the start.",
            PAUSE_AFTER.as_secs()
        ),
        &[
            "database",
            "orders",
            "T (s)",
            "T100 (s)",
            "T / T100",
            "database calls per order",
            "GB-s per 1,000 orders",
            "429s",
        ],
        rows,
    );
}
