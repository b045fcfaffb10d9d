//! A world in which a history happens.
//!
//! It is played against the model. What it did to the limiter is a list of [`Call`]s with the model's answers, which the database tests repeat
//! with the SQL functions; what reached GHL is what the properties look at.
#![allow(clippy::indexing_slicing, reason = "acts name only locations that there are")]

use std::collections::BTreeMap;

use crate::history::{Act, Fate, LOCATIONS};
use crate::{Answer, Ask, Lane, Limiter, Limits, MS, Seen, Step};

/// What the limiter was asked, and what the model answered.
#[derive(Debug, Clone)]
pub struct Call {
    /// For which location.
    pub location: usize,
    /// What the database's clock showed, in microseconds.
    pub clock: i64,
    /// The call and its answer.
    pub what: What,
}

/// A call of the limiter with its answer.
#[derive(Debug, Clone)]
pub enum What {
    /// `acquire_slots`.
    Ask(Ask, Answer),
    /// `hand_back_slots`: the id, how many, how many were freed.
    HandBack(u64, i64, i64),
    /// `peek_slots`.
    Peek(Ask, Vec<Step>),
}

/// What is still to happen.
#[derive(Debug, Clone)]
enum Due {
    Send { location: usize, calls: i64 },
    AskAgain { location: usize, ask: Ask, first_at: i64, send_at: i64 },
    HandBack { location: usize, id: u64, unused: i64 },
}

/// One location's limiter, and GHL's side of it.
#[derive(Debug, Default, Clone)]
pub struct Place {
    /// The model.
    pub limiter: Limiter,
    /// When calls of ours reached GHL, in milliseconds of true time, and how many.
    pub sent: Vec<(i64, i64)>,
    /// When calls of other apps reached GHL.
    pub others: Vec<(i64, i64)>,
    /// Ids whose calls were sent or are about to be.
    used: Vec<u64>,
}

/// Callers, other apps, GHL and the clocks.
#[derive(Debug)]
pub struct World {
    limits: Limits,
    /// True time in milliseconds, and what the database's clock is off.
    now: i64,
    clock_off: i64,
    /// Each location.
    pub places: Vec<Place>,
    due: BTreeMap<(i64, u64), Due>,
    next_id: u64,
    /// Every call of a limiter.
    pub calls: Vec<Call>,
}

impl World {
    /// A world at rest.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let places = vec![Place::default(); LOCATIONS];
        // The clock shows something that can be set back.
        Self { limits, now: 0, clock_off: 1_000_000_000, places, due: BTreeMap::new(), next_id: 1, calls: Vec::new() }
    }

    /// Plays acts, and what follows of them.
    pub fn play(&mut self, acts: &[Act]) {
        for act in acts {
            self.act(act);
        }
        self.pass(10 * self.limits.window_ms + 30_000);
    }

    fn clock(&self) -> i64 {
        (self.now + self.clock_off) * MS
    }

    /// One act.
    pub fn act(&mut self, act: &Act) {
        match act {
            Act::Pass(ms) => self.pass(*ms),
            Act::SetBack(ms) => self.clock_off -= ms,
            Act::Others { location, calls } => {
                let free = self.limits.max - self.counted(*location, self.now);
                let calls = (*calls).min(free);
                if let Some(place) = self.places.get_mut(*location).filter(|_| calls > 0) {
                    place.others.push((self.now, calls));
                }
            }
            Act::Peek { location, wanted } => {
                let ask = self.plain(Lane::Bulk, *wanted);
                let clock = self.clock();
                let Some(place) = self.places.get_mut(*location) else { return };
                let steps = place.limiter.peek(clock, &ask);
                self.calls.push(Call { location: *location, clock, what: What::Peek(ask, steps) });
            }
            Act::Ask { location, lane, wanted, remaining, margin_ms, tells, fate } => {
                let seen = tells.and_then(|took| self.seen(*location, took)).unwrap_or_default();
                let ask = Ask { remaining: *remaining, margin_ms: *margin_ms, seen, ..self.plain(*lane, *wanted) };
                self.first_ask(*location, ask, fate);
            }
        }
    }

    /// A request without anything particular, with an id of its own.
    pub fn plain(&mut self, lane: Lane, wanted: i64) -> Ask {
        self.next_id += 1;
        let limits = self.limits;
        Ask { id: Some(self.next_id), lane, wanted, remaining: None, margin_ms: 250, limits, seen: Seen::default() }
    }

    /// Asks now.
    pub fn ask(&mut self, location: usize, ask: &Ask) -> Answer {
        let clock = self.clock();
        let answer = self.places[location].limiter.ask(clock, ask);
        self.calls.push(Call { location, clock, what: What::Ask(*ask, answer) });
        answer
    }

    fn first_ask(&mut self, location: usize, ask: Ask, fate: &Fate) {
        let answer = self.ask(location, &ask);
        let id = ask.id.unwrap_or(0);
        let after = |thousandths: i64| self.now + thousandths * ask.margin_ms / 1_000;
        match fate {
            Fate::Used(at) => self.send(location, id, after(*at), answer.granted),
            Fate::PartlyUsed { at, unused, back_at, times } => {
                let unused = (*unused).min(answer.granted);
                let (at, back_at) = (after(*at), after(*back_at));
                self.send(location, id, at, answer.granted - unused);
                for _ in 0..*times {
                    self.plan(back_at, Due::HandBack { location, id, unused });
                }
            }
            Fate::Lost { again_at, at } => {
                let (first_at, send_at) = (self.now, after(*at));
                for again_at in again_at.iter().map(|at| after(*at)).collect::<Vec<_>>() {
                    self.plan(again_at, Due::AskAgain { location, ask, first_at, send_at });
                }
            }
            Fate::Dies(None) => {}
            Fate::Dies(Some(at)) => self.send(location, id, after(*at), answer.granted),
        }
    }

    fn send(&mut self, location: usize, id: u64, at: i64, calls: i64) {
        if calls > 0 {
            self.places[location].used.push(id);
            self.plan(at, Due::Send { location, calls });
        }
    }

    fn plan(&mut self, at: i64, due: Due) {
        self.next_id += 1;
        self.due.insert((at.max(self.now), self.next_id), due);
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while let Some(first) = self.due.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), due) = first.remove_entry();
            self.now = at;
            self.happen(due);
        }
        self.now = until;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Send { location, calls } => self.places[location].sent.push((self.now, calls)),
            Due::HandBack { location, id, unused } => self.hand_back(location, id, unused),
            Due::AskAgain { location, ask, first_at, send_at } => {
                // What it tells has grown older, too.
                let age_ms = ask.seen.age_ms.map(|age| age + self.now - first_at);
                let answer = self.ask(location, &Ask { seen: Seen { age_ms, ..ask.seen }, ..ask });
                let (id, is_late) = (ask.id.unwrap_or(0), self.now > first_at + ask.margin_ms);
                if self.places[location].used.contains(&id) || answer.granted == 0 {
                    return;
                }
                if is_late {
                    self.hand_back(location, id, answer.granted);
                } else {
                    self.send(location, id, send_at.max(self.now), answer.granted);
                }
            }
        }
    }

    fn hand_back(&mut self, location: usize, id: u64, unused: i64) {
        let clock = self.clock();
        let freed = self.places[location].limiter.hand_back(clock, id, unused);
        self.calls.push(Call { location, clock, what: What::HandBack(id, unused, freed) });
    }

    /// What GHL has counted at a moment.
    fn counted(&self, location: usize, at: i64) -> i64 {
        let window = self.limits.window_ms;
        let place = &self.places[location];
        let in_window = place.sent.iter().chain(&place.others).filter(|(sent, _)| *sent <= at && *sent > at - window);
        in_window.map(|(_, calls)| calls).sum()
    }

    /// What GHL said to the last call that has been answered, if each takes so long: it counted in the middle.
    fn seen(&self, location: usize, took_ms: i64) -> Option<Seen> {
        let answered = self.places[location].sent.iter().filter(|(sent, _)| sent + took_ms <= self.now);
        let sent = answered.map(|(sent, _)| *sent).max()?;
        let remaining = (self.limits.max - self.counted(location, sent + took_ms / 2)).max(0);
        let age_ms = Some(self.now - sent - took_ms);
        let (max, took_ms) = (Some(self.limits.max), Some(took_ms));
        Some(Seen { max, remaining: Some(remaining), age_ms, took_ms, ..Seen::default() })
    }
}
