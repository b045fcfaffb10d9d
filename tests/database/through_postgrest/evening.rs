//! What all writers share: the orders that people change just now, what GHL shows of them, and what callers were told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use database::{OrderRow, OrderUpsert};
use domain::items::{Line, ticket_quantities};
use domain::{Cause, Change, OrderId, RunId};
use jiff::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Orders that everybody works on at a time.
const HOT_ORDERS: usize = 8;
/// Turns after which an older one of them rests and a new one comes, which nobody has stored yet.
const TURNS_PER_ORDER: usize = 150;
/// Turns after which GHL has a newer version of every order.
const TURNS_PER_VERSION: usize = 8;
/// How many versions old what somebody read may be when it is handled.
const OLDEST_READ: usize = 5;

/// How many times as many turns there are at most, until people have made each of their changes once.
const MUCH_LATER: usize = 4;
/// What people can do with a ticket: who, and what it is then.
const BY_PEOPLE: [(&str, &str); 8] = [
    ("gate", "validated"),
    ("gate", "live"),
    ("admin", "cancelled"),
    ("admin", "live"),
    ("external", "used"),
    ("external", "validated"),
    ("external", "cancelled"),
    ("external", "live"),
];

/// The most tickets that any version of an order gives for each price.
pub(crate) const MOST_TICKETS: &str = r#"{"vip": 5, "": 2, "parking": 2}"#;

/// One evening of sales and admissions.
pub(crate) struct Evening {
    turns: AtomicUsize,
    last_turn: usize,
    heard: Mutex<Heard>,
}

/// What the writers heard, to be compared with what is stored.
#[derive(Default)]
pub(crate) struct Heard {
    /// Every sequence number that was handed out.
    pub(crate) numbers: Vec<u64>,
    /// The newest `updatedAt` of each order that was stored.
    pub(crate) newest: BTreeMap<String, Timestamp>,
    /// What became of upserted orders, how often.
    pub(crate) upserts: BTreeMap<Change, usize>,
    /// Changes of tickets that somebody was told were made: who and what, how often.
    pub(crate) changes: BTreeMap<(&'static str, &'static str), usize>,
    /// Failures after which the work was done again.
    pub(crate) repeated: BTreeMap<String, usize>,
    /// Failures that reached a caller for good.
    pub(crate) surfaced: BTreeMap<String, usize>,
    /// The newest run.
    pub(crate) run_id: Option<RunId>,
}

impl Evening {
    pub(crate) fn of(turns: usize) -> Self {
        Self { turns: AtomicUsize::new(0), last_turn: turns, heard: Mutex::default() }
    }

    /// Whether there is one more turn for somebody. On a busy machine some come to few of the turns: then it gets late.
    pub(crate) fn goes_on(&self) -> bool {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        turn < self.last_turn
            || turn < MUCH_LATER * self.last_turn
                && self.hear(|heard| BY_PEOPLE.iter().any(|change| !heard.changes.contains_key(change)))
    }

    pub(crate) fn hear<T>(&self, what: impl FnOnce(&mut Heard) -> T) -> T {
        what(&mut self.heard.lock().unwrap())
    }

    pub(crate) fn into_heard(self) -> Heard {
        self.heard.into_inner().unwrap()
    }

    /// All orders of the moment in random order: who locks them in the order in which they come deadlocks.
    pub(crate) fn orders(&self, random: &mut StdRng) -> Vec<OrderId> {
        let first = self.turns.load(Ordering::Relaxed) / TURNS_PER_ORDER;
        let mut orders: Vec<_> =
            (first..first + HOT_ORDERS).map(|number| OrderId::try_new(format!("order-{number}")).unwrap()).collect();
        orders.shuffle(random);
        orders
    }

    /// Some of them.
    pub(crate) fn some_orders(&self, random: &mut StdRng) -> Vec<OrderId> {
        let mut orders = self.orders(random);
        orders.truncate(random.random_range(1..=HOT_ORDERS));
        orders
    }

    /// An order as it was read a moment ago, with lines and entitlement that differ from version to version.
    pub(crate) fn read(&self, id: &OrderId, random: &mut StdRng) -> OrderUpsert {
        let newest = self.turns.load(Ordering::Relaxed) / TURNS_PER_VERSION + OLDEST_READ;
        let version = newest - random.random_range(0..=OLDEST_READ);
        let entitled = version % 5 != 4;
        let vip = if version.is_multiple_of(3) { "VIP (early)" } else { "VIP" };
        let mut lines = vec![line("p1", "vip", vip, version % 6), line("p1", "", "Regular", 1 + version % 2)];
        if version.is_multiple_of(2) {
            lines.insert(0, line("p2", "parking", "Parking", 2));
        }
        OrderUpsert {
            order_id: id.clone(),
            run_id: None,
            cause: Cause::Webhook,
            fetched_at: Timestamp::UNIX_EPOCH,
            source_updated_at: Some(Timestamp::from_second(1_770_000_000 + version as i64).unwrap()),
            foreign: false,
            valid: true,
            remember_only: false,
            force: None,
            attempts: 1,
            product_ids: vec!["p1".to_owned()],
            lines_readable: true,
            ticket_quantities: ticket_quantities(&lines),
            lines,
            entitled,
            entitlement_known: true,
            entitlement_reason: if entitled { "paid" } else { "The order was refunded" },
            live_mode: true,
            issues: Vec::new(),
            row: OrderRow { order_status: "completed".to_owned(), ..OrderRow::default() },
        }
    }
}

fn line(product: &str, price: &str, label: &str, quantity: usize) -> Line {
    Line {
        product_id: product.to_owned(),
        price_id: price.to_owned(),
        ticket_type: label.to_owned(),
        quantity: Some(u32::try_from(quantity).unwrap()),
        price_named: true,
    }
}
