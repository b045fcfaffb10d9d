//! A refund takes tickets away, and its reversal brings the very same ones back.

use serde_json::json;
use tests::{api::As, fake_ghl::new_id, world::World};

#[tokio::test]
async fn a_refund_cancels_the_tickets_and_its_reversal_reinstates_the_same() {
    let world = World::with_orders(4).await;
    let id = world.ghl.census().await.ordinary[0].clone();
    world.ghl.notify(&id).await;
    let count = world.ghl.expected(&id).await["tickets"].as_u64().unwrap() as usize;
    let before = world.database.until_tickets(&id, count, "live").await;

    world.ghl.put(&id, json!({ "paymentStatus": "refunded", "status": "refunded" })).await;
    world.ghl.notify(&id).await;
    world.database.until_tickets(&id, count, "cancelled").await;
    let row = world.database.order(&id).await.unwrap();
    assert_eq!((&row["payment_status"], &row["entitled"]), (&json!("refunded"), &json!(false)));

    world.ghl.put(&id, json!({ "paymentStatus": "paid", "status": "completed" })).await;
    world.ghl.notify(&id).await;
    assert_eq!(world.database.until_tickets(&id, count, "live").await, before);
}

#[tokio::test]
async fn a_validated_ticket_outlives_a_refund() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    let tickets = world.database.until_tickets(&id, 1, "live").await;
    let validate = format!("/api/qrapp/tickets/{}/validate", tickets[0]["ticket_id"]);
    world.api.post(As::Member, &validate).await.ok();

    world.ghl.put(&id, json!({ "paymentStatus": "refunded" })).await;
    let answer = world.api.sync(&id).await;
    assert_eq!(
        (&answer["tickets"]["cancelled"], &answer["tickets"]["overValidated"]),
        (&json!(0), &json!(1)),
        "{answer}"
    );
    let after = world.database.until_tickets(&id, 1, "validated").await;
    assert_eq!(after[0]["ticket_id"], tickets[0]["ticket_id"]);
}
