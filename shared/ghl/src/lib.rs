//! What GoHighLevel's API and webhooks say: everything this system knows of GHL's data, and nothing else does. `ghl-client` makes the
//! calls.
//!
//! | module | what it is for |
//! |---|---|
//! | `order` | [`read_order`]: the detail of an order |
//! | `listing` | [`read_orders`], [`read_products`]: pages of lists |
//! | `transactions` | [`read_transactions`]: a page of them |
//! | [`webhook`] | verifies what GHL sends, and finds the order ids in it |
//! | [`json`] | lenient reading |
//!
//! GHL's data is read leniently: a field of an unexpected type is absent, never a reason to lose an order. Where the official
//! description is wrong or silent, the code says what is really seen.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod json;
mod listing;
mod order;
mod transactions;
pub mod webhook;

pub use listing::{ListedOrder, OrderPage, Product, ProductPage, read_orders, read_products};
pub use order::read_order;
pub use transactions::{TransactionPage, read_transactions};
