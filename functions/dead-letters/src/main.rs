//! Turns messages that can't succeed into recorded failures, so that a run still ends.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;

use std::process::ExitCode;
use std::time::Duration;

use domain::run::PULSE_LOST_AFTER;
use handler::DeadLetters;
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
    let (database, runs) = (wiring::database(&env, HttpClient::new()?)?, env.url("RUNS_QUEUE_URL")?);
    let announcements = Announcements::new(Queue::new(queues::client(&aws_config().await), runs));
    let pulse_lost_after = wiring::pace(&env)?.of(PULSE_LOST_AFTER);
    let dead_letters = DeadLetters { database, announcements, pulse_lost_after };
    let handle = async |event: LambdaEvent<SqsEvent>| {
        let ends_at = event.context.deadline();
        let work = dead_letters.handle(event.payload, deadline::before(ends_at, RESERVE));
        let work = deadline::in_time(ends_at, work);
        Ok::<_, lambda_runtime::Error>(telemetry::invocation(&event.context.request_id, None, work).await?)
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// No dead letter is begun within this time before Lambda ends the invocation: a call to the database and asking for a
/// publication may take their whole time-outs.
const RESERVE: Duration = Duration::from_secs(16);
