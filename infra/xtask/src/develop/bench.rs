//! Measures on a stack of its own: `tests/bench`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::database::postgres::Durability;
use crate::develop::build;
use crate::develop::stack::Stack;
use crate::develop::stack::options::StackOptions;
use crate::place::Place;

pub(crate) fn run(quick: bool, largest: u32, parts: &[String], port_base: u16) -> Result<ExitCode> {
    let place = Place::bench()?;
    let options = StackOptions { port_base, reset: true, ..StackOptions::default() };
    let stack = Stack::start(&place, &options, Durability::Scratch)?;
    let mut bench = Command::new("cargo");
    bench.args(["test", "--locked", "--quiet", "--package", "tests", "--bench", "bench", "--"]);
    if quick {
        bench.arg("--quick");
    } else if parts.is_empty() {
        bench.args(["--largest", &largest.to_string()]);
    }
    bench.args(parts);
    bench
        .current_dir(place.project(""))
        .env("RUST_BACKTRACE", "0")
        .env("STACK_JSON", place.stack_file())
        .env("LAMBDA_DIR", build::binaries(&place));
    let succeeded = bench.status().context("cargo can't be started")?.success();
    drop(stack);
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
