use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A list of orders as GHL shows it, newest first.
#[derive(Clone)]
struct Ghl {
    orders: Vec<String>,
    /// GHL gives no more rows than these, whatever is asked for.
    cap: usize,
    /// Orders whose row has no usable id.
    unreadable: BTreeSet<String>,
    count: Count,
    /// Orders that GHL counts but never lists.
    hidden: u64,
}

/// GHL's `totalCount`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    Right,
    Zero,
    /// So many more or fewer than there are.
    Off(i64),
    /// Of the page alone.
    OfThePage,
}

impl Ghl {
    fn of(n: usize) -> Self {
        let orders = (0..n).map(|i| format!("o{i}")).collect();
        Self { orders, cap: 100, unreadable: BTreeSet::new(), count: Count::Right, hidden: 0 }
    }

    fn with(n: usize, cap: usize, count: Count) -> Self {
        Self { cap, count, ..Self::of(n) }
    }

    /// The readable ids of a page, its rows, and GHL's count.
    fn page(&self, at: &Listing) -> (Vec<String>, u64, u64) {
        let limit = self.cap.min(at.page_size as usize);
        let rows: Vec<_> = self.orders.iter().skip(at.offset as usize).take(limit).collect();
        let there = self.orders.len() as i64 + self.hidden as i64;
        let total = match self.count {
            Count::Right => there,
            Count::Zero => 0,
            Count::Off(by) => (there + by).max(0),
            Count::OfThePage => rows.len() as i64,
        };
        let ids = rows.iter().filter(|id| !self.unreadable.contains(**id)).map(|id| (*id).clone()).collect();
        (ids, rows.len() as u64, total as u64)
    }
}

/// What a listing brought.
#[derive(Debug)]
struct Listed {
    seen: BTreeSet<String>,
    calls: usize,
    done: Completed,
    issues: Vec<Issue>,
}

impl Listed {
    fn codes(&self) -> Vec<&str> {
        self.issues.iter().map(|issue| issue.code.as_str()).collect()
    }
}

/// Lists as the run worker does, with up to `ahead` pages read at once; `change` alters the list before each call, and `late` says
/// which answers come only when they are waited for.
fn list_ahead(
    ghl: &mut Ghl,
    known_deficit: u64,
    ahead: usize,
    mut change: impl FnMut(usize, &mut Ghl),
    mut late: impl FnMut(usize) -> bool,
) -> Listed {
    type Answer = (Vec<String>, u64, u64);
    let (mut listing, mut seen, mut issues, mut calls) =
        (Listing::start(false, known_deficit), BTreeSet::new(), Vec::new(), 0);
    let mut under_way: Vec<(Listing, Option<Answer>)> = Vec::new();
    loop {
        if under_way.first().is_none_or(|(first, _)| !first.is_same_page(&listing)) {
            under_way = vec![(listing.clone(), None)];
        }
        while under_way.len() <= ahead
            && let Some(next) = under_way.last().unwrap().0.ahead()
        {
            under_way.push((next, None));
        }
        // The last ones may be answered before the first.
        for (at, answer) in under_way.iter_mut().rev() {
            if answer.is_none() && !late(calls) {
                change(calls, ghl);
                *answer = Some(ghl.page(at));
                calls += 1;
            }
        }
        let (ids, rows, total) = under_way.remove(0).1.unwrap_or_else(|| {
            change(calls, ghl);
            calls += 1;
            ghl.page(&listing)
        });
        assert!(calls < 3000, "the listing doesn't end: {listing:?}");
        seen.extend(ids.iter().cloned());
        let (step, found) = listing.after(Page { ids: &ids, rows, total });
        issues.extend(found);
        listing = match step {
            Step::Read(next) => next,
            Step::PassOver(over) => match over.close_pass(seen.len() as u64) {
                Closed::Again(again) => again,
                Closed::Complete(done) => {
                    issues.extend(done.issues.clone());
                    return Listed { seen, calls, done, issues };
                }
            },
        };
    }
}

fn list(ghl: &mut Ghl, change: impl FnMut(usize, &mut Ghl)) -> Listed {
    list_ahead(ghl, 0, 0, change, |_| false)
}

/// A list that nobody changes.
fn still(ghl: &Ghl) -> Listed {
    list(&mut ghl.clone(), |_, _| ())
}

#[test]
fn lists_all_of_a_still_list() {
    for (n, calls) in [(0, 2), (1, 2), (7, 2), (99, 2), (100, 2), (101, 2), (190, 3), (191, 3), (1000, 12)] {
        let listed = still(&Ghl::of(n));
        assert_eq!((listed.seen.len(), listed.calls), (n, calls), "{n} orders");
        assert!(!listed.done.short && listed.issues.is_empty(), "{n} orders: {listed:?}");
    }
}

#[test]
fn reading_ahead_costs_a_still_list_no_call() {
    for (n, calls) in [(0, 2), (99, 2), (100, 2), (190, 3), (280, 4), (1000, 12)] {
        let listed = list_ahead(&mut Ghl::of(n), 0, 4, |_, _| (), |call| call % 3 == 1);
        assert_eq!((listed.seen.len(), listed.calls), (n, calls), "{n} orders");
    }
}

/// Each with the number of orders, GHL's cap, its count, and the most calls that are due.
#[test]
fn a_pages_length_and_ghls_count_are_no_end() {
    for (n, cap, count, calls) in [
        // A silent cap, the last page exactly full or not.
        (730, 50, Count::Right, 19),
        (50, 50, Count::Right, 2),
        (51, 50, Count::Right, 2),
        (90, 50, Count::Right, 3),
        (100, 10, Count::Right, 20),
        (10, 10, Count::Right, 2),
        (37, 10, Count::Right, 8),
        (5, 1, Count::Right, 7),
        // Without a count, the list ends where it reaches no further, twice.
        (0, 100, Count::Zero, 2),
        (1, 100, Count::Zero, 3),
        (100, 100, Count::Zero, 3),
        (1000, 100, Count::Zero, 14),
        (100, 10, Count::Zero, 21),
        // A count that is too small isn't believed.
        (1000, 100, Count::Off(-1), 14),
        (1000, 100, Count::Off(-500), 14),
        (730, 50, Count::Off(-700), 20),
        (1000, 100, Count::OfThePage, 14),
        (60, 10, Count::OfThePage, 13),
    ] {
        let listed = still(&Ghl::with(n, cap, count));
        assert_eq!(listed.seen.len(), n, "{n} orders, cap {cap}, {count:?}");
        assert!(listed.calls <= calls, "{n} orders, cap {cap}, {count:?}: {} calls", listed.calls);
        assert!(!listed.done.short && listed.issues.is_empty(), "{n} orders, cap {cap}, {count:?}: {listed:?}");
    }
}

#[test]
fn a_count_that_is_too_large_is_read_twice_reported_and_then_known() {
    for (cap, calls) in [(100, 13), (50, 27), (10, 201)] {
        let ghl = Ghl { hidden: 5, ..Ghl::with(1000, cap, Count::Right) };
        let first = still(&ghl);
        assert_eq!((first.seen.len(), first.done.deficit, first.done.short), (1000, 5, true), "cap {cap}");
        assert_eq!((first.codes(), first.calls), (vec!["listing_short"], 2 * calls), "cap {cap}");

        let again = list_ahead(&mut ghl.clone(), first.done.deficit, 0, |_, _| (), |_| false);
        assert_eq!(
            (again.done.deficit, again.done.short, again.issues.len()),
            (5, false, 0),
            "cap {cap}: GHL miscounts"
        );
        assert_eq!(again.calls, calls, "cap {cap}: one pass");

        let more = list_ahead(&mut Ghl { hidden: 6, ..ghl }, first.done.deficit, 0, |_, _| (), |_| false);
        assert!(more.done.short, "cap {cap}: one more is missing than last time");
    }
}

#[test]
fn a_row_without_an_id_takes_no_row_from_another() {
    for at in [0, 45, 89, 90, 95, 99, 100, 140, 299] {
        let unreadable = BTreeSet::from([format!("o{at}")]);
        let listed = still(&Ghl { unreadable, ..Ghl::of(300) });
        assert_eq!((listed.seen.len(), listed.done.deficit), (299, 1), "row {at}");
        assert_eq!((listed.codes(), listed.calls), (vec!["listing_short"], 8), "row {at}");
    }
    // A whole page of them.
    let unreadable = (100..200).map(|i| format!("o{i}")).collect();
    let listed = still(&Ghl { unreadable, ..Ghl::of(300) });
    assert!(listed.done.short && listed.calls < 40, "{listed:?}");
    assert_eq!(listed.seen.len(), 200);
}

#[test]
fn a_page_that_came_short_once_is_no_end() {
    for count in [Count::Right, Count::Zero, Count::Off(-250)] {
        for short in [0, 1, 5, 8, 9, 11, 60] {
            let mut ghl = Ghl::with(300, 100, count);
            let listed = list(&mut ghl, |call, ghl| ghl.cap = if call == 1 { short } else { 100 });
            assert_eq!((listed.seen.len(), listed.done.short), (300, false), "{short} rows, {count:?}");
        }
    }
}

#[test]
fn a_list_that_ignores_the_offset_ends() {
    for count in [Count::Right, Count::Zero, Count::Off(5000)] {
        let ghl = Ghl::with(100, 100, count);
        let (mut listing, mut calls) = (Listing::start(false, 0), 0);
        let done = loop {
            let (ids, rows, total) = ghl.page(&Listing::start(false, 0));
            calls += 1;
            assert!(calls < 200, "{count:?}: the listing doesn't end: {listing:?}");
            listing = match listing.after(Page { ids: &ids, rows, total }).0 {
                Step::Read(next) => next,
                Step::PassOver(over) => match over.close_pass(100) {
                    Closed::Again(again) => again,
                    Closed::Complete(done) => break done,
                },
            };
        };
        assert_eq!(done.short, count == Count::Off(5000), "{count:?}");
    }
}

#[test]
fn goes_back_when_more_rows_vanished_than_pages_overlap() {
    let listed = list(&mut Ghl::of(300), |call, ghl| {
        if call == 1 {
            ghl.orders.drain(0..50);
        }
    });
    assert!((50..300).all(|i| listed.seen.contains(&format!("o{i}"))));
}

#[test]
fn a_list_that_vanishes_ends() {
    for at in 0..4 {
        let listed = list(&mut Ghl::of(300), |call, ghl| {
            if call == at {
                ghl.orders.clear();
            }
        });
        assert!(!listed.done.short && listed.calls < 10, "before call {at}: {listed:?}");
    }
}

#[test]
fn refunds_come_first_and_small_pages_stay_small() {
    let small = Listing::start(true, 3).with_small_pages().unwrap();
    assert!(small.with_small_pages().is_none());
    let (step, _) = small.after(Page { ids: &[], rows: 0, total: 0 });
    let Step::Read(orders) = step else { panic!("the orders follow") };
    assert_eq!((orders.phase, orders.page_size, orders.known_deficit), (Phase::Orders, SMALL_PAGE_SIZE, 3));
}

#[test]
fn what_an_earlier_version_stored_can_be_gone_on_with() {
    let stored = r#"{"phase": "orders", "offset": 180, "page_size": 100, "tail": ["o180"], "steps_back": 0, "second_pass": false}"#;
    let listing: Listing = serde_json::from_str(stored).unwrap();
    let ids: Vec<_> = (180..230).map(|i| format!("o{i}")).collect();
    let (Step::Read(next), _) = listing.after(Page { ids: &ids, rows: 50, total: 230 }) else { panic!("once more") };
    let (Step::PassOver(over), _) = next.after(Page { ids: &ids[40..], rows: 10, total: 230 }) else { panic!("over") };
    assert!(matches!(over.close_pass(230), Closed::Complete(done) if !done.short));
}

mod properties {
    use super::*;

    /// What comes and goes: before which call, whether it comes, where, how many.
    type Changes = Vec<(usize, bool, usize, usize)>;

    fn changes() -> impl Strategy<Value = Changes> {
        prop::collection::vec((0usize..30, any::<bool>(), 0usize..900, 1usize..40), 0..12)
    }

    fn count() -> impl Strategy<Value = Count> {
        prop_oneof![
            3 => Just(Count::Right),
            1 => Just(Count::Zero),
            1 => (-900i64..0).prop_map(Count::Off),
            1 => (1i64..900).prop_map(Count::Off),
            1 => Just(Count::OfThePage),
        ]
    }

    fn apply(changes: &Changes, call: usize, ghl: &mut Ghl, gone: &mut BTreeSet<String>) {
        for (_, insert, at, count) in changes.iter().filter(|(when, ..)| *when == call) {
            for i in 0..*count {
                if *insert {
                    ghl.orders.insert(0, format!("new{call}-{at}-{i}-{count}"));
                } else if *at < ghl.orders.len() {
                    gone.insert(ghl.orders.remove(*at));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_order_that_stays_is_listed_whatever_comes_and_goes(
            n in 0usize..900,
            cap in prop_oneof![3 => Just(100usize), 1 => Just(50), 1 => 30usize..100],
            count in prop_oneof![4 => Just(Count::Right), 1 => (0i64..50).prop_map(Count::Off)],
            ahead in 0usize..5,
            changes in changes(),
            late in prop::collection::vec(any::<bool>(), 7),
        ) {
            let (mut ghl, mut gone) = (Ghl::with(n, cap, count), BTreeSet::new());
            let listed = list_ahead(&mut ghl, 0, ahead, |call, ghl| apply(&changes, call, ghl, &mut gone), |call| late[call % late.len()]);
            let shifted = listed.codes().contains(&"listing_shifted");
            for id in (0..n).map(|i| format!("o{i}")) {
                prop_assert!(listed.seen.contains(&id) || gone.contains(&id) || shifted, "{id} was missed");
            }
        }

        #[test]
        fn a_still_list_is_listed_whole_whatever_ghl_counts_and_gives(
            n in 0usize..900, cap in 1usize..=100, count in count(), ahead in 0usize..5,
        ) {
            let listed = list_ahead(&mut Ghl::with(n, cap, count), 0, ahead, |_, _| (), |_| false);
            prop_assert_eq!(listed.seen.len(), n);
            prop_assert_eq!(listed.done.short, matches!(count, Count::Off(by) if by > 0));
        }

        #[test]
        fn a_listing_ends_once_ghl_answers_sensibly(
            n in 0usize..300,
            nonsense in prop::collection::vec((0usize..300, 0usize..100, 0usize..5, 0u64..400), 1..60),
        ) {
            let (ghl, mut listing, mut calls) = (Ghl::of(n), Listing::start(true, 0), 0);
            loop {
                let (ids, rows, total) = match nonsense.get(calls) {
                    Some((first, readable, unreadable, total)) => {
                        let ids: Vec<_> = (*first..first + readable).map(|i| format!("o{i}")).collect();
                        (ids, (readable + unreadable) as u64, *total)
                    }
                    None => ghl.page(&listing),
                };
                calls += 1;
                prop_assert!(calls < 200, "the listing doesn't end: {:?}", listing);
                listing = match listing.after(Page { ids: &ids, rows, total }).0 {
                    Step::Read(next) => next,
                    Step::PassOver(over) => match over.close_pass(n as u64) {
                        Closed::Again(again) => again,
                        Closed::Complete(_) => break,
                    },
                };
            }
        }
    }
}
