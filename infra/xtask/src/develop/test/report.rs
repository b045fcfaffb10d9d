//! What all suites counted and took.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::develop::test::suites::{Counts, Suite};
use crate::progress;

/// Filled by lanes that run beside each other.
#[derive(Default)]
pub(crate) struct Report(Mutex<Sums>);

#[derive(Default)]
struct Sums {
    total: Counts,
    noted: Vec<Suite>,
    /// What each suite took, one line each.
    seconds: String,
}

impl Report {
    pub(crate) fn note(&self, suite: Suite, counts: Counts, took: Duration) {
        progress::tell(&format!("{}: {counts}", suite.name()));
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.noted.push(suite);
        let _ = writeln!(sums.seconds, "{:>6}  {}", took.as_secs(), suite.name());
        sums.total += counts;
    }

    /// Whether a suite has been noted.
    pub(crate) fn has(&self, suite: Suite) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).noted.contains(&suite)
    }

    /// Prints the sums, the counts as the last line: scripts read it.
    pub(crate) fn tell(self) -> ExitCode {
        let Sums { total, seconds, .. } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("\nseconds, builds and stacks included:\n{seconds}");
        println!("{total}");
        if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
