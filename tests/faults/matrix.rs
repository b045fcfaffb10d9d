//! Plays every case and keeps the table of what they showed. `TEST_CASES` names some by
//! parts of their names, separated by commas.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Instant;

use futures::FutureExt;

use crate::cases;
use crate::scene::{Shown, play};

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
    let (mut table, mut broken) = (HEAD.to_owned(), Vec::new());
    for case in cases::all() {
        let wanted =
            only.as_ref().map_or(whole || case.quick, |parts| parts.split(',').any(|part| case.name.contains(part)));
        if !wanted {
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
        table.push_str(&format!("| {} | {ends} | {failed} |\n", case.name));
    }
    assert!(broken.is_empty(), "these cases failed: {broken:#?}");
    if whole {
        keep(&table);
    }
}

fn keep(table: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("FAULTS.md");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if kept == table {
        return;
    }
    assert!(std::env::var_os("CI").is_none(), "tests/FAULTS.md is not what the cases showed:\n{table}");
    fs::write(&path, table).expect("tests/FAULTS.md can be written");
    println!("tests/FAULTS.md was written anew");
}
