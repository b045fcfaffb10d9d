//! GHL's API, called: the four calls a sync needs (orders, one order, products, transactions). What the answers mean is read by `ghl`.
//!
//! | module | what it is for |
//! |---|---|
//! | `client` | [`Client`]: the calls, their headers, and what was seen of the rate limit |
//! | `rate` | [`RateLimit`]: what GHL says of it on every answer |
//! | `error` | [`Error`]: how a call fails, and what that means for the order |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod client;
mod error;
mod rate;

pub use client::{Client, Config, ObservedRate, TransactionsOf};
pub use error::Error;
pub use rate::RateLimit;
