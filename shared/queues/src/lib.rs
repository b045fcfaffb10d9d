//! The messages of the four queues, how they are sent and how a batch of them is received.
//!
//! A message says *what to look at*, never *what is true*: handling one twice, late or out of order converges to the
//! same rows. Any deliberate wait is a new message with a delay and `attempt + 1`, sent before the old one is
//! acknowledged.
//!
//! | module | what it is for |
//! |---|---|
//! | `messages` | [`OrderMessage`], [`TicketMessage`], those about several orders, [`RunMessage`], [`PublishMessage`] |
//! | `outage` | [`Queue::postpone`]: work goes on when the database is back |
//! | `subject` | [`Subject`]: what a message is about, of whatever version |
//! | `queue` | [`Queue`]: sends one message or many |
//! | [`batch`] | what a Lambda receives from a queue, and the messages it hands back |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

#[cfg(feature = "sqs")]
pub mod batch;
mod messages;
#[cfg(feature = "sqs")]
mod outage;
#[cfg(feature = "sqs")]
mod queue;
#[cfg(feature = "sqs")]
mod subject;

#[cfg(feature = "sqs")]
pub use aws_sdk_sqs::Client;
pub use messages::{
    AnyRunMessage, MOST_TOGETHER, OneOrMore, OrderMessage, OrderWork, OrdersMessage, PublishMessage, RunMessage,
    StoredOrder, TicketMessage, TicketWork, TicketsMessage, Waiting, earlier,
};
#[cfg(feature = "sqs")]
pub use queue::{MAX_DELAY, Queue, QueueError, client};
#[cfg(feature = "sqs")]
pub use subject::Subject;

#[cfg(test)]
mod versions;
