//! The whole system over its outside doors: HTTP API, WebSocket API, published JSON, database, and a GHL that misbehaves on
//! request.
//!
//! `STACK_JSON` names the file that describes the stack under test. A test that touches it takes its [`tests::world::World`] and has it
//! alone until it ends; the crate `tests` has what they do it with.
//!
//! | module | what it tests |
//! |---|---|
//! | `full`, `incremental`, `single`, `valid_list` | what each kind of sync does |
//! | `schedule`, `steering`, `endings`, `failures` | how runs start, are steered, end and fail |
//! | `webhooks`, `flood`, `products`, `refunds`, `order_cases`, `gate` | orders on their way to tickets, and tickets at the gate |
//! | `forgetting` | what stays of a person who is forgotten |
//! | `doors`, `socket`, `forgeries`, `tricks`, `rotation`, `original` | who gets in, by which door and with which key |
//! | `metrics`, `lines`, `startup`, `operating` | what operators see and do |
//! | `blips`, `distance` | a database that is away for a while, restored, or far away |
//! | `neighbours` | a second stack in the same account |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod blips;
mod distance;
mod doors;
mod endings;
mod failures;
mod flood;
mod forgeries;
mod forgetting;
mod full;
mod gate;
mod incremental;
mod lines;
mod metrics;
mod neighbours;
mod operating;
mod order_cases;
mod original;
mod products;
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
