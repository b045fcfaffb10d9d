//! Runs that start by themselves.

use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::Dashboard,
    output::Output,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::{World, assert_adds_up},
};

async fn newest_runs(world: &World) -> Vec<Value> {
    let runs = world.api.get(As::Member, "/api/qrapp/runs?limit=2").await.ok();
    serde_json::from_value(runs["runs"].clone()).unwrap()
}

#[tokio::test]
async fn a_schedule_starts_a_run_and_one_too_many_is_recorded_as_skipped() {
    let world = World::with_orders(4).await;
    world.ghl.fail(json!({ "endpoint": "list", "fault": { "kind": "delay", "ms": 3000 } })).await;
    world.cloud().invoke("run-worker", json!({ "schedule": "incremental" })).await;
    let run = newest_runs(&world).await.remove(0);
    assert_eq!((&run["kind"], &run["status"]), (&json!("incremental"), &json!("Syncing")), "{run}");
    assert_eq!(run["requestedBy"], "schedule");

    world.cloud().invoke("run-worker", json!({ "schedule": "full" })).await;
    let runs = newest_runs(&world).await;
    assert_eq!((&runs[0]["kind"], &runs[0]["status"]), (&json!("full"), &json!("Skipped")), "{runs:?}");
    assert!(runs[0]["error"].is_string(), "the reason is told: {runs:?}");
    assert_eq!(world.status().await["runId"], run["runId"], "a skipped start is not the run on show");

    world.ghl.heal().await;
    let row = world.until_ended(run["runId"].as_str().unwrap(), A_SMALL_RUN).await;
    assert_eq!(row["state"], "Delay", "{row}");
    assert_adds_up(&row);

    // The full run is made up for by the next scheduled one, whichever that is.
    world.database.end_cooldown().await;
    world.cloud().invoke("run-worker", json!({ "schedule": "incremental" })).await;
    let run = newest_runs(&world).await.remove(0);
    assert_eq!((&run["kind"], &run["status"]), (&json!("full"), &json!("Syncing")), "{run}");
    world.until_ended(run["runId"].as_str().unwrap(), A_SMALL_RUN).await;
}

/// A start whose pulse was lost: the row alone, silent for a minute.
async fn lost_run(world: &World) -> String {
    let request =
        json!({ "location_id": world.location_id, "kind": "incremental", "requested_by": "test", "cooldown_ms": 1000 });
    let rows = world.database.rows(&format!("select public.start_run('{request}'::jsonb) as started")).await;
    let run_id = rows[0]["started"]["run"]["run_id"].as_str().unwrap().to_owned();
    let lost = format!("last_pulse_at = clock_timestamp() - interval '1 minute' where run_id = '{run_id}'");
    world.database.execute(&format!("update public.sync_runs set {lost}")).await;
    run_id
}

#[tokio::test]
async fn a_dashboard_that_looks_revives_a_run_and_the_run_finds_forgotten_tickets() {
    let world = World::with_orders(6).await;
    let id = world.ghl.census().await.ordinary[0].clone();
    world.api.sync(&id).await;
    // A worker died between writing the order and handing it over, a minute ago.
    let forgotten = format!("tickets_due = clock_timestamp() - interval '1 minute' where order_id = '{id}'");
    world.database.execute(&format!("update public.ghl_qr_orders set {forgotten}")).await;
    let run_id = lost_run(&world).await;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    dashboard.until_told(&run_id, "Delay", A_SMALL_RUN).await;
    assert_adds_up(&world.database.run(&run_id).await);
    until("the tickets are reconciled", A_MOMENT, async || {
        let order = world.database.order(&id).await.unwrap();
        if order["tickets_due"].is_null() { Ok(()) } else { Err(order["tickets_due"].to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_watch_revives_a_run_that_lost_its_pulse_and_tells_how_long_ago_runs_completed() {
    let world = World::with_orders(4).await;
    let run_id = lost_run(&world).await;
    let output = Output::from_now();
    world.cloud().invoke("run-worker", json!({ "schedule": "watch" })).await;
    let row = world.until_ended(&run_id, A_SMALL_RUN).await;
    assert_adds_up(&row);
    until("its end", A_MOMENT, async || {
        let status = world.status().await;
        if status["status"] == "Completed" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    // The watch looked while it was under way.
    let told = until("the watch's metrics", A_MOMENT, async || {
        let (metrics, lines) = output.read();
        metrics.into_iter().find(|document| !document["HoursSinceSync"].is_null()).ok_or_else(|| format!("{lines:?}"))
    })
    .await;
    assert!(told["HoursSinceSync"][0].as_f64().is_some_and(|hours| hours < 0.01), "{told}");
    assert!(told["HoursSinceFullSync"][0].as_f64().is_some_and(|hours| hours >= 0.0), "{told}");
}
