//! What a right sync makes of an order: valid or not, and how many tickets of which type.
//!
//! Written from the design's rules and independent of the code it checks, so that tests can compare the two.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::Value;

/// More than this on one line is taken for a mistake.
const MAX_QUANTITY: f64 = 1_000.0;

/// What an order should become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// Of our location, with at least one line whose product is listed.
    pub valid: bool,
    /// Valid, paid, live and not a test: its lines count.
    pub entitled: bool,
    /// Tickets in all.
    pub tickets: u64,
    /// Tickets by type. Types of the same name under different products are added up.
    pub ticket_quantities: BTreeMap<String, u64>,
}

/// Judges an order as the detail endpoint shows it (not nested).
pub(crate) fn of(order: &Value, location: &str, listed: &HashSet<&str>) -> Expected {
    let items = order.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ours = text(order, "altId").is_some_and(|id| id == location);
    let valid = ours && items.iter().any(|item| product_id(item).is_some_and(|id| listed.contains(id)));
    let entitled = valid && paid(order) && live(order);
    let mut ticket_quantities = BTreeMap::new();
    if entitled {
        for item in items {
            let quantity = item.get("qty").map_or(0, quantity);
            if quantity > 0 {
                *ticket_quantities.entry(label(item)).or_insert(0) += quantity;
            }
        }
    }
    Expected { valid, entitled, tickets: ticket_quantities.values().sum(), ticket_quantities }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn product_id(item: &Value) -> Option<&str> {
    item.get("product").and_then(|product| text(product, "_id"))
}

fn paid(order: &Value) -> bool {
    match text(order, "paymentStatus") {
        Some(status) => status.eq_ignore_ascii_case("paid"),
        None => text(order, "status").is_some_and(|status| status.eq_ignore_ascii_case("completed")),
    }
}

fn live(order: &Value) -> bool {
    let flag = |key: &str| order.get(key).and_then(Value::as_bool);
    flag("liveMode") != Some(false) && flag("markAsTest") != Some(true)
}

/// A whole number from 1 to the maximum, as a number or as text; anything else entitles to nothing.
fn quantity(value: &Value) -> u64 {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    match number {
        Some(number) if number.fract() == 0.0 && (1.0..=MAX_QUANTITY).contains(&number) => number as u64,
        _ => 0,
    }
}

fn label(item: &Value) -> String {
    let name_of = |key: &str| item.get(key).and_then(|part| text(part, "name"));
    let names = [name_of("price"), text(item, "name"), name_of("product")];
    let named = names.into_iter().flatten().find(|name| !name.trim().is_empty());
    named.unwrap_or("General").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities() {
        let cases = [
            (json!(2), 2),
            (json!("2"), 2),
            (json!(2.0), 2),
            (json!(1_000), 1_000),
            (json!(1_001), 0),
            (json!(1.5), 0),
            (json!(0), 0),
            (json!(-1), 0),
            (json!("many"), 0),
            (Value::Null, 0),
        ];
        for (value, tickets) in cases {
            assert_eq!(quantity(&value), tickets, "{value}");
        }
    }

    #[test]
    fn one_rule_at_a_time() {
        let good = json!({
            "altId": "here", "status": "completed", "paymentStatus": "Paid", "liveMode": true,
            "items": [{"qty": 2, "product": {"_id": "p"}, "price": {"name": "VIP"}}],
        });
        let listed = HashSet::from(["p"]);
        let cases = [
            (json!({}), true, 2),
            (json!({"altId": "there"}), false, 0),
            (json!({"items": null}), false, 0),
            (json!({"items": [{"qty": 2, "product": {"_id": "other"}}]}), false, 0),
            (json!({"paymentStatus": "partially_paid"}), true, 0),
            (json!({"paymentStatus": null}), true, 2),
            (json!({"paymentStatus": null, "status": "weird"}), true, 0),
            (json!({"liveMode": false}), true, 0),
            (json!({"markAsTest": true}), true, 0),
        ];
        for (change, valid, tickets) in cases {
            let mut order = good.clone();
            for (key, value) in change.as_object().into_iter().flatten() {
                order[key] = value.clone();
            }
            let expected = of(&order, "here", &listed);
            assert_eq!((expected.valid, expected.tickets), (valid, tickets), "{change}");
        }
    }
}
