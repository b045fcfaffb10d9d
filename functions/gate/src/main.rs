//! Admits a ticket once and reports a second scan: `POST /api/qrapp/tickets/{id}/validate`. For admins also `/undo`, `/cancel` and
//! `/reinstate`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod action;
mod answers;
mod bodies;
mod handler;

use std::process::ExitCode;

use handler::Gate;
use lambda_http::{Error, Request};
use settings::Env;
use wiring::HttpClient;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::run(start()).await
}

async fn start() -> Result<(), Error> {
    let gate = Gate { database: wiring::database(&Env::process(), HttpClient::new()?)? };
    http_api::serve(|request: Request| gate.handle(request)).await
}
