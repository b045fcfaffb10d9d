use crate::{leading_number, text};

/// `template.yaml`, as text: its sections are told by their indentation, and `!Ref` and the like stay as they are.
#[derive(Debug)]
pub struct Template(String);

/// What stands below a key, or a part of a line in braces.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a>(&'a str);

/// How a function reads a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Messages of one invocation at most.
    pub batch_size: u64,
    /// Seconds for which a batch that isn't full waits; 0 unless it is said.
    pub window_seconds: u64,
    /// Invocations at the same time at most.
    pub maximum_concurrency: u64,
}

impl Template {
    /// The template of this repository.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn read() -> Self {
        Self(text("template.yaml"))
    }

    /// What stands below a path of keys, such as `["Resources", "RunsQueue"]`.
    ///
    /// # Panics
    /// If there is no such key.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Section<'_> {
        path.iter().fold(Section(&self.0), |section, key| section.below(key))
    }

    /// Seconds a function may take.
    ///
    /// # Panics
    /// If neither the function nor the globals say it.
    #[must_use]
    pub fn timeout(&self, function: &str) -> u64 {
        self.of_function(function, "Timeout")
    }

    /// Megabytes a function has.
    ///
    /// # Panics
    /// If neither the function nor the globals say it.
    #[must_use]
    pub fn memory_mb(&self, function: &str) -> u64 {
        self.of_function(function, "MemorySize")
    }

    /// How a function reads the queue of one of its events.
    ///
    /// # Panics
    /// If there is no such event, or it doesn't say how large batches are and how many there may be at the same time.
    #[must_use]
    pub fn mapping(&self, function: &str, event: &str) -> Mapping {
        let section = self.at(&["Resources", function, "Properties", "Events", event]);
        Mapping {
            batch_size: section.number("BatchSize"),
            window_seconds: section.find("MaximumBatchingWindowInSeconds: ").unwrap_or(0),
            maximum_concurrency: section.number("MaximumConcurrency"),
        }
    }

    /// The function that is built from this crate, by its name in the template.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn function_of(&self, binary: &str) -> &str {
        let names = self.at(&["Resources"]).names("Function");
        let is_it = |name: &&str| self.at(&["Resources", name, "Metadata"]).word("Binary: ") == binary;
        names.into_iter().find(is_it).unwrap_or_else(|| panic!("template.yaml builds no function from {binary}"))
    }

    fn of_function(&self, function: &str, key: &str) -> u64 {
        let own = self.at(&["Resources", function, "Properties"]).find(&format!("{key}: "));
        own.unwrap_or_else(|| self.at(&["Globals", "Function"]).number(key))
    }
}

impl<'a> Section<'a> {
    /// What stands below a key of this section itself: the lines behind it that are indented further.
    fn below(self, key: &str) -> Self {
        let indentation = |line: &str| line.len() - line.trim_start().len();
        let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        let own = self.0.lines().find(|line| !is_empty(line)).map_or(0, indentation);
        let mut start = 0;
        for line in self.0.split_inclusive('\n') {
            let end = start + line.len();
            if indentation(line) == own && line.trim_start().starts_with(&format!("{key}:")) {
                let rest = self.0.get(end..).unwrap_or_default();
                let inner = rest.split_inclusive('\n').take_while(|line| is_empty(line) || indentation(line) > own);
                return Self(rest.get(..inner.map(str::len).sum()).unwrap_or_default());
            }
            start = end;
        }
        panic!("template.yaml has no {key} where it is looked for");
    }

    /// The number behind a key anywhere in this section.
    ///
    /// # Panics
    /// If the key isn't there, or not with a number, or more than once.
    #[must_use]
    pub fn number(self, key: &str) -> u64 {
        self.after(&format!("{key}: "))
    }

    /// The number behind a text of this section.
    ///
    /// # Panics
    /// As [`Section::number`].
    #[must_use]
    pub fn after(self, before: &str) -> u64 {
        self.find(before)
            .unwrap_or_else(|| panic!("template.yaml has no number behind {before:?} where it is looked for"))
    }

    fn find(self, before: &str) -> Option<u64> {
        let found: Vec<f64> = self.0.split(before).skip(1).filter_map(leading_number).collect();
        assert!(found.len() < 2, "template.yaml says {before:?} more than once where it is looked for: {found:?}");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "read from digits")]
        found.first().map(|number| *number as u64)
    }

    /// The word behind a text of this section.
    ///
    /// # Panics
    /// If the text isn't there.
    #[must_use]
    pub fn word(self, before: &str) -> &'a str {
        let rest = self.0.split_once(before).map(|(_, rest)| rest);
        let word = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next());
        word.unwrap_or_else(|| panic!("template.yaml has no {before:?} where it is looked for"))
    }

    /// The names of this section that end so.
    #[must_use]
    pub fn names(self, end: &str) -> Vec<&'a str> {
        let own =
            self.0.lines().find(|line| !line.trim().is_empty()).map_or(0, |line| line.len() - line.trim_start().len());
        let names = self.0.lines().filter_map(|line| line.get(own..)?.strip_suffix(':'));
        names.filter(|name| !name.starts_with(' ') && name.ends_with(end)).collect()
    }
}
