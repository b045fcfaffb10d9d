//! The commands that run, test and drive ghl-sync.
//!
//! | module | what it is for |
//! |---|---|
//! | [`cli`] | the commands and their options |
//! | [`develop`] | what a developer does on this machine: `up`, `demo`, `test`, `bench`, `migration new`, ... |
//! | [`operate`] | what an operator does to a deployed stack: `configure`, `migrate`, `redrive` |
//!
//! Both use the rest, and neither uses the other:
//!
//! | module | what it is for |
//! |---|---|
//! | [`place`], [`setup`] | where things are; installs what must be there before anything starts |
//! | [`process`], [`progress`], [`stop`] | how long work is run, shown and interrupted |
//! | [`leftovers`] | ends what a killed one of these has left running |
//! | [`services`], [`database`] | servers of this machine; Postgres, and migrations of any database |
//! | [`account`] | what an AWS account's size means for a deployment |
//! | [`stack_file`], [`http`] | finds the running stack; talks to it and to the real GHL and Supabase |
//!
//! Nothing is written outside the project's `target/`, but for cargo's, pip's and npm's own caches.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod account;
mod cli;
mod database;
mod develop;
mod http;
mod leftovers;
mod operate;
mod place;
mod process;
mod progress;
mod services;
mod setup;
mod stack_file;
mod stop;

use std::process::ExitCode;

fn main() -> ExitCode {
    let result = stop::install().and_then(|()| cli::run());
    match result {
        Ok(code) => code,
        Err(error) if stop::requested() => {
            eprintln!("stopped ({error})");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
