//! Starts the fake GHL and stops it on Ctrl-C or TERM.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use fake_ghl::{FakeGhl, Options};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: a person at a terminal has to act on it, a backtrace would hide it.
            eprintln!("fake-ghl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("the TERM signal can't be watched")?;
    let fake = FakeGhl::start(options).await?;
    println!("fake-ghl listening on {}", fake.url());
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        _ = terminate.recv() => {}
    }
    fake.stop().await;
    Ok(())
}
