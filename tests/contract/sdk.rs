//! The fake GHL, called by GHL's own client (`@gohighlevel/api-client`, which `cargo xtask setup` installs): what that takes for an order,
//! a page or an error, it finds.
//!
//! `sdk.cjs` beside this file makes the calls. The client's declarations of types are read where it is installed; nothing of it is here.

use std::{env, path::PathBuf, process::Stdio};

use fake_ghl::{FakeGhl, Options};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::declarations::Declarations;

const LOCATION: &str = "FakeLocation00000001";

/// Where npm installed it: where `GHL_SDK` says, else where `cargo xtask setup` does.
fn modules() -> PathBuf {
    let modules = env::var_os("GHL_SDK").map_or_else(|| tests::project("target/local/npm/node_modules"), PathBuf::from);
    let client = modules.join("@gohighlevel/api-client");
    assert!(client.is_dir(), "GHL's client isn't in {}: run cargo xtask setup", modules.display());
    modules
}

fn declarations(of: &str) -> Declarations {
    Declarations::read(&modules().join(format!("@gohighlevel/api-client/dist/lib/code/{of}/models/{of}.d.ts")))
}

/// A fake GHL, and its client.
struct Sdk {
    fake: FakeGhl,
    token: String,
    /// Of the client's constructor.
    options: Value,
    http: reqwest::Client,
}

impl Sdk {
    async fn with(options: Options) -> Self {
        let fake = FakeGhl::start(&options).await.unwrap();
        Self { fake, token: options.token, options: json!({}), http: reqwest::Client::new() }
    }

    async fn start() -> Self {
        Self::with(Options { rate_max: 100_000, ..Options::default() }).await
    }

    async fn control(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("{}/_control/{path}", self.fake.url());
        let answer = self.http.request(method, url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap_or_default()
    }

    async fn fault(&self, fault: Value) {
        let rule = json!({"endpoint": "list", "times": 1, "fault": fault});
        self.control(reqwest::Method::POST, "faults", rule).await;
    }

    /// What the client made of each call, `[service, method, parameters]`.
    async fn calls(&self, calls: &[Value]) -> Vec<Value> {
        let request = json!({"baseURL": self.fake.url(), "token": self.token, "options": self.options, "calls": calls});
        let mut node = Command::new("node");
        node.arg(tests::project("tests/contract/sdk.cjs"))
            .arg(modules())
            // A proxy of whoever runs the tests doesn't reach this machine.
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut node = node.spawn().expect("Node.js is needed to run GHL's client: apt-get install nodejs");
        node.stdin.take().unwrap().write_all(request.to_string().as_bytes()).await.unwrap();
        let output = node.wait_with_output().await.unwrap();
        assert!(output.status.success(), "sdk.cjs: {}", String::from_utf8_lossy(&output.stderr));
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answers.len(), calls.len());
        answers
    }

    /// What the client returned for one call.
    async fn ok(&self, service: &str, method: &str, parameters: Value) -> Value {
        let mut answer = self.calls(&[json!([service, method, parameters])]).await.remove(0);
        assert!(answer.get("ok").is_some(), "{method}: {answer}");
        answer["ok"].take()
    }

    /// What the client threw for a list of orders with these parameters.
    async fn refused(&self, parameters: Value) -> Value {
        let mut answer = self.calls(&[json!(["payments", "listOrders", parameters])]).await.remove(0);
        assert!(answer.get("error").is_some(), "{answer}");
        answer["error"].take()
    }
}

fn orders(more: Value) -> Value {
    let mut parameters = json!({"altId": LOCATION});
    parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parameters
}

fn ids(page: &Value) -> Vec<Value> {
    page["data"].as_array().unwrap().iter().map(|row| row["_id"].clone()).collect()
}

#[tokio::test]
async fn the_client_lists_orders_page_by_page_and_by_its_filters() {
    let (sdk, types) = (Sdk::start().await, declarations("payments"));
    let first = sdk.ok("payments", "listOrders", orders(json!({}))).await;
    types.check("ListOrdersResponseDto", &first);
    assert_eq!((first["data"].as_array().unwrap().len(), &first["totalCount"]), (10, &json!(162)));

    let mut all = Vec::new();
    let pages =
        [0, 100].map(|offset| json!(["payments", "listOrders", orders(json!({"limit": 100, "offset": offset}))]));
    for page in sdk.calls(&pages).await {
        types.check("ListOrdersResponseDto", &page["ok"]);
        all.extend(ids(&page["ok"]));
    }
    assert_eq!(json!(all), sdk.control(reqwest::Method::GET, "orders", Value::Null).await["all"]);

    let row = &first["data"][0];
    for (filter, total) in [
        (json!({"status": "completed"}), Some(160)),
        (json!({"paymentStatus": "refunded"}), Some(1)),
        (json!({"paymentMode": "test"}), Some(1)),
        (json!({"startAt": "2025-06-01", "endAt": "2025-06-01"}), None),
        (json!({"search": row["contactName"]}), None),
        (json!({"contactId": row["contactId"]}), None),
    ] {
        let page = sdk.ok("payments", "listOrders", orders(filter.clone())).await;
        let count = page["totalCount"].as_u64().unwrap();
        assert!(count > 0 && count < 162 && total.is_none_or(|total| total == count), "{filter}: {count}");
        assert!(total.is_some() || ids(&page).contains(&row["_id"]), "{filter}");
    }
}

/// The declaration types items as strings, which they never are: see `ghl`'s reading of them.
#[tokio::test]
async fn the_client_reads_every_order() {
    let (sdk, types) = (Sdk::start().await, declarations("payments").without("GetOrderResponseSchema", "items"));
    let census = sdk.control(reqwest::Method::GET, "orders", Value::Null).await;
    for (which, as_declared, count) in [("orders", true, 150), ("all", false, 162)] {
        let ids = census[which].as_array().unwrap();
        let calls: Vec<_> =
            ids.iter().map(|id| json!(["payments", "getOrderById", orders(json!({"orderId": id}))])).collect();
        assert_eq!(calls.len(), count);
        for (id, mut answer) in ids.iter().zip(sdk.calls(&calls).await) {
            let order = answer["ok"].take();
            assert_eq!(&order.get("order").unwrap_or(&order)["_id"], id);
            if as_declared {
                types.check("GetOrderResponseSchema", &order);
                assert!(order["items"].as_array().unwrap().iter().all(Value::is_object), "{id}");
            }
        }
    }
}

#[tokio::test]
async fn the_client_lists_products_and_their_prices() {
    let (sdk, types) = (Sdk::start().await, declarations("products"));
    // This is what the client calls GET /products/.
    let products = sdk.ok("products", "listInvoices", json!({"locationId": LOCATION})).await;
    types.check("ListProductsResponseDto", &products);
    assert_eq!((products["products"].as_array().unwrap().len(), &products["total"][0]["total"]), (6, &json!(6)));
    let some = sdk.ok("products", "listInvoices", json!({"locationId": LOCATION, "limit": 2, "offset": 4})).await;
    assert_eq!(some["products"].as_array().unwrap()[..], products["products"].as_array().unwrap()[4..]);
    for product in products["products"].as_array().unwrap() {
        let parameters = json!({"locationId": LOCATION, "productId": product["_id"], "limit": 100});
        let prices = sdk.ok("products", "listPricesForProduct", parameters).await;
        types.check("ListPricesResponseDto", &prices);
        assert_eq!((prices["prices"].as_array().unwrap().len(), &prices["total"]), (3, &json!(3)));
    }
}

#[tokio::test]
async fn the_client_lists_transactions_and_those_of_an_order() {
    let (sdk, types) = (Sdk::start().await, declarations("payments"));
    let location = |more: Value| {
        orders(json!({"altType": "location"})).as_object().map(|fields| {
            let mut fields = fields.clone();
            fields.extend(more.as_object().unwrap().clone());
            Value::Object(fields)
        })
    };
    let page = sdk.ok("payments", "listTransactions", location(json!({"limit": 100})).unwrap()).await;
    types.check("ListTxnsResponseDto", &page);
    assert_eq!(page["data"].as_array().unwrap().len(), 100);
    let one = &page["data"][0];
    let of_one = location(json!({"entityId": one["entityId"]})).unwrap();
    assert_eq!(sdk.ok("payments", "listTransactions", of_one.clone()).await["data"], json!([one]));
    let partly = json!({"_fake": {"amountRefunded": 5.5}});
    sdk.control(reqwest::Method::PUT, &format!("orders/{}", one["entityId"].as_str().unwrap()), partly).await;
    let refunded = sdk.ok("payments", "listTransactions", of_one).await;
    types.check("ListTxnsResponseDto", &refunded);
    assert_eq!(refunded["data"][0]["amountRefunded"], 5.5);
}

#[tokio::test]
async fn the_client_tells_errors_apart() {
    let mut sdk = Sdk::start().await;
    let code = |error: &Value| (error["code"].as_str().unwrap().to_owned(), error["statusCode"].as_u64());
    let is = |code: &str, status: u64| (code.to_owned(), Some(status));
    assert_eq!(code(&sdk.refused(json!({"altId": "elsewhere"})).await), is("FORBIDDEN", 403));
    let wrong = sdk.refused(orders(json!({"limit": 1000, "paymentStatus": "lost"}))).await;
    assert_eq!(code(&wrong), is("VALIDATION", 422));
    let messages = wrong["response"]["message"].as_array().unwrap();
    assert!(messages.len() > 1 && wrong["message"].as_str().unwrap().contains("limit must not be greater"), "{wrong}");
    assert!(wrong["response"]["traceId"].is_string(), "{wrong}");

    let unknown = json!(["payments", "getOrderById", orders(json!({"orderId": "aaaaaaaaaaaaaaaaaaaaaaaa"}))]);
    for (status, expected) in [(404, "NOT_FOUND"), (400, "VALIDATION")] {
        sdk.control(reqwest::Method::PATCH, "settings", json!({"notFoundStatus": status})).await;
        let error = &sdk.calls(std::slice::from_ref(&unknown)).await[0]["error"];
        assert_eq!((code(error), &error["message"]), (is(expected, status), &json!("Order not found")));
    }
    for (fault, expected) in [
        (json!({"kind": "status", "status": 500}), is("SERVER", 500)),
        (json!({"kind": "html", "status": 502}), is("SERVER", 502)),
        (json!({"kind": "reset"}), ("NETWORK".to_owned(), None)),
    ] {
        sdk.fault(fault).await;
        assert_eq!(code(&sdk.refused(orders(json!({}))).await), expected);
    }
    sdk.token = "another".to_owned();
    let error = sdk.refused(orders(json!({}))).await;
    assert_eq!((code(&error), &error["type"]), (is("AUTHENTICATION", 401), &json!("GHLAuthenticationError")));
}

#[tokio::test]
async fn the_client_reads_the_rate_limit_and_waits_for_its_window() {
    let limits = Options { rate_max: 2, rate_window_ms: 500, rate_daily: 6, ..Options::default() };
    let mut sdk = Sdk::with(limits).await;
    let list = json!(["payments", "listOrders", orders(json!({"limit": 1}))]);
    let three = [list.clone(), list.clone(), list.clone()];
    let answers = sdk.calls(&three).await;
    assert!(answers[..2].iter().all(|answer| answer.get("ok").is_some()), "{answers:?}");
    let limit = json!({
        "scope": "burst", "intervalMs": 500, "max": 2, "remaining": 0, "dailyLimit": 6, "dailyRemaining": 4,
    });
    assert_eq!((&answers[2]["error"]["code"], &answers[2]["error"]["rateLimit"]), (&json!("RATE_LIMIT"), &limit));

    sdk.options = json!({"rateLimitRetry": true});
    let answers = sdk.calls(&three).await;
    assert!(answers.iter().all(|answer| answer.get("ok").is_some()), "it waits as the answer says: {answers:?}");
    // One call is left of the day.
    let answers = sdk.calls(&three[..2]).await;
    assert_eq!((answers[0].get("error"), &answers[1]["error"]["rateLimit"]["scope"]), (None, &json!("daily")));
}

/// The one that the API's descriptions name, and the client's own where it isn't told otherwise.
#[tokio::test]
async fn the_client_sends_either_version_of_the_api() {
    let mut sdk = Sdk::start().await;
    sdk.ok("payments", "listOrders", orders(json!({}))).await;
    sdk.options = json!({"apiVersion": "2021-07-28"});
    sdk.ok("payments", "listOrders", orders(json!({}))).await;
    sdk.options = json!({"apiVersion": "2001-01-01"});
    assert_eq!(sdk.refused(orders(json!({}))).await["code"], "AUTHENTICATION");
}
