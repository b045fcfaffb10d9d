//! Dispatch: as many orders as there will be calls for, given back if there are none, and alone once they have been silent.

use serde_json::{Value, json};

use crate::clock::{pass, with_stopped_clock};
use crate::harness::TestDatabase;
use crate::orders::{page, run, start};

/// A run that takes a third of 30 calls in a third of 300 ms, as long as it has 60 orders or more left.
async fn with_listed(orders: usize) -> (TestDatabase, String) {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let ids: Vec<_> = (0..orders).map(|number| format!("order-{number:03}")).collect();
    let rows: Vec<_> = ids.iter().map(|id| (id.as_str(), "2026-03-01T09:00:00.000Z")).collect();
    page(&database, &run_id, &rows, true).await;
    (database, run_id)
}

fn limits() -> Value {
    json!({ "max": 30, "window_ms": 300, "margin_ms": 0 })
}

/// What may be dispatched, but for whose.
fn what() -> Value {
    json!({ "max_outstanding": 50, "resend_after_ms": 5_000, "limit": 50, "ahead_ms": 20, "limits": limits() })
}

async fn dispatch(database: &TestDatabase, run_id: &str) -> Value {
    let mut request = what();
    request["run_id"] = json!(run_id);
    database.call("dispatch_orders", request).await
}

fn ids(dispatched: &Value, field: &str) -> Vec<String> {
    dispatched[field].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// A worker asks for the calls of dispatched orders; how many it gets.
async fn acquire(database: &TestDatabase, run_id: &str, dispatched: &Value, wanted: usize) -> u64 {
    let request = json!({
        "lane": "bulk", "wanted": wanted, "run_id": run_id, "limits": limits(),
        "dispatched_at_ms": dispatched["dispatched_at_ms"],
    });
    database.call("acquire_slots", request).await["granted"].as_u64().unwrap()
}

async fn give_back(database: &TestDatabase, run_id: &str, dispatched: &Value, ids: &[String]) -> u64 {
    let at = &dispatched["dispatched_at_ms"];
    let request = json!({ "run_id": run_id, "dispatched_at_ms": at, "order_ids": ids });
    database.call("give_back_orders", request).await["given_back"].as_u64().unwrap()
}

#[tokio::test]
async fn orders_go_just_before_there_are_calls_for_them() {
    let (database, run_id) = with_listed(100).await;
    let first = dispatch(&database, &run_id).await;
    assert_eq!((ids(&first, "order_ids").len(), &first["next_ms"]), (10, &json!(100)), "{first}");
    assert!(ids(&first, "alone").is_empty());
    // Whether their workers have asked or not: there are no more calls.
    assert!(ids(&dispatch(&database, &run_id).await, "order_ids").is_empty());
    assert_eq!(acquire(&database, &run_id, &first, 10).await, 10);
    let none = dispatch(&database, &run_id).await;
    assert_eq!((ids(&none, "order_ids").len(), &none["next_ms"]), (0, &json!(100)), "{none}");
    pass(&database, 79).await;
    assert!(ids(&dispatch(&database, &run_id).await, "order_ids").is_empty());
    pass(&database, 1).await;
    let second = dispatch(&database, &run_id).await;
    assert_eq!((ids(&second, "order_ids").len(), &second["next_ms"]), (10, &json!(120)), "{second}");
    assert!(ids(&second, "order_ids").iter().all(|id| !ids(&first, "order_ids").contains(id)));
}

/// Somebody takes so many calls, of which the dispatched orders know nothing.
async fn take(database: &TestDatabase, run_id: &str, calls: usize) {
    assert_eq!(acquire(database, run_id, &json!({}), calls).await, calls as u64);
}

#[tokio::test]
async fn a_small_piece_waits_for_others_that_make_it_worth_a_message() {
    let (database, run_id) = with_listed(100).await;
    for calls in [3, 3, 4] {
        take(&database, &run_id, calls).await;
        pass(&database, 20).await;
    }
    // Three are free after 100 ms, six after 120, ten after 140: now it is 60.
    let none = dispatch(&database, &run_id).await;
    assert_eq!((ids(&none, "order_ids").len(), &none["next_ms"]), (0, &json!(80)), "{none}");
    pass(&database, 59).await;
    assert!(ids(&dispatch(&database, &run_id).await, "order_ids").is_empty());
    pass(&database, 1).await;
    let all = dispatch(&database, &run_id).await;
    assert_eq!((ids(&all, "order_ids").len(), &all["in_ms"]), (10, &json!(20)), "{all}");
}

#[tokio::test]
async fn a_small_piece_waits_for_a_fifth_of_a_window_at_most_from_its_first_call_on() {
    let (database, run_id) = with_listed(100).await;
    for (calls, ms) in [(1, 50), (1, 40), (8, 10)] {
        take(&database, &run_id, calls).await;
        pass(&database, ms).await;
    }
    // One is free now, two in 50 ms, ten in 90: that is too late for the first.
    let none = dispatch(&database, &run_id).await;
    assert_eq!((ids(&none, "order_ids").len(), &none["next_ms"]), (0, &json!(50)), "{none}");
    pass(&database, 30).await;
    let two = dispatch(&database, &run_id).await;
    assert_eq!((ids(&two, "order_ids").len(), &two["in_ms"], &two["next_ms"]), (2, &json!(20), &json!(60)), "{two}");
}

/// Webhooks' calls become free one by one. A run that waited for each of them would leave a third of the limit unused.
#[tokio::test]
async fn a_few_more_calls_are_worth_no_wait() {
    let (database, run_id) = with_listed(100).await;
    for (calls, ms) in [(6, 30), (1, 40), (3, 30)] {
        take(&database, &run_id, calls).await;
        pass(&database, ms).await;
    }
    // Six are free now, seven in 30 ms, ten in 70: that is too late for the first.
    let six = dispatch(&database, &run_id).await;
    assert_eq!((ids(&six, "order_ids").len(), &six["in_ms"], &six["next_ms"]), (6, &json!(0), &json!(70)), "{six}");
    pass(&database, 49).await;
    assert!(ids(&dispatch(&database, &run_id).await, "order_ids").is_empty());
    pass(&database, 1).await;
    let four = dispatch(&database, &run_id).await;
    assert_eq!(ids(&four, "order_ids").len(), 4, "those of the six haven't asked yet: {four}");
}

#[tokio::test]
async fn each_piece_waits_from_its_own_first_call_on() {
    let (database, run_id) = with_listed(100).await;
    for (calls, ms) in [(1, 50), (1, 35), (1, 14), (7, 1)] {
        take(&database, &run_id, calls).await;
        pass(&database, ms).await;
    }
    // One is free now, two in 50 ms, three in 85, ten in 99.
    let mut request = what();
    (request["run_id"], request["ahead_ms"]) = (json!(run_id), json!(5));
    assert_eq!(database.call("dispatch_orders", request.clone()).await["next_ms"], 50);
    pass(&database, 45).await;
    let two = database.call("dispatch_orders", request.clone()).await;
    assert_eq!(ids(&two, "order_ids").len(), 2, "{two}");
    // Nobody looked when the third became free.
    pass(&database, 41).await;
    let none = database.call("dispatch_orders", request).await;
    assert_eq!((ids(&none, "order_ids").len(), &none["next_ms"]), (0, &json!(13)), "{none}");
}

#[tokio::test]
async fn a_pulse_that_is_claimed_and_pages_that_are_recorded_dispatch_in_the_same_call() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let pulse = json!({ "run_id": run_id, "pulse": 1, "claim_ms": 1_000, "dispatch": what() });
    let begun = database.call("begin_pulse", pulse.clone()).await;
    assert_eq!((&begun["accepted"], &begun["dispatch"]), (&json!(true), &Value::Null), "nothing is listed: {begun}");
    let rows: Vec<_> = (0..100)
        .map(|number| json!({ "order_id": format!("order-{number:03}"), "source_updated_at": "2026-03-01T09:00:00.000Z" }))
        .collect();
    let pages = json!({ "run_id": run_id, "orders": rows, "listing_complete": true, "dispatch": what() });
    let recorded = database.call("record_page", pages).await;
    assert_eq!(ids(&recorded["dispatch"], "order_ids").len(), 10, "{recorded}");
    pass(&database, 100).await;
    assert_eq!(database.call("begin_pulse", pulse).await["accepted"], false, "it is claimed");
    let next = json!({ "run_id": run_id, "pulse": 2, "claim_ms": 1_000, "dispatch": what() });
    let begun = database.call("begin_pulse", next).await;
    let dispatched = &begun["dispatch"];
    assert_eq!((ids(dispatched, "order_ids").len(), &dispatched["outstanding"]), (10, &json!(20)), "{begun}");
}

/// Its next page, one of transactions, and one that tells of no more.
#[tokio::test]
async fn a_small_run_leaves_its_listing_the_calls_that_it_needs() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let rows: Vec<_> = (0..30)
        .map(|number| json!({ "order_id": format!("order-{number:03}"), "source_updated_at": "2026-03-01T09:00:00.000Z" }))
        .collect();
    let mut pages = json!({ "run_id": run_id, "orders": rows, "total_count": 40, "dispatch": what() });
    let recorded = database.call("record_page", pages.clone()).await;
    assert_eq!(ids(&recorded["dispatch"], "order_ids").len(), 28 - 3, "{recorded}");
    (pages["orders"], pages["listing_complete"]) = (json!([]), json!(true));
    let recorded = database.call("record_page", pages).await;
    assert_eq!(ids(&recorded["dispatch"], "order_ids").len(), 3, "{recorded}");
}

#[tokio::test]
async fn a_run_that_is_nearly_done_takes_all_calls_but_the_reserve() {
    let (database, run_id) = with_listed(40).await;
    let first = dispatch(&database, &run_id).await;
    assert_eq!(ids(&first, "order_ids").len(), 28);
    assert_eq!(acquire(&database, &run_id, &first, 28).await, 28);
    assert_eq!(dispatch(&database, &run_id).await["next_ms"], 300);
}

#[tokio::test]
async fn orders_of_a_lost_message_are_awaited_for_a_third_of_a_window() {
    let (database, run_id) = with_listed(100).await;
    let lost = dispatch(&database, &run_id).await;
    pass(&database, 99).await;
    assert!(ids(&dispatch(&database, &run_id).await, "order_ids").is_empty());
    pass(&database, 1).await;
    let next = ids(&dispatch(&database, &run_id).await, "order_ids");
    assert_eq!(next.len(), 10);
    assert!(
        next.iter().all(|id| !ids(&lost, "order_ids").contains(id)),
        "those wait until they have been silent for long"
    );
}

#[tokio::test]
async fn what_had_no_calls_is_dispatched_again_and_nothing_newer_is_undone() {
    let (database, run_id) = with_listed(100).await;
    let first = dispatch(&database, &run_id).await;
    let orders = ids(&first, "order_ids");
    assert_eq!(acquire(&database, &run_id, &first, 4).await, 4);
    assert_eq!(give_back(&database, &run_id, &first, &orders[4..]).await, 6);
    assert_eq!(give_back(&database, &run_id, &first, &orders[4..]).await, 0, "once");
    pass(&database, 1).await;
    let again = dispatch(&database, &run_id).await;
    assert_eq!(ids(&again, "order_ids"), orders[4..], "the first in the list, for the six calls that are left");
    assert_eq!(give_back(&database, &run_id, &first, &orders[4..]).await, 0, "they were dispatched anew");
    let elsewhere = json!({
        "location_id": "another", "run_id": run_id, "dispatched_at_ms": again["dispatched_at_ms"], "order_ids": orders,
    });
    assert_eq!(database.call("give_back_orders", elsewhere).await["given_back"], 0);
    // What has an outcome stays.
    let failed = json!({
        "failures": [{ "order_id": orders[4], "run_id": run_id, "cause": "run", "class": "permanent", "code": "x", "reason": "x" }],
    });
    database.call("record_failures", failed).await;
    assert_eq!(give_back(&database, &run_id, &again, &orders[4..]).await, 5);
}

#[tokio::test]
async fn what_is_silent_goes_alone_and_fails_the_third_time() {
    let (database, run_id) = with_listed(3).await;
    assert_eq!(ids(&dispatch(&database, &run_id).await, "order_ids").len(), 3);
    for _ in 0..2 {
        pass(&database, 5_000).await;
        let again = dispatch(&database, &run_id).await;
        assert_eq!((ids(&again, "order_ids").len(), ids(&again, "alone").len()), (3, 3), "{again}");
    }
    pass(&database, 4_999).await;
    assert_eq!(run(&database, &run_id).await["run"]["failed"], 0);
    pass(&database, 1).await;
    let given_up = dispatch(&database, &run_id).await;
    assert!(ids(&given_up, "order_ids").is_empty());
    let told: Vec<_> = given_up["given_up"].as_array().unwrap().iter().map(|order| order["code"].clone()).collect();
    assert_eq!(told, ["no_outcome"; 3], "whoever dispatches is told: {given_up}");
    assert_eq!(dispatch(&database, &run_id).await["given_up"], json!([]), "once");
    let ended = run(&database, &run_id).await;
    assert_eq!((&ended["run"]["failed"], &ended["run"]["state"]), (&json!(3), &json!("Delay")), "{ended}");
    assert_eq!(ended["failures"][0]["code"], "no_outcome", "{ended}");
}

#[tokio::test]
async fn without_a_budget_nothing_is_dispatched_and_the_pulse_is_told() {
    let (database, run_id) = with_listed(5).await;
    let observed = json!({
        "lane": "bulk", "wanted": 0, "limits": limits(), "observed": { "max": 30, "daily_remaining": 10, "age_ms": 0 },
    });
    database.call("acquire_slots", observed).await;
    let mut request = what();
    (request["run_id"], request["limits"]["daily_reserve"]) = (json!(run_id), json!(1_000));
    let none = database.call("dispatch_orders", request.clone()).await;
    assert_eq!((ids(&none, "order_ids").len(), &none["budget_exhausted"]), (0, &json!(true)), "{none}");
    // After ten minutes one order asks whether there is a new day.
    pass(&database, 600_000).await;
    let one = database.call("dispatch_orders", request).await;
    assert_eq!((ids(&one, "order_ids").len(), &one["budget_exhausted"]), (1, &json!(false)), "{one}");
}

#[tokio::test]
async fn as_many_are_under_way_as_may_be() {
    let (database, run_id) = with_listed(100).await;
    let limits = json!({ "max": 10_000, "window_ms": 300, "margin_ms": 0 });
    let request = json!({
        "run_id": run_id, "max_outstanding": 50, "resend_after_ms": 5_000, "limit": 50, "ahead_ms": 20, "limits": limits,
    });
    let first = database.call("dispatch_orders", request.clone()).await;
    assert_eq!((ids(&first, "order_ids").len(), &first["outstanding"]), (50, &json!(50)));
    let none = database.call("dispatch_orders", request).await;
    assert_eq!((ids(&none, "order_ids").len(), &none["next_ms"]), (0, &json!(500)), "{none}");
}
