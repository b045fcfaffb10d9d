use std::time::Duration;

use docs::{names, table};
use domain::problem::{OpenTable, SystemState, Thresholds};

/// Everything is wrong at once.
#[test]
fn the_page_has_every_problem() {
    let a_day = 24 * 3_600_000;
    let state = SystemState {
        ghl_refused_ms: Some(0),
        frames_failed_ms: Some(0),
        known_ms: Some(a_day),
        completed_ms: Some(a_day),
        daily_remaining: Some(0),
        open_tables: vec![OpenTable { table: "ghl_qr_orders".to_owned(), reads: true, writes: true }],
    };
    let alarms = Thresholds { hours_without_sync: Some(2), daily_budget_low: 1 };
    let problems = state.problems(Some(Duration::from_secs(3600)), None, &alarms);
    let made = problems.iter().map(|problem| problem.code.to_owned()).collect();
    assert_eq!(names(&table("websocket-api.md", "Problems")), made);
}
