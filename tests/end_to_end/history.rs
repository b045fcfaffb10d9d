//! What is told of one order.

use serde_json::{Value, json};
use tests::{
    api::As,
    fake_ghl::new_id,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};

async fn history(world: &World, id: &str) -> Value {
    world.api.get(As::Member, &format!("/api/qrapp/orders/{id}/history")).await.ok()
}

#[tokio::test]
async fn an_order_is_told_with_its_refund_its_tickets_and_what_was_done_to_them() {
    let world = World::with_orders(4).await;
    let id = new_id();
    let order = world.ghl.put_quantity(&id, 2).await;
    world.complete("/api/ghl/orders/sync?mode=full", A_SMALL_RUN).await;
    let tickets = world.database.until_tickets(&id, 2, "live").await;
    let ticket = &tickets[0]["ticket_id"];
    world.api.post(As::Member, &format!("/api/qrapp/tickets/{ticket}/validate")).await.ok();
    let cancel = format!("/api/qrapp/tickets/{}/cancel", tickets[1]["ticket_id"]);
    world.api.post_json(As::Admin, &cancel, &json!({ "reason": "Given back" })).await.ok();
    world.ghl.put_silently(&id, json!({ "_fake": { "amountRefunded": 5.1 } })).await;
    world.complete("/api/ghl/orders/sync?mode=incremental", A_SMALL_RUN).await;

    let told = history(&world, &id).await;
    let facts = &told["order"];
    assert_eq!((&facts["paymentStatus"], &facts["amountRefunded"]), (&json!("paid"), &json!(5.1)), "{told}");
    assert_eq!(facts["totalPaid"].as_f64(), order["amount"].as_f64(), "{told}");
    assert_eq!((&facts["entitled"], &facts["forgotten"]), (&json!(true), &json!(false)), "{told}");
    assert_eq!(facts["lines"][0]["quantity"], 2, "{told}");
    let statuses: Vec<_> = told["tickets"].as_array().unwrap().iter().map(|ticket| &ticket["status"]).collect();
    assert_eq!(statuses, ["validated", "cancelled"]);
    let changes = told["changes"].as_array().unwrap();
    let who: Vec<_> = changes.iter().map(|change| (&change["by"], &change["from"], &change["to"])).collect();
    let (live, none) = (json!("live"), Value::Null);
    let expected = [
        (&json!("Admin"), &live, &json!("cancelled")),
        (&json!("Gate"), &live, &json!("validated")),
        (&json!("Sync"), &none, &live),
        (&json!("Sync"), &none, &live),
    ];
    assert_eq!(who, expected, "{told}");
    assert!(changes[0]["reason"].as_str().unwrap().starts_with("Given back"), "{told}");
    assert_eq!((&told["issues"][0]["code"], &told["failures"]), (&json!("partial_refund"), &json!([])), "{told}");

    // Nothing says who bought it.
    for field in ["email", "phone"] {
        let text = order["contactSnapshot"][field].as_str().expect("a buyer");
        assert!(!told.to_string().contains(text), "{field}: {told}");
    }

    let first = world.api.get(As::Member, &format!("/api/qrapp/orders/{id}/history?limit=3")).await.ok();
    let next = first["next"].as_str().expect("there is more");
    let rest = world.api.get(As::Member, &format!("/api/qrapp/orders/{id}/history?limit=3&before={next}")).await.ok();
    assert_eq!((&rest["changes"], &rest["next"]), (&json!([changes[3]]), &Value::Null), "{rest}");
}

#[tokio::test]
async fn an_order_that_failed_is_told_and_one_of_which_nothing_is_known_is_not() {
    let world = World::with_orders(4).await;
    let id = new_id();
    let path = format!("/api/qrapp/orders/{id}/history");
    world.api.get(As::Member, &path).await.refused(404, "order_not_found", &[]);
    world.api.get(As::Member, &format!("{path}?before=x")).await.refused(400, "invalid_parameter", &[]);
    world.ghl.put(&id, json!({})).await;
    world.ghl.fail(json!({ "endpoint": "detail", "orderId": id, "fault": { "kind": "status", "status": 422 } })).await;
    world.ghl.notify(&id).await;
    until("a failure", A_MOMENT, async || {
        let answer = world.api.get(As::Member, &path).await;
        if answer.body["failures"][0]["code"].is_string() { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let told = history(&world, &id).await;
    assert_eq!((&told["order"], &told["failures"][0]["runId"]), (&Value::Null, &Value::Null), "{told}");
}
