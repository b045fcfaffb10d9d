//! Admitting tickets.

use futures::future::join_all;
use serde_json::json;
use tests::{api::As, fake_ghl::new_id, world::World};

fn door(ticket: &serde_json::Value, action: &str) -> String {
    format!("/api/qrapp/tickets/{ticket}/{action}")
}

#[tokio::test]
async fn a_ticket_is_admitted_once_and_a_second_scan_is_told() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    let tickets = world.database.until_tickets(&id, 1, "live").await;
    let ticket = &tickets[0]["ticket_id"];

    // Scanned at two doors at once: one of them lets the guest in.
    let validate = door(ticket, "validate");
    let scans = join_all((0..4).map(|_| world.api.post(As::Member, &validate))).await;
    let admitted: Vec<_> = scans.iter().filter(|scan| scan.status == 200).collect();
    assert_eq!(admitted.len(), 1, "{scans:?}");
    let body = &admitted[0].body;
    assert_eq!((&body["result"], &body["ticket"]["ticketId"]), (&json!("admitted"), ticket), "{body}");
    assert_eq!((&body["ticket"]["orderId"], &body["ticket"]["status"]), (&json!(id), &json!("validated")));
    let mut keys: Vec<_> = body["ticket"].as_object().unwrap().keys().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["orderId", "status", "ticketId", "ticketType", "validatedAt"], "nothing of the buyer");
    for scan in scans.iter().filter(|scan| scan.status != 200) {
        scan.refused(409, "already_validated", &["ticket", "validatedAt"]);
        assert_eq!(scan.body["validatedAt"], body["ticket"]["validatedAt"]);
    }

    world.api.post(As::Member, &door(ticket, "undo")).await.refused(403, "admin_required", &[]);
    let undone = world.api.post(As::Admin, &door(ticket, "undo")).await.ok();
    assert_eq!((&undone["result"], &undone["ticket"]["status"]), (&json!("undone"), &json!("live")));
    world.api.post(As::Admin, &door(ticket, "undo")).await.refused(409, "not_validated", &["ticket"]);
    world.api.post(As::Admin, &door(ticket, "validate")).await.ok();
}

#[tokio::test]
async fn tickets_that_admit_nobody_are_told_apart() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    let ticket = world.database.until_tickets(&id, 1, "live").await[0]["ticket_id"].clone();
    world.ghl.put(&id, json!({ "paymentStatus": "refunded" })).await;
    world.api.sync(&id).await;
    let cancelled = world.api.post(As::Member, &door(&ticket, "validate")).await;
    cancelled.refused(409, "ticket_cancelled", &["reason", "ticket"]);
    assert!(cancelled.body["reason"].is_string(), "{cancelled:?}");

    world.api.post(As::Member, &door(&json!(2_000_000_000), "validate")).await.refused(404, "ticket_not_found", &[]);
    for malformed in ["0", "-1", "seven", "1.5", "99999999999999999999"] {
        let path = format!("/api/qrapp/tickets/{malformed}/validate");
        world.api.post(As::Member, &path).await.refused(400, "invalid_ticket_id", &[]);
    }
    assert!([401, 403].contains(&world.api.post(As::Nobody, &door(&ticket, "validate")).await.status));
}
