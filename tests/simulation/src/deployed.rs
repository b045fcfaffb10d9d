//! What is deployed: the template's numbers, and those that stand in the functions.

use agreements::{Code, Template};
use database::{Limits, RunSettings};
use domain::rate;
use domain::run::{LONGEST_LISTING, PULSE_EVERY};

/// Orders of one message, so of one call of the database and of one reconciliation, at most.
pub const MOST_TOGETHER: u64 = queues::MOST_TOGETHER as u64;
/// Posts to dashboards at the same time.
pub const POSTS_AT_ONCE: u64 = 16;
/// A post to a dashboard, and a document's upload.
pub const POST_MS: u64 = 15;
/// As [`POST_MS`].
pub const UPLOAD_MS: u64 = 40;
/// Megabytes of memory with which Lambda gives a whole processor.
pub const WHOLE_PROCESSOR_MB: u64 = 1_769;

/// A queue and who reads it.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// Messages of one invocation at most.
    pub batch: usize,
    /// How long a batch that isn't full waits for more.
    pub window_ms: u64,
    /// Invocations at the same time at most.
    pub most: usize,
    /// Memory of the function.
    pub memory_mb: u64,
}

impl Mapping {
    fn read(template: &Template, function: &str, event: &str) -> Self {
        let mapping = template.mapping(function, event);
        Self {
            batch: mapping.batch_size as usize,
            window_ms: mapping.window_seconds * 1_000,
            most: mapping.maximum_concurrency as usize,
            memory_mb: template.memory_mb(function),
        }
    }

    /// How much longer than on a whole processor it computes. Lambda gives more than one above [`WHOLE_PROCESSOR_MB`], which one
    /// computation doesn't use.
    #[must_use]
    pub fn slowness(self) -> f64 {
        (WHOLE_PROCESSOR_MB as f64 / self.memory_mb as f64).max(1.0)
    }
}

/// Everything that is configured.
#[derive(Debug, Clone, Copy)]
pub struct Deployed {
    /// Pulses and publications.
    pub runs: Mapping,
    /// A run's orders.
    pub bulk: Mapping,
    /// Orders whose tickets are to be reconciled.
    pub tickets: Mapping,
    /// The rate limit.
    pub limits: Limits,
    /// Between two pulses that have nothing to wait for.
    pub pulse_every_ms: u64,
    /// How long a pulse may list.
    pub longest_listing_ms: u64,
    /// Between two publications at least.
    pub publish_every_ms: u64,
    /// A pulse that could dispatch fewer orders than this waits for a fifth of a window at most for more calls. 0: it doesn't.
    pub worth_a_message: u64,
    /// Orders leave a pulse so long before the limit has calls for them, and the way to the database besides.
    pub ahead_ms: u64,
    /// A pulse waits for so long itself before it dispatches; else the next one does.
    pub short_wait_ms: u64,
    /// A pulse dispatches for so long at most.
    pub longest_stay_ms: u64,
    /// A worker waits for calls for so long, and the way to the database besides.
    pub patience_ms: u64,
    /// Every so many pulses look for due tickets.
    pub due_every: u64,
    /// Calls that GHL grants a location in a day.
    pub calls_per_day: u64,
    /// Pages that are read at the same time.
    pub pages_ahead: usize,
    /// Pages that one call records.
    pub pages_per_call: u64,
}

impl Deployed {
    /// From `template.yaml` and the code.
    #[must_use]
    pub fn read() -> Self {
        let template = Template::read();
        let [pulse, worker, pages] =
            ["pulse", "worker", "pages"].map(|name| Code::read(&format!("functions/run-worker/src/{name}.rs")));
        let order_worker = Code::read("functions/order-worker/src/worker.rs");
        let ms = |code: &Code, name: &str| code.duration(name).as_millis() as u64;
        Self {
            runs: Mapping::read(&template, "RunWorkerFunction", "Runs"),
            bulk: Mapping::read(&template, "OrderWorkerFunction", "OrdersBulk"),
            tickets: Mapping::read(&template, "TicketsFunction", "Tickets"),
            limits: Limits::DEFAULT,
            pulse_every_ms: PULSE_EVERY.as_millis() as u64,
            longest_listing_ms: LONGEST_LISTING.as_millis() as u64,
            publish_every_ms: RunSettings::DEFAULT.publish_interval.as_millis() as u64,
            worth_a_message: u64::from(Limits::DEFAULT.max / 3 - 1),
            ahead_ms: ms(&worker, "AHEAD"),
            short_wait_ms: ms(&pulse, "SHORT_WAIT"),
            longest_stay_ms: ms(&pulse, "LONGEST_STAY"),
            patience_ms: ms(&order_worker, "PATIENCE"),
            due_every: pulse.number("DUE_EVERY"),
            calls_per_day: rate::CALLS_PER_DAY,
            pages_ahead: pages.number("PAGES_AHEAD") as usize,
            pages_per_call: pages.number("PAGES_PER_CALL"),
        }
    }
}
