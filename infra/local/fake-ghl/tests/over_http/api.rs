//! The GHL side of the fake, over real connections.

use std::collections::HashSet;

use crate::caller::Caller;
use fake_ghl::{Options, RetryAfter};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn pages_of_the_list_hold_every_order_once_and_details_hold_the_tickets() {
    let caller = Caller::start(Options { rate_max: 10_000, ..Options::default() }).await;
    let census = caller.control(Method::GET, "orders", Value::Null).await;
    assert_eq!(
        [&census["orders"], &census["valid"], &census["all"]].map(|ids| ids.as_array().unwrap().len()),
        [150, 159, 162]
    );
    assert_eq!((&census["expectedTickets"], &census["ordinaryTickets"]), (&json!(462), &json!(450)));
    let mut listed = Vec::new();
    for offset in [0, 100] {
        let (_, page) = caller.get("/payments/orders", &format!("limit=100&offset={offset}")).await;
        assert_eq!(page["totalCount"], 162);
        listed.extend(page["data"].as_array().unwrap().clone());
    }
    let ids: Vec<&Value> = listed.iter().map(|row| &row["_id"]).collect();
    assert_eq!(json!(ids), census["all"]);
    assert!(listed.iter().all(|row| row.get("items").is_none()));
    let mut tickets = 0;
    let (mut products, mut prices) = (HashSet::new(), HashSet::new());
    for id in census["orders"].as_array().unwrap() {
        let (status, order) = caller.get(&format!("/payments/orders/{}", id.as_str().unwrap()), "").await;
        assert_eq!((status, &order["_id"], order.get("_fake")), (StatusCode::OK, id, None));
        for item in order["items"].as_array().unwrap() {
            tickets += item["qty"].as_u64().unwrap();
            products.insert(item["product"]["_id"].to_string());
            prices.insert(item["price"]["_id"].to_string());
        }
    }
    assert_eq!((tickets, products.len(), prices.len()), (450, 6, 18));
}

#[tokio::test]
async fn refuses_as_ghl_refuses() {
    let caller = Caller::start(Options::default()).await;
    let url = format!("{}/payments/orders", caller.fake.url());
    let send = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        assert!(answer.headers().contains_key("x-ratelimit-remaining"));
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["statusCode"], status);
        (status, body["message"].clone())
    };
    let get = |query: &str| caller.http.get(format!("{url}?{query}")).header("version", "2021-07-28");
    let good = "altId=FakeLocation00000001&altType=location";
    assert_eq!(send(get(good)).await.0, 401);
    assert_eq!(send(get(good).bearer_auth("other")).await.0, 401);
    let no_version = caller.http.get(format!("{url}?{good}")).bearer_auth(&caller.options.token);
    assert_eq!(send(no_version).await, (401, json!("version header was not found.")));
    let with_token = |query: &str| get(query).bearer_auth(&caller.options.token);
    for query in [
        "",
        "altId=",
        "altId=FakeLocation00000001&altType=agency",
        &format!("{good}&limit=101"),
        &format!("{good}&limit=x"),
        &format!("{good}&paymentStatus=lost"),
        &format!("{good}&startAt=soon"),
    ] {
        let (status, message) = send(with_token(query)).await;
        assert!(status == 422 && message.is_array(), "{query}: {status} {message}");
    }
    assert_eq!(send(with_token("altId=elsewhere&altType=location")).await.0, 403);
    let unknown = caller.get("/payments/orders/aaaaaaaaaaaaaaaaaaaaaaaa", "").await;
    assert_eq!((unknown.0, &unknown.1["message"]), (StatusCode::NOT_FOUND, &json!("Order not found")));
    caller.control(Method::PATCH, "settings", json!({"notFoundStatus": 400})).await;
    assert_eq!(caller.get("/payments/orders/nonsense", "").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn filters() {
    let caller = Caller::start(Options::default()).await;
    let count = async |query: &str| caller.get("/payments/orders", query).await.1["totalCount"].as_u64().unwrap();
    assert_eq!(count("").await, 162);
    assert_eq!(caller.get("/payments/orders", "").await.1["data"].as_array().unwrap().len(), 10);
    assert_eq!(count("paymentStatus=refunded").await, 1);
    assert_eq!(count("paymentStatus=unpaid&status=pending").await, 1);
    assert_eq!(count("status=completed").await, 160);
    assert_eq!(count("paymentMode=test").await, 1);
    assert_eq!(count("startAt=2025-06-01&endAt=2025-06-01").await + count("endAt=2025-05-31").await, 162);
    let (_, page) = caller.get("/payments/orders", "limit=3").await;
    let row = &page["data"][1];
    let by_contact =
        caller.get("/payments/orders", &format!("contactId={}", row["contactId"].as_str().unwrap())).await.1;
    assert!(by_contact["data"].as_array().unwrap().contains(row));
    let name = row["contactName"].as_str().unwrap().to_uppercase().replace(' ', "%20");
    assert!(
        caller.get("/payments/orders", &format!("search={name}")).await.1["data"].as_array().unwrap().contains(row)
    );
}

#[tokio::test]
async fn products_prices_and_transactions() {
    let caller = Caller::start(Options::default()).await;
    let (_, products) = caller.get("/products/", "").await;
    assert_eq!((products["products"].as_array().unwrap().len(), &products["total"]), (6, &json!([{"total": 6}])));
    let id = products["products"][0]["_id"].as_str().unwrap().to_owned();
    let (_, prices) = caller.get(&format!("/products/{id}/price"), "").await;
    assert_eq!((prices["prices"][0]["amount"].clone(), prices["total"].clone()), (json!(150.1), json!(3)));
    caller.control(Method::PUT, &format!("products/{id}"), json!({"listed": false})).await;
    assert_eq!(caller.get("/products/", "limit=100").await.1["total"], json!([{"total": 5}]));
    let census = caller.control(Method::GET, "orders", Value::Null).await;
    assert!(census["valid"].as_array().unwrap().len() < 150, "orders of a delisted product alone are no longer valid");

    let refunded = census["odd"]["refunded"].as_str().unwrap();
    let (_, list) = caller.get("/payments/transactions", &format!("entityId={refunded}")).await;
    assert_eq!((&list["totalCount"], &list["data"][0]["amountRefunded"]), (&json!(1), &list["data"][0]["amount"]));
    let partly = census["orders"][0].as_str().unwrap();
    caller.control(Method::PUT, &format!("orders/{partly}"), json!({"_fake": {"amountRefunded": 5.5}})).await;
    let (_, list) = caller.get("/payments/transactions", &format!("entityId={partly}")).await;
    assert_eq!(list["data"][0]["amountRefunded"], 5.5);
    assert_eq!(caller.get("/payments/transactions", "").await.1["totalCount"], 161, "all but the unpaid one");
}

#[tokio::test]
async fn lists_can_be_cut_and_miscounted() {
    let caller = Caller::start(Options::default()).await;
    caller.control(Method::PATCH, "settings", json!({"rowCap": 4, "productTotalOffset": 3})).await;
    let (_, products) = caller.get("/products/", "limit=100&offset=1").await;
    assert_eq!((products["products"].as_array().unwrap().len(), &products["total"]), (4, &json!([{"total": 9}])));
    for list in ["/payments/orders", "/payments/transactions"] {
        assert_eq!(caller.get(list, "limit=100").await.1["data"].as_array().unwrap().len(), 4, "{list}");
    }
}

#[tokio::test]
async fn transactions_are_those_since_a_day() {
    let caller = Caller::start(Options::default()).await;
    let id = "aaaaaaaaaaaaaaaaaaaaaaaa";
    caller.control(Method::PUT, &format!("orders/{id}"), json!({})).await;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let (_, list) = caller.get("/payments/transactions", &format!("startAt={}", today.yesterday().unwrap())).await;
    assert_eq!((&list["totalCount"], &list["data"][0]["entityId"]), (&json!(1), &json!(id)), "the others are old");
}

#[tokio::test]
async fn lets_through_so_many_calls_in_a_window_and_tells_how_many_are_left() {
    let options = Options { rate_max: 5, rate_window_ms: 600, retry_after: RetryAfter::Seconds, ..Options::default() };
    let caller = Caller::start(options).await;
    let calls = futures::future::join_all((0..12).map(|_| caller.ghl("/payments/orders", "").send())).await;
    let answers: Vec<_> = calls.into_iter().map(Result::unwrap).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status() == 429).collect();
    assert_eq!(refused.len(), 7);
    assert!(refused.iter().all(|answer| answer.headers()["retry-after"] == "1"));
    let headers = refused[0].headers();
    for (name, value) in [
        ("limit-daily", "200000"),
        ("daily-remaining", "199995"),
        ("interval-milliseconds", "600"),
        ("max", "5"),
        ("remaining", "0"),
    ] {
        assert_eq!(headers[&format!("x-ratelimit-{name}")], value, "{name}");
    }
    tokio::time::sleep(std::time::Duration::from_millis(650)).await;
    assert_eq!(caller.get("/payments/orders", "").await.0, StatusCode::OK);
    let counters = caller.control(Method::GET, "counters", Value::Null).await;
    assert_eq!(counters["status"], json!({"200": 6, "429": 7}));
    assert_eq!(counters["requests"]["list"], 13);
}

#[tokio::test]
async fn the_daily_budget_ends() {
    let caller = Caller::start(Options { rate_daily: 2, ..Options::default() }).await;
    for status in [200, 200, 429] {
        assert_eq!(caller.get("/products/", "").await.0, status);
    }
}
