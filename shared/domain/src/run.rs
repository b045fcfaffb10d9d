//! A run as the database keeps it. The counts change only there, under the run row's lock; here they are read.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{LocationId, RunId};
use crate::listing::{Listing, Phase};
use crate::outlook::{FINISH_MS, Outlook};
use crate::refunds::Reading;

/// How long a pulse is claimed: the time-out of `run-worker` in the template, which is less than its queue's visibility
/// time-out, since a pulse that is redelivered while it is claimed is a duplicate and ends.
pub const PULSE_CLAIM: Duration = Duration::from_secs(60);

/// Between two pulses of a syncing run, unless `PULSE_SECONDS` says otherwise.
pub const PULSE_EVERY: Duration = Duration::from_secs(2);

/// A pulse lists for at most this long, so that dispatching, publishing and cancelling never wait long for it.
pub const LONGEST_LISTING: Duration = Duration::from_secs(5);

/// A run has no pulse for this long only if one was lost. Also stands in `publications.sql`.
pub const PULSE_LOST_AFTER: Duration = Duration::from_secs(30);

/// A run that has nothing more to fetch and of which nothing was heard for so long waits for something that has no known end.
const SILENT_FOR_MS: i64 = 10_000;

/// What a run fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Every listed order.
    Full,
    /// Orders that are new or changed, and refunds that didn't bump `updatedAt`.
    Incremental,
    /// Only what isn't remembered; writes the list of valid orders, touches no ticket.
    ValidList,
    /// Failed orders of an earlier run, or named ones.
    Retry,
}

impl RunKind {
    /// The word used in the database and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::ValidList => "valid_list",
            Self::Retry => "retry",
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Listing and syncing.
    Syncing,
    /// Done, cooling down before the next start.
    Delay,
    /// Done: a complete listing and an outcome for every order.
    Completed,
    /// Ended early; `error_message` says why.
    Error,
    /// Ended by an admin.
    Cancelled,
    /// A scheduled start that wasn't needed or not allowed.
    Skipped,
}

impl RunState {
    /// The word used in the database, in frames and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syncing => "Syncing",
            Self::Delay => "Delay",
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::Cancelled => "Cancelled",
            Self::Skipped => "Skipped",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Syncing | Self::Delay)
    }
}

/// What becomes of the request for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// This run has started.
    Started(RunId),
    /// This run is going on.
    Running {
        /// The run in the way.
        run_id: RunId,
        /// When a start may succeed.
        retry_after: Duration,
    },
    /// This run has just ended.
    CoolingDown {
        /// The run in the way.
        run_id: RunId,
        /// When a start may succeed.
        retry_after: Duration,
    },
    /// For a retry: nothing of the named run has failed.
    NothingToRetry,
    /// For a retry: there is no run of this id.
    UnknownRun,
}

/// Why a run didn't start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotStarted {
    /// Another run is going on.
    Running,
    /// The last one has only just ended.
    Cooldown,
    /// A scheduled run's calls are over half of what is left of the day's budget.
    DailyBudget,
    /// No order of the run failed, or was left.
    NothingToRetry,
    /// There is no such run to retry.
    UnknownRun,
}

impl NotStarted {
    /// The word used in the database and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Cooldown => "cooldown",
            Self::DailyBudget => "daily_budget",
            Self::NothingToRetry => "nothing_to_retry",
            Self::UnknownRun => "unknown_run",
        }
    }
}

/// A run's row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Run {
    /// Its id.
    pub run_id: RunId,
    /// Whose orders.
    pub location_id: LocationId,
    /// What it fetches.
    pub kind: RunKind,
    /// Where it stands.
    pub state: RunState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it left `Syncing`.
    pub ended_at: Option<Timestamp>,
    /// No other run starts before.
    pub cooldown_until: Option<Timestamp>,
    /// Where its listing stands; `None` before the first page, when the row holds `{}`.
    #[serde(deserialize_with = "begun_listing")]
    pub listing: Option<Listing>,
    /// Where reading the transactions stands; `None` before their first page, and in runs that read none.
    #[serde(default)]
    pub transactions: Option<Reading>,
    /// Whether every order was listed.
    pub listing_complete: bool,
    /// GHL's count of orders, as last seen.
    pub total_count: Option<u64>,
    /// The valid orders of the last complete listing before this run: as many as there will be, until GHL's count is known.
    #[serde(default)]
    pub expected_orders: Option<u64>,
    /// By how many orders the last complete listing before this run fell short of GHL's count.
    #[serde(default)]
    pub known_deficit: u64,
    /// Whether orders may be missing of the complete listing, so that nothing follows from an order's absence.
    #[serde(default)]
    pub listing_short: bool,
    /// Whether the stored orders are still to be compared with the complete listing.
    #[serde(default)]
    pub comparing: bool,
    /// How far the upload of the list of valid orders is; `None` before it begins.
    #[serde(default)]
    pub valid_list: Option<serde_json::Value>,
    /// Different orders listed.
    pub listed: u64,
    /// In step now.
    pub synced: u64,
    /// Couldn't be synced.
    pub failed: u64,
    /// Without an outcome in a run that broke off.
    #[serde(default)]
    pub not_attempted: u64,
    /// Not valid orders of ours.
    pub skipped: u64,
    /// Synced without a fetch or without a write.
    pub unchanged: u64,
    /// Tickets of the orders synced so far that admit somebody or have admitted, those of unchanged orders included.
    pub tickets_total: u64,
    /// Tickets that were compared with what their orders entitle to, cancelled ones included. Orders that the listing showed to be
    /// unchanged have none compared.
    pub tickets_checked: u64,
    /// Different ticket types among those.
    pub ticket_types: u64,
    /// Tickets made.
    pub tickets_added: u64,
    /// Tickets brought back.
    #[serde(default)]
    pub tickets_reinstated: u64,
    /// Tickets cancelled.
    pub tickets_cancelled: u64,
    /// A stable code, when it ended with an error.
    pub error_code: Option<String>,
    /// A sentence for a person, when it ended with an error.
    pub error_message: Option<String>,
    /// Who started it: a user id or `schedule`.
    pub requested_by: Option<String>,
    /// The number of its newest pulse.
    pub pulse: i64,
    /// When it last made progress.
    #[serde(default)]
    pub last_progress_at: Option<Timestamp>,
    /// The state that was last published to dashboards; `None` before the first publication.
    pub announced_state: Option<RunState>,
    /// Whether a published status had GHL's count.
    #[serde(default)]
    pub announced_count: bool,
    /// What the rate limiter knows, where that was asked for; only while the run is syncing.
    #[serde(default)]
    pub outlook: Option<Outlook>,
    /// The database's time when this was read.
    pub now: Timestamp,
}

fn begun_listing<'de, D: serde::Deserializer<'de>>(row: D) -> Result<Option<Listing>, D::Error> {
    let listing =
        Option::<serde_json::Map<String, serde_json::Value>>::deserialize(row)?.filter(|listing| !listing.is_empty());
    listing.map(|listing| serde_json::from_value(listing.into())).transpose().map_err(serde::de::Error::custom)
}

impl Run {
    /// Whether it is known how many orders there are. Until GHL has counted them, that is a guess.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.total_count.is_some() || self.listing_complete
    }

    /// Valid orders: listed (while listing the larger of GHL's count and listed) less skipped. Shrinks as invalid ones are found.
    #[must_use]
    pub fn total_orders(&self) -> u64 {
        let listed = if self.listing_complete || self.state != RunState::Syncing {
            self.listed
        } else {
            self.listed.max(self.total_count.unwrap_or(0))
        };
        let valid = listed.saturating_sub(self.skipped);
        match self.expected_orders {
            Some(expected) if self.state == RunState::Syncing && !self.is_counted() => valid.max(expected),
            _ => valid,
        }
    }

    /// Listed orders without an outcome.
    fn open_orders(&self) -> u64 {
        self.listed.saturating_sub(self.synced + self.failed + self.skipped)
    }

    /// Whole seconds of cool-down left, rounded up; 0 outside of `Delay`.
    #[must_use]
    pub fn delay_seconds(&self) -> i64 {
        match (self.state, self.cooldown_until) {
            (RunState::Delay, Some(until)) => {
                let left_ms = until.as_millisecond() - self.now.as_millisecond();
                left_ms.max(0).saturating_add(999) / 1000
            }
            _ => 0,
        }
    }

    /// Orders decided per second since the start.
    #[must_use]
    pub fn orders_per_second(&self) -> f64 {
        let seconds = self.elapsed_ms() as f64 / 1000.0;
        let decided = (self.synced + self.failed + self.skipped) as f64;
        if seconds <= 0.0 { 0.0 } else { (decided / seconds * 100.0).round() / 100.0 }
    }

    /// Whether somebody was told how it came out.
    #[must_use]
    pub fn end_was_announced(&self) -> bool {
        self.announced_state.is_some_and(|announced| announced != RunState::Syncing)
    }

    /// Whole seconds until every order has its outcome, rounded up: 0 once all have theirs. `None` while nobody can tell, and if the run
    /// broke off.
    #[must_use]
    pub fn eta_seconds(&self) -> Option<u64> {
        match self.state {
            RunState::Delay | RunState::Completed => return Some(0),
            RunState::Error | RunState::Cancelled | RunState::Skipped => return None,
            RunState::Syncing => {}
        }
        let Some(outlook) = &self.outlook else { return self.eta_by_rate() };
        let calls = self.calls_left(outlook)?;
        let silent_ms = self.last_progress_at.map_or(0, |at| self.now.as_millisecond() - at.as_millisecond());
        if calls == 0 && silent_ms > SILENT_FOR_MS {
            return None;
        }
        let by_limit = seconds(outlook.last_call_ms(calls)?.saturating_add(FINISH_MS));
        if !outlook.is_not_used_up(calls, self.elapsed_ms()) {
            return Some(by_limit);
        }
        // At the rate at which orders were fetched so far, those under way included: they had their calls.
        let handled = self.synced + self.failed + self.skipped + outlook.under_way();
        let open = self.total_orders().saturating_sub(self.synced + self.failed);
        let elapsed_ms = u64::try_from(self.elapsed_ms()).unwrap_or(0);
        let by_rate = open.saturating_mul(elapsed_ms).checked_div(handled)?.div_ceil(1000);
        Some(by_limit.max(by_rate))
    }

    /// The same by the rate so far, where nothing is known of the limit.
    fn eta_by_rate(&self) -> Option<u64> {
        let open = self.total_orders().saturating_sub(self.synced + self.failed);
        if !self.is_counted() {
            return None;
        }
        let rate = self.orders_per_second();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturating")]
        (rate > 0.0).then(|| ((open as f64 / rate).ceil() as u64).max(1))
    }

    /// Whole seconds, rounded up, until GHL's limit lets this run's next call pass; `None` if it would now, or if no call is left.
    #[must_use]
    pub fn wait_seconds(&self) -> Option<u64> {
        let outlook = self.outlook.as_ref().filter(|_| self.state == RunState::Syncing)?;
        // Before it knows what there is, it waits for its first page.
        let calls = self.calls_left(outlook).unwrap_or(1);
        let wait_ms = outlook.next_call_ms(calls).filter(|_| calls > 0)?;
        (wait_ms > 0).then(|| seconds(wait_ms))
    }

    /// Whole seconds since it started, while it is syncing, by the database's clock: a client's may be minutes off.
    #[must_use]
    pub fn elapsed_seconds(&self) -> Option<u64> {
        (self.state == RunState::Syncing).then(|| u64::try_from(self.elapsed_ms() / 1000).unwrap_or(0))
    }

    /// Calls that the limit has still to let pass: orders to fetch, and pages. `None` as long as nobody knows how many orders there are.
    fn calls_left(&self, outlook: &Outlook) -> Option<u64> {
        let (open, total) = (self.open_orders(), self.total_count.unwrap_or(self.listed).max(self.listed));
        let to_fetch = open.saturating_sub(outlook.under_way());
        if self.listing_complete {
            return Some(to_fetch);
        }
        let not_listed = match (self.kind, self.total_count) {
            (_, None) => return None,
            (RunKind::Full | RunKind::Retry, Some(_)) => total - self.listed,
            // What a list shows to be unchanged isn't fetched: as many of the rest as of those listed so far.
            (RunKind::Incremental | RunKind::ValidList, Some(_)) => {
                let fetched = self.listed.saturating_sub(self.unchanged + self.skipped);
                (total - self.listed).saturating_mul(fetched) / self.listed.max(1)
            }
        };
        let listing = self.listing.as_ref().filter(|listing| listing.phase == Phase::Orders);
        let pages = listing.map_or(0, Listing::pages_left);
        let transactions = match &self.transactions {
            Some(reading) if reading.done => 0,
            Some(reading) => reading.pages_left(),
            None if self.kind == RunKind::Full => total.div_ceil(100),
            None => 0,
        };
        Some(to_fetch + not_listed + pages + transactions)
    }

    fn elapsed_ms(&self) -> i64 {
        self.ended_at.unwrap_or(self.now).as_millisecond() - self.started_at.as_millisecond()
    }
}

/// Whole seconds, rounded up.
fn seconds(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).div_ceil(1000)
}
