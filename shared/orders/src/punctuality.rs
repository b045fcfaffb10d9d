//! Whether the limiter's grants arrive in time to be used.
//!
//! A grant is valid only for a short time, its *margin*: it must be used before GHL would count its call in another window. The
//! margin follows the database's response time. Late grants are handed back, and reported to the limiter, so that all functions see them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The widest margin. Each grant takes its slot that much longer: at 3 s for 13 s instead of 10.
pub(crate) const WIDEST_MARGIN: Duration = Duration::from_secs(3);
/// How many round trips are remembered. Their median counts, so that one slow answer has no effect.
const REMEMBERED: usize = 20;
/// How often grants that stay late are logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What this process has measured of its calls to the database.
#[derive(Debug, Default)]
pub(crate) struct Punctuality(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    round_trips: VecDeque<Duration>,
    /// The last one, if it took longer than its margin.
    outlier: Option<Duration>,
    /// Whether the last grant was late; `None` once it was reported.
    late: Option<bool>,
    logged_at: Option<Instant>,
}

impl Punctuality {
    /// Whether a round trip was measured.
    pub(crate) fn is_measured(&self) -> bool {
        !self.state().round_trips.is_empty()
    }

    /// Forgets what it measured: a first call also makes the connection.
    pub(crate) fn forget(&self) {
        self.state().round_trips.clear();
    }

    /// Records how long the database took to answer, where that was within its margin. A single one beyond it isn't learnt: it would widen
    /// the margin of all that follow. A second one in a row isn't single: the database is further away than before.
    pub(crate) fn measured(&self, round_trip: Duration, margin: Duration) {
        let mut state = self.state();
        if round_trip > margin && !state.round_trips.is_empty() {
            let Some(before) = state.outlier.replace(round_trip) else { return };
            state.round_trips.clear();
            state.round_trips.push_back(before);
        }
        if round_trip <= margin {
            state.outlier = None;
        }
        if state.round_trips.len() == REMEMBERED {
            state.round_trips.pop_front();
        }
        state.round_trips.push_back(round_trip);
    }

    /// Twice the usual round trip in milliseconds, at least `least_ms` and at most 3 s.
    pub(crate) fn margin_ms(&self, least_ms: u32) -> u32 {
        let twice = (self.usual() * 2).min(WIDEST_MARGIN);
        u32::try_from(twice.as_millis()).unwrap_or(u32::MAX).max(least_ms)
    }

    /// How much of a wait that the limiter tells goes by on the way: its answer has been under way for half a round trip, and the next
    /// request will be for as long. An eighth is left out, since a request that comes too early is refused and costs a round trip more.
    pub(crate) fn on_the_way(&self) -> Duration {
        self.usual() * 7 / 8
    }

    /// The median of what was measured; zero before.
    pub(crate) fn usual(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.state().round_trips.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// Records whether a grant arrived too late, to be reported with the next request.
    pub(crate) fn granted(&self, late: bool) {
        self.state().late = Some(late);
    }

    /// What hasn't been reported to the limiter yet.
    pub(crate) fn unreported(&self) -> Option<bool> {
        self.state().late
    }

    /// It has been reported to the limiter.
    pub(crate) fn reported(&self) {
        self.state().late = None;
    }

    /// Whether it is time to log that grants are late.
    pub(crate) fn should_log(&self) -> bool {
        let mut state = self.state();
        let due = state.logged_at.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if due {
            state.logged_at = Some(Instant::now());
        }
        due
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Duration = Duration::from_millis(250);

    #[test]
    fn the_margin_is_twice_the_usual_round_trip_within_bounds() {
        let margin = |round_trips: &[u64]| {
            let punctuality = Punctuality::default();
            for &ms in round_trips {
                punctuality.measured(Duration::from_millis(ms), Duration::from_secs(60));
            }
            punctuality.margin_ms(250)
        };
        assert_eq!(margin(&[]), 250);
        assert_eq!(margin(&[40]), 250);
        assert_eq!(margin(&[300]), 600);
        assert_eq!(margin(&[300, 310, 2_000]), 620, "one slow answer isn't the usual");
        assert_eq!(margin(&[5_000]), 3_000);
        let moved: Vec<u64> = std::iter::repeat_n(300, 20).chain(std::iter::repeat_n(600, 20)).collect();
        assert_eq!(margin(&moved), 1_200, "what was long ago is forgotten");
    }

    #[test]
    fn a_wait_goes_by_on_the_way() {
        let punctuality = Punctuality::default();
        assert_eq!(punctuality.on_the_way(), Duration::ZERO);
        punctuality.measured(Duration::from_millis(80), NEAR);
        assert_eq!(punctuality.on_the_way(), Duration::from_millis(70));
    }

    #[test]
    fn one_outlier_is_not_learnt_and_a_second_one_tells_of_another_distance() {
        let punctuality = Punctuality::default();
        punctuality.measured(Duration::from_millis(40), NEAR);
        punctuality.measured(Duration::from_secs(2), NEAR);
        assert_eq!(punctuality.margin_ms(250), 250);
        punctuality.measured(Duration::from_millis(40), NEAR);
        punctuality.measured(Duration::from_millis(700), NEAR);
        assert_eq!(punctuality.margin_ms(250), 250, "not in a row");
        punctuality.measured(Duration::from_millis(710), NEAR);
        assert_eq!(punctuality.margin_ms(250), 1_420);
    }

    #[test]
    fn a_limiter_that_stays_late_is_logged_once_a_minute() {
        let punctuality = Punctuality::default();
        assert!(punctuality.should_log());
        assert!(!punctuality.should_log());
    }
}
