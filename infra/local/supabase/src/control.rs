//! Makes the database slow or unreachable on request, so that tests can see what happens then.
//!
//! `PUT /_control {"latencyMs": 200, "refuseForMs": 5000}`: each call under `/rest/v1` waits 200 ms more, and for the
//! next 5 s each is answered 503. `DELETE /_control` ends both.
//!
//! `GET /_control/calls` tells how many calls there were of each path under `/rest/v1`, `DELETE` begins to count anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Default)]
pub(crate) struct Faults(Mutex<FaultsInForce>);

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

#[derive(Clone, Copy, Default)]
struct FaultsInForce {
    latency: Duration,
    refuse_until: Option<Instant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OrderedFaults {
    #[serde(default)]
    latency_ms: u64,
    #[serde(default)]
    refuse_for_ms: u64,
}

impl Faults {
    pub(crate) fn latency(&self) -> Duration {
        self.set().latency
    }

    pub(crate) fn refuses(&self) -> bool {
        self.set().refuse_until.is_some_and(|until| Instant::now() < until)
    }

    fn set(&self) -> MutexGuard<'_, FaultsInForce> {
        // The value is plain data: a panic elsewhere can't have left it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn show(State(faults): State<Arc<Faults>>) -> Json<Value> {
    let set = *faults.set();
    let left = set.refuse_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
    Json(json!({ "latencyMs": set.latency.as_millis() as u64, "refuseForMs": left.as_millis() as u64 }))
}

pub(crate) async fn set(State(faults): State<Arc<Faults>>, Json(ordered): Json<OrderedFaults>) -> Json<Value> {
    let refuse_for = Duration::from_millis(ordered.refuse_for_ms);
    *faults.set() = FaultsInForce {
        latency: Duration::from_millis(ordered.latency_ms),
        refuse_until: (!refuse_for.is_zero()).then(|| Instant::now() + refuse_for),
    };
    show(State(faults)).await
}

pub(crate) async fn clear(State(faults): State<Arc<Faults>>) -> Json<Value> {
    *faults.set() = FaultsInForce::default();
    show(State(faults)).await
}
