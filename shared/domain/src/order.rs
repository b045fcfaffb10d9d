//! An order as we keep it, and whether it is a valid order of ours.

use std::collections::HashSet;

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::entitlement::PaymentFacts;
use crate::ids::{LocationId, OrderId};
use crate::issue::Issue;
use crate::items::Item;
use crate::personal::Personal;

/// Who bought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// The contact's id in GHL.
    pub id: Option<String>,
    /// First name.
    pub first_name: Option<Personal>,
    /// Last name.
    pub last_name: Option<Personal>,
    /// E-mail address.
    pub email: Option<Personal>,
    /// Phone number.
    pub phone: Option<Personal>,
}

/// What the first event item says about the event, for the columns the original app shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFacts {
    /// The product's id.
    pub product_id: Option<String>,
    /// The product's name.
    pub name: Option<String>,
    /// The product's picture (URL).
    pub image: Option<String>,
    /// Price of one ticket, in major units of the currency.
    pub ticket_price: Option<Decimal>,
    /// ISO 4217 code, as GHL sent it.
    pub ticket_currency: Option<String>,
    /// Tickets still on sale, where GHL says so.
    pub available_quantity: Option<i64>,
}

/// An order read from GHL's detail call.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose order it is (`altId`).
    pub location_id: LocationId,
    /// Status and payment, as sent.
    pub payment: PaymentFacts,
    /// The order's value in major units, not the money received.
    pub total: Option<Decimal>,
    /// ISO 4217 code, as GHL sent it.
    pub currency: Option<String>,
    /// When it was created, by GHL.
    pub created_at: Option<Timestamp>,
    /// When it last changed, by GHL: decides what is newer.
    pub updated_at: Option<Timestamp>,
    /// Who bought.
    pub contact: Contact,
    /// The items, or `None` when they are missing, null, empty or unreadable: then stored tickets are kept.
    pub items: Option<Vec<Item>>,
    /// One entry per item, in the same order.
    pub events: Vec<EventFacts>,
    /// What couldn't be read.
    pub issues: Vec<Issue>,
}

impl Order {
    /// The products its items name.
    #[must_use]
    pub fn product_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.items.iter().flatten().filter_map(|item| item.product_id.clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Whether it is a valid order of ours: at least one item whose product is in the location's product list.
    #[must_use]
    pub fn is_valid(&self, listed_products: &HashSet<String>) -> bool {
        self.items.iter().flatten().filter_map(|item| item.product_id.as_ref()).any(|id| listed_products.contains(id))
    }

    /// The event of the first item whose product is listed, else of the first item.
    #[must_use]
    pub fn event(&self, listed_products: &HashSet<String>) -> Option<&EventFacts> {
        let listed = |event: &&EventFacts| event.product_id.as_ref().is_some_and(|id| listed_products.contains(id));
        self.events.iter().find(listed).or_else(|| self.events.first())
    }
}
