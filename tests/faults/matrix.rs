//! Plays every case and keeps the table of what they showed. `TEST_CASES` names some by
//! parts of their names, separated by commas. With `FAULT_CLAIMS`, a directory, several stacks share them: whoever is free plays the next
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Instant;

use futures::FutureExt;

use crate::scene::{Shown, play};
use crate::{cases, outside};

const HEAD: &str = "# What happens when something fails

Written by `TEST_ALL=1 cargo xtask test faults`, which plays each case on the local stack and checks after each: the run ended,
listed = synced + skipped + failed + not attempted, status document = run row = last frame, and with the fault gone the next run brought every
order and ticket in step. With `CI` set it fails if this table says anything else.

| fault | the run ends | orders that fail |
|---|---|---|
";
const OUTSIDE: &str = "
The same outside of runs:

| fault | what happens |
|---|---|
";

#[tokio::test]
async fn every_run_ends_right_whatever_fails() {
    let only = std::env::var("TEST_CASES").ok();
    let whole = crate::all() && only.is_none();
    let (mut rows, mut broken) = (BTreeMap::new(), Vec::new());
    // The one that takes longest stands last in the table: with several stacks the others are played meanwhile.
    let wanted = |name: &str, quick: bool| {
        only.as_ref().map_or(whole || quick, |parts| parts.split(',').any(|part| name.contains(part)))
    };
    for case in cases::all().into_iter().rev() {
        if !wanted(case.name, case.quick) || !is_ours(case.name) {
            continue;
        }
        let begun = Instant::now();
        // Each case sets the scene anew, so that one which fails takes none of the others with it.
        let Ok(Shown { ends, failed }) = AssertUnwindSafe(play(&case)).catch_unwind().await else {
            broken.push(case.name);
            continue;
        };
        println!("{}: {ends}, {failed} failed, {:.1} s", case.name, begun.elapsed().as_secs_f64());
        // How many orders a run had no time for is chance.
        let failed = case.failed.map_or("the rest isn't attempted".to_owned(), |failed| failed.to_string());
        rows.insert(case.name, format!("| {} | {ends} | {failed} |\n", case.name));
    }
    for outside in outside::all() {
        if !wanted(outside.name, false) || !is_ours(outside.name) {
            continue;
        }
        let begun = Instant::now();
        if AssertUnwindSafe(outside::play(&outside)).catch_unwind().await.is_err() {
            broken.push(outside.name);
            continue;
        }
        println!("{}: {:.1} s", outside.name, begun.elapsed().as_secs_f64());
        rows.insert(outside.name, format!("| {} | {} |\n", outside.name, outside.shows));
    }
    assert!(broken.is_empty(), "these cases failed: {broken:#?}");
    if whole {
        keep(&rows);
    }
}

/// Whether nobody else plays this case.
fn is_ours(name: &str) -> bool {
    let Some(claims) = std::env::var_os("FAULT_CLAIMS") else { return true };
    match File::create_new(PathBuf::from(claims).join(name)) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => panic!("FAULT_CLAIMS: {error}"),
    }
}

/// Holds the table against what was shown. What others play stays as it stands there.
fn keep(rows: &BTreeMap<&str, String>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("FAULTS.md");
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).expect("tests/FAULTS.md");
    // Several may have something to write.
    file.lock().expect("tests/FAULTS.md can be locked");
    let mut kept = String::new();
    file.read_to_string(&mut kept).expect("tests/FAULTS.md can be read");
    let stands =
        |name: &str| kept.lines().find(|line| line.starts_with(&format!("| {name} |"))).map(|row| format!("{row}\n"));
    let row = |name: &str| rows.get(name).cloned().or_else(|| stands(name)).unwrap_or_default();
    let of_runs = cases::all().into_iter().map(|case| row(case.name));
    let others = outside::all().into_iter().map(|outside| row(outside.name));
    let table: String =
        [HEAD.to_owned()].into_iter().chain(of_runs).chain([OUTSIDE.to_owned()]).chain(others).collect();
    if kept == table {
        return;
    }
    assert!(std::env::var_os("CI").is_none(), "tests/FAULTS.md is not what the cases showed:\n{table}");
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(table.as_bytes()))
        .expect("it can be written");
    println!("tests/FAULTS.md was written anew");
}

/// The SQL functions that Rust calls: the first text after each `.call` of `shared/database`.
fn functions_of_the_api() -> BTreeSet<String> {
    let files = fs::read_dir(tests::project("shared/database/src")).expect("shared/database is there");
    let sources = files.map(|file| fs::read_to_string(file.unwrap().path()).expect("a source can be read"));
    let mut functions = BTreeSet::new();
    for source in sources {
        let (code, _) = source.split_once("#[cfg(test)]").unwrap_or((&source, ""));
        let calls = code.split(".call").skip(1).filter(|call| call.starts_with('(') || call.starts_with("::<"));
        functions.extend(calls.filter_map(|call| call.split('"').nth(1)).map(str::to_owned));
    }
    functions
}

/// What is called with more than 10,000 orders only, and goes on from a place that the run keeps: the database's tests call it, and
/// call it again.
const OF_LARGE_RUNS: [&str; 2] = ["compare_stored", "take_rest"];

#[test]
fn the_answer_of_each_function_of_the_api_is_lost_once() {
    let of_runs = cases::all().into_iter().flat_map(|case| case.lost.iter());
    let others = outside::all().into_iter().flat_map(|outside| outside.lost.iter());
    let lost: Vec<String> = of_runs.chain(others).map(|function| (*function).to_owned()).collect();
    let mut called = functions_of_the_api();
    called.retain(|function| !OF_LARGE_RUNS.contains(&function.as_str()));
    assert_eq!(BTreeSet::from_iter(lost.clone()), called);
    assert_eq!(lost.len(), called.len(), "one twice: {lost:?}");
}
