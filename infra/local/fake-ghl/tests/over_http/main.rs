//! The fake over real connections: as GHL, and steered.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod api;
mod caller;
mod control;
