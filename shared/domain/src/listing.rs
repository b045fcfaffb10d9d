//! Paging through GHL's orders, newest first, while orders come and go.
//!
//! Offset paging shifts when an order is inserted or deleted between two pages. So each page overlaps the one before by [`OVERLAP`]
//! rows: as long as the two share an id, nothing was skipped. The state is kept in the run row, so any pulse can go on from it.

use serde::{Deserialize, Serialize};

use crate::issue::Issue;

/// Rows per page: the most GHL is known to grant.
pub const PAGE_SIZE: u32 = 100;
/// Rows per page once GHL has refused [`PAGE_SIZE`].
pub const SMALL_PAGE_SIZE: u32 = 50;
/// Rows each page shares with the one before: fewer than ten rows deleted between two reads do no harm. A larger
/// overlap would cost more calls; ten rows of a hundred cost a tenth more.
pub const OVERLAP: u32 = 10;
/// Pages without a common id in a row before the listing goes on with an issue. A page read again normally has one; after three
/// such pages the list shifts faster than it can be read, and the run must still end.
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
    /// How many pages in a row had no common id.
    #[serde(default)]
    steps_back: u32,
    /// Whether this is the second pass, after the first found fewer orders than GHL counts.
    #[serde(default)]
    second_pass: bool,
}

/// What is known of a page.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The ids on it, in GHL's order.
    pub ids: &'a [String],
    /// GHL's `totalCount`.
    pub total: u64,
}

impl Listing {
    /// The start of a listing, with the sweep for refunds first where wanted.
    #[must_use]
    pub const fn start(with_refunds: bool) -> Self {
        let phase = if with_refunds { Phase::Refunds } else { Phase::Orders };
        Self { phase, offset: 0, page_size: PAGE_SIZE, tail: Vec::new(), steps_back: 0, second_pass: false }
    }

    /// Whether nothing is left to list.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// GHL refused the page size: the same page again, smaller. `None` when it already was the small one.
    #[must_use]
    pub fn with_small_pages(&self) -> Option<Self> {
        (self.page_size > SMALL_PAGE_SIZE).then(|| Self { page_size: SMALL_PAGE_SIZE, ..self.clone() })
    }

    /// Whether this page is a full one: then another page follows, whatever the run has recorded.
    #[must_use]
    pub fn is_full(&self, page: Page<'_>) -> bool {
        page.ids.len() as u64 >= u64::from(self.page_size)
    }

    /// Where the next page starts if this one turns out to be a full one: it can be read before this one is there.
    #[must_use]
    pub fn after_full_page(&self) -> Self {
        Self { offset: self.offset + u64::from(self.page_size - OVERLAP), ..self.clone() }
    }

    /// Whether both ask GHL for the same rows.
    #[must_use]
    pub fn is_same_page(&self, other: &Self) -> bool {
        (self.phase, self.offset, self.page_size) == (other.phase, other.offset, other.page_size)
    }

    /// What to list after this page. `distinct` is how many different orders this run has recorded, this page included.
    #[must_use]
    pub fn after(&self, page: Page<'_>, distinct: u64) -> (Self, Vec<Issue>) {
        let mut issues = Vec::new();
        let rows = page.ids.len() as u64;
        // Rows of the page before are missing also on an empty page: the list has become shorter than where it starts.
        let lost = !self.tail.is_empty() && !page.ids.iter().any(|id| self.tail.contains(id));
        if lost {
            if self.steps_back < MAX_STEPS_BACK {
                return (self.one_page_back(), issues);
            }
            issues.push(Issue::new(
                "listing_shifted",
                "Orders were deleted in GHL faster than they could be listed; some may be missing. The next full sync will find them.",
            ));
        }
        if self.is_full(page) {
            let tail = page.ids.iter().rev().take(OVERLAP as usize).cloned().collect();
            let offset = self.offset + rows - u64::from(OVERLAP);
            return (Self { offset, tail, steps_back: 0, ..self.clone() }, issues);
        }
        match self.phase {
            Phase::Refunds => (Self { page_size: self.page_size, ..Self::start(false) }, issues),
            Phase::Done => (self.clone(), issues),
            Phase::Orders if distinct < page.total && !self.second_pass => {
                (Self { second_pass: true, page_size: self.page_size, ..Self::start(false) }, issues)
            }
            Phase::Orders => {
                if distinct < page.total {
                    issues.push(Issue::new(
                        "listing_short",
                        format!("GHL counts {} orders but listed only {distinct}, twice. Orders that were not listed stay as they are.", page.total),
                    ));
                }
                (Self { phase: Phase::Done, tail: Vec::new(), ..self.clone() }, issues)
            }
        }
    }

    /// The page before once more, because this page shares no id with it: rows in between were skipped.
    fn one_page_back(&self) -> Self {
        let step = u64::from(self.page_size - OVERLAP);
        let offset = self.offset.saturating_sub(step);
        // A page from row 0 has no predecessor to share ids with.
        let tail = if offset == 0 { Vec::new() } else { self.tail.clone() };
        Self { offset, tail, steps_back: self.steps_back + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Lists `orders` (newest first), letting `change` alter them before each page; gives what was seen and the issues.
    fn list(
        orders: &mut Vec<String>,
        mut change: impl FnMut(usize, &mut Vec<String>),
    ) -> (BTreeSet<String>, Vec<Issue>, usize) {
        let (mut listing, mut seen, mut issues, mut calls) = (Listing::start(false), BTreeSet::new(), Vec::new(), 0);
        while !listing.is_done() {
            change(calls, orders);
            let ids: Vec<_> =
                orders.iter().skip(listing.offset as usize).take(listing.page_size as usize).cloned().collect();
            seen.extend(ids.iter().cloned());
            let page = Page { ids: &ids, total: orders.len() as u64 };
            let (next, found) = listing.after(page, seen.len() as u64);
            if listing.is_full(page) {
                assert_eq!(
                    listing.after(page, 0).0,
                    next,
                    "what follows a full page can be read before this one is recorded"
                );
            }
            (listing, calls) = (next, calls + 1);
            issues.extend(found);
            assert!(calls < 1000, "the listing doesn't end");
        }
        (seen, issues, calls)
    }

    /// As `list`, but with pages asked for ahead, each answered when `late` says: between `change`s the list stands still.
    fn list_ahead(
        orders: &mut Vec<String>,
        pages_ahead: usize,
        mut change: impl FnMut(usize, &mut Vec<String>),
        mut late: impl FnMut(usize) -> bool,
    ) -> (BTreeSet<String>, usize) {
        let read = |orders: &[String], at: &Listing| -> Vec<String> {
            orders.iter().skip(at.offset as usize).take(at.page_size as usize).cloned().collect()
        };
        let (mut listing, mut seen, mut calls, mut total) = (Listing::start(false), BTreeSet::new(), 0, 0);
        // Pages under way, and their rows once they were answered.
        let mut under_way: Vec<(Listing, Option<Vec<String>>)> = Vec::new();
        while !listing.is_done() {
            if under_way.first().is_none_or(|(first, _)| !first.is_same_page(&listing)) {
                under_way = vec![(listing.clone(), None)];
            }
            while under_way.len() <= pages_ahead {
                let next = under_way.last().unwrap().0.after_full_page();
                if next.offset >= total {
                    break;
                }
                under_way.push((next, None));
            }
            // The last ones may be answered before the first.
            for (at, rows) in under_way.iter_mut().rev() {
                if rows.is_none() && !late(calls) {
                    change(calls, orders);
                    *rows = Some(read(orders, at));
                    calls += 1;
                }
            }
            let (_, rows) = under_way.remove(0);
            let ids = rows.unwrap_or_else(|| {
                change(calls, orders);
                calls += 1;
                read(orders, &listing)
            });
            seen.extend(ids.iter().cloned());
            total = orders.len() as u64;
            listing = listing.after(Page { ids: &ids, total }, seen.len() as u64).0;
            assert!(calls < 2000, "the listing doesn't end");
        }
        (seen, calls)
    }

    #[test]
    fn reading_ahead_costs_a_still_list_no_call() {
        for (n, calls) in [(0, 1), (99, 1), (100, 2), (190, 3), (280, 4), (1000, 12)] {
            let (seen, made) = list_ahead(&mut orders(n), 4, |_, _| (), |call| call % 3 == 1);
            assert_eq!((seen.len(), made), (n, calls), "{n} orders");
        }
    }

    fn orders(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("o{i}")).collect()
    }

    #[test]
    fn lists_all_of_a_still_list() {
        for (n, calls) in [(0, 1), (1, 1), (99, 1), (100, 2), (101, 2), (190, 3), (1000, 12)] {
            let (seen, issues, made) = list(&mut orders(n), |_, _| ());
            assert_eq!((seen.len(), issues.len(), made), (n, 0, calls), "{n} orders");
        }
    }

    #[test]
    fn goes_back_when_more_rows_vanished_than_pages_overlap() {
        let (seen, ..) = list(&mut orders(300), |call, orders| {
            if call == 1 {
                orders.drain(0..50);
            }
        });
        assert!((50..300).all(|i| seen.contains(&format!("o{i}"))));
    }

    #[test]
    fn a_short_page_too_early_is_listed_again_and_then_reported() {
        let ids = orders(20);
        let (again, none) = Listing::start(false).after(Page { ids: &ids, total: 50 }, 20);
        assert_eq!((again.offset, again.is_done(), none.len()), (0, false, 0));
        let (done, issues) = again.after(Page { ids: &ids, total: 50 }, 20);
        assert!(done.is_done() && issues[0].code == "listing_short");
    }

    #[test]
    fn refunds_come_first_and_small_pages_stay_small() {
        let small = Listing::start(true).with_small_pages().unwrap();
        assert!(small.with_small_pages().is_none());
        let (orders, _) = small.after(Page { ids: &[], total: 0 }, 0);
        assert_eq!((orders.phase, orders.page_size), (Phase::Orders, SMALL_PAGE_SIZE));
    }

    mod properties {
        use super::*;

        proptest! {
            #[test]
            fn every_order_that_stays_is_listed_whatever_comes_and_goes(
                n in 0usize..600,
                inserts in prop::collection::vec((0usize..12, 1usize..30), 0..5),
                deletes in prop::collection::vec((1usize..12, 0usize..600, 1usize..40), 0..9),
            ) {
                let mut all = orders(n);
                let mut gone = BTreeSet::new();
                let (seen, ..) = list(&mut all, |call, orders| {
                    for (_, count) in inserts.iter().filter(|(when, _)| *when == call) {
                        for i in 0..*count { orders.insert(0, format!("new{call}-{i}-{count}")); }
                    }
                    for (_, at, count) in deletes.iter().filter(|(when, ..)| *when == call) {
                        for _ in 0..*count {
                            if *at < orders.len() { gone.insert(orders.remove(*at)); }
                        }
                    }
                });
                for id in orders(n) {
                    prop_assert!(seen.contains(&id) || gone.contains(&id), "{id} was missed");
                }
            }

            #[test]
            fn every_order_that_stays_is_listed_also_when_pages_are_read_ahead(
                n in 0usize..900,
                changes in prop::collection::vec((0usize..30, any::<bool>(), 0usize..900, 1usize..40), 0..12),
                late in prop::collection::vec(any::<bool>(), 7),
            ) {
                let mut all = orders(n);
                let mut gone = BTreeSet::new();
                let (seen, _) = list_ahead(&mut all, 4, |call, orders| {
                    for (_, insert, at, count) in changes.iter().filter(|(when, ..)| *when == call) {
                        for i in 0..*count {
                            if *insert {
                                orders.insert(0, format!("new{call}-{at}-{i}-{count}"));
                            } else if *at < orders.len() {
                                gone.insert(orders.remove(*at));
                            }
                        }
                    }
                }, |call| late[call % late.len()]);
                for id in orders(n) {
                    prop_assert!(seen.contains(&id) || gone.contains(&id), "{id} was missed");
                }
            }
        }
    }
}
