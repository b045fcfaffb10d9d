//! The shared rate limiter.

use domain::{RunId, RunState, rate};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Database, Error};

/// Who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Runs: see only a share of the maximum.
    Bulk,
    /// Webhooks and single syncs: see all of it.
    Priority,
}

/// The limit's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Requests per window until GHL's headers say otherwise.
    pub max: u32,
    /// GHL's window, in milliseconds.
    pub window_ms: u32,
    /// How late a grant may be used, in milliseconds. A later grant is void, and each grant takes its slot that much longer.
    pub margin_ms: u32,
    /// The bulk lane's share, in percent.
    pub bulk_percent: u32,
    /// Calls of the day's budget that runs leave to webhooks and single syncs.
    pub daily_reserve: u32,
}

impl Limits {
    /// The defaults. 80 % for runs leaves every fifth call to webhooks and single syncs.
    pub const DEFAULT: Self = Self {
        max: rate::CALLS_PER_WINDOW,
        window_ms: rate::WINDOW.as_millis() as u32,
        margin_ms: 250,
        bulk_percent: 80,
        daily_reserve: 1000,
    };

    /// Calls that a window of the bulk lane holds, at least 1.
    #[must_use]
    pub const fn bulk_window(&self) -> u32 {
        let bulk = self.max * self.bulk_percent / 100;
        if bulk == 0 { 1 } else { bulk }
    }

    /// Orders that a run has under way at most: enough for two windows, so that workers never wait for the next pulse.
    #[must_use]
    pub const fn outstanding(&self) -> u32 {
        2 * self.bulk_window()
    }
}

/// What GHL's headers said since the last request for slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Requests per window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Requests left in the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// Requests left today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_remaining: Option<u64>,
    /// How old `remaining` is, in milliseconds: calls granted since then aren't in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// How long the call took, in milliseconds: GHL counted at an unknown moment of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// After a 429: milliseconds both lanes stay closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_for_ms: Option<u64>,
}

/// An answer of the limiter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Slots {
    /// Calls that may be made now.
    pub granted: u32,
    /// When, by the database's clock.
    pub granted_at: Timestamp,
    /// Milliseconds until one more may be free; 0 when all were granted.
    pub wait_ms: u64,
    /// Requests left today, as last seen.
    pub daily_remaining: Option<u64>,
    /// The bulk lane gets nothing more today: what is left is the reserve.
    #[serde(default)]
    pub budget_exhausted: bool,
    /// The state of the run that was asked for; nothing is granted unless it is `Syncing`.
    pub run_state: Option<RunState>,
    /// For how many milliseconds every grant has arrived too late to be used; `None` if the last one arrived in time.
    #[serde(default)]
    pub late_ms: Option<u64>,
}

impl Database {
    /// Asks for `wanted` calls to GHL, to be made at once. Grants only what is free now and never reserves the future.
    /// `late` reports whether this process's last grant arrived too late to be used, unless that was reported already.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn acquire_slots(
        &self,
        lane: Lane,
        wanted: usize,
        run_id: Option<&RunId>,
        limits: Limits,
        observed: Observed,
        late: Option<bool>,
    ) -> Result<Slots, Error> {
        let request = json!({
            "lane": lane, "wanted": wanted, "run_id": run_id, "limits": limits, "observed": observed, "late": late,
        });
        self.call("acquire_slots", request).await
    }
}
