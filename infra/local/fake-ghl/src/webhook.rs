//! Sending webhooks as GHL does: signed by the marketplace app, or from a workflow with a shared secret.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{clock, id::Id, patch, refused::Refused, world::Shared};

/// `POST /_control/webhooks`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Send {
    kind: Kind,
    /// May be unknown to the store: then the body is of a plain order with that id.
    order_id: Option<Id>,
    /// More orders, for a workflow's lines.
    #[serde(default)]
    order_ids: Vec<Id>,
    /// Default `OrderStatusUpdate`.
    r#type: Option<String>,
    #[serde(default)]
    signature: Signature,
    /// Default now.
    timestamp: Option<String>,
    /// Without `timestamp` and `webhookId`, as GHL's own examples are.
    #[serde(default)]
    bare: bool,
    /// Sent instead: text as it is, anything else as JSON.
    body: Option<Value>,
    /// Sent there instead.
    url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Signed,
    Workflow,
}

/// How the signature, or a workflow's shared secret, is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Signature {
    #[default]
    Good,
    Bad,
    Absent,
    /// The literal `N/A`.
    Na,
    /// Right for the body before it was written anew with other spacing.
    Reserialized,
}

/// Sends one and tells the answer.
pub(crate) async fn send(State(shared): State<Shared>, Json(send): Json<Send>) -> Result<Json<Value>, Refused> {
    let url = send.url.clone().or_else(|| shared.settings().webhook_url);
    let url = url.ok_or_else(|| {
        Refused::new(
            StatusCode::CONFLICT,
            "no webhook address: start with --webhook-url, PATCH /_control/settings or name one in `url`",
        )
    })?;
    let value = match (&send.body, send.kind) {
        (Some(body), _) => body.clone(),
        (None, Kind::Signed) => signed_body(&shared, &send)?,
        (None, Kind::Workflow) => workflow_body(&shared, &send)?,
    };
    let mut body = match &value {
        Value::String(raw) => raw.clone(),
        other => other.to_string(),
    };
    let header = match send.kind {
        Kind::Signed => {
            let signature = match send.signature {
                Signature::Good | Signature::Reserialized => Some(shared.key.sign(body.as_bytes())),
                Signature::Bad => Some(shared.key.sign(b"another body")),
                Signature::Absent => None,
                Signature::Na => Some("N/A".to_owned()),
            };
            ("x-ghl-signature", signature)
        }
        Kind::Workflow => {
            let secret = match send.signature {
                Signature::Good | Signature::Reserialized => Some(shared.webhook_secret.clone()),
                Signature::Bad => Some(format!("not-{}", shared.webhook_secret)),
                Signature::Absent => None,
                Signature::Na => Some("N/A".to_owned()),
            };
            (shared.webhook_secret_header.as_str(), secret)
        }
    };
    if send.signature == Signature::Reserialized {
        body = serde_json::to_string_pretty(&value).unwrap_or(body);
    }
    let mut request = shared.http.post(&url).header("content-type", "application/json").body(body);
    if let (name, Some(value)) = header {
        request = request.header(name, value);
    }
    let unreachable =
        |error: reqwest::Error| Refused::new(StatusCode::BAD_GATEWAY, &format!("the webhook wasn't answered: {error}"));
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let text = answer.text().await.map_err(unreachable)?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Json(json!({"status": status, "body": body, "retryAfter": retry_after})))
}

fn order(shared: &Shared, id: Id) -> Value {
    let store = shared.store();
    let order = patch::shown(store.get(id).unwrap_or_else(|| store.plain(id, clock::now())));
    shared.people().meet(&order);
    order
}

/// The order with `type` and `locationId`; `paymentStatus` isn't in webhooks.
fn signed_body(shared: &Shared, send: &Send) -> Result<Value, Refused> {
    let id = send.order_id.ok_or_else(|| Refused::new(StatusCode::BAD_REQUEST, "orderId or body is missing"))?;
    let order = order(shared, id);
    let mut body = json!({
        "type": send.r#type.as_deref().unwrap_or("OrderStatusUpdate"),
        "locationId": order.get("altId"),
    });
    let mut change = order;
    if let Some(change) = change.as_object_mut() {
        change.remove("paymentStatus");
    }
    patch::merge(&mut body, &change, true);
    if !send.bare {
        let timestamp = send.timestamp.clone().unwrap_or_else(|| clock::text(clock::now()));
        let number = id.number() ^ clock::now() as u64;
        let webhook_id = format!("{:08x}-fa4e-4000-8000-{:012x}", number >> 32, number & 0xffff_ffff_ffff);
        patch::merge(&mut body, &json!({"timestamp": timestamp, "webhookId": webhook_id}), false);
    }
    Ok(body)
}

/// What a workflow's webhook step sends: the contact's fields, the order ids deep inside.
fn workflow_body(shared: &Shared, send: &Send) -> Result<Value, Refused> {
    let ids: Vec<Id> = send.order_id.iter().chain(&send.order_ids).copied().collect();
    let Some(first) = ids.first() else {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "orderId, orderIds or body is missing"));
    };
    let contact = order(shared, *first);
    let of_contact = |key: &str| contact.pointer(&format!("/contactSnapshot/{key}")).cloned().unwrap_or(json!("null"));
    let lines: Vec<Value> = ids
        .iter()
        .map(|id| {
            let order = order(shared, *id);
            let item = |pointer: &str| order.pointer(&format!("/items/0/{pointer}")).cloned();
            json!({
                "title": item("name"),
                "quantity": item("qty"),
                "price": item("price/amount"),
                "meta": {"order_id": id, "product_id": item("product/_id"), "price_id": item("price/_id")},
            })
        })
        .collect();
    let mut body = json!({
        // Not an order: nobody may take a top-level id for one.
        "id": shared.store().seed.id("workflow decoy", first.number()),
        "contact_id": contact.get("contactId"),
        "first_name": of_contact("firstName"),
        "last_name": of_contact("lastName"),
        "email": of_contact("email"),
        "phone": of_contact("phone"),
        "tags": "ticket buyer,newsletter",
        "country": "null",
        "Dietary needs": "null",
        "order": {"line_items": lines, "currency_code": contact.get("currency")},
        "payment": {"line_items": lines, "total_amount": contact.get("amount")},
        "customData": {"order_id": first},
        "location": {"id": shared.location, "name": "Harbour Events"},
        "workflow": {"id": "fake-workflow", "name": "Order submitted"},
    });
    if let Some(timestamp) = &send.timestamp {
        patch::merge(&mut body, &json!({"timestamp": timestamp}), false);
    }
    Ok(body)
}
