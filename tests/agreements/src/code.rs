use std::time::Duration;

use crate::{leading_number, text};

/// A file of Rust, as text: what a binary keeps to itself can't be used from here.
#[derive(Debug)]
pub struct Code {
    path: String,
    text: String,
}

impl Code {
    /// The file at this path of the repository.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn read(path: &str) -> Self {
        Self { path: path.to_owned(), text: text(path) }
    }

    /// A constant in whole seconds or milliseconds.
    ///
    /// # Panics
    /// If the file has no such constant.
    #[must_use]
    pub fn duration(&self, name: &str) -> Duration {
        let of = |unit: &str| {
            let before = format!("const {name}: Duration = Duration::from_{unit}(");
            let behind = self.text.split(&before).nth(1)?.split(')').next()?;
            leading_number(&behind.replace('_', ""))
        };
        let seconds = of("secs").or_else(|| Some(of("millis")? / 1_000.0));
        seconds.map_or_else(
            || panic!("{} has no duration {name}: where does it stand now?", self.path),
            Duration::from_secs_f64,
        )
    }

    /// A constant that is a whole number of any type.
    ///
    /// # Panics
    /// If the file has no such constant.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        let behind = self.text.split(&format!("const {name}: ")).nth(1).and_then(|rest| rest.split_once("= "));
        let number = behind.and_then(|(_, rest)| leading_number(&rest.split(';').next()?.replace('_', "")));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "read from digits")]
        number.map_or_else(|| panic!("{} has no number {name}: where does it stand now?", self.path), |n| n as u64)
    }

    /// Whether this text stands in it.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}
