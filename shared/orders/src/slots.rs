//! Asks the shared limiter for slots, and measures how far away it is.

use std::time::Duration;

use database::{Ask, Database, Lane, Limits, Observed, Slots};
use domain::problem::LATE_FOR_TOO_LONG;
use domain::{RunId, RunState};
use jiff::Timestamp;
use telemetry::metrics::{self, Metric};
use tokio::time::Instant;
use uuid::Uuid;

use crate::fetch::{FetchError, Fetcher};
use crate::grant::Grant;
use crate::punctuality::WIDEST_MARGIN;

/// The shortest pause before the limiter is asked again.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// For so long an answer that was lost may still bring a grant that can be used: the widest margin.
const ASK_AGAIN_WITHIN: Duration = WIDEST_MARGIN;

/// Who wants calls, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// Who is asking.
    pub lane: Lane,
    /// The run they are for: nothing is granted once it has left `Syncing`.
    pub run_id: Option<&'a RunId>,
    /// Calls that the run has still to make, where that is known.
    pub remaining: Option<u64>,
    /// When the orders were dispatched that they are for.
    pub dispatched_at: Option<Timestamp>,
}

impl<'a> Demand<'a> {
    /// Of a lane and a run.
    #[must_use]
    pub const fn new(lane: Lane, run_id: Option<&'a RunId>) -> Self {
        Self { lane, run_id, remaining: None, dispatched_at: None }
    }
}

/// The answer to who waits for one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneSlot {
    /// Its call has this time, by the database's clock, if it is sent now.
    At(Timestamp),
    /// None was free in time; one may be after this.
    Later(Duration),
    /// Its run has ended.
    RunOver,
}

/// The answer to who waits for several.
pub(crate) enum SomeSlots {
    /// These, the first of whose calls has this time if it is sent now.
    Granted(Grant, Timestamp),
    /// None was free in time; one may be after this.
    Later(Duration),
    /// Their run has ended.
    RunOver,
}

/// The limiter's answer, and what it granted if that may still be sent.
pub(crate) type Answered = Result<(Slots, Option<Grant>), database::Error>;

impl Fetcher {
    /// Asks the limiter once, and passes on what GHL has said about its limit since the last time. A grant that took longer to arrive than
    /// its margin is handed back: then nothing is granted, and nothing stands in the way of asking again.
    ///
    /// # Errors
    /// [`database::Error`].
    pub async fn ask(&self, database: &Database, demand: Demand<'_>, wanted: usize) -> Answered {
        // Read before anything is granted, so that no grant waits for it. An error is returned where the token is needed.
        let _read_in_advance = self.token.get().await;
        if !database.has_answered() {
            // Only makes the connection, which takes longer than what follows.
            self.acquire(database, demand, 0).await?;
            self.punctuality.forget();
        }
        if !self.punctuality.is_measured() {
            // The margin of the first grant needs a measurement, too.
            self.acquire(database, demand, 0).await?;
        }
        let (mut slots, grant) = self.acquire(database, demand, wanted).await?;
        if let Some(grant) = grant.filter(|grant| grant.sends_now().is_none()) {
            self.hand_back(database, &grant, grant.calls).await;
            (slots.granted, slots.wait_ms) = (0, 1);
            return Ok((slots, None));
        }
        Ok((slots, grant))
    }

    async fn acquire(&self, database: &Database, demand: Demand<'_>, wanted: usize) -> Answered {
        let ghl_client::ObservedRate { rate: seen, age, took } = self.client.take_observed();
        let observed = Observed {
            max: seen.max,
            remaining: seen.remaining,
            daily_remaining: seen.daily_remaining,
            age_ms: Some(milliseconds(age)),
            took_ms: Some(milliseconds(took)),
            closed_for_ms: seen.closed_for.map(milliseconds),
        };
        let limits = Limits { margin_ms: self.punctuality.margin_ms(self.limits.margin_ms), ..self.limits };
        let margin = Duration::from_millis(u64::from(limits.margin_ms));
        let Demand { lane, run_id, remaining, dispatched_at } = demand;
        let (id, late) = (Uuid::new_v4(), self.punctuality.unreported());
        let mut ask = Ask { id, lane, wanted, remaining, run_id, limits, observed, late, dispatched_at };
        let asked_at = Instant::now();
        let slots = match database.acquire_slots(&ask).await {
            // Maybe only the answer was lost: the same id gets the same grant.
            Err(database::Error::NoAnswer { .. }) if asked_at.elapsed() < ASK_AGAIN_WITHIN => {
                let older = milliseconds(asked_at.elapsed());
                ask.observed.age_ms = ask.observed.age_ms.map(|age| age.saturating_add(older));
                database.acquire_slots(&ask).await?
            }
            answer => answer?,
        };
        let answered_at = Instant::now();
        let round_trip = answered_at.duration_since(asked_at);
        self.punctuality.reported();
        self.punctuality.measured(round_trip, margin);
        if let Some(remaining) = slots.daily_remaining {
            metrics::value(Metric::GhlDailyRemaining, remaining as f64);
        }
        let (granted_at, calls) = (slots.granted_at, slots.granted);
        let grant = (calls > 0).then_some(Grant { id: ask.id, calls, granted_at, asked_at, answered_at, margin });
        if grant.is_some() {
            let late = round_trip > margin;
            self.punctuality.granted(late);
            if late {
                tracing::warn!(
                    granted = calls,
                    elapsed_ms = milliseconds(round_trip),
                    margin_ms = limits.margin_ms,
                    "A rate limit grant arrived too late to be used"
                );
            }
        }
        let late_for = slots.late_ms.map(Duration::from_millis);
        if late_for.is_some_and(|late| late >= LATE_FOR_TOO_LONG) && self.punctuality.should_log() {
            metrics::count(Metric::LimiterTooLate, 1);
            tracing::error!(
                late_ms = slots.late_ms,
                elapsed_ms = milliseconds(round_trip),
                "Nothing can be fetched: the database answers so slowly that every rate limit grant arrives too late"
            );
        }
        Ok((slots, grant))
    }

    /// Gives back calls that will never be sent. If that fails, they take their slots until their window is over.
    pub async fn hand_back(&self, database: &Database, grant: &Grant, unused: u32) {
        if let Err(error) = database.hand_back_slots(grant.id, unused).await {
            tracing::warn!(
                unused,
                error = telemetry::chain(&error),
                "Unused slots of the rate limit could not be handed back"
            );
        }
    }

    /// Waits for one slot, until `deadline`.
    ///
    /// # Errors
    /// [`FetchError::Database`], [`FetchError::DailyBudget`].
    pub async fn one_slot(
        &self,
        database: &Database,
        demand: Demand<'_>,
        deadline: std::time::Instant,
    ) -> Result<OneSlot, FetchError> {
        Ok(match self.some_slots(database, demand, 1, deadline).await? {
            SomeSlots::Granted(_, at) => OneSlot::At(at),
            SomeSlots::Later(wait) => OneSlot::Later(wait),
            SomeSlots::RunOver => OneSlot::RunOver,
        })
    }

    /// Waits for slots, until `deadline`: for as many of those that are wanted as there are first.
    pub(crate) async fn some_slots(
        &self,
        database: &Database,
        demand: Demand<'_>,
        wanted: usize,
        deadline: std::time::Instant,
    ) -> Result<SomeSlots, FetchError> {
        let deadline = Instant::from_std(deadline);
        loop {
            let (slots, grant) = self.ask(database, demand, wanted).await.map_err(FetchError::Database)?;
            if let Some((grant, at)) = grant.and_then(|grant| Some((grant, grant.sends_now()?))) {
                return Ok(SomeSlots::Granted(grant, at));
            }
            if slots.budget_exhausted {
                return Err(FetchError::DailyBudget);
            }
            if run_is_over(&slots) {
                return Ok(SomeSlots::RunOver);
            }
            let wait = self.wait_of(&slots);
            if Instant::now() + wait >= deadline {
                return Ok(SomeSlots::Later(wait));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Records how long the database took to answer a call that asks the limiter on the way.
    pub fn measured(&self, round_trip: Duration) {
        let margin = Duration::from_millis(u64::from(self.punctuality.margin_ms(self.limits.margin_ms)));
        self.punctuality.measured(round_trip, margin);
    }

    /// How long the database usually takes to answer; zero as long as that isn't known.
    #[must_use]
    pub fn usual_round_trip(&self) -> Duration {
        self.punctuality.usual()
    }

    /// How long to wait before the limiter is asked again, so that the request arrives as slots become free.
    pub(crate) fn wait_of(&self, slots: &Slots) -> Duration {
        let wait = Duration::from_millis(slots.wait_ms);
        wait.saturating_sub(self.punctuality.on_the_way()).max(SHORTEST_WAIT)
    }
}

/// Waits until so long before there will be calls, and no longer than `at_most`. When they come, another machine's clock told:
/// nothing but a second request may depend on it.
pub async fn wait_before(calls_at: Timestamp, ahead: Duration, at_most: Duration) {
    let wait = Duration::try_from(calls_at.duration_since(Timestamp::now())).unwrap_or_default();
    tokio::time::sleep(wait.saturating_sub(ahead).min(at_most)).await;
}

/// Whether the run that was asked for has ended.
pub(crate) fn run_is_over(slots: &Slots) -> bool {
    slots.run_state.is_some_and(|state| state != RunState::Syncing)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
