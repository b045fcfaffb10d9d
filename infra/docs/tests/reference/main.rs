//! Holds the documentation against the code and the template, both ways.
//!
//! | module | what it compares |
//! |---|---|
//! | `routes` | the routes of both APIs, and which need no session |
//! | `errors` | the stable words of errors, and their status |
//! | `settings` | parameters, variables, defaults, and what sets what |
//! | `frames`, `problems` | the fields of frames; the problems that a status tells |
//! | `messages` | queues and the fields of their messages |
//! | `links` | every link in every page of the project |
//! | `source`, `defaults`, `template` | what is read of the code and of `template.yaml`, as text |
//!
//! Metrics and commands are compared where they are defined: `shared/telemetry` and `infra/xtask`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod defaults;
mod errors;
mod frames;
mod links;
mod messages;
mod problems;
mod routes;
mod settings;
mod source;
mod template;
