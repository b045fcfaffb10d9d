use super::*;

const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;
const ALARMS: Thresholds = Thresholds { hours_without_sync: Some(2), daily_budget_low: 10_000 };

/// A day after it was set up, with a run that completed a quarter of an hour ago.
fn healthy() -> SystemState {
    SystemState { known_ms: Some(25 * HOUR), completed_ms: Some(15 * MINUTE), ..SystemState::default() }
}

fn open(table: &str, reads: bool, writes: bool) -> OpenTable {
    OpenTable { table: table.to_owned(), reads, writes }
}

fn run(state: RunState, started_hours_ago: i64) -> Run {
    let now: jiff::Timestamp = "2026-05-01T10:00:00Z".parse().unwrap();
    let started_at = now - jiff::SignedDuration::from_hours(started_hours_ago);
    serde_json::from_value(serde_json::json!({
        "run_id": "r1", "location_id": "loc", "kind": "full", "state": state, "started_at": started_at, "ended_at": null,
        "listing": {}, "listing_complete": true, "listed": 0, "synced": 0, "failed": 0, "skipped": 0, "unchanged": 0,
        "tickets_total": 0, "tickets_checked": 0, "ticket_types": 0, "tickets_added": 0, "tickets_cancelled": 0, "pulse": 1,
        "announced_state": null, "now": now,
    }))
    .unwrap()
}

/// The codes that this state is told by.
fn codes(state: &SystemState, run: Option<&Run>, thresholds: &Thresholds) -> Vec<&'static str> {
    state.problems(None, run, thresholds).iter().map(|problem| problem.code).collect()
}

#[test]
fn each_fact_becomes_a_problem_at_its_threshold() {
    let refused = |ms| SystemState { ghl_refused_ms: Some(ms), ..healthy() };
    let frames = |ms| SystemState { frames_failed_ms: Some(ms), ..healthy() };
    let budget = |left| SystemState { daily_remaining: Some(left), ..healthy() };
    let completed = |ms| SystemState { completed_ms: Some(ms), ..healthy() };
    let never = |known| SystemState { completed_ms: None, known_ms: Some(known), ..healthy() };
    let table: &[(&str, SystemState, &[&str])] = &[
        ("healthy", healthy(), &[]),
        ("refused just now", refused(0), &["ghl_unauthorized"]),
        ("refused long ago", refused(90 * HOUR), &["ghl_unauthorized"]),
        ("open", SystemState { open_tables: vec![open("ghl_qr_orders", true, true)], ..healthy() }, &["tables_open"]),
        ("completed 2 h ago less a moment", completed(2 * HOUR - 1), &[]),
        ("completed 2 h ago", completed(2 * HOUR), &["no_recent_run"]),
        ("nothing on the first day", never(24 * HOUR - 1), &[]),
        ("nothing since yesterday", never(24 * HOUR), &["no_recent_run"]),
        ("not known", SystemState::default(), &[]),
        ("budget at the threshold", budget(10_000), &[]),
        ("budget below it", budget(9_999), &["daily_budget_low"]),
        ("budget used up", budget(0), &["daily_budget_low"]),
        ("frames failed", frames(0), &["live_updates_unavailable"]),
        ("frames failed 15 min ago less a moment", frames(15 * MINUTE - 1), &["live_updates_unavailable"]),
        ("frames failed 15 min ago", frames(15 * MINUTE), &[]),
    ];
    for (what, state, expected) in table {
        assert_eq!(codes(state, None, &ALARMS), *expected, "{what}");
    }
}

#[test]
fn a_run_that_began_in_time_may_take_long() {
    let completed = |hours| SystemState { completed_ms: Some(hours * HOUR), ..healthy() };
    let table: &[(RunState, i64, u64, &[&str])] = &[
        (RunState::Syncing, 4, 5, &[]),
        (RunState::Syncing, 4, 6, &["no_recent_run"]),
        (RunState::Syncing, 0, 2, &["no_recent_run"]),
        (RunState::Error, 4, 5, &["no_recent_run"]),
        (RunState::Cancelled, 4, 5, &["no_recent_run"]),
    ];
    for &(state, started, last, expected) in table {
        let told = codes(&completed(last), Some(&run(state, started)), &ALARMS);
        assert_eq!(told, expected, "{state:?} for {started} h, {last} h after the last");
    }
}

#[test]
fn where_nothing_starts_runs_none_is_missed() {
    let late = SystemState { completed_ms: Some(90 * HOUR), ..healthy() };
    assert_eq!(codes(&late, None, &Thresholds { hours_without_sync: None, ..ALARMS }), [""; 0]);
    let seldom = Thresholds { hours_without_sync: Some(24), ..ALARMS };
    assert_eq!(codes(&SystemState { completed_ms: Some(23 * HOUR), ..healthy() }, None, &seldom), [""; 0]);
}

#[test]
fn a_slow_database_is_a_problem_after_a_minute() {
    let message = |seconds| Problem::database_too_slow(Duration::from_secs(seconds)).map(|problem| problem.message);
    assert_eq!(message(59), None);
    assert!(message(60).unwrap().contains("for a minute the database"));
    assert!(message(185).unwrap().contains("for 3 minutes the database"));
    let told = healthy().problems(Some(Duration::from_secs(60)), None, &ALARMS);
    assert_eq!(told[0].code, "database_too_slow");
}

#[test]
fn everything_at_once_is_told_by_how_bad_it_is() {
    let state = SystemState {
        ghl_refused_ms: Some(90 * MINUTE),
        frames_failed_ms: Some(0),
        known_ms: Some(90 * HOUR),
        completed_ms: Some(50 * HOUR),
        daily_remaining: Some(812),
        open_tables: vec![open("ghl_qr_orders", true, false), open("ghl_qr_tickets", true, true)],
    };
    let problems = state.problems(Some(Duration::from_secs(600)), None, &ALARMS);
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    let expected = [
        "ghl_unauthorized",
        "tables_open",
        "database_too_slow",
        "no_recent_run",
        "daily_budget_low",
        "live_updates_unavailable",
    ];
    assert_eq!(codes, expected);
    let said = [
        "90 minutes ago",
        "read and change the orders, with their buyers, and the tickets",
        "10 minutes",
        "2 days",
        "812",
    ];
    for (problem, said) in problems.iter().zip(said) {
        assert!(problem.message.contains(said), "{said:?} isn't in: {}", problem.message);
    }
    let for_admins: Vec<_> = problems.iter().filter(|problem| problem.is_for_admins()).collect();
    assert_eq!(for_admins.len(), 1, "{for_admins:?}");
}

#[test]
fn what_is_open_is_told_as_it_is() {
    let (orders, tickets) = ("ghl_qr_orders", "ghl_qr_tickets");
    let table: &[(&[OpenTable], &str)] = &[
        (&[open(tickets, false, true)], "Anybody can change the tickets:"),
        (&[open(tickets, true, false)], "Anybody can read the tickets:"),
        (&[open(orders, true, true)], "Anybody can read and change the orders, with their buyers:"),
        (&[open(orders, true, false), open(tickets, false, true)], "Anybody can read and change the orders,"),
    ];
    for (open_tables, said) in table {
        let state = SystemState { open_tables: open_tables.to_vec(), ..healthy() };
        let problems = state.problems(None, None, &ALARMS);
        assert!(problems[0].message.starts_with(said), "{}", problems[0].message);
    }
}

#[test]
fn a_database_of_before_knows_nothing_of_this() {
    let state: SystemState = serde_json::from_value(serde_json::json!({})).unwrap();
    assert_eq!(state.problems(None, None, &ALARMS), []);
}
