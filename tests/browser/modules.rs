//! The page's modules that touch no page: what they make of frames, codes and times. They run in Node.js, by its own test runner.

use std::process::Command;

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions/dashboard");

#[test]
fn the_pages_modules_do_what_their_tests_say() {
    let output = Command::new("node").args(["--test", "tests/"]).current_dir(DASHBOARD).output();
    let output = output.unwrap_or_else(|error| panic!("node: {error}. Install Node.js 18 or newer"));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = told.lines().find_map(|line| line.trim_start_matches(['#', 'ℹ', ' ']).strip_prefix("pass "));
    assert!(passed.is_some_and(|passed| passed.trim().parse::<u32>().is_ok_and(|passed| passed > 20)), "{told}");
}
