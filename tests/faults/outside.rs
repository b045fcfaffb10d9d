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
use tokio::time::Instant;

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
            "The answer of a scan is lost",
            "503; scanned again, it was let in before",
            &["validate_ticket"],
            |world| Box::pin(scan_lost(world)),
        ),
        lost("The answer of an undo is lost", "503; undone again, it isn't validated", &["undo_ticket"], |world| {
            Box::pin(undo_lost(world))
        }),
        lost(
            "The answer of a cancellation is lost",
            "503; the run is cancelled, and everybody is told",
            &["cancel_run"],
            |world| Box::pin(cancel_lost(world)),
        ),
        lost(
            "The answers of a schedule's skipped start and of the watch are lost",
            "their functions fail; repeated, they work, and the skip is recorded twice",
            &["skip_run", "purge"],
            |world| Box::pin(schedules_lost(world)),
        ),
        lost(
            "The answers of the dashboard's lists are lost",
            "503 each; asked again, they are there",
            &["list_runs", "get_run", "list_failures"],
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

/// Plays it on a stack of its own for so long, and looks that it was in step before the fault's end.
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
    assert!(took < Duration::from_secs(8), "{took:?}");
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
    assert!(begun.elapsed() < Duration::from_secs(HANG - 5), "the gate waited: {:?}", begun.elapsed());
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

async fn scan_lost(world: &World) {
    let (id, ticket) = a_ticket(world).await;
    harm::lose_answers(world, &["validate_ticket"]).await;
    scan(world, &ticket).await.refused(503, "database_unavailable", &[]);
    let validated = world.database.until_tickets(&id, 1, "validated").await;
    scan(world, &ticket).await.refused(409, "already_validated", &["ticket", "validatedAt"]);
    world.api.sync(&id).await;
    assert_eq!(world.database.tickets(&id).await, validated);
}

async fn undo_lost(world: &World) {
    let (id, ticket) = a_ticket(world).await;
    scan(world, &ticket).await.ok();
    harm::lose_answers(world, &["undo_ticket"]).await;
    undo(world, &ticket).await.refused(503, "database_unavailable", &[]);
    world.database.until_tickets(&id, 1, "live").await;
    undo(world, &ticket).await.refused(409, "not_validated", &["ticket"]);
    assert_eq!(scan(world, &ticket).await.ok()["result"], "admitted");
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

async fn schedules_lost(world: &World) {
    let run_id = long_run(world).await;
    let skipped = async || {
        let rows = "select 1 from public.sync_runs where state = 'Skipped' and started_at >
            (select started_at from public.sync_runs where run_id =";
        world.database.rows(&format!("{rows} '{run_id}')")).await.len()
    };
    harm::lose_answers(world, &["skip_run", "purge"]).await;
    for (schedule, rows) in [("incremental", 2), ("watch", 2)] {
        let event = json!({ "schedule": schedule });
        assert_eq!(world.cloud().try_invoke("run-worker", event.clone()).await, None, "{schedule}");
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
    harm::lose_answers(world, &["list_runs", "get_run", "list_failures"]).await;
    for path in ["/api/qrapp/runs", &detail, "/api/qrapp/failures"] {
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
    until("a removal whose answer is lost", A_MOMENT, async || {
        let left = harm::not_lost_yet(world).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
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
