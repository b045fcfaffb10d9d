//! `POST /api/ghl/orders`: the list of valid orders, and nothing else.

use serde_json::json;
use tests::{
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};

const LIST: &str = "/api/ghl/orders";

#[tokio::test]
async fn the_list_of_valid_orders_is_written_without_touching_a_ticket() {
    let world = World::with_orders(12).await;
    let mut valid = world.ghl.census().await.valid;
    valid.sort_unstable();
    let published = async || {
        let document = world.cloud().document("valid_order_list.json").await;
        if document == Some(json!(valid)) { Ok(()) } else { Err(format!("{document:?}")) }
    };
    let run = world.complete(LIST, A_SMALL_RUN).await;
    assert_eq!((&run["kind"], &run["synced"]), (&json!("valid_list"), &json!(valid.len())), "{run}");
    until("the list", A_MOMENT, published).await;
    let stored = world.database.rows("select order_id from public.ghl_qr_orders").await;
    assert!(stored.is_empty(), "orders were stored: {stored:?}");

    // Remembered orders aren't fetched again, whether they are valid or not.
    world.ghl.clear_counters().await;
    world.complete(LIST, A_SMALL_RUN).await;
    assert_eq!(world.ghl.counters().await["requests"]["detail"], 0);
}
