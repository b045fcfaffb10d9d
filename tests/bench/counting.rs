//! Calls to GHL and to the database.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::Value;
use tests::world::World;

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
    calls_of_the_database(world, Method::DELETE).await;
}

pub(crate) async fn calls(world: &World) -> Calls {
    let ghl = world.ghl.counters().await;
    let requests = ghl["requests"].as_object().unwrap();
    Calls {
        ghl: requests.iter().map(|(endpoint, calls)| (endpoint.clone(), calls.as_u64().unwrap())).collect(),
        throttled: ghl["status"]["429"].as_u64().unwrap_or(0),
        database: serde_json::from_value(calls_of_the_database(world, Method::GET).await).unwrap(),
    }
}

async fn calls_of_the_database(world: &World, method: Method) -> Value {
    let url = format!("{}/_control/calls", world.supabase_url());
    tests::http().request(method, url).send().await.expect("the local Supabase answers").json().await.expect("JSON")
}

/// A quantile of durations in any order, in the unit they have.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1;
    values[at]
}
