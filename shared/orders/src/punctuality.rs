//! Whether the limiter's grants arrive in time to be used.
//!
//! A grant is good for a while only, its *margin*: it must be used before GHL would count its call in another window. The margin
//! follows how far away the database is, and what came too late is told to the limiter, which everybody can read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No margin is wider: each grant takes its slot that much longer.
const WIDEST_MARGIN_MS: u32 = 3_000;
/// Round trips that are remembered. Their median counts, since one slow answer says little.
const REMEMBERED: usize = 20;
/// A limiter that stays late is logged this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What one process knows of its own way to the database.
#[derive(Debug, Default)]
pub(crate) struct Punctuality(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    round_trips: VecDeque<Duration>,
    /// Of the last grant; `None` once it was told.
    late: Option<bool>,
    told_at: Option<Instant>,
}

impl Punctuality {
    /// Whether a round trip was measured.
    pub(crate) fn is_measured(&self) -> bool {
        !self.state().round_trips.is_empty()
    }

    /// Takes down how long the database took to answer.
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

    /// Takes down whether a grant came too late, to be told with the next request.
    pub(crate) fn granted(&self, late: bool) {
        self.state().late = Some(late);
    }

    /// What the limiter hasn't been told yet.
    pub(crate) fn untold(&self) -> Option<bool> {
        self.state().late
    }

    /// The limiter has been told.
    pub(crate) fn told(&self) {
        self.state().late = None;
    }

    /// Whether it is time to log that the limiter is late.
    pub(crate) fn is_to_be_logged(&self) -> bool {
        let mut state = self.state();
        let due = state.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if due {
            state.told_at = Some(Instant::now());
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
        assert!(punctuality.is_to_be_logged());
        assert!(!punctuality.is_to_be_logged());
    }
}
