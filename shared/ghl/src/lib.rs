//! The GoHighLevel API and its webhooks: everything this system knows of GHL, and nothing else does.
//!
//! [`Client`] makes the three calls a sync needs (orders, one order, products); [`webhook`] verifies what GHL sends and finds the
//! order ids in it. GHL's data is read leniently: a field of an unexpected type is absent, never a reason to lose an order. Where
//! the official description is wrong or silent, the code says what is really seen.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod client;
mod error;
mod json;
mod listing;
mod order;
mod rate;
pub mod webhook;

pub use client::{Client, Config, ObservedRate};
pub use error::Error;
pub use listing::{ListedOrder, OrderPage, Product, ProductPage};
pub use order::read_order;
pub use rate::RateLimit;
