//! What the functions log of orders, tickets, runs and dashboards: in the original app's words, with their facts as fields, and once.

use std::collections::BTreeMap;

use futures::future::join;
use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::Dashboard,
    fake_ghl::new_id,
    output::Output,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};

const SYNC: &str = "/api/ghl/orders/sync?mode=full";

/// The lines of an event so far.
fn lines(output: &Output, event: &str) -> Vec<Value> {
    output.read().1.into_iter().filter(|line| line["event"] == event).collect()
}

/// How often each order was told so by a run.
fn orders(output: &Output, event: &str, run_id: &Value) -> BTreeMap<String, usize> {
    let mut orders = BTreeMap::new();
    for line in lines(output, event).iter().filter(|line| line["run_id"] == *run_id) {
        *orders.entry(line["order_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    orders
}

/// The one line of an event, once it is there. A second one would come with what is waited for afterwards.
async fn until_told(output: &Output, event: &str) -> Value {
    until(event, A_MOMENT, async || lines(output, event).pop().ok_or_else(|| output.text())).await
}

/// The queues are empty, and the end of the last run is published.
async fn until_quiet(world: &World) {
    until("empty queues", A_SMALL_RUN, async || {
        for queue in ["orders", "orders-bulk", "tickets", "dead-letter"] {
            world.cloud().is_empty(queue).await?;
        }
        let row =
            world.database.rows("select state, announced_state from sync_runs order by started_at desc limit 1").await;
        if row[0]["state"] == row[0]["announced_state"] { Ok(()) } else { Err(format!("{row:?}")) }
    })
    .await;
}

/// The first of these orders that entitles to tickets.
async fn one_with_tickets(world: &World, ids: &[String]) -> String {
    for id in ids {
        if world.ghl.expected(id).await["tickets"].as_u64() > Some(0) {
            return id.clone();
        }
    }
    panic!("none of {ids:?} has tickets");
}

#[tokio::test]
async fn a_run_tells_each_order_its_tickets_and_its_end_once() {
    let world = World::with_orders(12).await;
    let census = world.ghl.census().await;
    let lost = one_with_tickets(&world, &census.ordinary).await;
    let valid: Vec<_> = census.valid.into_iter().filter(|id| *id != lost).collect();
    let not_found = json!({ "kind": "status", "status": 404 });
    world.ghl.fail(json!({ "endpoint": "detail", "orderId": lost, "fault": not_found })).await;
    let output = Output::from_now();
    let run = world.complete(SYNC, A_SMALL_RUN).await;
    let ended = until_told(&output, "run_succeeded").await;
    until_quiet(&world).await;

    let run_id = &run["run_id"];
    assert_eq!(world.database.tickets(&lost).await, [Value::Null; 0], "what wasn't synced gets no tickets");
    let each_once: BTreeMap<_, _> = valid.iter().map(|id| (id.clone(), 1)).collect();
    assert_eq!(orders(&output, "order_synced", run_id), each_once);
    for line in lines(&output, "order_synced") {
        let id = line["order_id"].as_str().unwrap();
        assert_eq!(line["message"], format!("Order {id} synced successfully"), "{line}");
    }
    let added = lines(&output, "tickets_added");
    assert!(orders(&output, "tickets_added", run_id).values().all(|times| *times == 1), "{added:?}");
    assert_eq!(added.iter().filter_map(|line| line["tickets"].as_u64()).sum::<u64>(), run["tickets_added"]);
    for line in &added {
        let (tickets, id) = (&line["tickets"], line["order_id"].as_str().unwrap());
        assert_eq!(line["message"], format!("Added {tickets} tickets for order {id}"), "{line}");
    }
    let failed = lines(&output, "order_failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    let words = format!("Failed to sync order {lost}: Failed to fetch order details");
    assert!(failed[0]["message"].as_str().unwrap().starts_with(&words), "{}", failed[0]);
    assert_eq!(
        (&failed[0]["order_id"], &failed[0]["run_id"], &failed[0]["cause"]),
        (&json!(lost), run_id, &json!("run"))
    );
    assert_eq!((&failed[0]["class"], &failed[0]["attempts"]), (&json!("permanent"), &json!(1)), "{}", failed[0]);
    assert!(failed[0]["error"].is_string() && failed[0]["timestamp"].as_str().unwrap().ends_with('Z'), "{}", failed[0]);

    assert_eq!((lines(&output, "run_succeeded").len(), &ended["run_id"]), (1, run_id), "{ended}");
    let (synced, tickets, ms) = (&run["synced"], &run["tickets_total"], &ended["duration_ms"]);
    let words = format!("SYNC SUCCESSFUL! Orders: {synced}, Tickets: {tickets}, Time: {ms}ms");
    assert_eq!((&ended["message"], &ended["failed"]), (&json!(words), &json!(1)), "{ended}");
    assert!(ms.as_u64().is_some_and(|ms| (100..60_000).contains(&ms)), "{ended}");

    // The next one finds the tickets there.
    world.ghl.heal().await;
    let again = world.complete(SYNC, A_SMALL_RUN).await;
    until_quiet(&world).await;
    assert_eq!(orders(&output, "order_synced", &again["run_id"]).len(), valid.len() + 1);
    assert_eq!(orders(&output, "tickets_added", &again["run_id"]).len(), 1, "the lost one's");
}

#[tokio::test]
async fn an_order_of_a_webhook_is_told_once_however_often_it_comes() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 3).await;
    let output = Output::from_now();
    join(world.ghl.notify(&id), world.ghl.notify(&id)).await;
    world.database.until_tickets(&id, 3, "live").await;
    until_told(&output, "order_synced").await;
    until_quiet(&world).await;
    // The message about its tickets comes once more, as SQS may deliver it.
    let again = json!({
        "location_id": world.location_id, "order_id": id, "cause": "webhook", "attempt": 1, "change": "written",
    });
    world.cloud().send("tickets", &again.to_string()).await;
    until_quiet(&world).await;
    let (synced, added) = (lines(&output, "order_synced"), lines(&output, "tickets_added"));
    assert_eq!((synced.len(), added.len()), (1, 1), "{synced:?} {added:?}");
    assert_eq!(synced[0]["message"], format!("Order {id} synced successfully"));
    assert_eq!(added[0]["message"], format!("Added 3 tickets for order {id}"));

    world.ghl.fail(json!({ "endpoint": "detail", "orderId": id, "fault": { "kind": "status", "status": 403 } })).await;
    world.ghl.put_quantity(&id, 4).await;
    world.ghl.notify(&id).await;
    let failed = until_told(&output, "order_failed").await;
    until_quiet(&world).await;
    assert_eq!(lines(&output, "order_failed").len(), 1);
    let words = format!("Failed to sync order {id}: Failed to fetch order details");
    assert!(failed["message"].as_str().unwrap().starts_with(&words), "{failed}");
    assert_eq!((&failed["cause"], &failed["code"]), (&json!("webhook"), &json!("order_refused")), "{failed}");
}

#[tokio::test]
async fn what_was_done_and_whose_answer_was_lost_is_told_once_all_the_same() {
    let world = World::with_orders(4).await;
    let [synced, refused] = [new_id(), new_id()];
    world.ghl.put_quantity(&synced, 2).await;
    let output = Output::from_now();
    world.lose_answer("reconcile_tickets").await;
    world.ghl.notify(&synced).await;
    until_told(&output, "order_synced").await;

    let fault = json!({ "kind": "status", "status": 403 });
    world.ghl.fail(json!({ "endpoint": "detail", "orderId": refused, "fault": fault })).await;
    world.lose_answer("record_failures").await;
    world.ghl.notify(&refused).await;
    until_told(&output, "order_failed").await;
    until_quiet(&world).await;
    for (event, id) in [("order_synced", &synced), ("order_failed", &refused)] {
        let told: Vec<_> = lines(&output, event).iter().map(|line| line["order_id"].clone()).collect();
        assert_eq!(told, [json!(id)], "{event}");
    }
}

#[tokio::test]
async fn a_single_order_is_told_by_the_function_that_syncs_it() {
    let world = World::with_orders(4).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    let output = Output::from_now();
    world.api.sync(&id).await;
    until_told(&output, "order_synced").await;
    assert_eq!(until_told(&output, "tickets_added").await["message"], format!("Added 2 tickets for order {id}"));
    let unknown = new_id();
    world.api.post(As::Admin, &format!("/api/ghl/orders/{unknown}")).await.refused(404, "order_not_found", &[]);
    let failed = until_told(&output, "order_failed").await;
    let words = format!("Failed to sync order {unknown}: GoHighLevel has no such order");
    assert_eq!((&failed["message"], &failed["cause"]), (&json!(words), &json!("single")), "{failed}");
    let of_order = output.read().1.into_iter().filter(|line| line["order_id"] == unknown.as_str());
    assert_eq!(of_order.count(), 1, "a failure is one line");
}

/// A full run while the database refuses to insert rows of an order into a table.
async fn run_without(world: &World, table: &str, order_id: &str) -> Value {
    let trigger = format!(
        "create or replace function public.refuse_order() returns trigger language plpgsql as $$
         begin
           if new.order_id = '{order_id}' then raise exception 'no place' using errcode = '23514'; end if;
           return new;
         end $$;
         create trigger refuse_order before insert on public.{table} for each row execute function public.refuse_order();"
    );
    world.database.execute(&trigger).await;
    let run = world.complete(SYNC, A_SMALL_RUN).await;
    until_quiet(world).await;
    world
        .database
        .execute(&format!("drop trigger refuse_order on public.{table}; drop function public.refuse_order()"))
        .await;
    run
}

#[tokio::test]
async fn an_order_that_can_not_be_stored_is_told_and_the_next_follows() {
    let world = World::with_orders(4).await;
    let census = world.ghl.census().await;
    let refused = one_with_tickets(&world, &census.ordinary).await;
    let output = Output::from_now();
    let run = run_without(&world, "ghl_qr_orders", &refused).await;
    assert_eq!((&run["failed"], &run["synced"]), (&json!(1), &json!(census.valid.len() - 1)), "{run}");
    let failed = lines(&output, "order_failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed[0]["message"].as_str().unwrap().starts_with(&format!("Failed to sync order {refused}: ")),
        "{failed:?}"
    );
    assert_eq!((&failed[0]["code"], &failed[0]["run_id"]), (&json!("data_refused"), &run["run_id"]), "{failed:?}");
}

#[tokio::test]
async fn a_ticket_that_can_not_be_made_is_told_and_the_next_order_follows() {
    let world = World::with_orders(4).await;
    let census = world.ghl.census().await;
    let refused = one_with_tickets(&world, &census.ordinary).await;
    let output = Output::from_now();
    let run = run_without(&world, "ghl_qr_tickets", &refused).await;
    assert_eq!((&run["failed"], &run["synced"]), (&json!(1), &json!(census.valid.len() - 1)), "{run}");
    let (ticket, order) = (lines(&output, "tickets_failed"), lines(&output, "order_failed"));
    assert_eq!((ticket.len(), order.len()), (1, 1), "{ticket:?} {order:?}");
    assert!(ticket[0]["message"].as_str().unwrap().starts_with("Failed to create ticket: "), "{}", ticket[0]);
    for line in [&ticket[0], &order[0]] {
        assert_eq!((&line["order_id"], &line["run_id"]), (&json!(refused), &run["run_id"]), "{line}");
    }
    assert_eq!(order[0]["code"], "tickets_refused", "{}", order[0]);
}

#[tokio::test]
async fn a_run_that_ends_with_an_error_is_told_once() {
    let world = World::with_orders(4).await;
    world.ghl.delist_all_products().await;
    let output = Output::from_now();
    let run_id = world.api.start(SYNC).await;
    world.until_ended(&run_id, A_SMALL_RUN).await;
    let failed = until_told(&output, "run_failed").await;
    until_quiet(&world).await;
    assert_eq!(lines(&output, "run_failed").len() + lines(&output, "run_succeeded").len(), 1);
    assert!(failed["message"].as_str().unwrap().starts_with("Error during sync: No valid products found"), "{failed}");
    assert_eq!((&failed["run_id"], &failed["code"]), (&json!(run_id), &json!("no_valid_products")), "{failed}");
}

#[tokio::test]
async fn a_dashboard_that_comes_and_goes_is_told_with_its_id() {
    let world = World::with_orders(4).await;
    let before = world.database.connections().await;
    let output = Output::from_now();
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let opened = world.database.connections().await.into_iter().find(|id| !before.contains(id)).expect("a connection");
    // Asking for the status registers it once more, which is no connection.
    dashboard.say(json!({ "action": "status" })).await;
    dashboard.until("a second snapshot", A_MOMENT, |frame| frame["event"] == "sync_status").await;
    dashboard.close().await;
    let ours = |event: &str| {
        let lines = lines(&output, event).into_iter().filter(|line| line["connection_id"] == opened.as_str());
        lines.map(|line| line["message"].clone()).collect::<Vec<_>>()
    };
    until(
        "it is told gone",
        A_MOMENT,
        async || if ours("disconnected").is_empty() { Err(output.text()) } else { Ok(()) },
    )
    .await;
    let once = |word: &str| vec![json!(format!("Client {word}: {opened}"))];
    assert_eq!((ours("connected"), ours("disconnected")), (once("connected"), once("disconnected")));
}
