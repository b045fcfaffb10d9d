//! Calls that the limiter has granted, and until when they may be sent.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

/// Granted calls. They take their slots for a window and the margin, so a call sent after the margin might be one too many.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// By which it is handed back.
    pub(crate) id: Uuid,
    /// How many calls.
    pub(crate) calls: u32,
    /// By the database's clock.
    pub(crate) granted_at: Timestamp,
    /// When it was first asked for: it may have been granted at any time since.
    pub(crate) asked_at: Instant,
    /// When the answer came.
    pub(crate) answered_at: Instant,
    /// How long after it was asked for its calls may be sent.
    pub(crate) margin: Duration,
}

impl Grant {
    /// The time of a call that is sent now, by the database's clock; `None` if it must not be sent any more. It is never after the call,
    /// and never before the grant: what GHL answers is at least as new.
    #[must_use]
    pub fn sends_now(&self) -> Option<Timestamp> {
        let now = Instant::now();
        (now.duration_since(self.asked_at) <= self.margin).then(|| {
            let since = now.duration_since(self.answered_at);
            self.granted_at.checked_add(since).unwrap_or(self.granted_at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_has_the_time_of_its_sending_until_the_margin_is_over() {
        let asked_at = Instant::now();
        tokio::time::advance(Duration::from_millis(100)).await;
        let granted_at: Timestamp = "2026-05-01T10:00:00Z".parse().unwrap();
        let margin = Duration::from_millis(250);
        let grant = Grant { id: Uuid::nil(), calls: 1, granted_at, asked_at, answered_at: Instant::now(), margin };
        assert_eq!(grant.sends_now(), Some(granted_at));
        tokio::time::advance(Duration::from_millis(150)).await;
        assert_eq!(grant.sends_now(), Some("2026-05-01T10:00:00.15Z".parse().unwrap()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(grant.sends_now(), None);
    }
}
