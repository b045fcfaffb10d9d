//! `POST /api/ghl/orders/{id}`: one order while the caller waits.

use serde_json::{Value, json};
use tests::{api::As, fake_ghl::new_id, waiting::A_SMALL_RUN, world::World};

fn path(order_id: &str) -> String {
    format!("/api/ghl/orders/{order_id}")
}

#[tokio::test]
async fn a_new_order_is_written_and_an_unchanged_one_left_alone() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;

    let first = world.api.sync(&id).await;
    assert_eq!((&first["orderId"], &first["result"]), (&json!(id), &json!("written")), "{first}");
    assert_eq!(
        (&first["valid"], &first["entitled"], &first["paymentStatus"]),
        (&json!(true), &json!(true), &json!("paid"))
    );
    let tickets =
        |added, kept| json!({ "added": added, "reinstated": 0, "cancelled": 0, "kept": kept, "overValidated": 0 });
    assert_eq!((&first["tickets"], &first["issues"]), (&tickets(1, 0), &json!([])));
    let before = world.database.order(&id).await.unwrap();

    // The original app's GET does the same.
    let second = world.api.get(As::Admin, &path(&id)).await.ok();
    assert_eq!((&second["result"], &second["tickets"]), (&json!("unchanged"), &tickets(0, 1)), "{second}");
    assert_eq!(world.database.order(&id).await.unwrap()["updated_at"], before["updated_at"]);

    world.ghl.put(&id, json!({ "contactSnapshot": { "firstName": "Renamed" } })).await;
    let third = world.api.sync(&id).await;
    assert_eq!((&third["result"], &third["tickets"]), (&json!("written"), &tickets(0, 1)), "{third}");
}

#[tokio::test]
async fn an_order_that_takes_too_long_is_queued_and_synced_later() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    // GHL has closed its door for longer than a caller waits (25 s).
    let closed = "update public.sync_limiter set closed_until = clock_timestamp() + interval '27 seconds'";
    world.api.sync(&world.ghl.census().await.ordinary[0]).await;
    world.database.execute(closed).await;
    let answer = world.api.post(As::Admin, &path(&id)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.body["message"].is_string(), "{answer:?}");
    world.database.until_tickets_within(A_SMALL_RUN, &id, 1, "live").await;
    world.assert_no_failures().await;
}

#[tokio::test]
async fn an_order_that_is_not_ours_is_not_stored() {
    let world = World::with_orders(4).await;
    let census = world.ghl.census().await;
    let unlisted = census.odd["unlisted_product"].as_str().unwrap();
    let skipped = world.api.sync(unlisted).await;
    assert_eq!((&skipped["result"], &skipped["orderId"]), (&json!("skipped"), &json!(unlisted)), "{skipped}");
    assert!(skipped["reason"].is_string(), "{skipped}");
    assert_eq!(world.database.order(unlisted).await, None);

    let foreign = census.odd["other_location"].as_str().unwrap();
    world.api.post(As::Admin, &path(foreign)).await.refused(404, "other_location", &[]);
    assert_eq!(world.database.order(foreign).await, None);
}

#[tokio::test]
async fn what_can_not_be_synced_is_said_in_its_own_words() {
    let world = World::with_orders(4).await;
    let unknown = path(&new_id());
    world.api.post(As::Admin, &unknown).await.refused(404, "order_not_found", &[]);
    world.ghl.settings(json!({ "notFoundStatus": 400 })).await;
    world.api.post(As::Admin, &unknown).await.refused(404, "order_not_found", &[]);
    for malformed in ["a%20b", "..%5Csecrets", "%27", &"a".repeat(65)] {
        world.api.post(As::Admin, &path(malformed)).await.refused(400, "invalid_order_id", &[]);
    }

    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    let detail = |fault: Value| json!({ "endpoint": "detail", "orderId": id, "fault": fault });
    for fault in [
        json!({ "kind": "status", "status": 500, "body": "secret words of GHL" }),
        json!({ "kind": "html", "status": 502 }),
        json!({ "kind": "reset" }),
        json!({ "kind": "truncate" }),
        json!({ "kind": "error_body" }),
        json!({ "kind": "empty", "status": 204 }),
        json!({ "kind": "redirect", "location": "http://127.0.0.1:1/" }),
        json!({ "kind": "status", "status": 400, "body": { "message": "Request Timeout after 30000ms" } }),
    ] {
        world.ghl.fail(detail(fault.clone())).await;
        let answer = world.api.post(As::Admin, &path(&id)).await;
        answer.refused(502, "ghl_unavailable", &[]);
        assert!(answer.retry_after() > 0, "{fault}");
        world.ghl.heal().await;
    }
    for status in [401, 403] {
        world.ghl.fail(detail(json!({ "kind": "status", "status": status }))).await;
        let answer = world.api.post(As::Admin, &path(&id)).await;
        answer.refused(502, "order_refused", &[]);
        assert!(answer.body["error"].as_str().unwrap().contains("this order"), "{answer:?}");
        world.ghl.heal().await;
    }
    // What was proven of the token a moment ago is believed for 5 s.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let unauthorized = json!({ "kind": "status", "status": 401 });
    world.ghl.fail(detail(unauthorized.clone())).await;
    world.ghl.fail(json!({ "endpoint": "list", "fault": unauthorized })).await;
    let answer = world.api.post(As::Admin, &path(&id)).await;
    answer.refused(502, "ghl_unauthorized", &[]);
    assert!(answer.body["error"].as_str().unwrap().contains("access token"), "{answer:?}");
    assert_eq!(world.database.order(&id).await, None, "nothing was stored by any of these");
}

#[tokio::test]
async fn tickets_survive_lines_that_vanish_until_an_admin_insists() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    let before = world.database.until_tickets(&id, 1, "live").await;

    world.ghl.put_null_items(&id).await;
    let answer = world.api.sync(&id).await;
    let issues = answer["issues"].as_array().unwrap();
    assert!(issues.iter().any(|issue| issue["code"] == "lines_unreadable"), "{answer}");
    assert_eq!(world.database.tickets(&id).await, before);

    let forced = world.api.post(As::Admin, &format!("{}?force=true", path(&id))).await.ok();
    assert_eq!(forced["tickets"]["cancelled"], 1, "{forced}");
    world.database.until_tickets(&id, 1, "cancelled").await;
}

#[tokio::test]
async fn an_item_that_loses_its_price_costs_no_ticket_and_no_number() {
    let world = World::with_orders(4).await;
    let id = new_id();
    let mut items = world.ghl.put_quantity(&id, 2).await["items"].clone();
    world.api.sync(&id).await;
    let before = world.database.until_tickets(&id, 2, "live").await;
    let scan = format!("/api/qrapp/tickets/{}/validate", before[0]["ticket_id"]);
    world.api.post(As::Member, &scan).await.ok();
    let before = world.database.tickets(&id).await;

    for part in ["price", "product"] {
        let lost = items[0].as_object_mut().unwrap().remove(part).unwrap();
        world.ghl.put(&id, json!({ "items": items })).await;
        let answer = world.api.sync(&id).await;
        assert_eq!(
            (&answer["valid"], &answer["entitled"], &answer["issues"]),
            (&json!(true), &json!(true), &json!([])),
            "{answer}"
        );
        assert_eq!(world.database.tickets(&id).await, before, "without {part}");
        items[0][part] = lost;
    }
    world.ghl.put(&id, json!({ "items": items })).await;
    world.api.sync(&id).await;
    assert_eq!(world.database.tickets(&id).await, before);
}

#[tokio::test]
async fn only_the_lines_that_an_admin_saw_are_forced() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    world.ghl.put_null_items(&id).await;
    let seen = world.api.sync(&id).await["lines"].as_str().expect("lines that weren't applied have a name").to_owned();
    let forced = |lines: &str| format!("{}?force=true&lines={lines}", path(&id));
    world.api.post(As::Admin, &forced("anything")).await.refused(400, "invalid_parameter", &[]);

    let other = world.api.post(As::Admin, &forced(&"0".repeat(32))).await.ok();
    let codes: Vec<_> = other["issues"].as_array().unwrap().iter().map(|issue| issue["code"].clone()).collect();
    assert_eq!(codes, ["lines_unreadable", "force_outdated"], "{other}");
    world.database.until_tickets(&id, 1, "live").await;
    let answer = world.api.post(As::Admin, &forced(&seen)).await.ok();
    assert_eq!((&answer["tickets"]["cancelled"], &answer["lines"]), (&json!(1), &Value::Null), "{answer}");
}

#[tokio::test]
async fn what_is_forced_survives_the_queue() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    world.ghl.put_null_items(&id).await;
    world.api.sync(&id).await;
    let closed = "update public.sync_limiter set closed_until = clock_timestamp() + interval '27 seconds'";
    world.database.execute(closed).await;
    let answer = world.api.post(As::Admin, &format!("{}?force=true", path(&id))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    // In company of a webhook, which forces nothing.
    world.ghl.notify(&id).await;
    world.database.until_tickets_within(A_SMALL_RUN, &id, 1, "cancelled").await;
    world.assert_no_failures().await;
}
