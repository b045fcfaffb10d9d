//! What callers can ask of a ticket.

use domain::gate::{Reason, Scan};
use jiff::Timestamp;

/// What is to be done with a ticket.
pub(crate) enum Action {
    Validate(Option<Scan>),
    /// Takes back the admission of this moment, or the one that stands.
    Undo(Option<Timestamp>),
    Cancel(Reason),
    Reinstate(Reason),
}
