//! A model of the rate limiter. In production the SQL functions of `limiter.sql` decide; here stand the same rules as plainly as they can be
//! said, for two kinds of tests: properties that hold after any history, and a comparison with the SQL functions, call by call.
//!
//! | module | what it is |
//! |---|---|
//! | [`rules`] | which calls are granted, and when to ask again |
//! | [`seen`] | what GHL's headers tell: calls of others, the maximum, the day's budget, a 429 |
//! | [`history`] | what callers, other apps and clocks may do, as strategies of proptest |
//!
//! Times are microseconds since any moment, by the database's clock.

pub mod history;
pub mod rules;
pub mod seen;
pub mod world;

#[cfg(test)]
mod properties;

pub use rules::{Answer, Ask, Lane, Limiter, Limits, Step};
pub use seen::Seen;

/// Microseconds of a millisecond.
pub const MS: i64 = 1_000;
