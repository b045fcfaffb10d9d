//! Webhooks: are they from GHL, and which orders do they name?
//!
//! A body is a hint, never the truth: it only says which orders to look at.

mod orders;
mod signature;

pub use orders::{Hint, NotUsable, order_ids};
pub use signature::{VerifyError, WebhookKeys};
