//! What keeps the whole system from working is told by the status, in words for an admin.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::Dashboard,
    fake_ghl::new_id,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};

const SYNC: &str = "/api/ghl/orders/sync?mode=full";

/// The problems in the data of a status, by their codes.
fn codes(status: &Value) -> Vec<String> {
    let problems = status["problems"].as_array().into_iter().flatten();
    problems
        .map(|problem| {
            assert!(problem["message"].as_str().is_some_and(|message| message.len() > 40), "{problem}");
            problem["code"].as_str().unwrap().to_owned()
        })
        .collect()
}

async fn told(world: &World, who: As) -> Vec<String> {
    let status = world.api.get(who, "/api/qrapp/sync-status").await.ok();
    assert!(status["problems"].is_array(), "that there are none is told, too: {status}");
    codes(&status)
}

#[tokio::test]
async fn a_refused_token_is_told_until_ghl_accepts_it_again() {
    let world = World::with_orders(4).await;
    assert!(!told(&world, As::Member).await.contains(&"ghl_unauthorized".to_owned()));
    world.ghl.fail(json!({ "endpoint": "list", "fault": { "kind": "status", "status": 401 } })).await;
    let run_id = world.api.start(SYNC).await;
    assert_eq!(world.until_ended(&run_id, A_SMALL_RUN).await["error_code"], "ghl_unauthorized");
    assert!(told(&world, As::Member).await.contains(&"ghl_unauthorized".to_owned()));
    // Frames of the run may come before the answer to its question.
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let tells = |frame: &Value| codes(&frame["data"]).contains(&"ghl_unauthorized".to_owned());
    if !dashboard.frames.iter().any(tells) {
        dashboard.until("the problem", A_MOMENT, tells).await;
    }

    world.ghl.heal().await;
    world.complete(SYNC, A_SMALL_RUN).await;
    assert!(!told(&world, As::Member).await.contains(&"ghl_unauthorized".to_owned()));
}

#[tokio::test]
async fn a_token_that_is_refused_for_a_webhooks_order_is_told_until_another_order_is_read() {
    let world = World::with_orders(4).await;
    let refused = json!({ "kind": "status", "status": 401 });
    for endpoint in ["detail", "list"] {
        world.ghl.fail(json!({ "endpoint": endpoint, "fault": refused })).await;
    }
    let id = world.ghl.census().await.ordinary[0].clone();
    let mut notified: Option<Instant> = None;
    until("the problem in the status", A_MOMENT, async || {
        // That GHL accepted the token for a list holds for 5 s.
        if notified.is_none_or(|at| at.elapsed() > Duration::from_secs(3)) {
            world.ghl.notify(&id).await;
            notified = Some(Instant::now());
        }
        let told = told(&world, As::Admin).await;
        if told.contains(&"ghl_unauthorized".to_owned()) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    world.ghl.heal().await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.api.sync(&id).await;
    assert!(!told(&world, As::Admin).await.contains(&"ghl_unauthorized".to_owned()));
}

#[tokio::test]
async fn tables_that_the_public_key_opens_are_told_to_admins() {
    let world = World::with_orders(4).await;
    let open = "tables_open".to_owned();
    assert!(!told(&world, As::Admin).await.contains(&open), "our migrations close them");
    world
        .database
        .execute(
            "grant select on public.ghl_qr_orders to anon; alter table public.ghl_qr_orders disable row level security",
        )
        .await;
    let status = world.api.get(As::Admin, "/api/qrapp/sync-status").await.ok();
    let (admin, member) = (codes(&status), told(&world, As::Member).await);
    // Whatever this shows, the tests that follow have it closed again.
    world
        .database
        .execute("revoke select on public.ghl_qr_orders from anon; alter table public.ghl_qr_orders enable row level security")
        .await;
    assert!(admin.contains(&open) && !member.contains(&open), "{admin:?} {member:?}");
    assert!(status["problems"].to_string().contains("Anybody can read the orders"), "{status}");
    assert!(!told(&world, As::Admin).await.contains(&open));
}
