//! How long calls take of a database in another region.
//!
//! Mostly 40 ms, never less than 30, with a long tail; a call in fifty 300 ms, one in five hundred 2 s. A new connection costs
//! 300 ms more (three round trips for TCP and TLS, and the gateway's own). The waits are drawn by a fixed seed: whenever
//! the distance is switched on, they begin with the same ones.

use std::time::Duration;

use fastrand::Rng;

const SEED: u64 = 1;
/// The least that a call takes.
pub(crate) const SHORTEST: Duration = Duration::from_millis(30);
/// The median of what an ordinary call takes more; above it the chance halves with each such step.
const HALVING: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(300);
const SLOW_SHARE: f64 = 0.02;
const VERY_SLOW: Duration = Duration::from_secs(2);
const VERY_SLOW_SHARE: f64 = 0.002;
/// What a new connection costs.
pub(crate) const CONNECTING: Duration = Duration::from_millis(300);

/// A far database: gives out one wait after the other.
pub(crate) struct Distance(Rng);

impl Default for Distance {
    fn default() -> Self {
        Self(Rng::with_seed(SEED))
    }
}

impl Distance {
    /// What the next call takes.
    pub(crate) fn of_a_call(&mut self, new_connection: bool) -> Duration {
        let connecting = if new_connection { CONNECTING } else { Duration::ZERO };
        let chance = self.0.f64();
        let call = if chance < VERY_SLOW_SHARE {
            VERY_SLOW
        } else if chance < VERY_SLOW_SHARE + SLOW_SHARE {
            SLOW
        } else {
            // Of 1 - u, since the logarithm of 0 is no number.
            SHORTEST + HALVING.mul_f64(-(1.0 - self.0.f64()).log2())
        };
        connecting + call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_take_40_ms_at_times_300_and_now_and_then_2_s() {
        let (mut distance, mut again) = (Distance::default(), Distance::default());
        let mut waits: Vec<Duration> = (0..100_000).map(|_| distance.of_a_call(false)).collect();
        let repeated: Vec<Duration> = (0..100_000).map(|_| again.of_a_call(false)).collect();
        assert_eq!(waits, repeated, "the same each time");
        waits.sort_unstable();
        let ms = |share: f64| waits[(waits.len() as f64 * share) as usize].as_millis();
        assert!((39..=41).contains(&ms(0.5)), "median {}", ms(0.5));
        assert!(waits[0] >= SHORTEST && ms(0.95) < 100, "95 %: {}", ms(0.95));
        let of = |wait: Duration| waits.iter().filter(|other| **other == wait).count();
        assert!((1_800..2_200).contains(&of(SLOW)), "300 ms: {}", of(SLOW));
        assert!((140..260).contains(&of(VERY_SLOW)), "2 s: {}", of(VERY_SLOW));
    }

    #[test]
    fn a_new_connection_costs_300_ms_more() {
        let (mut distance, mut again) = (Distance::default(), Distance::default());
        assert_eq!(distance.of_a_call(true), again.of_a_call(false) + CONNECTING);
    }
}
