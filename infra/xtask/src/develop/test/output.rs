//! What a suite printed: how many passed, what failed, and what it was at when its time was over.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::develop::test::suites::{Counts, Suite};
use crate::process::{Ended, tail};
use crate::progress;

/// Counts what a suite printed, and shows what failed.
pub(crate) fn judge(suite: Suite, log: &Path, ended: Ended) -> Result<Counts> {
    let output = fs::read_to_string(log).with_context(|| format!("can't read {}", log.display()))?;
    let counts = suite.count(&output, ended == Ended::Well);
    if ended == Ended::TooLate {
        let minutes = suite.limit().as_secs() / 60;
        let midst = unfinished(&output).join(", ");
        progress::tell(&format!("{}: ended after {minutes} minutes, in the midst of: {midst}", suite.name()));
    }
    if ended == Ended::Well && counts.failed > 0 {
        progress::tell(&format!("{}: no test ran", suite.name()));
    } else if counts.failed > 0 {
        let (failures, tail) = (failures(&output), tail(log));
        progress::tell(&format!("{}: failed\n\n{failures}\n{tail}\n\nwhole output: {}", suite.name(), log.display()));
    }
    Ok(counts)
}

/// The tests that have begun and not ended, as far as libtest tells: the one it is at, and those it has called slow.
fn unfinished(output: &str) -> Vec<&str> {
    let mut begun: Vec<&str> = Vec::new();
    for line in output.lines().filter_map(|line| line.strip_prefix("test ")) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        if rest.starts_with("has been running") || rest.trim() == "..." {
            begun.push(name);
        } else {
            begun.retain(|other| *other != name);
        }
    }
    begun
}

/// The names of the failed tests and what each panicked with, without backtraces, which push it out of a log's end.
fn failures(output: &str) -> String {
    const MOST_LINES: usize = 12;
    const MOST_CHARS: usize = 1_000;
    let mut told = String::new();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        let panicked = line.starts_with("thread '") && line.contains("panicked at");
        if panicked || (line.starts_with("test ") && line.ends_with("FAILED")) {
            let _ = writeln!(told, "{line}");
        }
        if panicked {
            let message = lines.by_ref().take_while(|line| !line.is_empty() && !line.starts_with("stack backtrace"));
            for line in message.take(MOST_LINES) {
                let _ = writeln!(told, "  {}", line.chars().take(MOST_CHARS).collect::<String>());
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::{failures, unfinished};

    #[test]
    fn the_test_that_hangs_is_named() {
        let output = "test a ... ok\ntest b has been running for over 60 seconds\ntest b ... ok\n\
                      test c has been running for over 60 seconds\ntest d ... FAILED\ntest e ... ";
        assert_eq!(unfinished(output), ["c", "e"]);
    }

    #[test]
    fn a_failed_test_is_told_with_its_message_and_without_its_backtrace() {
        let output = "test a ... ok\ntest b ... FAILED\n\nthread 'b' (7) panicked at b.rs:3:5:\nleft: 1\nright: 2\n\
                      stack backtrace:\n   0: core\n\ntest result: FAILED. 1 passed";
        assert_eq!(
            failures(output),
            "test b ... FAILED\nthread 'b' (7) panicked at b.rs:3:5:\n  left: 1\n  right: 2\n"
        );
    }
}
