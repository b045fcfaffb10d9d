//! A full sync of very many orders on a virtual clock: the real paging over an exact window of GHL's limit, with batches, workers and
//! publications as the template configures them. What a call takes is as measured or as assumed in [`Pace`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use agreements::Template;
use database::RunSettings;
use domain::listing::{Closed, Listing, PAGE_SIZE, Page, Step};
use domain::rate::CALLS_PER_DAY;
use domain::run::{LONGEST_LISTING, PULSE_EVERY};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::LIMITS;
use crate::incremental::pages;
use crate::report::Report;

/// GHL's window with its margin, and a day's calls less the reserve.
const WINDOW_MS: u64 = (LIMITS.window_ms + LIMITS.margin_ms) as u64;
const BULK_LANE: usize = crate::BULK_LANE as usize;
const DAY_CALLS: u64 = CALLS_PER_DAY - LIMITS.daily_reserve as u64;
const DAY_MS: u64 = 86_400_000;
/// Orders under way; between pulses and publications; how long a pulse may list before it hands over.
const OUTSTANDING: usize = LIMITS.outstanding() as usize;
const PULSE_MS: u64 = PULSE_EVERY.as_millis() as u64;
const PUBLISH_MS: u64 = RunSettings::DEFAULT.publish_interval.as_millis() as u64;
const PULSE_LISTS_MS: u64 = LONGEST_LISTING.as_millis() as u64;
/// Assumed dashboards that look on.
const DASHBOARDS: u64 = 10;
/// Log lines of one invocation, Lambda's own three and the metrics, in bytes.
const LOG_BYTES: u64 = 1_500;

/// AWS's prices in dollars, US East, x86, beyond the free tier.
const PRICES: [(&str, f64, &str); 6] = [
    ("Lambda, per GB-s", 0.000_016_666_7, "aws.amazon.com/lambda/pricing"),
    ("Lambda, per million invocations", 0.20, "aws.amazon.com/lambda/pricing"),
    ("SQS standard, per million requests", 0.40, "aws.amazon.com/sqs/pricing"),
    ("S3 PUT, per million", 5.00, "aws.amazon.com/s3/pricing"),
    ("API Gateway WebSocket, per million messages", 1.00, "aws.amazon.com/api-gateway/pricing"),
    ("CloudWatch Logs, per GB taken in", 0.50, "aws.amazon.com/cloudwatch/pricing"),
];

/// What the template gives the workers of the bulk queue.
#[derive(Clone, Copy)]
struct Deployed {
    batch: usize,
    workers: usize,
    memory_gb: f64,
}

impl Deployed {
    fn read() -> Self {
        let template = Template::read();
        let bulk = template.at(&["Resources", "OrderWorkerFunction", "Properties", "Events", "OrdersBulk"]);
        Self {
            batch: bulk.number("BatchSize") as usize,
            workers: bulk.number("MaximumConcurrency") as usize,
            memory_gb: template.memory_mb("OrderWorkerFunction") as f64 / 1024.0,
        }
    }
}

/// What calls take, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) ghl_median_ms: u64,
    pub(crate) database_ms: u64,
}

/// What a simulated sync took.
#[derive(Default)]
pub(crate) struct Simulated {
    pub(crate) orders: u64,
    pub(crate) milliseconds: u64,
    pub(crate) ghl_calls: u64,
    /// Days on which the day's calls were used up, so that the next run went on a day later.
    pub(crate) pauses: u64,
    pub(crate) order_messages: u64,
    pub(crate) sqs_requests: u64,
    pub(crate) invocations: u64,
    pub(crate) worker_milliseconds: u64,
    pub(crate) database_calls: u64,
    pub(crate) publications: u64,
    /// The most calls that any window of GHL held.
    pub(crate) most_in_window: usize,
    /// The most rows that one database call touched: a page, a batch, or what is dispatched at once.
    pub(crate) most_rows: usize,
    /// Memory of each function.
    memory_gb: f64,
}

impl Simulated {
    fn gb_seconds(&self) -> f64 {
        self.worker_milliseconds as f64 / 1000.0 * self.memory_gb
    }

    fn dollars(&self) -> f64 {
        let millions = |count: u64| count as f64 / 1e6;
        let [gb_seconds, invocations, sqs, puts, frames, logs] = PRICES.map(|(_, price, _)| price);
        self.gb_seconds() * gb_seconds
            + millions(self.invocations) * invocations
            + millions(self.sqs_requests) * sqs
            + millions(self.publications) * puts
            // Two frames each.
            + millions(2 * self.publications * DASHBOARDS) * frames
            + (self.invocations * LOG_BYTES) as f64 / 1e9 * logs
    }
}

/// What happens next, and when.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The pulse asks for a slot for its next page.
    ListPage,
    /// A page was answered.
    PageListed,
    Pulse,
    /// A worker asks for slots for what it still has to fetch.
    Ask(usize),
    /// All that a worker fetched was answered, the slowest last.
    Fetched(usize),
    /// The tickets of so many orders are reconciled.
    Reconciled(usize),
}

/// A worker with a batch.
#[derive(Default)]
struct Worker {
    batch: usize,
    waiting: usize,
    began_at: u64,
    answered_at: u64,
}

/// The exact window: when each call of the last [`WINDOW_MS`] was granted.
#[derive(Default)]
struct Limiter {
    grants: VecDeque<u64>,
    calls_today: u64,
    today: u64,
}

impl Limiter {
    /// Grants up to `wanted`; when more may be asked for. `None` when the day's calls are used up.
    fn ask(&mut self, now: u64, wanted: usize) -> Option<(usize, u64)> {
        if now / DAY_MS > self.today {
            (self.today, self.calls_today) = (now / DAY_MS, 0);
        }
        if self.calls_today >= DAY_CALLS {
            return None;
        }
        while self.grants.front().is_some_and(|grant| grant + WINDOW_MS <= now) {
            self.grants.pop_front();
        }
        let granted = wanted.min(BULK_LANE - self.grants.len());
        self.grants.extend(std::iter::repeat_n(now, granted));
        self.calls_today += granted as u64;
        let again = if granted == wanted { now } else { self.grants.front().map_or(now, |grant| grant + WINDOW_MS) };
        Some((granted, again))
    }
}

/// Syncs so many orders of which none is stored.
pub(crate) fn simulate(orders: u64, pace: Pace) -> Simulated {
    let deployed = Deployed::read();
    let mut simulation = Simulation {
        pace,
        batch: deployed.batch,
        random: StdRng::seed_from_u64(orders),
        now: 0,
        events: BinaryHeap::new(),
        limiter: Limiter::default(),
        listing: Listing::start(false, 0),
        listed: 0,
        pulse_lists_since: 0,
        ended_on: None,
        recorded: 0,
        queued: 0,
        outstanding: 0,
        workers: (0..deployed.workers).map(|_| Worker::default()).collect(),
        done: 0,
        published_at: 0,
        found: Simulated { orders, memory_gb: deployed.memory_gb, ..Simulated::default() },
    };
    simulation.run();
    simulation.found
}

struct Simulation {
    pace: Pace,
    /// Messages that a worker takes at once.
    batch: usize,
    random: StdRng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    limiter: Limiter,
    listing: Listing,
    listed: u64,
    pulse_lists_since: u64,
    /// The last day whose calls were used up.
    ended_on: Option<u64>,
    /// Listed and not dispatched.
    recorded: usize,
    /// In the bulk queue.
    queued: usize,
    /// Dispatched and not done.
    outstanding: usize,
    workers: Vec<Worker>,
    done: u64,
    published_at: u64,
    found: Simulated,
}

impl Simulation {
    fn run(&mut self) {
        self.after(0, Event::ListPage);
        self.after(PULSE_MS, Event::Pulse);
        while self.done < self.found.orders {
            let Reverse((at, event)) = self.events.pop().expect("something happens until all orders are done");
            self.now = at;
            self.handle(event);
        }
        self.found.milliseconds = self.now;
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.events.push(Reverse((self.now + wait, event)));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::ListPage => self.list_page(),
            Event::PageListed => self.page_listed(),
            // Between an ended run and the next day's there are no pulses.
            Event::Pulse if self.ended_on == Some(self.now / DAY_MS) => {
                self.after((self.now / DAY_MS + 1) * DAY_MS - self.now, Event::Pulse);
            }
            Event::Pulse => {
                self.found.sqs_requests += 3;
                self.found.invocations += 1;
                // The claim, silent orders, and those whose tickets are due.
                self.database(3, 0);
                self.found.worker_milliseconds += 3 * self.pace.database_ms;
                self.dispatch();
                self.after(PULSE_MS, Event::Pulse);
            }
            Event::Ask(worker) => self.ask(worker),
            Event::Fetched(worker) => self.fetched(worker),
            Event::Reconciled(orders) => {
                self.done += orders as u64;
                self.outstanding -= orders;
                if self.now >= self.published_at + PUBLISH_MS {
                    self.published_at = self.now;
                    self.found.publications += 1;
                    // Who is connected, and the confirmation.
                    self.database(2, 0);
                }
            }
        }
    }

    /// Asks the limiter, which is a call to the database.
    fn slots(&mut self, wanted: usize) -> Option<(usize, u64)> {
        self.database(1, 0);
        let slots = self.limiter.ask(self.now, wanted);
        self.found.most_in_window = self.found.most_in_window.max(self.limiter.grants.len());
        self.found.ghl_calls += slots.map_or(0, |(granted, _)| granted as u64);
        slots
    }

    fn database(&mut self, calls: u64, rows: usize) {
        self.found.database_calls += calls;
        self.found.most_rows = self.found.most_rows.max(rows);
    }

    /// A day's calls are used up: its run ended. The next day's run lists all over again and fetches what isn't stored.
    fn tomorrow(&mut self, event: Event) {
        let (today, tomorrow) = (self.now / DAY_MS, (self.now / DAY_MS + 1) * DAY_MS);
        if self.ended_on != Some(today) {
            self.ended_on = Some(today);
            self.found.pauses += 1;
            if self.listing.is_done() {
                self.after(tomorrow - self.now, Event::ListPage);
            }
            self.listing = Listing::start(false, 0);
        }
        self.after(tomorrow - self.now, event);
    }

    fn list_page(&mut self) {
        match self.slots(1) {
            None => self.tomorrow(Event::ListPage),
            Some((0, again)) => self.after(again - self.now, Event::ListPage),
            Some(_) => {
                let answered = self.latency() + self.pace.database_ms;
                self.after(answered, Event::PageListed);
            }
        }
    }

    fn page_listed(&mut self) {
        let (first, total) = (self.listing.offset, self.found.orders);
        let ids: Vec<String> = (first..total.min(first + u64::from(PAGE_SIZE))).map(|row| row.to_string()).collect();
        let listed = (first + ids.len() as u64).max(self.listed);
        self.recorded += (listed - self.listed) as usize;
        self.listed = listed;
        if self.pulse_lists_since / DAY_MS < self.now / DAY_MS {
            self.pulse_lists_since = self.now;
        }
        let (step, issues) = self.listing.after(Page { ids: &ids, rows: ids.len() as u64, total });
        assert!(issues.is_empty(), "{issues:?}");
        self.listing = match step {
            Step::Read(next) => next,
            Step::PassOver(pass) => match pass.close_pass(listed) {
                Closed::Again(again) => panic!("the list stands still: {again:?}"),
                Closed::Complete(completed) => completed.listing,
            },
        };
        // The page, and then the dispatch.
        self.database(1, ids.len());
        self.dispatch();
        if self.listing.is_done() {
            self.found.worker_milliseconds += self.now - self.pulse_lists_since;
            return;
        }
        if self.now - self.pulse_lists_since >= PULSE_LISTS_MS {
            self.found.worker_milliseconds += self.now - self.pulse_lists_since;
            self.pulse_lists_since = self.now;
            self.found.invocations += 1;
        }
        self.after(self.pace.database_ms, Event::ListPage);
    }

    fn dispatch(&mut self) {
        let messages = self.recorded.min(OUTSTANDING - self.outstanding);
        self.database(1, messages);
        self.recorded -= messages;
        self.queued += messages;
        self.outstanding += messages;
        self.found.order_messages += messages as u64;
        self.found.sqs_requests += messages.div_ceil(10) as u64;
        for worker in 0..self.workers.len() {
            self.take(worker);
        }
    }

    fn take(&mut self, number: usize) {
        let batch = self.queued.min(self.batch);
        if batch == 0 || self.workers[number].batch > 0 {
            return;
        }
        self.queued -= batch;
        self.workers[number] = Worker { batch, waiting: batch, began_at: self.now, answered_at: self.now };
        self.found.invocations += 1;
        // Received and deleted.
        self.found.sqs_requests += 2;
        self.after(self.pace.database_ms, Event::Ask(number));
    }

    fn ask(&mut self, number: usize) {
        let Some((granted, again)) = self.slots(self.workers[number].waiting) else {
            // It hands its messages back and is not paid for until tomorrow.
            self.found.worker_milliseconds += self.now - self.workers[number].began_at;
            self.workers[number].began_at = (self.now / DAY_MS + 1) * DAY_MS;
            return self.tomorrow(Event::Ask(number));
        };
        for _ in 0..granted {
            let answered_at = self.now + self.latency();
            self.workers[number].answered_at = self.workers[number].answered_at.max(answered_at);
        }
        self.workers[number].waiting -= granted;
        if self.workers[number].waiting > 0 {
            self.after(again - self.now + self.pace.database_ms, Event::Ask(number));
        } else {
            let left = self.workers[number].answered_at.saturating_sub(self.now) + self.pace.database_ms;
            self.after(left, Event::Fetched(number));
        }
    }

    fn fetched(&mut self, number: usize) {
        let Worker { batch, began_at, .. } = std::mem::take(&mut self.workers[number]);
        self.found.worker_milliseconds += self.now - began_at;
        // The upsert, the tickets' message and batch, and their reconciliation.
        self.database(2, batch);
        self.found.sqs_requests += 3;
        self.found.invocations += 1;
        self.found.worker_milliseconds += self.pace.database_ms;
        self.after(2 * self.pace.database_ms, Event::Reconciled(batch));
        self.take(number);
    }

    /// As the fake GHL's: log-logistic about the median.
    fn latency(&mut self) -> u64 {
        let chance: f64 = self.random.random_range(0.0001..0.9999);
        (self.pace.ghl_median_ms as f64 * (chance / (1.0 - chance)).powf(0.25)) as u64
    }
}

pub(crate) fn measure(report: &mut Report, measured_seconds_of_1000: f64) {
    let pace = Pace { ghl_median_ms: crate::GHL_LATENCY_MS, database_ms: crate::DATABASE_LATENCY_MS };
    let mut rows = Vec::new();
    let mut own_seconds = 0.0;
    for orders in [1_000, 100_000, 1_000_000] {
        let found = simulate(orders, pace);
        let seconds = found.milliseconds as f64 / 1000.0;
        if orders == 1_000 {
            own_seconds = seconds;
        }
        rows.push(vec![
            orders.to_string(),
            found.ghl_calls.to_string(),
            found.most_in_window.to_string(),
            found.pauses.to_string(),
            if seconds < 3600.0 { format!("{seconds:.0} s") } else { format!("{:.1} h", seconds / 3600.0) },
            found.sqs_requests.to_string(),
            format!("{:.0}", found.gb_seconds()),
            format!("{:.2}", found.database_calls as f64 / orders as f64),
            found.most_rows.to_string(),
            format!("{:.2}", found.dollars()),
            format!("{:.4}", found.dollars() / orders as f64 * 1000.0),
        ]);
    }
    let prices: Vec<_> = PRICES.iter().map(|(what, price, source)| format!("{what} ${price} ({source})")).collect();
    report.section(
        "Very many orders, on a virtual clock",
        &format!(
            "The real paging over an exact window, with batches, workers, pulses and publications as configured, {DASHBOARDS} dashboards looking \
             on, GHL answering in {} ms in the median and the database in {} ms. Its 1,000 orders take {own_seconds:.0} s, measured above were \
             {measured_seconds_of_1000:.0} s. GHL grants {CALLS_PER_DAY} calls a day: a larger sync ends its day with `daily_budget_exhausted` and the next \
             run lists again and goes on with what isn't stored. Dollars are for one sync, by the public prices for US East (x86) as of November 2026, beyond the \
             free tier: {}. An idle system besides polls its queues: about 9 million requests a month, $3.50.",
            pace.ghl_median_ms,
            pace.database_ms,
            prices.join("; ")
        ),
        &["orders", "calls to GHL", "most in 10 s", "days waited for", "time", "SQS requests", "Lambda GB-s", "database calls per order",
          "most rows per call", "dollars", "dollars per 1,000 orders"],
        rows,
    );
}

/// What must hold however many orders there are.
pub(crate) fn assert_scale() {
    let pace = Pace { ghl_median_ms: crate::GHL_LATENCY_MS, database_ms: crate::DATABASE_LATENCY_MS };
    let (small, large) = (simulate(25_000, pace), simulate(100_000, pace));
    for found in [&small, &large] {
        assert!(found.most_in_window <= BULK_LANE, "{} calls in a window", found.most_in_window);
        assert!((0..=1).contains(&(found.ghl_calls - found.orders - pages(found.orders))), "{} calls", found.ghl_calls);
        assert_eq!(found.order_messages, found.orders);
    }
    let most_rows = small.most_rows.max(large.most_rows);
    assert!(most_rows <= OUTSTANDING, "a call touches {most_rows} rows");
    let each = |found: &Simulated| found.database_calls as f64 / found.orders as f64;
    // The limiter is asked per window and pulses follow time, so both are bounded by a run's windows.
    assert!(each(&large) <= 1.5, "{:.3} database calls per order", each(&large));
    println!("simulated: {:.2} database calls per order, at most {} rows per call", each(&large), most_rows);
}
