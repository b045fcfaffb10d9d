//! Faults outside of runs: webhooks, scans and pages whose system hangs, and whose answers get lost.

use std::time::Duration;

use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use tests::{
    api::{Answer, As},
    dashboard::{self, Dashboard},
    fake_ghl::new_id,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};
use tokio::time::{Instant, timeout};

use crate::harm;

const SYNC: &str = "/api/ghl/orders/sync?mode=full";
/// Longer than any answer waits for what hangs.
const HANG: u64 = 20;

/// A fault that befalls somebody who doesn't run a sync.
pub(crate) struct Outside {
    pub(crate) name: &'static str,
    /// What it shows, in the words of the table.
    pub(crate) shows: &'static str,
    /// SQL functions whose answers it loses, once each.
    pub(crate) lost: &'static [&'static str],
    pub(crate) play: fn(&World) -> LocalBoxFuture<'_, ()>,
}

pub(crate) fn all() -> Vec<Outside> {
    [hanging(), lost_answers()].into_iter().flatten().collect()
}

fn hanging() -> Vec<Outside> {
    let hanging = |name, shows, play| Outside { name, shows, lost: &[], play };
    vec![
        hanging("SQS hangs while a webhook comes", "429 within 8 s; sent again, it is queued", |world| {
            Box::pin(webhook_while_sqs_hangs(world))
        }),
        hanging("SSM hangs while a webhook starts its function", "429 within 8 s; sent again, it is queued", |world| {
            Box::pin(webhook_while_ssm_hangs(world))
        }),
        hanging("PostgREST hangs while a ticket is scanned", "503 after 4 s; scanned again, it is admitted", |world| {
            Box::pin(scan_while_postgrest_hangs(world))
        }),
        hanging("SSM hangs while a ticket is scanned", "admitted: a warm gate knows its secrets", |world| {
            Box::pin(scan_while_ssm_hangs(world))
        }),
    ]
}

fn lost_answers() -> Vec<Outside> {
    let lost = |name, shows, lost, play| Outside { name, shows, lost, play };
    vec![
        lost(
            "The answers to a webhook's message are lost",
            "202; the order and its tickets come all the same",
            &["plan_orders", "list_products"],
            |world| Box::pin(webhook_lost(world)),
        ),
        lost(
            "GHL doesn't know a webhook's order yet, and the answer that this is noted is lost",
            "202; the order and its tickets come all the same",
            &["await_orders"],
            |world| Box::pin(not_known_yet_lost(world)),
        ),
        lost(
            "The answer of a scan is lost, before the gate or behind it",
            "sent again, it is admitted, as before; without a `scanId` it was let in before",
            &["validate_ticket"],
            |world| Box::pin(scan_lost(world)),
        ),
        lost(
            "The answer of an undo is lost",
            "503; sent again, it is undone, as before, also when somebody was admitted meanwhile",
            &["undo_ticket"],
            |world| Box::pin(undo_lost(world)),
        ),
        lost(
            "The answers of a ticket's cancellation and of its reinstatement are lost",
            "503; sent again, it is done, as before",
            &["cancel_ticket", "reinstate_ticket"],
            |world| Box::pin(by_hand_lost(world)),
        ),
        lost(
            "The answer to forgetting a person is lost",
            "503; asked again, it is done, and their order is blank",
            &["forget_contact"],
            |world| Box::pin(forget_lost(world)),
        ),
        lost(
            "The answer of a cancellation is lost",
            "503; the run is cancelled, and everybody is told",
            &["cancel_run"],
            |world| Box::pin(cancel_lost(world)),
        ),
        lost(
            "There are no calls for dispatched orders, and the answer to their return is lost",
            "the run dispatches them again, or they wait in messages; it ends whole",
            &["give_back_orders"],
            |world| Box::pin(give_back_lost(world)),
        ),
        lost(
            "A grant comes too late, and the answer to its return is lost",
            "the order is fetched with another grant",
            &["hand_back_slots"],
            |world| Box::pin(hand_back_lost(world)),
        ),
        lost(
            "The database was restored, and its answer about the sequence numbers is lost",
            "the run goes on, and the document is told its end above the published number",
            &["raise_seq"],
            |world| Box::pin(raise_lost(world)),
        ),
        lost(
            "The answers of a schedule's skipped start and of the watch are lost",
            "their functions fail; repeated, they work, and the skip is recorded twice",
            &["skip_run", "hours_since_sync", "purge"],
            |world| Box::pin(schedules_lost(world)),
        ),
        lost(
            "The answers of the dashboard's lists and of an order's history are lost",
            "503 each; asked again, they are there",
            &["list_runs", "get_run", "list_failures", "order_history"],
            |world| Box::pin(lists_lost(world)),
        ),
        lost(
            "The answers of a dashboard's coming and going are lost",
            "it connects again; closed connections are forgotten",
            &["add_connection", "remove_connections"],
            |world| Box::pin(connections_lost(world)),
        ),
    ]
}

/// Plays it. Each answer that it wants lost must have been asked for.
pub(crate) async fn play(outside: &Outside) {
    let world = World::with_orders(4).await;
    harm::heal(&world).await;
    (outside.play)(&world).await;
    assert_eq!(harm::not_lost_yet(&world).await, [""; 0], "{}: nobody called them", outside.name);
    harm::heal(&world).await;
}

fn hang(service: &str) -> Value {
    json!({ "service": service, "kind": "hang", "seconds": HANG })
}

/// What the fake GHL, which sends a webhook of a workflow, got as its answer; and how long it took.
async fn webhook(world: &World, order_id: &str) -> (Value, Duration) {
    let begun = Instant::now();
    let answer = world.ghl.webhook(json!({ "kind": "workflow", "orderId": order_id })).await;
    (answer, begun.elapsed())
}

/// A webhook of an order is refused so that GHL sends it again, in time, and then it is served.
async fn refused_and_served(world: &World) {
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    let (answer, took) = webhook(world, &id).await;
    assert_eq!(answer["status"], 429, "{answer}");
    assert_eq!(answer["retryAfter"], "60", "the function's, not the gateway's: {answer}");
    // The function answers after 7 s, as its own test shows. It may have to start first, beside two more stacks.
    assert!(took < Duration::from_secs(HANG - 5), "{took:?}");
    harm::heal(world).await;
    let (again, _) = webhook(world, &id).await;
    assert_eq!(again["status"], 202, "{again}");
    world.database.until_tickets(&id, 2, "live").await;
}

async fn webhook_while_sqs_hangs(world: &World) {
    harm::cloud(world, &hang("sqs")).await;
    refused_and_served(world).await;
}

/// A warm function has read its secret before.
async fn webhook_while_ssm_hangs(world: &World) {
    harm::kill_workers(world, "webhook").await;
    harm::cloud(world, &hang("ssm")).await;
    refused_and_served(world).await;
}

/// A new worker doesn't know the products yet.
async fn webhook_lost(world: &World) {
    harm::kill_workers(world, "order-worker").await;
    harm::lose_answers(world, &["plan_orders", "list_products"]).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 2).await;
    world.ghl.notify(&id).await;
    world.database.until_tickets_within(A_SMALL_RUN, &id, 2, "live").await;
    world.assert_no_failures().await;
}

async fn not_known_yet_lost(world: &World) {
    harm::lose_answers(world, &["await_orders"]).await;
    let id = new_id();
    world.ghl.notify(&id).await;
    harm::until_lost(world, "a note whose answer is lost", A_SMALL_RUN).await;
    world.ghl.put_quantity(&id, 2).await;
    world.database.until_tickets_within(A_SMALL_RUN, &id, 2, "live").await;
    world.assert_no_failures().await;
}

/// A ticket of an order that is in step.
async fn a_ticket(world: &World) -> (String, Value) {
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    let ticket = world.database.until_tickets(&id, 1, "live").await[0]["ticket_id"].clone();
    (id, ticket)
}

async fn scan(world: &World, ticket: &Value) -> Answer {
    world.api.post(As::Member, &format!("/api/qrapp/tickets/{ticket}/validate")).await
}

async fn undo(world: &World, ticket: &Value) -> Answer {
    world.api.post(As::Admin, &format!("/api/qrapp/tickets/{ticket}/undo")).await
}

async fn scan_while_postgrest_hangs(world: &World) {
    let (id, ticket) = a_ticket(world).await;
    harm::database(world, &json!({ "hangForMs": HANG * 1000 })).await;
    let begun = Instant::now();
    scan(world, &ticket).await.refused(503, "database_unavailable", &[]);
    assert!(begun.elapsed() < Duration::from_secs(8), "the gate waited: {:?}", begun.elapsed());
    harm::heal(world).await;
    assert_eq!(scan(world, &ticket).await.ok()["result"], "admitted");
    world.database.until_tickets(&id, 1, "validated").await;
}

async fn scan_while_ssm_hangs(world: &World) {
    let (_, ticket) = a_ticket(world).await;
    scan(world, &ticket).await.ok();
    undo(world, &ticket).await.ok();
    harm::cloud(world, &hang("ssm")).await;
    let begun = Instant::now();
    assert_eq!(scan(world, &ticket).await.ok()["result"], "admitted");
    assert!(begun.elapsed() < Duration::from_secs(4), "the gate waited: {:?}", begun.elapsed());
}

/// A scan that names itself.
async fn named_scan(world: &World, ticket: &Value, scan_id: &str) -> Answer {
    let path = format!("/api/qrapp/tickets/{ticket}/validate");
    world.api.post_json(As::Member, &path, &json!({ "scanId": scan_id, "gate": "Main gate" })).await
}

async fn scan_lost(world: &World) {
    // Between the database and the gate.
    let (id, ticket) = a_ticket(world).await;
    harm::lose_answers(world, &["validate_ticket"]).await;
    named_scan(world, &ticket, "scan-0001").await.refused(503, "database_unavailable", &[]);
    let validated = world.database.until_tickets(&id, 1, "validated").await;
    for _ in 0..2 {
        let again = named_scan(world, &ticket, "scan-0001").await.ok();
        assert_eq!((&again["result"], &again["repeated"]), (&json!("admitted"), &json!(true)), "{again}");
    }
    named_scan(world, &ticket, "scan-0002").await.refused(409, "already_validated", &["ticket", "validatedAt"]);
    scan(world, &ticket).await.refused(409, "already_validated", &["ticket", "validatedAt"]);
    world.api.sync(&id).await;
    assert_eq!(world.database.tickets(&id).await, validated);

    // Between the gate and the scanner, which gives up before the answer comes.
    let (id, ticket) = a_ticket(world).await;
    harm::database(world, &json!({ "latencyMs": 2_500 })).await;
    let heard = timeout(Duration::from_secs(1), named_scan(world, &ticket, "scan-0003")).await;
    assert!(heard.is_err(), "the answer came: {heard:?}");
    world.database.until_tickets(&id, 1, "validated").await;
    harm::heal(world).await;
    let again = named_scan(world, &ticket, "scan-0003").await.ok();
    assert_eq!((&again["result"], &again["repeated"]), (&json!("admitted"), &json!(true)), "{again}");

    // A scanner of before names no scan.
    let (_, ticket) = a_ticket(world).await;
    harm::lose_answers(world, &["validate_ticket"]).await;
    scan(world, &ticket).await.refused(503, "database_unavailable", &[]);
    scan(world, &ticket).await.refused(409, "already_validated", &["ticket", "validatedAt"]);
}

async fn undo_lost(world: &World) {
    let (id, ticket) = a_ticket(world).await;
    let admitted = scan(world, &ticket).await.ok();
    let that = json!({ "validatedAt": admitted["ticket"]["validatedAt"] });
    let path = format!("/api/qrapp/tickets/{ticket}/undo");
    harm::lose_answers(world, &["undo_ticket"]).await;
    world.api.post_json(As::Admin, &path, &that).await.refused(503, "database_unavailable", &[]);
    world.database.until_tickets(&id, 1, "live").await;
    assert_eq!(scan(world, &ticket).await.ok()["result"], "admitted");
    let again = world.api.post_json(As::Admin, &path, &that).await.ok();
    assert_eq!((&again["result"], &again["repeated"]), (&json!("undone"), &json!(true)), "{again}");
    world.database.until_tickets(&id, 1, "validated").await;
}

async fn by_hand_lost(world: &World) {
    let (id, ticket) = a_ticket(world).await;
    for (deed, function, done, status) in
        [("cancel", "cancel_ticket", "cancelled", "cancelled"), ("reinstate", "reinstate_ticket", "reinstated", "live")]
    {
        harm::lose_answers(world, &[function]).await;
        let path = format!("/api/qrapp/tickets/{ticket}/{deed}");
        let deed = async || world.api.post_json(As::Admin, &path, &json!({ "reason": "Given back" })).await;
        deed().await.refused(503, "database_unavailable", &[]);
        world.database.until_tickets(&id, 1, status).await;
        let again = deed().await.ok();
        assert_eq!((&again["result"], &again["repeated"]), (&json!(done), &json!(true)), "{again}");
    }
}

async fn forget_lost(world: &World) {
    let (id, contact) = (new_id(), new_id());
    let buyer = json!({ "id": contact, "firstName": "Ada" });
    world.ghl.put(&id, json!({ "contactId": contact, "contactSnapshot": buyer })).await;
    world.api.sync(&id).await;
    assert_eq!(world.database.order(&id).await.unwrap()["contact_firstname"], "Ada");
    harm::lose_answers(world, &["forget_contact"]).await;
    let forget = format!("/api/qrapp/contacts/{contact}/forget");
    world.api.post(As::Admin, &forget).await.refused(503, "database_unavailable", &[]);
    assert_eq!(world.api.post(As::Admin, &forget).await.ok()["orders"], 1);
    assert_eq!(world.database.order(&id).await.unwrap()["contact_firstname"], Value::Null);
}

/// A run that doesn't end by itself for a while.
async fn long_run(world: &World) -> String {
    let slow = json!({ "endpoint": "detail", "fault": { "kind": "delay", "ms": 2000 } });
    world.ghl.fail(slow).await;
    world.api.start(SYNC).await
}

async fn until_state(world: &World, run_id: &str, state: &str) {
    until(&format!("the published {state}"), A_SMALL_RUN, async || {
        let status = world.status().await;
        let document = world.cloud().document("sync_status.json").await.unwrap_or_default();
        let told = [&status, &document].iter().all(|told| told["runId"] == run_id && told["status"] == state);
        if told { Ok(()) } else { Err(format!("{status} {document}")) }
    })
    .await;
}

async fn cancel_lost(world: &World) {
    let run_id = long_run(world).await;
    harm::lose_answers(world, &["cancel_run"]).await;
    let cancel = "/api/ghl/orders/sync/cancel";
    world.api.post(As::Admin, cancel).await.refused(503, "database_unavailable", &[]);
    assert_eq!(world.database.run(&run_id).await["state"], "Cancelled");
    world.api.post(As::Admin, cancel).await.refused(409, "no_run_in_progress", &[]);
    until_state(world, &run_id, "Cancelled").await;
}

/// GHL has closed its door since they were dispatched.
async fn give_back_lost(world: &World) {
    let closed = "update public.sync_limiter set closed_until = clock_timestamp() + interval '6 seconds'";
    world.api.sync(&world.ghl.census().await.ordinary[0]).await;
    world.database.execute(closed).await;
    let run_id = world.api.start(SYNC).await;
    // As if it had been listed and dispatched the moment before.
    let id = world.ghl.census().await.ordinary[0].clone();
    let at = jiff::Timestamp::now().as_millisecond();
    let listed = format!(
        "insert into public.sync_outcomes (run_id, order_id, dispatched_at)
         values ('{run_id}', '{id}', timestamptz 'epoch' + {at} * interval '1 millisecond');
         update public.sync_runs set listed = listed + 1 where run_id = '{run_id}'"
    );
    world.database.execute(&listed).await;
    harm::lose_answers(world, &["give_back_orders"]).await;
    let message = json!({
        "location_id": world.location_id, "run_id": run_id, "cause": "run", "order_ids": [id], "dispatched_at_ms": at,
    });
    world.cloud().send("orders-bulk", &message.to_string()).await;
    assert_eq!(world.until_ended(&run_id, A_SMALL_RUN).await["failed"], 0);
    world.database.end_cooldown().await;
}

/// The database takes longer than the margin, of which a warm worker knows nothing yet.
async fn hand_back_lost(world: &World) {
    let near = new_id();
    world.ghl.put(&near, json!({})).await;
    world.ghl.notify(&near).await;
    world.database.until_tickets(&near, 1, "live").await;
    let lost = json!({ "latencyMs": 400, "loseAnswers": { "/rpc/hand_back_slots": 1 } });
    let another = new_id();
    harm::database(world, &lost).await;
    world.ghl.put(&another, json!({})).await;
    world.ghl.notify(&another).await;
    world.database.until_tickets(&another, 1, "live").await;
}

/// What is published, once it tells the end of a run.
async fn until_the_end_is_published(world: &World, run_id: &str) -> Value {
    until("the published end", A_SMALL_RUN, async || {
        let document = world.cloud().document("sync_status.json").await.unwrap_or_default();
        let ended = document["status"] == "Delay" || document["status"] == "Completed";
        if document["runId"] == run_id && ended { Ok(document) } else { Err(document.to_string()) }
    })
    .await
}

async fn raise_lost(world: &World) {
    let before = world.complete(SYNC, A_SMALL_RUN).await;
    let seen = until_the_end_is_published(world, before["run_id"].as_str().unwrap()).await;
    world.database.execute("update sync_locations set seq = 1").await;
    harm::lose_answers(world, &["raise_seq"]).await;
    let run_id = world.api.start(SYNC).await;
    let document = until_the_end_is_published(world, &run_id).await;
    assert!(document["seq"].as_u64() > seen["seq"].as_u64(), "{document}");
    assert_eq!(world.until_ended(&run_id, A_SMALL_RUN).await["failed"], 0);
    world.database.end_cooldown().await;
}

async fn schedules_lost(world: &World) {
    let run_id = long_run(world).await;
    let skipped = async || {
        let rows = "select 1 from public.sync_runs where state = 'Skipped' and started_at >
            (select started_at from public.sync_runs where run_id =";
        world.database.rows(&format!("{rows} '{run_id}')")).await.len()
    };
    harm::lose_answers(world, &["skip_run", "hours_since_sync", "purge"]).await;
    for (schedule, lost, rows) in [("incremental", 1, 2), ("watch", 2, 2)] {
        let event = json!({ "schedule": schedule });
        for _ in 0..lost {
            assert_eq!(world.cloud().try_invoke("run-worker", event.clone()).await, None, "{schedule}");
        }
        // As Lambda does after a minute.
        world.cloud().invoke("run-worker", event).await;
        assert_eq!(skipped().await, rows, "{schedule}");
    }
    world.ghl.heal().await;
    assert_eq!(world.until_ended(&run_id, A_SMALL_RUN).await["failed"], 0);
    world.database.end_cooldown().await;
}

async fn lists_lost(world: &World) {
    let run = world.complete(SYNC, A_SMALL_RUN).await;
    let detail = format!("/api/qrapp/runs/{}", run["run_id"].as_str().unwrap());
    let history = format!("/api/qrapp/orders/{}/history", world.ghl.census().await.ordinary[0]);
    harm::lose_answers(world, &["list_runs", "get_run", "list_failures", "order_history"]).await;
    for path in ["/api/qrapp/runs", &detail, "/api/qrapp/failures", &history] {
        world.api.get(As::Member, path).await.refused(503, "database_unavailable", &[]);
        world.api.get(As::Member, path).await.ok();
    }
}

async fn connections_lost(world: &World) {
    harm::lose_answers(world, &["add_connection", "remove_connections"]).await;
    let ticket = dashboard::ticket(world, As::Member).await;
    let refused = dashboard::connect(world, &ticket, Some(world.origin())).await;
    assert!(refused.is_err(), "connected without an answer of the database");
    let mut stays = Dashboard::open(world, As::Member).await;
    let leaves = Dashboard::open(world, As::Member).await;
    leaves.close().await;
    harm::until_lost(world, "a removal whose answer is lost", A_MOMENT).await;
    // Frames find out which connections are gone.
    let run_id = world.api.start(SYNC).await;
    stays.until_told(&run_id, "Delay", A_SMALL_RUN).await;
    until("the one connection", A_MOMENT, async || {
        let connections = world.database.connections().await;
        if connections.len() == 1 { Ok(()) } else { Err(format!("{connections:?}")) }
    })
    .await;
    world.database.end_cooldown().await;
}
