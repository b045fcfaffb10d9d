//! What ghl-sync knows about orders, tickets, runs and frames.
//!
//! Pure: no I/O, no async, no clock of its own. Time and randomness come in as values, so every rule can be tested as a table.
//!
//! | module | decides |
//! |---|---|
//! | [`ids`] | what an order, location or run id may look like |
//! | [`items`] | how an order's items become lines: labels, quantities, sums |
//! | [`personal`] | personal data, which is stored and passed on but never printed |
//! | [`order`] | an order as we keep it, and whether it is a valid order of ours |
//! | [`cause`] | why an order is looked at |
//! | [`entitlement`] | whether an order entitles to tickets, and why not |
//! | [`force`] | what an admin insists on |
//! | [`issue`] | what couldn't be honoured, in words a person can act on |
//! | [`failure`] | which failures are retried, and when |
//! | [`listing`] | the next page of a listing, and when it is complete |
//! | [`outcome`] | what was done with an order: its row, its tickets |
//! | [`gate`] | what the gate decides about a ticket |
//! | [`rate`] | GHL's rate limit |
//! | [`refunds`] | the next page of transactions, and what they say was refunded of an order |
//! | [`run`] | a run as the database keeps it |
//! | [`outlook`] | when GHL's limit will have let a run's calls pass |
//! | [`frames`] | the frames for dashboards, and the published status |
//! | [`problem`] | what keeps the whole system from working |
//!
//! What can only be decided while rows are locked stands in SQL, in `infra/supabase/schemas`:
//!
//! | rule | file |
//! |---|---|
//! | is what was read newer than what is stored | `orders.sql` (`judge_reads`) |
//! | which stored line an item is that GHL left ids out of | `orders.sql` (`match_lines`) |
//! | which tickets are added, reinstated, cancelled; which excess goes; adoption; labels | `tickets.sql` (`reconcile`) |
//! | which calls to GHL may be made now | `limiter.sql` (`acquire_slots`) |
//! | may a run start; when is it over; its lease | `runs.sql`, `outcomes.sql` |
//! | which listed orders are fetched | `listing.sql` (`triage_listed`) |
//! | which refunds are new | `refunds.sql` (`changed_refunds`, `record_refunds`) |
//! | when progress is published | `publications.sql` (`ask_publication`, `begin_publication`) |
//! | is a ticket admitted; who may take it back | `gate.sql` |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod cause;
pub mod entitlement;
pub mod failure;
pub mod force;
pub mod frames;
pub mod gate;
pub mod ids;
pub mod issue;
pub mod items;
pub mod listing;
pub mod order;
pub mod outcome;
pub mod outlook;
pub mod personal;
pub mod problem;
pub mod rate;
pub mod refunds;
pub mod run;

pub use cause::Cause;
pub use entitlement::{Entitlement, PaymentFacts};
pub use failure::FailureClass;
pub use force::Force;
pub use ids::{ContactId, LocationId, OrderId, RunId};
pub use issue::Issue;
pub use order::Order;
pub use outcome::Change;
pub use outlook::Outlook;
pub use personal::Personal;
pub use problem::Problem;
pub use run::{Run, RunKind, RunState};
