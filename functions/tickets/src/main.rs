//! Reconciles the tickets of a batch of orders in one database call and records their outcomes.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;
#[cfg(test)]
mod hanging;

use std::process::ExitCode;

use handler::Tickets;
use lambda_runtime::{LambdaEvent, service_fn};
use queues::Queue;
use queues::batch::SqsEvent;
use runs::Publisher;
use settings::{Env, aws_config};
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_runtime::Error> {
    let env = Env::process();
    let (database, publisher_config) =
        (wiring::database(&env, HttpClient::new()?)?, runs::setup::publisher_config(&env)?);
    let (queue, pace) = (env.url("TICKETS_QUEUE_URL")?, wiring::pace(&env)?);
    let config = aws_config().await;
    let publisher = Publisher::connect(&config, &publisher_config);
    let tickets = Tickets { database, publisher, queue: Queue::new(queues::client(&config), queue), pace };
    let handle = async |event: LambdaEvent<SqsEvent>| {
        let work = deadline::in_time(event.context.deadline(), tickets.handle(event.payload));
        Ok::<_, lambda_runtime::Error>(telemetry::invocation(&event.context.request_id, None, work).await?)
    };
    lambda_runtime::run(service_fn(handle)).await
}
