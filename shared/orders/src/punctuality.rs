//! Whether the limiter's grants arrive in time to be used.
//!
//! A grant is valid only for a short time, its *margin*: it must be used before GHL would count its call in another window. The
//! margin follows the database's response time. Late grants are reported to the limiter, so that all functions see them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The widest margin. Each grant takes its slot that much longer: at 3 s for 13 s instead of 10.
const WIDEST_MARGIN_MS: u32 = 3_000;
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
    /// Whether the last grant was late; `None` once it was reported.
    late: Option<bool>,
    logged_at: Option<Instant>,
}

impl Punctuality {
    /// Whether a round trip was measured.
    pub(crate) fn is_measured(&self) -> bool {
        !self.state().round_trips.is_empty()
    }

    /// Records how long the database took to answer.
    pub(crate) fn measured(&self, round_trip: Duration) {
        let mut state = self.state();
        if state.round_trips.len() == REMEMBERED {
            state.round_trips.pop_front();
        }
        state.round_trips.push_back(round_trip);
    }

    /// Twice the usual round trip in milliseconds, at least `least_ms` and at most 3 s.
    pub(crate) fn margin_ms(&self, least_ms: u32) -> u32 {
        let mut sorted: Vec<Duration> = self.state().round_trips.iter().copied().collect();
        sorted.sort_unstable();
        let usual = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let twice = u32::try_from((usual * 2).as_millis()).unwrap_or(u32::MAX);
        twice.min(WIDEST_MARGIN_MS).max(least_ms)
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

    #[test]
    fn the_margin_is_twice_the_usual_round_trip_within_bounds() {
        let margin = |round_trips: &[u64]| {
            let punctuality = Punctuality::default();
            round_trips.iter().for_each(|&ms| punctuality.measured(Duration::from_millis(ms)));
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
    fn a_limiter_that_stays_late_is_logged_once_a_minute() {
        let punctuality = Punctuality::default();
        assert!(punctuality.should_log());
        assert!(!punctuality.should_log());
    }
}
