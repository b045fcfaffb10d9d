//! Which failures are retried, when, and after how many attempts an order counts as failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The class of a failure decides what happens next. Every error of an order has a method that returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// May go away by itself: retried with growing back-off, permanent after [`MAX_ATTEMPTS`].
    Transient,
    /// Won't go away by trying again: recorded at once.
    Permanent,
    /// Our credentials or configuration are wrong: stops the run.
    Auth,
}

impl FailureClass {
    /// The word used in the database and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Auth => "auth",
        }
    }
}

/// A transient failure becomes permanent after this many attempts: the waits of [`retry_after`] add up to half a minute at
/// most, and a retry of the run or `redrive` covers longer outages.
pub const MAX_ATTEMPTS: u32 = 5;

/// Receives before a message becomes a dead letter: `maxReceiveCount` of the template. Receives count crashes, what can't be read,
/// and a database that stays away for longer than [`OUTAGE_PATIENCE`].
pub const MAX_RECEIVES: u32 = 5;

/// For so long a message that the database keeps from its work is sent again and again, without losing an attempt. After
/// that it is handed back to its queue, where receives count.
pub const OUTAGE_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The longest wait of [`retry_outage`]: with the receiving, work goes on well within 10 s after the database is back.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(5);

/// When an order named by a webhook can't be found yet: wait this long before attempt 2, 3, 4 and 5 (GHL may take minutes).
pub const NOT_READABLE_YET: [Duration; MAX_ATTEMPTS as usize - 1] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600)];

/// How fast deliberate waits pass, in percent of the times written here; less is for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(u32);

impl Default for Pace {
    fn default() -> Self {
        Self(100)
    }
}

impl Pace {
    /// A pace of 1 to 1000 percent.
    #[must_use]
    pub const fn try_new(percent: u32) -> Option<Self> {
        if matches!(percent, 1..=1000) { Some(Self(percent)) } else { None }
    }

    /// A wait at this pace.
    #[must_use]
    pub fn of(self, wait: Duration) -> Duration {
        wait.saturating_mul(self.0) / 100
    }
}

/// The wait before the next attempt, or `None` when `attempt` (from 1) was the last one.
///
/// `jitter` in `0.0..=1.0` spreads retries over the second half of the back-off: 1 to 2 s, 2 to 4 s, 4 to 8 s, 8 to 16 s.
#[must_use]
pub fn retry_after(attempt: u32, jitter: f64) -> Option<Duration> {
    if attempt >= MAX_ATTEMPTS {
        return None;
    }
    let full = Duration::from_secs(1 << attempt.clamp(1, 10));
    Some(full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
}

/// The wait before an order that a webhook named is looked for again, or `None` when it is given up.
#[must_use]
pub fn retry_not_found(attempt: u32) -> Option<Duration> {
    NOT_READABLE_YET.get(attempt.saturating_sub(1) as usize).copied()
}

/// The wait before a message is tried again which the database has kept from its work for `since`, or `None` after
/// [`OUTAGE_PATIENCE`]. `jitter` in `0.0..=1.0` spreads the messages of an outage over the second half of the wait, which grows
/// from 1 s to 5 s.
#[must_use]
pub fn retry_outage(since: Duration, jitter: f64) -> Option<Duration> {
    if since >= OUTAGE_PATIENCE {
        return None;
    }
    let full = (since / 2).clamp(Duration::from_secs(1), LONGEST_OUTAGE_WAIT);
    Some(full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_waited_for_in_seconds_and_not_for_ever() {
        let wait = |since_s| retry_outage(Duration::from_secs(since_s), 1.0).map(|wait| wait.as_secs());
        assert_eq!([0, 3, 8, 60, 899, 900].map(wait), [Some(1), Some(1), Some(4), Some(5), Some(5), None]);
        assert_eq!(retry_outage(Duration::from_secs(60), 0.0), Some(Duration::from_millis(2500)));
    }

    #[test]
    fn back_off_grows_and_ends() {
        let waits: Vec<_> = (1..=5).map(|attempt| retry_after(attempt, 1.0).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(2), Some(4), Some(8), Some(16), None]);
        assert_eq!(retry_after(1, 0.0), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_pace_scales_waits() {
        assert_eq!(Pace::default().of(NOT_READABLE_YET[3]), Duration::from_secs(600));
        assert_eq!(Pace::try_new(20).unwrap().of(NOT_READABLE_YET[0]), Duration::from_secs(1));
        assert_eq!((Pace::try_new(0), Pace::try_new(1001)), (None, None));
    }

    #[test]
    fn an_order_a_webhook_named_is_looked_for_four_times_more() {
        let waits: Vec<_> = (1..=5).map(|attempt| retry_not_found(attempt).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(5), Some(30), Some(120), Some(600), None]);
    }
}
