//! A database that is away for some seconds: what was under way goes on within seconds after it, and nothing counts as failed.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::Dashboard,
    fake_ghl::new_id,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::{World, assert_adds_up},
};

const AWAY_MS: u64 = 12_000;
/// The outage, and ten seconds for the work to go on and to be done.
const SECONDS_AFTER: Duration = Duration::from_millis(AWAY_MS + 10_000);
/// Rows that no run and no webhook could have missed.
const UNSEEN: &str = "select order_id from ghl_qr_orders where tickets_due is not null";

async fn until_reconciled(world: &World, patience: Duration) {
    until("no order whose tickets are due", patience, async || {
        let due = world.database.rows(UNSEEN).await;
        if due.is_empty() { Ok(()) } else { Err(format!("{due:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_webhook_and_tickets_are_served_seconds_after_the_database_is_back() {
    let world = World::with_orders(4).await;
    let (stored, new) = (new_id(), new_id());
    for id in [&stored, &new] {
        world.ghl.put_quantity(id, 2).await;
    }
    world.api.sync(&stored).await;
    world.database.execute(&format!("update ghl_qr_orders set tickets_due = now() where order_id = '{stored}'")).await;

    world.take_database_away(AWAY_MS).await;
    world.ghl.notify(&new).await;
    let message = json!({
        "location_id": world.location_id, "order_id": stored, "cause": "due", "attempt": 1, "change": "written",
    });
    world.cloud().send("tickets", &message.to_string()).await;
    world.database.until_tickets_within(SECONDS_AFTER, &new, 2, "live").await;
    until_reconciled(&world, A_MOMENT).await;
    world.assert_no_failures().await;
}

#[tokio::test]
async fn a_run_goes_on_seconds_after_the_database_is_back() {
    let world = World::with_orders(30).await;
    // There is something published.
    world.complete("/api/ghl/orders/sync?mode=full", A_SMALL_RUN).await;
    let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
    world.take_database_away(AWAY_MS).await;
    // Meanwhile the published status is served.
    assert!(world.status().await["status"].is_string());
    let row = world.until_ended(&run_id, A_SMALL_RUN).await;
    assert_eq!((&row["state"], &row["failed"]), (&json!("Delay"), &json!(0)), "{row}");
    assert_adds_up(&row);
    world.assert_no_failures().await;
}

/// Whoever stored the order died before handing it over; the notice comes again, and no run is there to look.
#[tokio::test]
async fn a_notice_that_is_served_hands_over_what_is_still_due_and_the_watch_does_so_without_one() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    world.api.sync(&id).await;
    let due = format!("update ghl_qr_orders set tickets_due = now() - interval '1 minute' where order_id = '{id}'");
    world.database.execute(&due).await;
    let fetches = world.ghl.fetches(&id).await;
    let notice = json!({
        "location_id": world.location_id, "order_id": id, "cause": "webhook", "attempt": 1, "noticed_at_ms": 1,
    });
    world.cloud().send("orders", &notice.to_string()).await;
    until_reconciled(&world, A_MOMENT).await;
    assert_eq!(world.ghl.fetches(&id).await, fetches, "it was served: nothing is fetched again");

    world.database.execute(&due).await;
    world.cloud().invoke("run-worker", json!({ "schedule": "watch" })).await;
    until_reconciled(&world, A_MOMENT).await;
    world.assert_no_failures().await;
}

/// The database was restored from a backup: its numbers are below those that everybody has seen.
#[tokio::test]
async fn after_a_restore_the_status_goes_on_above_the_published_one() {
    let world = World::with_orders(4).await;
    world.complete("/api/ghl/orders/sync?mode=full", A_SMALL_RUN).await;
    let seen = until("the end in the document", A_MOMENT, async || {
        let document = world.cloud().document("sync_status.json").await.unwrap_or_default();
        if document["status"] == "Completed" { Ok(document) } else { Err(document.to_string()) }
    })
    .await;
    world.database.execute("update sync_locations set seq = 1").await;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
    let above = |frame: &Value| {
        frame["runId"] == run_id.as_str()
            && frame["seq"].as_u64() > seen["seq"].as_u64()
            && frame["data"]["status"] == "Delay"
    };
    dashboard.until("its end, above what was seen", A_SMALL_RUN, above).await;
    let document = world.cloud().document("sync_status.json").await.expect("it is published");
    assert_eq!(document["runId"], run_id, "{document}");
}
