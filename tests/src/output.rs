//! What the functions print.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::stack::beside;

/// The functions' output from now on.
pub struct Output {
    path: PathBuf,
    begin: usize,
}

impl Output {
    /// Begins where the log ends now.
    pub fn from_now() -> Self {
        let path = beside("logs").join("functions.log");
        let begin = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
        Self { path, begin }
    }

    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap()[self.begin..]).into_owned()
    }

    /// Metrics and log lines. Each line has its function's name before it; one that is being written counts as none.
    pub fn read(&self) -> (Vec<Value>, Vec<Value>) {
        let text = self.text();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok());
        lines.filter(Value::is_object).partition(|line| line.get("_aws").is_some())
    }
}
