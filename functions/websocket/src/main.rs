//! Registers dashboards and answers with the current snapshot.
//!
//! | module | what it is for |
//! |---|---|
//! | `event` | what the WebSocket API hands over |
//! | `handler` | what happens at `$connect`, `$disconnect` and for each message |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod event;
mod handler;

use std::process::ExitCode;

use handler::Socket;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use push::Pusher;
use queues::Queue;
use settings::{Env, aws_config};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), Error> {
    let env = Env::process();
    let (database, endpoint) = (sync::setup::database(&env)?, env.url("WEBSOCKET_ENDPOINT")?);
    let runs_queue = env.optional_url("RUNS_QUEUE_URL", &["https", "http"])?;
    let config = aws_config().await;
    let runs = runs_queue.map(|url| Queue::new(queues::client(&config), url));
    let socket = Socket { database, pusher: Pusher::new(&config, &endpoint), runs };
    lambda_runtime::run(service_fn(|event: LambdaEvent<_>| socket.handle(event.payload))).await
}
