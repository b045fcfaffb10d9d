//! Steering the fake: orders, faults, webhooks.

use std::{error::Error, io, sync::Arc, time::Duration};

use crate::caller::Caller;
use axum::{Json, Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{
    Signature, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _},
};
use fake_ghl::Options;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

async fn started() -> (Caller, String) {
    let caller = Caller::start(Options { orders: 10, ..Options::default() }).await;
    let census = caller.control(Method::GET, "orders", Value::Null).await;
    let id = census["orders"][0].as_str().unwrap().to_owned();
    (caller, id)
}

#[tokio::test]
async fn orders_are_changed_added_and_forgotten() {
    let (caller, id) = started().await;
    let path = format!("orders/{id}");
    let before = caller.control(Method::GET, &path, Value::Null).await;
    let change = json!({"status": "refunded", "paymentStatus": "refunded", "coupon": null});
    let after = caller.control(Method::PUT, &path, change).await;
    assert!(after["updatedAt"].as_str() > before["updatedAt"].as_str());
    assert_eq!(caller.get(&format!("/payments/orders/{id}"), "").await.1, after);
    let kept =
        caller.control(Method::PUT, &format!("{path}?keepUpdatedAt=true&keepNulls=true"), json!({"items": null})).await;
    assert_eq!((&kept["updatedAt"], &kept["items"]), (&after["updatedAt"], &Value::Null));
    assert!(kept.as_object().unwrap().contains_key("items"));

    let new = "orders/0123456789abcdef01234567";
    caller.control(Method::PUT, new, json!({})).await;
    let expected = caller.control(Method::GET, &format!("{new}/expected"), Value::Null).await;
    assert_eq!((&expected["valid"], &expected["tickets"]), (&json!(true), &json!(1)));
    assert_eq!(caller.get("/payments/orders", "limit=1").await.1["data"][0]["_id"], "0123456789abcdef01234567");
    caller.control(Method::DELETE, new, Value::Null).await;
    assert_eq!(caller.get("/payments/orders/0123456789abcdef01234567", "").await.0, StatusCode::NOT_FOUND);

    caller.control(Method::POST, "reset", json!({"orders": 3, "seed": 9})).await;
    let census = caller.control(Method::GET, "orders", Value::Null).await;
    assert_eq!((census["orders"].as_array().unwrap().len(), &census["expectedTickets"]), (3, &json!(21)));
}

#[tokio::test]
async fn odd_orders_are_served_as_odd_as_they_are() {
    let (caller, _) = started().await;
    let odd = caller.control(Method::GET, "orders", Value::Null).await["odd"].clone();
    assert_eq!(odd.as_object().unwrap().len(), 12);
    let get = async |name: &str| caller.get(&format!("/payments/orders/{}", odd[name].as_str().unwrap()), "").await.1;
    assert_eq!(get("nested_without_contact").await["order"]["_id"], odd["nested_without_contact"]);
    assert_ne!(get("other_location").await["altId"], "FakeLocation00000001");
    assert_eq!(get("null_items").await["items"], Value::Null);
    let old = get("old_record").await;
    assert_eq!((&old["items"][0]["qty"], &old["items"][1]["qty"].to_string()), (&json!("2"), &"2.0".to_owned()));
    assert!(old["contactSnapshot"]["first_name"].is_string() && old["createdAt"].as_str().unwrap().ends_with("+00:00"));
}

#[tokio::test]
async fn each_fault_shows_as_it_should() {
    let (caller, id) = started().await;
    let path = format!("/payments/orders/{id}");
    let once = async |fault: Value| {
        caller.fault(json!({"endpoint": "detail", "orderId": id, "times": 1, "fault": fault})).await;
        caller.ghl(&path, "").send().await
    };
    let plain = once(json!({"kind": "status", "status": 500})).await.unwrap();
    assert_eq!(plain.json::<Value>().await.unwrap()["message"], "Internal Server Error");
    let raw = json!({"kind": "status", "status": 429, "body": "{\"a\":\"\\ud800\"}", "headers": {"retry-after": "7"}});
    let raw = once(raw).await.unwrap();
    assert_eq!((raw.status().as_u16(), &raw.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(raw.text().await.unwrap(), r#"{"a":"\ud800"}"#);
    let html = once(json!({"kind": "html", "status": 502})).await.unwrap();
    assert!(html.status() == 502 && html.text().await.unwrap().starts_with("<html>"));
    let empty = once(json!({"kind": "empty", "status": 204})).await.unwrap();
    assert!(empty.status() == 204 && empty.text().await.unwrap().is_empty());
    let redirect = once(json!({"kind": "redirect", "location": "http://elsewhere.example/"})).await.unwrap();
    assert_eq!(
        (redirect.status().as_u16(), &redirect.headers()["location"]),
        (302, &"http://elsewhere.example/".parse().unwrap())
    );
    let error = once(json!({"kind": "error_body"})).await.unwrap();
    assert!(error.status() == 200 && error.json::<Value>().await.unwrap()["statusCode"] == 500);

    let truncated = once(json!({"kind": "truncate"})).await.unwrap();
    assert!(truncated.status() == 200 && truncated.headers().contains_key("content-length"));
    assert!(truncated.bytes().await.is_err());
    let reset = once(json!({"kind": "reset"})).await.unwrap_err();
    let causes = std::iter::successors(Some(&reset as &dyn Error), |error| (*error).source());
    let kinds: Vec<_> = causes.filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind).collect();
    assert_eq!(kinds, [io::ErrorKind::ConnectionReset]);

    for kind in ["delay", "slow_body"] {
        let start = std::time::Instant::now();
        let late = once(json!({"kind": kind, "ms": 200})).await.unwrap();
        let head = start.elapsed();
        assert_eq!(late.json::<Value>().await.unwrap()["_id"], json!(id));
        assert!(start.elapsed() >= Duration::from_millis(200) && (kind == "delay") == (head.as_millis() >= 200));
    }
    let counters = caller.control(Method::GET, "counters", Value::Null).await;
    assert_eq!((&counters["status"]["reset"], &counters["perOrder"][&id]), (&json!(1), &json!(10)));
    assert_eq!(caller.get(&path, "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn lists_have_their_variants() {
    let (caller, _) = started().await;
    caller
        .control(Method::PATCH, "settings", json!({"nestedList": true, "totalCountOffset": -2, "maxLimit": 50}))
        .await;
    let (_, list) = caller.get("/payments/orders", "limit=50").await;
    assert_eq!((list["data"]["data"].as_array().unwrap().len(), &list["data"]["totalCount"]), (22, &json!(20)));
    assert_eq!(caller.get("/payments/orders", "limit=100").await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn lists_give_fewer_rows_than_asked_for_without_a_word() {
    let (caller, _) = started().await;
    caller.control(Method::PATCH, "settings", json!({"rowCap": 5})).await;
    let mut seen = Vec::new();
    while seen.len() < 22 {
        let (status, page) = caller.get("/payments/orders", &format!("limit=100&offset={}", seen.len())).await;
        assert_eq!((status, &page["totalCount"]), (StatusCode::OK, &json!(22)));
        let rows = page["data"].as_array().unwrap();
        assert_eq!(rows.len(), 5.min(22 - seen.len()));
        seen.extend(rows.iter().map(|row| row["_id"].clone()));
    }
    assert_eq!(json!(seen), caller.control(Method::GET, "orders", Value::Null).await["all"]);
    assert_eq!(caller.get("/payments/transactions", "limit=100").await.1["data"].as_array().unwrap().len(), 5);
    for query in ["", "limit=100"] {
        let (_, products) = caller.get("/products/", query).await;
        assert_eq!((products["products"].as_array().unwrap().len(), &products["total"][0]["total"]), (5, &json!(6)));
    }
}

#[tokio::test]
async fn rows_lack_fields_or_say_otherwise_than_the_order() {
    let (caller, id) = started().await;
    let rows = async || caller.get("/payments/orders", "limit=100").await.1["data"].as_array().unwrap().clone();
    let before = rows().await;
    assert!(before.iter().all(|row| row["updatedAt"].is_string() && row.get("paymentStatus").is_none()));
    let patch = json!({"rowPatch": {"updatedAt": null}, "rowFields": ["paymentStatus"]});
    caller.control(Method::PATCH, "settings", patch).await;
    let paid = rows().await.iter().filter(|row| row["paymentStatus"] == "paid").count();
    assert!(paid >= 10 && rows().await.iter().all(|row| row.get("updatedAt").is_none()));

    let settings = caller.control(Method::PATCH, "settings", json!({"rowPatch": {}, "rowFields": []})).await;
    assert_eq!(settings["rowPatch"], json!({"updatedAt": null}), "a merge patch leaves what it doesn't name");
    caller.control(Method::PATCH, "settings", json!({"rowPatch": null})).await;
    assert_eq!(rows().await, before);

    let note = json!({"_fake": {"row": {"status": "refunded", "amount": null}}});
    let order = caller.control(Method::PUT, &format!("orders/{id}?keepUpdatedAt=true&keepNulls=true"), note).await;
    let row = rows().await.into_iter().find(|row| row["_id"] == json!(id)).unwrap();
    assert_eq!((&row["status"], row.get("amount")), (&json!("refunded"), None));
    let detail = caller.get(&format!("/payments/orders/{id}"), "").await.1;
    assert_eq!((&detail["status"], &detail["amount"]), (&json!("completed"), &order["amount"]));
    assert!(detail.get("_fake").is_none() && row.get("_fake").is_none());
}

#[tokio::test]
async fn what_an_item_says_of_price_and_product_vanishes() {
    let (caller, id) = started().await;
    let path = format!("/payments/orders/{id}");
    let before = caller.get(&path, "").await.1;
    assert!(before["items"][0]["price"]["_id"].is_string() && before["items"][0]["product"]["_id"].is_string());
    let change = async |item: &str, change: Value| {
        caller.control(Method::PUT, &format!("orders/{id}?item={item}"), change).await;
        caller.get(&path, "").await.1
    };
    let after = change("0", json!({"price": {"_id": null}})).await;
    assert_eq!((after["items"][0]["price"].get("_id"), &after["items"][0]["qty"]), (None, &before["items"][0]["qty"]));
    assert_eq!(after["items"][0]["price"]["name"], before["items"][0]["price"]["name"]);
    assert!(after["updatedAt"].as_str() > before["updatedAt"].as_str());
    let after = change("0&keepUpdatedAt=true", json!({"price": null, "product": null})).await;
    assert!(after["items"][0].get("price").is_none() && after["items"][0].get("product").is_none());
    assert_eq!(after["items"].as_array().unwrap().len(), before["items"].as_array().unwrap().len());
    let url = format!("{}/_control/orders/{id}?item=99", caller.fake.url());
    assert_eq!(caller.http.put(url).json(&json!({})).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn one_order_is_refused_for_good_while_others_are_readable() {
    let (caller, id) = started().await;
    let census = caller.control(Method::GET, "orders", Value::Null).await;
    caller.fault(json!({"endpoint": "detail", "orderId": id, "fault": {"kind": "status", "status": 403}})).await;
    for _ in 0..20 {
        assert_eq!(caller.get(&format!("/payments/orders/{id}"), "").await.0, StatusCode::FORBIDDEN);
    }
    let other = census["orders"][1].as_str().unwrap();
    assert_eq!(caller.get(&format!("/payments/orders/{other}"), "").await.0, StatusCode::OK);
    assert_eq!(caller.get("/payments/orders", "").await.0, StatusCode::OK);
}

type Inbox = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Takes webhooks; answers 202 with a body.
async fn inbox() -> (String, Inbox) {
    let inbox = Inbox::default();
    let receive = async |State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes| {
        inbox.lock().await.push((headers, body));
        (StatusCode::ACCEPTED, Json(json!({"orders": 1})))
    };
    let routes = Router::new().route("/", post(receive)).with_state(inbox.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes).into_future());
    (url, inbox)
}

#[tokio::test]
async fn signed_webhooks_verify_and_spoiled_ones_do_not() {
    let (caller, id) = started().await;
    let (url, inbox) = inbox().await;
    caller.control(Method::PATCH, "settings", json!({"webhookUrl": url})).await;
    let keys = caller.control(Method::GET, "webhook-key", Value::Null).await;
    let [key, private] = ["publicKey", "privateKey"].map(|key| STANDARD.decode(keys[key].as_str().unwrap()).unwrap());
    let key = VerifyingKey::from_public_key_der(&key).unwrap();
    // Version 1: the one that OpenSSL reads.
    assert_eq!(private[..5], [0x30, 46, 0x02, 1, 0]);
    assert_eq!(SigningKey::from_pkcs8_der(&private).unwrap().verifying_key(), key);
    for (signature, verifies) in
        [("good", true), ("bad", false), ("reserialized", false), ("na", false), ("absent", false)]
    {
        let send = json!({"kind": "signed", "orderId": id, "type": "OrderCreate", "signature": signature});
        let answer = caller.control(Method::POST, "webhooks", send).await;
        assert_eq!((&answer["status"], &answer["body"]), (&json!(202), &json!({"orders": 1})));
        let (headers, body) = inbox.lock().await.pop().unwrap();
        let sent = headers.get("x-ghl-signature").and_then(|value| STANDARD.decode(value).ok());
        let sent = sent.and_then(|bytes| Signature::from_slice(&bytes).ok());
        assert_eq!(sent.is_some_and(|sent| key.verify_strict(&body, &sent).is_ok()), verifies, "{signature}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["type"], &body["_id"], &body["locationId"]),
            (&json!("OrderCreate"), &json!(id), &body["altId"])
        );
        assert!(body["timestamp"].is_string() && body["webhookId"].is_string() && body.get("paymentStatus").is_none());
    }
}

#[tokio::test]
async fn workflow_webhooks_carry_the_secret_and_the_order_ids() {
    let (caller, id) = started().await;
    let (url, inbox) = inbox().await;
    let other = "0123456789abcdef01234567";
    let send = json!({"kind": "workflow", "orderId": id, "orderIds": [other], "url": url});
    caller.control(Method::POST, "webhooks", send).await;
    let (headers, body) = inbox.lock().await.pop().unwrap();
    assert_eq!(headers["x-webhook-secret"], "fake-webhook-secret");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let ids: Vec<_> =
        body["order"]["line_items"].as_array().unwrap().iter().map(|line| &line["meta"]["order_id"]).collect();
    assert_eq!(ids, [&json!(id), &json!(other)]);
    assert_eq!(
        (&body["customData"]["order_id"], &body["location"]["id"]),
        (&json!(id), &json!("FakeLocation00000001"))
    );
    caller
        .control(
            Method::POST,
            "webhooks",
            json!({"kind": "workflow", "signature": "bad", "body": "[not json", "url": url}),
        )
        .await;
    let (headers, body) = inbox.lock().await.pop().unwrap();
    assert!(headers["x-webhook-secret"] != "fake-webhook-secret" && body == "[not json");
}

#[tokio::test]
async fn stops_cleanly_and_frees_its_port() {
    let (caller, _) = started().await;
    let url = caller.fake.url();
    caller.fake.stop().await;
    assert!(caller.http.get(url).send().await.is_err());
}
