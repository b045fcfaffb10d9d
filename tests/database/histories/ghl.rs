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
}

impl Payment {
    const fn reason(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Unpaid => "unpaid",
            Self::Refunded => "refunded",
            Self::Cancelled => "cancelled",
            Self::TestMode => "test_mode",
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
    /// Each with whether it is on the order now.
    lines: Vec<(Line, bool)>,
}

impl GhlOrder {
    pub(super) fn new(random: &mut StdRng) -> Self {
        let mut line = |product, price, label| {
            let quantity = random.random_range(0..4);
            (Line { product, price, label, quantity: Some(quantity) }, quantity > 0)
        };
        let lines = vec![line("p1", "vip", "VIP"), line("p1", "", "Late"), line("p2", "reg", "Regular")];
        Self { updated: 0, bogus_stamp: false, payment: Payment::Paid, lines }
    }

    /// Somebody changes the order; not every change bumps updatedAt. Says what changed.
    pub(super) fn edit(&mut self, random: &mut StdRng) -> &'static str {
        if random.random_bool(0.7) {
            self.updated += 1;
        }
        let which = random.random_range(0..self.lines.len());
        let (line, listed) = &mut self.lines[which];
        match random.random_range(0..20) {
            0..=4 if self.payment == Payment::Paid => {
                let other = [Payment::Unpaid, Payment::Refunded, Payment::Cancelled, Payment::TestMode];
                self.payment = *other.choose(random).expect("not empty");
                "no longer paid"
            }
            0..=4 => {
                self.payment = Payment::Paid;
                "paid again"
            }
            5..=7 => {
                let names = if line.price.is_empty() { ["Late", "Later", "late "] } else { ["VIP", "Gold", "Regular"] };
                line.label = names.choose(random).expect("not empty");
                "renamed"
            }
            8..=9 => {
                *listed = false;
                "line removed"
            }
            10 => {
                self.lines.iter_mut().for_each(|(_, listed)| *listed = false);
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

    pub(super) fn listed_lines(&self) -> Vec<Line> {
        self.lines.iter().filter(|(_, listed)| *listed).map(|(line, _)| line.clone()).collect()
    }

    /// What a read at this second returns if nothing goes wrong.
    pub(super) fn read(&self, at: u32) -> Read {
        Read {
            at,
            stamp: Some(if self.bogus_stamp { BOGUS_STAMP } else { self.updated }),
            payment: self.payment,
            lines: self.listed_lines(),
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

impl Read {
    /// What can be odd about a read.
    pub(super) fn spoil(&mut self, random: &mut StdRng) {
        match random.random_range(0..24) {
            0..=1 => {
                self.readable = false;
                self.lines.clear();
            }
            2..=4 => self.lines.iter_mut().filter(|_| random.random_bool(0.6)).for_each(|line| line.quantity = None),
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
            json!({
                "product_id": line.product, "price_id": line.price, "ticket_type": line.label,
                "quantity": line.quantity,
            })
        };
        let lines: Vec<_> = self.lines.iter().map(line).collect();
        crate::orders::with(
            crate::orders::order(order_id, &lines),
            json!({
                "fetched_at": clock(3, self.at), "source_updated_at": self.stamp.map(stamp), "force": self.force,
                "valid": self.valid, "remember_only": self.remember_only, "lines_readable": self.readable,
                "ticket_quantities": quantities, "entitled": self.payment == Payment::Paid,
                "entitlement_reason": self.payment.reason(), "live_mode": self.payment != Payment::TestMode,
            }),
        )
    }
}

fn stamp(minutes: u32) -> String {
    if minutes == BOGUS_STAMP { "2031-01-01T00:00:00Z".to_owned() } else { clock(2, minutes * 60) }
}

/// So many seconds after the beginning of a month.
fn clock(month: u32, seconds: u32) -> String {
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    format!("2026-{month:02}-{:02}T{:02}:{:02}:{:02}Z", day + 1, of_day / 3600, of_day / 60 % 60, of_day % 60)
}
