//! Runs the suites, those that mostly wait beside each other, and adds up.
//!
//! | module | what it is for |
//! |---|---|
//! | [`wanted`] | what the command line asks for |
//! | [`lanes`] | which suites run beside each other, each lane on a stack of its own |
//! | [`far`] | a database in another region, for a while |
//! | [`report`] | what all suites counted and took |
//! | [`suites`] | the suites, and how to read what their runners print |
//! | [`output`] | what a suite printed |

mod far;
mod lanes;
mod output;
mod report;
pub(crate) mod suites;
pub(crate) mod wanted;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::far::Far;
use self::output::judge;
use self::report::Report;
use self::wanted::Wanted;
use crate::account;
use crate::database::postgres::{Durability, Postgres, debian_15};
use crate::develop::sam_local::SamLocal;
use crate::develop::sam_local::docker::Docker;
use crate::develop::stack::Stack;
use crate::develop::stack::keys::StackKeys;
use crate::develop::stack::options::StackOptions;
use crate::develop::test::suites::{Counts, Kind, Suite};
use crate::develop::{bench, build};
use crate::place::Place;
use crate::process::{Ended, find, run_within, step};
use crate::progress::{self, Step};
use crate::services::{Services, free_port};
use crate::setup;

/// First of the ports of the tests' stack, unless another is asked for.
pub(crate) const PORT_BASE: u16 = 8500;
/// Stacks on which the fault tests run at the same time. A case mostly waits for time-outs, so three fit on two cores.
const FAULT_STACKS: u16 = 3;
/// A stack has seven ports.
const PORTS_OF_A_STACK: u16 = 10;
/// The ports of the stack that is killed come after those of the lanes and of the fault tests' stacks.
const RESTARTS: u16 = 50;
/// Names the folder with GHL's API descriptions.
const DESCRIPTIONS: &str = "GHL_OPENAPI";
/// The tests of `contract` that need none of them: GHL's own client has its own.
const WITHOUT_DESCRIPTIONS: [&str; 3] = ["--", "sdk::", "declarations::"];
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The world of the tests' stacks.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// Of the account's executions.
    pub(crate) concurrency: u32,
    /// Whether the database is in another region.
    pub(crate) far: bool,
    /// Whether tests that take minutes are run, too.
    pub(crate) long: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { concurrency: account::SMALLEST, far: false, long: false }
    }
}

impl Setting {
    /// How a stack is made in it.
    fn stack(self, port_base: u16) -> StackOptions {
        StackOptions { port_base, reset: true, concurrency: self.concurrency, far: self.far, ..StackOptions::default() }
    }
}

pub(crate) fn run(wanted: &Wanted, port_base: u16, setting: Setting) -> Result<ExitCode> {
    let report = Report::default();
    let mut runner = Runner::new(Place::test()?, port_base, setting, wanted.names.clone());
    for group in lanes::of(wanted) {
        match group.as_slice() {
            [lane] => runner.run_lane(lane, &report)?,
            lanes => match runner.run_beside(lanes, &report) {
                Err(error) if crate::stop::requested() => return Err(error),
                Err(error) => {
                    // Those that haven't ended can't.
                    progress::tell(&format!("{error:#}"));
                    for suite in lanes.iter().flatten().filter(|suite| !report.has(**suite)) {
                        report.note(*suite, Counts::FAILED, Duration::ZERO);
                    }
                }
                Ok(()) => {}
            },
        }
    }
    drop(runner);
    Ok(report.tell())
}

struct Runner {
    /// Parts of the names of the tests that are wanted; none stands for all.
    names: Vec<String>,
    place: Place,
    port_base: u16,
    /// Of the stacks.
    setting: Setting,
    /// Started by the first suite that needs it, shared by the next.
    stack: Option<Stack>,
    kind: Kind,
    /// Whether the stack has seen the end-to-end suite.
    was_used: bool,
    /// Those of the lanes beside this one, until the traces on their stacks have been looked at.
    beside: Vec<Self>,
    /// The benchmark and its stack, where they were started before their turn.
    bench: Option<(Command, Stack)>,
}

impl Runner {
    const fn new(place: Place, port_base: u16, setting: Setting, names: Vec<String>) -> Self {
        Self {
            names,
            place,
            port_base,
            setting,
            stack: None,
            kind: Kind::Ordinary,
            was_used: false,
            beside: Vec::new(),
            bench: None,
        }
    }

    /// Runs suites in turn. Only a request to stop ends it early.
    fn run_lane(&mut self, lane: &[Suite], report: &Report) -> Result<()> {
        for &suite in lane {
            if suite != Suite::Traces {
                self.beside.clear();
            }
            if suite == Suite::Traces && !self.was_used {
                println!("traces: runs after end-to-end, which comes first therefore");
                // All of them leave traces, whichever of the traces are wanted.
                let names = std::mem::take(&mut self.names);
                self.run_one(Suite::EndToEnd, report)?;
                self.names = names;
            }
            self.run_one(suite, report)?;
        }
        Ok(())
    }

    fn run_one(&mut self, suite: Suite, report: &Report) -> Result<()> {
        let begun = Instant::now();
        let counts = match self.run(suite) {
            Ok(counts) => counts,
            Err(error) if crate::stop::requested() => return Err(error),
            Err(error) => {
                progress::tell(&format!("{}: {error:#}", suite.name()));
                Counts::FAILED
            }
        };
        report.note(suite, counts, begun.elapsed());
        Ok(())
    }

    fn run(&mut self, suite: Suite) -> Result<Counts> {
        self.was_used |= suite == Suite::EndToEnd;
        let mut command = suite.command(&self.place);
        suite.narrow(&mut command, &self.names);
        let mut docker = None;
        match suite {
            Suite::Mends => setup::for_stack(&self.place)?,
            Suite::Sam => {
                setup::for_stack(&self.place)?;
                setup::for_sam(&self.place)?;
                command.env("CHECKOV", setup::for_checkov(&self.place)?);
            }
            Suite::Contract => {
                command.env("GHL_SDK", setup::for_contract(&self.place)?);
                match needed(suite, descriptions(&self.place))? {
                    Some(folder) => drop(command.env(DESCRIPTIONS, folder)),
                    None if self.names.is_empty() => {
                        command.args(WITHOUT_DESCRIPTIONS);
                        let mut counts = run_suite(&self.place, suite, command)?;
                        counts += Counts::SKIPPED;
                        return Ok(counts);
                    }
                    None => return Ok(Counts::SKIPPED),
                }
            }
            Suite::Database => {
                if self.setting.long {
                    Suite::also_long(&mut command);
                }
                return self.with_database(suite, None, command);
            }
            Suite::Database15 => {
                let Some(programs) = needed(suite, debian_15())? else { return Ok(Counts::SKIPPED) };
                return self.with_database(suite, Some(&programs), command);
            }
            Suite::Restarts => {
                setup::for_stack(&self.place)?;
                let port = self.port_base.checked_add(RESTARTS).context("--port-base is too high")?;
                command.env("RESTARTS_PORT_BASE", port.to_string());
            }
            Suite::Counts => return self.on_the_benchmark_stack(suite),
            Suite::Faults if whole() && self.names.is_empty() => return self.faults_side_by_side(),
            Suite::Browser => {
                let Some(found) = needed(suite, browser())? else { return Ok(Counts::SKIPPED) };
                command.envs(found).env("AXE", setup::for_browser(&self.place)?);
            }
            Suite::SamLocal => {
                docker = needed(suite, Docker::running())?;
                if docker.is_none() {
                    return Ok(Counts::SKIPPED);
                }
            }
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
        let far = if suite == Suite::Far { Some(Far::begin(&self.stack(Kind::Ordinary)?)?) } else { None };
        let mut counts = run_suite(&self.place, suite, command)?;
        if far.is_some() && self.names.is_empty() {
            counts += self.benchmark_far()?;
        }
        drop((far, sam));
        if suite == Suite::Traces {
            counts += self.traces_beside()?;
        }
        if let Some(stack) = &mut self.stack {
            stack.check()?;
        }
        Ok(counts)
    }

    fn on_the_benchmark_stack(&mut self, suite: Suite) -> Result<Counts> {
        let (command, stack) = self.bench.take().map_or_else(|| bench::counts(bench::PORT_BASE), Ok)?;
        let counts = run_suite(&self.place, suite, command);
        drop(stack);
        counts
    }

    /// The benchmark's small part, on the stack that is there.
    fn benchmark_far(&mut self) -> Result<Counts> {
        let mut command = Suite::Counts.command(&self.place);
        command.arg("--far").env("STACK_JSON", self.stack(Kind::Ordinary)?);
        let log = self.place.log("test-far-benchmark")?;
        let ended = run_within(Some(Suite::Far.limit()), &log, command, &mut |_| {})?;
        judge(Suite::Counts, &log, ended)
    }

    /// On a Postgres of its own: the local stack's, or another one's programs.
    fn with_database(&self, suite: Suite, programs: Option<&Path>, mut command: Command) -> Result<Counts> {
        setup::for_stack(&self.place)?;
        command.env("TEST_POSTGREST", setup::postgrest(&self.place)?);
        let place = Place::scratch_database(&suite.name())?;
        let _lock = place.lock()?;
        let keys = StackKeys::load_or_make(&place)?;
        let mut postgres = Postgres::new(&place, free_port()?, keys.postgres_password);
        if let Some(programs) = programs {
            postgres = postgres.of(programs);
        }
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
        self.beside.clear();
        let claims = self.place.own("claims");
        let _ = fs::remove_dir_all(&claims);
        fs::create_dir_all(&claims)?;
        let mut lanes = Vec::new();
        for number in 1..=FAULT_STACKS {
            let place = if number == 1 { self.place.clone() } else { Place::test_beside(number)? };
            let port_base = self.ports_of(number)?;
            let options = StackOptions { brisk: true, ..self.setting.stack(port_base) };
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
            .args(["test", "--locked", "--no-run", "--workspace", "--test", "faults"])
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

    /// The first port of the stack with this number, from 1.
    fn ports_of(&self, number: u16) -> Result<u16> {
        self.port_base.checked_add((number - 1) * PORTS_OF_A_STACK).context("--port-base is too high")
    }

    /// The stack of the tests; those of different kinds take turns. For single tests that of `up`, if it is running.
    fn stack(&mut self, kind: Kind) -> Result<PathBuf> {
        let up = Place::local()?.stack_file();
        if !self.names.is_empty() && self.stack.is_none() && kind == Kind::Ordinary && up.is_file() {
            // One that was killed has left its file, and nobody holds its lock.
            if Place::local()?.is_locked() {
                println!("on the stack that is up: {}", up.display());
                return Ok(up);
            }
        }
        if self.kind != kind {
            self.stack = None;
            self.kind = kind;
            self.was_used = false;
        }
        if self.stack.is_none() {
            let options = StackOptions {
                brisk: kind == Kind::Brisk,
                by_sam: kind == Kind::BySam,
                ..self.setting.stack(self.port_base)
            };
            let _ = fs::remove_file(self.place.log("answers")?);
            self.stack = Some(Stack::start(&self.place, &options, Durability::Scratch)?);
        }
        Ok(self.place.stack_file())
    }
}

/// What a suite can't do without; `None` where it is missing and the suite is skipped. In CI that is a failure.
fn needed<T>(suite: Suite, found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(missing) if std::env::var_os("CI").is_none() => {
            println!("{}: skipped: {missing:#}", suite.name());
            Ok(None)
        }
        Err(missing) => Err(missing),
    }
}

pub(crate) fn run_suite(place: &Place, suite: Suite, command: Command) -> Result<Counts> {
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

/// GHL's own descriptions, which the contract test compares with. They aren't ours to publish.
fn descriptions(place: &Place) -> Result<PathBuf> {
    let given =
        std::env::var_os(DESCRIPTIONS).filter(|folder| !folder.is_empty()).map(|folder| place.project("").join(folder));
    let folder = given.unwrap_or_else(|| place.project("../shared/ghl-openapi"));
    if !folder.join("payments.json").is_file() {
        bail!(
            "GHL's API descriptions (payments.json, products.json, common-schemas.json) aren't in {}, and can't be part of \
             this repository: copy them there from github.com/GoHighLevel/highlevel-api-docs, or let {DESCRIPTIONS} name \
             the folder that has them",
            folder.display()
        );
    }
    Ok(folder)
}

/// Whether everything is tested, or a minute's worth of what takes long.
pub(crate) fn whole() -> bool {
    ["CI", "TEST_ALL"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Where the browser and its driver are, as the browser tests are told.
pub(crate) fn browser() -> Result<Vec<(&'static str, PathBuf)>> {
    let driver = given("CHROMEDRIVER").or_else(|| find("chromedriver"));
    match (chromium(), driver) {
        (Some(chromium), Some(driver)) => Ok(vec![("CHROMIUM", chromium), ("CHROMEDRIVER", driver)]),
        _ => bail!("Chromium or its driver is missing: apt-get install chromium chromium-driver"),
    }
}

/// The browser that `CHROMIUM` names, else one on the PATH.
pub(crate) fn chromium() -> Option<PathBuf> {
    given("CHROMIUM").or_else(|| CHROMIUM.into_iter().find_map(find))
}

fn given(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_file())
}
