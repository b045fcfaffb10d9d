//! Feeds readers of outside data with what nobody would send on purpose: good examples, changed at random.
//!
//! The tests named `fuzz_...` beside the readers call [`fuzz`] with examples and say what must hold whatever comes. They run for
//! `FUZZ_SECONDS` each (`cargo xtask test fuzz`: 10 in CI, else 2). proptest draws the changes and shrinks what breaks; in CI it
//! draws the same ones each time, so that red means the change.
//!
//! | module | what it is for |
//! |---|---|
//! | `change` | the changes: to bytes, and to values of JSON |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod change;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::change::{Change, changed};

/// Inputs between two looks at the clock.
const AT_A_TIME: u32 = 500;
/// Changes to one example.
const MOST_CHANGES: usize = 8;

/// Changes the examples again and again, and hands each result to `check`, which panics if it breaks a promise.
///
/// # Panics
/// With the smallest input found that breaks it.
#[allow(clippy::panic, clippy::print_stdout, reason = "it is an assertion, and its figures are to be seen")]
pub fn fuzz(examples: &[&[u8]], check: impl Fn(&[u8])) {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let examples: Vec<Vec<u8>> = examples.iter().map(|example| example.to_vec()).collect();
    let inputs = (0..examples.len(), prop::collection::vec(any::<Change>(), 0..=MOST_CHANGES))
        .prop_map(move |(which, changes)| changed(examples.get(which).cloned().unwrap_or_default(), &changes));
    let (mut tried, always_the_same) = (0_u64, std::env::var_os("CI").is_some());
    while Instant::now() < deadline {
        let config = Config { cases: AT_A_TIME, failure_persistence: None, ..Config::default() };
        let mut runner = if always_the_same {
            let mut seed = [7; 32];
            seed.iter_mut().zip(tried.to_le_bytes()).for_each(|(seed, byte)| *seed = byte);
            TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
        } else {
            TestRunner::new(config)
        };
        let ran = runner.run(&inputs, |input| {
            check(&input);
            Ok::<_, TestCaseError>(())
        });
        if let Err(TestError::Fail(reason, input)) = ran {
            panic!("after {tried} inputs: {reason}\nthe smallest: {}", input.escape_ascii());
        }
        tried += u64::from(AT_A_TIME);
    }
    println!("{tried} inputs in {seconds} s");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_promise_is_found_and_shown_small() {
        let broken = std::panic::catch_unwind(|| {
            fuzz(&[br#"{"name": "x", "number": 5}"#], |input| {
                let value: serde_json::Value = serde_json::from_slice(input).unwrap_or_default();
                assert!(value["number"].as_f64().is_none_or(|number| number < 1e18), "a large number");
            });
        });
        let words = *broken.unwrap_err().downcast::<String>().unwrap();
        assert!(words.contains("a large number") && words.contains("the smallest: {"), "{words}");
    }
}
