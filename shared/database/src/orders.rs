//! Orders, their tickets and their outcomes.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::items::Line;
use domain::outcome::{Reconciled, UpsertResult};
use domain::{Cause, Change, FailureClass, Force, Issue, OrderId, Personal, RunId};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::{Database, Error};

/// An order as it was read, with what was decided about it.
#[derive(Clone, Serialize)]
pub struct OrderUpsert {
    /// Which order.
    pub order_id: OrderId,
    /// The run it is fetched for.
    pub run_id: Option<RunId>,
    /// Why it was fetched.
    pub cause: Cause,
    /// When it was read: the time of the limiter's grant.
    pub fetched_at: Timestamp,
    /// GHL's `updatedAt`: decides what is newer.
    pub source_updated_at: Option<Timestamp>,
    /// Another location's order: stored nowhere.
    pub foreign: bool,
    /// A line's product is listed.
    pub valid: bool,
    /// Remember that it was fetched, write no order.
    pub remember_only: bool,
    /// What is applied although it takes tickets.
    #[serde(flatten, serialize_with = "as_fields")]
    pub force: Option<Force>,
    /// How often it was tried.
    pub attempts: u32,
    /// The products its lines name.
    pub product_ids: Vec<String>,
    /// Whether the lines could be read at all.
    pub lines_readable: bool,
    /// What it asks for.
    pub lines: Vec<Line>,
    /// The seed's form of the lines.
    pub ticket_quantities: BTreeMap<String, u64>,
    /// Whether the lines entitle to tickets.
    pub entitled: bool,
    /// Whether that is known; if not, it stays what it was.
    pub entitlement_known: bool,
    /// Why, or why not.
    pub entitlement_reason: &'static str,
    /// GHL's live mode.
    pub live_mode: bool,
    /// What couldn't be honoured.
    pub issues: Vec<Issue>,
    /// The other columns.
    pub row: OrderRow,
}

/// The fields of the request that say what is forced.
fn as_fields<S: Serializer>(force: &Option<Force>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Fields<'a> {
        force: bool,
        force_lines: Option<&'a str>,
        force_asked_at: Option<Timestamp>,
    }
    let (lines, asked_at) = force.as_ref().map(|force| (force.lines.as_deref(), force.asked_at)).unzip();
    Fields { force: force.is_some(), force_lines: lines.flatten(), force_asked_at: asked_at.flatten() }
        .serialize(serializer)
}

/// The descriptive columns of `ghl_qr_orders`. Holds personal data: not printable.
#[derive(Clone, Default, Serialize)]
#[expect(missing_docs, reason = "each is the column of the same name")]
pub struct OrderRow {
    #[serde(with = "rust_decimal::serde::str_option")]
    pub total_paid: Option<Decimal>,
    pub payment_status: Option<String>,
    pub payment_currency: Option<String>,
    pub order_status: String,
    pub contact_id: Option<String>,
    pub contact_firstname: Option<Personal>,
    pub contact_lastname: Option<Personal>,
    pub contact_email: Option<Personal>,
    pub contact_phone: Option<Personal>,
    pub date_added: Option<Timestamp>,
    pub event_id: Option<String>,
    pub event_name: Option<String>,
    pub event_image: Option<String>,
    #[serde(with = "rust_decimal::serde::str_option")]
    pub event_ticket_price: Option<Decimal>,
    pub event_ticket_currency: Option<String>,
    pub event_available_qty: Option<i64>,
    pub event_ticket_qty: u64,
    pub event_ticket_type: Option<String>,
}

/// A webhook's notice that an order may have changed.
#[derive(Debug, Clone, Serialize)]
pub struct Notice {
    /// Which order.
    pub order_id: OrderId,
    /// When the (first) message about it was sent, by the queue's clock.
    pub sent_at: Timestamp,
    /// When this message was first received, by the queue's clock.
    pub received_at: Option<Timestamp>,
    /// Whether no fetch was tried for it yet.
    pub first_try: bool,
}

/// What is to be done about notices.
#[derive(Debug, Clone, Deserialize)]
pub struct Plan {
    /// A fetch was granted after they were sent: nothing is left to do, but for [`Self::due`].
    pub served: Vec<OrderId>,
    /// Those served whose tickets are still due: whoever stored them may have died before handing them over.
    #[serde(default)]
    pub due: Vec<OrderId>,
    /// Another worker is fetching them now: retry a little later.
    pub busy: Vec<OrderId>,
    /// The database's time.
    pub now: Timestamp,
}

/// An order that GHL doesn't know yet, and when a message that was sent will fetch it again.
#[derive(Debug, Clone, Serialize)]
pub struct Awaited {
    /// Which order.
    pub order_id: OrderId,
    /// How long a notice of it needs no fetch of its own, in milliseconds.
    pub in_ms: u64,
}

/// One order of an upsert.
#[derive(Debug, Clone, Deserialize)]
pub struct Upserted {
    /// Which order.
    pub order_id: OrderId,
    /// What was done.
    pub result: UpsertResult,
    /// What couldn't be honoured: what the reading found and what the database adds.
    #[serde(default)]
    pub issues: Vec<Issue>,
    /// Whether it is a valid order of ours, also by the products of lines that this reading says nothing of.
    #[serde(default)]
    pub valid: bool,
    /// Whether its lines entitle to tickets, also by what it was before.
    #[serde(default)]
    pub entitled: bool,
    /// Names its lines as read, if not all of them was applied: what an admin may force.
    #[serde(default)]
    pub lines_hash: Option<String>,
}

/// The answer of an upsert.
#[derive(Debug, Clone, Deserialize)]
pub struct Upserts {
    /// One entry per order.
    pub orders: Vec<Upserted>,
    /// Whether to ask for a publication.
    pub publication_due: bool,
}

/// An order whose tickets are to be reconciled.
#[derive(Debug, Clone, Serialize)]
pub struct ToReconcile {
    /// Which order.
    pub order_id: OrderId,
    /// The run its outcome counts for.
    pub run_id: Option<RunId>,
    /// What the upsert did.
    pub change: Change,
    /// How often it was tried.
    pub attempts: u32,
}

/// The answer of a call that records outcomes.
#[derive(Debug, Clone, Deserialize)]
pub struct Recorded {
    /// One entry per order, where the call is about tickets.
    #[serde(default)]
    pub orders: Vec<Reconciled>,
    /// The orders of which this call is the first to say what it says: told again, they aren't named again.
    #[serde(default)]
    pub first: Vec<OrderId>,
    /// Whether to ask for a publication.
    pub publication_due: bool,
}

/// A failure to record, on its run or in `sync_failures`.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Which order.
    pub order_id: OrderId,
    /// The run it counts for.
    pub run_id: Option<RunId>,
    /// Why it was fetched.
    pub cause: Cause,
    /// Its class.
    pub class: FailureClass,
    /// A stable code.
    pub code: &'static str,
    /// A sentence for a person.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl Database {
    /// What orders named by webhooks need; those that are neither served nor busy are this caller's to fetch, and claimed
    /// for `claim`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn plan_orders(&self, orders: &[Notice], claim: Duration) -> Result<Plan, Error> {
        let claim_ms = u64::try_from(claim.as_millis()).unwrap_or(u64::MAX);
        self.call("plan_orders", json!({ "orders": orders, "claim_ms": claim_ms })).await
    }

    /// Notes which orders will be fetched again by messages that were sent.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn await_orders(&self, orders: &[Awaited]) -> Result<(), Error> {
        self.call::<Value>("await_orders", json!({ "orders": orders })).await.map(drop)
    }

    /// Writes orders, guarded against stale readings, in one transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upsert_orders(&self, orders: &[OrderUpsert]) -> Result<Upserts, Error> {
        self.call("upsert_orders", json!({ "orders": orders })).await
    }

    /// Brings the tickets of orders into step with their lines and records the outcomes, in one transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reconcile_tickets(&self, orders: &[ToReconcile]) -> Result<Recorded, Error> {
        self.call("reconcile_tickets", json!({ "orders": orders })).await
    }

    /// Records failures; the first outcome of an order in a run stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn record_failures(&self, failures: &[Failure]) -> Result<Recorded, Error> {
        self.call("record_failures", json!({ "failures": failures })).await
    }
}
