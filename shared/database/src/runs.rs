//! Runs: start, pulse, pages, dispatch, end, publication.

use std::time::Duration;

use domain::frames::Publication;
use domain::listing::{Completed, Listing};
use domain::run::NotStarted;
use domain::{FailureClass, Issue, OrderId, Problem, Run, RunId, RunKind, RunState};
use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Database, Error, Limits};

/// A run to start. All of its fields are those of the request.
#[derive(Debug, Clone, Serialize)]
pub struct NewRun {
    /// What it fetches.
    pub kind: RunKind,
    /// A user id, or `schedule`.
    pub requested_by: String,
    /// For a retry: these orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_ids: Option<Vec<OrderId>>,
    /// For a retry: the orders of this run that failed or weren't attempted. If it broke off before its listing was complete, a
    /// new run of its kind starts instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RunId>,
    /// For scheduled runs: start only if the day's budget holds the run beside these calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_reserve: Option<u32>,
    /// For scheduled incremental runs: a full one instead, if the last full one is longer ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_run_within_hours: Option<u32>,
}

impl NewRun {
    /// A run that a person asks for, or a schedule.
    #[must_use]
    pub const fn of(kind: RunKind, requested_by: String) -> Self {
        Self { kind, requested_by, order_ids: None, retry_of: None, daily_reserve: None, full_run_within_hours: None }
    }
}

/// A run's times, kept on its row.
#[derive(Debug, Clone, Copy)]
pub struct RunSettings {
    /// Cool-down after a run.
    pub cooldown: Duration,
    /// How long a run may make no progress.
    pub lease: Duration,
    /// Least time between the beginnings of two publications of progress.
    pub publish_interval: Duration,
}

impl RunSettings {
    /// The defaults. `start_run` in `runs.sql` and `CooldownSeconds` in the template say the same.
    pub const DEFAULT: Self = Self {
        cooldown: Duration::from_secs(30),
        lease: Duration::from_secs(1800),
        publish_interval: Duration::from_millis(250),
    };
}

/// The answer to a start.
#[derive(Debug, Clone, Deserialize)]
pub struct Started {
    /// Whether it started.
    pub started: bool,
    /// Why not.
    pub reason: Option<NotStarted>,
    /// The new run, or the one in the way.
    pub run: Option<Run>,
    /// The number of its first pulse.
    pub pulse: Option<i64>,
    /// Whether to ask for a publication: the new run, or the end of the previous one.
    #[serde(default)]
    pub publication_due: bool,
    /// Whole seconds after which a start may succeed.
    pub retry_after_seconds: Option<u64>,
}

/// The answer to a pulse.
#[derive(Debug, Clone, Deserialize)]
pub struct Pulse {
    /// Whether this pulse may go on; otherwise it is a redelivered or superseded one.
    pub accepted: bool,
    /// The run.
    pub run: Option<Run>,
    /// Whether to ask for a publication.
    pub publication_due: bool,
    /// Orders to send, once the listing is complete.
    #[serde(default)]
    pub dispatch: Option<Dispatch>,
}

/// A listed order.
#[derive(Debug, Clone, Serialize)]
pub struct PageOrder {
    /// Which order.
    pub order_id: OrderId,
    /// Its listed `updatedAt`.
    pub source_updated_at: Option<Timestamp>,
    /// Whether it is another location's.
    pub foreign: bool,
    /// Its listed `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Its listed `paymentStatus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_status: Option<String>,
    /// Its listed `amount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
}

/// Listed pages of one phase to record.
#[derive(Debug, Clone)]
pub struct PageRecord<'a> {
    /// The run.
    pub run_id: &'a RunId,
    /// Where the listing stands after these pages.
    pub listing: &'a Listing,
    /// The complete listing, if it is.
    pub completed: Option<&'a Completed>,
    /// GHL's count of all orders.
    pub total_count: Option<u64>,
    /// Whether these are pages of the sweep for refunds.
    pub sweep: bool,
    /// The orders on them.
    pub orders: Vec<PageOrder>,
    /// What a person should look at.
    pub issues: Vec<Issue>,
    /// What may be dispatched besides.
    pub dispatch: Option<DispatchLimits>,
}

/// The answer to recorded pages, or to a portion of a retry's orders.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedPage {
    /// The run after it.
    pub run: Run,
    /// Whether to ask for a publication.
    pub publication_due: bool,
    /// Orders to send, if that was asked for.
    #[serde(default)]
    pub dispatch: Option<Dispatch>,
}

/// Which orders may be dispatched.
#[derive(Debug, Clone, Copy)]
pub struct DispatchLimits {
    /// Orders that are under way at most.
    pub max_outstanding: u32,
    /// Orders of which nothing was heard for so long go again.
    pub resend_after: Duration,
    /// Orders go so long before the rate limit has calls for them.
    pub ahead: Duration,
    /// The rate limit.
    pub limits: Limits,
}

impl DispatchLimits {
    /// As a request says it.
    fn request(&self) -> Value {
        let Self { max_outstanding, resend_after, ahead, limits } = self;
        json!({
            "max_outstanding": max_outstanding, "limit": max_outstanding,
            "resend_after_ms": resend_after.as_millis() as u64, "ahead_ms": ahead.as_millis() as u64, "limits": limits,
        })
    }
}

/// Orders to send to the workers.
#[derive(Debug, Clone, Deserialize)]
pub struct Dispatch {
    /// Send these.
    pub order_ids: Vec<OrderId>,
    /// Those of them that share no message.
    #[serde(default)]
    pub alone: Vec<OrderId>,
    /// When they were dispatched, by the database's clock.
    #[serde(rename = "dispatched_at_ms", default, with = "millisecond::optional")]
    pub dispatched_at: Option<Timestamp>,
    /// Milliseconds until there are calls for them.
    #[serde(default)]
    pub in_ms: Option<u64>,
    /// Milliseconds until there are calls for more; `None` if nothing is left to dispatch, or nobody can tell.
    #[serde(default)]
    pub next_ms: Option<u64>,
    /// Sent and undecided, these included.
    pub outstanding: u64,
    /// The day's budget is used up but for the reserve: the run can't go on.
    #[serde(default)]
    pub budget_exhausted: bool,
    /// Orders that nothing was heard of three times: this call has recorded them as failed.
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
}

/// An order that the database has recorded as failed by itself.
#[derive(Debug, Clone, Deserialize)]
pub struct GivenUp {
    /// Which order.
    pub order_id: OrderId,
    /// Its class.
    pub class: FailureClass,
    /// A stable code.
    pub code: String,
    /// A sentence for a person.
    pub reason: String,
    /// How often it was sent.
    pub attempts: u32,
}

/// An order whose tickets are due.
#[derive(Debug, Clone, Deserialize)]
pub struct DueOrder {
    /// Which order.
    pub order_id: OrderId,
    /// The run that still waits for it.
    pub run_id: Option<RunId>,
}

/// The answer to a cancellation or an early end.
#[derive(Debug, Clone, Deserialize)]
pub struct EndedRun {
    /// Whether there was something to cancel or end.
    #[serde(alias = "cancelled")]
    pub ended: bool,
    /// The run.
    pub run: Option<Run>,
    /// Whether to ask for a publication.
    pub publication_due: bool,
}

/// A publication that was begun, or none: another is under way, or nothing is new.
#[derive(Debug, Clone, Deserialize)]
pub struct Begun {
    /// What to publish.
    pub publication: Option<Publication>,
    /// In milliseconds, what is left of the interval to the publication before.
    #[serde(rename = "wait_ms", deserialize_with = "milliseconds")]
    pub wait: Duration,
    /// The connections to post to.
    pub connection_ids: Vec<String>,
    /// Whether the publication that was confirmed with this call is the one that told the end of its run.
    #[serde(default)]
    pub ended: bool,
}

/// The answer to a confirmation that begins no other publication.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Confirmed {
    /// Whether to ask for another.
    pub publication_due: bool,
    /// Whether this one is the one that told the end of its run.
    #[serde(default)]
    pub ended: bool,
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(number: D) -> Result<Duration, D::Error> {
    u64::deserialize(number).map(Duration::from_millis)
}

/// The current state of the sync.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// The location's sequence number.
    pub seq: u64,
    /// The current run, or the newest.
    pub run: Option<Run>,
    /// Whether its pulse was lost and must be resent.
    pub needs_pulse: bool,
    /// The number of that pulse.
    pub pulse: Option<i64>,
    /// For how many milliseconds no rate limit grant has arrived in time; `None` if the last one did.
    #[serde(default)]
    pub limiter_late_ms: Option<u64>,
}

impl Snapshot {
    /// What an admin should know beside the run.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let late = self.limiter_late_ms.map(Duration::from_millis);
        late.and_then(Problem::database_too_slow).into_iter().collect()
    }
}

impl Database {
    /// Starts a run, unless one is running or cooling down.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start_run(&self, run: &NewRun, settings: RunSettings) -> Result<Started, Error> {
        #[derive(Serialize)]
        struct Request<'a> {
            #[serde(flatten)]
            run: &'a NewRun,
            cooldown_ms: u64,
            lease_ms: u64,
            publish_interval_ms: u64,
        }
        let RunSettings { cooldown, lease, publish_interval } = settings;
        let [cooldown_ms, lease_ms, publish_interval_ms] =
            [cooldown, lease, publish_interval].map(|time| time.as_millis() as u64);
        self.call("start_run", Request { run, cooldown_ms, lease_ms, publish_interval_ms }).await
    }

    /// Records that a scheduled start was skipped, and why.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn skip_run(&self, kind: RunKind, reason: NotStarted) -> Result<(), Error> {
        self.call::<Value>("skip_run", json!({ "kind": kind, "reason": reason })).await.map(drop)
    }

    /// Claims a pulse for `claim`; ends a cool-down or a lease that has passed. Once the listing is complete, it dispatches as
    /// [`Self::dispatch_orders`] does.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn begin_pulse(
        &self,
        run_id: &RunId,
        pulse: i64,
        claim: Duration,
        dispatch: Option<&DispatchLimits>,
    ) -> Result<Pulse, Error> {
        let request = json!({
            "run_id": run_id, "pulse": pulse, "claim_ms": claim.as_millis() as u64,
            "dispatch": dispatch.map(DispatchLimits::request),
        });
        self.call("begin_pulse", request).await
    }

    /// Records pages of a listing, and dispatches as [`Self::dispatch_orders`] does if that is asked for.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn record_page(&self, page: PageRecord<'_>) -> Result<RecordedPage, Error> {
        let request = json!({
            "run_id": page.run_id, "listing": page.listing, "listing_complete": page.completed.is_some(),
            "deficit": page.completed.map(|completed| completed.deficit), "short": page.completed.map(|completed| completed.short),
            "total_count": page.total_count, "sweep": page.sweep, "orders": page.orders, "issues": page.issues,
            "dispatch": page.dispatch.as_ref().map(DispatchLimits::request),
        });
        self.call("record_page", request).await
    }

    /// Takes the next portion of a retry's orders: its listing is complete once all are taken.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn take_rest(&self, run_id: &RunId) -> Result<RecordedPage, Error> {
        self.call("take_rest", json!({ "run_id": run_id })).await
    }

    /// Compares the next portion of the stored orders with a full run's complete listing; whether there is more to compare.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn compare_stored(&self, run_id: &RunId) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Compared {
            run: Option<Run>,
        }
        let compared: Compared = self.call("compare_stored", json!({ "run_id": run_id })).await?;
        Ok(compared.run.is_some_and(|run| run.comparing))
    }

    /// Marks recorded orders as dispatched for which the rate limit will soon have calls; those that were silent again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dispatch_orders(&self, run_id: &RunId, limits: &DispatchLimits) -> Result<Dispatch, Error> {
        let mut request = limits.request();
        if let Some(request) = request.as_object_mut() {
            request.insert("run_id".to_owned(), json!(run_id));
        }
        self.call("dispatch_orders", request).await
    }

    /// Gives back orders for which the rate limit had no calls in time, unless they were dispatched anew since; how many it were.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn give_back_orders(
        &self,
        run_id: &RunId,
        dispatched_at: Timestamp,
        order_ids: &[OrderId],
    ) -> Result<u32, Error> {
        #[derive(Deserialize)]
        struct GivenBack {
            given_back: u32,
        }
        let dispatched_at_ms = dispatched_at.as_millisecond();
        let request = json!({ "run_id": run_id, "dispatched_at_ms": dispatched_at_ms, "order_ids": order_ids });
        Ok(self.call::<GivenBack>("give_back_orders", request).await?.given_back)
    }

    /// Orders whose tickets have been due for longer than `older_than`, at most `limit`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn due_orders(&self, older_than: Duration, limit: u32) -> Result<Vec<DueOrder>, Error> {
        #[derive(Deserialize)]
        struct Due {
            orders: Vec<DueOrder>,
        }
        let request = json!({ "older_than_ms": older_than.as_millis() as u64, "limit": limit });
        Ok(self.call::<Due>("due_orders", request).await?.orders)
    }

    /// Ends a run early; open orders were not attempted.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_run(&self, run_id: &RunId, code: &str, message: &str) -> Result<EndedRun, Error> {
        let request = json!({ "run_id": run_id, "state": RunState::Error, "code": code, "message": message });
        self.call("end_run", request).await
    }

    /// Ends a run whose pulse failed for good, unless it goes on: with a newer one than `dead_pulse`, or with any within
    /// `pulse_lost_after`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_run_of_dead_pulse(
        &self,
        run_id: &RunId,
        dead_pulse: Option<i64>,
        pulse_lost_after: Duration,
        code: &str,
        message: &str,
    ) -> Result<EndedRun, Error> {
        let request = json!({
            "run_id": run_id, "state": RunState::Error, "code": code, "message": message, "dead_pulse": dead_pulse,
            "pulse_lost_after_ms": pulse_lost_after.as_millis() as u64,
        });
        self.call("end_run", request).await
    }

    /// Cancels the location's current run.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_run(&self, requested_by: &str) -> Result<EndedRun, Error> {
        self.call("cancel_run", json!({ "requested_by": requested_by })).await
    }

    /// Begins a publication of the newest state, unless one is under way or nothing is new.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn begin_publication(&self) -> Result<Begun, Error> {
        self.call("begin_publication", json!({})).await
    }

    /// Confirms that a publication was published, and begins the next one if something is new by now. `seq` is the last number
    /// that it used.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn confirm_and_begin(&self, run_id: &RunId, seq: u64, state: RunState) -> Result<Begun, Error> {
        let request = json!({ "run_id": run_id, "seq": seq, "state": state, "next": true });
        self.call("confirm_publication", request).await
    }

    /// Confirms that a publication was published.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn confirm_publication(&self, run_id: &RunId, seq: u64, state: RunState) -> Result<Confirmed, Error> {
        self.call("confirm_publication", json!({ "run_id": run_id, "seq": seq, "state": state })).await
    }

    /// Gives up a publication that couldn't be made, and what followed if its confirmation's answer was lost, so that another can
    /// begin at once. Whether it was confirmed before, and only the answer was lost.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn give_up_publication(&self, seq_first: u64) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            confirmed: bool,
        }
        Ok(self.call::<Answer>("give_up_publication", json!({ "seq_first": seq_first })).await?.confirmed)
    }

    /// Raises the location's sequence numbers to a published one. Whether they were below it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn raise_seq(&self, published: i64) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Answer {
            raised: bool,
        }
        Ok(self.call::<Answer>("raise_seq", json!({ "seq": published })).await?.raised)
    }

    /// The current state; with `next_seq` under a sequence number of its own, to be sent as a frame.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sync_snapshot(&self, next_seq: bool, pulse_lost_after: Duration) -> Result<Snapshot, Error> {
        let pulse_lost_after_ms = pulse_lost_after.as_millis() as u64;
        self.call("sync_snapshot", json!({ "next_seq": next_seq, "pulse_lost_after_ms": pulse_lost_after_ms })).await
    }

    /// The run's valid orders among the next `limit` remembered ones (at most 10,000) by id, and where the next page starts. A page
    /// may be empty and not the last.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn valid_orders(
        &self,
        run_id: &RunId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        #[derive(Deserialize)]
        struct Valid {
            order_ids: Vec<String>,
            next: Option<String>,
        }
        let valid: Valid =
            self.call("valid_orders", json!({ "run_id": run_id, "after": after, "limit": limit })).await?;
        Ok((valid.order_ids, valid.next))
    }

    /// Keeps how far the upload of the list of valid orders is; `None` to begin anew.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_valid_list(&self, run_id: &RunId, upload: Option<&Value>) -> Result<(), Error> {
        self.call::<Value>("keep_valid_list", json!({ "run_id": run_id, "upload": upload })).await.map(drop)
    }
}
