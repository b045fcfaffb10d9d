//! A run: started, kept going by its pulses, and its progress announced.
//!
//! | module | does |
//! |---|---|
//! | [`setup`] | how it is configured |
//! | [`start`] | starting a run because somebody asked |
//! | [`pulses`] | a run's pulses: sent, and found lost |
//! | [`announcements`] | asking for a publication of its progress |
//! | `failed` | the line in the log of a failure that was recorded |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod announcements;
mod failed;
pub mod pulses;
pub mod setup;
pub mod start;

pub use announcements::Announcements;
pub use failed::tell_failure;
pub use pulses::Pulses;
pub use start::start_run;
