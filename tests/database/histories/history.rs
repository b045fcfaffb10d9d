//! One history: chooses what happens next, by its own seed alone, and checks what it is shown.

mod answers;
mod events;
mod scans;

use std::collections::BTreeMap;
use std::fmt::Display;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::scans::Scans;
use super::ghl::{Changes, GhlOrder, Read};
use super::row::Row;
use super::tickets::{Seen, Ticket, Tickets};

/// What a history asks of the database.
pub(super) enum Step {
    /// The original app inserts tickets, each with label and status, and before the first its order.
    Insert {
        order: Option<BTreeMap<&'static str, u32>>,
        tickets: Vec<(&'static str, &'static str)>,
    },
    /// The order worker upserts, and unless it dies hands over.
    Upsert {
        read: Read,
        then_reconcile: bool,
    },
    Reconcile,
    /// A pulse: reconciles the order if it is due.
    Dispatch,
    /// The gate, or an admin by hand.
    Scan {
        function: &'static str,
        ticket: i32,
        scan_id: Option<String>,
    },
    /// A plain UPDATE, by the original app's scanner or by a person in the table editor.
    Set {
        ticket: i32,
        status: &'static str,
    },
    Delete {
        ticket: i32,
    },
    /// An admin has the order's buyer forgotten.
    Forget,
}

enum Phase {
    /// So many events are still to come.
    Events(u32),
    /// Everything under way arrives, the last first.
    Arriving(Vec<Read>),
    /// So many pulses came.
    Pulses(u32),
    AtRest,
    /// It was reconciled once more than needed.
    Again(Seen),
}

pub(super) struct History {
    pub(super) seed: u64,
    pub(super) order_id: String,
    pub(super) log: Vec<String>,
    /// How often what happened.
    pub(super) met: BTreeMap<&'static str, u64>,
    random: StdRng,
    second: u32,
    ghl: GhlOrder,
    row: Row,
    tickets: Tickets,
    /// Reads whose upsert hasn't happened yet, or will happen again.
    reads: Vec<Read>,
    /// GHL's updatedAt went back since the last rest.
    went_back: bool,
    /// The last read before the rest, if it tells all that GHL has.
    decisive: Option<Read>,
    phase: Phase,
    rests: u32,
    /// Until the next rest. Unless all may change, no person touches the order, and at the rest it has the tickets that it had at
    /// the last one.
    changes: Changes,
    /// The tickets of the last rest, if the row told what GHL had.
    tickets_at_rest: Option<BTreeMap<i32, String>>,
    /// Just now by the gate.
    admitted: Option<i32>,
    /// Just now by hand: whether it was done, or refused for want of a place.
    reinstated: Option<(i32, bool)>,
    scans: Scans,
    /// What an admin last did, and to which ticket.
    by_hand: Option<(&'static str, i32)>,
    /// A pulse just found it not due.
    not_due: bool,
    /// Nobody may know its buyer any more.
    forgotten: bool,
    /// The tickets as they were before the buyer was forgotten just now.
    before_forgetting: Option<Vec<Ticket>>,
}

impl History {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        Self {
            seed,
            order_id: format!("history {seed}"),
            log: Vec::new(),
            met: BTreeMap::new(),
            second: 0,
            ghl: GhlOrder::new(&mut random),
            row: Row::default(),
            tickets: Tickets::default(),
            reads: Vec::new(),
            went_back: false,
            decisive: None,
            phase: Phase::Events(random.random_range(1..12)),
            rests: 0,
            changes: Changes::All,
            tickets_at_rest: None,
            admitted: None,
            reinstated: None,
            scans: Scans::default(),
            by_hand: None,
            not_due: false,
            forgotten: false,
            before_forgetting: None,
            random,
        }
    }

    fn note(&mut self, what: &'static str, details: impl Display) {
        *self.met.entry(what).or_default() += 1;
        self.log.push(format!("{what}{details}"));
    }

    fn choose_changes(&mut self) {
        self.changes = Changes::All;
        if self.tickets_at_rest.is_none() || self.random.random_bool(0.4) {
            return;
        }
        if self.ghl.true_lines().is_some_and(|lines| self.row.knows(&lines)) {
            self.note("from now on only ids vanish and come back", "");
            self.changes = Changes::WhatIsShown;
        } else {
            // Not one after the other: in between, nobody could tell which of the line's tickets are whose.
            self.note("from now on all ids are there", "");
            self.ghl.show_all();
            self.changes = Changes::Names;
        }
    }

    /// No ticket's number changes unless a person or a quantity changed it.
    fn check_numbers(&mut self, seen: &Seen) -> Result<(), String> {
        let now = Tickets::statuses(seen);
        let is_right = self.ghl.true_lines().is_some_and(|lines| self.row.agrees_with(&lines))
            && seen.tickets.iter().all(|ticket| ticket.identity.is_some())
            && self.tickets.held_are_of(self.row.lines().unwrap_or_default(), seen);
        let before = std::mem::replace(&mut self.tickets_at_rest, is_right.then(|| now.clone()));
        let Some(before) = before.filter(|_| self.changes != Changes::All) else { return Ok(()) };
        self.note("numbers compared", "");
        if before == now { Ok(()) } else { Err(format!("other tickets than before: {before:?}")) }
    }

    /// What happens next with the order as it is now in the database; nothing at the end of the third rest.
    pub(super) fn next(&mut self, seen: &Seen) -> Result<Option<Step>, String> {
        let taken_on = self.tickets.meet(seen)?;
        if taken_on > 0 {
            *self.met.entry("taken on").or_default() += taken_on;
        }
        self.row.has_original_tickets = seen.tickets.iter().any(|ticket| ticket.identity.is_none());
        if let Some(ticket) = self.admitted.take() {
            self.tickets.check_admission(&self.row, seen, ticket)?;
        }
        if let Some((ticket, done)) = self.reinstated.take() {
            self.tickets.check_reinstating(&self.row, seen, ticket, done)?;
        }
        if self.forgotten && seen.tells_buyer {
            return Err("somebody forgotten is remembered".to_owned());
        }
        if self.before_forgetting.take().is_some_and(|before| before != seen.tickets) {
            return Err("tickets changed because their buyer was forgotten".to_owned());
        }
        if std::mem::take(&mut self.not_due) {
            self.tickets.check(&self.row, seen)?;
        }
        if self.log.is_empty() && self.random.random_bool(0.3) {
            return Ok(Some(self.begin_with_the_original_app()));
        }
        loop {
            match std::mem::replace(&mut self.phase, Phase::AtRest) {
                Phase::Events(0) => self.phase = Phase::Arriving(self.everything_under_way()),
                Phase::Events(left) => {
                    self.phase = Phase::Events(left - 1);
                    if let Some(step) = self.event(seen) {
                        return Ok(Some(step));
                    }
                }
                Phase::Arriving(mut reads) => match reads.pop() {
                    None => self.phase = Phase::Pulses(0),
                    Some(read) => {
                        self.phase = Phase::Arriving(reads);
                        return Ok(Some(self.upsert(read, 0.3)));
                    }
                },
                Phase::Pulses(5) => return Err("still due after five pulses".to_owned()),
                Phase::Pulses(so_far) => {
                    self.phase = Phase::Pulses(so_far + 1);
                    return Ok(Some(Step::Dispatch));
                }
                Phase::AtRest => {
                    if self.decisive.take().is_some_and(|read| !self.row.is_unclear && !self.row.is_as_in(&read)) {
                        return Err(format!("the row isn't what GHL has: {:?}", self.ghl));
                    }
                    self.phase = Phase::Again(seen.clone());
                    return Ok(Some(Step::Reconcile));
                }
                Phase::Again(before) => {
                    if before != *seen {
                        return Err(format!("reconciling again changed {before:#?}"));
                    }
                    let tickets: Vec<_> = seen.tickets.iter().map(|it| (&it.label, &it.status, &it.identity)).collect();
                    let tickets = format!(" with {tickets:?}");
                    self.note("at rest", tickets);
                    self.check_numbers(seen)?;
                    self.rests += 1;
                    if self.rests == 3 {
                        return Ok(None);
                    }
                    self.choose_changes();
                    self.phase = Phase::Events(self.random.random_range(1..12));
                }
            }
        }
    }
}
