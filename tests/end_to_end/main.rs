//! The whole system over its outside doors: HTTP API, WebSocket API, published JSON, database, and a GHL that misbehaves on
//! request.
//!
//! `STACK_JSON` names the file that describes the stack under test (`cargo xtask up` writes `target/local/stack.json`).
//! One stack has one location, and a location one run at a time: every test that touches it takes its [`world::World`] and
//! has it alone until it ends.
//!
//! | module | what it is for |
//! |---|---|
//! | `world`, `stack` | the stack under test, idle and alone |
//! | `api`, `dashboard` | an admin or member, by HTTP and by WebSocket |
//! | `fake_ghl` | changing orders, ordering failures, counting calls |
//! | `database`, `cloud` | what is stored and published; AWS's own doors |
//! | `keys` | the stack's own secrets, for forgers |
//! | `accounts` | frames, documents, API and database tell the same |
//! | `waiting` | awaiting a condition, and saying what was seen instead |
//! | the others | the tests, by what is tested |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod accounts;
mod api;
mod cloud;
mod dashboard;
mod database;
mod fake_ghl;
mod keys;
mod stack;
mod waiting;
mod world;

mod distance;
mod doors;
mod endings;
mod failures;
mod flood;
mod forgeries;
mod full;
mod gate;
mod incremental;
mod metrics;
mod operating;
mod order_cases;
mod original;
mod refunds;
mod rotation;
mod schedule;
mod single;
mod socket;
mod startup;
mod steering;
mod tricks;
mod valid_list;
mod webhooks;
