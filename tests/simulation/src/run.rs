//! What the functions do with their messages, step by step: each step is what follows an answer.

#![allow(clippy::indexing_slicing, reason = "the engine numbers the locations that there are")]

use crate::deployed::{MOST_TOGETHER, POST_MS, POSTS_AT_ONCE, UPLOAD_MS};
use domain::listing::PAGE_SIZE;

use crate::engine::{Engine, Message, Queue};
use crate::location::DAY_MS;

/// While the limit has no calls for a listing, or it is a moment too early.
const SHORTEST_WAIT_MS: u64 = 20;

/// Of a location, since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A pulse is claimed.
    Claimed(usize),
    /// A pulse lists; since when.
    List(usize, u64),
    /// So many pages are there.
    Listed(usize, u64, u64),
    /// A pulse dispatches; since when, and whether it has seen to due tickets.
    Dispatch(usize, u64, bool),
    /// A worker asks for calls for so many orders, of which it has got none so far; until when it waits, and when what it has got
    /// before is answered.
    Ask {
        location: usize,
        orders: u64,
        got: u64,
        until: u64,
        answered_at: u64,
    },
    /// So many orders are fetched.
    Fetched(usize, u64),
    /// So many orders are stored.
    Stored(usize, u64),
    Reconcile(usize, u64),
    Reconciled(usize, u64),
    Publish(usize),
    Published(usize),
    /// Nothing follows.
    Done,
}

impl Step {
    pub(crate) const fn of(message: Message) -> Self {
        match message {
            Message::Pulse(location) => Self::Claimed(location),
            Message::Publish(location) => Self::Publish(location),
            Message::Orders(location, orders) => Self::Ask { location, orders, got: 0, until: 0, answered_at: 0 },
            Message::Tickets(location, orders) => Self::Reconcile(location, orders),
        }
    }
}

impl Engine<'_> {
    pub(crate) fn step(&mut self, invocation: u64, step: Step) {
        match step {
            Step::Claimed(location) => self.claimed(invocation, location),
            Step::List(location, since) => self.list(invocation, location, since),
            Step::Listed(location, pages, since) => self.listed(invocation, location, pages, since),
            Step::Dispatch(location, since, is_first) => self.dispatch(invocation, location, since, is_first),
            Step::Ask { location, orders, got, until, answered_at } => {
                self.ask(invocation, location, orders, got, until, answered_at);
            }
            Step::Fetched(location, orders) => {
                let stored = self.database(1, orders);
                self.then(invocation, stored, Step::Stored(location, orders));
            }
            Step::Stored(location, orders) => {
                self.send(Queue::Tickets, Message::Tickets(location, orders), 0);
                self.done(invocation);
            }
            Step::Reconcile(location, orders) => {
                let reconciled = self.database(1, orders);
                self.then(invocation, reconciled, Step::Reconciled(location, orders));
            }
            Step::Reconciled(location, orders) => self.reconciled(invocation, location, orders),
            Step::Publish(location) => {
                // What is newest, and who is connected.
                let known = self.database(1, self.setting.dashboards);
                let posts = 2 * self.setting.dashboards.div_ceil(POSTS_AT_ONCE) * POST_MS;
                self.found.publications += 1;
                self.found.frames += 2 * self.setting.dashboards;
                self.then(invocation, known + UPLOAD_MS + posts, Step::Published(location));
            }
            Step::Published(location) => {
                let confirmed = self.database(1, 1);
                let found = &mut self.locations[location];
                found.is_publishing = false;
                self.then(invocation, confirmed, Step::Done);
            }
            Step::Done => self.done(invocation),
        }
    }

    fn claimed(&mut self, invocation: u64, location: usize) {
        if self.locations[location].is_done() {
            return self.done(invocation);
        }
        let since = self.now;
        let found = &mut self.locations[location];
        found.pulses += 1;
        if !found.listing.is_done() {
            let claimed = self.database(1, 1);
            return self.then(invocation, claimed, Step::List(location, since));
        }
        // It knows from the pulse before when there will be calls, and dispatches as it claims.
        let wait = found
            .calls_at
            .1
            .saturating_sub(since + self.deployed.ahead_ms + self.setting.pace.database_ms)
            .min(self.deployed.short_wait_ms);
        self.then(invocation, wait, Step::Dispatch(location, since, true));
    }

    /// Asks at once for a call for each page that can be read now.
    fn list(&mut self, invocation: u64, location: usize, since: u64) {
        let most = self.deployed.pages_ahead;
        let limits = self.deployed.limits;
        let products = u64::from(!self.locations[location].has_products);
        let pages = self.locations[location].pages_ahead(most);
        let asked = self.database(1 + products, 1) / (1 + products);
        let (mut granted, mut wait) = (0, 0);
        for _ in 0..pages + products {
            let answer = self.locations[location].ask(self.now, 1, limits);
            if answer.budget_exhausted {
                return self.end_of_day(invocation, location);
            }
            if answer.granted == 0 {
                wait = answer.wait_ms as u64;
                break;
            }
            granted += 1;
        }
        self.count_calls(location, granted);
        if granted == 0 {
            let until = since + self.deployed.longest_listing_ms;
            if self.now + wait < until {
                self.then(invocation, asked + wait.max(SHORTEST_WAIT_MS), Step::List(location, since));
            } else {
                self.then(invocation, asked, Step::Dispatch(location, since, true));
            }
            return;
        }
        let answered = self.answers(granted);
        let stored = if products > 0 { self.database(1, 1) } else { 0 };
        self.locations[location].has_products = true;
        let next = match granted - products {
            0 => Step::List(location, since),
            pages => Step::Listed(location, pages, since),
        };
        self.then(invocation, asked + answered + stored, next);
    }

    fn listed(&mut self, invocation: u64, location: usize, pages: u64, since: u64) {
        let rows = self.locations[location].list(pages);
        // The pages, with what is dispatched at once; and that the pass is over.
        let calls =
            pages.div_ceil(self.deployed.pages_per_call) + u64::from(self.locations[location].listing.is_done());
        let recorded = self.database(calls, rows.min(self.deployed.pages_per_call * u64::from(PAGE_SIZE)));
        self.hand_out(location);
        let is_over = self.now - since >= self.deployed.longest_listing_ms;
        let next = if self.locations[location].listing.is_done() || is_over {
            Step::Dispatch(location, since, true)
        } else {
            Step::List(location, since)
        };
        self.then(invocation, recorded, next);
    }

    fn dispatch(&mut self, invocation: u64, location: usize, since: u64, is_first: bool) {
        if self.locations[location].is_done() {
            return self.done(invocation);
        }
        if self.locations[location].ended_on == Some(self.now / DAY_MS) {
            return self.end_of_day(invocation, location);
        }
        let next = self.hand_out(location);
        let sees_to_due =
            is_first && (next.is_none() || self.locations[location].pulses.is_multiple_of(self.deployed.due_every));
        let dispatched = self.database(if sees_to_due { 2 } else { 1 }, MOST_TOGETHER);
        let ahead = self.deployed.ahead_ms + self.setting.pace.database_ms;
        let here = next.map(|wait| wait.saturating_sub(ahead));
        let is_listed = self.locations[location].listing.is_done();
        match (next, here) {
            (Some(_), Some(here))
                if is_listed
                    && here < self.deployed.short_wait_ms
                    && self.now - since + here < self.deployed.longest_stay_ms =>
            {
                let wait = dispatched + here.max(SHORTEST_WAIT_MS);
                self.then(invocation, wait, Step::Dispatch(location, since, false));
            }
            _ => {
                let every = self.deployed.pulse_every_ms;
                self.locations[location].calls_at.1 = next.map_or(0, |wait| self.now + wait);
                let delay = next.map_or(every, |wait| every.min((wait / 1_000).saturating_sub(1) * 1_000));
                self.send(Queue::Runs, Message::Pulse(location), delay);
                self.then(invocation, dispatched, Step::Done);
            }
        }
    }

    /// Sends as many recorded orders as there will soon be calls for; until when there are calls for more, if any are left.
    fn hand_out(&mut self, location: usize) -> Option<u64> {
        let (limits, ahead) = (self.deployed.limits, self.deployed.ahead_ms + self.setting.pace.database_ms);
        let third = u64::from(limits.window_ms) / 3;
        let found = &mut self.locations[location];
        let steps = found.peek(self.now, limits);
        let awaited = found.awaited;
        let longest_wait = u64::from(limits.window_ms) / 5;
        let now = self.now;
        let is_free = steps.first().is_some_and(|(at, calls)| *at == 0 && *calls > awaited);
        found.waits_since = is_free.then(|| found.waits_since.unwrap_or(now));
        // Small pieces wait for others that make them larger, for a fifth of a window from when the first was free.
        let worth = |awaited: u64, left: u64, waits_since: Option<u64>| {
            let more = steps.iter().filter(|(_, calls)| *calls > awaited);
            let first = more.clone().map(|(at, _)| *at).min()?;
            let until =
                waits_since.map_or(first + longest_wait, |since| (since + longest_wait).saturating_sub(now).max(first));
            let soon = more.filter(|(at, _)| *at <= until);
            let enough = awaited + self.deployed.worth_a_message.min(left.max(1));
            let most = soon.clone().map(|(_, calls)| *calls - awaited).max().unwrap_or(0);
            soon.clone()
                .find(|(_, calls)| *calls >= enough)
                .or_else(|| soon.clone().find(|(_, calls)| 5 * (*calls - awaited) >= 4 * most))
                .map(|(at, _)| *at)
        };
        let free_at = worth(awaited, found.recorded, found.waits_since);
        let soon = steps.iter().filter(|(at, _)| *at <= ahead).map(|(_, calls)| *calls).max().unwrap_or(0);
        let free = if free_at.is_some_and(|at| at <= ahead) { soon.saturating_sub(awaited) } else { 0 };
        let free_in = free_at.unwrap_or(0);
        let room = u64::from(2 * (limits.max - database::IDLE_RESERVE)).saturating_sub(found.under_way);
        let orders = found.recorded.min(free).min(room);
        if orders > 0 {
            found.waits_since = None;
        }
        let next =
            if orders < free { Some(500) } else { worth(awaited + orders, found.recorded - orders, found.waits_since) };
        found.recorded -= orders;
        if orders > 0 {
            found.calls_at.0 = self.now + free_in;
        }
        found.awaited += orders;
        found.under_way += orders;
        let left = found.recorded;
        let messages = orders.div_ceil(MOST_TOGETHER);
        for message in 0..messages {
            let share = orders / messages + u64::from(message < orders % messages);
            self.send(Queue::Bulk, Message::Orders(location, share), 0);
        }
        if left == 0 {
            return None;
        }
        let after_these = (orders > 0).then_some(free_in + third);
        next.into_iter().chain(after_these).min()
    }

    fn ask(&mut self, invocation: u64, location: usize, orders: u64, got: u64, until: u64, answered_at: u64) {
        let database_ms = self.setting.pace.database_ms;
        // Since its first ask.
        if until == 0 {
            // Its message tells when there will be calls.
            let wait = self.locations[location]
                .calls_at
                .0
                .saturating_sub(self.now + database_ms / 2)
                .min(self.deployed.patience_ms);
            let until = self.now + wait + self.deployed.patience_ms + database_ms;
            return self.then(invocation, wait, Step::Ask { location, orders, got, until, answered_at });
        }
        let asked = self.database(1, 1);
        let limits = self.deployed.limits;
        let answer = self.locations[location].ask(self.now, orders, limits);
        let granted = answer.granted as u64;
        self.locations[location].awaited -= granted;
        self.count_calls(location, granted);
        let answered = if granted > 0 { self.now + asked + self.answers(granted) } else { 0 };
        let (answered_at, got, left) = (answered_at.max(answered), got + granted, orders - granted);
        let wait = (answer.wait_ms as u64).max(SHORTEST_WAIT_MS);
        if left > 0 && !answer.budget_exhausted && self.now + wait < until {
            return self.then(invocation, wait, Step::Ask { location, orders: left, got, until, answered_at });
        }
        let mut wait = answered_at.saturating_sub(self.now);
        if left > 0 {
            let found = &mut self.locations[location];
            found.awaited -= left;
            found.under_way -= left;
            found.recorded += left;
            self.found.given_back += left;
            wait = wait.max(asked) + self.database(1, left);
            if answer.budget_exhausted && self.locations[location].end_of_day(self.now) {
                self.found.pauses += 1;
            }
        }
        let next = if got > 0 { Step::Fetched(location, got) } else { Step::Done };
        self.then(invocation, wait, next);
    }

    fn reconciled(&mut self, invocation: u64, location: usize, orders: u64) {
        let every = self.deployed.publish_every_ms;
        let now = self.now;
        let found = &mut self.locations[location];
        found.done += orders;
        found.under_way -= orders;
        // One publication is under way at a time, and the newest state wins.
        let is_due = found.is_done() || now >= found.published.1 + every;
        if is_due && !found.is_publishing {
            found.published = (found.done, now);
            found.is_publishing = true;
            self.send(Queue::Runs, Message::Publish(location), 0);
        }
        self.done(invocation);
    }

    /// The run of today is over. Tomorrow's lists again and goes on with what isn't stored.
    fn end_of_day(&mut self, invocation: u64, location: usize) {
        if self.locations[location].end_of_day(self.now) {
            self.found.pauses += 1;
        }
        let ended = self.database(1, 1);
        self.send(Queue::Runs, Message::Pulse(location), (self.now / DAY_MS + 1) * DAY_MS - self.now);
        self.then(invocation, ended, Step::Done);
    }

    fn count_calls(&mut self, location: usize, calls: u64) {
        self.found.ghl_calls += calls;
        if calls > 0 {
            let in_window = self.locations[location].in_window(self.now);
            self.found.most_in_window = self.found.most_in_window.max(in_window);
        }
    }
}
