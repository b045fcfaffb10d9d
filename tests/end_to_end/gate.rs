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
async fn a_scan_whose_answer_was_lost_is_sent_again() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    world.api.sync(&id).await;
    let tickets = world.database.until_tickets(&id, 2, "live").await;
    let [first, second] = [0, 1].map(|n| tickets[n]["ticket_id"].clone());
    let scan = async |who, ticket, scan_id: &str| {
        let body = json!({ "scanId": scan_id, "gate": "Main gate" });
        world.api.post_json(who, &door(ticket, "validate"), &body).await
    };

    // At once and later: one answer says that it admits, the others that it did.
    let scans = join_all((0..4).map(|_| scan(As::Member, &first, "scan-0001"))).await;
    let bodies: Vec<_> = scans.into_iter().map(tests::api::Answer::ok).collect();
    assert!(
        bodies.iter().all(|body| body["result"] == "admitted" && body["ticket"] == bodies[0]["ticket"]),
        "{bodies:?}"
    );
    assert_eq!(bodies.iter().filter(|body| body.get("repeated").is_none()).count(), 1, "{bodies:?}");
    assert_eq!(scan(As::Member, &first, "scan-0001").await.ok()["repeated"], true);
    scan(As::Member, &first, "scan-0002").await.refused(409, "already_validated", &["ticket", "validatedAt"]);
    scan(As::Member, &second, "scan-0001").await.refused(409, "scan_id_reused", &[]);
    scan(As::Admin, &first, "scan-0001").await.refused(409, "scan_id_reused", &[]);
    scan(As::Member, &first, "short").await.refused(400, "invalid_scan_id", &[]);

    // The undo names its admission, and may be sent again as well.
    let that = json!({ "validatedAt": bodies[0]["ticket"]["validatedAt"] });
    let undo = async |body| world.api.post_json(As::Admin, &door(&first, "undo"), body).await;
    assert_eq!(undo(&that).await.ok().get("repeated"), None);
    scan(As::Member, &first, "scan-0001").await.refused(409, "scan_ended", &["ticket"]);
    scan(As::Member, &first, "scan-0003").await.ok();
    assert_eq!(undo(&that).await.ok()["repeated"], true);
    world.database.execute("update public.gate_scans set scanned_at = scanned_at - interval '2 minutes'").await;
    scan(As::Member, &first, "scan-0003").await.refused(409, "already_validated", &["ticket", "validatedAt"]);
    let never = json!({ "validatedAt": "2026-05-01T10:00:00.123Z" });
    undo(&never).await.refused(409, "other_admission", &["ticket", "validatedAt"]);
}

#[tokio::test]
async fn an_admin_cancels_and_reinstates_by_hand() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    world.api.sync(&id).await;
    let ticket = world.database.until_tickets(&id, 2, "live").await[0]["ticket_id"].clone();
    let by_hand = async |who, deed: &str, reason: &str| {
        world.api.post_json(who, &door(&ticket, deed), &json!({ "reason": reason })).await
    };
    let statuses = async || {
        let tickets = world.database.tickets(&id).await;
        tickets.iter().map(|ticket| ticket["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    by_hand(As::Member, "cancel", "Given back").await.refused(403, "admin_required", &[]);
    by_hand(As::Admin, "cancel", "").await.refused(400, "invalid_reason", &[]);
    world.api.post(As::Admin, &door(&ticket, "reinstate")).await.refused(400, "invalid_reason", &[]);
    by_hand(As::Admin, "reinstate", "Needed").await.refused(409, "not_cancelled", &["ticket"]);
    let cancelled = by_hand(As::Admin, "cancel", "Given back").await.ok();
    assert_eq!((&cancelled["result"], &cancelled["ticket"]["status"]), (&json!("cancelled"), &json!("cancelled")));
    let again = by_hand(As::Admin, "cancel", "Given back").await.ok();
    assert_eq!((&again["ticket"], &again["repeated"]), (&cancelled["ticket"], &json!(true)));
    // Sync respects it: neither reinstated nor replaced.
    world.api.sync(&id).await;
    assert_eq!(statuses().await, ["cancelled", "live"]);
    let refused = world.api.post(As::Member, &door(&ticket, "validate")).await;
    refused.refused(409, "ticket_cancelled", &["reason", "ticket"]);
    assert!(refused.body["reason"].as_str().unwrap().starts_with("Given back (cancelled by "), "{refused:?}");

    // Not while the order gives it no place.
    world.ghl.put(&id, json!({ "paymentStatus": "refunded" })).await;
    world.api.sync(&id).await;
    let refused = by_hand(As::Admin, "reinstate", "Needed").await;
    refused.refused(409, "not_entitled", &["reason", "ticket"]);
    assert_eq!(refused.body["reason"], "refunded", "{refused:?}");
    world.ghl.put(&id, json!({ "paymentStatus": "paid" })).await;
    world.api.sync(&id).await;
    assert_eq!(statuses().await, ["cancelled", "live"]);
    assert_eq!(by_hand(As::Admin, "reinstate", "Needed").await.ok()["result"], "reinstated");
    world.api.sync(&id).await;
    assert_eq!(statuses().await, ["live", "live"]);

    world.api.post(As::Member, &door(&ticket, "validate")).await.ok();
    by_hand(As::Admin, "cancel", "Given back").await.refused(409, "already_validated", &["ticket", "validatedAt"]);
    let history = format!(
        "select reason from public.ghl_qr_ticket_changes where changed_by = 'admin' and ticket_id = {ticket} order by change_id"
    );
    let history = world.database.rows(&history).await;
    assert!(history[0]["reason"].as_str().unwrap().starts_with("Given back (cancelled by "), "{history:?}");
    assert!(history[1]["reason"].as_str().unwrap().starts_with("Needed (reinstated by "), "{history:?}");
    assert_eq!(history.len(), 2, "{history:?}");
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
