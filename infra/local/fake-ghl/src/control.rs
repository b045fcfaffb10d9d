//! The endpoints tests steer the fake by, under `/_control`; the crate's documentation lists them.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    catalogue::Product, desk::Desk, fault::Rule, id::Id, patch, random::Seed, refused::Refused, settings::FakeSettings,
    store::Store, webhook, world::Shared,
};

/// All of them.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .route("/counters", get(counters).delete(clear_counters))
        .route("/orders", get(orders))
        .route("/orders/{id}", get(order).put(put_order).delete(delete_order))
        .route("/orders/{id}/expected", get(expected))
        .route("/products", get(products))
        .route("/products/{id}", put(put_product))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/settings", get(settings).patch(patch_settings))
        .route("/webhooks", post(webhook::send))
        .route("/people", get(people))
        .route("/webhook-key", get(webhook_key))
        .route("/reset", post(reset))
}

async fn counters(State(shared): State<Shared>) -> Response {
    Json(shared.desk().counters.clone()).into_response()
}

async fn clear_counters(State(shared): State<Shared>) -> StatusCode {
    shared.desk().counters = Default::default();
    StatusCode::NO_CONTENT
}

async fn orders(State(shared): State<Shared>) -> Json<Value> {
    let census = shared.store().census();
    Json(json!({
        "orders": census.ordinary,
        "all": census.all,
        "valid": census.valid,
        "odd": census.odd,
        "expectedTickets": census.expected_tickets,
        "ordinaryTickets": census.ordinary_tickets,
    }))
}

async fn order(State(shared): State<Shared>, Path(id): Path<Id>) -> Result<Json<Value>, Refused> {
    shared.store().get(id).map(Json).ok_or_else(Refused::no_order)
}

async fn expected(State(shared): State<Shared>, Path(id): Path<Id>) -> Result<Response, Refused> {
    let expected = shared.store().expected(id).ok_or_else(Refused::no_order)?;
    Ok(Json(expected).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutOptions {
    #[serde(default)]
    keep_updated_at: bool,
    #[serde(default)]
    keep_nulls: bool,
    /// The change is of this one of its items, from 0.
    item: Option<usize>,
}

async fn put_order(
    State(shared): State<Shared>,
    Path(id): Path<Id>,
    Query(options): Query<PutOptions>,
    Json(change): Json<Value>,
) -> Result<Json<Value>, Refused> {
    let names_another = change.get("_id").is_some_and(|given| given != &json!(id));
    if !change.is_object() || names_another {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "the body is a JSON object without another order's _id"));
    }
    let mut store = shared.store_mut();
    let change = match options.item {
        None => change,
        Some(number) => {
            let mut order = store.get(id).ok_or_else(Refused::no_order)?;
            let item = order.get_mut("items").and_then(|items| items.get_mut(number));
            let item = item.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "no such item"))?;
            patch::merge(item, &change, options.keep_nulls);
            json!({"items": order.get("items")})
        }
    };
    Ok(Json(store.put(id, &change, options.keep_updated_at, options.keep_nulls)))
}

async fn delete_order(State(shared): State<Shared>, Path(id): Path<Id>) -> Result<StatusCode, Refused> {
    if shared.store_mut().delete(id) { Ok(StatusCode::NO_CONTENT) } else { Err(Refused::no_order()) }
}

async fn products(State(shared): State<Shared>) -> Response {
    Json(json!({"products": shared.store().products})).into_response()
}

/// Changes a product of the list, or adds one. Orders keep the names they were bought under.
async fn put_product(
    State(shared): State<Shared>,
    Path(id): Path<Id>,
    Json(change): Json<Value>,
) -> Result<Response, Refused> {
    let id = id.to_string();
    let refused = |error: serde_json::Error| Refused::new(StatusCode::BAD_REQUEST, &error.to_string());
    let mut store = shared.store_mut();
    let known = store.products.iter_mut().find(|product| product.id == id);
    let mut value = known.as_ref().map_or(Ok(json!({"name": "New event"})), serde_json::to_value).map_err(refused)?;
    patch::merge(&mut value, &change, false);
    patch::merge(&mut value, &json!({"_id": id}), false);
    let product: Product = serde_json::from_value(value).map_err(refused)?;
    let answer = Json(product.clone()).into_response();
    match known {
        Some(known) => *known = product,
        None => store.products.push(product),
    }
    Ok(answer)
}

async fn faults(State(shared): State<Shared>) -> Response {
    Json(json!({"faults": shared.desk().faults})).into_response()
}

async fn add_fault(State(shared): State<Shared>, Json(rule): Json<Rule>) -> (StatusCode, Response) {
    let mut desk = shared.desk();
    desk.faults.push(rule);
    (StatusCode::CREATED, Json(json!({"faults": desk.faults})).into_response())
}

async fn clear_faults(State(shared): State<Shared>) -> StatusCode {
    shared.desk().faults.clear();
    StatusCode::NO_CONTENT
}

async fn settings(State(shared): State<Shared>) -> Json<FakeSettings> {
    Json(shared.settings())
}

async fn patch_settings(
    State(shared): State<Shared>,
    Json(change): Json<Value>,
) -> Result<Json<FakeSettings>, Refused> {
    let refused = |error: serde_json::Error| Refused::new(StatusCode::BAD_REQUEST, &error.to_string());
    let mut desk = shared.desk();
    let mut value = serde_json::to_value(&desk.settings).map_err(refused)?;
    patch::merge(&mut value, &change, true);
    desk.settings = serde_json::from_value(value).map_err(refused)?;
    Ok(Json(desk.settings.clone()))
}

async fn people(State(shared): State<Shared>) -> Response {
    Json(shared.people().all().clone()).into_response()
}

async fn webhook_key(State(shared): State<Shared>) -> Result<Json<Value>, Refused> {
    let broken = |error: anyhow::Error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
    let (public, private) = (shared.key.public_base64().map_err(broken)?, shared.key.private_base64().map_err(broken)?);
    Ok(Json(json!({"publicKey": public, "privateKey": private})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    orders: Option<u32>,
    seed: Option<u64>,
}

/// Everything as at the start, with other numbers if wanted.
async fn reset(State(shared): State<Shared>, body: Option<Json<Reset>>) -> StatusCode {
    let Json(reset) = body.unwrap_or_default();
    let seed = reset.seed.unwrap_or(shared.first_seed);
    let store = Store::new(Seed(seed), reset.orders.unwrap_or(shared.first_orders), &shared.location);
    *shared.store_mut() = store;
    let mut desk = shared.desk();
    // Where webhooks go was learned after the start, and stays true.
    let webhook_url = desk.settings.webhook_url.take();
    *desk = Desk { settings: FakeSettings { webhook_url, ..shared.first_settings.clone() }, ..Desk::default() };
    StatusCode::NO_CONTENT
}
