//! Very many orders, on a virtual clock: `tests/simulation`.

use domain::rate::CALLS_PER_DAY;
use simulation::prices::{PRICES, dollars};
use simulation::{Deployed, Found, Pace, Setting, simulate};

use crate::full::bound_seconds;
use crate::goals::Goal;
use crate::incremental::pages;
use crate::report::Report;
use crate::{CALLS_PER_WINDOW, DATABASE_LATENCY_MS, GHL_LATENCY_MS};

const DASHBOARDS: u64 = 10;
/// Locations and orders of each.
const SETTINGS: [(usize, u64); 4] = [(1, 1_000), (1, 100_000), (1, 1_000_000), (100, 5_000)];

fn setting(locations: usize, orders: u64) -> Setting {
    let pace = Pace::measured(GHL_LATENCY_MS, DATABASE_LATENCY_MS);
    Setting { locations, orders, dashboards: DASHBOARDS, pace }
}

/// `measured_seconds` are those of a sync of 1,000 on this machine, if that was measured.
pub(crate) fn measure(report: &mut Report, measured_seconds: Option<f64>) {
    let deployed = Deployed::read();
    let (mut rows, mut own_seconds) = (Vec::new(), 0.0);
    for (locations, orders) in SETTINGS {
        let found = simulate(setting(locations, orders), &deployed);
        let seconds = found.milliseconds as f64 / 1_000.0;
        let bound = bound_seconds(found.ghl_calls / locations as u64);
        println!("simulated {locations} x {orders}: {seconds:.0} s, {found:?}");
        if orders == 1_000 {
            own_seconds = seconds;
        }
        if locations > 1 {
            let told = format!(
                "{seconds:.0} s of {bound:.0} s: the functions of all locations share {} pulses of {} at the same time",
                deployed.runs.most, deployed.runs.batch
            );
            let what = format!("simulated: {locations} locations of {orders} at once, T / T100");
            report.goal(Goal::at_most(what, seconds / bound, 1.15, 2, "").because(told));
        }
        rows.push(row(locations, orders, &found, seconds, bound));
    }
    let prices: Vec<_> = PRICES.iter().map(|(what, price, source)| format!("{what} ${price} ({source})")).collect();
    let measured = measured_seconds.map_or_else(String::new, |seconds| format!(", measured above were {seconds:.0} s"));
    report.section(
        "Very many orders, on a virtual clock",
        &format!(
            "The real paging over the model of the rate limiter, with the template's batches, pollers and memory, {DASHBOARDS} dashboards looking on at \
             each location, GHL answering in {GHL_LATENCY_MS} ms in the median and the database in {DATABASE_LATENCY_MS} ms. Its 1,000 orders take \
             {own_seconds:.0} s{measured}. GHL grants {CALLS_PER_DAY} calls a day: a larger sync ends its day with `daily_budget_exhausted` and the next run \
             lists again and goes on with what isn't stored. Each location has a limit of its own, and all share the functions. Dollars are for one \
             sync, by the public prices for US East (x86) as of November 2026, beyond the free tier: {}. An idle system besides polls its queues: \
             about 9 million requests a month, $3.50.",
            prices.join("; ")
        ),
        &["locations", "orders of each", "calls to GHL", "most in 10 s", "days waited for", "time", "T / T100", "executions at once, mean / most",
          "SQS requests", "Lambda GB-s", "of them computed", "database calls per order", "most rows per call", "dollars", "dollars per 1,000 orders"],
        rows,
    );
}

fn row(locations: usize, orders: u64, found: &Found, seconds: f64, bound: f64) -> Vec<String> {
    vec![
        locations.to_string(),
        orders.to_string(),
        found.ghl_calls.to_string(),
        found.most_in_window.to_string(),
        found.pauses.to_string(),
        if seconds < 3600.0 { format!("{seconds:.0} s") } else { format!("{:.1} h", seconds / 3600.0) },
        // Days that are waited for are no time that GHL's window takes.
        if found.pauses == 0 { format!("{:.2}", seconds / bound) } else { "-".to_owned() },
        format!("{:.1} / {}", found.mean_executions(), found.most_executions),
        found.sqs_requests.to_string(),
        format!("{:.0}", found.gb_seconds()),
        format!("{:.0}", found.computed / 1_000.0),
        format!("{:.2}", found.database_calls_per_order()),
        found.most_rows.to_string(),
        format!("{:.2}", dollars(found)),
        format!("{:.4}", dollars(found) / found.orders as f64 * 1_000.0),
    ]
}

/// What must hold however many orders there are.
/// More is a regression.
const MOST_CALLS_PER_ORDER: f64 = 0.4;

pub(crate) fn assert_scale() {
    let deployed = Deployed::read();
    let [small, large] = [5_000, 20_000].map(|orders| simulate(setting(1, orders), &deployed));
    for found in [&small, &large] {
        assert!(found.most_in_window <= CALLS_PER_WINDOW, "{} calls in a window", found.most_in_window);
        // With the products.
        let needed = found.orders + pages(found.orders) + 1;
        assert!((0..=1).contains(&(found.ghl_calls - needed)), "{} calls", found.ghl_calls);
    }
    let most_rows = small.most_rows.max(large.most_rows);
    assert!(most_rows <= 1_000, "a call touches {most_rows} rows");
    let each = large.database_calls_per_order();
    assert!(each <= MOST_CALLS_PER_ORDER, "{each:.3} database calls per order");
    println!("simulated: {each:.2} database calls per order, at most {most_rows} rows per call");
}
