//! One history: chooses what happens next, by its own seed alone, and checks what it is shown.

use std::collections::BTreeMap;
use std::fmt::Display;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::ghl::{GhlOrder, Read};
use super::row::{PATIENCE, Row};
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
    Scan {
        function: &'static str,
        ticket: i32,
    },
    /// A plain UPDATE, by the original app's scanner or by a person in the table editor.
    Set {
        ticket: i32,
        status: &'static str,
    },
    Delete {
        ticket: i32,
    },
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
    /// Just now by the gate.
    admitted: Option<i32>,
    /// A pulse just found it not due.
    not_due: bool,
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
            admitted: None,
            not_due: false,
            random,
        }
    }

    fn note(&mut self, what: &'static str, details: impl Display) {
        *self.met.entry(what).or_default() += 1;
        self.log.push(format!("{what}{details}"));
    }

    /// What happens next with the order as it is now in the database; nothing at the end of the third rest.
    pub(super) fn next(&mut self, seen: &Seen) -> Result<Option<Step>, String> {
        self.tickets.meet(seen)?;
        if let Some(ticket) = self.admitted.take() {
            self.tickets.check_admission(&self.row, seen, ticket)?;
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
                    if self.decisive.take().is_some_and(|read| !self.row.is_as_in(&read)) {
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
                    self.rests += 1;
                    if self.rests == 3 {
                        return Ok(None);
                    }
                    self.phase = Phase::Events(self.random.random_range(1..12));
                }
            }
        }
    }

    fn begin_with_the_original_app(&mut self) -> Step {
        let mut ticket = || {
            let label = ["VIP", " vip", "Regular", "Late", "Unknown"].choose(&mut self.random).expect("not empty");
            let statuses = ["live", "live", "live", "used", "validated", "cancelled", "lost at the door"];
            (*label, *statuses.choose(&mut self.random).expect("not empty"))
        };
        let tickets: Vec<_> = (0..6).map(|_| ticket()).collect();
        let tickets = tickets[..self.random.random_range(1..=6)].to_vec();
        let mut quantities = BTreeMap::new();
        for (label, _) in &tickets {
            *quantities.entry(*label).or_default() += 1;
        }
        self.row = Row::of_the_original_app(quantities.clone());
        self.note("begins with tickets of the original app", format!(": {tickets:?}"));
        Step::Insert { order: Some(quantities), tickets }
    }

    /// None if the database sees nothing of it.
    fn event(&mut self, seen: &Seen) -> Option<Step> {
        match self.random.random_range(0..48) {
            0..=9 => {
                let what = self.ghl.edit(&mut self.random);
                self.went_back |= what == "updatedAt back from the future";
                self.note(what, format!(": {:?}", self.ghl));
                None
            }
            10..=18 => {
                self.second += 1;
                let mut read = self.ghl.read(self.second);
                read.spoil(&mut self.random);
                self.note("read", format!(": {read:?}"));
                self.reads.push(read);
                None
            }
            19..=28 => self.upsert_some_read(),
            29 => {
                if self.reads.pop().is_some() {
                    self.note("a worker dies with the newest read", "");
                }
                None
            }
            30 => {
                self.second += PATIENCE + 1;
                self.note("time passes", "");
                None
            }
            31..=32 => Some(Step::Reconcile),
            33..=35 => Some(Step::Dispatch),
            36..=38 => self.scan("validate_ticket", seen),
            39..=40 => self.scan("undo_ticket", seen),
            41..=42 => self.somebody_sets("used", seen),
            43..=44 => self.somebody_sets("cancelled", seen),
            45 => self.somebody_sets("live", seen),
            46 => {
                // Its tickets refer to a row of the orders.
                seen.order_version?;
                let label = *["VIP", "Late", "Unknown"].choose(&mut self.random).expect("not empty");
                self.note("the original app adds a ticket", format!(": {label}"));
                Some(Step::Insert { order: None, tickets: vec![(label, "live")] })
            }
            _ => {
                let ticket = self.some_ticket(seen)?.id;
                self.note("somebody deletes", format!(" {}", self.tickets.number(ticket)));
                self.tickets.delete(ticket);
                Some(Step::Delete { ticket })
            }
        }
    }

    /// One of the reads, not always the oldest, and not always for the last time.
    fn upsert_some_read(&mut self) -> Option<Step> {
        let which = self.random.random_range(0..self.reads.len().max(1));
        let read = self.reads.get(which)?.clone();
        if self.random.random_bool(0.7) {
            self.reads.swap_remove(which);
        }
        Some(self.upsert(read, 0.5))
    }

    /// Hands over with this probability, else its worker dies before.
    fn upsert(&mut self, read: Read, hands_over: f64) -> Step {
        Step::Upsert { read, then_reconcile: self.random.random_bool(hands_over) }
    }

    fn some_ticket<'a>(&mut self, seen: &'a Seen) -> Option<&'a Ticket> {
        seen.tickets.choose(&mut self.random)
    }

    fn scan(&mut self, function: &'static str, seen: &Seen) -> Option<Step> {
        Some(Step::Scan { function, ticket: self.some_ticket(seen)?.id })
    }

    fn somebody_sets(&mut self, status: &'static str, seen: &Seen) -> Option<Step> {
        let ticket = self.some_ticket(seen)?;
        // The original's scanner looks before it writes; nobody revives a ticket that was scanned.
        if status == "used" && ticket.status != "live" || status == "live" && ticket.status != "cancelled" {
            return None;
        }
        self.note("somebody sets", format!(" {} to {status}", self.tickets.number(ticket.id)));
        if ticket.status != status {
            self.tickets.hold(ticket.id, (status != "live").then_some(status));
        }
        Some(Step::Set { ticket: ticket.id, status })
    }

    /// The reads that are to arrive, in any order, the newest among them. A stamp that went back is only believed later.
    fn everything_under_way(&mut self) -> Vec<Read> {
        self.second += 1;
        let mut last = self.ghl.read(self.second);
        if self.random.random_bool(0.2) {
            let whole = last.clone();
            last.spoil(&mut self.random);
            last = Read { stamp: whole.stamp, valid: true, remember_only: false, ..last };
        } else {
            last.force = self.random.random_bool(0.1);
            self.decisive = (last.force || !last.lines.is_empty()).then(|| last.clone());
        }
        self.note("last read", format!(": {last:?}"));
        let mut reads = std::mem::take(&mut self.reads);
        reads.push(last.clone());
        reads.shuffle(&mut self.random);
        if std::mem::take(&mut self.went_back) {
            self.second += PATIENCE + 1;
            reads.insert(0, Read { at: self.second, ..last });
        }
        reads
    }
}

/// What the database answered.
impl History {
    pub(super) fn upserted(&mut self, read: &Read, answer: &Value) -> Result<(), String> {
        let codes = answer["issues"].as_array().map(Vec::as_slice).unwrap_or_default();
        let codes: Vec<_> = codes.iter().filter_map(|issue| issue["code"].as_str()).collect();
        let (result, issues) = self.row.upsert(read);
        self.note(result, format!(": upsert of the read at {}, answered {} {codes:?}", read.at, answer["result"]));
        for issue in &issues {
            *self.met.entry(issue).or_default() += 1;
        }
        // A read that writes nothing says nothing of importance.
        let is_applied = ["written", "unchanged"].contains(&result) && !read.remember_only;
        if answer["result"] == result && (!is_applied || codes == issues) {
            return Ok(());
        }
        Err(format!("the upsert should answer {result} {issues:?}"))
    }

    pub(super) fn reconciled(&mut self, answer: Option<&Value>) {
        let count = |key: &str| answer.and_then(|answer| answer[key].as_i64()).unwrap_or(0);
        let counts = ["added", "reinstated", "cancelled", "relabelled", "over_validated"].map(|key| (key, count(key)));
        for (key, count) in counts {
            *self.met.entry(key).or_default() += u64::try_from(count).unwrap_or(0);
        }
        self.note("reconciled", format!(": {counts:?}"));
    }

    /// What breaks the promise must be due.
    pub(super) fn dispatched(&mut self, due: bool, out_of_step: Option<&Value>) -> Result<(), String> {
        self.note(if due { "due" } else { "not due" }, "");
        self.not_due = !due;
        match out_of_step {
            Some(line) if !due => return Err(format!("out of step and not due: {line}")),
            _ if due => {}
            _ if matches!(self.phase, Phase::Pulses(_)) => self.phase = Phase::AtRest,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn scanned(&mut self, ticket: i32, answer: &Value) -> Result<(), String> {
        let number = self.tickets.number(ticket);
        match answer["result"].as_str() {
            Some("admitted") => {
                self.note("admitted", format!(" {number}"));
                self.tickets.hold(ticket, Some("validated"));
                self.admitted = Some(ticket);
            }
            Some("undone") => {
                self.note("undone", format!(" {number}"));
                self.tickets.hold(ticket, None);
            }
            Some("already_validated") => self.note("a second scan", format!(" of {number}")),
            Some("cancelled") => self.note("refused", format!(" {number}")),
            Some("not_validated") => self.note("nothing to undo", format!(" of {number}")),
            _ => return Err(format!("the gate answered {answer}")),
        }
        Ok(())
    }
}
