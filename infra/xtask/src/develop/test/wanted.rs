//! What the words of the command line ask for: suites, or single tests of one suite.

use std::convert::Infallible;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::develop::test::suites::Suite;

/// A suite, or a part of tests' names.
#[derive(Clone)]
pub(crate) enum Word {
    Suite(Suite),
    Name(String),
}

/// Reads one word of the command line.
pub(crate) fn word(text: &str) -> Result<Word, Infallible> {
    Ok(Suite::from_str(text, false).map_or_else(|_| Word::Name(text.to_owned()), Word::Suite))
}

/// What is to be run.
pub(crate) struct Wanted {
    pub(crate) suites: Vec<Suite>,
    /// Of the one suite; none stands for all.
    pub(crate) names: Vec<String>,
}

impl Wanted {
    pub(crate) fn all_of(suite: Suite) -> Self {
        Self { suites: vec![suite], names: Vec::new() }
    }

    pub(crate) fn of(words: &[Word]) -> Result<Self> {
        let mut wanted = Self { suites: Vec::new(), names: Vec::new() };
        for word in words {
            match word {
                Word::Suite(suite) if wanted.names.is_empty() => wanted.suites.push(*suite),
                Word::Suite(suite) => wanted.names.push(suite.name()),
                Word::Name(name) => wanted.names.push(name.clone()),
            }
        }
        if let (Some(name), false) = (wanted.names.first(), wanted.suites.len() == 1) {
            let suites: Vec<String> = Suite::all().into_iter().map(Suite::name).collect();
            bail!("{name} is no suite ({}), and parts of tests' names stand after one suite", suites.join(", "));
        }
        if wanted.suites.is_empty() {
            wanted.suites = Suite::all();
            wanted.suites.retain(|suite| *suite != Suite::Counts || super::whole());
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tests_stand_after_one_suite() {
        let wanted = |words: &[&str]| Wanted::of(&words.iter().map(|text| word(text).unwrap()).collect::<Vec<_>>());
        let single = wanted(&["end-to-end", "gate", "unit"]).unwrap();
        assert_eq!((single.suites.len(), single.names), (1, vec!["gate".to_owned(), "unit".to_owned()]));
        let two = wanted(&["unit", "end-to-end"]).unwrap();
        assert_eq!((two.suites.len(), two.names.len()), (2, 0));
        assert!(wanted(&[]).unwrap().suites.len() > 10);
        for wrong in [&["gate"][..], &["unit", "database", "gate"]] {
            assert!(wanted(wrong).err().unwrap().to_string().starts_with("gate is no suite (unit, "), "{wrong:?}");
        }
    }
}
