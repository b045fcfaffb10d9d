//! Tokens, tickets and webhooks that aren't what they say: none opens a door.

use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    api::{Answer, As},
    dashboard::{connect, ticket},
    fake_ghl::new_id,
    keys::{Keys, claims, now, sign, unsigned},
    waiting::{A_MOMENT, until},
    world::World,
};

const DOOR: &str = "/api/ghl/webhook-qr";

/// The status that a bearer of this token gets.
async fn status_for(world: &World, token: &str) -> u16 {
    let request = world.api.request(As::Nobody, Method::GET, "/api/qrapp/sync-status").bearer_auth(token);
    Answer::to(request).await.status
}

#[tokio::test]
async fn no_forged_token_is_a_session() {
    let world = World::with_orders(4).await;
    let secret = Keys::of_the_stack().jwt_secret;
    let good = claims(&world);
    let hs256 = |claims: &Value| sign(claims, Algorithm::HS256, &secret);
    assert_eq!(status_for(&world, &hs256(&good)).await, 200, "the good one");

    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        claims
    };
    let (mut self_assigned, mut nobodys) = (with("user_metadata", json!({ "role": "admin" })), good.clone());
    self_assigned["app_metadata"] = json!({});
    nobodys.as_object_mut().unwrap().remove("sub");
    let es256 = json!({ "alg": "ES256", "kid": "invented", "typ": "JWT" });
    let jku = json!({ "alg": "ES256", "kid": "k", "jku": "http://127.0.0.1:9/keys", "typ": "JWT" });
    for (what, token) in [
        ("alg: none", unsigned(&json!({ "alg": "none", "typ": "JWT" }), &good)),
        ("alg: None", unsigned(&json!({ "alg": "None", "typ": "JWT" }), &good)),
        ("HS256 without a signature", unsigned(&json!({ "alg": "HS256", "typ": "JWT" }), &good)),
        ("an unknown key id", unsigned(&es256, &good)),
        ("a key set of the sender's choice", unsigned(&jku, &good)),
        ("another algorithm of the same kind", sign(&good, Algorithm::HS512, &secret)),
        ("another secret", sign(&good, Algorithm::HS256, "an invented secret of some length")),
        ("an empty secret", sign(&good, Algorithm::HS256, "")),
        ("another project's", hs256(&with("iss", json!("https://elsewhere.example/auth/v1")))),
        ("another audience", hs256(&with("aud", json!("anon")))),
        ("expired", hs256(&with("exp", json!(now() - 90)))),
        ("not yet valid", hs256(&with("nbf", json!(now() + 90)))),
        ("without an end", hs256(&with("exp", Value::Null))),
        ("a role of the user's own making", hs256(&self_assigned)),
        ("an unknown role", hs256(&with("app_metadata", json!({ "role": "owner" })))),
        ("roles in a list", hs256(&with("app_metadata", json!({ "role": ["admin"] })))),
        ("nobody's", hs256(&nobodys)),
        ("the service key", world.service_key.clone()),
    ] {
        let status = status_for(&world, &token).await;
        assert!([401, 403].contains(&status), "{what}: {status}");
    }
}

#[tokio::test]
async fn a_ticket_opens_the_socket_for_a_minute_and_nothing_else() {
    let world = World::with_orders(4).await;
    let secret = Keys::of_the_stack().ws_ticket_secret;
    let origin = Some(world.origin());
    let good = ticket(&world, As::Member).await;
    assert!([401, 403].contains(&status_for(&world, &good).await), "a ticket is no session");

    let claims = |changes: Value| {
        // An id of its own for each: none is refused because another was used.
        let mut claims = json!({
            "jti": new_id(), "aud": "ghl-sync-websocket", "sub": "u", "role": "admin", "location_id": world.location_id,
            "uexp": now() + 600, "iat": now(), "exp": now() + 60,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    let signed = |changes: Value| sign(&claims(changes), Algorithm::HS256, &secret);
    assert!(connect(&world, &signed(json!({})), origin).await.is_ok(), "the good one");
    for (what, ticket) in [
        ("over a minute old", signed(json!({ "iat": now() - 70, "exp": now() - 10 }))),
        ("of a session that has ended", signed(json!({ "uexp": now() - 1 }))),
        ("for another location", signed(json!({ "location_id": "SomeOtherLocation0001" }))),
        ("for another purpose", signed(json!({ "aud": "authenticated" }))),
        ("in an unknown role", signed(json!({ "role": "owner" }))),
        ("without an id", signed(json!({ "jti": null }))),
        ("without a signature", unsigned(&json!({ "alg": "none" }), &claims(json!({})))),
    ] {
        assert!(connect(&world, &ticket, origin).await.is_err(), "a ticket {what}");
    }
}

#[tokio::test]
async fn a_replayed_webhook_costs_one_fetch_at_most_and_changes_nothing() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    world.ghl.notify(&id).await;
    world.database.until_tickets(&id, 2, "live").await;
    until("an empty queue", A_MOMENT, async || world.cloud().is_empty("orders").await).await;
    let (row, tickets) = (world.database.order(&id).await, world.database.tickets(&id).await);

    for (minutes, status) in [(0, 202), (60, 202), (30 * 24 * 60, 400)] {
        let sent_at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
        let before = world.ghl.fetches(&id).await;
        let replay = json!({ "kind": "signed", "orderId": id, "timestamp": sent_at.to_string() });
        let answer = world.ghl.webhook(replay).await;
        assert_eq!(answer["status"], status, "{minutes} minutes old: {answer}");
        until("an empty queue", A_MOMENT, async || world.cloud().is_empty("orders").await).await;
        let more = world.ghl.fetches(&id).await - before;
        assert!(more <= u64::from(status == 202), "{minutes} minutes old: {more} fetches");
    }
    world.assert_no_failures().await;
    assert_eq!((world.database.order(&id).await, world.database.tickets(&id).await), (row, tickets));
}

#[tokio::test]
async fn what_is_no_signature_of_ours_is_none() {
    let world = World::with_orders(4).await;
    let body = json!({ "type": "OrderStatusUpdate", "locationId": world.location_id, "_id": new_id() }).to_string();
    for headers in [
        // GHL's older signature by RSA, which ended in July 2026.
        vec![("x-wh-signature", "A".repeat(344))],
        vec![("x-wh-signature", "A".repeat(344)), ("x-ghl-signature", "N/A".to_owned())],
        vec![("x-ghl-signature", String::new())],
        vec![("x-ghl-signature", "A".repeat(88))],
        vec![("x-ghl-signature", "A".repeat(4096))],
        vec![("x-webhook-secret", String::new())],
        vec![("x-webhook-secret", format!("{} ", world.webhook_secret.to_uppercase()))],
        // A secret doesn't make up for a signature that is wrong.
        vec![("x-ghl-signature", "A".repeat(88)), ("x-webhook-secret", world.webhook_secret.clone())],
    ] {
        let mut request = world.api.request(As::Nobody, Method::POST, DOOR).header("content-type", "application/json");
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let answer = Answer::to(request.body(body.clone())).await;
        answer.refused(401, "unauthorized", &[]);
        let words = answer.body["error"].as_str().unwrap();
        assert_eq!(words, "The webhook could not be verified", "why is nobody's business");
    }
}

#[tokio::test]
async fn a_body_is_verified_as_the_bytes_that_were_sent() {
    let world = World::with_orders(4).await;
    // As the gateway hands it over; what isn't of its making can't be sent through its door.
    let event = |body: &str, encoded: bool| {
        json!({
            "version": "2.0", "routeKey": format!("POST {DOOR}"), "rawPath": DOOR, "rawQueryString": "",
            "headers": { "content-type": "application/json", "x-webhook-secret": world.webhook_secret },
            "requestContext": {
                "stage": "$default", "requestId": "r-1", "routeKey": format!("POST {DOOR}"),
                "http": { "method": "POST", "path": DOOR, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "t" },
            },
            "body": body, "isBase64Encoded": encoded,
        })
    };
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    let body = json!({ "customData": { "order_id": id }, "location": { "id": world.location_id } }).to_string();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &body);

    let cloud = world.cloud();
    let status = async |body: &str, flag: bool| cloud.invoke("webhook", event(body, flag)).await["statusCode"].clone();
    assert_eq!(status(&encoded, true).await, 202, "encoded, and said so");
    assert_eq!(status(&encoded, false).await, 400, "encoded, and said not to be: no JSON");
    let lie = cloud.try_invoke("webhook", event(&body, true)).await;
    assert!(lie.is_none_or(|answer| answer["statusCode"] != 202), "not encoded, and said to be");
    world.database.until_tickets(&id, 1, "live").await;
}

#[tokio::test]
async fn deep_and_odd_bodies_are_refused_cheaply() {
    let world = World::with_orders(4).await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(60_000), close.repeat(60_000));
    for body in
        [deep("[", "]"), deep("{\"a\":", "}"), "\"text\"".to_owned(), "12e999999".to_owned(), "\u{feff}{}".to_owned()]
    {
        let request = world.api.request(As::Nobody, Method::POST, DOOR).header("content-type", "application/json");
        let request = request.header("x-webhook-secret", &world.webhook_secret).body(body);
        let answer = Answer::to(request).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}
