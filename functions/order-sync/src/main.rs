//! Syncs one order while the caller waits: fetch, upsert, reconcile. After 25 s it enqueues the order and answers that.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;

use std::process::ExitCode;

use handler::OrderSync;
use orders::Products;
use settings::{Env, aws_config};
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_http::Error> {
    let env = Env::process();
    let http = HttpClient::new()?;
    let fetcher = orders::setup::fetcher(&env, http.clone())?;
    let (database, rules) = (wiring::database(&env, http)?, orders::setup::rules(&env)?);
    let orders_url = env.url("ORDERS_QUEUE_URL")?;
    let orders = queues::Queue::new(queues::client(&aws_config().await), orders_url);
    let order_sync = OrderSync { database, fetcher, products: Products::default(), rules, orders };
    http_api::serve(|request| order_sync.handle(request)).await
}
