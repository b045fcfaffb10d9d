//! The fault matrix: whatever fails, each run ends, adds up, tells the same everywhere, and loses nothing.
//!
//! Runs on a brisk stack (`cargo xtask up --brisk`): the same system with every wait shortened. `STACK_JSON` names it. In CI
//! or with `TEST_ALL=1` all cases are played, `tests/FAULTS.md` must say what they showed, and a soak follows: of five runs in CI, else of
//! ten. Otherwise a minute's worth.
//!
//! | module | what it is for |
//! |---|---|
//! | `matrix` | plays the cases and writes the table |
//! | `cases` | the faults, one by one, and how a run is to end |
//! | `outside` | faults that befall a webhook, a scan or a page, and what these see |
//! | `scene` | one case: a run, its fault, what must hold afterwards |
//! | `harm` | ordering faults from GHL, the cloud and the database; killing workers |
//! | `soak` | many runs with random faults, webhooks and kills |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod cases;
mod harm;
mod matrix;
mod outside;
mod scene;
mod soak;

/// Whether everything runs, or a minute's worth.
fn all() -> bool {
    given("CI") || given("TEST_ALL")
}

fn given(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}
