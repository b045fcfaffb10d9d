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
    assert_eq!(world.status().await.get("problems"), None);
    world.move_database(0).await;
}

/// No grant of the rate limit arrives in time: that isn't kept a secret, and ends with its cause.
#[tokio::test]
async fn a_database_that_is_too_slow_for_the_rate_limit_is_told_everywhere() {
    let world = World::with_orders(4).await;
    // As if the last two minutes had been so already.
    world
        .database
        .execute(&format!(
            "insert into public.sync_limiter (location_id) values ('{}') on conflict do nothing;
             update public.sync_limiter set late_since = clock_timestamp() - interval '2 minutes',
             late_at = clock_timestamp()",
            world.location_id
        ))
        .await;
    let output = Output::from_now();
    world.move_database(3_100).await;
    let id = new_id();
    world.ghl.put_quantity(&id, 1).await;
    world.ghl.notify(&id).await;
    until("a line in the log", A_SLOW_MOMENT, async || {
        let text = output.text();
        let line = text.lines().find(|line| line.contains("the database answers so slowly")).map(str::to_owned);
        line.filter(|line| line.contains("\"level\":\"ERROR\"")).ok_or(text)
    })
    .await;
    // A busy machine makes the database slower still, and a call may run into its time-out.
    until("the problem in the status", A_SLOW_MOMENT, async || {
        let answer = world.api.get(As::Member, "/api/qrapp/sync-status").await;
        let problem = &answer.body["problems"][0];
        let in_words = problem["message"].as_str().is_some_and(|message| message.contains("GoHighLevel"));
        if problem["code"] == "database_too_slow" && in_words { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    until("a metric", A_SLOW_MOMENT, async || {
        let text = output.text();
        if text.contains("LimiterTooLate") { Ok(()) } else { Err(text) }
    })
    .await;

    world.move_database(0).await;
    until_tickets(&world, &id).await;
    until("the problem's end", A_MOMENT, async || match world.status().await.get("problems") {
        None => Ok(()),
        Some(problems) => Err(Value::to_string(problems)),
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
            assert_eq!(call.expect("the database answers").status(), 200);
            took.push(begun.elapsed());
        }
        assert!(took[0] >= CONNECTING + CALL && took.iter().all(|took| *took >= CALL), "{took:?}");
        // Functions go by the same door.
        let begun = Instant::now();
        world.status().await;
        assert!(begun.elapsed() >= CALL, "{:?}", begun.elapsed());
        world.set_far(before).await;
    }
}
