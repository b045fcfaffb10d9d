//! A run: started, kept going by its pulses, and its progress published.
//!
//! | module | does |
//! |---|---|
//! | [`setup`] | how it is configured |
//! | [`start`] | starting a run because somebody asked |
//! | [`pulses`] | a run's pulses: sent, and found lost |
//! | [`publish`] | status document and frames |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod publish;
pub mod pulses;
pub mod setup;
pub mod start;

pub use publish::Publisher;
pub use pulses::Pulses;
pub use start::start_run;
