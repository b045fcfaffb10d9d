//! Makes the database slow, unreachable, silent or forgetful on request, so that tests can see what happens then.
//!
//! `PUT /_control` orders what is to happen with the calls under `/rest/v1`, in place of what was ordered before:
//!
//! | field | what each call meets |
//! |---|---|
//! | `latencyMs` | it waits so long more |
//! | `refuseForMs` | for so long it is answered 503 |
//! | `hangForMs` | it is taken and not answered until so long is over; then whoever still waits is served |
//! | `loseAnswers` | `{"/rpc/purge": 1}`: so many calls of this path are done, and their connection ends instead of the answer |
//! | `far` | `true` or `false`: whether the database is [far](crate::distance); without it this stays as it is |
//!
//! `GET` tells what is left of it. `DELETE` ends it; how far the database is, is then as it was at the start.
//!
//! `GET /_control/calls` tells how many calls there were of each path under `/rest/v1`, `DELETE` begins to count anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::distance::Distance;

pub(crate) struct Faults {
    in_force: Mutex<FaultsInForce>,
    /// Whether the database is far unless a test says otherwise.
    far: bool,
}

/// Calls by their path.
#[derive(Default)]
pub(crate) struct Calls(Mutex<BTreeMap<String, u64>>);

impl Calls {
    pub(crate) fn count(&self, path: &str) {
        *self.by_path().entry(path.to_owned()).or_default() += 1;
    }

    fn by_path(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn calls(State(calls): State<Arc<Calls>>) -> Json<Value> {
    Json(json!(*calls.by_path()))
}

pub(crate) async fn forget_calls(State(calls): State<Arc<Calls>>) -> Json<Value> {
    calls.by_path().clear();
    Json(json!({}))
}

#[derive(Default)]
struct FaultsInForce {
    latency: Duration,
    refuse_until: Option<Instant>,
    hang_until: Option<Instant>,
    /// How many answers of each path.
    lose_answers: BTreeMap<String, u64>,
    distance: Option<Distance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OrderedFaults {
    #[serde(default)]
    latency_ms: u64,
    #[serde(default)]
    refuse_for_ms: u64,
    #[serde(default)]
    hang_for_ms: u64,
    #[serde(default)]
    lose_answers: BTreeMap<String, u64>,
    far: Option<bool>,
}

impl Faults {
    pub(crate) fn new(far: bool) -> Self {
        let in_force = FaultsInForce { distance: far.then(Distance::default), ..FaultsInForce::default() };
        Self { in_force: Mutex::new(in_force), far }
    }

    /// How long a call takes more, by a connection that is new or was used before.
    pub(crate) fn wait(&self, new_connection: bool) -> Duration {
        let mut set = self.set();
        set.latency + set.distance.as_mut().map_or(Duration::ZERO, |distance| distance.of_a_call(new_connection))
    }

    pub(crate) fn refuses(&self) -> bool {
        self.set().refuse_until.is_some_and(|until| Instant::now() < until)
    }

    /// Until when no call is answered.
    pub(crate) fn hangs_until(&self) -> Option<Instant> {
        self.set().hang_until
    }

    /// Whether the answer of a call that was just done gets lost; counts it.
    pub(crate) fn loses_answer(&self, path: &str) -> bool {
        let mut set = self.set();
        let left = set.lose_answers.get_mut(path).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    fn set(&self) -> MutexGuard<'_, FaultsInForce> {
        // The value is plain data: a panic elsewhere can't have left it half written.
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn show(State(faults): State<Arc<Faults>>) -> Json<Value> {
    let set = faults.set();
    let left = |until: Option<Instant>| {
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now())).as_millis() as u64
    };
    Json(json!({
        "latencyMs": set.latency.as_millis() as u64,
        "refuseForMs": left(set.refuse_until),
        "hangForMs": left(set.hang_until),
        "loseAnswers": set.lose_answers,
        "far": set.distance.is_some(),
    }))
}

pub(crate) async fn set(State(faults): State<Arc<Faults>>, Json(ordered): Json<OrderedFaults>) -> Json<Value> {
    let until = |ms: u64| (ms > 0).then(|| Instant::now() + Duration::from_millis(ms));
    {
        let mut set = faults.set();
        let far = ordered.far.unwrap_or(set.distance.is_some());
        *set = FaultsInForce {
            latency: Duration::from_millis(ordered.latency_ms),
            refuse_until: until(ordered.refuse_for_ms),
            hang_until: until(ordered.hang_for_ms),
            lose_answers: ordered.lose_answers,
            distance: far.then(|| set.distance.take().unwrap_or_default()),
        };
    }
    show(State(faults)).await
}

pub(crate) async fn clear(State(faults): State<Arc<Faults>>) -> Json<Value> {
    {
        let mut set = faults.set();
        let distance = faults.far.then(|| set.distance.take().unwrap_or_default());
        *set = FaultsInForce { distance, ..FaultsInForce::default() };
    }
    show(State(faults)).await
}
