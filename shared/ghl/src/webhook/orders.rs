//! Which orders a webhook names, in both of its forms.

use domain::{LocationId, OrderId};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::json;

/// What a webhook asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Look at these orders.
    Orders(Vec<OrderId>),
    /// Nothing to do: the event type isn't about an order.
    Ignored,
}

/// Why a body can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    /// Not a JSON object.
    #[error("The body must be a JSON object")]
    NotAnObject,
    /// No location, or not ours.
    #[error("The webhook is not for this location")]
    OtherLocation,
    /// The event is too old, or from the future.
    #[error("The timestamp is outside the accepted window")]
    OutsideWindow,
    /// There is no order id where one belongs.
    #[error("The body names no order: expected _id, or order.line_items[].meta.order_id, or customData.order_id")]
    NoOrder,
}

/// How old an event may be: GHL's own retries may carry the first attempt's time stamp for an hour.
const OLDEST: SignedDuration = SignedDuration::from_hours(2);
/// How far a clock may be ahead.
const NEWEST: SignedDuration = SignedDuration::from_mins(5);

/// Finds the orders. `now` is compared with the body's `timestamp`, where there is one.
///
/// # Errors
/// [`NotUsable`].
pub fn order_ids(body: &[u8], ours: &LocationId, now: Timestamp) -> Result<Hint, NotUsable> {
    let body = json::parse(body).ok().filter(Value::is_object).ok_or(NotUsable::NotAnObject)?;
    match json::text(&body, "type").as_deref() {
        Some("OrderCreate" | "OrderStatusUpdate") => marketplace(&body, ours, now).map(|id| Hint::Orders(vec![id])),
        // Marketplace events have their type and location at the top level; workflow bodies have neither.
        Some(_) if body.get("location").is_none() => Ok(Hint::Ignored),
        _ => workflow(&body, ours).map(Hint::Orders),
    }
}

fn marketplace(body: &Value, ours: &LocationId, now: Timestamp) -> Result<OrderId, NotUsable> {
    let location = json::text_of(body, &["locationId", "altId"]);
    if location.as_deref() != Some(ours.as_str()) {
        return Err(NotUsable::OtherLocation);
    }
    if let Some(sent) = json::timestamp(body, "timestamp") {
        let age = now.duration_since(sent);
        if age > OLDEST || -age > NEWEST {
            return Err(NotUsable::OutsideWindow);
        }
    }
    json::text(body, "_id").and_then(|id| OrderId::try_new(id).ok()).ok_or(NotUsable::NoOrder)
}

/// Order ids of a workflow webhook. A top-level `id` is the contact's and never taken.
fn workflow(body: &Value, ours: &LocationId) -> Result<Vec<OrderId>, NotUsable> {
    let location = body.get("location").and_then(|location| json::text(location, "id"));
    if location.as_deref() != Some(ours.as_str()) {
        return Err(NotUsable::OtherLocation);
    }
    let in_lines = ["order", "payment"].into_iter().flat_map(|holder| {
        let lines = body.get(holder).and_then(|holder| holder.get("line_items")).and_then(Value::as_array);
        lines.into_iter().flatten().filter_map(|line| json::text(line.get("meta")?, "order_id"))
    });
    let custom = body.get("customData").and_then(|data| json::text(data, "order_id"));
    let mut ids: Vec<OrderId> = Vec::new();
    for id in in_lines.chain(custom).filter_map(|id| OrderId::try_new(id).ok()).filter(|id| !is_nothing(id)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() { Err(NotUsable::NoOrder) } else { Ok(ids) }
}

/// What a workflow's field shows where it has no value. Such words have the form of an id, and aren't any.
fn is_nothing(id: &OrderId) -> bool {
    ["null", "undefined", "none", "nil", "nan", "true", "false"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(id.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "660000000000000000000001";
    const OTHER: &str = "660000000000000000000002";

    fn read(body: &Value) -> Result<Hint, NotUsable> {
        let ours = LocationId::try_new("loc").unwrap();
        order_ids(body.to_string().as_bytes(), &ours, "2026-05-01T10:00:00Z".parse().unwrap())
    }

    fn orders(ids: &[&str]) -> Result<Hint, NotUsable> {
        Ok(Hint::Orders(ids.iter().map(|id| OrderId::try_new(*id).unwrap()).collect()))
    }

    #[test]
    fn marketplace_events_name_their_order() {
        let event = |kind: &str, timestamp: Value| json!({"type": kind, "locationId": "loc", "_id": ID, "timestamp": timestamp});
        assert_eq!(read(&event("OrderCreate", json!(null))), orders(&[ID]));
        assert_eq!(read(&event("OrderStatusUpdate", json!("2026-05-01T08:00:01Z"))), orders(&[ID]));
        assert_eq!(read(&event("OrderStatusUpdate", json!("2026-05-01T07:59:59Z"))), Err(NotUsable::OutsideWindow));
        assert_eq!(read(&event("OrderStatusUpdate", json!("2026-05-01T10:05:01Z"))), Err(NotUsable::OutsideWindow));
        assert_eq!(read(&event("INSTALL", json!(null))), Ok(Hint::Ignored));
        assert_eq!(
            read(&json!({"type": "OrderCreate", "locationId": "other", "_id": ID})),
            Err(NotUsable::OtherLocation)
        );
        assert_eq!(read(&json!({"type": "OrderCreate", "locationId": "loc", "_id": "a/b"})), Err(NotUsable::NoOrder));
    }

    #[test]
    fn workflow_bodies_name_orders_in_three_places() {
        let line = |id: &str| json!({"meta": {"order_id": id}});
        let body = json!({
            "id": "contact", "contact_id": "c", "tags": "a,b", "location": {"id": "loc"},
            "order": {"line_items": [line(ID), line(ID), {"meta": null}, 3]},
            "payment": {"line_items": [line(OTHER)]},
            "customData": {"order_id": "null"},
        });
        assert_eq!(read(&body), orders(&[ID, OTHER]));
        assert_eq!(read(&json!({"location": {"id": "loc"}, "customData": {"order_id": ID}})), orders(&[ID]));
        assert_eq!(read(&json!({"location": {"id": "loc"}, "id": ID})), Err(NotUsable::NoOrder));
        assert_eq!(
            read(&json!({"location": {"id": "other"}, "customData": {"order_id": ID}})),
            Err(NotUsable::OtherLocation)
        );
        assert_eq!(read(&json!({"customData": {"order_id": ID}})), Err(NotUsable::OtherLocation));
        for nothing in ["null", "Undefined", "none", "", "{{order.id}}"] {
            let body = json!({"location": {"id": "loc"}, "customData": {"order_id": nothing}});
            assert_eq!(read(&body), Err(NotUsable::NoOrder), "{nothing}");
        }
    }

    #[test]
    fn ids_need_not_be_24_hex_digits() {
        let id = "order_abc123";
        let line = json!({"meta": {"order_id": id}});
        for body in [
            json!({"type": "OrderCreate", "locationId": "loc", "_id": id}),
            json!({"location": {"id": "loc"}, "order": {"line_items": [line]}}),
            json!({"location": {"id": "loc"}, "customData": {"order_id": id}}),
        ] {
            assert_eq!(read(&body), orders(&[id]), "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in [&b""[..], b"[]", b"null", b"{", b"\"x\"", b"\xff"] {
            let read = order_ids(body, &LocationId::try_new("loc").unwrap(), Timestamp::UNIX_EPOCH);
            assert_eq!(read, Err(NotUsable::NotAnObject), "{body:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(
            order_ids(
                format!("{{\"a\":{deep}").as_bytes(),
                &LocationId::try_new("loc").unwrap(),
                Timestamp::UNIX_EPOCH
            )
            .is_err()
        );
    }

    /// Whatever comes through the open door: nothing panics, and only ids of our location's orders come out.
    #[test]
    fn fuzz_webhook_bodies() {
        let ours = LocationId::try_new("loc").unwrap();
        let now = "2026-05-01T10:00:00Z".parse().unwrap();
        let event = json!({
            "type": "OrderStatusUpdate", "locationId": "loc", "_id": ID, "timestamp": "2026-05-01T09:00:00Z",
            "items": [{"qty": 1}], "contactSnapshot": {"firstName": "Ada"},
        })
        .to_string();
        let lines = json!([{"meta": {"order_id": ID}}, {"meta": {"order_id": OTHER}}]);
        let workflow = json!({
            "id": "contact", "location": {"id": "loc"}, "order": {"line_items": lines},
            "payment": {"line_items": lines}, "customData": {"order_id": ID},
        })
        .to_string();
        fuzz::fuzz(&[event.as_bytes(), workflow.as_bytes(), b"[]", b"null"], |input| {
            let Ok(Hint::Orders(ids)) = order_ids(input, &ours, now) else { return };
            let text = String::from_utf8_lossy(input);
            assert!(text.contains("loc"), "orders of nobody knows which location");
            assert!(!ids.is_empty() && ids.len() <= input.len());
            for (place, id) in ids.iter().enumerate() {
                assert!(id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{id}");
                assert!(!ids[..place].contains(id), "{id} twice");
            }
        });
    }

    #[test]
    fn fuzz_webhook_signatures() {
        let signing = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let public = ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_der(&signing.verifying_key()).unwrap();
        let base64 = base64::engine::general_purpose::STANDARD;
        let public = base64::Engine::encode(&base64, public);
        let keys = crate::webhook::WebhookKeys::new(&public, Some("an invented secret".into())).unwrap();
        let good = ed25519_dalek::Signer::sign(&signing, b"{}").to_bytes();
        let good = base64::Engine::encode(&base64, good);
        fuzz::fuzz(&[good.as_bytes(), b"N/A", b"an invented secret"], |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            assert!(keys.verify(b"{}", Some(text), None).is_err() || text.trim() == good);
            assert!(keys.verify(b"{ }", Some(text), None).is_err(), "another body");
            assert!(keys.verify(b"{}", None, Some(text)).is_err() || text == "an invented secret");
        });
    }
}
