//! Serves the admin page: `GET /`, `GET /assets/config.json`, `GET /assets/{version}/{file}`.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | what the page gets to know about this deployment, read from the environment |
//! | `anon_key` | the project's public key, and what must not be taken for one |
//! | `assets` | the page's files, compressed and compiled into the binary by `build.rs` |
//! | `encoding` | in which form they are sent |
//! | `policy` | what the page may load, and which servers it may call |
//! | `handler` | which answer a request gets |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod anon_key;
mod assets;
mod config;
mod encoding;
mod handler;
mod policy;

use std::process::ExitCode;

use lambda_http::{Error, Request};

use crate::{config::Config, handler::Dashboard};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::run(async {
        let dashboard = &Dashboard::new(&Config::from_env()?)?;
        http_api::serve(async |request: Request| dashboard.answer(&request)).await?;
        Ok::<_, Error>(())
    })
    .await
}
