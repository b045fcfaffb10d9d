//! The detail of an order.

use domain::items::Item;
use domain::order::{Contact, EventFacts};
use domain::{Issue, LocationId, Order, OrderId, PaymentFacts, Personal};
use serde_json::Value;

use crate::json::{decimal, text, text_of, timestamp};

/// Reads an order, bare or as `{"order": {}}`.
///
/// # Errors
/// What is missing, if this isn't an order: GHL answers some failures with 200.
pub fn read_order(body: &Value, asked_for: &OrderId) -> Result<Order, &'static str> {
    let order = body.get("order").filter(|order| order.is_object()).unwrap_or(body);
    if text(order, "_id").as_deref() != Some(asked_for.as_str()) {
        return Err("it is not the order that was asked for");
    }
    let location_id = text(order, "altId").and_then(|id| LocationId::try_new(id).ok()).ok_or("altId is missing")?;
    let status = text(order, "status").ok_or("status is missing")?;
    let mut issues = Vec::new();
    let items = items(order, &mut issues);
    let total = decimal(order, "amount");
    if total.is_none() && order.get("amount").is_some_and(|amount| !amount.is_null()) {
        issues
            .push(Issue::new("amount_unreadable", "amount is not a decimal number in range; the total is left empty."));
    }
    let created_at = timestamp(order, "createdAt");
    let updated_at = timestamp(order, "updatedAt");
    if updated_at.is_none() {
        issues.push(Issue::new(
            "updated_at_unreadable",
            "updatedAt is missing or not a time stamp; a reading that has one wins, until this is 15 minutes later.",
        ));
    }
    Ok(Order {
        id: asked_for.clone(),
        location_id,
        payment: PaymentFacts {
            status,
            payment_status: text(order, "paymentStatus"),
            live_mode: order.get("liveMode").and_then(Value::as_bool),
            mark_as_test: order.get("markAsTest").and_then(Value::as_bool).unwrap_or(false),
        },
        total,
        currency: text(order, "currency"),
        created_at,
        updated_at,
        contact: contact(order),
        events: items.as_ref().map(|_| events(order)).unwrap_or_default(),
        items,
        issues,
    })
}

/// The items, or `None` when there is nothing readable among them.
fn items(order: &Value, issues: &mut Vec<Issue>) -> Option<Vec<Item>> {
    let unreadable = |problem: &str| {
        Issue::new(
            "items_unreadable",
            format!("items {problem}, so no tickets can be made from them. Check the order in GHL and sync it again."),
        )
    };
    let Some(rows) = order.get("items").and_then(Value::as_array) else {
        issues.push(unreadable("is missing or not a list"));
        return None;
    };
    if rows.is_empty() {
        issues.push(unreadable("is empty"));
        return None;
    }
    if !rows.iter().all(Value::is_object) {
        issues.push(unreadable("holds something that is not an item"));
        return None;
    }
    Some(rows.iter().map(item).collect())
}

fn item(row: &Value) -> Item {
    let (product, price) = (row.get("product").unwrap_or(&Value::Null), row.get("price").unwrap_or(&Value::Null));
    Item {
        product_id: text_of(product, &["_id", "id"]),
        price_id: text_of(price, &["_id", "id"]),
        price_name: text(price, "name"),
        item_name: text(row, "name"),
        product_name: text(product, "name"),
        quantity: row.get("qty").cloned(),
    }
}

fn events(order: &Value) -> Vec<EventFacts> {
    let rows = order.get("items").and_then(Value::as_array);
    rows.into_iter()
        .flatten()
        .map(|row| {
            let (product, price) =
                (row.get("product").unwrap_or(&Value::Null), row.get("price").unwrap_or(&Value::Null));
            EventFacts {
                product_id: text_of(product, &["_id", "id"]),
                name: text(product, "name").or_else(|| text(row, "name")),
                image: text(product, "image"),
                ticket_price: decimal(price, "amount"),
                ticket_currency: text(price, "currency"),
                available_quantity: price.get("availableQuantity").and_then(Value::as_i64),
            }
        })
        .collect()
}

/// The buyer: camelCase, or snake_case on old records; the id falls back to the order's own `contactId`.
fn contact(order: &Value) -> Contact {
    let snapshot = order.get("contactSnapshot").unwrap_or(&Value::Null);
    Contact {
        id: text_of(snapshot, &["id", "_id", "contact_id"]).or_else(|| text(order, "contactId")),
        first_name: text_of(snapshot, &["firstName", "first_name"]).map(Personal::from),
        last_name: text_of(snapshot, &["lastName", "last_name"]).map(Personal::from),
        email: text(snapshot, "email").map(Personal::from),
        phone: text(snapshot, "phone").map(Personal::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id() -> OrderId {
        OrderId::try_new("660000000000000000000001").unwrap()
    }

    fn body() -> Value {
        json!({
            "_id": "660000000000000000000001", "altId": "loc", "altType": "location", "status": "completed", "paymentStatus": "paid",
            "amount": 150.1, "currency": "EUR", "liveMode": true, "createdAt": "2026-05-01T10:00:00.000Z", "updatedAt": "2026-05-01T10:05:00.000Z",
            "contactSnapshot": {"id": "c1", "firstName": "Ada", "lastName": "Example", "email": "ada@example.org", "phone": "+10000000"},
            "items": [{"_id": "i1", "name": "Gala", "qty": 2, "product": {"_id": "p1", "name": "Gala", "image": "https://example.org/gala.png"},
                       "price": {"_id": "pr1", "name": "VIP", "type": "one_time", "currency": "EUR", "amount": 75.05}}],
        })
    }

    fn read(body: &Value) -> Order {
        read_order(body, &id()).unwrap()
    }

    #[test]
    fn a_whole_order_bare_or_wrapped() {
        let order = read(&body());
        assert_eq!(order, read(&json!({ "order": body() })));
        assert_eq!(order.total.unwrap().to_string(), "150.1");
        assert_eq!(order.product_ids(), ["p1"]);
        assert_eq!(order.events[0].ticket_price.unwrap().to_string(), "75.05");
        assert_eq!(order.items.unwrap()[0].price_name.as_deref(), Some("VIP"));
        assert!(order.issues.is_empty());
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for field in ["_id", "altId", "status"] {
            let mut body = body();
            body.as_object_mut().unwrap().remove(field);
            assert!(read_order(&body, &id()).is_err(), "without {field}");
        }
        assert!(read_order(&json!({"statusCode": 500, "message": "x"}), &id()).is_err());
        assert!(read_order(&body(), &OrderId::try_new("other").unwrap()).is_err());
    }

    #[test]
    fn unreadable_items_are_none_and_reported() {
        for items in [json!(null), json!([]), json!("x"), json!(["id1", "id2"]), json!([null])] {
            let mut body = body();
            body["items"] = items.clone();
            let order = read(&body);
            assert_eq!(order.items, None, "{items}");
            assert_eq!(order.issues[0].code, "items_unreadable");
        }
    }

    #[test]
    fn old_records_spell_the_contact_in_snake_case_or_leave_it_out() {
        let mut body = body();
        body["contactSnapshot"] = json!({"first_name": "Ada", "last_name": "Example"});
        body["contactId"] = json!("c9");
        let contact = read(&body).contact;
        assert_eq!(
            (contact.id.as_deref(), contact.first_name.as_ref().map(Personal::expose)),
            (Some("c9"), Some("Ada"))
        );
        body["contactSnapshot"] = json!(null);
        assert_eq!(read(&body).contact.first_name, None);
    }

    #[test]
    fn missing_product_and_price_leave_an_item_with_its_own_name() {
        let mut body = body();
        body["items"] = json!([{"name": "Door", "qty": "2"}]);
        let item = read(&body).items.unwrap().remove(0);
        assert_eq!((item.product_id, item.price_id, item.item_name.as_deref()), (None, None, Some("Door")));
    }

    /// Whatever GHL sends: nothing panics, and what becomes tickets is bounded and can be stored.
    #[test]
    fn fuzz_orders() {
        let plain = body().to_string();
        let nested = json!({ "order": body() }).to_string();
        fuzz::fuzz(&[plain.as_bytes(), nested.as_bytes(), b"<html>502</html>", b""], |input| {
            let Ok(body) = crate::json::parse(input) else { return };
            let Ok(order) = read_order(&body, &id()) else { return };
            assert_eq!(order.id, id());
            let (lines, issues) = domain::items::lines(order.items.as_deref().unwrap_or_default(), 1000);
            for line in &lines {
                assert!(line.quantity.is_none_or(|quantity| quantity <= 1000), "{line:?}");
                assert!(!line.ticket_type.is_empty(), "{line:?}");
                assert!(line.ticket_type.chars().count() <= domain::items::MAX_LABEL_CHARS, "{line:?}");
            }
            let texts = lines.iter().flat_map(|line| [&line.product_id, &line.price_id, &line.ticket_type]);
            assert!(texts.into_iter().all(|text| !text.contains('\0')), "Postgres stores no NUL");
            let has_ids = |line: &&domain::items::Line| !line.product_id.is_empty() && !line.price_id.is_empty();
            let keys: std::collections::HashSet<_> =
                lines.iter().filter(has_ids).map(|line| (&line.product_id, &line.price_id)).collect();
            assert_eq!(keys.len(), lines.iter().filter(has_ids).count(), "one line for each product and price");
            let entitled = domain::entitlement::decide(&order.payment, false);
            let issues = order.issues.iter().chain(&issues).chain(&entitled.issue);
            let longest = issues.map(|issue| issue.message.chars().count()).max().unwrap_or(0);
            assert!(longest <= domain::issue::MAX_MESSAGE_CHARS + 1, "{longest} characters");
        });
    }
}
