//! What is counted. The names are a contract: alarms and dashboards use them.
//!
//! All are in the namespace `ghl-sync` with the dimension `LocationId`. Metrics with more dimensions are also published under
//! `LocationId` alone, so that one alarm can cover all values. Messages may be handled twice, so a count may
//! be a little high; alarms use rates, and exact counts are on the run's row.
//!
//! | metric | unit | further dimensions | counted |
//! |---|---|---|---|
//! | `OrdersSynced` | Count | | orders in step now, the unchanged ones included: by runs, webhooks and single syncs |
//! | `OrdersUnchanged` | Count | | of these, the orders that needed no write (those that a listing decides are on the run's row only) |
//! | `OrdersSkipped` | Count | | fetched orders that aren't valid orders of ours |
//! | `OrdersFailed` | Count | | orders that failed permanently (those that a cancelled run did not try are on its row only) |
//! | `GhlCalls` | Count | `Status` | calls to GHL: `200`, `404`, `429`, `502`, ... or `no_answer` |
//! | `GhlThrottled` | Count | | calls that GHL answered with 429; there should be none |
//! | `GhlTokenRefused` | Count | | lists of orders or products that GHL refused with 401 or 403: the token is wrong or lacks a scope that is needed. Not counted: one order that is refused, and transactions, which runs do without |
//! | `GhlDailyRemaining` | Count | | calls left of GHL's daily budget, at each request for slots, once GHL has reported it |
//! | `LimiterWaitMs` | Milliseconds | | for each fetched order, how long it waited in its invocation for a slot |
//! | `LimiterTooLate` | Count | | once a minute per worker, while every rate limit grant has arrived too late for a minute or more |
//! | `RunSeconds` | Seconds | `Kind`, `State` | duration of a run, once, when its end is published |
//! | `OldestMessageSeconds` | Seconds | `Queue` | age of the oldest message of a batch, deliberate delays included |
//! | `FramesSent` | Count | | frames that were posted to dashboards' connections |
//! | `FramesFailed` | Count | | frames that could not be posted; closed connections don't count |
//! | `Connections` | Count | | connections that a publication was posted to |
//! | `WebhooksAccepted` | Count | | webhooks whose orders were queued |
//! | `WebhooksRefused` | Count | `Reason` | `unverified` (signature or secret), `form` (size, JSON, location, time, no order), `unavailable` (our failure: GHL sends it again) |
//! | `FailuresRecorded` | Count | | permanent failures that were recorded: orders, unreadable messages, runs |
//! | `HoursSinceSync` | None | | at each watch: hours since a full or incremental run completed, or since the location is known if none has; 0 while a run makes progress |
//! | `HoursSinceFullSync` | None | | the same of full runs |
//! | `GateAdmitted` | Count | | tickets admitted; not again where a scan gets its answer again |
//! | `GateRefused` | Count | | scans that were refused: validated before, cancelled, unknown, or of a used `scanId` |
//!
//! Everything that is counted while an invocation's future is polled belongs to that invocation, also if several of its
//! futures count at once. A spawned task (`tokio::spawn`) would be outside of it; there is none. Outside of any invocation,
//! such as in tests, counting does nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

tokio::task_local! {
    static COLLECTOR: Collector;
}

/// A metric; the module's table says what each one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table of the module has them all")]
pub enum Metric {
    OrdersSynced,
    OrdersUnchanged,
    OrdersSkipped,
    OrdersFailed,
    GhlCalls,
    GhlThrottled,
    GhlTokenRefused,
    GhlDailyRemaining,
    LimiterWaitMs,
    LimiterTooLate,
    RunSeconds,
    OldestMessageSeconds,
    FramesSent,
    FramesFailed,
    Connections,
    WebhooksAccepted,
    WebhooksRefused,
    FailuresRecorded,
    HoursSinceSync,
    HoursSinceFullSync,
    GateAdmitted,
    GateRefused,
}

impl Metric {
    /// Its unit, in CloudWatch's words.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::LimiterWaitMs => "Milliseconds",
            Self::RunSeconds | Self::OldestMessageSeconds => "Seconds",
            // CloudWatch knows no hours.
            Self::HoursSinceSync | Self::HoursSinceFullSync => "None",
            _ => "Count",
        }
    }

    /// Its dimensions beside the location.
    #[must_use]
    pub const fn dimensions(self) -> &'static [&'static str] {
        match self {
            Self::GhlCalls => &["Status"],
            Self::RunSeconds => &["Kind", "State"],
            Self::OldestMessageSeconds => &["Queue"],
            Self::WebhooksRefused => &["Reason"],
            _ => &[],
        }
    }
}

/// Counts `n` more.
pub fn count(metric: Metric, n: usize) {
    count_by(metric, &[], n);
}

/// Counts `n` more of a metric with these values of its dimensions, in their order.
pub fn count_by(metric: Metric, dimensions: &[&str], n: usize) {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    if n > 0 {
        add(metric, dimensions, |numbers| numbers.count = numbers.count.saturating_add(n));
    }
}

/// Records one value of a distribution.
pub fn value(metric: Metric, value: f64) {
    value_by(metric, &[], value);
}

/// Records one value of a metric with these values of its dimensions, in their order.
pub fn value_by(metric: Metric, dimensions: &[&str], value: f64) {
    add(metric, dimensions, |numbers| numbers.values.push(value));
}

fn add(metric: Metric, dimensions: &[&str], change: impl FnOnce(&mut Numbers)) {
    debug_assert_eq!(dimensions.len(), metric.dimensions().len(), "{metric:?}");
    // Outside of any invocation.
    let _not_counted = COLLECTOR.try_with(|collector| {
        if let Ok(mut counted) = collector.0.lock() {
            // CloudWatch takes no empty value.
            let named = |value: &&str| if value.is_empty() { "unknown" } else { *value }.to_owned();
            change(counted.entry((metric, dimensions.iter().map(named).collect())).or_default());
        }
    });
}

/// What one invocation counts. Clones are the same collector.
#[derive(Debug, Clone, Default)]
pub struct Collector(Arc<Mutex<Counted>>);

/// By metric and the values of its dimensions.
pub(crate) type Counted = BTreeMap<(Metric, Vec<String>), Numbers>;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) count: u64,
    pub(crate) values: Vec<f64>,
}

impl Collector {
    /// Whatever `work` counts is counted here.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        COLLECTOR.scope(self.clone(), work).await
    }

    /// The count of a metric with these values of its dimensions, or how many of its values were recorded.
    pub fn counted(&self, metric: Metric, dimensions: &[&str]) -> u64 {
        let key = (metric, dimensions.iter().map(|value| (*value).to_owned()).collect());
        let counted = self.0.lock().ok();
        counted.and_then(|counted| counted.get(&key).map(|n| n.count + n.values.len() as u64)).unwrap_or(0)
    }

    pub(crate) fn take(&self) -> Counted {
        self.0.lock().map(|mut counted| std::mem::take(&mut *counted)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn futures_of_one_invocation_count_together_and_invocations_apart() {
        let work = |status: &'static str, calls: usize| async move {
            join_all((0..calls).map(|_| async {
                tokio::task::yield_now().await;
                count_by(Metric::GhlCalls, &[status], 1);
            }))
            .await;
        };
        let (first, second) = (Collector::default(), Collector::default());
        tokio::join!(first.scope(work("200", 7)), second.scope(work("404", 3)), first.scope(work("200", 5)));
        assert_eq!(first.counted(Metric::GhlCalls, &["200"]), 12);
        assert_eq!((first.counted(Metric::GhlCalls, &["404"]), second.counted(Metric::GhlCalls, &["404"])), (0, 3));
    }

    #[tokio::test]
    async fn outside_of_an_invocation_and_for_nothing_nothing_is_counted() {
        count(Metric::OrdersSynced, 1);
        let collector = Collector::default();
        collector.scope(async { count(Metric::OrdersSynced, 0) }).await;
        assert!(collector.take().is_empty());
    }

    const ALL: [Metric; 22] = [
        Metric::OrdersSynced,
        Metric::OrdersUnchanged,
        Metric::OrdersSkipped,
        Metric::OrdersFailed,
        Metric::GhlCalls,
        Metric::GhlThrottled,
        Metric::GhlTokenRefused,
        Metric::GhlDailyRemaining,
        Metric::LimiterWaitMs,
        Metric::LimiterTooLate,
        Metric::RunSeconds,
        Metric::OldestMessageSeconds,
        Metric::FramesSent,
        Metric::FramesFailed,
        Metric::Connections,
        Metric::WebhooksAccepted,
        Metric::WebhooksRefused,
        Metric::FailuresRecorded,
        Metric::HoursSinceSync,
        Metric::HoursSinceFullSync,
        Metric::GateAdmitted,
        Metric::GateRefused,
    ];

    #[test]
    fn the_tables_list_exactly_these() {
        let expected: Vec<_> = ALL
            .iter()
            .map(|metric| {
                let dimensions: Vec<_> = metric.dimensions().iter().map(|name| format!("`{name}`")).collect();
                format!("| `{metric:?}` | {} | {} |", metric.unit(), dimensions.join(", ")).replace("|  |", "| |")
            })
            .collect();
        let (own, code) = include_str!("metrics.rs").split_once("use std::").unwrap();
        let (_, variants) = code.split_once("pub enum Metric {").unwrap();
        let variants: Vec<_> = variants.split('}').next().unwrap().split(',').map(str::trim).collect();
        let all: Vec<_> = ALL.iter().map(|metric| format!("{metric:?}")).chain([String::new()]).collect();
        assert_eq!(all, variants, "a metric that isn't among those here");
        let page = include_str!("../../../infra/docs/reference/metrics.md");
        let (_, page) = page.split_once("\n## Metrics\n").unwrap();
        let rows = |text: &'static str| -> Vec<_> {
            let lines = text.lines().map(|line| line.trim_start_matches("//! "));
            lines.filter(|line| line.starts_with("| `")).collect()
        };
        let begins = |(row, expected): (&&str, &String)| row.starts_with(expected.as_str());
        assert!(rows(own).len() == ALL.len() && rows(own).iter().zip(&expected).all(begins), "{:#?}", rows(own));
        assert_eq!(rows(page.split("\n## ").next().unwrap()), rows(own), "what each counts stands in both alike");
    }
}
