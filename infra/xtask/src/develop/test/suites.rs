//! The suites of `test`, and how to read what their runners print.

use std::fmt;
use std::ops::AddAssign;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::place::Place;
use crate::setup;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Tests beside the code
    Unit,
    /// Properties that hold for any input
    Property,
    /// Readers of outside data, fed with what nobody would send on purpose: 5 s each in CI, else 2
    Fuzz,
    /// Python's part: what is put right in the local cloud, each with a test that tells when it can go, AWS's refusals, and what
    /// hosted databases refuse in a SQL function
    Mends,
    /// `sam validate --lint`, what the transformed template allows, in which failures its alarms go off, and what checkov finds
    Sam,
    /// The fake GHL against GHL's OpenAPI files, and called by GHL's own client
    Contract,
    /// What `bench --quick` counts: calls, memory and sizes that don't depend on the machine; part of all suites in CI or with TEST_ALL=1
    Counts,
    /// Migrations and SQL functions in a real Postgres
    Database,
    /// The same in Debian's Postgres 15, since no hosted project is on the version that the local stack brings
    #[value(name = "database-15")]
    Database15,
    /// The whole system over its doors
    EndToEnd,
    /// The rest of end-to-end, which takes as long: every case of an order, an operator's commands, a project of the original app
    Cases,
    /// The dashboard in a real Chromium
    Browser,
    /// End-to-end tests, and the benchmark's small part, with a database that is far: each call takes 40 ms, at times 300 ms, now and then 2 s
    Far,
    /// What end-to-end and browser have left: nobody's data in logs and answers, no permission that isn't needed
    Traces,
    /// A local stack that is killed at each stage of its start, and comes up again by the same command
    Restarts,
    /// What happens when GHL, the database, the cloud or a worker fails; all cases in CI or with TEST_ALL=1, else a minute's worth
    Faults,
    /// End-to-end tests on what `sam build` builds and `sam deploy` deploys
    SamDeploy,
    /// Every route and function in containers, with `sam local`; needs Docker
    SamLocal,
}

/// Targets of tests that stand beside the code, in crates other than `tests`.
const TESTS_BESIDE_CODE: [&str; 4] = ["--test", "over_http", "--test", "reference"];

/// The end-to-end tests of [`Suite::Cases`]. None of them needs a permission that the others don't use, which `traces` looks at.
const CASES: [&str; 4] = ["operating::", "order_cases::", "original::", "startup::"];

/// How a stack is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As `up` makes it.
    Ordinary,
    /// Every wait shortened.
    Brisk,
    /// Built and deployed by SAM.
    BySam,
}

impl Suite {
    /// All, the quick ones first.
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The stack it runs on, if any.
    pub(crate) fn stack(self) -> Option<Kind> {
        match self {
            Self::EndToEnd | Self::Cases | Self::Browser | Self::Far | Self::Traces => Some(Kind::Ordinary),
            Self::Faults => Some(Kind::Brisk),
            Self::SamDeploy | Self::SamLocal => Some(Kind::BySam),
            // The last four have stacks and databases of their own.
            Self::Unit
            | Self::Property
            | Self::Fuzz
            | Self::Mends
            | Self::Sam
            | Self::Contract
            | Self::Counts
            | Self::Database
            | Self::Database15
            | Self::Restarts => None,
        }
    }

    pub(crate) fn command(self, place: &Place) -> Command {
        let cargo = |arguments: &[&str]| {
            let mut command = Command::new("cargo");
            command.args(["test", "--locked", "--no-fail-fast"]).args(arguments).current_dir(place.project(""));
            if let Ok(xtask) = std::env::current_exe() {
                command.env("XTASK", xtask);
            }
            command
        };
        // The whole workspace each time, and targets of it: with the features of fewer packages a hundred crates would be built anew.
        let beside = [&["--workspace", "--lib", "--bins"], &TESTS_BESIDE_CODE[..], &["--"]].concat();
        match self {
            Self::Unit => cargo(&[&beside[..], &["--skip", "propert", "--skip", "fuzz_"]].concat()),
            Self::Property => cargo(&[&beside[..], &["propert"]].concat()),
            Self::Fuzz => {
                let mut command = cargo(&[&beside[..], &["fuzz_", "--nocapture"]].concat());
                if std::env::var_os("FUZZ_SECONDS").is_none() {
                    command.env("FUZZ_SECONDS", if std::env::var_os("CI").is_some() { "5" } else { "2" });
                }
                command
            }
            Self::Contract => cargo(&["--workspace", "--test", "contract"]),
            // The benchmark, which is told what to measure.
            Self::Counts => cargo(&["--quiet", "--workspace", "--bench", "bench", "--"]),
            // `migrate` is tested as this very program.
            Self::Database => cargo(&["--workspace", "--test", "database"]),
            Self::Database15 => {
                let mut command = cargo(&["--workspace", "--test", "database"]);
                // Which histories there are doesn't depend on the version.
                if std::env::var_os("TEST_HISTORIES").is_none() {
                    command.env("TEST_HISTORIES", "2000");
                }
                command
            }
            // One stack, one run at a time: these tests follow each other.
            Self::EndToEnd | Self::Cases => cargo(&["--workspace", "--test", "end_to_end", "--", "--test-threads=1"]),
            Self::Browser => cargo(&["--workspace", "--test", "browser", "--", "--test-threads=1"]),
            // What passes many calls of the database, each in another way; the runner moves the database.
            Self::Far => cargo(
                &[
                    &["--workspace", "--test", "end_to_end", "--", "--test-threads=1"][..],
                    &["far::", "full::", "gate::", "incremental::", "webhooks::a_signed", "webhooks::a_burst"],
                ]
                .concat(),
            ),
            Self::Traces => cargo(&["--workspace", "--test", "traces"]),
            Self::Restarts => cargo(&["--workspace", "--test", "restarts", "--", "--nocapture"]),
            // Each case takes a while: what it showed is printed at once.
            Self::Faults => cargo(&["--workspace", "--test", "faults", "--", "--test-threads=1", "--nocapture"]),
            // Whatever works here needs functions, queues, both APIs, the authorizer and the bucket.
            Self::SamDeploy => cargo(
                &[
                    &["--workspace", "--test", "end_to_end", "--", "--test-threads=1"][..],
                    &["full::", "gate::", "socket::"],
                ]
                .concat(),
            ),
            Self::SamLocal => cargo(&["--workspace", "--test", "sam_local", "--", "--test-threads=1", "--nocapture"]),
            Self::Mends => unittest(
                place,
                "infra/local/cloud",
                &[
                    &["test_mends", "test_limits", "test_faults", "test_aws", "test_two_stacks", "test_safeupdate"][..],
                    &["test_artifact", "test_glibc", "test_origin", "test_ship", "test_workflows"],
                ]
                .concat(),
            ),
            Self::Sam => {
                let mut command = unittest(place, "infra/local/sam", &["test_template", "test_alarms", "test_checkov"]);
                command.env("SAM", place.tools("venv-sam/bin/sam")).env("SAM_CLI_TELEMETRY", "0");
                command
            }
        }
    }

    /// Only the tests whose names hold one of these words.
    pub(crate) fn narrow(self, command: &mut Command, names: &[String]) {
        if matches!(self, Self::Mends | Self::Sam) {
            command.args(names.iter().flat_map(|name| ["-k", name.as_str()]));
            return;
        }
        match self {
            Self::EndToEnd if names.is_empty() => {
                command.args(CASES.iter().flat_map(|module| ["--skip", *module]));
            }
            Self::Cases if names.is_empty() => {
                command.args(CASES);
            }
            _ => {}
        }
        // Cargo itself takes one name, the tests any number.
        if !names.is_empty() && !command.get_args().any(|argument| argument == "--") {
            command.arg("--");
        }
        command.args(names);
    }

    /// Also the tests that take minutes.
    pub(crate) fn also_long(command: &mut Command) {
        if !command.get_args().any(|argument| argument == "--") {
            command.arg("--");
        }
        command.args(["--include-ignored", "--nocapture"]);
    }

    /// How long it may take; several times what it takes on two busy processors, compilation included.
    pub(crate) const fn limit(self) -> Duration {
        let minutes = match self {
            Self::Mends | Self::Sam | Self::Contract | Self::Traces => 15,
            Self::Unit
            | Self::Property
            | Self::Fuzz
            | Self::Counts
            | Self::Database
            | Self::Database15
            | Self::Browser
            | Self::Far
            | Self::Cases
            | Self::Restarts
            | Self::SamDeploy
            | Self::SamLocal => 25,
            Self::EndToEnd => 30,
            Self::Faults => 40,
        };
        Duration::from_secs(minutes * 60)
    }

    /// Passed and failed, by what the runner printed.
    pub(crate) fn count(self, output: &str, succeeded: bool) -> Counts {
        let mut counts = match self {
            Self::Mends | Self::Sam => Counts::of_unittest(output),
            // No test of libtest: it ends at the first count that has grown.
            Self::Counts => Counts { passed: u64::from(succeeded), ..Counts::default() },
            _ => Counts::of_cargo(output),
        };
        // A suite that didn't build or that crashed printed no count, and one without a test shows nothing.
        if counts.failed == 0 && (!succeeded || counts.passed == 0) {
            counts.failed = 1;
        }
        counts
    }
}

/// Python's tests in a directory, those of the operators' commands, of SQL functions and of deployments.
fn unittest(place: &Place, directory: &str, modules: &[&str]) -> Command {
    let mut command = Command::new(setup::cloud_python(place));
    command.args(["-m", "unittest", "-v"]).args(modules).current_dir(place.project(directory));
    let beside =
        ["infra/xtask/src/operate", "infra/local/safeupdate", "infra/deploy"].map(|other| place.project(other));
    command.env("PYTHONPATH", std::env::join_paths(beside).unwrap_or_default()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Suites that something is missing for.
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl Counts {
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// Sums the `test result:` lines, one for each test binary.
    fn of_cargo(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines().filter(|line| line.starts_with("test result:")) {
            counts.passed += before(line, "passed");
            counts.failed += before(line, "failed");
        }
        counts
    }

    /// `Ran 7 tests in 1.2s`, then `OK` or `FAILED (failures=1, errors=2)`.
    fn of_unittest(output: &str) -> Self {
        let ran = output.lines().rev().find(|line| line.starts_with("Ran ")).map_or(0, |line| before(line, "test"));
        let verdict = output.lines().rev().find(|line| line.starts_with("FAILED (")).unwrap_or("");
        let failed = ["failures=", "errors="].iter().map(|key| after(verdict, key)).sum::<u64>().min(ran);
        Self { passed: ran - failed, failed, skipped: 0 }
    }
}

/// The number right before a word.
fn before(line: &str, word: &str) -> u64 {
    let found = line.split_once(word).and_then(|(left, _)| left.split_whitespace().last());
    found.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The number right after a word.
fn after(line: &str, word: &str) -> u64 {
    let digits: Option<String> =
        line.split_once(word).map(|(_, right)| right.chars().take_while(char::is_ascii_digit).collect());
    digits.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_tests_is_run_by_a_suite() {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let metadata: serde_json::Value = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
        let place = Place::test().unwrap();
        let run: Vec<String> = Suite::all()
            .into_iter()
            .flat_map(|suite| {
                suite.command(&place).get_args().map(|part| part.to_string_lossy().into()).collect::<Vec<_>>()
            })
            .collect();
        for package in metadata["packages"].as_array().unwrap() {
            for target in package["targets"].as_array().unwrap() {
                let kind = target["kind"][0].as_str().unwrap();
                if ["test", "bench", "example"].contains(&kind) {
                    assert!(run.iter().any(|part| target["name"] == part.as_str()), "{kind} {}", target["name"]);
                }
            }
        }
    }

    #[test]
    fn cargo_results_are_summed() {
        let output = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n\
                      noise: 9 passed\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(Suite::Unit.count(output, false), Counts { passed: 4, failed: 2, skipped: 0 });
    }

    #[test]
    fn a_suite_without_a_test_failed() {
        let output = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(Suite::Contract.count(output, true), Counts { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn what_was_skipped_is_told() {
        let mut counts = Counts { passed: 3, failed: 0, skipped: 0 };
        assert_eq!(counts.to_string(), "3 passed, 0 failed");
        counts += Counts::SKIPPED;
        assert_eq!(counts.to_string(), "3 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn a_suite_that_did_not_build_failed() {
        assert_eq!(
            Suite::Database.count("error: could not compile", false),
            Counts { passed: 0, failed: 1, skipped: 0 }
        );
    }

    #[test]
    fn unittest_results_are_read() {
        let failed = "Ran 7 tests in 0.2s\n\nFAILED (failures=1, errors=1)\n";
        assert_eq!(Suite::Mends.count(failed, false), Counts { passed: 5, failed: 2, skipped: 0 });
        assert_eq!(Suite::Mends.count("Ran 1 test in 0.0s\n\nOK\n", true), Counts { passed: 1, failed: 0, skipped: 0 });
    }
}
