//! Every function in a container: each HTTP route through `sam local start-api`, and each event of `tests/events` through
//! `sam local start-lambda`.
//!
//! `cargo xtask test sam-local` starts the stack and SAM, and says where they are. What a function does is checked where it shows:
//! in the answer, in the database, at a dashboard of the stack.
//!
//! | module | what it is for |
//! |---|---|
//! | `sam` | SAM's two doors, and the template with which it serves |
//! | `routes` | each route of the template |
//! | `events` | each committed event |
//! | `settings` | the committed example of `--env-vars` |
//! | the others | shared with the end-to-end tests |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]
#![allow(dead_code, reason = "the shared modules also hold what only the end-to-end tests need")]

#[path = "../end_to_end/api.rs"]
mod api;
#[path = "../end_to_end/cloud.rs"]
mod cloud;
#[path = "../end_to_end/dashboard.rs"]
mod dashboard;
#[path = "../end_to_end/database.rs"]
mod database;
#[path = "../end_to_end/fake_ghl.rs"]
mod fake_ghl;
#[path = "../end_to_end/stack.rs"]
mod stack;
#[path = "../end_to_end/waiting.rs"]
mod waiting;
#[path = "../end_to_end/world.rs"]
mod world;

mod events;
mod routes;
mod sam;
mod settings;
