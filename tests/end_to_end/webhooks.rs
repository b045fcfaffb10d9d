//! GHL's webhooks, from the door to the database.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    api::{Answer, As},
    fake_ghl::new_id,
    stack::described_by,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};
use tokio::{process::Command, time::sleep};

const DOOR: &str = "/api/ghl/webhook-qr";

/// Signs its argument with the key of `stack.json`, in another language and by another library than ours.
const SIGN: &str = r#"
    const { createPrivateKey, sign } = require("node:crypto");
    const stack = JSON.parse(require("node:fs").readFileSync(process.env.STACK_JSON, "utf8"));
    const der = Buffer.from(stack.webhook_signing_key, "base64");
    const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    process.stdout.write(sign(null, Buffer.from(process.argv[1]), key).toString("base64"));
"#;

/// The body of a refusal, as the fake GHL tells it.
fn assert_refused(answer: &Value, status: u16, code: &str) {
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&json!(status), &json!(code)), "{answer}");
    assert!(answer["body"]["error"].is_string() && answer["body"]["requestId"].is_string(), "{answer}");
}

/// Sends a body with the shared secret of workflow webhooks.
async fn send(world: &World, content_type: &str, body: String) -> Answer {
    let request = world.api.request(As::Nobody, Method::POST, DOOR);
    let request = request.header("content-type", content_type).header("x-webhook-secret", &world.webhook_secret);
    Answer::to(request.body(body)).await
}

#[tokio::test]
async fn a_signed_webhook_brings_the_order_and_its_tickets() {
    let world = World::with_orders(4).await;
    let id = new_id();
    let order = world.ghl.put_quantity(&id, 3).await;
    world.ghl.notify(&id).await;
    world.database.until_tickets(&id, 3, "live").await;

    let row = world.database.order(&id).await.unwrap();
    assert_eq!(row["location_id"], world.location_id.as_str());
    assert_eq!(row["payment_status"], "paid");
    assert_eq!(row["ticket_quantities"], world.ghl.expected(&id).await["ticketQuantities"]);
    assert_eq!(row["contact_email"], order["contactSnapshot"]["email"]);
    assert_eq!(row["total_paid"].as_f64(), order["amount"].as_f64());
    assert_eq!(row["tickets_due"], Value::Null);
    world.assert_no_failures().await;
    // A webhook's way and a single sync's are one: it finds nothing to do.
    let single = world.api.sync(&id).await;
    assert_eq!((&single["result"], &single["tickets"]["kept"]), (&json!("unchanged"), &json!(3)), "{single}");
}

/// GHL's own have 24 hex digits, and nothing relies on that: from the webhook to the gate.
#[tokio::test]
async fn an_order_may_have_an_id_of_another_form() {
    let world = World::with_orders(4).await;
    let run = world.complete("/api/ghl/orders/sync?mode=incremental", A_SMALL_RUN).await;
    let (like, id) = (new_id(), "order_abc123");
    world.ghl.put_quantity(&like, 2).await;
    let order = world.ghl.order(&like).await.to_string().replace(&like, id);
    // The stand-in has no such ids: every order that is asked for is this one.
    let fault = json!({ "kind": "status", "status": 200, "body": order });
    world.ghl.fail(json!({ "endpoint": "detail", "fault": fault })).await;
    let body = json!({ "location": { "id": world.location_id }, "customData": { "order_id": id } });
    let answer = send(&world, "application/json", body.to_string()).await;
    assert_eq!((answer.status, &answer.body["orders"]), (202, &json!(1)), "{answer:?}");
    let tickets = world.database.until_tickets(id, 2, "live").await;

    assert_eq!(world.api.sync(id).await["orderId"], id);
    let scan = format!("/api/qrapp/tickets/{}/validate", tickets[0]["ticket_id"]);
    assert_eq!(world.api.post(As::Member, &scan).await.ok()["ticket"]["orderId"], id);
    let retry = format!("/api/qrapp/runs/{}/retry", run["run_id"].as_str().unwrap());
    let retried = world.api.post_json(As::Admin, &retry, &json!({ "orderIds": [id] })).await;
    assert_eq!(retried.status, 202, "{retried:?}");
    let row = world.until_ended(retried.body["runId"].as_str().unwrap(), A_SMALL_RUN).await;
    assert_eq!((&row["synced"], &row["failed"]), (&json!(1), &json!(0)), "{row}");
    world.database.end_cooldown().await;
    let contact = world.database.order(id).await.unwrap()["contact_id"].as_str().unwrap().to_owned();
    let forgotten = world.api.post(As::Admin, &format!("/api/qrapp/contacts/{contact}/forget")).await.ok();
    assert!(forgotten["orders"].as_u64() > Some(0), "{forgotten}");
    assert_eq!(world.database.order(id).await.unwrap()["contact_firstname"], Value::Null);
}

#[tokio::test]
async fn a_webhook_is_signed_by_node_with_the_key_of_the_stack() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    let body = json!({ "type": "OrderStatusUpdate", "locationId": world.location_id, "_id": id }).to_string();

    let mut node = Command::new("node");
    node.args(["-e", SIGN, &body]).env("STACK_JSON", described_by());
    let signed = node.output().await.expect("Node.js is installed");
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let signature = String::from_utf8(signed.stdout).unwrap();
    let request = world.api.request(As::Nobody, Method::POST, DOOR).header("content-type", "application/json");
    let answer = Answer::to(request.header("x-ghl-signature", signature).body(body)).await;
    assert_eq!((answer.status, &answer.body["orders"]), (202, &json!(1)), "{answer:?}");
    world.database.until_tickets(&id, 1, "live").await;
}

#[tokio::test]
async fn a_workflow_webhook_brings_every_order_it_names() {
    let world = World::with_orders(4).await;
    let ids = [new_id(), new_id()];
    for id in &ids {
        world.ghl.put(id, json!({})).await;
    }
    let webhook = json!({ "kind": "workflow", "orderId": ids[0], "orderIds": [ids[1]] });
    let answer = world.ghl.webhook(webhook).await;
    assert_eq!((&answer["status"], &answer["body"]["orders"]), (&json!(202), &json!(2)), "{answer}");
    for id in &ids {
        world.database.until_tickets(id, 1, "live").await;
    }
}

#[tokio::test]
async fn a_webhook_that_can_not_be_verified_is_refused_and_does_nothing() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    for signature in ["bad", "absent", "na", "reserialized"] {
        let answer = world.ghl.webhook(json!({ "kind": "signed", "orderId": id, "signature": signature })).await;
        assert_refused(&answer, 401, "unauthorized");
    }
    for secret in ["bad", "absent", "na"] {
        let answer = world.ghl.webhook(json!({ "kind": "workflow", "orderId": id, "signature": secret })).await;
        assert_refused(&answer, 401, "unauthorized");
    }
    // What came after them through the same queue has arrived, and they have not.
    let after = new_id();
    world.ghl.put(&after, json!({})).await;
    world.ghl.notify(&after).await;
    world.database.until_tickets(&after, 1, "live").await;
    assert_eq!(world.ghl.fetches(&id).await, 0);
    assert_eq!(world.database.order(&id).await, None);
}

#[tokio::test]
async fn bodies_that_can_not_be_used_are_refused_with_the_reason() {
    let world = World::with_orders(4).await;
    let (json_body, location) = ("application/json", world.location_id.as_str());
    let event = |change: Value| {
        let mut event = json!({ "type": "OrderStatusUpdate", "locationId": location, "_id": new_id() });
        event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        event.to_string()
    };
    let long_ago = json!({ "timestamp": "2025-01-01T00:00:00.000Z" });
    for (content_type, body, code) in [
        (json_body, String::new(), "invalid_body"),
        (json_body, "{\"type\": ".to_owned(), "invalid_body"),
        (json_body, "[]".to_owned(), "invalid_body"),
        (json_body, "null".to_owned(), "invalid_body"),
        ("text/plain", event(json!({})), "invalid_body"),
        (json_body, event(json!({ "filler": "x".repeat(256 * 1024) })), "body_too_large"),
        (json_body, event(json!({ "locationId": "SomeOtherLocation0001" })), "other_location"),
        (json_body, event(json!({ "_id": "../secrets" })), "no_order"),
        (json_body, event(long_ago), "outside_window"),
        (json_body, json!({ "id": new_id(), "location": { "id": location } }).to_string(), "no_order"),
        (json_body, json!({ "customData": { "order_id": new_id() } }).to_string(), "other_location"),
    ] {
        send(&world, content_type, body).await.refused(400, code, &[]);
    }
}

#[tokio::test]
async fn an_event_about_something_else_is_ignored() {
    let world = World::with_orders(4).await;
    let body = json!({ "type": "INSTALL", "locationId": world.location_id, "appId": "app" });
    let answer = world.ghl.webhook(json!({ "kind": "signed", "body": body })).await;
    assert_eq!(answer["status"], 200, "{answer}");
    assert!(answer["body"]["message"].is_string(), "{answer}");
}

#[tokio::test]
async fn a_burst_for_one_order_is_served_by_one_fetch_and_a_change_after_it_by_another() {
    let world = World::with_orders(4).await;
    let id = new_id();
    for tickets in 1..=2 {
        world.ghl.put_quantity(&id, tickets).await;
        // As many as the smallest account's gateway lets in at once.
        join_all((0..5).map(|_| world.ghl.notify(&id))).await;
        world.database.until_tickets(&id, tickets as usize, "live").await;
        until("an empty queue", A_MOMENT, async || world.cloud().is_empty("orders").await).await;
        assert_eq!(world.ghl.fetches(&id).await, tickets, "fetches after {tickets} bursts");
    }
    assert_eq!(world.database.tickets(&id).await.len(), 2);
    world.assert_no_failures().await;
}

#[tokio::test]
async fn an_order_that_is_not_readable_yet_is_tried_again() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.notify(&id).await;
    until("a first try", A_MOMENT, async || if world.ghl.fetches(&id).await > 0 { Ok(()) } else { Err("none".into()) })
        .await;
    world.ghl.put(&id, json!({})).await;
    world.database.until_tickets(&id, 1, "live").await;
}

#[tokio::test]
async fn a_message_that_can_not_be_read_ends_among_the_failures() {
    let world = World::with_orders(4).await;
    let message = world.cloud().send("dead-letter", "poison").await;
    until("the recorded failure", A_MOMENT, async || {
        let failures = world.api.get(As::Member, "/api/qrapp/failures?limit=1000").await.ok();
        let found =
            failures["failures"].as_array().unwrap().iter().find(|failure| failure["orderId"] == message.as_str());
        let failure = found.ok_or_else(|| failures.to_string())?;
        assert_eq!((&failure["class"], &failure["code"]), (&json!("permanent"), &json!("unreadable_message")));
        Ok(())
    })
    .await;
}

/// Each would try again by itself, if one message didn't do it for all.
#[tokio::test]
async fn webhooks_of_an_order_that_ghl_does_not_know_yet_share_their_fetches() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.notify(&id).await;
    until("the first fetch", A_MOMENT, async || match world.ghl.fetches(&id).await {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;
    let noted = format!("select 1 from public.sync_order_memory where order_id = '{id}' and awaited_until is not null");
    until("a note of it", A_MOMENT, async || match world.database.rows(&noted).await.len() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;
    let so_far = world.ghl.fetches(&id).await;
    for _ in 0..10 {
        world.ghl.notify(&id).await;
    }
    // The next wait at most ends meanwhile.
    sleep(Duration::from_secs(3)).await;
    assert!(world.ghl.fetches(&id).await <= so_far + 1, "{} fetches", world.ghl.fetches(&id).await);
    world.ghl.put_quantity(&id, 2).await;
    world.ghl.notify(&id).await;
    world.database.until_tickets_within(A_SMALL_RUN, &id, 2, "live").await;
    world.assert_no_failures().await;
}
