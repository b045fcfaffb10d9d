//! A location: its limiter, its listing and its orders.

#![allow(clippy::panic, reason = "a simulation that leaves its path is a bug")]

use std::collections::VecDeque;

use database::Limits;
use domain::listing::{Closed, Listing, PAGE_SIZE, Page, Step};
use domain::rate::WINDOW;
use limiter_model::{Answer, Ask, Lane, Limiter, MS, Seen};

/// A day's milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// Where a run of this location stands. An order is recorded, then dispatched, then has its calls, then is done.
#[derive(Debug)]
pub(crate) struct Location {
    orders: u64,
    calls_per_day: u64,
    limiter: Limiter,
    next_id: u64,
    pub(crate) listing: Listing,
    /// Different orders that were listed, ever.
    listed: u64,
    pub(crate) has_products: bool,
    /// Listed, and not dispatched.
    pub(crate) recorded: u64,
    /// Dispatched, without calls so far.
    pub(crate) awaited: u64,
    /// Since when calls are free that aren't worth a message yet.
    pub(crate) waits_since: Option<u64>,
    /// When there will be calls for what was dispatched last, and for what is left.
    pub(crate) calls_at: (u64, u64),
    /// How many pulses there were.
    pub(crate) pulses: u64,
    /// Dispatched, and not done.
    pub(crate) under_way: u64,
    pub(crate) done: u64,
    /// What was published: how many were done then, and when.
    pub(crate) published: (u64, u64),
    pub(crate) is_publishing: bool,
    /// Calls in GHL's window, which it counts for itself.
    calls: VecDeque<(u64, u64)>,
    /// The day on which GHL has counted so many.
    today: (u64, u64),
    /// The day whose calls are used up.
    pub(crate) ended_on: Option<u64>,
}

impl Location {
    pub(crate) fn new(orders: u64, calls_per_day: u64) -> Self {
        Self {
            orders,
            calls_per_day,
            limiter: Limiter::default(),
            next_id: 0,
            listing: Listing::start(false, 0),
            listed: 0,
            has_products: false,
            recorded: 0,
            awaited: 0,
            waits_since: None,
            calls_at: (0, 0),
            pulses: 0,
            under_way: 0,
            done: 0,
            published: (0, 0),
            is_publishing: false,
            calls: VecDeque::new(),
            today: (0, 0),
            ended_on: None,
        }
    }

    /// Orders that there are.
    pub(crate) const fn orders(&self) -> u64 {
        self.orders
    }

    /// Different orders that were listed.
    pub(crate) const fn listed(&self) -> u64 {
        self.listed
    }

    pub(crate) const fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The limits as the limiter takes them.
    pub(crate) fn limits(limits: Limits) -> limiter_model::Limits {
        limiter_model::Limits {
            max: i64::from(limits.max),
            window_ms: i64::from(limits.window_ms),
            daily_reserve: i64::from(limits.daily_reserve),
        }
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.done >= self.orders
    }

    fn request(&mut self, now: u64, wanted: u64, limits: Limits) -> Ask {
        self.next_id += 1;
        if now / DAY_MS > self.today.0 {
            self.today = (now / DAY_MS, 0);
        }
        // GHL tells with each answer what is left of the day.
        let daily_remaining = (self.today.1 > 0).then(|| self.calls_per_day.saturating_sub(self.today.1) as i64);
        Ask {
            id: Some(self.next_id),
            lane: Lane::Bulk,
            wanted: wanted as i64,
            remaining: Some(
                (self.orders - self.done.min(self.orders)).saturating_sub(self.under_way - self.awaited) as i64
            ),
            margin_ms: i64::from(limits.margin_ms),
            limits: Self::limits(limits),
            seen: Seen { daily_remaining, ..Seen::default() },
        }
    }

    /// Asks the limiter for calls, which are sent at once.
    pub(crate) fn ask(&mut self, now: u64, wanted: u64, limits: Limits) -> Answer {
        let ask = self.request(now, wanted, limits);
        let answer = self.limiter.ask(now as i64 * MS, &ask);
        let granted = answer.granted as u64;
        if granted > 0 {
            self.today.1 += granted;
            self.calls.push_back((now, granted));
        }
        answer
    }

    /// What could be granted from when on: milliseconds from now, and calls.
    pub(crate) fn peek(&mut self, now: u64, limits: Limits) -> Vec<(u64, u64)> {
        let ask = self.request(now, self.recorded, limits);
        let steps = self.limiter.peek(now as i64 * MS, &ask);
        steps.iter().map(|step| (step.in_ms as u64, step.calls as u64)).collect()
    }

    /// Calls that GHL counts now.
    pub(crate) fn in_window(&mut self, now: u64) -> u64 {
        let window = WINDOW.as_millis() as u64;
        while self.calls.front().is_some_and(|(at, _)| at + window <= now) {
            self.calls.pop_front();
        }
        self.calls.iter().map(|(_, calls)| calls).sum()
    }

    /// How many pages can be read at the same time: one until GHL has told how many there are.
    pub(crate) fn pages_ahead(&self, most: usize) -> u64 {
        let mut page = self.listing.clone();
        let mut pages = 1;
        while pages < most as u64 {
            let Some(next) = page.ahead() else { break };
            (page, pages) = (next, pages + 1);
        }
        pages
    }

    /// Records the next pages. Returns how many rows they had.
    ///
    /// # Panics
    /// If the listing takes a list that stands still for one that moves.
    pub(crate) fn list(&mut self, pages: u64) -> u64 {
        let mut rows = 0;
        for _ in 0..pages {
            let (first, total) = (self.listing.offset, self.orders);
            let ids: Vec<String> =
                (first..total.min(first + u64::from(PAGE_SIZE))).map(|row| row.to_string()).collect();
            rows += ids.len() as u64;
            let reach = (first + ids.len() as u64).max(self.listed);
            self.recorded += reach - self.listed;
            self.listed = reach;
            let (step, issues) = self.listing.after(Page { ids: &ids, rows: ids.len() as u64, total });
            assert!(issues.is_empty(), "{issues:?}");
            match step {
                Step::Read(next) => self.listing = next,
                Step::PassOver(pass) => {
                    let Closed::Complete(completed) = pass.close_pass(self.listed) else { panic!("a short listing") };
                    self.listing = completed.listing;
                    break;
                }
            }
        }
        rows
    }

    /// The day's calls are used up: the run ends, and the next day's lists again. Whether that is new.
    pub(crate) fn end_of_day(&mut self, now: u64) -> bool {
        let today = now / DAY_MS;
        let is_new = self.ended_on != Some(today);
        if is_new {
            self.ended_on = Some(today);
            self.listing = Listing::start(false, 0);
            self.has_products = false;
        }
        is_new
    }
}
