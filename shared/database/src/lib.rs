//! The database: its SQL functions, called over PostgREST (Supabase), one method each.
//!
//! Everything that must be atomic is a SQL function; here there is no SQL, only names, requests and answers. What a function
//! decides stands in `infra/supabase/schemas`, one file per subject; `infra/supabase/README.md` is the way in.
//!
//! | module | its functions stand in `infra/supabase/schemas/` |
//! |---|---|
//! | `limiter` | `limiter.sql` |
//! | `orders` | `orders.sql`, `tickets.sql`, `failures.sql` |
//! | `contacts` | `contacts.sql` |
//! | `runs` | `runs.sql`, `listing.sql`, `outcomes.sql`, `publications.sql` |
//! | `refunds` | `refunds.sql` |
//! | `products` | `products.sql` |
//! | `gate` | `gate.sql` |
//! | `reports` | `reports.sql`, `failures.sql` |
//! | `connections` | `connections.sql` |
//! | `upkeep` | `upkeep.sql` |
//!
//! Every function takes one JSON value named `request` and returns one. Times are UTC; sizes of requests are bounded by the
//! callers (a batch of messages, a page of a listing), never by the number of orders.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod client;
mod connections;
mod contacts;
mod error;
mod gate;
mod limiter;
mod orders;
mod products;
mod refunds;
mod reports;
mod runs;
mod upkeep;

pub use client::Database;
pub use connections::Registration;
pub use contacts::Forgotten;
pub use error::Error;
pub use limiter::{Ask, IDLE_RESERVE, Lane, Limits, Observed, Slots};
pub use orders::{Awaited, Failure, Notice, OrderRow, OrderUpsert, Plan, Recorded, ToReconcile, Upserted, Upserts};
pub use refunds::RefundRecord;
pub use reports::{Drift, DriftRow, FailureRow, Failures, IssueRow, ReportList, RunDetail, Runs};
pub use runs::{
    Begun, Confirmed, Dispatch, DispatchLimits, DueOrder, EndedRun, GivenUp, NewRun, PageOrder, PageRecord, Pulse,
    RecordedPage, RunSettings, Snapshot, Started,
};
