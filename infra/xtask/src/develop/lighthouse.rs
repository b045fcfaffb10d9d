//! Lighthouse, Google's judge of pages, on the dashboard of the running stack.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::develop::sign_in;
use crate::develop::test::chromium;
use crate::place::Place;
use crate::setup;
use crate::stack_file::StackFile;

/// Judges the page signed out and signed in, and prints the figures. Status 1 if one of them is below 100.
pub(crate) fn run(name: Option<&str>) -> Result<ExitCode> {
    let place = name.map_or_else(Place::local, Place::beside)?;
    let file = StackFile::read(&place)?;
    let chromium = chromium().context("Chromium is missing: apt-get install chromium")?;
    let modules = setup::for_lighthouse(&place)?;
    let reports = place.own("lighthouse");
    fs::create_dir_all(&reports).with_context(|| format!("can't create {}", reports.display()))?;
    let page = file.dashboard_url.split('#').next().unwrap_or_default();
    let mut lighthouse = Command::new("node");
    lighthouse
        .arg(place.project("infra/xtask/src/develop/lighthouse.mjs"))
        .arg(&reports)
        .env("MODULES", modules)
        .env("CHROMIUM", chromium)
        .env("PAGE", page)
        .env("SIGN_IN", sign_in::address(&file, "admin")?);
    let succeeded = lighthouse.status().context("node can't be started")?.success();
    println!("reports: {}", reports.display());
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
