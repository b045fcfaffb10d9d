//! The README's pictures: the page on a stack of its own, with invented orders.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::database::postgres::Durability;
use crate::develop::stack::Stack;
use crate::develop::stack::options::StackOptions;
use crate::develop::test::suites::Suite;
use crate::develop::test::{browser, run_suite};
use crate::place::Place;
use crate::{process, setup};

/// First of the ports of the stack, unless another is asked for.
pub(crate) const PORT_BASE: u16 = 8700;
/// In the repository.
const IMAGES: &str = "infra/images";

pub(crate) fn run(port_base: u16) -> Result<ExitCode> {
    let place = Place::beside("screenshots")?;
    let browser = browser()?;
    let options = StackOptions { port_base, reset: true, ..StackOptions::default() };
    let mut stack = Stack::start(&place, &options, Durability::Scratch)?;
    let images = place.project(IMAGES);
    let mut tests = Suite::Browser.command(&place);
    tests.args(["--ignored", "screenshots::"]).envs(browser).env("AXE", setup::for_browser(&place)?);
    tests.env("STACK_JSON", place.stack_file()).env("IMAGES", &images);
    if run_suite(&place, Suite::Browser, tests)?.failed > 0 {
        bail!("the pictures couldn't be taken");
    }
    stack.check()?;
    drop(stack);

    let mut palette = Command::new("node");
    palette.arg(place.project("infra/xtask/src/develop/palette.mjs")).arg(&images);
    process::step(&place, "Making them small", "palette", palette, "Is Node.js 18 or newer there?")?;
    for entry in fs::read_dir(&images).with_context(|| format!("can't read {}", images.display()))? {
        let entry = entry?;
        println!("{:>4} kB  {IMAGES}/{}", entry.metadata()?.len() / 1000, entry.file_name().to_string_lossy());
    }
    Ok(ExitCode::SUCCESS)
}
