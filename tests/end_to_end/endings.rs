//! Runs that don't reach their goal still end, add up, and say why.

use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::Dashboard,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::{World, assert_adds_up, not_attempted},
};

const SYNC: &str = "/api/ghl/orders/sync?mode=full";
const CANCEL: &str = "/api/ghl/orders/sync/cancel";

/// Waits until GHL has answered every call.
async fn until_answered(world: &World) {
    until("all answers", A_MOMENT, async || {
        let counters = world.ghl.counters().await;
        let sum = |key: &str| counters[key].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
        if sum("requests") == sum("status") { Ok(()) } else { Err(counters.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_run_ends_at_once_and_adds_up() {
    let world = World::with_orders(20).await;
    world.api.post(As::Admin, CANCEL).await.refused(409, "no_run_in_progress", &[]);
    world.ghl.fail(json!({ "endpoint": "detail", "fault": { "kind": "delay", "ms": 3000 } })).await;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let run_id = world.api.start(SYNC).await;
    dashboard.until_told(&run_id, "Syncing", A_MOMENT).await;
    dashboard.until("a listing", A_MOMENT, |frame| frame["data"]["listedOrders"] == 32).await;
    world.api.post(As::Member, CANCEL).await.refused(403, "admin_required", &[]);

    let cancelled = world.api.post(As::Admin, CANCEL).await.ok();
    assert_eq!(cancelled["runId"], json!(run_id), "{cancelled}");
    let told = dashboard.until_told(&run_id, "Cancelled", A_MOMENT).await;
    let row = world.database.run(&run_id).await;
    assert_adds_up(&row);
    let left = not_attempted(&row);
    assert!(left > 20, "it was cancelled in the middle of its work: {row}");
    assert_eq!((&told["data"]["failedOrders"], &told["data"]["syncInProgress"]), (&row["failed"], &json!(false)));
    assert_eq!(told["data"]["notAttemptedOrders"], json!(left), "{told}");
    let detail = world.api.run(&run_id).await;
    assert_eq!((&detail["run"]["notAttemptedOrders"], &detail["failures"]), (&json!(left), &json!([])), "{detail}");
    world.api.post(As::Admin, CANCEL).await.refused(409, "no_run_in_progress", &[]);

    until_answered(&world).await;
    until("empty queues", A_MOMENT, async || world.cloud().is_empty("tickets").await).await;
    assert_eq!(world.database.run(&run_id).await["synced"], row["synced"], "later results change no count");
    assert_eq!(world.status().await["status"], "Cancelled");

    // Nothing cools down after a cancelled run: the rest is synced at once.
    world.ghl.heal().await;
    let rest = world.api.start(&format!("/api/qrapp/runs/{run_id}/retry")).await;
    let rest = world.until_ended(&rest, A_SMALL_RUN).await;
    assert_eq!((&rest["state"], &rest["retry_of"]), (&json!("Delay"), &json!(run_id)), "{rest}");
    let orders = if row["listing_complete"] == true { left } else { 32 };
    assert_eq!(rest["listed"], json!(orders), "{rest}");
}

#[tokio::test]
async fn a_refused_token_stops_the_run_in_words_an_admin_can_act_on() {
    let world = World::with_orders(20).await;
    let revoked = json!({ "kind": "status", "status": 401 });
    world.ghl.fail(json!({ "endpoint": "detail", "skip": 3, "fault": revoked })).await;
    // The listing's two pages are there by then.
    world.ghl.fail(json!({ "endpoint": "list", "skip": 2, "fault": revoked })).await;
    let mut dashboard = Dashboard::open(&world, As::Admin).await;
    let run_id = world.api.start(SYNC).await;
    let told = dashboard.until_told(&run_id, "Error", A_SMALL_RUN).await;
    assert_eq!(
        (&told["data"]["errorCode"], &told["data"]["syncInProgress"]),
        (&json!("ghl_unauthorized"), &json!(false))
    );
    assert!(told["data"]["error"].as_str().unwrap().contains("access token"), "{told}");
    assert_adds_up(&world.database.run(&run_id).await);
    let detail = world.api.run(&run_id).await;
    assert_eq!((&detail["run"]["status"], &detail["run"]["error"]), (&json!("Error"), &told["data"]["error"]));

    // Nothing cools down after an error: with the token mended, the next start succeeds at once.
    world.ghl.heal().await;
    world.complete(SYNC, A_SMALL_RUN).await;
}

#[tokio::test]
async fn an_empty_product_list_and_a_broken_listing_end_the_run() {
    let world = World::with_orders(4).await;
    world.ghl.fail(json!({ "endpoint": "list", "fault": { "kind": "status", "status": 403 } })).await;
    let run_id = world.api.start(SYNC).await;
    let row = world.until_ended(&run_id, A_SMALL_RUN).await;
    assert_eq!((&row["state"], &row["error_code"]), (&json!("Error"), &json!("ghl_unauthorized")), "{row}");
    assert!(row["error_message"].as_str().unwrap().contains("row 0"), "the page is named: {row}");

    world.ghl.heal().await;
    world.ghl.delist_all_products().await;
    let run_id = world.api.start(SYNC).await;
    let row = world.until_ended(&run_id, A_SMALL_RUN).await;
    assert_eq!((&row["state"], &row["error_code"]), (&json!("Error"), &json!("no_valid_products")), "{row}");
    assert!(row["error_message"].as_str().unwrap().contains("No valid products found"), "{row}");
}
