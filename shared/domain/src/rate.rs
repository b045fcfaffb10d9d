//! GHL's rate limit for one location, as documented: what holds until its headers say otherwise.

use std::time::Duration;

/// Calls in any window of [`WINDOW`].
pub const CALLS_PER_WINDOW: u32 = 100;
/// The window.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Calls in a day.
pub const CALLS_PER_DAY: u64 = 200_000;
