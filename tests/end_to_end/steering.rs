//! Runs under an admin's hands: started twice, cancelled at any point, stopped by a used-up budget.

use futures::future::join;
use serde_json::{Value, json};
use tests::{
    api::As,
    database::Database,
    fake_ghl::new_id,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::{World, assert_adds_up, not_attempted},
};
use tokio::time::Instant;

const SYNC: &str = "/api/ghl/orders/sync?mode=full";
const CANCEL: &str = "/api/ghl/orders/sync/cancel";
/// Calls a day, as the fake GHL begins.
const A_DAY: u64 = 200_000;
/// Within this an admin who cancels must see it.
const AT_ONCE_SECONDS: u64 = 5;

/// Cancels and returns the row, ended in time and adding up.
async fn cancel(world: &World, run_id: &str) -> Value {
    let asked = Instant::now();
    world.api.post(As::Admin, CANCEL).await.ok();
    let row = world.until_ended(run_id, A_MOMENT).await;
    assert!(asked.elapsed().as_secs() < AT_ONCE_SECONDS, "it took {:?}", asked.elapsed());
    assert_eq!((&row["state"], &world.status().await["status"]), (&json!("Cancelled"), &json!("Cancelled")), "{row}");
    assert_adds_up(&row);
    row
}

async fn until_quiet(world: &World) {
    until("empty queues", A_SMALL_RUN, async || {
        for queue in ["orders-bulk", "tickets"] {
            world.cloud().is_empty(queue).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn of_two_starts_at_once_exactly_one_wins_fifty_times() {
    let world = World::with_orders(4).await;
    world.ghl.fail(json!({ "endpoint": "products", "fault": { "kind": "delay", "ms": 3000 } })).await;
    for round in 0..50 {
        let (one, other) = join(world.api.post(As::Admin, SYNC), world.api.post(As::Admin, SYNC)).await;
        let (won, lost) = if one.status == 202 { (one, other) } else { (other, one) };
        assert_eq!((won.status, lost.status), (202, 409), "round {round}: {won:?} {lost:?}");
        assert_eq!((&lost.body["runId"], &lost.body["code"]), (&won.body["runId"], &json!("sync_in_progress")));
        assert!(lost.retry_after() > 0);
        cancel(&world, won.body["runId"].as_str().unwrap()).await;
    }
}

#[tokio::test]
async fn a_run_cancelled_while_listing_fetches_nothing() {
    let world = World::with_orders(20).await;
    world.ghl.fail(json!({ "endpoint": "list", "fault": { "kind": "delay", "ms": 4000 } })).await;
    let run_id = world.api.start(SYNC).await;
    until("the listing", A_MOMENT, async || {
        let listings = world.ghl.counters().await["requests"]["list"].as_u64();
        if listings > Some(0) { Ok(()) } else { Err(format!("{listings:?}")) }
    })
    .await;
    let row = cancel(&world, &run_id).await;
    assert_eq!((&row["listed"], &row["listing_complete"]), (&json!(0), &json!(false)), "{row}");

    // The page under way arrives and finds its run ended.
    until("the page", A_MOMENT, async || {
        let answered = world.ghl.counters().await;
        let sum = |key: &str| answered[key].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
        if sum("requests") == sum("status") { Ok(()) } else { Err(answered.to_string()) }
    })
    .await;
    until_quiet(&world).await;
    assert_eq!(world.database.run(&run_id).await["listed"], 0);
    assert_eq!(world.ghl.counters().await["perOrder"], json!({}), "nothing new started");
}

#[tokio::test]
async fn a_run_cancelled_while_tickets_are_under_way_leaves_them_right() {
    let world = World::with_orders(12).await;
    world.complete(SYNC, A_SMALL_RUN).await;
    let census = world.ghl.census().await;
    for id in &census.ordinary {
        world.ghl.put_quantity(id, 5).await;
    }
    // Somebody holds a ticket, so that reconciling its order waits.
    let holder = Database::connect(&world.stack).await;
    let held = &census.ordinary[0];
    let lock = format!("begin; select from public.ghl_qr_tickets where order_id = '{held}' for update");
    holder.execute(&lock).await;
    let run_id = world.api.start(SYNC).await;
    until("a batch of tickets that waits", A_SMALL_RUN, async || {
        let waiting =
            "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%reconcile_tickets%'";
        if world.database.rows(waiting).await.is_empty() { Err("none".into()) } else { Ok(()) }
    })
    .await;
    let row = cancel(&world, &run_id).await;
    assert!(not_attempted(&row) > 0, "{row}");
    holder.execute("rollback").await;

    // What had been fetched is finished, though the run doesn't count it any more.
    until_quiet(&world).await;
    let after = world.database.run(&run_id).await;
    assert_eq!((&after["synced"], &after["failed"]), (&row["synced"], &row["failed"]));
    let due = "select order_id from public.ghl_qr_orders where tickets_due is not null";
    assert_eq!(world.database.rows(due).await, Vec::<Value>::new());
    assert_eq!(world.database.rows("select * from public.ghl_qr_tickets_out_of_step").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_used_up_day_stops_runs_and_leaves_the_rest_to_webhooks() {
    // More than all workers fetch with their first grants: what GHL tells is passed on with the next ones.
    let world = World::with_orders(80).await;
    world.complete(SYNC, A_SMALL_RUN).await;
    // What GHL told last; a few calls more, and it is below the reserve of 1,000.
    let left = world.database.rows("select daily_remaining from public.sync_limiter").await;
    let served = A_DAY - left[0]["daily_remaining"].as_u64().expect("GHL told its daily budget");
    world.ghl.settings(json!({ "rateDaily": served + 1_004 })).await;
    let run_id = world.api.start(SYNC).await;
    let row = world.until_ended(&run_id, A_SMALL_RUN).await;
    assert_eq!((&row["state"], &row["error_code"]), (&json!("Error"), &json!("daily_budget_exhausted")), "{row}");
    assert!(row["error_message"].as_str().unwrap().contains("tomorrow"), "{row}");
    assert_adds_up(&row);

    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.ghl.notify(&id).await;
    world.database.until_tickets(&id, 1, "live").await;

    world.cloud().invoke("run-worker", json!({ "schedule": "full" })).await;
    let runs = world.api.get(As::Member, "/api/qrapp/runs?limit=1").await.ok();
    assert_eq!(runs["runs"][0]["status"], "Skipped", "{runs}");

    world.ghl.settings(json!({ "rateDaily": A_DAY })).await;
    // What GHL told with one call is passed on with the next.
    for _ in 0..2 {
        world.api.sync(&id).await;
    }
    world.complete(SYNC, A_SMALL_RUN).await;
}
