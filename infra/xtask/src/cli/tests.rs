//! The page of the commands has what there is, and nothing else.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use docs::{names, table};

use super::{Cli, PARTS};
use crate::develop::test::suites::Suite;

const PAGE: &str = "commands.md";

/// Commands with the names by which they are called: `migration new`.
fn commands() -> Vec<(String, Command)> {
    let mut commands = Vec::new();
    for command in Cli::command().get_subcommands() {
        if command.get_subcommands().next().is_none() {
            commands.push((command.get_name().to_owned(), command.clone()));
        }
        for below in command.get_subcommands() {
            commands.push((format!("{} {}", command.get_name(), below.get_name()), below.clone()));
        }
    }
    commands
}

#[test]
fn the_page_has_every_command() {
    let defined: BTreeSet<_> = commands().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names(&table(PAGE, "Commands")), defined);
}

#[test]
fn the_page_has_every_option() {
    let mut defined = BTreeSet::new();
    for (name, command) in commands() {
        let shown = command.get_arguments().filter(|option| !option.is_hide_set());
        defined.extend(shown.filter_map(|option| option.get_long()).map(|option| format!("{name} --{option}")));
    }
    let rows = table(PAGE, "Options");
    let documented: Vec<_> = rows
        .iter()
        .flat_map(|row| row.codes(0).into_iter().map(|command| format!("{command} {}", row.value(1))))
        .collect();
    assert_eq!(documented.iter().cloned().collect::<BTreeSet<_>>(), defined);
    assert_eq!(documented.len(), defined.len(), "an option stands there twice");
}

#[test]
fn the_page_has_every_suite() {
    let defined: BTreeSet<_> = Suite::all().into_iter().map(Suite::name).collect();
    assert_eq!(names(&table(PAGE, "Suites")), defined);
}

#[test]
fn the_page_has_every_part_of_the_benchmark() {
    let parts: BTreeSet<_> = PARTS.into_iter().map(str::to_owned).collect();
    assert_eq!(names(&table(PAGE, "Parts of the benchmark")), parts);
}
