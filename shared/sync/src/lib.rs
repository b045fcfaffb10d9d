//! What several functions do the same way.
//!
//! | module | does |
//! |---|---|
//! | [`setup`] | clients and times from the environment |
//! | [`fetch`] | orders from GHL, within the shared rate limit |
//! | [`products`] | the location's product list, read again before an order is called invalid |
//! | [`prepare`] | an order as read becomes the row to write |
//! | [`pulses`] | a run's pulses: sending, and resending lost ones |
//! | [`publish`] | status document and frames |
//! | `punctuality` | whether the limiter's grants arrive in time |
//! | [`start`] | starting a run on request |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod fetch;
pub mod prepare;
pub mod products;
pub mod publish;
pub mod pulses;
mod punctuality;
pub mod setup;
pub mod start;

pub use fetch::{FetchError, Fetched, Fetcher, Order as FetchOrder};
pub use prepare::{Purpose, prepare};
pub use products::Products;
pub use publish::Publisher;
pub use pulses::Pulses;
pub use start::{Start, start_run};
