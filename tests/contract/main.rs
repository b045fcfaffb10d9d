//! The fake GHL answers as GHL's own OpenAPI files say, but for two corrections where the files are known to be wrong; and GHL's own
//! client finds in its answers what it looks for (`sdk`, `declarations`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod declarations;
mod openapi;
mod sdk;

use std::{collections::BTreeSet, env, path::PathBuf};

use fake_ghl::{FakeGhl, Options};
use jsonschema::Validator;
use openapi::{Correction, OpenApi};
use reqwest::Client;
use serde_json::{Value, json};

/// GHL's files, which aren't part of the repository: where `GHL_OPENAPI` says, else beside the project.
fn folder() -> PathBuf {
    let folder = env::var_os("GHL_OPENAPI").map_or_else(|| tests::project("../shared/ghl-openapi"), PathBuf::from);
    assert!(
        folder.join("payments.json").is_file(),
        "GHL's API descriptions are missing: {} has no payments.json, and GHL_OPENAPI may name another folder",
        folder.display()
    );
    folder
}

/// The file types line items as strings; real ones are objects.
fn items() -> Correction<'static> {
    let item = json!({
        "type": "object",
        "required": ["_id", "name", "qty", "product", "price"],
        "properties": {
            "_id": {"type": "string"},
            "name": {"type": "string"},
            "qty": {"type": "integer", "minimum": 1},
            "product": {"type": "object", "required": ["_id", "name"]},
            "price": {"type": "object", "required": ["_id", "name", "type", "currency", "amount"]},
        },
    });
    ("/GetOrderResponseSchema/properties/items", json!({"type": "array", "minItems": 1, "items": item}))
}

/// Odd orders have no items, or items that lack something.
fn odd_items() -> Correction<'static> {
    ("/GetOrderResponseSchema/properties/items", json!({"type": ["array", "null"], "items": {"type": "object"}}))
}

/// The file types a transaction's status as an object and gives `succeeded` as the example: it is text.
fn transaction_status() -> Correction<'static> {
    ("/TxnResponseSchema/properties/status", json!({"type": "string"}))
}

struct Caller {
    fake: FakeGhl,
    http: Client,
    token: String,
}

impl Caller {
    async fn start() -> Self {
        let options = Options { rate_max: 100_000, ..Options::default() };
        Self { fake: FakeGhl::start(&options).await.unwrap(), http: Client::new(), token: options.token }
    }

    async fn get(&self, path: &str, query: &str, status: u16) -> Value {
        let url = format!("{}{path}?{query}", self.fake.url());
        let request = self.http.get(url).bearer_auth(&self.token).header("Version", "2021-07-28");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}?{query}");
        answer.json().await.unwrap()
    }

    async fn ids(&self, which: &str) -> Vec<String> {
        let census = self.get("/_control/orders", "", 200).await;
        let ids = match &census[which] {
            Value::Object(named) => named.values().cloned().collect(),
            list => list.as_array().unwrap().clone(),
        };
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }
}

fn check(validator: &Validator, value: &Value, what: &str) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what} isn't as GHL describes it:\n{}", errors.join("\n"));
}

const ORDERS: &str = "altId=FakeLocation00000001&altType=location";
const PRODUCTS: &str = "locationId=FakeLocation00000001";

#[tokio::test]
async fn lists_of_orders_and_transactions() {
    let folder = folder();
    let (caller, file) = (Caller::start().await, OpenApi::read(&folder, "payments.json"));
    let lists = [
        ("/payments/orders", "OrderResponseSchema", vec![], 162),
        ("/payments/transactions", "TxnResponseSchema", vec![transaction_status()], 161),
    ];
    for (path, component, corrections, total) in lists {
        let validator = file.answer(path, 200, &corrections);
        let mut rows = 0;
        for offset in [0, 100] {
            let page = caller.get(path, &format!("{ORDERS}&limit=100&offset={offset}"), 200).await;
            check(&validator, &page, path);
            for row in page["data"].as_array().unwrap() {
                assert_eq!(file.unnamed(component, row), BTreeSet::new());
                rows += 1;
            }
        }
        assert_eq!(rows, total, "{path}");
    }
}

#[tokio::test]
async fn details_of_every_order() {
    let folder = folder();
    let (caller, file) = (Caller::start().await, OpenApi::read(&folder, "payments.json"));
    for (which, correction, count) in [("orders", items(), 150), ("odd", odd_items(), 12)] {
        let validator = file.answer("/payments/orders/{orderId}", 200, &[correction]);
        let ids = caller.ids(which).await;
        assert_eq!(ids.len(), count);
        for id in ids {
            let mut order = caller.get(&format!("/payments/orders/{id}"), ORDERS, 200).await;
            if let Some(inside) = order.get("order") {
                order = inside.clone();
            }
            check(&validator, &order, &id);
            // Seen on real orders, not in the file.
            assert_eq!(file.unnamed("GetOrderResponseSchema", &order), BTreeSet::from(["paymentStatus".to_owned()]));
        }
    }
}

#[tokio::test]
async fn products_and_their_prices() {
    let folder = folder();
    let (caller, file) = (Caller::start().await, OpenApi::read(&folder, "products.json"));
    let products = caller.get("/products/", PRODUCTS, 200).await;
    check(&file.answer("/products/", 200, &[]), &products, "products");
    for product in products["products"].as_array().unwrap() {
        assert_eq!(file.unnamed("DefaultProductResponseDto", product), BTreeSet::new());
        let path = format!("/products/{}/price", product["_id"].as_str().unwrap());
        let prices = caller.get(&path, PRODUCTS, 200).await;
        check(&file.answer("/products/{productId}/price", 200, &[]), &prices, &path);
        for price in prices["prices"].as_array().unwrap() {
            assert_eq!(file.unnamed("DefaultPriceResponseDto", price), BTreeSet::new());
        }
    }
}

#[tokio::test]
async fn errors() {
    let folder = folder();
    let mut caller = Caller::start().await;
    let settings = format!("{}/_control/settings", caller.fake.url());
    caller.http.patch(settings).json(&json!({"notFoundStatus": 400})).send().await.unwrap();
    let unknown = "/payments/orders/aaaaaaaaaaaaaaaaaaaaaaaa";
    let token = caller.token.clone();
    for (file, described, path, good) in [
        ("payments.json", "/payments/orders", "/payments/orders", ORDERS),
        ("payments.json", "/payments/orders/{orderId}", unknown, ORDERS),
        ("payments.json", "/payments/transactions", "/payments/transactions", ORDERS),
        ("products.json", "/products/", "/products/", PRODUCTS),
    ] {
        let file = OpenApi::read(&folder, file);
        caller.token.clone_from(&token);
        check(&file.answer(described, 422, &[]), &caller.get(path, "", 422).await, path);
        caller.token = "wrong".to_owned();
        check(&file.answer(described, 401, &[]), &caller.get(path, good, 401).await, path);
    }
    caller.token = token;
    let file = OpenApi::read(&folder, "payments.json");
    let not_found = file.answer("/payments/orders/{orderId}", 400, &[]);
    check(&not_found, &caller.get(unknown, ORDERS, 400).await, unknown);
}

/// A comparison that finds nothing wrong with anything would say nothing.
#[test]
fn the_comparison_finds_what_is_wrong() {
    let folder = folder();
    let file = OpenApi::read(&folder, "payments.json");
    let validator = file.answer("/payments/orders", 200, &[]);
    let row = json!({
        "_id": "1", "altId": "1", "altType": "location", "status": "completed", "sourceType": "funnel",
        "createdAt": "2025-06-01T12:00:00.000Z", "updatedAt": "2025-06-01T12:00:00.000Z",
    });
    let wrong = |change: Value| {
        let mut row = row.clone();
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        !validator.is_valid(&json!({"data": [row], "totalCount": 1}))
    };
    assert!(!wrong(json!({})));
    for change in [json!({"amount": "150.1"}), json!({"createdAt": "soon"}), json!({"_id": null})] {
        assert!(wrong(change.clone()), "{change}");
    }
    assert!(!validator.is_valid(&json!({"data": []})), "totalCount is required");
}
