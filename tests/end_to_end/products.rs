//! The product list: which orders are valid must not depend on a page that GHL cut, or lost.

use serde_json::{Value, json};
use tests::{fake_ghl::new_id, waiting::A_SMALL_RUN, world::World};

const FULL: &str = "/api/ghl/orders/sync?mode=full";

async fn listed(world: &World) -> u64 {
    let rows = world.database.rows("select count(*) from public.sync_products").await;
    rows[0]["count"].as_u64().unwrap()
}

/// The codes of a full run's issues that concern no order.
async fn issues(world: &World) -> Vec<Value> {
    let run = world.complete(FULL, A_SMALL_RUN).await;
    let detail = world.api.run(run["run_id"].as_str().unwrap()).await;
    let issues = detail["issues"].as_array().unwrap().iter();
    issues.filter(|issue| issue["orderId"].is_null()).map(|issue| issue["code"].clone()).collect()
}

#[tokio::test]
async fn a_list_shorter_than_its_own_count_removes_no_product() {
    let world = World::with_orders(4).await;
    // One of its own, since workers know the list for half a minute: no order of the tests that follow is of this product.
    let product = new_id();
    world.ghl.put_product(&product, json!({})).await;
    assert_eq!((issues(&world).await, listed(&world).await), (Vec::new(), 7));
    world.ghl.put_product(&product, json!({ "listed": false })).await;
    world.ghl.settings(json!({ "productTotalOffset": 1 })).await;
    assert_eq!((issues(&world).await, listed(&world).await), (vec![json!("products_short")], 7));

    world.ghl.settings(json!({ "productTotalOffset": 0 })).await;
    assert_eq!((issues(&world).await, listed(&world).await), (Vec::new(), 6), "it is gone, and GHL says so");
}

#[tokio::test]
async fn pages_that_are_cut_are_all_read() {
    let world = World::with_orders(4).await;
    world.ghl.settings(json!({ "rowCap": 4 })).await;
    assert_eq!((issues(&world).await, listed(&world).await), (Vec::new(), 6));
    let requests = world.ghl.counters().await["requests"].clone();
    // Of transactions there are fifteen: one of the sixteen orders isn't paid.
    assert_eq!((&requests["products"], &requests["transactions"]), (&json!(2), &json!(4)), "{requests}");
}
