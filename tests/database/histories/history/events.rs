//! What can happen to an order.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::{History, Step};
use crate::histories::ghl::{Changes, Payment, Read};
use crate::histories::row::{PATIENCE, Row};
use crate::histories::tickets::{Seen, Ticket};

impl History {
    pub(super) fn begin_with_the_original_app(&mut self) -> Step {
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
    pub(super) fn event(&mut self, seen: &Seen) -> Option<Step> {
        // Nothing that a person does, while it is quiet.
        match self.random.random_range(0..if self.changes == Changes::All { 55 } else { 36 }) {
            0..=9 => {
                let what = self.ghl.edit(&mut self.random, self.changes);
                self.went_back |= what == "updatedAt back from the future";
                self.note(what, format!(": {:?}", self.ghl));
                None
            }
            10..=18 => {
                self.second += 1;
                let mut read = self.ghl.read(self.second);
                read.spoil(&mut self.random, self.changes);
                read.force &= self.changes == Changes::All;
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
            36..=38 => self.scan(seen),
            39..=40 => self.decide("undo_ticket", seen),
            48..=49 => self.scan_again(seen),
            50..=51 => self.by_hand("cancel_ticket", seen),
            52..=53 => self.by_hand("reinstate_ticket", seen),
            54 => self.forget(seen),
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
    pub(super) fn upsert(&mut self, read: Read, hands_over: f64) -> Step {
        Step::Upsert { read, then_reconcile: self.random.random_bool(hands_over) }
    }

    fn some_ticket<'a>(&mut self, seen: &'a Seen) -> Option<&'a Ticket> {
        seen.tickets.choose(&mut self.random)
    }

    /// Scanners of before don't name their scans.
    fn scan(&mut self, seen: &Seen) -> Option<Step> {
        let ticket = self.some_ticket(seen)?.id;
        let scan_id = self.random.random_bool(0.7).then(|| self.scans.next_id(self.seed));
        Some(Step::Scan { function: "validate_ticket", ticket, scan_id })
    }

    /// A scan of before, now and then of another ticket: its answer was lost, a copy comes late, or a scanner errs.
    fn scan_again(&mut self, seen: &Seen) -> Option<Step> {
        let (scan_id, scanned) = self.scans.choose(&mut self.random)?;
        let other = self.random.random_bool(0.1).then(|| self.some_ticket(seen).map(|ticket| ticket.id));
        let ticket = other.flatten().unwrap_or(scanned);
        let is_there = seen.tickets.iter().any(|it| it.id == ticket);
        is_there.then_some(Step::Scan { function: "validate_ticket", ticket, scan_id: Some(scan_id) })
    }

    /// Sometimes before anything of the order is stored.
    fn forget(&mut self, seen: &Seen) -> Option<Step> {
        let what = if seen.tells_buyer { "somebody is forgotten" } else { "somebody unknown is forgotten" };
        self.note(what, "");
        self.forgotten = true;
        self.before_forgetting = Some(seen.tickets.clone());
        Some(Step::Forget)
    }

    fn decide(&mut self, function: &'static str, seen: &Seen) -> Option<Step> {
        Some(Step::Scan { function, ticket: self.some_ticket(seen)?.id, scan_id: None })
    }

    /// Often the same again, as somebody does who got no answer, or another decision about the same ticket.
    fn by_hand(&mut self, function: &'static str, seen: &Seen) -> Option<Step> {
        let before = self.by_hand.filter(|(_, ticket)| seen.tickets.iter().any(|it| it.id == *ticket));
        let (function, ticket) = match (self.random.random_range(0..10), before) {
            (0..=4, Some(before)) => before,
            (5..=7, Some((_, ticket))) => (function, ticket),
            _ => (function, self.some_ticket(seen)?.id),
        };
        self.by_hand = Some((function, ticket));
        Some(Step::Scan { function, ticket, scan_id: None })
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
            self.scans.touched(ticket.id);
        }
        Some(Step::Set { ticket: ticket.id, status })
    }

    /// The reads that are to arrive, in any order, the newest among them. A stamp that went back is only believed later.
    pub(super) fn everything_under_way(&mut self) -> Vec<Read> {
        self.second += 1;
        let mut last = self.ghl.read(self.second);
        if self.random.random_bool(0.2) {
            let whole = last.clone();
            last.spoil(&mut self.random, self.changes);
            last = Read { stamp: whole.stamp, valid: true, remember_only: false, ..last };
        } else {
            last.force = self.random.random_bool(0.1) && self.changes == Changes::All;
            let tells_all = self.ghl.shows_all() && last.payment != Payment::Unknown;
            self.decisive = (tells_all && (last.force || !last.lines.is_empty())).then(|| last.clone());
        }
        last.force &= self.changes == Changes::All;
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
