//! Plays every case and keeps the table of what they showed. `TEST_CASES` names some by
//! parts of their names, separated by commas. With `FAULT_CLAIMS`, a directory, several stacks share them: whoever is free plays the next
//! one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Instant;

use futures::FutureExt;

use crate::cases;
use crate::scene::{Case, Shown, play};

const HEAD: &str = "# What happens when something fails

Written by `TEST_ALL=1 cargo xtask test faults`, which plays each case on the local stack and checks after each: the run ended,
listed = synced + skipped + failed, status document = run row = last frame, and with the fault gone the next run brought every
order and ticket in step. With `CI` set it fails if this table says anything else.

| fault | the run ends | orders that fail |
|---|---|---|
";

#[tokio::test]
async fn every_run_ends_right_whatever_fails() {
    let only = std::env::var("TEST_CASES").ok();
    let whole = crate::all() && only.is_none();
    let (mut rows, mut broken) = (BTreeMap::new(), Vec::new());
    // The one that takes longest stands last in the table: with several stacks the others are played meanwhile.
    for (number, case) in cases::all().into_iter().enumerate().rev() {
        let wanted =
            only.as_ref().map_or(whole || case.quick, |parts| parts.split(',').any(|part| case.name.contains(part)));
        if !wanted || !is_ours(number) {
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
        let failed = case.failed.map_or("the rest of them".to_owned(), |failed| failed.to_string());
        rows.insert(case.name, format!("| {} | {ends} | {failed} |\n", case.name));
    }
    assert!(broken.is_empty(), "these cases failed: {broken:#?}");
    if whole {
        keep(&rows);
    }
}

/// Whether nobody else plays this case.
fn is_ours(number: usize) -> bool {
    let Some(claims) = std::env::var_os("FAULT_CLAIMS") else { return true };
    match File::create_new(PathBuf::from(claims).join(number.to_string())) {
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
    let row = |case: Case| rows.get(case.name).cloned().or_else(|| stands(case.name)).unwrap_or_default();
    let table: String = [HEAD.to_owned()].into_iter().chain(cases::all().into_iter().map(row)).collect();
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
