//! The pulse of a run: lists pages, dispatches orders, ends the cool-down. Publishes progress, starts scheduled runs, and resends
//! lost pulses.
//!
//! | module | what it is for |
//! |---|---|
//! | `handler` | the events: pulses, publications, or a schedule's event |
//! | `pulse` | one pulse: what is due in each state of the run |
//! | `listed` | how far reading came |
//! | `pages` | listing: page after page within the rate limit |
//! | `refunds` | transactions: what was refunded without a new date |
//! | `publish` | status document and frames |
//! | `schedule` | the incremental, full and watch schedules |
//! | `worker` | the state, and what more than one of these does: dispatching, ending a run early |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod handler;
mod listed;
mod pages;
mod publish;
mod pulse;
mod refunds;
mod schedule;
mod worker;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use domain::run::{LONGEST_LISTING, PULSE_EVERY};
use lambda_runtime::{LambdaEvent, service_fn};
use publish::{Publisher, PublisherConfig};
use queues::Queue;
use runs::Announcements;
use serde_json::Value;
use settings::{Env, aws_config};
use wiring::HttpClient;
use worker::{Bulk, RunWorker};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_runtime::Error> {
    let env = Env::process();
    let http = HttpClient::new()?;
    let fetcher = orders::setup::fetcher(&env, http.clone())?;
    let (database, settings) = (wiring::database(&env, http)?, runs::setup::run_settings(&env)?);
    let urls = [env.url("RUNS_QUEUE_URL")?, env.url("ORDERS_BULK_QUEUE_URL")?, env.url("TICKETS_QUEUE_URL")?];
    let [runs, bulk, tickets] = urls;
    let interval = env.seconds("PULSE_SECONDS", PULSE_EVERY)?;
    let publisher_config = PublisherConfig::from_env(&env)?;
    let config = aws_config().await;
    let sqs = queues::client(&config);
    let worker = RunWorker {
        database,
        fetcher,
        settings,
        interval,
        pace: wiring::pace(&env)?,
        pulses: runs::setup::pulses(&env, Queue::new(sqs.clone(), runs.clone()))?,
        announcements: Announcements::new(Queue::new(sqs.clone(), runs)),
        bulk: Bulk { one: Queue::new(sqs.clone(), bulk.clone()), several: Queue::new(sqs.clone(), bulk) },
        tickets: Queue::new(sqs, tickets),
        publisher: Publisher::connect(&config, &publisher_config),
    };
    let handle = async |event: LambdaEvent<Value>| {
        let ends_at = event.context.deadline();
        let latest = deadline::before(ends_at, RESERVE).min(Instant::now() + LONGEST_LISTING);
        let work = worker.handle(event.payload, latest);
        let work = async {
            // Only a schedule's failure comes here; Lambda tries the event again.
            work.await.inspect_err(|error| {
                tracing::error!(error = telemetry::chain(error.as_ref()), "A schedule's event failed");
            })
        };
        telemetry::invocation(&event.context.request_id, None, deadline::in_time(ends_at, work)).await?
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// Nothing new starts in the last part of an invocation: a call to GHL may take its whole time-out of 20 s.
const RESERVE: Duration = Duration::from_secs(30);
