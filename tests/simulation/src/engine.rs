//! The clock, the queues, and what Lambda does with them: a batch of a queue's messages is an invocation, of which there are so many
//! at the same time; it ends when each of its messages is done.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::deployed::Mapping;
use crate::looks::Look;
use crate::run::Step;
use crate::{Deployed, Found, Location, Setting};

/// Between a batch's receive and its delete, SQS is asked twice.
const REQUESTS_PER_BATCH: u64 = 2;

/// The queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Queue {
    Runs,
    Bulk,
    Tickets,
}

/// What a message says, of which location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Message {
    Pulse(usize),
    Publish(usize),
    /// So many orders to fetch.
    Orders(usize, u64),
    /// So many orders whose tickets are due.
    Tickets(usize, u64),
}

/// What happens next.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(Queue, Message),
    /// A batch that isn't full has waited long enough.
    WindowOver(Queue),
    /// An invocation goes on with one of its messages.
    Then(u64, Step),
}

/// An invocation that runs.
struct Invocation {
    queue: Queue,
    began_at: u64,
    /// Messages that aren't done.
    open: usize,
    /// Of its time, what it computed.
    computed_ms: f64,
}

#[derive(Default)]
struct Waiting {
    /// With the time since when each waits.
    messages: VecDeque<(u64, Message)>,
    running: usize,
}

pub(crate) struct Engine<'a> {
    pub(crate) setting: Setting,
    pub(crate) deployed: &'a Deployed,
    pub(crate) now: u64,
    pub(crate) locations: Vec<Location>,
    pub(crate) found: Found,
    random: StdRng,
    /// By time, and in the order in which they were planned.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    planned: u64,
    queues: BTreeMap<Queue, Waiting>,
    invocations: BTreeMap<u64, Invocation>,
    executions: u64,
    /// How often somebody looks on, and what they saw.
    pub(crate) look_every_ms: Option<u64>,
    pub(crate) looks: Vec<Look>,
}

impl<'a> Engine<'a> {
    pub(crate) fn new(setting: Setting, deployed: &'a Deployed) -> Self {
        let locations: Vec<_> =
            (0..setting.locations).map(|_| Location::new(setting.orders, deployed.calls_per_day)).collect();
        let mut engine = Self {
            setting,
            deployed,
            now: 0,
            found: Found { orders: setting.orders * locations.len() as u64, ..Found::default() },
            locations,
            random: StdRng::seed_from_u64(setting.orders),
            events: BinaryHeap::new(),
            planned: 0,
            queues: [Queue::Runs, Queue::Bulk, Queue::Tickets].map(|queue| (queue, Waiting::default())).into(),
            invocations: BTreeMap::new(),
            executions: 0,
            look_every_ms: None,
            looks: Vec::new(),
        };
        for location in 0..setting.locations {
            engine.send(Queue::Runs, Message::Pulse(location), 0);
        }
        engine
    }

    /// Until all orders are done.
    pub(crate) fn run(&mut self) {
        let mut open = self.locations.iter().filter(|location| !location.is_done()).count();
        while open > 0 {
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.look_until(at);
            self.now = at;
            match event {
                Event::Arrives(queue, message) => {
                    self.queues.entry(queue).or_default().messages.push_back((at, message));
                    self.poll(queue);
                }
                Event::WindowOver(queue) => self.poll(queue),
                Event::Then(invocation, step) => self.step(invocation, step),
            }
            open = self.locations.iter().filter(|location| !location.is_done()).count();
        }
        self.found.milliseconds = self.now;
        // What still runs, such as the last publication, is billed as far as it is.
        for number in self.invocations.keys().copied().collect::<Vec<_>>() {
            self.bill(number);
        }
    }

    fn plan(&mut self, wait: u64, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((self.now + wait, self.planned, event)));
    }

    /// Sends a message that arrives after a delay.
    pub(crate) fn send(&mut self, queue: Queue, message: Message, delay_ms: u64) {
        self.found.sqs_requests += 1;
        self.plan(delay_ms + self.setting.pace.queue_ms, Event::Arrives(queue, message));
    }

    /// What an invocation does next.
    pub(crate) fn then(&mut self, invocation: u64, wait: u64, step: Step) {
        self.plan(wait, Event::Then(invocation, step));
    }

    pub(crate) fn mapping(&self, queue: Queue) -> Mapping {
        match queue {
            Queue::Runs => self.deployed.runs,
            Queue::Bulk => self.deployed.bulk,
            Queue::Tickets => self.deployed.tickets,
        }
    }

    fn poll(&mut self, queue: Queue) {
        let mapping = self.mapping(queue);
        loop {
            let waiting = self.queues.entry(queue).or_default();
            let Some((since, _)) = waiting.messages.front().copied() else { return };
            if waiting.running >= mapping.most {
                return;
            }
            if waiting.messages.len() < mapping.batch && self.now < since + mapping.window_ms {
                let left = since + mapping.window_ms - self.now;
                self.plan(left, Event::WindowOver(queue));
                return;
            }
            let batch = waiting.messages.len().min(mapping.batch);
            let messages: Vec<_> = waiting.messages.drain(..batch).map(|(_, message)| message).collect();
            waiting.running += 1;
            self.invoke(queue, mapping, &messages);
        }
    }

    fn invoke(&mut self, queue: Queue, mapping: Mapping, messages: &[Message]) {
        self.planned += 1;
        let number = self.planned;
        let pace = self.setting.pace;
        let orders: u64 = messages.iter().map(|message| self.computed_orders(*message)).sum();
        let computed_ms = (pace.invocation_us + orders) as f64 / 1_000.0 * mapping.slowness();
        let open = messages.len();
        self.invocations.insert(number, Invocation { queue, began_at: self.now, open, computed_ms });
        self.found.invocations += 1;
        self.found.sqs_requests += REQUESTS_PER_BATCH;
        self.executions += 1;
        self.found.most_executions = self.found.most_executions.max(self.executions);
        for message in messages {
            self.then(number, computed_ms as u64, Step::of(*message));
        }
    }

    /// Microseconds of a whole processor: two thirds of an order's are those of the worker, the others those of its tickets.
    fn computed_orders(&self, message: Message) -> u64 {
        let each = self.setting.pace.order_us;
        match message {
            Message::Orders(_, orders) => orders * each * 2 / 3,
            Message::Tickets(_, orders) => orders * each / 3,
            Message::Pulse(_) | Message::Publish(_) => 0,
        }
    }

    /// One of an invocation's messages is done.
    pub(crate) fn done(&mut self, number: u64) {
        let Some(invocation) = self.invocations.get_mut(&number) else { return };
        invocation.open -= 1;
        if invocation.open > 0 {
            return;
        }
        let queue = invocation.queue;
        self.bill(number);
        self.executions -= 1;
        self.queues.entry(queue).or_default().running -= 1;
        self.poll(queue);
    }

    fn bill(&mut self, number: u64) {
        let Some(invocation) = self.invocations.remove(&number) else { return };
        let (lasted, gb) = (self.now - invocation.began_at, self.mapping(invocation.queue).memory_mb as f64 / 1_024.0);
        self.found.execution_milliseconds += lasted;
        self.found.billed += lasted as f64 * gb;
        self.found.computed += invocation.computed_ms.min(lasted as f64) * gb;
    }

    /// Calls of the database; how many milliseconds they take one after the other.
    pub(crate) fn database(&mut self, calls: u64, rows: u64) -> u64 {
        self.found.database_calls += calls;
        self.found.most_rows = self.found.most_rows.max(rows);
        calls * self.setting.pace.database_ms
    }

    /// The slowest of so many answers of GHL: each as the fake's, log-logistic about the median.
    pub(crate) fn answers(&mut self, calls: u64) -> u64 {
        let median = self.setting.pace.ghl_median_ms as f64;
        let mut slowest = 0.0_f64;
        for _ in 0..calls {
            let chance: f64 = self.random.random_range(0.0001..0.9999);
            slowest = slowest.max(median * (chance / (1.0 - chance)).powf(0.25));
        }
        slowest as u64
    }
}
