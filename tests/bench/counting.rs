//! Calls to GHL and to the database, and how slow both are.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::World;

/// Calls since the last [`begin`].
pub(crate) struct Calls {
    /// By GHL's endpoint.
    pub(crate) ghl: BTreeMap<String, u64>,
    /// Answered with 429.
    pub(crate) throttled: u64,
    /// By SQL function.
    pub(crate) database: BTreeMap<String, u64>,
}

impl Calls {
    pub(crate) fn to_ghl(&self) -> u64 {
        self.ghl.values().sum()
    }

    pub(crate) fn to_database(&self) -> u64 {
        self.database.values().sum()
    }
}

/// Begins to count anew.
pub(crate) async fn begin(world: &World) {
    world.ghl.clear_counters().await;
    supabase(world, Method::DELETE, "/_control/calls", None).await;
}

pub(crate) async fn calls(world: &World) -> Calls {
    let ghl = world.ghl.counters().await;
    let requests = ghl["requests"].as_object().unwrap();
    Calls {
        ghl: requests.iter().map(|(endpoint, calls)| (endpoint.clone(), calls.as_u64().unwrap())).collect(),
        throttled: ghl["status"]["429"].as_u64().unwrap_or(0),
        database: serde_json::from_value(supabase(world, Method::GET, "/_control/calls", None).await).unwrap(),
    }
}

/// How long the database takes to answer from now on.
pub(crate) async fn slow_database(world: &World, database_ms: u64) {
    supabase(world, Method::PUT, "/_control", Some(json!({ "latencyMs": database_ms }))).await;
}

async fn supabase(world: &World, method: Method, path: &str, body: Option<Value>) -> Value {
    let url = format!("{}{path}", world.postgrest_url.trim_end_matches("/rest/v1"));
    let request = reqwest::Client::new().request(method, url);
    let request = if let Some(body) = body { request.json(&body) } else { request };
    request.send().await.expect("the local Supabase answers").json().await.expect("JSON")
}

/// A quantile of durations in any order, in the unit they have.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1;
    values[at]
}
