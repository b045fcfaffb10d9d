//! Paging through GHL's orders, newest first, while orders come and go, and GHL gives fewer rows than asked for.
//!
//! Offset paging shifts when an order is inserted or deleted between two pages. So each page overlaps the one before by up to
//! [`OVERLAP`] rows: as long as the two share an id, nothing was skipped.
//!
//! Neither the length of a page nor GHL's count alone is the end: GHL may give fewer rows than `limit` asks for, and its count
//! may be wrong. A pass through the list ends
//!
//! - at a page with fewer rows than the longest one of the pass, that reaches as far as GHL counts, if that count is credible: it is
//!   at least the number of ids met in this pass;
//! - or at a page that reaches no further than the one before, read twice.
//!
//! The state is kept in the run row, so any pulse can go on from it. Nothing here depends on what the database has recorded but
//! [`Listing::close_pass`], so pages can be read ahead and recorded together.

use serde::{Deserialize, Serialize};

use crate::issue::Issue;

/// Rows per page: the most GHL is known to grant.
pub const PAGE_SIZE: u32 = 100;
/// Rows per page once GHL has refused [`PAGE_SIZE`].
pub const SMALL_PAGE_SIZE: u32 = 50;
/// Rows each page shares with the one before, or half of its rows if these are less than twice as many: fewer than ten rows
/// deleted between two reads do no harm. A larger overlap would cost more calls; ten rows of a hundred cost a tenth more.
pub const OVERLAP: u32 = 10;
/// Pages without a common id before the listing goes on with an issue, unless it got further between them. A page read again
/// normally has one; after three such pages the list shifts faster than it can be read, and the run must still end.
const MAX_STEPS_BACK: u32 = 3;

/// What is being listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Only refunded orders: finds refunds that didn't bump `updatedAt`.
    Refunds,
    /// All orders.
    Orders,
    /// Nothing more to list.
    Done,
}

/// Where a listing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What is being listed.
    pub phase: Phase,
    /// Row the next page starts at.
    pub offset: u64,
    /// Rows per page.
    pub page_size: u32,
    /// The last ids of the page before; empty on a first page.
    #[serde(default)]
    tail: Vec<String>,
    /// How many pages had no common id since the listing last got further.
    #[serde(default)]
    steps_back: u32,
    /// Whether this is the second pass, after the first found fewer orders than GHL counts.
    #[serde(default)]
    second_pass: bool,
    /// The row after the last one of the page before.
    #[serde(default)]
    reach: u64,
    /// The furthest that a page of this pass has reached.
    #[serde(default)]
    furthest: u64,
    /// The most rows on a page of this pass, readable or not.
    #[serde(default)]
    most_rows: u64,
    /// How many ids were met in this pass.
    #[serde(default)]
    seen: u64,
    /// GHL's count with the page before.
    #[serde(default)]
    total: u64,
    /// Whether the page before reached no further than the one before it, so that this one reads the same rows again.
    #[serde(default)]
    stalled: bool,
    /// How many orders fewer than GHL counts the last complete listing had.
    #[serde(default)]
    known_deficit: u64,
}

/// What is known of a page.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The ids on it, in GHL's order.
    pub ids: &'a [String],
    /// Its rows, those without a usable id included.
    pub rows: u64,
    /// GHL's `totalCount`; 0 if it gives none.
    pub total: u64,
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another page.
    Read(Listing),
    /// The pass through all orders is over. Once its pages are recorded, [`Listing::close_pass`] says what follows.
    PassOver(Listing),
}

/// What follows a pass through all orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// A second pass, since the first one listed fewer orders than GHL counts.
    Again(Listing),
    /// The listing is complete.
    Complete(Completed),
}

/// A complete listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// With nothing more to list.
    pub listing: Listing,
    /// How many orders fewer than GHL counts were listed.
    pub deficit: u64,
    /// Whether orders may be missing: then nothing follows from an order's absence.
    pub short: bool,
    /// What a person should look at.
    pub issues: Vec<Issue>,
}

impl Listing {
    /// The start of a listing, with the sweep for refunds first where wanted. `known_deficit` is by how many orders the last
    /// complete listing fell short of GHL's count.
    #[must_use]
    pub const fn start(with_refunds: bool, known_deficit: u64) -> Self {
        let phase = if with_refunds { Phase::Refunds } else { Phase::Orders };
        Self {
            phase,
            offset: 0,
            page_size: PAGE_SIZE,
            tail: Vec::new(),
            steps_back: 0,
            second_pass: false,
            reach: 0,
            furthest: 0,
            most_rows: 0,
            seen: 0,
            total: 0,
            stalled: false,
            known_deficit,
        }
    }

    /// Whether nothing is left to list.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// GHL's count with the page before; 0 before the first page of a pass.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Pages from this one on, as far as GHL's count tells; at least 1.
    #[must_use]
    pub fn pages_left(&self) -> u64 {
        let rows = u64::from(self.page_size);
        self.total.saturating_sub(self.offset).div_ceil((rows - overlap(rows)).max(1)).max(1)
    }

    /// GHL refused the page size: the same page again, smaller. `None` when it already was the small one.
    #[must_use]
    pub fn with_small_pages(&self) -> Option<Self> {
        (self.page_size > SMALL_PAGE_SIZE).then(|| Self { page_size: SMALL_PAGE_SIZE, most_rows: 0, ..self.clone() })
    }

    /// The page after this one, if this one turns out as long as the longest of the pass: it can be read before this one is there.
    /// `None` if GHL counts no rows there.
    #[must_use]
    pub fn ahead(&self) -> Option<Self> {
        let offset = self.offset + self.most_rows - overlap(self.most_rows);
        (self.most_rows > 0 && offset > self.offset && offset < self.total).then(|| Self { offset, ..self.clone() })
    }

    /// Whether both ask GHL for the same rows.
    #[must_use]
    pub fn is_same_page(&self, other: &Self) -> bool {
        (self.phase, self.offset, self.page_size) == (other.phase, other.offset, other.page_size)
    }

    /// What follows this page.
    #[must_use]
    pub fn after(&self, page: Page<'_>) -> (Step, Vec<Issue>) {
        let mut issues = Vec::new();
        // The list keeps its order: what stands behind the last common id is new.
        let common = page.ids.iter().rposition(|id| self.tail.contains(id));
        // Rows of the page before are missing also on an empty page: the list has become shorter than where it starts.
        if !self.tail.is_empty() && common.is_none() {
            if self.steps_back < MAX_STEPS_BACK {
                return (Step::Read(self.one_page_back()), issues);
            }
            issues.push(Issue::new(
                "listing_shifted",
                "Orders were deleted in GHL faster than they could be listed; some may be missing. The next full sync will find them.",
            ));
        }
        let new = page.ids.iter().skip(common.map_or(0, |at| at + 1)).count() as u64;
        let (reach, seen) = (self.offset + page.rows, self.seen + new);
        let most_rows = self.most_rows.max(page.rows);
        let here = Self { most_rows, seen, total: page.total, ..self.clone() };

        let is_credible = page.total >= seen;
        let at_the_end = page.rows < most_rows && is_credible && reach >= page.total;
        // A list that gives the same rows for every offset would never end.
        let gets_further = reach > self.reach && (new > 0 || reach < page.total);
        let swept = self.phase == Phase::Refunds && page.rows == 0;
        if at_the_end || swept || (!gets_further && self.stalled) {
            return (here.end_of_pass(), issues);
        }
        if !gets_further {
            // The page it overlaps with was found, or is given up: then there is nothing to look for.
            let tail = if common.is_some() { self.tail.clone() } else { Vec::new() };
            return (Step::Read(Self { stalled: true, tail, ..here }), issues);
        }
        let shared = overlap(page.rows);
        let next = Self {
            offset: reach - shared,
            tail: page.ids.iter().rev().take(usize::try_from(shared).unwrap_or(usize::MAX)).cloned().collect(),
            steps_back: if reach > self.furthest { 0 } else { self.steps_back },
            reach,
            furthest: self.furthest.max(reach),
            stalled: false,
            ..here
        };
        (Step::Read(next), issues)
    }

    /// What follows the pass through all orders that is over, by how many different orders the run has recorded.
    ///
    /// A deficit that the last complete listing had as well is a miscount of GHL's, and this listing is as complete as one can be.
    #[must_use]
    pub fn close_pass(&self, distinct: u64) -> Closed {
        let is_credible = self.total >= self.seen;
        let deficit = if is_credible { self.total.saturating_sub(distinct) } else { 0 };
        let short = deficit > 0 && deficit != self.known_deficit;
        if short && !self.second_pass {
            return Closed::Again(Self { second_pass: true, ..self.fresh(Phase::Orders) });
        }
        let mut issues = Vec::new();
        if short {
            let message = format!(
                "GHL counts {} orders but listed only {distinct}, twice. Orders that were not listed stay as they are, and the list of valid orders stays the previous one.",
                self.total
            );
            issues.push(Issue::new("listing_short", message));
        }
        Closed::Complete(Completed { listing: self.fresh(Phase::Done), deficit, short, issues })
    }

    /// A pass of this listing that hasn't begun.
    fn fresh(&self, phase: Phase) -> Self {
        Self { phase, page_size: self.page_size, ..Self::start(false, self.known_deficit) }
    }

    fn end_of_pass(self) -> Step {
        match self.phase {
            Phase::Refunds => Step::Read(self.fresh(Phase::Orders)),
            Phase::Orders | Phase::Done => Step::PassOver(self),
        }
    }

    /// The page before once more, because this page shares no id with it: rows in between were skipped.
    fn one_page_back(&self) -> Self {
        let rows = if self.most_rows > 0 { self.most_rows } else { u64::from(self.page_size) };
        let offset = self.offset.saturating_sub(rows - overlap(rows));
        // A page from row 0 has no predecessor to share ids with.
        let tail = if offset == 0 { Vec::new() } else { self.tail.clone() };
        Self { offset, tail, reach: offset, stalled: false, steps_back: self.steps_back + 1, ..self.clone() }
    }
}

/// How many of its rows a page shares with the one after it.
fn overlap(rows: u64) -> u64 {
    u64::from(OVERLAP).min(rows / 2)
}

#[cfg(test)]
mod tests;
