//! What the functions print: metrics that agree with the run's row and with GHL's own count, and lines that can be found.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::Dashboard,
    fake_ghl::new_id,
    output::Output,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};

/// The numbers of each metric, by its name and the values of its dimensions: `GhlCalls 200`.
fn numbers(metrics: &[Value], location_id: &str) -> BTreeMap<String, Vec<f64>> {
    let mut numbers: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for document in metrics {
        assert_eq!(document["LocationId"], location_id, "{document}");
        assert!(document["_aws"]["Timestamp"].as_u64() > Some(1_700_000_000_000), "{document}");
        for directive in document["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(directive["Namespace"], "ghl-sync", "{document}");
            let dimensions = directive["Dimensions"].as_array().unwrap().last().unwrap().as_array().unwrap();
            let values: Vec<_> = dimensions.iter().map(|name| document[name.as_str().unwrap()].as_str()).collect();
            for metric in directive["Metrics"].as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                let told = &document[name];
                let told = told.as_array().cloned().unwrap_or_else(|| vec![told.clone()]);
                assert!((1..=100).contains(&told.len()) && told.iter().all(Value::is_number), "{name} of {document}");
                let of = values[1..].iter().map(|value| value.unwrap_or_else(|| panic!("a dimension of {document}")));
                let key = [name].into_iter().chain(of).collect::<Vec<_>>().join(" ");
                numbers.entry(key).or_default().extend(told.iter().filter_map(Value::as_f64));
            }
        }
    }
    numbers
}

fn summed((name, numbers): (&String, &Vec<f64>)) -> (String, u64) {
    (name.clone(), numbers.iter().sum::<f64>() as u64)
}

#[tokio::test]
async fn metrics_agree_with_the_row_and_with_ghl_and_every_line_names_its_request() {
    let world = World::with_orders(12).await;
    let census = world.ghl.census().await;
    world.assert_no_failures().await;
    world.ghl.clear_counters().await;
    let output = Output::from_now();
    let _watching = Dashboard::open(&world, As::Admin).await;

    let first = world.complete("/api/ghl/orders/sync?mode=full", A_SMALL_RUN).await;
    let second = world.complete("/api/ghl/orders/sync?mode=full", A_SMALL_RUN).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.ghl.notify(&id).await;
    let refused = world.ghl.webhook(json!({ "kind": "signed", "orderId": id, "signature": "bad" })).await;
    assert_eq!(refused["status"], 401, "{refused}");
    world.database.until_tickets(&id, 1, "live").await;
    world.assert_no_failures().await;

    let of_runs = |count: &str| first[count].as_u64().unwrap() + second[count].as_u64().unwrap();
    // What a listing decides without a fetch is on the run's row only.
    let ids = format!("'{}', '{}'", first["run_id"].as_str().unwrap(), second["run_id"].as_str().unwrap());
    let query =
        "select (select count(*) from public.sync_outcomes where by_listing and outcome = 'skipped' and run_id in $ids)
      + (select coalesce(sum(bit_count(skipped)), 0) from public.sync_run_bits where run_id in $ids) as skipped";
    let by_listing = world.database.rows(&query.replace("$ids", &format!("({ids})"))).await;
    let by_listing = by_listing[0]["skipped"].as_u64().unwrap();
    let mut expected = BTreeMap::from([
        ("OrdersSynced".to_owned(), of_runs("synced") + 1),
        ("OrdersUnchanged".to_owned(), of_runs("unchanged")),
        ("OrdersSkipped".to_owned(), of_runs("skipped") - by_listing),
        ("WebhooksAccepted".to_owned(), 1),
        ("WebhooksRefused unverified".to_owned(), 1),
    ]);
    assert!(expected.values().all(|count| *count > 0), "each is put to the test: {expected:?}");
    let answered = world.ghl.counters().await["status"].clone();
    for (status, count) in answered.as_object().unwrap() {
        expected.insert(format!("GhlCalls {status}"), count.as_u64().unwrap());
    }

    // An invocation prints at its very end, when the database has long told.
    let exact = |name: &str| expected.contains_key(name) || name.starts_with("GhlCalls ");
    let numbers = until("metrics that agree", A_MOMENT, async || {
        let numbers = numbers(&output.read().0, &world.location_id);
        let counted: BTreeMap<_, _> = numbers.iter().filter(|(name, _)| exact(name)).map(summed).collect();
        if counted == expected { Ok(numbers) } else { Err(format!("{counted:?} instead of {expected:?}")) }
    })
    .await;
    let durations = numbers.get("RunSeconds full Completed").cloned().unwrap_or_default();
    assert!(durations.len() >= 2, "one per run: {numbers:?}");
    assert!(durations.iter().all(|seconds| (0.1..60.0).contains(seconds)), "{durations:?}");
    assert!(numbers["LimiterWaitMs"].len() as u64 >= of_runs("synced"), "{numbers:?}");
    assert!(numbers["GhlDailyRemaining"].iter().all(|left| *left > 0.0), "{:?}", numbers["GhlDailyRemaining"]);
    assert!(numbers["FramesSent"].iter().sum::<f64>() > 0.0, "{numbers:?}");
    assert!(numbers["Connections"].contains(&1.0), "{:?}", numbers["Connections"]);
    let queues = numbers.keys().filter(|name| name.starts_with("OldestMessageSeconds ")).count();
    assert_eq!(queues, 4, "orders, orders-bulk, tickets, runs: {:?}", numbers.keys());
    assert_eq!(numbers.get("OrdersFailed").or(numbers.get("FailuresRecorded")), None, "nothing failed");

    let (metrics, lines) = output.read();
    for line in metrics.iter().chain(&lines) {
        assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    }
    assert!(lines.iter().all(|line| line["cold_start"].is_boolean()), "{lines:?}");
    let dispatched = lines.iter().find(|line| line["message"] == "Orders were dispatched").expect("a pulse's line");
    assert_eq!(dispatched["run_id"], first["run_id"], "{dispatched}");
    assert!(lines.iter().any(|line| line["message"] == "A webhook was refused"), "{lines:?}");
    let text = output.text();
    for id in &census.ordinary {
        let email = world.ghl.order(id).await["contactSnapshot"]["email"].clone();
        assert!(!text.contains(email.as_str().unwrap()), "the log names the buyer of {id}");
    }
}
