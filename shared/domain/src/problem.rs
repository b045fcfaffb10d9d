//! What keeps the whole system from working, or soon will: by the facts that the database knows, described for an admin.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::{Run, RunState};

/// How long no rate limit grant must have arrived in time before that is reported as a problem.
pub const LATE_FOR_TOO_LONG: Duration = Duration::from_secs(60);

/// How long a location may be without any completed run from its first day on.
pub const FIRST_DAY: Duration = Duration::from_secs(24 * 3600);

/// How long it is reported that frames reached nobody. The next that do end it.
pub const FRAMES_FAILED_LATELY: Duration = Duration::from_secs(15 * 60);

/// Something that an admin should know wherever the status is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable code.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What the database knows of the system. Times tell how long ago it was, in milliseconds, since clocks differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SystemState {
    /// GHL refused the access token, and has accepted it no more since.
    pub ghl_refused_ms: Option<u64>,
    /// Frames reached none of the dashboards that were there, nor have any since.
    pub frames_failed_ms: Option<u64>,
    /// The location came to be known.
    pub known_ms: Option<u64>,
    /// The last full or incremental run completed.
    pub completed_ms: Option<u64>,
    /// What GHL said was left of the day's budget.
    pub daily_remaining: Option<i64>,
    /// Tables with buyers or tickets that the public key opens.
    pub open_tables: Vec<OpenTable>,
}

/// A table that whoever has the project's public key can use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OpenTable {
    /// Its name.
    pub table: String,
    /// Whether it can be read.
    pub reads: bool,
    /// Whether rows can be added, changed or deleted.
    pub writes: bool,
}

/// From when on something is a problem: the numbers of the alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Hours without a completed run; `None` where no run is due, because nothing starts them.
    pub hours_without_sync: Option<u32>,
    /// Calls left of GHL's daily budget.
    pub daily_budget_low: u32,
}

impl SystemState {
    /// All problems, the worst first. `late_for`: for how long no grant of the rate limit has arrived in time; `run`: the newest.
    #[must_use]
    pub fn problems(&self, late_for: Option<Duration>, run: Option<&Run>, thresholds: &Thresholds) -> Vec<Problem> {
        [
            self.ghl_unauthorized(),
            self.tables_open(),
            late_for.and_then(Problem::database_too_slow),
            self.no_recent_run(run, thresholds.hours_without_sync),
            self.daily_budget_low(thresholds.daily_budget_low),
            self.live_updates_unavailable(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn ghl_unauthorized(&self) -> Option<Problem> {
        let since = span(milliseconds(self.ghl_refused_ms?));
        Some(Problem {
            code: "ghl_unauthorized",
            message: format!(
                "GoHighLevel refused the access token {since} ago, and nothing has been synced since. Check there that the token \
                 is still valid and may read orders, transactions and products. If it was replaced, store the new one with \
                 `cargo xtask configure --stack <name>`. Then start a sync."
            ),
        })
    }

    fn tables_open(&self) -> Option<Problem> {
        let what = match self.open_tables.as_slice() {
            [] => return None,
            [one] if one.table == "ghl_qr_tickets" => "the tickets",
            [_] => "the orders, with their buyers",
            _ => "the orders, with their buyers, and the tickets",
        };
        let open = |how: fn(&OpenTable) -> bool| self.open_tables.iter().any(how);
        let how = match (open(|table| table.reads), open(|table| table.writes)) {
            (true, false) => "read",
            (false, true) => "change",
            _ => "read and change",
        };
        Some(Problem {
            code: "tables_open",
            message: format!(
                "Anybody can {how} {what}: the project's public key, which every page shows, opens them. Once the original app and \
                 its scanner don't use that key any more, close them with `cargo xtask migrate --last-step`."
            ),
        })
    }

    /// A run that began in time may take as long as it needs: it makes progress, or its lease ends it.
    fn no_recent_run(&self, run: Option<&Run>, hours: Option<u32>) -> Option<Problem> {
        let hours = hours?;
        let limit = Duration::from_secs(u64::from(hours) * 3600);
        let (without, limit) = match self.completed_ms {
            Some(completed_ms) => (milliseconds(completed_ms), limit),
            None => (milliseconds(self.known_ms?), limit.max(FIRST_DAY)),
        };
        let running = run.filter(|run| run.state == RunState::Syncing).map(running_for).unwrap_or_default();
        if without.saturating_sub(running) < limit {
            return None;
        }
        let since = if self.completed_ms.is_some() {
            format!("No sync has completed for {}", span(without))
        } else {
            "No sync has completed yet".to_owned()
        };
        Some(Problem {
            code: "no_recent_run",
            message: format!(
                "{since}. The list of runs says why the last ones ended or were skipped. If there are none, look whether the \
                 schedules are enabled, and start a sync here."
            ),
        })
    }

    fn daily_budget_low(&self, low: u32) -> Option<Problem> {
        let remaining = self.daily_remaining.filter(|remaining| *remaining < i64::from(low))?;
        Some(Problem {
            code: "daily_budget_low",
            message: format!(
                "Only {remaining} calls are left of what GoHighLevel allows in a day. Scheduled syncs are skipped or end early until it \
                 allows more; changed orders still arrive. If this happens often, sync less often, or find out which other app uses \
                 this location's calls."
            ),
        })
    }

    fn live_updates_unavailable(&self) -> Option<Problem> {
        let failed = milliseconds(self.frames_failed_ms?);
        if failed >= FRAMES_FAILED_LATELY {
            return None;
        }
        Some(Problem {
            code: "live_updates_unavailable",
            message: "Live updates unavailable: progress could not be sent to the open pages. Syncs go on, and this page asks for the \
                      state by itself. If this stays, look for errors of the WebSocket API in the logs."
                .to_owned(),
        })
    }
}

impl Problem {
    /// The database answers so slowly that each permission to call GHL has run out when it arrives. `None` before
    /// [`LATE_FOR_TOO_LONG`].
    #[must_use]
    pub fn database_too_slow(late_for: Duration) -> Option<Self> {
        if late_for < LATE_FOR_TOO_LONG {
            return None;
        }
        let ago = span(late_for);
        Some(Self {
            code: "database_too_slow",
            message: format!(
                "Nothing can be fetched from GoHighLevel: for {ago} the database has answered too slowly to share its rate limit. \
                 Check the Supabase project's region and load."
            ),
        })
    }

    /// Whether only admins are told: it says how to get at buyers' data.
    #[must_use]
    pub fn is_for_admins(&self) -> bool {
        self.code == "tables_open"
    }
}

fn milliseconds(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// For how long a run has been going, by the database's clock.
fn running_for(run: &Run) -> Duration {
    run.now.duration_since(run.started_at).try_into().unwrap_or_default()
}

/// A time in words, rounded down: it isn't told to the second.
fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 60 / 24, minutes / 60, minutes) {
        (2.., ..) => format!("{} days", minutes / 60 / 24),
        (_, 2.., _) => format!("{} hours", minutes / 60),
        (_, _, 2..) => format!("{minutes} minutes"),
        _ => "a minute".to_owned(),
    }
}

#[cfg(test)]
mod tests;
