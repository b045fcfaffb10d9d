//! What should be true, told without looking at how the database does it.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// A line of the order in GHL.
#[derive(Clone, Debug)]
pub(super) struct Line {
    product: &'static str,
    price: &'static str,
    label: String,
    quantity: u32,
}

/// The order as GHL has it now.
#[derive(Clone, Debug)]
pub(super) struct GhlOrder {
    id: String,
    /// Minutes of its updatedAt.
    updated: u32,
    paid: bool,
    lines: Vec<Line>,
}

/// A ticket as the database has it.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) id: i32,
    pub(super) status: String,
    label: String,
    /// Product, price, ordinal; none before adoption.
    identity: Option<(String, String, i64)>,
}

impl Ticket {
    pub(super) fn from_row(row: &Value) -> Self {
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        Self {
            id: row["ticket_id"].as_i64().and_then(|id| i32::try_from(id).ok()).expect("ticket ids are small"),
            status: text("status").unwrap_or_default(),
            label: text("ticket_type").unwrap_or_default(),
            identity: text("product_id").map(|product| {
                (product, text("price_id").unwrap_or_default(), row["ordinal"].as_i64().unwrap_or_default())
            }),
        }
    }

    /// The line it belongs to; a label tells lines apart where GHL gave no price id.
    fn line(&self) -> (String, String, String) {
        let (product, price, _) = self.identity.clone().unwrap_or_default();
        let label = if price.is_empty() { self.label.clone() } else { String::new() };
        (product, price, label)
    }
}

impl GhlOrder {
    pub(super) fn new(id: String, random: &mut StdRng) -> Self {
        let line = |product, price, label: &str| Line { product, price, label: label.to_owned(), quantity: 0 };
        let mut lines = vec![line("p1", "vip", "VIP"), line("p1", "", "Late"), line("p2", "reg", "Regular")];
        for line in &mut lines {
            line.quantity = random.random_range(0..4);
        }
        Self { id, updated: 0, paid: true, lines }
    }

    /// Somebody changes the order in GHL; not every change bumps updatedAt.
    pub(super) fn edit(&mut self, random: &mut StdRng) {
        let line = random.random_range(0..self.lines.len());
        match random.random_range(0..4) {
            0 => self.paid = !self.paid,
            1 if !self.lines[line].price.is_empty() => {
                self.lines[line].label = format!("Name {}", random.random_range(0..3))
            }
            _ => self.lines[line].quantity = random.random_range(0..5),
        }
        if random.random_bool(0.7) {
            self.updated += 1;
        }
    }

    /// What a read at this second returns, as the order worker upserts it.
    pub(super) fn read(&self, second: u32, readable: bool) -> Value {
        let lines: Vec<_> = self
            .lines
            .iter()
            .filter(|line| readable && line.quantity > 0 || self.all_empty())
            .map(|line| crate::orders::line(line.product, line.price, &line.label, line.quantity))
            .collect();
        crate::orders::with(
            crate::orders::order(&self.id, &if readable { lines } else { Vec::new() }),
            json!({
                "source_updated_at": format!("2026-03-01T09:{:02}:00Z", self.updated),
                "fetched_at": format!("2026-03-01T10:{:02}:{:02}Z", second / 60, second % 60),
                "lines_readable": readable, "entitled": self.paid,
                "entitlement_reason": if self.paid { Value::Null } else { json!("refunded") },
            }),
        )
    }

    /// An order without any line counts as unreadable, so that one keeps lines of quantity 0.
    fn all_empty(&self) -> bool {
        self.lines.iter().all(|line| line.quantity == 0)
    }
}

/// What people did to tickets.
#[derive(Debug, Default)]
pub(super) struct People {
    pub(super) validated: BTreeMap<i32, String>,
    pub(super) cancelled: BTreeSet<i32>,
    identities: BTreeMap<i32, (String, String, i64)>,
}

impl People {
    /// Checks the tickets at rest.
    pub(super) fn check(&mut self, order: &GhlOrder, tickets: &[Ticket]) -> Result<(), String> {
        let mut lines: BTreeMap<_, (u32, u32)> = BTreeMap::new();
        for ticket in tickets {
            let held = match (self.validated.get(&ticket.id), self.cancelled.contains(&ticket.id)) {
                (Some(status), _) if *status == ticket.status => true,
                (Some(status), _) => return Err(format!("{ticket:?} was {status}")),
                (None, true) if ticket.status == "cancelled" => true,
                (None, true) => return Err(format!("{ticket:?} was cancelled by a person")),
                (None, false) => false,
            };
            if !held && !["live", "cancelled"].contains(&ticket.status.as_str()) {
                return Err(format!("nobody made {ticket:?} what it is"));
            }
            let line = lines.entry(ticket.line()).or_default();
            line.0 += u32::from(!held && ticket.status == "live");
            line.1 += u32::from(held);
            self.check_identity(order, ticket)?;
        }
        for id in self.identities.keys() {
            if !tickets.iter().any(|ticket| ticket.id == *id) {
                return Err(format!("ticket {id} is gone"));
            }
        }
        for line in &order.lines {
            let label = if line.price.is_empty() { line.label.clone() } else { String::new() };
            let (live, held) = lines.remove(&(line.product.into(), line.price.into(), label)).unwrap_or_default();
            let entitled = if order.paid { line.quantity } else { 0 };
            if live + held != entitled.max(held) {
                return Err(format!("{line:?}: {live} live + {held} held, entitled to {entitled}"));
            }
        }
        match lines.iter().find(|(_, (live, _))| *live > 0) {
            Some((line, (live, _))) => Err(format!("{live} live on {line:?}, which isn't on the order")),
            None => Ok(()),
        }
    }

    fn check_identity(&mut self, order: &GhlOrder, ticket: &Ticket) -> Result<(), String> {
        let Some(identity) = ticket.identity.clone() else { return Ok(()) };
        let known = self.identities.entry(ticket.id).or_insert_with(|| identity.clone());
        if *known != identity {
            return Err(format!("{ticket:?} was {known:?}"));
        }
        let line = order.lines.iter().find(|line| (line.product, line.price) == (&identity.0, &identity.1));
        match line {
            // A line of quantity 0 isn't sent, so its tickets keep the name they had.
            Some(line) if !line.price.is_empty() && line.quantity > 0 && line.label != ticket.label => {
                Err(format!("{ticket:?} isn't called {}", line.label))
            }
            _ => Ok(()),
        }
    }
}
