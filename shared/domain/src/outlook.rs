//! How long a run has still to wait for GHL's limit. The limit lets calls pass in windows: at the rate of the last second, or of the run so
//! far, the time left would rise in each pause between two. So the limiter's own rules say when each call will pass that is still to be made.
//!
//! These rules decide nothing here; they stand in `limiter.sql` (`free_slots`) and in `tests/limiter-model`.

use serde::Deserialize;

/// From when slots are free to when they are taken: a message has to be received, and the limiter asked.
const GAP_MS: i64 = 150;
/// From the last call's grant to the run's end: GHL's answer, storing the order, reconciling its tickets.
pub(crate) const FINISH_MS: i64 = 1_000;
/// A run that takes less of what the limit gives is held up by something else.
const USED_PERCENT: i64 = 95;
/// So many windows are followed call by call; those before them are all alike.
const WINDOWS_FOLLOWED: i64 = 6;
/// What webhooks have asked for is kept free for so much of a window.
const ASKED_FOR: i64 = 5;
/// Slots that are always left to webhooks.
const RESERVE: i64 = 2;

/// What the rate limiter knew when the run was read, in milliseconds from then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Outlook {
    /// Calls per window.
    pub max: i64,
    /// GHL's window.
    pub window_ms: i64,
    /// For how long nothing is granted at all, since GHL has answered with 429.
    pub closed_ms: i64,
    /// Calls that webhooks have lately asked for.
    pub asked: i64,
    /// Orders of the run that were handed to workers and have no outcome yet.
    pub dispatched: u64,
    /// Of these, orders that still wait for their calls.
    pub awaited: u64,
    /// What was granted in the last two windows.
    pub grants: Vec<Grant>,
}

/// Calls that were granted together, or that another app made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Grant {
    /// Whether to a run.
    #[serde(rename = "bulk")]
    pub is_bulk: bool,
    /// How many.
    pub calls: i64,
    /// How long ago.
    pub age_ms: i64,
    /// How long they still take their slots; not above 0 if they don't any more.
    pub left_ms: i64,
}

impl Outlook {
    /// Orders that have their calls: they are being fetched or stored, or tried again.
    #[must_use]
    pub const fn under_way(&self) -> u64 {
        self.dispatched.saturating_sub(self.awaited)
    }

    /// Milliseconds until the limit lets the next of so many calls pass; 0 if it would now. `None` if nobody can tell.
    #[must_use]
    pub fn next_call_ms(&self, calls: u64) -> Option<i64> {
        Lane::new(self).first_grant(whole(calls))
    }

    /// Milliseconds until the last of so many calls has passed, if nothing but the limit holds them up. `None` if nobody can tell.
    #[must_use]
    pub fn last_call_ms(&self, calls: u64) -> Option<i64> {
        Lane::new(self).last_grant(whole(calls))
    }

    /// Whether a run with so many calls left, that has been going on for `elapsed_ms`, leaves a part of the limit unused: then GHL or the
    /// database holds it up.
    #[must_use]
    pub fn is_not_used_up(&self, calls: u64, elapsed_ms: i64) -> bool {
        let taken_ms = self.period() - GAP_MS;
        let windows = match elapsed_ms {
            _ if self.closed_ms > 0 => return false,
            // Before, it hasn't had the time to take all that the limit gives.
            ms if ms < taken_ms + self.window_ms * 3 / 10 => return false,
            // And at its end nothing to take.
            ms if ms < 2 * taken_ms + self.window_ms / 5 && calls == 0 => return false,
            ms if ms < 2 * taken_ms + self.window_ms / 5 => 1,
            _ => 2,
        };
        let lately = self.grants.iter().filter(|grant| grant.is_bulk && grant.age_ms <= windows * taken_ms);
        let made: i64 = lately.map(|grant| grant.calls).sum();
        let per_window = self.per_window();
        // The next third of a window may be about to be taken.
        made * 100 < (windows * per_window - per_window / 3) * USED_PERCENT
    }

    /// Calls that a run gets in a window.
    fn per_window(&self) -> i64 {
        (self.max - self.usual_others() - RESERVE).max(1)
    }

    /// How long a grant to the run takes its slots, until they are taken again: a window, and the margins of its workers.
    fn period(&self) -> i64 {
        let bulk = || self.grants.iter().filter(|grant| grant.is_bulk);
        let calls: i64 = bulk().map(|grant| grant.calls).sum();
        let taken: i64 = bulk().map(|grant| (grant.age_ms + grant.left_ms) * grant.calls).sum();
        (if calls > 0 { taken / calls } else { 0 }).max(self.window_ms).max(1) + GAP_MS
    }

    /// Calls per window of webhooks and of other apps that will go on: those which were made both in the last window and in the one before.
    /// A run keeps a quarter in any case.
    fn usual_others(&self) -> i64 {
        let calls = |from: i64| -> i64 {
            let of_it = |grant: &&Grant| !grant.is_bulk && (from..from + self.window_ms).contains(&grant.age_ms);
            self.grants.iter().filter(of_it).map(|grant| grant.calls).sum()
        };
        calls(0).min(calls(self.window_ms)).min(self.max - (self.max / 4).max(1)).max(0)
    }
}

/// The limiter as runs meet it, followed from now on. Times are milliseconds from now.
struct Lane<'a> {
    outlook: &'a Outlook,
    period: i64,
    usual_others: i64,
    /// Until when slots are taken by runs, and how many.
    taken: Vec<(i64, i64)>,
    /// The same for all others.
    others: Vec<(i64, i64)>,
    /// Until when calls count as made lately: a run takes a third of the maximum in a third of a window.
    lately: Vec<(i64, i64)>,
}

impl<'a> Lane<'a> {
    fn new(outlook: &'a Outlook) -> Self {
        let third = outlook.window_ms / 3;
        let of = |is_bulk: bool| outlook.grants.iter().filter(move |grant| grant.is_bulk == is_bulk);
        Self {
            outlook,
            period: outlook.period(),
            usual_others: outlook.usual_others(),
            taken: of(true).filter(|grant| grant.left_ms > 0).map(|grant| (grant.left_ms, grant.calls)).collect(),
            others: of(false).filter(|grant| grant.left_ms > 0).map(|grant| (grant.left_ms, grant.calls)).collect(),
            lately: of(true)
                .filter(|grant| grant.age_ms < third)
                .map(|grant| (third - grant.age_ms, grant.calls))
                .collect(),
        }
    }

    /// How many calls a run with so many left is granted then.
    fn free(&self, at: i64, left: i64) -> i64 {
        let max = self.outlook.max;
        let taken = held(&self.taken, at);
        let others = held(&self.others, at).max(self.usual_others);
        let asked = if at < self.outlook.window_ms / ASKED_FOR { self.outlook.asked + 1 } else { 0 };
        let free = max - taken - others;
        let quarter = ((max - others).max(0) / 4).max(1);
        let calls = free.min((free - asked.max(RESERVE)).max(quarter - taken));
        let is_nearly_done = left.saturating_add(whole(self.outlook.under_way())) < 2 * max;
        let calls = if is_nearly_done { calls } else { calls.min((max / 3).max(1) - held(&self.lately, at)) };
        calls.clamp(0, left)
    }

    /// The next moment at which more may be free.
    fn next(&self, at: i64) -> Option<i64> {
        let lists = [&self.taken, &self.others, &self.lately];
        let asked_until = self.outlook.window_ms / ASKED_FOR;
        lists.into_iter().flatten().map(|(until, _)| *until).chain([asked_until]).filter(|until| *until > at).min()
    }

    fn first_grant(&self, left: i64) -> Option<i64> {
        let mut at = self.outlook.closed_ms.max(0);
        while self.free(at, left) == 0 {
            at = self.next(at)?;
        }
        Some(at)
    }

    fn last_grant(mut self, calls: i64) -> Option<i64> {
        let per_window = self.outlook.per_window();
        let alike = (calls / per_window - WINDOWS_FOLLOWED).max(0);
        let mut left = calls - alike * per_window;
        if left == 0 {
            return Some(0);
        }
        let mut at = self.outlook.closed_ms.max(0);
        loop {
            let granted = self.free(at, left);
            left -= granted;
            if left == 0 {
                return Some(at.saturating_add(alike.saturating_mul(self.period)));
            }
            if granted > 0 {
                self.taken.push((at + self.period, granted));
                self.lately.push((at + self.outlook.window_ms / 3, granted));
            }
            at = self.next(at)?;
            for list in [&mut self.taken, &mut self.others, &mut self.lately] {
                list.retain(|(until, _)| *until > at);
            }
        }
    }
}

/// Slots that are still taken then.
fn held(slots: &[(i64, i64)], at: i64) -> i64 {
    slots.iter().filter(|(until, _)| *until > at).map(|(_, calls)| calls).sum()
}

fn whole(calls: u64) -> i64 {
    i64::try_from(calls).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
