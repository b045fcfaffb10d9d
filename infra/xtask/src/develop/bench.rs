//! Measures on a stack of its own: `tests/bench`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::database::postgres::Durability;
use crate::develop::build;
use crate::develop::stack::Stack;
use crate::develop::stack::options::StackOptions;
use crate::develop::test::suites::Suite;
use crate::place::Place;

/// First of the ports of the benchmark's stack, unless another is asked for.
pub(crate) const PORT_BASE: u16 = 8600;

/// The parts that need no stack: they compute.
const WITHOUT_STACK: [&str; 1] = ["simulation"];

pub(crate) fn run(quick: bool, largest: u32, parts: &[String], port_base: u16) -> Result<ExitCode> {
    let needs_none = !parts.is_empty() && parts.iter().all(|part| WITHOUT_STACK.contains(&part.as_str()));
    let (mut bench, stack) = match (quick, needs_none) {
        (true, _) => counts(port_base).map(|(bench, stack)| (bench, Some(stack)))?,
        (false, true) => (Suite::Counts.command(&Place::bench()?), None),
        (false, false) => start(port_base).map(|(bench, stack)| (bench, Some(stack)))?,
    };
    if !quick && parts.is_empty() {
        bench.args(["--largest", &largest.to_string()]);
    }
    bench.args(parts);
    let succeeded = bench.status().context("cargo can't be started")?.success();
    drop(stack);
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What fails if a count that doesn't depend on the machine has grown, and the stack that it needs.
pub(crate) fn counts(port_base: u16) -> Result<(Command, Stack)> {
    let (mut bench, stack) = start(port_base)?;
    bench.arg("--quick");
    Ok((bench, stack))
}

fn start(port_base: u16) -> Result<(Command, Stack)> {
    let place = Place::bench()?;
    let options = StackOptions { port_base, reset: true, ..StackOptions::default() };
    let stack = Stack::start(&place, &options, Durability::Scratch)?;
    let mut bench = Suite::Counts.command(&place);
    bench.env("RUST_BACKTRACE", "0").env("STACK_JSON", place.stack_file()).env("LAMBDA_DIR", build::binaries(&place));
    Ok((bench, stack))
}
