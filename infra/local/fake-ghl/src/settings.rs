//! What can be changed while the fake runs, the variants where sources on GHL disagree among them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// GHL's documented limit: requests in one window, the window in milliseconds, requests in a day.
pub(crate) const RATE_MAX: u64 = 100;
pub(crate) const RATE_WINDOW_MS: u64 = 10_000;
pub(crate) const RATE_DAILY: u64 = 200_000;

/// `GET` and `PATCH /_control/settings`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FakeSettings {
    /// Requests let through in one window.
    pub rate_max: u64,
    /// Length of the window in milliseconds.
    pub rate_window_ms: u64,
    /// Requests let through in one UTC day.
    pub rate_daily: u64,
    /// `Retry-After` on a 429: GHL documents none.
    pub retry_after: RetryAfter,
    /// Median latency in milliseconds, with a long tail; 0 is none.
    pub latency_ms: u64,
    /// 404 as seen, or 400 as specified.
    pub not_found_status: u16,
    /// The largest `limit` the lists accept; beyond it they answer 422.
    pub max_limit: u64,
    /// The most rows that a list gives, whatever `limit` it accepted, without a word; absent: as many as it accepted.
    pub row_cap: Option<u64>,
    /// A JSON merge patch of every row in the list of orders: `{"updatedAt": null}` leaves that field out.
    pub row_patch: Value,
    /// More fields of an order that its row in the list has, such as `paymentStatus`.
    pub row_fields: Vec<String>,
    /// Lists answer `{"data": {"data": [...]}}`.
    pub nested_list: bool,
    /// Added to `totalCount`, to make it wrong.
    pub total_count_offset: i64,
    /// Added to the `total` of products, to make it wrong.
    pub product_total_offset: i64,
    /// How long a write stays unseen in lists, in milliseconds.
    pub list_lag_ms: i64,
    /// The only token that is accepted from now on, instead of the one given at the start.
    pub token: Option<String>,
    /// Where webhooks go.
    pub webhook_url: Option<String>,
}

/// The forms of a `Retry-After` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// No header.
    None,
    /// A number of seconds.
    Seconds,
    /// An HTTP date.
    Date,
}

impl Default for FakeSettings {
    fn default() -> Self {
        Self {
            rate_max: RATE_MAX,
            rate_window_ms: RATE_WINDOW_MS,
            rate_daily: RATE_DAILY,
            retry_after: RetryAfter::None,
            latency_ms: 0,
            not_found_status: 404,
            max_limit: 100,
            row_cap: None,
            row_patch: json!({}),
            row_fields: Vec::new(),
            nested_list: false,
            total_count_offset: 0,
            product_total_offset: 0,
            list_lag_ms: 0,
            token: None,
            webhook_url: None,
        }
    }
}

impl FakeSettings {
    /// So many rows of a page that asked for `limit`.
    pub(crate) fn capped(&self, limit: usize) -> usize {
        self.row_cap.map_or(limit, |cap| limit.min(cap as usize))
    }
}
