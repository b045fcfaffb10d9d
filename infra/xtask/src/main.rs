//! The commands that run, test and drive ghl-sync.
//!
//! | module | what it is for |
//! |---|---|
//! | [`cli`], [`options`] | commands, and how a stack is made |
//! | [`setup`], [`build`] | what must be there before anything starts |
//! | [`stack`] | puts the whole system up and takes it down; [`starting`] knows each server's settings |
//! | [`postgres`], [`cloud`], [`services`] | the servers themselves |
//! | [`demo`], [`drive`] | what an admin does, from the terminal |
//! | [`migrate`], [`migration`] | applies the migrations to a database; writes the next one, from what [`scratch`] databases hold |
//! | [`configure`], [`redrive`] | what an operator does to a deployed stack, with [`aws`], [`supabase`] and [`ask`] |
//! | [`test`], [`bench`] | runs every suite and adds up; measures |
//! | [`sam_local`] | the functions in containers, by SAM; [`docker`], [`forward`] are what that needs |
//! | [`progress`], [`process`], [`stop`] | how long work is shown, run and interrupted |
//!
//! Nothing is written outside the project's `target/`, but for cargo's, pip's and npm's own caches.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod ask;
mod aws;
mod bench;
mod build;
mod cli;
mod cloud;
mod configure;
mod demo;
mod docker;
mod drive;
mod forward;
mod http;
mod keys;
mod migrate;
mod migration;
mod options;
mod place;
mod postgres;
mod process;
mod progress;
mod redrive;
mod sam_local;
mod scratch;
mod secret;
mod services;
mod setup;
mod stack;
mod stack_file;
mod starting;
mod stop;
mod suites;
mod supabase;
mod test;

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
