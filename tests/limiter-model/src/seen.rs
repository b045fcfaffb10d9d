//! What GHL's headers tell.

use crate::MS;
use crate::rules::{Ask, Foreign, Limiter};

/// What GHL said since the caller asked last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls per window.
    pub max: Option<i64>,
    /// Calls left in the window.
    pub remaining: Option<i64>,
    /// Calls left today.
    pub daily_remaining: Option<i64>,
    /// After a 429: milliseconds both lanes stay closed.
    pub closed_for_ms: Option<i64>,
    /// How long ago the answer came, in milliseconds.
    pub age_ms: Option<i64>,
    /// How long before that its call was sent, in milliseconds.
    pub took_ms: Option<i64>,
}

impl Limiter {
    pub(crate) fn observe(&mut self, now: i64, ask: &Ask) {
        let (seen, window) = (ask.seen, ask.limits.window());
        let seen_at = now - seen.age_ms.unwrap_or(0) * MS;
        let sent_at = seen_at - seen.took_ms.unwrap_or(0) * MS;
        // What was heard a window ago may have changed since, unless nothing else is known.
        let is_recent = sent_at > now - window;
        if let Some(max) = seen.max.filter(|max| *max > 0 && (is_recent || self.learned_max.is_none())) {
            self.learned_max = Some(max.min(100_000));
        }
        if let Some(remaining) = seen.daily_remaining.filter(|_| self.daily.is_none_or(|(_, at)| seen_at >= at)) {
            self.daily = Some((remaining.min(2_000_000_000), seen_at));
        }
        if let Some(closed) = seen.closed_for_ms.filter(|closed| *closed > 0) {
            self.closed_until = self.closed_until.max(now + closed * MS);
        }
        let (Some(remaining), Some(max)) = (seen.remaining, self.learned_max) else { return };
        // A call that was sent a window ago tells nothing of this one.
        if !is_recent {
            return;
        }
        let used = max - remaining.min(max);
        let explained = if seen.age_ms.is_some() {
            // GHL counted at some moment of the call; its answer may have been under way to the limiter for half a margin.
            let from = sent_at - ask.margin_ms * MS;
            let ats = self.grants.iter().map(|grant| grant.at).chain(self.foreign.iter().map(|calls| calls.at));
            let moments = ats.filter(|at| *at > from && *at <= seen_at).chain([from]);
            moments.map(|at| self.counted_at(at, window)).max().unwrap_or(0)
        } else {
            // It may be from any moment: all that is remembered explains it.
            let ours: i64 = self.grants.iter().map(|grant| grant.calls).sum();
            ours + self.foreign.iter().map(|calls| calls.calls).sum::<i64>()
        };
        // Upwards only: GHL counting fewer than were granted means calls still on their way.
        if used > explained {
            self.foreign.push(Foreign { at: seen_at, calls: used - explained });
        }
    }

    /// The most that GHL can have counted at a moment of the calls that are known.
    fn counted_at(&self, at: i64, window: i64) -> i64 {
        let grants = self.grants.iter().filter(|grant| grant.at <= at && grant.until > at);
        let others = self.foreign.iter().filter(|calls| calls.at <= at && calls.at + window > at);
        grants.map(|grant| grant.calls).sum::<i64>() + others.map(|calls| calls.calls).sum::<i64>()
    }
}
