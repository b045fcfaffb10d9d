//! Changing an order from outside.

use serde_json::Value;

use crate::clock;

/// JSON merge patch (RFC 7396). With `keep_nulls` a null is written instead of removing the key.
pub(crate) fn merge(target: &mut Value, change: &Value, keep_nulls: bool) {
    let Value::Object(changes) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in changes {
        if value.is_null() && !keep_nulls {
            target.remove(key);
        } else {
            merge(target.entry(key.as_str()).or_insert(Value::Null), value, keep_nulls);
        }
    }
}

/// When the order was made, if that can be read.
pub(crate) fn created(order: &Value) -> Option<i64> {
    clock::parse(order.get("createdAt")?.as_str()?)
}

/// When the order was last changed, if that can be read.
pub(crate) fn updated(order: &Value) -> Option<i64> {
    clock::parse(order.get("updatedAt")?.as_str()?)
}

/// The order as GHL shows it: without the fake's own notes.
pub(crate) fn shown(mut order: Value) -> Value {
    if let Some(order) = order.as_object_mut() {
        order.remove("_fake");
    }
    order
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_as_the_rfc_says_and_can_keep_nulls() {
        let change = json!({"a": {"b": 2, "c": null}, "d": null, "e": [1]});
        let target = json!({"a": {"b": 1, "c": 1, "x": 1}, "d": 1});
        let mut plain = target.clone();
        merge(&mut plain, &change, false);
        assert_eq!(plain, json!({"a": {"b": 2, "x": 1}, "e": [1]}));
        let mut nulls = target;
        merge(&mut nulls, &change, true);
        assert_eq!(nulls, json!({"a": {"b": 2, "c": null, "x": 1}, "d": null, "e": [1]}));
    }
}
