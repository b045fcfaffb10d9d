//! A refund takes tickets away, and its reversal brings the very same ones back.

use serde_json::{Value, json};
use tests::{api::As, fake_ghl::new_id, waiting::A_SMALL_RUN, world::World};

const FULL: &str = "/api/ghl/orders/sync?mode=full";
const INCREMENTAL: &str = "/api/ghl/orders/sync?mode=incremental";

/// The issues of a run about an order, by their codes; and how often the order was fetched.
async fn run(world: &World, start: &str, id: &str) -> (Vec<Value>, u64) {
    world.ghl.clear_counters().await;
    let run = world.complete(start, A_SMALL_RUN).await;
    assert_eq!(run["failed"], 0, "{run}");
    let detail = world.api.run(run["run_id"].as_str().unwrap()).await;
    let issues = detail["issues"].as_array().unwrap().iter();
    let issues = issues.filter(|issue| issue["orderId"] == id).map(|issue| issue["code"].clone()).collect();
    (issues, world.ghl.fetches(id).await)
}

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

#[tokio::test]
async fn a_partial_refund_that_moves_no_date_is_reported_once_and_takes_no_ticket() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    world.complete(FULL, A_SMALL_RUN).await;
    let before = world.database.until_tickets(&id, 2, "live").await;
    assert_eq!(run(&world, INCREMENTAL, &id).await, (Vec::new(), 0), "nothing was refunded");

    world.ghl.put_silently(&id, json!({ "_fake": { "amountRefunded": 5.1 } })).await;
    assert_eq!(run(&world, INCREMENTAL, &id).await, (vec![json!("partial_refund")], 1));
    let refunds = "select order_id, refunded::text from public.sync_refunds";
    assert_eq!(world.database.rows(refunds).await, [json!({ "order_id": id, "refunded": "5.1" })]);
    assert_eq!(run(&world, INCREMENTAL, &id).await, (Vec::new(), 0), "acted upon once");
    let counters = world.ghl.counters().await;
    assert_eq!(counters["requests"]["transactions"], 1, "one page, and nothing about the order: {counters}");
    assert_eq!(world.database.tickets(&id).await, before);

    // Of an order that is older than two days, a full run hears.
    let old = world.ghl.census().await.ordinary[1].clone();
    world.ghl.put_silently(&old, json!({ "_fake": { "amountRefunded": 1 } })).await;
    assert_eq!(run(&world, INCREMENTAL, &old).await, (Vec::new(), 0));
    assert_eq!(run(&world, FULL, &old).await, (vec![json!("partial_refund")], 1));
}

#[tokio::test]
async fn a_full_refund_that_only_its_transaction_tells_makes_its_order_be_fetched() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.complete(FULL, A_SMALL_RUN).await;
    world.database.until_tickets(&id, 1, "live").await;
    let amount = world.ghl.order(&id).await["amount"].clone();
    // The list shows no payment status, and GHL doesn't list it among the refunded.
    let change = json!({ "_fake": { "amountRefunded": amount }, "markAsTest": true });
    world.ghl.put_silently(&id, change).await;
    assert_eq!(run(&world, INCREMENTAL, &id).await, (Vec::new(), 1));
    world.database.until_tickets(&id, 1, "cancelled").await;
    assert_eq!(run(&world, INCREMENTAL, &id).await, (Vec::new(), 0));
}

#[tokio::test]
async fn a_full_refund_of_an_order_that_stays_paid_is_reported_once() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.complete(FULL, A_SMALL_RUN).await;
    let before = world.database.until_tickets(&id, 1, "live").await;
    let amount = world.ghl.order(&id).await["amount"].clone();
    world.ghl.put_silently(&id, json!({ "_fake": { "amountRefunded": amount } })).await;
    assert_eq!(run(&world, INCREMENTAL, &id).await, (Vec::new(), 1), "its status decides");
    assert_eq!(run(&world, INCREMENTAL, &id).await, (vec![json!("full_refund")], 0), "it still has its ticket");
    assert_eq!(run(&world, INCREMENTAL, &id).await, (Vec::new(), 0), "once");
    assert_eq!(world.database.tickets(&id).await, before);
}

#[tokio::test]
async fn a_token_that_may_not_read_transactions_syncs_all_the_same() {
    let world = World::with_orders(4).await;
    world.ghl.fail(json!({ "endpoint": "transactions", "fault": { "kind": "status", "status": 403 } })).await;
    for start in [FULL, INCREMENTAL] {
        let run = world.complete(start, A_SMALL_RUN).await;
        assert_eq!(run["failed"], 0, "{run}");
        let detail = world.api.run(run["run_id"].as_str().unwrap()).await;
        let issues = detail["issues"].as_array().unwrap();
        assert!(issues.iter().any(|issue| issue["code"] == "transactions_refused"), "{detail}");
    }
}
