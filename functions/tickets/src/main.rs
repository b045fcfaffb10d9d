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
use runs::Announcements;
use settings::{Env, aws_config};
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_runtime::Error> {
    let env = Env::process();
    let (database, pace) = (wiring::database(&env, HttpClient::new()?)?, wiring::pace(&env)?);
    let (queue, runs) = (env.url("TICKETS_QUEUE_URL")?, env.url("RUNS_QUEUE_URL")?);
    let sqs = queues::client(&aws_config().await);
    let announcements = Announcements::new(Queue::new(sqs.clone(), runs));
    let tickets = Tickets { database, announcements, queue: Queue::new(sqs, queue), pace };
    let handle = async |event: LambdaEvent<SqsEvent>| {
        let work = deadline::in_time(event.context.deadline(), tickets.handle(event.payload));
        Ok::<_, lambda_runtime::Error>(telemetry::invocation(&event.context.request_id, None, work).await?)
    };
    lambda_runtime::run(service_fn(handle)).await
}
