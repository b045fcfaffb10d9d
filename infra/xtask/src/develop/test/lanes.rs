//! Suites that mostly wait run beside each other, each lane on a stack of its own.

use std::process::Command;
use std::thread;

use anyhow::{Result, bail};

use super::report::Report;
use super::wanted::Wanted;
use super::{Runner, run_suite};
use crate::develop::test::suites::{Counts, Suite};
use crate::develop::{bench, build};
use crate::place::Place;
use crate::process::step;
use crate::setup;

/// The suites of a lane follow each other; the first lane is the one whose traces are looked at in full. The browser's ends first,
/// and its stack is there.
const LANES: [&[Suite]; 3] =
    [&[Suite::EndToEnd], &[Suite::Browser, Suite::Far], &[Suite::Counts, Suite::Database, Suite::Database15]];

/// The wanted suites in groups that follow each other; the lanes of a group run beside each other.
pub(super) fn of(wanted: &Wanted) -> Vec<Vec<Vec<Suite>>> {
    let mut beside: Vec<Vec<Suite>> = Vec::new();
    if wanted.names.is_empty() {
        beside.extend(LANES.map(|lane| lane.iter().copied().filter(|suite| wanted.suites.contains(suite)).collect()));
        beside.retain(|lane| !lane.is_empty());
    }
    let mut groups: Vec<Vec<Vec<Suite>>> = Vec::new();
    for &suite in &wanted.suites {
        if beside.len() < 2 || !beside.iter().flatten().any(|other| *other == suite) {
            groups.push(vec![vec![suite]]);
        } else if !groups.contains(&beside) {
            groups.push(beside.clone());
        }
    }
    groups
}

impl Runner {
    /// Runs each lane on a stack of its own, the first on this one's.
    pub(super) fn run_beside(&mut self, lanes: &[Vec<Suite>], report: &Report) -> Result<()> {
        // What they share is made before they start side by side.
        setup::for_stack(&self.place)?;
        build::all(&self.place)?;
        let mut building = Command::new("cargo");
        building.args(["test", "--locked", "--no-run", "--workspace"]).args(["--test", "*", "--bench", "*"]);
        building.current_dir(self.place.project(""));
        step(&self.place, "Building the tests", "test-build", building, "Mend what the compiler says")?;

        self.beside.clear();
        for number in 2..=u16::try_from(lanes.len())? {
            let place = Place::test_beside(number)?;
            self.beside.push(Self::new(place, self.ports_of(number)?, self.setting, Vec::new()));
        }
        let mut others = std::mem::take(&mut self.beside);
        // A stack's servers end with the thread that started them: this one, which stays. All stacks start before any test, since a
        // start takes the machine's disk and processors from tests that wait for seconds.
        for (runner, lane) in std::iter::once(&mut *self).chain(&mut others).zip(lanes) {
            if let Some(kind) = lane.iter().find_map(|suite| suite.stack()) {
                runner.stack(kind)?;
            }
            if lane.contains(&Suite::Counts) {
                runner.bench = Some(bench::counts(bench::PORT_BASE)?);
            }
        }
        let ended: Vec<Result<()>> = thread::scope(|scope| {
            let running: Vec<_> = std::iter::once(&mut *self)
                .chain(&mut others)
                .zip(lanes)
                .map(|(runner, lane)| scope.spawn(|| runner.run_lane(lane, report)))
                .collect();
            running.into_iter().map(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked"))).collect()
        });
        self.beside = others;
        ended.into_iter().collect()
    }

    /// What the suites of the other lanes have left: nobody's data. Permissions are judged by the end-to-end tests alone, which
    /// also send the webhooks and provoke the refusals.
    pub(super) fn traces_beside(&mut self) -> Result<Counts> {
        let mut counts = Counts::default();
        for lane in self.beside.iter().filter(|lane| lane.stack.is_some()) {
            let mut command = Suite::Traces.command(&lane.place);
            command
                .args(["--", "privacy::", "--skip", "no_refusal", "--skip", "the_webhook"])
                .env("STACK_JSON", lane.place.stack_file());
            counts += run_suite(&lane.place, Suite::Traces, command)?;
        }
        self.beside.clear();
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_runs_beside_each_other() {
        let groups = |suites: &[Suite]| of(&Wanted { suites: suites.to_vec(), names: Vec::new() });
        assert_eq!(groups(&[Suite::EndToEnd]), [[[Suite::EndToEnd]]]);
        assert_eq!(
            groups(&[Suite::Unit, Suite::Database, Suite::EndToEnd, Suite::Faults]),
            [vec![vec![Suite::Unit]], vec![vec![Suite::EndToEnd], vec![Suite::Database]], vec![vec![Suite::Faults]]]
        );
        let every = groups(&Suite::all());
        let mut told: Vec<Suite> = every.into_iter().flatten().flatten().collect();
        told.sort_by_key(|suite| suite.name());
        let mut all = Suite::all();
        all.sort_by_key(|suite| suite.name());
        assert!(told == all, "a suite is lost or runs twice");
    }

    #[test]
    fn single_tests_run_alone() {
        let wanted = Wanted { suites: vec![Suite::EndToEnd], names: vec!["gate".to_owned()] };
        assert_eq!(of(&wanted), [[[Suite::EndToEnd]]]);
    }
}
