//! A full run of 162 orders, watched from every side at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{
    accounts::{assert_every_account_agrees, assert_tickets},
    api::As,
    dashboard::Dashboard,
    waiting::{A_COOLDOWN, A_MOMENT, A_RUN},
    world::World,
};

const ORDERS: u32 = 150;
const SYNC: &str = "/api/ghl/orders/sync?mode=full";

#[tokio::test]
async fn a_full_run_is_told_alike_by_frames_documents_and_database() {
    let world = World::with_orders(ORDERS).await;
    let census = world.ghl.census().await;
    let (mut first, mut second) = (Dashboard::open(&world, As::Admin).await, Dashboard::open(&world, As::Member).await);
    world.ghl.clear_counters().await;

    let run_id = world.api.start(SYNC).await;
    let again = world.api.post(As::Admin, SYNC).await;
    again.refused(409, "sync_in_progress", &["retryAfterSeconds", "runId"]);
    assert_eq!((&again.body["runId"], again.retry_after() > 0), (&json!(run_id), true), "{again:?}");

    let progress =
        |frame: &Value| frame["event"] == "sync_progress" && frame["data"]["syncedOrders"].as_u64() > Some(20);
    let seen = first.until("progress", A_RUN, progress).await;
    let mut late = Dashboard::open(&world, As::Member).await;
    let snapshot = late.frames[0].clone();
    assert_eq!((&snapshot["runId"], &snapshot["data"]["syncInProgress"]), (&json!(run_id), &json!(true)), "{snapshot}");
    for known in
        ["totalTickets", "totalTicketsChecked", "totalTicketTypes", "ticketsAdded", "ordersPerSecond", "etaSeconds"]
    {
        assert!(snapshot["data"][known].as_f64() > Some(0.0), "who joins in the middle knows {known}: {snapshot}");
    }
    assert!(snapshot["data"]["elapsedSeconds"].is_u64(), "{snapshot}");
    assert!(snapshot["seq"].as_u64() > seen["seq"].as_u64(), "{snapshot} after {seen}");

    first.until_told(&run_id, "Delay", A_RUN).await;
    let cooling = world.api.post(As::Admin, SYNC).await;
    cooling.refused(409, "cooling_down", &["retryAfterSeconds", "runId"]);
    assert!((1..=30).contains(&cooling.retry_after()), "{cooling:?}");
    assert_eq!(cooling.body["retryAfterSeconds"].as_u64(), Some(cooling.retry_after()));

    first.until_told(&run_id, "Completed", A_COOLDOWN).await;
    second.until_told(&run_id, "Completed", A_MOMENT).await;
    late.until_told(&run_id, "Completed", A_MOMENT).await;
    let frames = first.of_run(&run_id);
    assert_story(&frames);
    assert_eq!(second.of_run(&run_id), frames, "two dashboards are told the same");
    let newer = |frame: &Value| frame["seq"].as_u64() > snapshot["seq"].as_u64();
    let later = |frames: Vec<Value>| frames.into_iter().filter(newer).collect::<Vec<_>>();
    let missed = later(frames.clone());
    assert_eq!(later(late.of_run(&run_id)), missed, "a late one is told what comes after its snapshot");
    assert_no_buyer(&world, &census.ordinary, &json!(frames).to_string()).await;

    assert_every_account_agrees(&world, &run_id, &frames.last().unwrap()["data"]).await;
    let status = &frames.last().unwrap()["data"];
    assert_eq!(status["listedOrders"], json!(census.all.len()));
    assert_eq!(status["syncedOrders"], json!(census.valid.len()));
    assert_eq!(status["totalTickets"], json!(census.expected_tickets));
    assert_tickets(&world, &census.all).await;
    let mut valid = census.valid.clone();
    valid.sort_unstable();
    assert_eq!(world.cloud().document("valid_order_list.json").await, Some(json!(valid)));

    let counters = world.ghl.counters().await;
    assert_eq!(counters["status"]["429"], Value::Null, "{counters}");
    let foreign = census.odd["other_location"].as_str().unwrap();
    for id in &census.all {
        let fetches = counters["perOrder"][id].as_u64().unwrap_or(0);
        assert_eq!(fetches, u64::from(id != foreign), "fetches of {id}");
    }
    assert!(counters["requests"]["list"].as_u64() <= Some(3), "{counters}");
}

/// One after the other they would take half a minute and more.
#[tokio::test]
async fn orders_are_fetched_side_by_side() {
    let world = World::with_orders(20).await;
    world.ghl.fail(json!({ "endpoint": "detail", "fault": { "kind": "delay", "ms": 1500 } })).await;
    let run = world.complete(SYNC, A_RUN).await;
    let took = format!(
        "select extract(epoch from ended_at - started_at) as seconds from sync_runs where run_id = '{}'",
        run["run_id"].as_str().unwrap()
    );
    let seconds = world.database.rows(&took).await[0]["seconds"].as_f64().unwrap();
    assert!(run["synced"].as_u64() > Some(20) && seconds < 15.0, "{seconds} s: {run}");
}

/// The frames of a run in the order the design promises.
fn assert_story(frames: &[Value]) {
    let told: Vec<(&str, &str)> = frames
        .iter()
        .map(|frame| (frame["event"].as_str().unwrap(), frame["data"]["status"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(told.first(), Some(&("sync_status", "Syncing")), "{told:?}");
    let end = told.iter().position(|told| *told == ("sync_status", "Delay")).expect("a Delay");
    assert_eq!(
        told[end..],
        [("sync_status", "Delay"), ("sync_complete", ""), ("sync_status", "Completed")],
        "{told:?}"
    );
    assert_first_and_last(&frames[0]["data"], &frames[end]["data"]);
    let middle = &told[1..end];
    // A second status, if GHL's count wasn't there within 1.5 s.
    let statuses = middle.iter().filter(|(event, _)| *event == "sync_status").count();
    assert!(statuses <= 1, "{told:?}");
    let is_progress = |event: &str| ["sync_progress", "sync_ticket_progress", "sync_status"].contains(&event);
    assert!(middle.iter().all(|(event, _)| is_progress(event)), "{told:?}");
    // The listing, and each time when the rate limit has let a part of the orders through.
    assert!(middle.iter().filter(|(event, _)| *event == "sync_progress").count() >= 3, "{told:?}");
    assert!(middle.iter().any(|(event, _)| *event == "sync_ticket_progress"), "{told:?}");

    for counts in [
        &["syncedOrders", "failedOrders", "skippedOrders", "unchangedOrders", "listedOrders", "totalTickets"][..],
        &["totalTicketsChecked", "totalTicketTypes", "ticketsAdded", "ticketsCancelled"][..],
    ] {
        for count in counts {
            let values: Vec<u64> = frames.iter().filter_map(|frame| frame["data"][count].as_u64()).collect();
            assert!(!values.is_empty() && values.is_sorted(), "{count} goes back: {values:?}");
        }
    }
    let last = &frames.last().unwrap()["data"];
    let complete = &frames[end + 1]["data"];
    for count in ["totalOrders", "syncedOrders", "listedOrders", "failedOrders", "skippedOrders", "totalTickets"] {
        assert_eq!(complete[count], last[count], "{count} of sync_complete");
    }
    assert_eq!(complete["message"], "Sync Process Complete!");
    let words = |event: &str| -> BTreeSet<&str> {
        let of_it = middle.iter().filter(|(told, _)| *told == event);
        of_it.map(|(_, word)| *word).collect()
    };
    // Progress is told with the end once more.
    assert_eq!(words("sync_progress"), BTreeSet::from(["Syncing Orders", "Delay"]));
    assert_eq!(words("sync_ticket_progress"), BTreeSet::from(["Syncing", "Delay"]));
    assert_eq!((&last["syncInProgress"], &last["delay_in_sec"]), (&json!(false), &json!(0)));
    assert!(frames[end]["data"]["delay_in_sec"].as_i64() > Some(0), "{}", frames[end]);
}

/// What the original's first and last status say, in its fields.
fn assert_first_and_last(first: &Value, last: &Value) {
    let time = |value: &Value| {
        let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
        let form: String = text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
        assert_eq!(form, "0000-00-00T00:00:00.000Z", "{text}");
        text.to_owned()
    };
    let began = time(&first["startTime"]);
    assert_eq!((&first["syncInProgress"], &first["endTime"]), (&json!(true), &Value::Null), "{first}");
    assert_eq!((&first["syncedOrders"], &first["delay_in_sec"]), (&json!(0), &json!(0)), "{first}");
    assert_eq!((&last["syncInProgress"], &last["startTime"]), (&json!(false), &first["startTime"]), "{last}");
    assert!(time(&last["endTime"]) > began, "{last}");
    assert_eq!(last["syncedOrders"], last["totalOrders"], "all went well: {last}");
    assert!(last["delay_in_sec"].as_i64().is_some_and(|left| (25..=30).contains(&left)), "{last}");
}

/// Nothing of a buyer stands in what dashboards are told.
async fn assert_no_buyer(world: &World, ids: &[String], told: &str) {
    for id in ids.iter().take(20) {
        let contact = &world.ghl.order(id).await["contactSnapshot"];
        for field in ["email", "phone", "lastName", "id"] {
            let value = contact[field].as_str().unwrap_or_else(|| panic!("{field} of {id}"));
            assert!(!told.contains(value), "a frame tells the {field} of a buyer");
        }
    }
}
