//! The fake GHL's control endpoints.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::api::{THROTTLED, is_throttled};
use crate::stack::Stack;

/// The fake GHL of a stack.
pub struct FakeGhl {
    http: reqwest::Client,
    base: String,
}

/// What the fake holds, and what a right sync makes of it.
pub struct Census {
    /// The ids of all orders.
    pub all: Vec<String>,
    /// Those of the ordinary ones.
    pub ordinary: Vec<String>,
    /// Those that entitle to tickets.
    pub valid: Vec<String>,
    /// The odd dozen: id by what is odd about it.
    pub odd: Value,
    /// How many tickets all of them entitle to.
    pub expected_tickets: u64,
}

/// An order id nobody else uses.
pub fn new_id() -> String {
    format!("{:024x}", rand::random::<u128>() >> 32)
}

impl FakeGhl {
    /// The controls of a stack's fake.
    pub fn new(stack: &Stack) -> Self {
        Self { http: crate::http(), base: format!("{}/_control", stack.ghl_url) }
    }

    async fn control(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method, format!("{}/{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the fake GHL answers");
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Everything as at the start, with so many ordinary orders beside the odd dozen.
    pub async fn reset(&self, orders: u32) {
        self.control(Method::POST, "reset", Some(json!({ "orders": orders }))).await;
    }

    /// Everything as at the start, with as many orders as then.
    pub async fn restart(&self) {
        self.control(Method::POST, "reset", Some(json!({}))).await;
    }

    /// What it holds now.
    pub async fn census(&self) -> Census {
        let census = self.control(Method::GET, "orders", None).await;
        let ids = |key: &str| serde_json::from_value(census[key].clone()).unwrap();
        Census {
            all: ids("all"),
            ordinary: ids("orders"),
            valid: ids("valid"),
            odd: census["odd"].clone(),
            expected_tickets: census["expectedTickets"].as_u64().unwrap(),
        }
    }

    /// Changes an order, or makes a plain valid one with a single ticket.
    pub async fn put(&self, order_id: &str, change: Value) -> Value {
        self.control(Method::PUT, &format!("orders/{order_id}"), Some(change)).await
    }

    /// The same without moving `updatedAt`.
    pub async fn put_silently(&self, order_id: &str, change: Value) {
        self.control(Method::PUT, &format!("orders/{order_id}?keepUpdatedAt=true"), Some(change)).await;
    }

    /// Makes or changes an order so that its first line entitles to so many tickets.
    pub async fn put_quantity(&self, order_id: &str, quantity: u64) -> Value {
        let mut items = self.put(order_id, json!({})).await["items"].clone();
        items[0]["qty"] = json!(quantity);
        self.put(order_id, json!({ "items": items })).await
    }

    /// The same with nulls where the change has them, instead of removing what they name.
    pub async fn put_with_nulls(&self, order_id: &str, change: Value) {
        self.control(Method::PUT, &format!("orders/{order_id}?keepNulls=true"), Some(change)).await;
    }

    /// An order whose lines have vanished.
    pub async fn put_null_items(&self, order_id: &str) {
        self.put_with_nulls(order_id, json!({ "items": null })).await;
    }

    /// Answers for an order with this text, until healed.
    pub async fn answer_order_with(&self, order_id: &str, text: &str) {
        let fault = json!({ "kind": "status", "status": 200, "body": text });
        self.fail(json!({ "endpoint": "detail", "orderId": order_id, "fault": fault })).await;
    }

    /// An order as GHL shows it.
    pub async fn order(&self, order_id: &str) -> Value {
        self.control(Method::GET, &format!("orders/{order_id}"), None).await
    }

    /// How many tickets of which type a right sync makes of an order.
    pub async fn expected(&self, order_id: &str) -> Value {
        self.control(Method::GET, &format!("orders/{order_id}/expected"), None).await
    }

    /// The products with their prices, listed or not.
    pub async fn products(&self) -> Vec<Value> {
        let products = self.control(Method::GET, "products", None).await;
        products["products"].as_array().unwrap().clone()
    }

    /// Empties the product list.
    pub async fn delist_all_products(&self) {
        for product in self.products().await {
            let id = product["_id"].as_str().unwrap();
            self.put_product(id, json!({ "listed": false })).await;
        }
    }

    /// Changes a product, or makes one.
    pub async fn put_product(&self, id: &str, change: Value) {
        self.control(Method::PUT, &format!("products/{id}"), Some(change)).await;
    }

    /// Orders a failure: a rule as `infra/local/fake-ghl` has them.
    pub async fn fail(&self, rule: Value) {
        self.control(Method::POST, "faults", Some(rule)).await;
    }

    /// Ends all failures.
    pub async fn heal(&self) {
        self.control(Method::DELETE, "faults", None).await;
    }

    /// Changes settings; those not named stay.
    pub async fn settings(&self, change: Value) {
        self.control(Method::PATCH, "settings", Some(change)).await;
    }

    /// Calls since the start or since they were cleared: by endpoint, status and order.
    pub async fn counters(&self) -> Value {
        self.control(Method::GET, "counters", None).await
    }

    /// Counts from zero again.
    pub async fn clear_counters(&self) {
        self.control(Method::DELETE, "counters", None).await;
    }

    /// How often an order was fetched.
    pub async fn fetches(&self, order_id: &str) -> u64 {
        self.counters().await["perOrder"][order_id].as_u64().unwrap_or(0)
    }

    /// Sends a webhook, again and again while the gateway lets it wait; its answer as `{status, body, retryAfter}`.
    pub async fn webhook(&self, webhook: Value) -> Value {
        loop {
            let answer = self.control(Method::POST, "webhooks", Some(webhook.clone())).await;
            if answer["status"] != 429 || !is_throttled(429, &answer["body"]) {
                return answer;
            }
            sleep(THROTTLED).await;
        }
    }

    /// Sends a signed webhook that is accepted.
    pub async fn notify(&self, order_id: &str) {
        let answer = self.webhook(json!({ "kind": "signed", "orderId": order_id })).await;
        assert_eq!(answer["status"], 202, "{answer}");
    }
}
