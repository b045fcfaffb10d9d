//! What an admin reads: runs, failures, issues.

use domain::Run;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Database, Error};

/// A page of runs, newest first.
#[derive(Debug, Clone, Deserialize)]
pub struct Runs {
    /// The runs.
    pub runs: Vec<Run>,
    /// Where the next page starts.
    pub next: Option<String>,
}

/// An order that failed or was skipped.
#[derive(Debug, Clone, Deserialize)]
pub struct FailureRow {
    /// Which order.
    pub order_id: String,
    /// Why it was fetched, outside of runs.
    pub cause: Option<String>,
    /// The failure's class.
    pub class: Option<String>,
    /// A stable code.
    pub code: Option<String>,
    /// A sentence for a person.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: Option<u32>,
    /// When it was last tried.
    pub last_try_at: Option<Timestamp>,
    /// When the order was synced since, where a run's record keeps the failure.
    pub resolved_at: Option<Timestamp>,
}

/// Something in an order's data that couldn't be honoured.
#[derive(Debug, Clone, Deserialize)]
pub struct IssueRow {
    /// Which order; `None` for the run itself.
    pub order_id: Option<String>,
    /// A stable code.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
}

/// Orders whose tickets disagreed before this run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Drift {
    /// How many orders.
    pub orders: u64,
    /// Tickets made.
    pub added: u64,
    /// Tickets brought back.
    pub reinstated: u64,
    /// Tickets cancelled.
    pub cancelled: u64,
    /// This page's orders.
    #[serde(default)]
    pub list: Vec<DriftRow>,
}

/// An order whose tickets disagreed before this run: what was done about it.
#[derive(Debug, Clone, Deserialize)]
pub struct DriftRow {
    /// Which order.
    pub order_id: String,
    /// Tickets made.
    pub added: u64,
    /// Tickets brought back.
    pub reinstated: u64,
    /// Tickets cancelled.
    pub cancelled: u64,
}

/// A run with what went wrong in it.
#[derive(Debug, Clone, Deserialize)]
pub struct RunDetail {
    /// The run; `None` when there is no such run.
    pub run: Option<Run>,
    /// Orders that failed.
    #[serde(default)]
    pub failures: Vec<FailureRow>,
    /// Orders that aren't valid orders of ours.
    #[serde(default)]
    pub skips: Vec<FailureRow>,
    /// What couldn't be honoured.
    #[serde(default)]
    pub issues: Vec<IssueRow>,
    /// Orders whose tickets disagreed before.
    #[serde(default)]
    pub drift: Option<Drift>,
    /// Which of the original app's tables the public keys can still change.
    #[serde(default)]
    pub open: Vec<String>,
    /// Where the next page starts.
    pub next: Option<String>,
}

/// A page of failures outside of runs.
#[derive(Debug, Clone, Deserialize)]
pub struct Failures {
    /// The failures.
    pub failures: Vec<FailureRow>,
    /// Where the next page starts.
    pub next: Option<String>,
}

/// One of the lists of a run's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportList {
    /// Orders that failed.
    Failures,
    /// Orders that aren't valid orders of ours.
    Skips,
    /// What couldn't be honoured.
    Issues,
    /// Orders whose tickets disagreed before.
    Drift,
}

/// How long ago runs completed, in hours.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct HoursSince {
    /// A full or incremental run.
    pub sync: f64,
    /// A full run.
    pub full_sync: f64,
}

impl Database {
    /// How long ago runs completed, or the location became known if none has; 0 while one makes progress.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn hours_since_sync(&self) -> Result<HoursSince, Error> {
        self.call("hours_since_sync", json!({})).await
    }

    /// Runs, newest first, before a cursor, at most `limit` (1 to 100).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_runs(&self, before: Option<&str>, limit: u32) -> Result<Runs, Error> {
        self.call("list_runs", json!({ "before": before, "limit": limit })).await
    }

    /// A run with its failures, skips, issues and drift after a cursor, at most `limit` of each; or with `only` one of them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_run(
        &self,
        run_id: &str,
        after: Option<&str>,
        limit: u32,
        only: Option<ReportList>,
    ) -> Result<RunDetail, Error> {
        self.call("get_run", json!({ "run_id": run_id, "after": after, "limit": limit, "only": only })).await
    }

    /// Failures outside of runs after a cursor, at most `limit`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_failures(&self, after: Option<&str>, limit: u32) -> Result<Failures, Error> {
        self.call("list_failures", json!({ "after": after, "limit": limit })).await
    }
}
