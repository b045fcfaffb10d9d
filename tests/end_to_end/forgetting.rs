//! A person who wants to be forgotten.

use serde_json::{Value, json};
use tests::{api::As, fake_ghl::new_id, world::World};

fn path(contact_id: &str) -> String {
    format!("/api/qrapp/contacts/{contact_id}/forget")
}

/// An order of two tickets, synced.
async fn an_order_of(world: &World, contact_id: &str) -> String {
    let id = new_id();
    let buyer = json!({
        "id": contact_id, "firstName": "Ada", "lastName": "Quillon", "email": "ada@example.test", "phone": "+12025550147",
    });
    world.ghl.put(&id, json!({ "contactId": contact_id, "contactSnapshot": buyer })).await;
    world.ghl.put_quantity(&id, 2).await;
    world.api.sync(&id).await;
    id
}

/// What its row tells of who bought.
async fn buyer(world: &World, order_id: &str) -> Vec<Value> {
    let row = world.database.order(order_id).await.unwrap();
    ["contact_firstname", "contact_lastname", "contact_email", "contact_phone"]
        .map(|column| row[column].clone())
        .to_vec()
}

#[tokio::test]
async fn a_forgotten_persons_orders_are_synced_and_admitted_without_them() {
    let world = World::with_orders(4).await;
    let (contact, other) = (new_id(), new_id());
    let (id, others) = (an_order_of(&world, &contact).await, an_order_of(&world, &other).await);
    assert_eq!(buyer(&world, &id).await, buyer(&world, &others).await);
    assert_eq!(buyer(&world, &id).await[0], "Ada");

    world.api.post(As::Member, &path(&contact)).await.refused(403, "admin_required", &[]);
    let answer = world.api.post(As::Admin, &path(&contact)).await.ok();
    assert_eq!((&answer["contactId"], &answer["orders"]), (&json!(contact), &json!(1)), "{answer}");
    assert!(answer["forgottenAt"].is_string() && answer["forgottenBy"].is_string(), "{answer}");
    assert_eq!(buyer(&world, &id).await, [Value::Null, Value::Null, Value::Null, Value::Null]);
    assert_eq!(buyer(&world, &others).await[0], "Ada", "somebody else's");
    assert_eq!(world.api.post(As::Admin, &path(&contact)).await.ok(), answer, "said again");

    // GHL still has the name, and sends it with every read.
    let before = world.database.order(&id).await.unwrap();
    assert_eq!(world.api.sync(&id).await["result"], "unchanged");
    assert_eq!(world.database.order(&id).await.unwrap(), before);
    world.ghl.put_quantity(&id, 3).await;
    world.ghl.notify(&id).await;
    let tickets = world.database.until_tickets(&id, 3, "live").await;
    let late = an_order_of(&world, &contact).await;
    for id in [&id, &late] {
        assert_eq!(buyer(&world, id).await[0], Value::Null);
        assert_eq!(world.database.order(id).await.unwrap()["contact_id"], contact.as_str());
    }
    let validate = format!("/api/qrapp/tickets/{}/validate", tickets[0]["ticket_id"]);
    assert_eq!(world.api.post(As::Member, &validate).await.ok()["result"], "admitted");
    assert_eq!(world.api.post(As::Admin, &path(&contact)).await.ok(), answer, "what stood there then");
}

#[tokio::test]
async fn somebody_unknown_is_forgotten_in_advance_and_a_strange_id_refused() {
    let world = World::with_orders(4).await;
    let contact = new_id();
    assert_eq!(world.api.post(As::Admin, &path(&contact)).await.ok()["orders"], 0);
    let id = an_order_of(&world, &contact).await;
    assert_eq!(buyer(&world, &id).await[0], Value::Null);
    for strange in ["%27%20or%201=1", "a.b", &"a".repeat(65)] {
        world.api.post(As::Admin, &path(strange)).await.refused(400, "invalid_contact_id", &[]);
    }
}
