//! Turns an order as read into the row to write: lines, entitlement, validity. Pure.

use std::collections::HashSet;

use database::{OrderRow, OrderUpsert};
use domain::{Cause, Force, LocationId, Order, RunId, entitlement, items};
use jiff::Timestamp;

/// Why an order was fetched, and what may be done with it.
#[derive(Debug, Clone)]
pub struct Purpose {
    /// The run it was fetched for.
    pub run_id: Option<RunId>,
    /// Why.
    pub cause: Cause,
    /// How often it was tried.
    pub attempts: u32,
    /// Only remember that it was seen and whether it is valid.
    pub remember_only: bool,
    /// What an admin insists on.
    pub force: Option<Force>,
}

/// Rules that are configuration.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The most tickets of one line; more is taken for a mistake and refused.
    pub max_quantity: u32,
    /// Whether a deposit lets people in.
    pub partially_paid_entitles: bool,
}

/// Prepares the write of `order`, read at `fetched_at` (the limiter's grant, by the database's clock).
#[must_use]
pub fn prepare(
    order: &Order,
    ours: &LocationId,
    listed_products: &HashSet<String>,
    rules: Rules,
    purpose: Purpose,
    fetched_at: Timestamp,
) -> OrderUpsert {
    let (lines, line_issues) = items::lines(order.items.as_deref().unwrap_or_default(), rules.max_quantity);
    let decision = entitlement::decide(&order.payment, rules.partially_paid_entitles);
    let issues = order.issues.iter().cloned().chain(line_issues).chain(decision.issue).collect();
    let row = row(order, listed_products, &lines);
    OrderUpsert {
        order_id: order.id.clone(),
        run_id: purpose.run_id,
        cause: purpose.cause,
        fetched_at,
        source_updated_at: order.updated_at,
        foreign: order.location_id != *ours,
        valid: order.is_valid(listed_products),
        remember_only: purpose.remember_only,
        force: purpose.force,
        attempts: purpose.attempts,
        product_ids: order.product_ids(),
        lines_readable: order.items.is_some(),
        ticket_quantities: items::ticket_quantities(&lines),
        lines,
        entitled: decision.entitled,
        entitlement_known: decision.known,
        entitlement_reason: decision.reason,
        live_mode: order.payment.live_mode != Some(false) && !order.payment.mark_as_test,
        issues,
        row,
    }
}

fn row(order: &Order, listed_products: &HashSet<String>, lines: &[items::Line]) -> OrderRow {
    let event = order.event(listed_products).cloned().unwrap_or_default();
    let of_event = |line: &&items::Line| event.product_id.as_ref().is_none_or(|id| *id == line.product_id);
    OrderRow {
        total_paid: order.total,
        payment_status: order.payment.payment_status.clone(),
        payment_currency: order.currency.clone(),
        order_status: order.payment.status.clone(),
        contact_id: order.contact.id.clone(),
        contact_firstname: order.contact.first_name.clone(),
        contact_lastname: order.contact.last_name.clone(),
        contact_email: order.contact.email.clone(),
        contact_phone: order.contact.phone.clone(),
        date_added: order.created_at,
        event_ticket_qty: lines.iter().filter(of_event).filter_map(|line| line.quantity).map(u64::from).sum(),
        event_ticket_type: lines.iter().find(of_event).map(|line| line.ticket_type.clone()),
        event_id: event.product_id,
        event_name: event.name,
        event_image: event.image,
        event_ticket_price: event.ticket_price,
        event_ticket_currency: event.ticket_currency,
        event_available_qty: event.available_quantity,
    }
}

#[cfg(test)]
mod tests {
    use domain::OrderId;
    use serde_json::json;

    use super::*;

    fn upsert(patch: serde_json::Value, listed: &[&str]) -> OrderUpsert {
        let mut body = json!({
            "_id": "660000000000000000000001", "altId": "loc", "status": "completed", "paymentStatus": "paid", "amount": 90,
            "items": [
                {"qty": 1, "product": {"_id": "shirt", "name": "Shirt"}, "price": {"_id": "s", "name": "L", "amount": 10}},
                {"qty": 2, "product": {"_id": "gala", "name": "Gala"}, "price": {"_id": "v", "name": "VIP", "amount": 40, "currency": "EUR"}},
            ],
        });
        if let (Some(fields), Some(patch)) = (body.as_object_mut(), patch.as_object()) {
            fields.extend(patch.clone());
        }
        let order = ghl::read_order(&body, &OrderId::try_new("660000000000000000000001").unwrap()).unwrap();
        let listed = listed.iter().map(|id| (*id).to_owned()).collect();
        let rules = Rules { max_quantity: 1000, partially_paid_entitles: false };
        let purpose = Purpose { run_id: None, cause: Cause::Webhook, attempts: 1, remember_only: false, force: None };
        prepare(&order, &LocationId::try_new("loc").unwrap(), &listed, rules, purpose, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_event_columns_show_the_first_listed_product() {
        let order = upsert(json!({}), &["gala"]);
        assert!(order.valid && order.entitled && !order.foreign);
        assert_eq!(order.row.event_id.as_deref(), Some("gala"));
        assert_eq!(order.row.event_ticket_type.as_deref(), Some("VIP"));
        assert_eq!(order.row.event_ticket_qty, 2);
        assert_eq!(order.lines.len(), 2);
        assert_eq!(order.product_ids, ["gala", "shirt"]);
    }

    #[test]
    fn an_order_without_a_listed_product_is_invalid_and_anothers_is_foreign() {
        assert!(!upsert(json!({}), &["other"]).valid);
        assert!(upsert(json!({"altId": "elsewhere"}), &["gala"]).foreign);
    }

    #[test]
    fn unreadable_lines_and_missing_time_stamps_are_reported() {
        let order = upsert(json!({"items": null}), &["gala"]);
        assert!(!order.lines_readable && order.lines.is_empty());
        let codes: Vec<_> = order.issues.iter().map(|issue| issue.code.as_str()).collect();
        assert_eq!(codes, ["items_unreadable", "updated_at_unreadable"]);
    }
}
