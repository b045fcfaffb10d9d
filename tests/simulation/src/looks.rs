//! What dashboards are told while a sync goes on: made by the code that makes the frames, of what the limiter's model knows.

use domain::{LocationId, Outlook, Run, RunId, RunKind, RunState, outlook};
use jiff::Timestamp;
use limiter_model::{Lane, MS};

use crate::engine::Engine;
use crate::location::Location;
use crate::{Deployed, Setting};

/// What somebody sees who looks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Milliseconds since the start.
    pub at: u64,
    /// Orders done.
    pub done: u64,
    /// Calls to GHL that were granted.
    pub calls: u64,
    /// `etaSeconds`.
    pub eta_seconds: Option<u64>,
    /// `waitSeconds`.
    pub wait_seconds: Option<u64>,
}

/// Syncs all orders of one location, with somebody who looks on so often. Returns what they saw, and how long it took.
#[must_use]
pub fn look_on(setting: Setting, deployed: &Deployed, every_ms: u64) -> (Vec<Look>, u64) {
    let mut engine = Engine::new(setting, deployed);
    engine.look_every_ms = Some(every_ms);
    engine.run();
    (engine.looks, engine.found.milliseconds)
}

impl Engine<'_> {
    /// Looks as often as is due before this moment.
    pub(crate) fn look_until(&mut self, at: u64) {
        let Some(every) = self.look_every_ms else { return };
        let Some(location) = self.locations.first() else { return };
        let next = self.looks.last().map_or(0, |look| look.at + every);
        for now in (next..at).step_by(every.try_into().unwrap_or(1)) {
            let run = run(location, self.deployed, now);
            let (eta_seconds, wait_seconds) = (run.eta_seconds(), run.wait_seconds());
            let (done, calls) = (location.done, self.found.ghl_calls);
            self.looks.push(Look { at: now, done, calls, eta_seconds, wait_seconds });
        }
    }
}

/// The row that the database would give at this moment.
fn run(location: &Location, deployed: &Deployed, now: u64) -> Run {
    let at = |ms: u64| Timestamp::from_millisecond(ms as i64).unwrap_or_default();
    let is_listed = location.listing.is_done();
    Run {
        run_id: RunId::try_new("simulated").unwrap_or_else(|_| unreachable!("a plain word")),
        location_id: LocationId::try_new("simulated").unwrap_or_else(|_| unreachable!("a plain word")),
        kind: RunKind::Full,
        state: RunState::Syncing,
        started_at: at(0),
        ended_at: None,
        cooldown_until: None,
        listing: (location.listed() > 0).then(|| location.listing.clone()),
        transactions: None,
        listing_complete: is_listed,
        total_count: (location.listed() > 0).then_some(location.orders()),
        expected_orders: None,
        known_deficit: 0,
        listing_short: false,
        comparing: false,
        valid_list: None,
        listed: location.listed(),
        synced: location.done,
        failed: 0,
        not_attempted: 0,
        skipped: 0,
        unchanged: 0,
        tickets_total: 0,
        tickets_checked: 0,
        ticket_types: 0,
        tickets_added: 0,
        tickets_reinstated: 0,
        tickets_cancelled: 0,
        error_code: None,
        error_message: None,
        requested_by: None,
        pulse: 1,
        last_progress_at: None,
        announced_state: None,
        announced_count: false,
        outlook: Some(outlook(location, deployed, now)),
        now: at(now),
    }
}

/// As `limiter.sql` says it.
fn outlook(location: &Location, deployed: &Deployed, now: u64) -> Outlook {
    let limits = Location::limits(deployed.limits);
    let now = now as i64 * MS;
    let grants = location.limiter().calls(limits).map(|(lane, calls, at, until)| outlook::Grant {
        is_bulk: lane == Some(Lane::Bulk),
        calls,
        age_ms: (now - at) / MS,
        left_ms: (until - now) / MS,
    });
    Outlook {
        max: limits.max,
        window_ms: limits.window_ms,
        closed_ms: 0,
        asked: 0,
        dispatched: location.under_way,
        awaited: location.awaited,
        grants: grants.collect(),
    }
}
