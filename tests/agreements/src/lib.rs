//! Numbers that stand in more than one place, and what reads them where no compiler does.
//!
//! What only Rust needs stands once, and everybody uses it from there. What SQL, `template.yaml` or a stand-in must say as
//! well is compared here; whoever changes one side is told the other. The benchmark and the simulation take the
//! template's numbers from here.
//!
//! | module | reads |
//! |---|---|
//! | `template` | [`Template`]: sections of `template.yaml` and the numbers in them |
//! | `code` | [`Code`]: times in Rust that no other crate can use |
//! | `sql` | [`Sql`]: numbers in the files of `infra/supabase/schemas` |
#![allow(clippy::panic, clippy::expect_used, reason = "a number that can't be found is a test that fails")]

mod code;
mod sql;
mod template;

use std::path::{Path, PathBuf};

pub use code::Code;
pub use sql::Sql;
pub use template::{Mapping, Section, Template};

/// A text of the repository.
fn text(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The number at the start of a text.
fn leading_number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_outs;
