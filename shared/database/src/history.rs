//! What is known of one order.

use domain::OrderId;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Number, json};

use crate::{Database, Error};

/// What is known of an order, with a page of what was done to its tickets.
#[derive(Debug, Clone, Deserialize)]
pub struct OrderHistory {
    /// Whether anything is.
    pub found: bool,
    /// Its row; `None` if it isn't stored.
    pub order: Option<OrderFacts>,
    /// Its tickets.
    pub tickets: Vec<TicketFacts>,
    /// What was done to them, newest first.
    pub changes: Vec<TicketChange>,
    /// How it failed, newest first.
    pub failures: Vec<OrderFailure>,
    /// What of it couldn't be honoured, newest first.
    pub issues: Vec<OrderIssue>,
    /// Where the next page of changes starts.
    pub next: Option<String>,
}

/// What an order's row says. Nothing of its buyer.
#[derive(Debug, Clone, Deserialize)]
pub struct OrderFacts {
    /// `status`, as GHL says it.
    pub status: Option<String>,
    /// `paymentStatus`, as GHL says it.
    pub payment_status: Option<String>,
    /// What was paid, in the order's currency.
    pub total_paid: Option<Number>,
    /// What was given back of it, by its transactions; `None` if these told of nothing.
    pub refunded: Option<Number>,
    /// The currency.
    pub currency: Option<String>,
    /// The event's name.
    pub event_name: Option<String>,
    /// When it was made.
    pub date_added: Option<Timestamp>,
    /// GHL's `updatedAt`.
    pub source_updated_at: Option<Timestamp>,
    /// When this was read; `None` for a row of the original app.
    pub fetched_at: Option<Timestamp>,
    /// Whether it is no test.
    pub live_mode: Option<bool>,
    /// Whether it entitles to tickets.
    pub entitled: Option<bool>,
    /// Why, or why not.
    pub entitlement_reason: Option<String>,
    /// Its lines; `None` if they were never read.
    pub lines: Option<Vec<OrderLine>>,
    /// Whether its tickets aren't in step yet.
    pub is_due: bool,
    /// Whether one of its products is listed; `None` if it was never read.
    pub valid: Option<bool>,
    /// Whether its buyer was to be forgotten.
    pub forgotten: bool,
}

/// A line of an order.
#[derive(Debug, Clone, Deserialize)]
pub struct OrderLine {
    /// Which product; empty where GHL doesn't say.
    pub product_id: String,
    /// Which price; empty where GHL doesn't say.
    pub price_id: String,
    /// What its tickets are called.
    pub ticket_type: String,
    /// How many.
    pub quantity: i64,
}

/// A ticket.
#[derive(Debug, Clone, Deserialize)]
pub struct TicketFacts {
    /// Its number.
    pub ticket_id: i64,
    /// What it is called.
    pub ticket_type: String,
    /// `live`, `validated`, `used`, `cancelled`, or what somebody else wrote.
    pub status: Option<String>,
    /// When it was admitted.
    pub validated_at: Option<Timestamp>,
}

/// A change of a ticket.
#[derive(Debug, Clone, Deserialize)]
pub struct TicketChange {
    /// Which ticket.
    pub ticket_id: i64,
    /// When.
    pub changed_at: Timestamp,
    /// `sync`, `gate`, `admin` or `external`.
    pub changed_by: String,
    /// Why.
    pub reason: Option<String>,
    /// Its status before; `None` for a new one.
    pub old_status: Option<String>,
    /// Its status after; `None` for one that was deleted.
    pub new_status: Option<String>,
    /// Its type before.
    pub old_type: Option<String>,
    /// Its type after.
    pub new_type: Option<String>,
}

/// How an order failed: in a run, or outside of runs.
#[derive(Debug, Clone, Deserialize)]
pub struct OrderFailure {
    /// In which run; `None` for one that stands, outside of runs.
    pub run_id: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// Why it was fetched.
    pub cause: Option<String>,
    /// The failure's class.
    pub class: Option<String>,
    /// A stable code.
    pub code: Option<String>,
    /// A sentence for a person.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: Option<u32>,
}

/// What of an order couldn't be honoured by a run.
#[derive(Debug, Clone, Deserialize)]
pub struct OrderIssue {
    /// In which run.
    pub run_id: String,
    /// When.
    pub at: Timestamp,
    /// A stable code.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
}

impl Database {
    /// What is known of an order, with its newest changes before a cursor, at most `limit` (1 to 1,000).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn order_history(
        &self,
        order_id: &OrderId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<OrderHistory, Error> {
        self.call("order_history", json!({ "order_id": order_id, "before": before, "limit": limit })).await
    }
}
