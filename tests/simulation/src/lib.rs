//! Full syncs of very many orders on a virtual clock.
//!
//! What decides is not assumed but used: the real paging (`domain::listing`), the model that the rate limiter is held against
//! (`limiter-model`), and the numbers of `template.yaml`. Assumed is how long calls take and how much a function computes: [`Pace`].
//!
//! | module | what it is |
//! |---|---|
//! | [`deployed`] | batch sizes, pollers and memory from the template; the times that stand in functions |
//! | `engine` | the clock, the queues, and what Lambda does with them |
//! | `run` | what the functions do: a pulse, a worker, a reconciliation, a publication |
//! | `location` | a location with its limiter, its listing and its orders |
//! | [`looks`] | what its dashboards are told meanwhile |
//! | [`prices`] | what it costs |

pub mod deployed;
mod engine;
mod location;
pub mod looks;
pub mod prices;
mod run;
#[cfg(test)]
mod tests;

pub use deployed::Deployed;
use location::Location;

/// What calls take in milliseconds, and what functions compute.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// GHL's answer in the median; with the fake GHL's long tail.
    pub ghl_median_ms: u64,
    /// A call of the database.
    pub database_ms: u64,
    /// From a message sent to its function begun.
    pub queue_ms: u64,
    /// Computing per order on a whole processor, in microseconds: fetching and storing it, and reconciling its tickets.
    pub order_us: u64,
    /// Computing per invocation on a whole processor, in microseconds.
    pub invocation_us: u64,
}

impl Pace {
    /// As the benchmark measures on one machine: GHL and the database this far away, computing as it was counted there.
    #[must_use]
    pub const fn measured(ghl_median_ms: u64, database_ms: u64) -> Self {
        Self { ghl_median_ms, database_ms, queue_ms: 25, order_us: 1_000, invocation_us: 3_000 }
    }
}

/// What is synced.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Locations whose runs start at the same moment, each with a limit of its own.
    pub locations: usize,
    /// Orders of each, none of them stored.
    pub orders: u64,
    /// Dashboards that look on at each.
    pub dashboards: u64,
    /// How long things take.
    pub pace: Pace,
}

/// What a simulated sync took.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Orders of all locations.
    pub orders: u64,
    /// Until the last location was done.
    pub milliseconds: u64,
    /// Calls to GHL.
    pub ghl_calls: u64,
    /// How often a day's calls were used up, so that a run went on a day later.
    pub pauses: u64,
    /// Requests to SQS, without those of idle polling.
    pub sqs_requests: u64,
    /// Executions of functions.
    pub invocations: u64,
    /// Gigabyte-milliseconds that Lambda bills.
    pub billed: f64,
    /// The part of them in which a function computed.
    pub computed: f64,
    /// Executions at the same time: the integral over time, and the most.
    pub execution_milliseconds: u64,
    /// The most executions at the same time.
    pub most_executions: u64,
    /// Calls of the database.
    pub database_calls: u64,
    /// Documents written to S3, each with its frames.
    pub publications: u64,
    /// Frames posted to dashboards.
    pub frames: u64,
    /// The most calls to GHL that any ten seconds of one location held.
    pub most_in_window: u64,
    /// The most rows that a database call touched.
    pub most_rows: u64,
    /// Orders given back since the limit had no calls for them in time.
    pub given_back: u64,
}

impl Found {
    /// Lambda's gigabyte-seconds.
    #[must_use]
    pub fn gb_seconds(&self) -> f64 {
        self.billed / 1_000.0
    }

    /// How many executions there were at the same time, over the time of the whole sync.
    #[must_use]
    pub fn mean_executions(&self) -> f64 {
        self.execution_milliseconds as f64 / self.milliseconds.max(1) as f64
    }

    /// Calls of the database per order.
    #[must_use]
    pub fn database_calls_per_order(&self) -> f64 {
        self.database_calls as f64 / self.orders.max(1) as f64
    }
}

/// Syncs all orders of all locations.
#[must_use]
pub fn simulate(setting: Setting, deployed: &Deployed) -> Found {
    let mut engine = engine::Engine::new(setting, deployed);
    engine.run();
    engine.found
}
