//! What the test targets and the benchmark share: the stack under test, by its outside doors.
//!
//! `STACK_JSON` names the file that describes it (`cargo xtask up` writes `target/local/stack.json`). One stack has one location, and a
//! location one run at a time: every test that touches it takes its [`world::World`] and has it alone until it ends.
//!
//! | module | what it is for |
//! |---|---|
//! | `stack`, `keys` | where the stack is; its own secrets, for forgers |
//! | `world` | the stack idle and alone |
//! | `api`, `dashboard` | an admin or member, by HTTP and by WebSocket |
//! | `fake_ghl` | changing orders, ordering failures, counting calls |
//! | `database`, `cloud` | what is stored and published; AWS's own doors |
//! | `accounts` | frames, documents, API and database tell the same |
//! | `times` | the form of the times that they tell, in whatever a test receives |
//! | `output`, `workers`, `invocations` | what the functions print, the processes they run in, and when they ran |
//! | `xtask` | an operator's commands |
//! | `waiting` | awaiting a condition, and saying what was seen instead |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod accounts;
pub mod api;
pub mod cloud;
pub mod dashboard;
pub mod database;
pub mod fake_ghl;
pub mod invocations;
pub mod keys;
pub mod output;
pub mod stack;
pub mod times;
pub mod waiting;
pub mod workers;
pub mod world;
pub mod xtask;

/// A path of the repository.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// More than anything here may take: API Gateway answers within 30 s, and the fake GHL is silent for 35 s at most.
const AN_ANSWER: Duration = Duration::from_secs(60);

/// A client for which a server that hangs is an error.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().timeout(AN_ANSWER).build().expect("a client needs nothing")
}
