//! What changes with every call: counters, limit, faults waiting, settings.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::{
    fault::{Endpoint, Rule},
    id::Id,
    rate::Limiter,
    settings::FakeSettings,
};

/// Behind one lock, held for microseconds.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) settings: FakeSettings,
    pub(crate) limiter: Limiter,
    pub(crate) faults: Vec<Rule>,
    pub(crate) counters: Counters,
    /// Calls let through so far: the index of the next latency.
    pub(crate) served: u64,
}

/// `GET /_control/counters`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counters {
    /// Calls that arrived, refused ones too.
    requests: BTreeMap<Endpoint, u64>,
    /// Answers by status; `reset` where the connection was cut.
    status: BTreeMap<String, u64>,
    /// Detail calls by order.
    per_order: HashMap<Id, u64>,
}

impl Default for Counters {
    fn default() -> Self {
        let all = [Endpoint::List, Endpoint::Detail, Endpoint::Products, Endpoint::Prices, Endpoint::Transactions];
        Self {
            requests: all.into_iter().map(|endpoint| (endpoint, 0)).collect(),
            status: BTreeMap::new(),
            per_order: HashMap::new(),
        }
    }
}

impl Counters {
    pub(crate) fn arrived(&mut self, endpoint: Endpoint, order_id: Option<Id>) {
        *self.requests.entry(endpoint).or_default() += 1;
        if let (Endpoint::Detail, Some(id)) = (endpoint, order_id) {
            *self.per_order.entry(id).or_default() += 1;
        }
    }

    pub(crate) fn answered(&mut self, status: String) {
        *self.status.entry(status).or_default() += 1;
    }
}
