//! What lists show of an order: its row without line items, and its transaction.

use serde_json::{Map, Value, json};

use crate::{id::Id, patch, random::Seed, settings::FakeSettings};

/// An order's row in `GET /payments/orders`. Values the order lacks are left out, then what settings and its own notes say of it.
pub(crate) fn of_order(order: &Value, settings: &FakeSettings) -> Value {
    let mut row = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            row.insert(key.to_owned(), value);
        }
    };
    for key in ["_id", "altId", "altType", "currency", "amount", "status", "liveMode", "fulfillmentStatus"] {
        put(key, order.get(key).cloned());
    }
    put("createdAt", order.get("createdAt").cloned());
    put("updatedAt", order.get("updatedAt").cloned());
    contact(order, &mut put);
    let items = order.get("items").and_then(Value::as_array).map_or(0, Vec::len);
    let recurring = count_recurring(order);
    put("subtotal", order.pointer("/amountSummary/subtotal").cloned());
    put("discount", order.pointer("/amountSummary/discount").cloned());
    put("totalProducts", Some(json!(items)));
    put("onetimeProducts", Some(json!(items - recurring)));
    put("recurringProducts", Some(json!(recurring)));
    put("couponCode", order.pointer("/coupon/code").cloned());
    put("sourceType", order.pointer("/source/type").cloned().or_else(|| Some(json!("manual"))));
    put("sourceSubType", order.pointer("/source/subType").cloned());
    put("sourceName", order.pointer("/source/name").cloned());
    put("sourceId", order.pointer("/source/id").cloned());
    put("sourceMeta", order.pointer("/source/meta").cloned());
    for key in &settings.row_fields {
        put(key, order.get(key).cloned());
    }
    let mut row = Value::Object(row);
    let changes = [Some(&settings.row_patch), order.pointer("/_fake/row")];
    for change in changes.into_iter().flatten().filter(|change| change.is_object()) {
        patch::merge(&mut row, change, false);
    }
    row
}

/// The money received for an order, in `GET /payments/transactions`.
pub(crate) fn of_transaction(order: &Value, id: Id, seed: Seed) -> Value {
    let mut row = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            row.insert(key.to_owned(), value);
        }
    };
    for key in ["altId", "altType", "currency", "amount", "liveMode", "createdAt", "updatedAt"] {
        put(key, order.get(key).cloned());
    }
    contact(order, &mut put);
    let refunded = payment_status(order) == "refunded";
    let back = match order.pointer("/_fake/amountRefunded") {
        Some(amount) => Some(amount.clone()),
        None if refunded => order.get("amount").cloned(),
        None => Some(json!(0)),
    };
    put("_id", Some(json!(seed.id("transaction", id.number()))));
    put("status", Some(json!(if refunded { "refunded" } else { "succeeded" })));
    put("amountRefunded", back);
    put("entityType", Some(json!("order")));
    put("entityId", Some(json!(id)));
    put("entitySourceType", order.pointer("/source/type").cloned().or_else(|| Some(json!("manual"))));
    put("entitySourceSubType", order.pointer("/source/subType").cloned());
    put("entitySourceName", order.pointer("/source/name").cloned());
    put("entitySourceId", order.pointer("/source/id").cloned());
    put("chargeId", Some(json!(format!("ch_{}", seed.word("charge", id.number())))));
    put("paymentProviderType", Some(json!("stripe")));
    put("fulfilledAt", order.get("updatedAt").cloned());
    Value::Object(row)
}

/// Lower case; empty where the order has none.
pub(crate) fn payment_status(order: &Value) -> String {
    order.get("paymentStatus").and_then(Value::as_str).unwrap_or_default().to_lowercase()
}

/// First and last name in either spelling; empty where there is no contact.
pub(crate) fn contact_name(order: &Value) -> String {
    let part = |camel: &str, snake: &str| {
        let contact = order.get("contactSnapshot")?;
        contact.get(camel).or_else(|| contact.get(snake))?.as_str()
    };
    let first = part("firstName", "first_name").unwrap_or_default();
    let last = part("lastName", "last_name").unwrap_or_default();
    format!("{first} {last}").trim().to_owned()
}

fn contact(order: &Value, put: &mut impl FnMut(&str, Option<Value>)) {
    let name = contact_name(order);
    put("contactId", order.get("contactId").cloned());
    put("contactName", (!name.is_empty()).then(|| json!(name)));
    put("contactEmail", order.pointer("/contactSnapshot/email").cloned());
}

fn count_recurring(order: &Value) -> usize {
    let items = order.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let recurring = |item: &&Value| item.pointer("/price/type").and_then(Value::as_str) == Some("recurring");
    items.iter().filter(recurring).count()
}
