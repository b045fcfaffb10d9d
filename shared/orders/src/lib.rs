//! The way of an order: fetched from GHL within the shared rate limit, and prepared to be written.
//!
//! | module | does |
//! |---|---|
//! | [`setup`] | how it is configured |
//! | [`fetch`] | orders from GHL, within the shared rate limit |
//! | `proof` | whether GHL refuses an order, or the token |
//! | [`Grant`] | until when what the limiter granted may be sent |
//! | `slots` | asks the limiter, and hands back what came too late |
//! | [`SlotOrder`] | slots for calls that are made one after the other, in one grant |
//! | `punctuality` | whether the limiter's grants arrive in time |
//! | [`products`] | the location's product list, read again before an order is called invalid |
//! | [`prepare`] | an order as read becomes the row to write |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod fetch;
mod grant;
#[cfg(test)]
mod near;
pub mod prepare;
pub mod products;
mod proof;
mod punctuality;
pub mod setup;
mod slot_order;
mod slots;

pub use fetch::{FetchError, Fetched, Fetcher, Order as FetchOrder};
pub use grant::Grant;
pub use prepare::{Purpose, prepare};
pub use products::Products;
pub use slot_order::SlotOrder;
pub use slots::{Demand, OneSlot, wait_before};
