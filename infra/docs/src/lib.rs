//! The pages in `infra/docs/reference` as tests read them: tables of what the code says too.
//!
//! Each row stands for a thing of the code, such as a route, and the first cell names it in code spans. Tests compare both ways, so that
//! a row that is missing and a row too many are found. Most of them are beside this crate (`tests/reference`); those that need what is
//! private to a crate are there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A path of the project.
#[must_use]
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The text of a file of the project.
#[must_use]
pub fn text(path: &str) -> String {
    std::fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Vec<String>);

impl Row {
    /// The cell in this column, from 0, as it is written; empty if there is none.
    #[must_use]
    pub fn cell(&self, column: usize) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    /// The code spans of a cell.
    #[must_use]
    pub fn codes(&self, column: usize) -> Vec<&str> {
        self.cell(column).split('`').skip(1).step_by(2).collect()
    }

    /// What a cell says: its one code span, or its words.
    #[must_use]
    pub fn value(&self, column: usize) -> &str {
        self.cell(column).trim_matches('`')
    }
}

/// The first table under a heading of a page in `infra/docs/reference`, without its head. A `|` in a cell is written `\|`.
#[must_use]
pub fn table(page: &str, heading: &str) -> Vec<Row> {
    let page_text = text(&format!("infra/docs/reference/{page}"));
    let mut lines = page_text.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading);
    assert!(lines.next().is_some_and(|line| line.starts_with('#')), "{page} has no heading {heading}");
    let table = lines.take_while(|line| !line.starts_with('#')).skip_while(|line| !line.starts_with('|'));
    let rows: Vec<Row> = table.take_while(|line| line.starts_with('|')).skip(2).map(row).collect();
    assert!(!rows.is_empty(), "{page} has no table under {heading}");
    rows
}

/// The rows of all tables of a page of the project, without their heads.
#[must_use]
pub fn rows(path: &str) -> Vec<Row> {
    let page = text(path);
    let mut rows = Vec::new();
    // Of the table that is being read.
    let mut lines = 0;
    for line in page.lines() {
        lines = if line.starts_with('|') { lines + 1 } else { 0 };
        if lines > 2 {
            rows.push(row(line));
        }
    }
    rows
}

fn row(line: &str) -> Row {
    const ESCAPED: &str = "\u{0}";
    let line = line.replace("\\|", ESCAPED);
    let cells = line.trim().trim_start_matches('|').trim_end_matches('|').split('|');
    Row(cells.map(|cell| cell.trim().replace(ESCAPED, "|")).collect())
}

/// The code spans in the first column, each of which may stand there once.
#[must_use]
pub fn names(rows: &[Row]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for name in rows.iter().flat_map(|row| row.codes(0)) {
        assert!(names.insert(name.to_owned()), "{name} stands there twice");
    }
    names
}

/// A route of the HTTP API, as the page tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: String,
    /// With parameters in braces: `/api/qrapp/runs/{id}`.
    pub path: String,
    /// `admin`, `member`, or whoever needs no session.
    pub who: String,
}

impl Route {
    /// Whether it takes a session.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        ["admin", "member"].contains(&self.who.as_str())
    }
}

/// The routes of the HTTP API.
#[must_use]
pub fn routes() -> Vec<Route> {
    let rows = table("http-api.md", "Routes");
    let routes = rows.iter().map(|row| {
        let (method, path) = row.value(0).split_once(' ').unwrap_or_else(|| panic!("{row:?} names no route"));
        Route { method: method.to_owned(), path: path.to_owned(), who: row.cell(1).to_owned() }
    });
    routes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_cells_and_code_spans() {
        let row = row(r"| `a`, `b?` | one \| two | |");
        assert_eq!((row.codes(0), row.cell(1), row.cell(2), row.cell(3)), (vec!["a", "b?"], "one | two", "", ""));
        assert_eq!((row.codes(1), row.value(1)), (vec![], "one | two"));
    }
}
