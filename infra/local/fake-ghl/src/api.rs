//! The GHL endpoints.

use axum::{
    Json, Router,
    extract::{Path, Query as QueryOf, State},
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    error::GhlError,
    filter::{Filter, Query},
    gateway, patch, row,
    settings::FakeSettings,
    world::Shared,
};

type Answer = Result<Json<Value>, GhlError>;

/// All of them behind the gateway.
pub(crate) fn routes(shared: &Shared) -> Router<Shared> {
    Router::new()
        .route("/payments/orders", get(list))
        .route("/payments/orders/{id}", get(detail))
        .route("/payments/transactions", get(transactions))
        .route("/products/", get(products))
        .route("/products", get(products))
        .route("/products/{id}/price", get(prices))
        .route_layer(from_fn_with_state(shared.clone(), gateway::pass))
}

async fn list(State(shared): State<Shared>, QueryOf(query): QueryOf<Query>) -> Answer {
    let settings = shared.settings();
    let mut check = Check::new(&query);
    // The specification of orders names no altType; where it is given, it has to be right.
    check.alt(false);
    let (limit, offset) = check.page(10, 1, settings.max_limit);
    let filter = check.filter();
    check.finish(&shared.location, "altId")?;
    let page = shared.store().list(&filter, offset, settings.capped(limit), settings.list_lag_ms);
    let rows = page.orders.iter().map(|(_, order)| row::of_order(order, &settings)).collect();
    Ok(Json(as_list(&settings, rows, page.total)))
}

async fn transactions(State(shared): State<Shared>, QueryOf(query): QueryOf<Query>) -> Answer {
    let settings = shared.settings();
    let mut check = Check::new(&query);
    check.alt(true);
    let (limit, offset) = check.page(10, 1, settings.max_limit);
    let filter = check.filter().received();
    check.finish(&shared.location, "altId")?;
    let limit = settings.capped(limit);
    let store = shared.store();
    let (orders, total) = match query.get("entityId") {
        None => {
            let page = store.list(&filter, offset, limit, 0);
            (page.orders, page.total)
        }
        Some(entity) => {
            let found = entity.parse().ok().and_then(|id| Some((id, store.get(id)?)));
            let found: Vec<_> = found.into_iter().filter(|(_, order)| row::payment_status(order) != "unpaid").collect();
            let total = found.len();
            (found.into_iter().skip(offset).take(limit).collect(), total)
        }
    };
    let rows = orders.iter().map(|(id, order)| row::of_transaction(order, *id, store.seed)).collect();
    Ok(Json(as_list(&settings, rows, total)))
}

async fn detail(State(shared): State<Shared>, Path(id): Path<String>, QueryOf(query): QueryOf<Query>) -> Answer {
    let mut check = Check::new(&query);
    check.alt(false);
    check.finish(&shared.location, "altId")?;
    let order = id.parse().ok().and_then(|id| shared.store().get(id));
    let order = order.ok_or_else(|| not_found(&shared.settings(), "Order not found"))?;
    shared.people().meet(&order);
    let nested = order.pointer("/_fake/nested") == Some(&json!(true));
    let order = patch::shown(order);
    Ok(Json(if nested { json!({"order": order}) } else { order }))
}

async fn products(State(shared): State<Shared>, QueryOf(query): QueryOf<Query>) -> Answer {
    let mut check = Check::new(&query);
    check.needed("locationId");
    // The documented default limit is 0: everything.
    let settings = shared.settings();
    let (limit, offset) = check.page(0, 0, settings.max_limit);
    check.finish(&shared.location, "locationId")?;
    let store = shared.store();
    let search = query.get("search").map(|text| text.to_lowercase()).unwrap_or_default();
    let listed: Vec<_> = (store.products.iter())
        .filter(|product| product.listed && product.name.to_lowercase().contains(&search))
        .collect();
    let limit = settings.capped(if limit == 0 { listed.len() } else { limit });
    let total = (listed.len() as i64 + settings.product_total_offset).max(0);
    let rows: Vec<Value> =
        listed.iter().skip(offset).take(limit).map(|product| product.row(&shared.location)).collect();
    Ok(Json(json!({"products": rows, "total": [{"total": total}]})))
}

async fn prices(State(shared): State<Shared>, Path(id): Path<String>, QueryOf(query): QueryOf<Query>) -> Answer {
    let mut check = Check::new(&query);
    check.needed("locationId");
    let (limit, offset) = check.page(0, 0, shared.settings().max_limit);
    check.finish(&shared.location, "locationId")?;
    let store = shared.store();
    let product = store.products.iter().find(|product| product.id == id);
    let product = product.ok_or_else(|| not_found(&shared.settings(), "Product not found"))?;
    let all = product.price_rows(&shared.location);
    let limit = if limit == 0 { all.len() } else { limit };
    let rows: Vec<&Value> = all.iter().skip(offset).take(limit).collect();
    Ok(Json(json!({"prices": rows, "total": all.len()})))
}

fn as_list(settings: &FakeSettings, rows: Vec<Value>, total: usize) -> Value {
    let total = (total as i64 + settings.total_count_offset).max(0);
    let list = json!({"data": rows, "totalCount": total});
    if settings.nested_list { json!({"data": list}) } else { list }
}

fn not_found(settings: &FakeSettings, message: &str) -> GhlError {
    let status = StatusCode::from_u16(settings.not_found_status).unwrap_or(StatusCode::NOT_FOUND);
    GhlError::new(status, message)
}

/// Reads a query and collects everything wrong with it, as GHL answers it: all at once.
struct Check<'a> {
    query: &'a Query,
    errors: Vec<String>,
}

impl<'a> Check<'a> {
    fn new(query: &'a Query) -> Self {
        Self { query, errors: Vec::new() }
    }

    fn needed(&mut self, key: &str) {
        if self.query.get(key).is_none_or(String::is_empty) {
            self.errors.push(format!("{key} should not be empty"));
            self.errors.push(format!("{key} must be a string"));
        }
    }

    fn alt(&mut self, type_needed: bool) {
        self.needed("altId");
        match self.query.get("altType").map(String::as_str) {
            Some("location") => {}
            None if !type_needed => {}
            _ => self.errors.push("altType must be one of the following values: location".to_owned()),
        }
    }

    /// `limit` and `offset`.
    fn page(&mut self, default_limit: u64, min_limit: u64, max_limit: u64) -> (usize, usize) {
        let limit = self.number("limit", default_limit);
        let offset = self.number("offset", 0);
        if limit > max_limit {
            self.errors.push(format!("limit must not be greater than {max_limit}"));
        }
        if limit < min_limit {
            self.errors.push(format!("limit must not be less than {min_limit}"));
        }
        (limit as usize, offset as usize)
    }

    fn number(&mut self, key: &str, default: u64) -> u64 {
        let Some(text) = self.query.get(key) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.errors.push(format!("{key} must be a number conforming to the specified constraints"));
            default
        })
    }

    fn filter(&mut self) -> Filter {
        Filter::read(self.query).unwrap_or_else(|errors| {
            self.errors.extend(errors);
            Filter::default()
        })
    }

    /// 422 for what was wrong, 403 for a location the token isn't for.
    fn finish(self, location: &str, key: &str) -> Result<(), GhlError> {
        if !self.errors.is_empty() {
            return Err(GhlError::unprocessable(self.errors));
        }
        if self.query.get(key).is_some_and(|given| given != location) {
            let message = "The token does not have access to this location.";
            return Err(GhlError::new(StatusCode::FORBIDDEN, message));
        }
        Ok(())
    }
}
