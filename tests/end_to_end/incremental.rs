//! An incremental run fetches only what changed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{fake_ghl::new_id, waiting::A_SMALL_RUN, world::World};

const FULL: &str = "/api/ghl/orders/sync?mode=full";
const INCREMENTAL: &str = "/api/ghl/orders/sync?mode=incremental";

/// Ids of `known` that were fetched.
async fn fetched(world: &World, known: &[String]) -> BTreeSet<String> {
    let counters = world.ghl.counters().await;
    let fetched = counters["perOrder"].as_object().unwrap().keys();
    fetched.filter(|id| known.contains(id)).cloned().collect()
}

#[tokio::test]
async fn an_incremental_run_fetches_only_what_changed() {
    let world = World::with_orders(20).await;
    let census = world.ghl.census().await;
    let full = world.complete(FULL, A_SMALL_RUN).await;
    assert_eq!(full["synced"], json!(census.valid.len()));

    world.ghl.clear_counters().await;
    let idle = world.complete(INCREMENTAL, A_SMALL_RUN).await;
    assert_eq!(fetched(&world, &census.all).await, BTreeSet::new(), "nothing changed");
    assert_eq!((&idle["listed"], &idle["unchanged"]), (&full["listed"], &full["synced"]));
    assert_eq!(idle["tickets_total"], full["tickets_total"], "unchanged orders keep their tickets in the count");

    let (renamed, refunded, silently) = (&census.ordinary[1], &census.ordinary[5], &census.ordinary[9]);
    let new = new_id();
    world.ghl.put(renamed, json!({ "contactSnapshot": { "firstName": "Renamed" } })).await;
    world.ghl.put(refunded, json!({ "paymentStatus": "refunded" })).await;
    // GHL doesn't promise that a refund moves `updatedAt`.
    world.ghl.put_silently(silently, json!({ "paymentStatus": "refunded" })).await;
    world.ghl.put(&new, json!({})).await;
    world.ghl.clear_counters().await;
    let run = world.complete(INCREMENTAL, A_SMALL_RUN).await;

    let known = world.ghl.census().await.all;
    let changed = BTreeSet::from([renamed, refunded, silently, &new].map(Clone::clone));
    assert_eq!(fetched(&world, &known).await, changed);
    let counters = world.ghl.counters().await;
    assert!(changed.iter().all(|id| counters["perOrder"][id] == 1), "{counters}");
    assert_eq!(counters["status"]["429"], Value::Null, "{counters}");
    assert_eq!(run["synced"], json!(census.valid.len() + 1));
    assert_eq!((&run["failed"], &run["tickets_added"]), (&json!(0), &json!(1)), "{run}");
    for id in [refunded, silently] {
        assert!(world.database.tickets(id).await.iter().all(|ticket| ticket["status"] == "cancelled"), "{id}");
    }
    assert_eq!(world.database.tickets(&new).await.len(), 1);
    assert_eq!(world.database.order(renamed).await.unwrap()["contact_firstname"], "Renamed");
}
