//! The shared rate limiter.

use domain::{RunId, RunState, rate};
use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{Database, Error};

/// Who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Runs: leave webhooks what these have lately asked for, and keep a quarter.
    Bulk,
    /// Webhooks and single syncs.
    Priority,
}

/// The limit's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Requests per window until GHL's headers say otherwise.
    pub max: u32,
    /// GHL's window, in milliseconds.
    pub window_ms: u32,
    /// How long after it was asked for a grant may be used, in milliseconds. Each grant takes its slots that much longer.
    pub margin_ms: u32,
    /// Calls of the day's budget that runs leave to webhooks and single syncs.
    pub daily_reserve: u32,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        max: rate::CALLS_PER_WINDOW,
        window_ms: rate::WINDOW.as_millis() as u32,
        margin_ms: 250,
        daily_reserve: 1000,
    };

    /// Calls that a run gets in a window and a margin while no webhook comes, at least 1.
    #[must_use]
    pub const fn bulk_window(&self) -> u32 {
        let bulk = self.max.saturating_sub(IDLE_RESERVE);
        if bulk == 0 { 1 } else { bulk }
    }

    /// Orders that a run has under way at most: enough for two windows, so that workers never wait for the next pulse.
    #[must_use]
    pub const fn outstanding(&self) -> u32 {
        2 * self.bulk_window()
    }
}

/// Slots that bulk leaves to webhooks while none comes.
pub const IDLE_RESERVE: u32 = 2;

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

/// A request for calls to GHL, to be made at once.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ask<'a> {
    /// New for each request. Sent again after a lost answer, it gets the same grant.
    pub id: Uuid,
    /// Who is asking.
    pub lane: Lane,
    /// How many calls.
    pub wanted: usize,
    /// Calls that the run has still to make, if the caller knows; else the limiter goes by what its listing has left.
    pub remaining: Option<u64>,
    /// The run they are for.
    pub run_id: Option<&'a RunId>,
    /// The configuration, with the caller's own margin.
    pub limits: Limits,
    /// What GHL has said since the last request.
    pub observed: Observed,
    /// Whether this process's last grant came too late to be used, unless that was reported already.
    pub late: Option<bool>,
    /// When the orders were dispatched that the calls are for: those granted aren't awaited any more.
    #[serde(rename = "dispatched_at_ms", skip_serializing_if = "Option::is_none", with = "millisecond::optional")]
    pub dispatched_at: Option<Timestamp>,
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

#[derive(Deserialize)]
struct HandedBack {
    handed_back: u32,
}

impl Database {
    /// Asks for calls to GHL. Grants only what is free now and never reserves the future.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn acquire_slots(&self, ask: &Ask<'_>) -> Result<Slots, Error> {
        self.call("acquire_slots", ask).await
    }

    /// Frees calls of a grant that will never be sent. Works once for each grant and while it takes slots; returns how many were freed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn hand_back_slots(&self, id: Uuid, unused: u32) -> Result<u32, Error> {
        let freed: HandedBack = self.call("hand_back_slots", json!({ "id": id, "unused": unused })).await?;
        Ok(freed.handed_back)
    }
}
