//! The original app's way of syncing: one order after the other, each fetched twice, each row and ticket a call of its own.

use std::time::Instant;

use reqwest::Client;
use serde_json::{Value, json};
use tests::{
    keys::Keys,
    waiting::{A_MOMENT, until},
    world::World,
};

use crate::full::prepare;
use crate::like_ghl;

/// What it took.
pub(crate) struct Seed {
    pub(crate) orders: u32,
    pub(crate) seconds_per_order: f64,
}

/// Syncs so many orders into tables of its own.
pub(crate) async fn sync(world: &World, orders: u32) -> Seed {
    prepare(world, orders, &like_ghl()).await;
    world
        .database
        .execute(
            "create table if not exists public.bench_orders (order_id text primary key, body jsonb);
             create table if not exists public.bench_tickets (ticket_id serial primary key, order_id text, ticket_type text);
             truncate public.bench_orders, public.bench_tickets;
             grant all on public.bench_orders, public.bench_tickets, public.bench_tickets_ticket_id_seq to service_role;
             notify pgrst, 'reload schema'",
        )
        .await;
    let ids = world.ghl.census().await.ordinary;
    let (http, token) = (tests::http(), Keys::of_the_stack().ghl_token);
    // PostgREST reads its schema anew.
    until("the tables", A_MOMENT, async || {
        let answer = rest(&http, world, "GET", "bench_orders?limit=1", &Value::Null).await;
        if answer.is_array() { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;

    let begun = Instant::now();
    for id in &ids {
        sync_one(&http, world, &token, id).await;
    }
    let seconds_per_order = begun.elapsed().as_secs_f64() / ids.len() as f64;
    println!("the original app's way: {:.2} s per order, measured on {}", seconds_per_order, ids.len());
    world.database.execute("drop table public.bench_orders, public.bench_tickets").await;
    Seed { orders, seconds_per_order }
}

async fn sync_one(http: &Client, world: &World, token: &str, id: &str) {
    // Once to see whether it is valid, once to sync it.
    detail(http, world, token, id).await;
    let order = detail(http, world, token, id).await;
    rest(http, world, "GET", &format!("bench_orders?order_id=eq.{id}"), &Value::Null).await;
    rest(http, world, "POST", "bench_orders", &json!({ "order_id": id, "body": order })).await;
    rest(http, world, "GET", &format!("bench_tickets?order_id=eq.{id}"), &Value::Null).await;
    for item in order["items"].as_array().unwrap() {
        for _ in 0..item["qty"].as_u64().unwrap_or(0) {
            let ticket = json!({ "order_id": id, "ticket_type": item["price"]["name"] });
            rest(http, world, "POST", "bench_tickets", &ticket).await;
        }
    }
}

async fn detail(http: &Client, world: &World, token: &str, id: &str) -> Value {
    let url = format!("{}/payments/orders/{id}?altId={}&altType=location", world.ghl_url, world.location_id);
    let request = http.get(url).bearer_auth(token).header("Version", "2021-07-28");
    request.send().await.expect("the fake GHL answers").json().await.expect("an order")
}

async fn rest(http: &Client, world: &World, method: &str, path: &str, body: &Value) -> Value {
    let url = format!("{}/{path}", world.postgrest_url);
    let request = http.request(method.parse().unwrap(), url).header("apikey", &world.service_key);
    let request = request.bearer_auth(&world.service_key).json(body);
    request.send().await.expect("the local Supabase answers").json().await.unwrap_or_default()
}
