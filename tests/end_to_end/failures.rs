//! Orders that can't be fetched are named with their reason, and can be tried again.

use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::Dashboard,
    fake_ghl::new_id,
    output::Output,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::{World, assert_adds_up},
};

const SYNC: &str = "/api/ghl/orders/sync?mode=full";

fn retry(run_id: &str) -> String {
    format!("/api/qrapp/runs/{run_id}/retry")
}

#[tokio::test]
async fn a_message_of_a_run_that_was_given_up_is_told_as_a_failure_and_the_run_ends() {
    // More than one message holds.
    let world = World::with_orders(60).await;
    let id = world.ghl.census().await.ordinary[3].clone();
    // The worker has it in hand for so long that the dead letter comes first.
    let slow = json!({ "kind": "delay", "ms": 8_000 });
    world.ghl.fail(json!({ "endpoint": "detail", "orderId": id, "times": 1, "fault": slow })).await;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let run_id = world.api.start(SYNC).await;
    // The other batches have been told of, so that this is the next to be published; its own batch waits with it.
    let quiet = "listing_complete and synced > 0 and granted_version = version and published_seq >= granted_seq
        and not exists (select from public.sync_locations l where l.location_id = sync_runs.location_id
          and l.publication_begins_at > clock_timestamp() - interval '500 milliseconds')";
    until("the slow order's batch alone to be missing", A_MOMENT, async || {
        let query =
            format!("select 1 from public.sync_runs where run_id = '{run_id}' and state = 'Syncing' and {quiet}");
        let alone = !world.database.rows(&query).await.is_empty();
        if alone && world.ghl.fetches(&id).await > 0 {
            Ok(())
        } else {
            Err(world.database.run(&run_id).await.to_string())
        }
    })
    .await;
    let message =
        json!({ "location_id": world.location_id, "order_id": id, "cause": "run", "run_id": run_id, "attempt": 1 });
    world.cloud().send("dead-letter", &message.to_string()).await;
    let told = |frame: &Value| frame["runId"] == run_id.as_str() && frame["data"]["failedOrders"] == 1;
    dashboard.until("a frame that tells it", A_MOMENT, told).await;
    let told = dashboard.until_told(&run_id, "Delay", A_SMALL_RUN).await;
    assert_eq!(told["data"]["failedOrders"], 1, "the first outcome stands: {told}");
    assert_adds_up(&world.database.run(&run_id).await);
    assert_eq!(world.api.run(&run_id).await["failures"][0]["code"], "dead_letter");
}

#[tokio::test]
async fn a_pulse_that_was_given_up_ends_its_run_and_whoever_finds_it_says_so() {
    let world = World::with_orders(20).await;
    // So that the run can't end by itself meanwhile.
    world.ghl.fail(json!({ "endpoint": "detail", "fault": { "kind": "delay", "ms": 6_000 } })).await;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let run_id = world.api.start(SYNC).await;
    until("a second pulse", A_MOMENT, async || {
        let run = world.database.run(&run_id).await;
        if run["pulse"].as_u64() > Some(1) { Ok(()) } else { Err(run.to_string()) }
    })
    .await;
    let letter = |pulse: u64| json!({ "location_id": world.location_id, "run_id": run_id, "pulse": pulse }).to_string();
    let output = Output::from_now();
    world.cloud().send("dead-letter", &letter(1)).await;
    until("a word about the old pulse", A_MOMENT, async || {
        let text = output.text();
        if text.contains("goes on with a newer one") { Ok(()) } else { Err(text) }
    })
    .await;
    assert_eq!(world.database.run(&run_id).await["state"], "Syncing", "its newer pulses work");

    // Its pulses have stopped: the number that they would go on from isn't theirs any more, and there was no sign of life for a minute.
    world
        .database
        .execute(&format!(
            "update sync_runs set pulse = 1000, last_pulse_at = now() - interval '1 minute' where run_id = '{run_id}'"
        ))
        .await;
    world.cloud().send("dead-letter", &letter(1_000)).await;
    let told = dashboard.until_told(&run_id, "Error", A_SMALL_RUN).await;
    assert_eq!(told["data"]["errorCode"], "pulse_failed", "{told}");
    assert_adds_up(&world.database.run(&run_id).await);
    let document = world.cloud().document("sync_status.json").await.expect("it is published");
    assert_eq!((&document["runId"], &document["status"]), (&json!(run_id), &json!("Error")));
    world.ghl.heal().await;
}

#[tokio::test]
async fn a_failed_order_is_named_and_a_retry_brings_it_in_step() {
    let world = World::with_orders(20).await;
    let census = world.ghl.census().await;
    let (lost, shaky) = (census.ordinary[3].clone(), census.ordinary[7].clone());
    let fail = |id: &str, times: Value, fault: Value| {
        let mut rule = json!({ "endpoint": "detail", "orderId": id, "fault": fault });
        if times.is_number() {
            rule["times"] = times;
        }
        rule
    };
    world.ghl.fail(fail(&lost, Value::Null, json!({ "kind": "status", "status": 404 }))).await;
    world.ghl.fail(fail(&shaky, json!(2), json!({ "kind": "html", "status": 502 }))).await;
    let mut dashboard = Dashboard::open(&world, As::Admin).await;
    let run_id = world.api.start(SYNC).await;
    let told = dashboard.until_told(&run_id, "Delay", A_SMALL_RUN).await;
    assert_eq!(told["data"]["failedOrders"], 1, "{told}");
    let complete = dashboard.until("sync_complete", A_MOMENT, |frame| frame["event"] == "sync_complete").await;
    assert_eq!(
        (&complete["data"]["message"], &complete["data"]["failedOrders"]),
        (&json!("Sync Process Complete!"), &json!(1))
    );

    let row = world.database.run(&run_id).await;
    assert_adds_up(&row);
    assert_eq!(row["synced"], json!(census.valid.len() - 1), "what failed for a moment was tried again");
    assert_eq!(world.ghl.fetches(&shaky).await, 3);
    let detail = world.api.run(&run_id).await;
    let failure = &detail["failures"][0];
    assert_eq!((&failure["orderId"], &failure["class"]), (&json!(lost), &json!("permanent")), "{detail}");
    assert!(failure["reason"].as_str().unwrap().starts_with("Failed to fetch order details"), "{failure}");
    assert_eq!(detail["failures"].as_array().unwrap().len(), 1);

    world.ghl.heal().await;
    world.database.end_cooldown().await;
    world.api.post(As::Member, &retry(&run_id)).await.refused(403, "admin_required", &[]);
    let tried = world.complete(&retry(&run_id), A_SMALL_RUN).await;
    assert_eq!((&tried["kind"], &tried["retry_of"]), (&json!("retry"), &json!(run_id)), "{tried}");
    assert_eq!((&tried["listed"], &tried["synced"]), (&json!(1), &json!(1)), "{tried}");
    let count = world.ghl.expected(&lost).await["tickets"].as_u64().unwrap() as usize;
    world.database.until_tickets(&lost, count, "live").await;

    let again = retry(tried["run_id"].as_str().unwrap());
    world.api.post(As::Admin, &again).await.refused(409, "nothing_to_retry", &[]);
    let unknown = retry("00000000-0000-4000-8000-000000000000");
    world.api.post(As::Admin, &unknown).await.refused(404, "run_not_found", &[]);
    let named = world.api.post_json(As::Admin, &again, &json!({ "orderIds": ["a b"] })).await;
    named.refused(400, "invalid_order_id", &[]);
}

#[tokio::test]
async fn a_webhook_order_that_fails_stands_among_the_failures_until_it_succeeds() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.ghl.fail(json!({ "endpoint": "detail", "orderId": id, "fault": { "kind": "status", "status": 401 } })).await;
    world.ghl.notify(&id).await;
    let failures = async || world.api.get(As::Member, "/api/qrapp/failures").await.ok();
    until("the failure", A_MOMENT, async || {
        let failures = failures().await;
        let found = &failures["failures"][0];
        if found["orderId"] != id.as_str() {
            return Err(failures.to_string());
        }
        assert_eq!((&found["class"], &found["cause"]), (&json!("permanent"), &json!("webhook")), "{found}");
        assert_eq!(found["code"], "order_refused", "the token is good: {found}");
        Ok(())
    })
    .await;

    world.ghl.heal().await;
    world.api.sync(&id).await;
    assert_eq!(failures().await["failures"], json!([]));
}
