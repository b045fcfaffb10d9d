//! A database that is far away, and one that is too slow.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    api::As,
    fake_ghl::new_id,
    output::Output,
    waiting::{A_MOMENT, until},
    world::World,
};

/// A webhook's order passes some ten calls of the database.
const A_SLOW_MOMENT: Duration = Duration::from_secs(60);

/// What the status says of a slow database, if it does.
fn too_slow(status: &Value) -> Option<String> {
    let mut problems = status["problems"].as_array().into_iter().flatten();
    let problem = problems.find(|problem| problem["code"] == "database_too_slow")?;
    problem["message"].as_str().map(str::to_owned)
}

async fn until_tickets(world: &World, id: &str) {
    until("a ticket of the order", A_SLOW_MOMENT, async || {
        let tickets = world.database.rows(&format!("select status from ghl_qr_tickets where order_id = '{id}'")).await;
        if tickets == [json!({"status": "live"})] { Ok(()) } else { Err(format!("{tickets:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_webhook_gets_its_tickets_also_from_a_database_that_is_far_away() {
    let world = World::with_orders(4).await;
    world.move_database(300).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 1).await;
    world.ghl.notify(&id).await;
    until_tickets(&world, &id).await;
    assert_eq!(too_slow(&world.status().await), None);
    world.move_database(0).await;
}

/// No grant of the rate limit arrives in time: that isn't kept a secret, and ends with its cause.
#[tokio::test]
async fn a_database_that_is_too_slow_for_the_rate_limit_is_told_everywhere() {
    let world = World::with_orders(4).await;
    let output = Output::from_now();
    world.move_database(3_100).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 1).await;
    world.ghl.notify(&id).await;
    until("a late grant", A_SLOW_MOMENT, async || {
        let text = output.text();
        if text.contains("A rate limit grant arrived too late") { Ok(()) } else { Err(text) }
    })
    .await;
    // As if the last two minutes had been so already. With this grant's request the worker has reported what it had seen before.
    world
        .database
        .execute(
            "update public.sync_limiter set late_since = clock_timestamp() - interval '2 minutes', late_at = clock_timestamp()",
        )
        .await;
    until("a line in the log", A_SLOW_MOMENT, async || {
        let text = output.text();
        let line = text.lines().find(|line| line.contains("the database answers so slowly")).map(str::to_owned);
        line.filter(|line| line.contains("\"level\":\"ERROR\"")).ok_or(text)
    })
    .await;
    // A busy machine makes the database slower still, and a call may run into its time-out.
    until("the problem in the status", A_SLOW_MOMENT, async || {
        let answer = world.api.get(As::Member, "/api/qrapp/sync-status").await;
        let in_words = too_slow(&answer.body).is_some_and(|message| message.contains("GoHighLevel"));
        if in_words { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    until("a metric", A_SLOW_MOMENT, async || {
        let text = output.text();
        if text.contains("LimiterTooLate") { Ok(()) } else { Err(text) }
    })
    .await;

    world.move_database(0).await;
    until_tickets(&world, &id).await;
    // Whoever asks again reports that its last grant came in time.
    for _ in 0..2 {
        world.api.sync(&id).await;
    }
    until("the problem's end", A_MOMENT, async || match too_slow(&world.status().await) {
        None => Ok(()),
        Some(message) => Err(message),
    })
    .await;
}

mod far {
    use super::*;

    /// The least that a call takes, and that a connection costs.
    const CALL: Duration = Duration::from_millis(30);
    const CONNECTING: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_far_database_takes_its_time_for_each_call_and_connection() {
        let world = World::with_orders(4).await;
        let before = world.set_far(true).await;
        let http = tests::http();
        let body = json!({ "request": { "location_id": world.location_id } });
        let mut took = Vec::new();
        for _ in 0..5 {
            let url = format!("{}/rpc/list_products", world.postgrest_url);
            let begun = Instant::now();
            let call = http.post(url).header("apikey", &world.service_key).json(&body).send().await;
            took.push((call.map(|answer| answer.status().as_u16()).ok(), begun.elapsed()));
        }
        // Functions go by the same door.
        let begun = Instant::now();
        world.status().await;
        let by_function = begun.elapsed();
        // Whatever this shows, the tests that follow have the database near again.
        world.set_far(before).await;
        assert!(took.iter().all(|(status, took)| *status == Some(200) && *took >= CALL), "{took:?}");
        assert!(took[0].1 >= CONNECTING + CALL, "{took:?}");
        assert!(by_function >= CALL, "{by_function:?}");
    }
}
