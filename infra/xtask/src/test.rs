//! Runs the suites one after the other and adds up.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::docker::Docker;
use crate::keys::Keys;
use crate::options::StackOptions;
use crate::place::Place;
use crate::postgres::{Durability, Postgres};
use crate::process::{Ended, find, run_within, step, tail};
use crate::progress::Step;
use crate::sam_local::SamLocal;
use crate::services::{Services, free_port};
use crate::stack::Stack;
use crate::suites::{Counts, Kind, Suite};
use crate::{build, setup};

/// First of the ports of the tests' stack, unless another is asked for.
pub(crate) const PORT_BASE: u16 = 8500;
/// Stacks of the fault tests.
const FAULT_STACKS: u16 = 3;
/// A stack has seven ports.
const PORTS_OF_A_STACK: u16 = 10;
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

pub(crate) fn run(named: &[Suite], port_base: u16) -> Result<ExitCode> {
    let suites = if named.is_empty() { Suite::all() } else { named.to_vec() };
    let place = Place::test()?;
    let mut runner = Runner {
        place,
        port_base,
        stack: None,
        kind: Kind::Ordinary,
        was_used: false,
        total: Counts::default(),
        seconds: String::new(),
    };
    for suite in suites {
        let begun = Instant::now();
        let counts = match runner.run(suite) {
            Ok(counts) => counts,
            Err(error) if crate::stop::requested() => return Err(error),
            Err(error) => {
                println!("{}: {error:#}", suite.name());
                Counts { failed: 1, ..Counts::default() }
            }
        };
        runner.note(suite, counts, begun.elapsed());
    }
    let (total, seconds) = (runner.total, std::mem::take(&mut runner.seconds));
    drop(runner);
    println!("\nseconds, builds and stacks included:\n{seconds}");
    // The last line: scripts read it.
    println!("{total}");
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
    /// What each suite took, one line each.
    seconds: String,
}

impl Runner {
    fn note(&mut self, suite: Suite, counts: Counts, took: Duration) {
        println!("{}: {counts}", suite.name());
        let _ = writeln!(self.seconds, "{:>6}  {}", took.as_secs(), suite.name());
        self.total += counts;
    }

    fn run(&mut self, suite: Suite) -> Result<Counts> {
        if suite == Suite::Traces && !self.was_used {
            println!("traces: runs after end-to-end, which comes first therefore");
            let begun = Instant::now();
            let counts = self.run(Suite::EndToEnd)?;
            self.note(Suite::EndToEnd, counts, begun.elapsed());
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
            Suite::Contract if !descriptions(&self.place).is_file() => {
                // Not part of the repository: nobody can be asked to have them.
                println!("contract: skipped: GHL's OpenAPI files are not in ../shared/ghl-openapi beside the project");
                return Ok(Counts::SKIPPED);
            }
            Suite::Database => return self.with_database(suite, command),
            Suite::Faults if whole() => return self.faults_side_by_side(),
            Suite::Browser => match browser() {
                Ok(found) => drop(command.envs(found)),
                Err(missing) if std::env::var_os("CI").is_none() => {
                    println!("browser: skipped: {missing}");
                    return Ok(Counts::SKIPPED);
                }
                Err(missing) => return Err(missing),
            },
            Suite::SamLocal => match Docker::running() {
                Ok(found) => docker = Some(found),
                Err(missing) if std::env::var_os("CI").is_none() => {
                    println!("sam-local: skipped: {missing:#}");
                    return Ok(Counts::SKIPPED);
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

    /// Fault cases mostly wait, so several stacks wait side by side. Whoever is free takes the next case; the first one begins
    /// with the soak.
    fn faults_side_by_side(&mut self) -> Result<Counts> {
        self.stack = None;
        let claims = self.place.own("claims");
        let _ = fs::remove_dir_all(&claims);
        fs::create_dir_all(&claims)?;
        let mut lanes = Vec::new();
        for number in 1..=FAULT_STACKS {
            let place = if number == 1 { self.place.clone() } else { Place::test_beside(number)? };
            let port_base =
                self.port_base.checked_add((number - 1) * PORTS_OF_A_STACK).context("--port-base is too high")?;
            let options = StackOptions { port_base, reset: true, brisk: true, ..StackOptions::default() };
            lanes.push(Stack::start(&place, &options, Durability::Scratch)?);
        }
        let command = |filters: &[&str], stack: &Stack| -> Result<(PathBuf, Command)> {
            let mut command = Suite::Faults.command(&self.place);
            command.args(filters).env("STACK_JSON", stack.place().stack_file()).env("FAULT_CLAIMS", &claims);
            Ok((stack.place().log(&format!("test-faults-{}", filters.concat()))?, command))
        };
        // Compiled before they start side by side.
        let mut building = Command::new("cargo");
        building
            .args(["test", "--locked", "--no-run", "--package", "tests", "--test", "faults"])
            .current_dir(self.place.project(""));
        step(&self.place, "Building the fault tests", "test-faults-build", building, "Mend what the compiler says")?;

        let mut parts = Vec::new();
        for (number, stack) in lanes.iter().enumerate() {
            let soak = if number == 0 { vec![command(&["soak"], stack)?] } else { Vec::new() };
            parts.push(soak.into_iter().chain([command(&["matrix"], stack)?]).collect::<Vec<_>>());
        }
        let progress = Step::start(&format!("Testing: faults, on {FAULT_STACKS} stacks"));
        let counts = thread::scope(|scope| {
            let running: Vec<_> = parts.into_iter().map(|lane| scope.spawn(|| run_in_turn(lane))).collect();
            let mut counts = Counts::default();
            for lane in running {
                counts += lane.join().unwrap_or_else(|_| bail!("a part of the fault tests panicked"))?;
            }
            anyhow::Ok(counts)
        })?;
        if counts.failed == 0 {
            progress.done();
        }
        for stack in &mut lanes {
            stack.check()?;
        }
        Ok(counts)
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
    let ended = run_within(Some(suite.limit()), &log, command, &mut |line| step.note(line))?;
    if ended == Ended::Well {
        step.done();
    } else {
        drop(step);
    }
    judge(suite, &log, ended)
}

/// Parts of the fault tests, one after the other.
fn run_in_turn(parts: Vec<(PathBuf, Command)>) -> Result<Counts> {
    let mut counts = Counts::default();
    for (log, command) in parts {
        let ended = run_within(Some(Suite::Faults.limit()), &log, command, &mut |_| {})?;
        counts += judge(Suite::Faults, &log, ended)?;
    }
    Ok(counts)
}

/// Counts what a suite printed, and shows what failed.
fn judge(suite: Suite, log: &Path, ended: Ended) -> Result<Counts> {
    let output = fs::read_to_string(log).with_context(|| format!("can't read {}", log.display()))?;
    let counts = suite.count(&output, ended == Ended::Well);
    if ended == Ended::TooLate {
        let minutes = suite.limit().as_secs() / 60;
        println!(
            "{}: ended after {minutes} minutes, in the midst of: {}",
            suite.name(),
            unfinished(&output).join(", ")
        );
    }
    if counts.failed > 0 {
        println!("{}: failed\n\n{}\n{}\n\nwhole output: {}", suite.name(), failures(&output), tail(log), log.display());
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

/// GHL's own descriptions, which the contract test compares with.
fn descriptions(place: &Place) -> PathBuf {
    place.project("../shared/ghl-openapi/payments.json")
}

/// Whether everything is tested, or a minute's worth of what takes long.
fn whole() -> bool {
    ["CI", "TEST_ALL"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
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
