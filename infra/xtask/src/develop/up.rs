//! `up`: the whole system, until Ctrl-C.

use std::process::ExitCode;

use anyhow::Result;

use crate::database::postgres::Durability;
use crate::develop::stack::Stack;
use crate::develop::stack::options::StackOptions;

pub(crate) fn run(options: &StackOptions) -> Result<ExitCode> {
    let place = options.place()?;
    let mut stack = Stack::start(&place, options, Durability::Kept)?;
    stack.introduce()?;
    stack.stay()?;
    eprintln!("stopping ...");
    drop(stack);
    Ok(ExitCode::SUCCESS)
}
