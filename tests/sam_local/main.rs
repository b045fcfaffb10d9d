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
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod events;
mod routes;
mod sam;
mod settings;
