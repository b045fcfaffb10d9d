//! What must be true of the tickets, whatever happened.

use std::collections::BTreeMap;

use super::ghl::{Line, LineKey, line_key};
use super::row::Row;

/// A ticket as the database has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ticket {
    pub(super) id: i32,
    pub(super) status: String,
    pub(super) label: String,
    /// Product, price, ordinal; none before adoption.
    pub(super) identity: Option<(String, String, i32)>,
    /// Of its row, new with every update.
    pub(super) version: i64,
}

impl Ticket {
    fn line(&self) -> LineKey {
        let (product, price) = self.identity.as_ref().map_or(("", ""), |(product, price, _)| (product, price));
        line_key(product, price, &self.label)
    }
}

/// An order in the database.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Of the order's row, none if there is no such row.
    pub(super) order_version: Option<i64>,
    /// Whether the row tells who bought it.
    pub(super) tells_buyer: bool,
    /// By their ids.
    pub(super) tickets: Vec<Ticket>,
}

/// All tickets ever seen, and what people did to them.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    known: BTreeMap<i32, Known>,
}

#[derive(Debug)]
struct Known {
    /// First seen as which; 1, 2, ...: ids depend on who else inserts.
    number: usize,
    identity: Option<(String, String, i32)>,
    /// The status that a person gave it: not sync's to change.
    held: Option<String>,
    deleted: bool,
}

impl Tickets {
    pub(super) fn number(&self, id: i32) -> usize {
        self.known.get(&id).map_or(0, |known| known.number)
    }

    /// Somebody gives a ticket its status; None where sync may decide again.
    pub(super) fn hold(&mut self, id: i32, status: Option<&str>) {
        if let Some(known) = self.known.get_mut(&id) {
            known.held = status.map(str::to_owned);
        }
    }

    /// The status that a person gave it.
    pub(super) fn held(&self, id: i32) -> Option<&str> {
        self.known.get(&id)?.held.as_deref()
    }

    pub(super) fn delete(&mut self, id: i32) {
        if let Some(known) = self.known.get_mut(&id) {
            known.deleted = true;
        }
    }

    /// The tickets that aren't deleted, by their ids, with their status.
    pub(super) fn statuses(seen: &Seen) -> BTreeMap<i32, String> {
        seen.tickets.iter().map(|ticket| (ticket.id, ticket.status.clone())).collect()
    }

    /// What holds at every moment: what a person decided stays, ids that a ticket has are for ever, and no ticket disappears.
    /// Returns how many have other ids or another label without a price id.
    pub(super) fn meet(&mut self, seen: &Seen) -> Result<u64, String> {
        let mut taken_on = 0;
        for ticket in &seen.tickets {
            let number = self.known.len() + 1;
            let known = self.known.entry(ticket.id).or_insert_with(|| {
                // Only the original app inserts tickets that aren't live, and it knows no identities.
                let held = (ticket.identity.is_none() && ticket.status != "live").then(|| ticket.status.clone());
                Known { number, identity: ticket.identity.clone(), held, deleted: false }
            });
            match &known.held {
                Some(held) if *held != ticket.status => return Err(format!("{ticket:?} was {held}")),
                None if !["live", "cancelled"].contains(&ticket.status.as_str()) => {
                    return Err(format!("nobody made {ticket:?} what it is"));
                }
                _ => {}
            }
            if known.identity != ticket.identity
                && let Some((product, price, _)) = &known.identity
            {
                let is_kept = |before: &str, now: &str| before.is_empty() || before == now;
                let keeps = |(now_product, now_price, _): &(String, String, i32)| {
                    is_kept(product, now_product)
                        && is_kept(price, now_price)
                        && (product.is_empty() || price.is_empty())
                };
                if !ticket.identity.as_ref().is_some_and(keeps) {
                    return Err(format!("{ticket:?} was {:?}", known.identity));
                }
                taken_on += 1;
            }
            known.identity.clone_from(&ticket.identity);
        }
        for (id, known) in &self.known {
            if known.deleted == seen.tickets.iter().any(|ticket| ticket.id == *id) {
                return Err(format!("ticket {} is wrongly gone or back", known.number));
            }
        }
        Ok(taken_on)
    }

    /// What holds while nothing is due: the promise, and the names.
    pub(super) fn check(&self, row: &Row, seen: &Seen) -> Result<(), String> {
        let Some(lines) = row.lines() else { return Ok(()) };
        let mut counts = self.count(seen);
        for line in lines {
            let (live, held) = counts.remove(&line.key()).unwrap_or_default();
            let entitled = row.entitled(line);
            if live + held != entitled.max(held) {
                return Err(format!("{line:?}: {live} live + {held} held, entitled to {entitled}"));
            }
            let wrong_name = |ticket: &&Ticket| ticket.line() == line.key() && ticket.label != line.label;
            if let Some(ticket) = seen.tickets.iter().find(wrong_name) {
                return Err(format!("{ticket:?} isn't called {}", line.label));
            }
        }
        match counts.iter().find(|(_, (live, _))| *live > 0) {
            Some((line, (live, _))) => Err(format!("{live} live on {line:?}, which isn't on the order")),
            None => Ok(()),
        }
    }

    /// The gate admits nobody beyond what the order entitles to at that moment.
    pub(super) fn check_admission(&self, row: &Row, seen: &Seen, id: i32) -> Result<(), String> {
        let ticket = seen.tickets.iter().find(|ticket| ticket.id == id).ok_or("the admitted ticket is gone")?;
        let Some(lines) = row.lines() else { return Ok(()) };
        let entitled = lines.iter().find(|line| line.key() == ticket.line()).map_or(0, |line| row.entitled(line));
        let (_, held) = self.count(seen).remove(&ticket.line()).unwrap_or_default();
        if held > entitled {
            return Err(format!("{ticket:?} was admitted as number {held} of {entitled}"));
        }
        Ok(())
    }

    /// A reinstated ticket is live; one that wasn't has no place on its line, or sync has cancelled it.
    pub(super) fn check_reinstating(&self, row: &Row, seen: &Seen, id: i32, done: bool) -> Result<(), String> {
        let ticket = seen.tickets.iter().find(|ticket| ticket.id == id).ok_or("the reinstated ticket is gone")?;
        if done != (ticket.status == "live") {
            return Err(format!("{ticket:?} was reinstated: {done}"));
        }
        let Some(lines) = row.lines() else {
            return if done { Ok(()) } else { Err(format!("{ticket:?} isn't sync's to keep")) };
        };
        let entitled = lines.iter().find(|line| line.key() == ticket.line()).map_or(0, |line| row.entitled(line));
        let (live, held) = self.count(seen).remove(&ticket.line()).unwrap_or_default();
        if !done && self.held(id).is_some() && live + held <= entitled {
            return Err(format!("{ticket:?} has a place: {live} live + {held} held of {entitled}"));
        }
        Ok(())
    }

    /// Whether each ticket that a person gave its status is of one of these lines: those of a line that was forced away take its places
    /// when it comes back.
    pub(super) fn held_are_of(&self, lines: &[Line], seen: &Seen) -> bool {
        let mut held = seen.tickets.iter().filter(|ticket| self.held(ticket.id).is_some());
        held.all(|ticket| lines.iter().any(|line| line.key() == ticket.line()))
    }

    /// Live and held tickets of each line.
    fn count(&self, seen: &Seen) -> BTreeMap<LineKey, (u32, u32)> {
        let mut counts = BTreeMap::<_, (u32, u32)>::new();
        for ticket in &seen.tickets {
            let count = counts.entry(ticket.line()).or_default();
            match self.known.get(&ticket.id).and_then(|known| known.held.as_ref()) {
                Some(_) => count.1 += 1,
                None => count.0 += u32::from(ticket.status == "live"),
            }
        }
        counts
    }
}
