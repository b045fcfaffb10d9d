//! Holds the documentation against the code and the template, both ways.
//!
//! | module | what it compares |
//! |---|---|
//! | `routes` | the routes of both APIs, and which need no session |
//! | `errors` | the stable words of errors, and their status |
//! | `settings` | parameters, variables, defaults, and what sets what |
//! | `frames` | the fields of frames |
//! | `messages` | queues and the fields of their messages |
//! | `compatibility` | that every statement of the original app's documentation is answered, by tests that exist |
//! | `links` | every link in every page of the project |
//! | `source`, `defaults`, `template` | what is read of the code and of `template.yaml`, as text |
//!
//! Metrics and commands are compared where they are defined: `shared/telemetry` and `infra/xtask`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod compatibility;
mod defaults;
mod errors;
mod frames;
mod links;
mod messages;
mod routes;
mod settings;
mod source;
mod template;
