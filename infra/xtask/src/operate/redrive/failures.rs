//! Which orders failed for good, and which of them are sent again. Pure but for reading.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use anyhow::{Context, Result};
use domain::{Cause, LocationId, OrderId, RunId};
use jiff::{SignedDuration, Timestamp};
use queues::OrderMessage;
use serde_json::{Map, Value, json};

use crate::http::{number, text};
use crate::operate::supabase::Supabase;

/// What runs that were stopped left in the rows of earlier versions: the orders were never tried, and the next sync takes them
/// anyway.
pub(crate) const NOT_ATTEMPTED: &str = "not_attempted";
/// A message that named no order: there is nothing to send again.
pub(crate) const UNREADABLE: &str = "unreadable_message";

/// An order that failed and wasn't synced since.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) order_id: OrderId,
    /// The run it failed in, if any.
    pub(crate) run_id: Option<RunId>,
    pub(crate) code: String,
    pub(crate) attempts: u64,
    pub(crate) at: Timestamp,
}

/// What an operator wants of them.
#[derive(Default)]
pub(crate) struct Selection {
    /// Only of these codes; none: of any.
    pub(crate) only: Vec<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) limit: Option<usize>,
}

/// Failures by what becomes of them.
#[derive(Default)]
pub(crate) struct Selected {
    pub(crate) chosen: Vec<Failure>,
    pub(crate) not_attempted: usize,
    pub(crate) unreadable: usize,
}

/// What failed, and what the last run left.
pub(crate) struct Found {
    /// All that stands in `sync_failures`, and what failed in runs and wasn't synced later.
    pub(crate) failures: Vec<Failure>,
    /// The orders that the newest run didn't come to, if it was stopped.
    pub(crate) left: u64,
}

/// What failed outside of runs, and in runs that ended at or after `since`.
pub(crate) fn read(supabase: &Supabase, since: Option<Timestamp>) -> Result<Found> {
    let mut failures = outside_of_runs(supabase)?;
    // Newest first, and one after the other: behind an older one come only older ones. A run in progress has no end.
    let young = |run: &Value| time(run, "ended_at").map_or(true, |at| since.is_none_or(|since| at >= since));
    let runs = supabase.pages("list_runs", Map::new(), ["runs", "before"], |page| page.iter().all(young))?;
    for run in runs.iter().filter(|run| young(run) && number(run, "failed") > 0) {
        failures.extend(of_run(supabase, &id(run, "run_id")?)?);
    }
    let newest = runs.iter().find(|run| text(run, "state") != "Skipped");
    Ok(Found { failures, left: newest.map_or(0, |run| number(run, "not_attempted")) })
}

pub(crate) fn outside_of_runs(supabase: &Supabase) -> Result<Vec<Failure>> {
    let rows = supabase.pages("list_failures", Map::new(), ["failures", "after"], |_| true)?;
    rows.iter().map(|row| Failure::from_row(row, None)).collect()
}

/// What failed in a run and wasn't synced since.
pub(crate) fn of_run(supabase: &Supabase, run_id: &RunId) -> Result<Vec<Failure>> {
    let request =
        [("run_id", run_id.as_str()), ("only", "failures")].map(|(name, value)| (name.to_owned(), json!(value)));
    let rows = supabase.pages("get_run", Map::from_iter(request), ["failures", "after"], |_| true)?;
    let unresolved = rows.iter().filter(|row| row.get("resolved_at").is_none_or(Value::is_null));
    unresolved.map(|row| Failure::from_row(row, Some(run_id))).collect()
}

impl Failure {
    fn from_row(row: &Value, run_id: Option<&RunId>) -> Result<Self> {
        Ok(Self {
            order_id: id(row, "order_id")?,
            run_id: run_id.cloned(),
            code: text(row, "code").to_owned(),
            attempts: number(row, "attempts"),
            at: time(row, "last_try_at")?,
        })
    }

    /// The message that has it tried again: in the lane of runs, so that webhooks go first.
    pub(crate) fn message(&self, location_id: &LocationId) -> OrderMessage {
        OrderMessage::new(location_id.clone(), self.order_id.clone(), Cause::Retry)
    }
}

impl Selection {
    /// Each order once, by its newest failure; the oldest failures first.
    pub(crate) fn of(&self, failures: Vec<Failure>) -> Selected {
        let mut newest: BTreeMap<OrderId, Failure> = BTreeMap::new();
        for failure in failures {
            match newest.get(&failure.order_id) {
                Some(known) if known.at >= failure.at => {}
                _ => drop(newest.insert(failure.order_id.clone(), failure)),
            }
        }
        let wanted = |code: &str| self.only.iter().any(|only| only == code);
        let mut selected = Selected::default();
        for failure in newest.into_values() {
            if self.since.is_some_and(|since| failure.at < since) {
                continue;
            }
            match failure.code.as_str() {
                UNREADABLE => selected.unreadable += 1,
                NOT_ATTEMPTED if !wanted(NOT_ATTEMPTED) => selected.not_attempted += 1,
                code if self.only.is_empty() || wanted(code) => selected.chosen.push(failure),
                _ => {}
            }
        }
        selected.chosen.sort_by(|a, b| (a.at, &a.order_id).cmp(&(b.at, &b.order_id)));
        selected.chosen.truncate(self.limit.unwrap_or(usize::MAX));
        selected
    }
}

/// How orders that were sent stand now.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Standing {
    pub(crate) synced: usize,
    /// Failed anew, with the code.
    pub(crate) failed: Vec<(OrderId, String)>,
    pub(crate) under_way: usize,
}

impl Standing {
    /// `outside` is what stands in `sync_failures` now, `in_runs` are the orders that are still unresolved in their runs.
    pub(crate) fn of(sent: &[Failure], outside: &[Failure], in_runs: &BTreeSet<OrderId>) -> Self {
        let mut standing = Self::default();
        for order in sent {
            match outside.iter().find(|now| now.order_id == order.order_id) {
                // What failed in a run and outside of one has the newer of both times.
                Some(now) if now.at > order.at => standing.failed.push((now.order_id.clone(), now.code.clone())),
                Some(_) => standing.under_way += 1,
                None if in_runs.contains(&order.order_id) => standing.under_way += 1,
                None => standing.synced += 1,
            }
        }
        standing
    }
}

/// How long ago, as a person says it.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `2h`, `30m`, `3d`.
pub(crate) fn duration(given: &str) -> Result<SignedDuration, String> {
    let days = given.strip_suffix('d').and_then(|days| days.parse().ok()).map(|days: i64| days.saturating_mul(24));
    let duration = days.map_or_else(|| given.parse().ok(), SignedDuration::try_from_hours);
    duration.filter(SignedDuration::is_positive).ok_or_else(|| "it must be like 2h, 30m or 3d".to_owned())
}

fn id<T: FromStr<Err: Into<anyhow::Error>>>(row: &Value, key: &str) -> Result<T> {
    text(row, key).parse().map_err(Into::into).with_context(|| format!("Supabase answers with a {key} that is none"))
}

fn time(row: &Value, key: &str) -> Result<Timestamp> {
    text(row, key).parse().with_context(|| format!("Supabase answers with a {key} that is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(order_id: &str, code: &str, second: i64) -> Failure {
        let at = Timestamp::from_second(second).unwrap();
        Failure { order_id: OrderId::try_new(order_id).unwrap(), run_id: None, code: code.to_owned(), attempts: 1, at }
    }

    fn ids(failures: &[Failure]) -> Vec<&str> {
        failures.iter().map(|failure| failure.order_id.as_str()).collect()
    }

    #[test]
    fn each_order_is_chosen_once_oldest_first() {
        let all = vec![failure("a", "x", 5), failure("b", "x", 3), failure("a", "y", 1), failure("c", "x", 9)];
        let selected = Selection::default().of(all.clone());
        assert_eq!(ids(&selected.chosen), ["b", "a", "c"]);
        assert_eq!(selected.chosen[1].code, "x", "its newest failure");
        let limited = Selection { limit: Some(1), ..Selection::default() };
        assert_eq!(ids(&limited.of(all.clone()).chosen), ["b"]);
        let young = Selection { since: Some(Timestamp::from_second(5).unwrap()), ..Selection::default() };
        assert_eq!(ids(&young.of(all).chosen), ["a", "c"]);
    }

    #[test]
    fn what_cannot_or_need_not_be_sent_is_counted() {
        let all = vec![failure("a", NOT_ATTEMPTED, 1), failure("b", UNREADABLE, 1), failure("c", "x", 1)];
        let selected = Selection::default().of(all.clone());
        assert_eq!((ids(&selected.chosen), selected.not_attempted, selected.unreadable), (vec!["c"], 1, 1));
        let only = Selection { only: vec![NOT_ATTEMPTED.to_owned()], ..Selection::default() }.of(all);
        assert_eq!((ids(&only.chosen), only.not_attempted), (vec!["a"], 0));
    }

    #[test]
    fn where_orders_stand_is_seen_from_what_is_left() {
        let sent = [failure("gone", "x", 5), failure("same", "x", 5), failure("anew", "x", 5), failure("run", "x", 5)];
        let outside = [failure("same", "x", 5), failure("anew", "y", 6)];
        let standing = Standing::of(&sent, &outside, &BTreeSet::from([OrderId::try_new("run").unwrap()]));
        let failed = vec![(OrderId::try_new("anew").unwrap(), "y".to_owned())];
        assert_eq!(standing, Standing { synced: 1, failed, under_way: 2 });
    }

    #[test]
    fn times_are_spoken() {
        let age_of = |seconds| age(Timestamp::from_second(0).unwrap(), Timestamp::from_second(seconds).unwrap());
        assert_eq!([5, 300, 10_000, 500_000].map(age_of), ["5 s", "5 min", "2 h", "5 days"]);
        assert_eq!(duration("2h").unwrap().as_secs(), 7_200);
        assert_eq!(duration("3d").unwrap().as_secs(), 259_200);
        for bad in ["", "2", "soon", "-2h", "99999999999999999999d", "9223372036854775807d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_message_is_what_the_order_worker_reads() {
        let message = failure("a", "x", 5).message(&LocationId::try_new("loc").unwrap());
        assert_eq!(
            serde_json::to_value(message).unwrap(),
            json!({ "location_id": "loc", "order_id": "a", "cause": "retry", "attempt": 1 })
        );
    }
}
