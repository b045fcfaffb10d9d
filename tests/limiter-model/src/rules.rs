//! Which calls are granted. Every rule is evaluated anew from the list of grants, at whatever moment is asked about.

use crate::{MS, Seen};

/// What the idle lane of webhooks always finds free.
pub const IDLE_RESERVE: i64 = 2;

/// Who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Runs.
    Bulk,
    /// Webhooks and single syncs.
    Priority,
}

/// The limit's configuration, as a request brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls per window until GHL has said otherwise.
    pub max: i64,
    /// GHL's window, in milliseconds.
    pub window_ms: i64,
    /// Calls of the day's budget that runs leave.
    pub daily_reserve: i64,
}

impl Limits {
    /// The window in microseconds.
    #[must_use]
    pub const fn window(self) -> i64 {
        self.window_ms * MS
    }

    /// A third of a window, in which bulk takes a third of the maximum.
    const fn third(self) -> i64 {
        self.window_ms / 3 * MS
    }

    /// How long what somebody asked for is remembered after it could have been granted: 2 s of GHL's window.
    const fn noted(self) -> i64 {
        self.window_ms / 5 * MS
    }
}

/// A request for calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The caller's name for what it is granted: asked again, it gets the same. A former version gives none.
    pub id: Option<u64>,
    /// Who is asking.
    pub lane: Lane,
    /// How many calls.
    pub wanted: i64,
    /// Calls that the caller's run has still to make, where that is known.
    pub remaining: Option<i64>,
    /// How long after the grant the caller may still send, in milliseconds.
    pub margin_ms: i64,
    /// The configuration.
    pub limits: Limits,
    /// What GHL has said.
    pub seen: Seen,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Calls that may be sent until `granted_at` and the caller's margin.
    pub granted: i64,
    /// When they were granted.
    pub granted_at: i64,
    /// Milliseconds until one more could be granted to this lane; 0 if all were.
    pub wait_ms: i64,
    /// What is left of the day's budget, as last seen.
    pub daily_remaining: Option<i64>,
    /// Bulk gets nothing more today.
    pub budget_exhausted: bool,
}

/// From a moment on, so many calls could be granted at once, if nobody else asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// From now, in milliseconds.
    pub in_ms: i64,
    /// How many calls.
    pub calls: i64,
}

/// Calls that were granted together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    pub(crate) id: Option<u64>,
    pub(crate) lane: Lane,
    pub(crate) calls: i64,
    pub(crate) at: i64,
    /// The last one sent leaves GHL's window then.
    pub(crate) until: i64,
    pub(crate) handed_back: bool,
}

/// What a caller asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    id: Option<u64>,
    lane: Lane,
    calls: i64,
    until: i64,
}

/// Calls of other apps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign {
    pub(crate) at: i64,
    pub(crate) calls: i64,
}

/// The limiter of one location.
#[derive(Debug, Clone, Default)]
pub struct Limiter {
    pub(crate) grants: Vec<Grant>,
    pub(crate) foreign: Vec<Foreign>,
    asked: Vec<Asked>,
    last_at: i64,
    pub(crate) learned_max: Option<i64>,
    pub(crate) closed_until: i64,
    pub(crate) daily: Option<(i64, i64)>,
}

/// Notes are kept of so many asks at most.
const MOST_ASKED: usize = 100;
/// The next steps that are told.
const MOST_STEPS: usize = 32;
/// A day's budget is believed for so long, and one call asks for a newer one after so long.
const DAY: i64 = 86_400_000 * MS;
const ASK_FOR_THE_BUDGET_AFTER: i64 = 600_000 * MS;

impl Limiter {
    /// Grants as many of the wanted calls as are free now.
    pub fn ask(&mut self, clock: i64, ask: &Ask) -> Answer {
        let now = self.tick(clock);
        self.forget(now, ask.limits);
        self.observe(now, ask);
        let (daily_remaining, exhausted) = self.budget(now, ask);

        let known = ask.id.and_then(|id| self.grants.iter().find(|grant| grant.id == Some(id) && grant.until > now));
        let (granted, granted_at) = match known {
            Some(known) => (known.calls, known.at),
            None => {
                let mut granted = ask.wanted.min(self.free(now, ask));
                if self.closed_until > now {
                    granted = 0;
                }
                match exhausted {
                    Some(Exhausted::Closed) => granted = 0,
                    Some(Exhausted::OneAsks) => granted = granted.min(1),
                    None => {}
                }
                if granted > 0 {
                    let until = now + ask.margin_ms * MS + ask.limits.window();
                    let grant =
                        Grant { id: ask.id, lane: ask.lane, calls: granted, at: now, until, handed_back: false };
                    self.grants.push(grant);
                }
                (granted, now)
            }
        };
        let again_at = if granted < ask.wanted { self.again_at(now, ask) } else { now };
        self.note(now, again_at, granted, ask);
        Answer {
            granted,
            granted_at,
            wait_ms: if granted < ask.wanted { in_ms(now, again_at).max(1) } else { 0 },
            daily_remaining,
            budget_exhausted: exhausted == Some(Exhausted::Closed),
        }
    }

    /// Frees calls of a grant that will never be sent: once, and only while they are taken. Returns how many.
    pub fn hand_back(&mut self, clock: i64, id: u64, unused: i64) -> i64 {
        let now = self.last_at.max(clock);
        let of_it = |grant: &&mut Grant| grant.id == Some(id) && grant.until > now && !grant.handed_back;
        let Some(grant) = self.grants.iter_mut().find(of_it).filter(|_| unused > 0) else { return 0 };
        let freed = unused.min(grant.calls);
        grant.calls -= freed;
        grant.handed_back = true;
        self.last_at = now;
        freed
    }

    /// What could be granted to a caller now and later, if nobody asked in between. Grants nothing, but what a run still wants is noted, so
    /// that webhooks leave it its quarter.
    pub fn peek(&mut self, clock: i64, ask: &Ask) -> Vec<Step> {
        let now = self.tick(clock);
        self.forget(now, ask.limits);
        let is_exhausted = self.budget(now, ask).1 == Some(Exhausted::Closed);
        let opens_at = self.closed_until.max(now);
        let mut moments = self.moments(now, ask);
        moments.retain(|at| *at == now || *at > opens_at);
        moments.push(opens_at);
        moments.sort_unstable();
        let mut steps = Vec::new();
        let mut most = -1;
        for at in moments {
            let calls = if at < opens_at || is_exhausted { 0 } else { self.free(at, ask) };
            if calls > most {
                steps.push(Step { in_ms: in_ms(now, at), calls });
                most = calls;
            }
        }
        steps.truncate(MOST_STEPS);
        if ask.lane == Lane::Bulk {
            let again_at = self.again_at(now, ask);
            self.note(now, again_at, 0, &Ask { id: None, ..*ask });
        }
        steps
    }

    /// What was granted and is still remembered, and what other apps called: to whom (`None`: others), how many calls, when, and until when
    /// they take slots. What dashboards are told comes of it.
    pub fn calls(&self, limits: Limits) -> impl Iterator<Item = (Option<Lane>, i64, i64, i64)> {
        let granted = self.grants.iter().map(|grant| (Some(grant.lane), grant.calls, grant.at, grant.until));
        granted.chain(self.foreign.iter().map(move |calls| (None, calls.calls, calls.at, calls.at + limits.window())))
    }

    /// The database's time: never below the last one, so that a clock set back opens no second window.
    fn tick(&mut self, clock: i64) -> i64 {
        self.last_at = self.last_at.max(clock);
        self.last_at
    }

    /// Keeps what may still be needed to explain what GHL has counted, which is twice as long as it takes slots.
    fn forget(&mut self, now: i64, limits: Limits) {
        self.grants.retain(|grant| grant.until + (grant.until - grant.at) > now);
        self.foreign.retain(|calls| calls.at + 2 * limits.window() > now);
        self.asked.retain(|asked| asked.until > now);
    }

    /// How many calls could be granted to this caller at a moment.
    fn free(&self, at: i64, ask: &Ask) -> i64 {
        let limits = ask.limits;
        let max = self.learned_max.unwrap_or(limits.max).max(1);
        let held = |lane: Option<Lane>| -> i64 {
            let of_lane = self.grants.iter().filter(|grant| lane.is_none_or(|lane| grant.lane == lane));
            of_lane.filter(|grant| grant.until > at).map(|grant| grant.calls).sum()
        };
        let others: i64 =
            self.foreign.iter().filter(|calls| calls.at + limits.window() > at).map(|calls| calls.calls).sum();
        let wished = |lane: Lane| -> i64 {
            let of_lane = self.asked.iter().filter(|asked| asked.lane == lane);
            of_lane.filter(|asked| asked.until > at).map(|asked| asked.calls).sum()
        };
        let free = max - held(None) - others;
        // Of what other apps leave, bulk always keeps a quarter.
        let quarter = (max - others).max(0) / 4;
        let bulk = held(Some(Lane::Bulk));
        let calls = match ask.lane {
            Lane::Priority => free - wished(Lane::Bulk).min((quarter - bulk).max(0)),
            Lane::Bulk => {
                let reserve = IDLE_RESERVE.max(wished(Lane::Priority) + 1);
                let calls = free.min((free - reserve).max(quarter.max(1) - bulk));
                let nearly_done = ask.remaining.is_some_and(|remaining| remaining < 2 * max);
                if nearly_done {
                    calls
                } else {
                    let lately = self.grants.iter().filter(|grant| grant.lane == Lane::Bulk);
                    let lately: i64 =
                        lately.filter(|grant| grant.at + limits.third() > at).map(|grant| grant.calls).sum();
                    calls.min((max / 3).max(1) - lately)
                }
            }
        };
        calls.max(0)
    }

    /// The moments at which more may become free, and now.
    fn moments(&self, now: i64, ask: &Ask) -> Vec<i64> {
        let limits = ask.limits;
        let grants = self.grants.iter().flat_map(|grant| [grant.until, grant.at + limits.third()]);
        let others = self.foreign.iter().map(|calls| calls.at + limits.window());
        let mut moments: Vec<i64> =
            grants.chain(others).chain(self.asked.iter().map(|asked| asked.until)).filter(|at| *at > now).collect();
        moments.push(now);
        moments.sort_unstable();
        moments
    }

    /// When one more could be granted.
    fn again_at(&self, now: i64, ask: &Ask) -> i64 {
        let at = self.moments(now, ask).into_iter().find(|at| self.free(*at, ask) > 0);
        at.unwrap_or(now).max(self.closed_until)
    }

    /// Remembers what was asked for: all that webhooks want, since more of them may follow, and what a run didn't get.
    fn note(&mut self, now: i64, again_at: i64, granted: i64, ask: &Ask) {
        if let Some(id) = ask.id {
            self.asked.retain(|asked| asked.id != Some(id));
        }
        let calls = match ask.lane {
            Lane::Priority => ask.wanted,
            Lane::Bulk => ask.wanted - granted,
        };
        if calls > 0 {
            let until = again_at.max(now) + ask.limits.noted();
            self.asked.push(Asked { id: ask.id, lane: ask.lane, calls, until });
        }
        let superfluous = self.asked.len().saturating_sub(MOST_ASKED);
        self.asked.drain(..superfluous);
    }

    fn budget(&self, now: i64, ask: &Ask) -> (Option<i64>, Option<Exhausted>) {
        let Some((remaining, at)) = self.daily.filter(|(_, at)| *at > now - DAY) else { return (None, None) };
        if ask.lane == Lane::Priority || remaining >= ask.limits.daily_reserve {
            return (Some(remaining), None);
        }
        let is_fresh = at > now - ASK_FOR_THE_BUDGET_AFTER;
        (Some(remaining), Some(if is_fresh { Exhausted::Closed } else { Exhausted::OneAsks }))
    }
}

/// What is left of the day's budget is the reserve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exhausted {
    Closed,
    /// What was seen is old, and one call finds out.
    OneAsks,
}

fn in_ms(now: i64, at: i64) -> i64 {
    (at - now + MS - 1).div_euclid(MS).max(0)
}
