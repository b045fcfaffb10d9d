//! Fetches orders within the rate limit and stores them, then hands every one over to `tickets`.
//!
//! | module | what it is for |
//! |---|---|
//! | `batch` | the messages of a batch, grouped by order |
//! | `worker` | the steps of an order: fetch, validity, upsert, hand-over to `tickets` |
//! | `failed` | what happens to an order that couldn't be read or stored |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod batch;
mod failed;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use failed::Retries;
use lambda_runtime::{LambdaEvent, service_fn};
use orders::Products;
use queues::Queue;
use queues::batch::SqsEvent;
use runs::Announcements;
use settings::{Env, aws_config};
use wiring::HttpClient;
use worker::{HandOver, Worker};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), lambda_runtime::Error> {
    let env = Env::process();
    let http = HttpClient::new()?;
    let fetcher = orders::setup::fetcher(&env, http.clone())?;
    let database = wiring::database(&env, http)?;
    let rules = orders::setup::rules(&env)?;
    let urls = [env.url("ORDERS_QUEUE_URL")?, env.url("ORDERS_BULK_QUEUE_URL")?, env.url("TICKETS_QUEUE_URL")?];
    let ([orders, bulk, tickets], runs) = (urls, env.url("RUNS_QUEUE_URL")?);
    let settle = env.milliseconds("WEBHOOK_SETTLE_MS", SETTLE)?;
    let sqs = queues::client(&aws_config().await);
    let worker = Worker {
        database,
        fetcher,
        products: Products::default(),
        rules,
        retries: Retries {
            orders: Queue::new(sqs.clone(), orders),
            bulk: Queue::new(sqs.clone(), bulk),
            pace: wiring::pace(&env)?,
        },
        tickets: HandOver { one: Queue::new(sqs.clone(), tickets.clone()), several: Queue::new(sqs.clone(), tickets) },
        announcements: Announcements::new(Queue::new(sqs, runs)),
        settle,
    };
    let handle = async |event: LambdaEvent<SqsEvent>| {
        let ends_at = event.context.deadline();
        let work = deadline::in_time(ends_at, worker.handle(event.payload, deadline::before(ends_at, RESERVE)));
        Ok::<_, lambda_runtime::Error>(telemetry::invocation(&event.context.request_id, None, work).await?)
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// How long a worker waits for the other webhooks of a burst: GHL sends several per change.
const SETTLE: Duration = Duration::from_millis(500);
/// Nothing new starts within this time before Lambda ends the invocation: calls in flight may take their whole time-out.
const RESERVE: Duration = Duration::from_secs(30);
