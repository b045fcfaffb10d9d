//! Runs the suites one after the other and adds up.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::docker::Docker;
use crate::keys::Keys;
use crate::options::StackOptions;
use crate::place::Place;
use crate::postgres::{Durability, Postgres};
use crate::process::{find, run_logged, tail};
use crate::progress::Step;
use crate::sam_local::SamLocal;
use crate::services::{Services, free_port};
use crate::stack::Stack;
use crate::suites::{Counts, Kind, Suite};
use crate::{build, setup};

/// First of the ports of the tests' stack, unless another is asked for.
pub(crate) const PORT_BASE: u16 = 8500;
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

pub(crate) fn run(named: &[Suite], port_base: u16) -> Result<ExitCode> {
    let suites = if named.is_empty() { Suite::all() } else { named.to_vec() };
    let place = Place::test()?;
    let mut runner =
        Runner { place, port_base, stack: None, kind: Kind::Ordinary, was_used: false, total: Counts::default() };
    for suite in suites {
        let counts = match runner.run(suite) {
            Ok(counts) => counts,
            Err(error) if crate::stop::requested() => return Err(error),
            Err(error) => {
                println!("{}: {error:#}", suite.name());
                Counts { passed: 0, failed: 1 }
            }
        };
        println!("{}: {} passed, {} failed", suite.name(), counts.passed, counts.failed);
        runner.total.passed += counts.passed;
        runner.total.failed += counts.failed;
    }
    let total = runner.total;
    drop(runner);
    // The last line: scripts read it.
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Runner {
    place: Place,
    port_base: u16,
    /// Started by the first suite that needs it, shared by the next.
    stack: Option<Stack>,
    kind: Kind,
    /// Whether the stack has seen the end-to-end suite.
    was_used: bool,
    total: Counts,
}

impl Runner {
    fn run(&mut self, suite: Suite) -> Result<Counts> {
        if suite == Suite::Traces && !self.was_used {
            println!("traces: runs after end-to-end, which comes first therefore");
            let counts = self.run(Suite::EndToEnd)?;
            println!("end-to-end: {} passed, {} failed", counts.passed, counts.failed);
            self.total.passed += counts.passed;
            self.total.failed += counts.failed;
        }
        self.was_used |= suite == Suite::EndToEnd;
        let mut command = suite.command(&self.place);
        let mut docker = None;
        match suite {
            Suite::Mends => setup::for_stack(&self.place)?,
            Suite::Sam => {
                setup::for_stack(&self.place)?;
                setup::for_sam(&self.place)?;
            }
            Suite::Database => return self.with_database(suite, command),
            Suite::Browser => match browser() {
                Ok(found) => drop(command.envs(found)),
                Err(missing) if std::env::var_os("CI").is_none() => {
                    println!("browser: skipped: {missing}");
                    return Ok(Counts::default());
                }
                Err(missing) => return Err(missing),
            },
            Suite::SamLocal => match Docker::running() {
                Ok(found) => docker = Some(found),
                Err(missing) if std::env::var_os("CI").is_none() => {
                    println!("sam-local: skipped: {missing:#}");
                    return Ok(Counts::default());
                }
                Err(missing) => return Err(missing),
            },
            _ => {}
        }
        if let Some(kind) = suite.stack() {
            command
                .env("STACK_JSON", self.stack(kind)?)
                .env("LAMBDA_DIR", build::binaries(&self.place))
                .env("ANSWERS_LOG", self.place.log("answers")?);
        }
        let sam = match (docker, &self.stack) {
            (Some(docker), Some(stack)) => Some(SamLocal::start(&self.place, stack, docker)?),
            _ => None,
        };
        if let Some(sam) = &sam {
            sam.tell(&mut command);
        }
        let counts = run_suite(&self.place, suite, command)?;
        drop(sam);
        if let Some(stack) = &mut self.stack {
            stack.check()?;
        }
        Ok(counts)
    }

    fn with_database(&self, suite: Suite, mut command: Command) -> Result<Counts> {
        setup::for_stack(&self.place)?;
        command.env("TEST_POSTGREST", self.place.postgrest()?);
        let place = Place::scratch_database()?;
        let _lock = place.lock()?;
        let keys = Keys::load_or_make(&place)?;
        let postgres = Postgres::new(&place, free_port()?, &keys);
        postgres.wipe()?;
        let mut services = Services::default();
        postgres.start(&mut services, Durability::Scratch)?;
        command.env("TEST_DATABASE_URL", postgres.url());
        let counts = run_suite(&self.place, suite, command);
        services.stop();
        postgres.wipe()?;
        counts
    }

    /// The stack of the tests; those of different kinds take turns.
    fn stack(&mut self, kind: Kind) -> Result<PathBuf> {
        if self.kind != kind {
            self.stack = None;
            self.kind = kind;
            self.was_used = false;
        }
        if self.stack.is_none() {
            let options = StackOptions {
                port_base: self.port_base,
                reset: true,
                brisk: kind == Kind::Brisk,
                by_sam: kind == Kind::BySam,
                ..StackOptions::default()
            };
            let _ = fs::remove_file(self.place.log("answers")?);
            self.stack = Some(Stack::start(&self.place, &options, Durability::Scratch)?);
        }
        Ok(self.place.stack_file())
    }
}

fn run_suite(place: &Place, suite: Suite, command: Command) -> Result<Counts> {
    let mut step = Step::start(&format!("Testing: {}", suite.name()));
    let log = place.log(&format!("test-{}", suite.name()))?;
    let succeeded = run_logged(&log, command, &mut |line| step.note(line))?;
    let output = fs::read_to_string(&log).with_context(|| format!("can't read {}", log.display()))?;
    let counts = suite.count(&output, succeeded);
    if succeeded {
        step.done();
    } else {
        drop(step);
        println!(
            "{}: failed\n\n{}\n{}\n\nwhole output: {}",
            suite.name(),
            failures(&output),
            tail(&log),
            log.display()
        );
    }
    Ok(counts)
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

/// Where the browser and its driver are, as the browser tests are told.
fn browser() -> Result<Vec<(&'static str, PathBuf)>> {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_file());
    let chromium = given("CHROMIUM").or_else(|| CHROMIUM.into_iter().find_map(find));
    let driver = given("CHROMEDRIVER").or_else(|| find("chromedriver"));
    match (chromium, driver) {
        (Some(chromium), Some(driver)) => Ok(vec![("CHROMIUM", chromium), ("CHROMEDRIVER", driver)]),
        _ => bail!("Chromium or its driver is missing: apt-get install chromium chromium-driver"),
    }
}

#[cfg(test)]
mod tests {
    use super::failures;

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
