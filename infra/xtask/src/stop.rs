//! Ctrl-C, TERM and HUP ask the program to stop; whoever waits looks here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Long enough to be idle, short enough that nobody notices.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| REQUESTED.store(true, Ordering::SeqCst)).context("can't listen for Ctrl-C")
}

pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Sleeps, and fails as soon as a stop is asked for.
pub(crate) fn sleep(how_long: Duration) -> Result<()> {
    let until = Instant::now() + how_long;
    loop {
        if requested() {
            bail!("interrupted");
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}
