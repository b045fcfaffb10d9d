//! The order as GHL has it, and what a read of it returns.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

/// What GHL's updatedAt says while it is bogus: years ahead of any real one.
const BOGUS_STAMP: u32 = u32::MAX;

/// A line of an order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) product: &'static str,
    pub(super) price: &'static str,
    pub(super) label: &'static str,
    /// None when it can't be read.
    pub(super) quantity: Option<u32>,
    /// Of an item: the label is its price's own name. A stored line doesn't know.
    pub(super) named: bool,
}

/// What tells lines apart: product, price, and where GHL gave no price id the label.
pub(super) type LineKey = (String, String, String);

impl Line {
    pub(super) fn key(&self) -> LineKey {
        line_key(self.product, self.price, self.label)
    }
}

pub(super) fn line_key(product: &str, price: &str, label: &str) -> LineKey {
    let label = if price.is_empty() { label } else { "" };
    (product.to_owned(), price.to_owned(), label.to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Payment {
    Paid,
    Unpaid,
    Refunded,
    Cancelled,
    TestMode,
    /// Something that this version doesn't know.
    Unknown,
}

impl Payment {
    const fn reason(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Unpaid => "unpaid",
            Self::Refunded => "refunded",
            Self::Cancelled => "cancelled",
            Self::TestMode => "test_mode",
            Self::Unknown => "unknown_status",
        }
    }
}

/// The order in GHL now.
#[derive(Clone, Debug)]
pub(super) struct GhlOrder {
    /// Minutes of its updatedAt.
    updated: u32,
    bogus_stamp: bool,
    payment: Payment,
    lines: Vec<GhlLine>,
}

/// What may change about an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Changes {
    All,
    /// Only what GHL leaves out, and names.
    WhatIsShown,
    Names,
}

#[derive(Clone, Debug)]
struct GhlLine {
    line: Line,
    /// Whether it is on the order now.
    listed: bool,
    /// What GHL leaves out of it now.
    hides: Hides,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Hides {
    product: bool,
    price: bool,
    /// Of the price.
    name: bool,
}

impl GhlLine {
    fn read(&self) -> Line {
        let mut line = self.line.clone();
        if self.hides.name {
            line.named = false;
            line.label = if line.product == "p1" { "Gala" } else { "General" };
        }
        if self.hides.product {
            line.product = "";
        }
        if self.hides.price {
            line.price = "";
        }
        line
    }
}

impl GhlOrder {
    pub(super) fn new(random: &mut StdRng) -> Self {
        let mut line = |product, price, label| {
            let quantity = random.random_range(0..4);
            let line = Line { product, price, label, quantity: Some(quantity), named: true };
            GhlLine { line, listed: quantity > 0, hides: Hides::default() }
        };
        let mut lines = vec![line("p1", "vip", "VIP"), line("p1", "", "Late"), line("p2", "reg", "Regular")];
        if random.random_bool(0.4) {
            lines.iter_mut().for_each(|line| line.hides = Hides::some(random));
        }
        Self { updated: 0, bogus_stamp: false, payment: Payment::Paid, lines }
    }

    /// Somebody changes the order; not every change bumps updatedAt. Says what changed.
    pub(super) fn edit(&mut self, random: &mut StdRng, may_change: Changes) -> &'static str {
        if random.random_bool(0.7) {
            self.updated += 1;
        }
        let which = random.random_range(0..self.lines.len());
        let GhlLine { line, listed, hides } = &mut self.lines[which];
        let choices = match may_change {
            Changes::All => 0..32,
            Changes::WhatIsShown => 20..34,
            Changes::Names => 32..34,
        };
        match random.random_range(choices) {
            20..=25 => {
                *hides = Hides::some(random);
                match hides {
                    Hides { product: true, .. } => "a product vanishes",
                    Hides { price: true, .. } => "a price vanishes",
                    _ => "a price's name vanishes",
                }
            }
            26..=31 => {
                self.lines
                    .iter_mut()
                    .filter(|_| random.random_bool(0.7))
                    .for_each(|line| line.hides = Hides::default());
                "ids are back"
            }
            0..=4 if self.payment == Payment::Paid => {
                let other =
                    [Payment::Unpaid, Payment::Refunded, Payment::Cancelled, Payment::TestMode, Payment::Unknown];
                self.payment = *other.choose(random).expect("not empty");
                if self.payment == Payment::Unknown { "a status nobody knows" } else { "no longer paid" }
            }
            0..=4 => {
                self.payment = Payment::Paid;
                "paid again"
            }
            5..=7 | 32.. => {
                let names = match (line.price, may_change) {
                    ("", _) => ["Late", "Later", "late "],
                    (_, Changes::All) => ["VIP", "Gold", "Regular"],
                    // Another line's name at the moment when ids vanish would be taken for the other line.
                    ("vip", _) => ["VIP", "Gold", "VIP"],
                    _ => ["Regular"; 3],
                };
                line.label = names.choose(random).expect("not empty");
                "renamed"
            }
            8..=9 => {
                *listed = false;
                "line removed"
            }
            10 => {
                self.lines.iter_mut().for_each(|line| line.listed = false);
                "all lines gone"
            }
            11 => {
                self.bogus_stamp = !self.bogus_stamp;
                if self.bogus_stamp { "updatedAt in the future" } else { "updatedAt back from the future" }
            }
            _ => {
                line.quantity = Some(random.random_range(0..5));
                *listed = true;
                "quantity"
            }
        }
    }

    fn listed_lines(&self) -> impl Iterator<Item = &GhlLine> {
        self.lines.iter().filter(|line| line.listed)
    }

    /// The lines as they really are, if it entitles to tickets.
    pub(super) fn true_lines(&self) -> Option<Vec<Line>> {
        (self.payment == Payment::Paid).then(|| self.listed_lines().map(|line| line.line.clone()).collect())
    }

    /// Leaves out nothing any more.
    pub(super) fn show_all(&mut self) {
        self.lines.iter_mut().for_each(|line| line.hides = Hides::default());
    }

    /// Whether nothing is left out of it.
    pub(super) fn shows_all(&self) -> bool {
        self.listed_lines().all(|line| line.hides == Hides::default())
    }

    /// What a read at this second returns if nothing goes wrong.
    pub(super) fn read(&self, at: u32) -> Read {
        Read {
            at,
            stamp: Some(if self.bogus_stamp { BOGUS_STAMP } else { self.updated }),
            payment: self.payment,
            lines: self.listed_lines().map(GhlLine::read).collect(),
            readable: true,
            force: false,
            valid: true,
            remember_only: false,
        }
    }
}

/// A read of the order, as the order worker upserts it.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// The second of its limiter grant.
    pub(super) at: u32,
    pub(super) stamp: Option<u32>,
    pub(super) payment: Payment,
    pub(super) lines: Vec<Line>,
    pub(super) readable: bool,
    pub(super) force: bool,
    pub(super) valid: bool,
    pub(super) remember_only: bool,
}

impl Hides {
    /// Something of a line, most often all that belongs to the price.
    fn some(random: &mut StdRng) -> Self {
        let [product, price, name] = match random.random_range(0..8) {
            0..=3 => [false, true, true],
            4 => [false, true, false],
            5 => [true, false, false],
            6 => [true, true, random.random_bool(0.5)],
            _ => [false, false, true],
        };
        Self { product, price, name }
    }
}

impl Read {
    /// What can be odd about a read.
    pub(super) fn spoil(&mut self, random: &mut StdRng, may_change: Changes) {
        match random.random_range(0..24) {
            0..=1 => {
                self.readable = false;
                self.lines.clear();
            }
            // A new line of unknown quantity gives none, whosever tickets there are.
            2..=4 if may_change != Changes::Names => {
                self.lines.iter_mut().filter(|_| random.random_bool(0.6)).for_each(|line| line.quantity = None)
            }
            5 => self.stamp = None,
            6 => self.valid = false,
            7 => self.remember_only = true,
            _ => {}
        }
        self.force = random.random_bool(0.08);
    }

    pub(super) fn request(&self, order_id: &str) -> Value {
        let mut quantities = BTreeMap::<_, u32>::new();
        for line in &self.lines {
            *quantities.entry(line.label).or_default() += line.quantity.unwrap_or(0);
        }
        let line = |line: &Line| {
            let mut item = json!({
                "product_id": line.product, "price_id": line.price, "ticket_type": line.label,
                "quantity": line.quantity,
            });
            if !line.named {
                item["price_named"] = json!(false);
            }
            item
        };
        let lines: Vec<_> = self.lines.iter().map(line).collect();
        let mut order = crate::orders::order(order_id, &lines);
        order["row"]["contact_id"] = json!(contact(order_id));
        crate::orders::with(
            order,
            json!({
                "fetched_at": clock(3, self.at), "source_updated_at": self.stamp.map(stamp), "force": self.force,
                "valid": self.valid, "remember_only": self.remember_only, "lines_readable": self.readable,
                "ticket_quantities": quantities, "entitled": self.payment == Payment::Paid,
                "entitlement_known": self.payment != Payment::Unknown,
                "entitlement_reason": self.payment.reason(), "live_mode": self.payment != Payment::TestMode,
            }),
        )
    }
}

/// Who bought it: somebody else for each order.
pub(super) fn contact(order_id: &str) -> String {
    format!("buyer of {order_id}")
}

fn stamp(minutes: u32) -> String {
    if minutes == BOGUS_STAMP { "2031-01-01T00:00:00Z".to_owned() } else { clock(2, minutes * 60) }
}

/// So many seconds after the beginning of a month.
fn clock(month: u32, seconds: u32) -> String {
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    format!("2026-{month:02}-{:02}T{:02}:{:02}:{:02}Z", day + 1, of_day / 3600, of_day / 60 % 60, of_day % 60)
}
