//! How far reading came, of the listing and of a single page.

use std::time::Duration;

use orders::FetchError;

/// How far a listing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// All is listed.
    Complete,
    /// The next pulse goes on, after this time: then there may be a slot.
    Later(Duration),
    /// The run has ended.
    RunOver,
}

/// Why a page isn't there.
pub(crate) enum NoPage {
    /// The time is up: the next pulse continues, after so long.
    Later(Duration),
    /// The run has ended.
    RunOver,
    /// The page size was refused: ask for smaller pages.
    TooLarge,
    /// It failed for good.
    Failed(FetchError),
}
