//! A GHL and a database for tests, both at hand: whatever is asked of the limiter is granted, and what GHL answers can be chosen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use database::{Database, Lane, Limits};
use domain::{LocationId, OrderId};
use http_client::HttpClient;
use jiff::Timestamp;
use serde_json::{Value, json};
use settings::Secret;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::{FetchOrder, Fetched, Fetcher};

pub(crate) struct Near {
    pub(crate) database: Database,
    pub(crate) fetcher: Fetcher,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By path; one that ends with a slash stands for all that begin with it.
    refused: Mutex<BTreeMap<String, u16>>,
    answers: Mutex<BTreeMap<String, VecDeque<Value>>>,
    /// Paths of the calls to GHL, with their queries.
    calls: Mutex<Vec<String>>,
    /// What the database was asked for, but for slots.
    asked: Mutex<Vec<(String, Value)>>,
    /// How many slots were wanted, call by call.
    wanted: Mutex<Vec<u64>>,
    grants_nothing: AtomicBool,
}

impl Near {
    /// How many slots were wanted, call by call.
    pub(crate) fn slots_wanted(&self) -> Vec<u64> {
        self.shared.wanted.lock().unwrap().clone()
    }

    /// From now on no slot is free for a second.
    pub(crate) fn grant_nothing(&self) {
        self.shared.grants_nothing.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn new() -> Self {
        let shared: Arc<Shared> = Arc::default();
        let router = Router::new()
            .route("/rest/v1/rpc/{function}", post(function))
            .fallback(get(ghl))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (location_id, http) = (LocationId::try_new("loc").unwrap(), HttpClient::new().unwrap());
        let database = Database::new(&base_url, Secret::fixed("KEY", "k"), location_id.clone(), http.clone());
        let config = ghl_client::Config {
            base_url,
            version: "2021-07-28".to_owned(),
            location_id,
            timeout: Duration::from_secs(20),
        };
        let client = ghl_client::Client::new(config, http).unwrap();
        Self { database, fetcher: Fetcher::new(client, Secret::fixed("TOKEN", "t"), Limits::DEFAULT), shared }
    }

    /// GHL answers this path with an error from now on.
    pub(crate) fn refuse(&self, path: &str, status: u16) {
        self.shared.refused.lock().unwrap().insert(path.to_owned(), status);
    }

    /// GHL answers this path as usual again.
    pub(crate) fn admit(&self, path: &str) {
        self.shared.refused.lock().unwrap().remove(path);
    }

    /// GHL's next answer to this path; the last one is repeated.
    pub(crate) fn answer(&self, path: &str, body: Value) {
        self.shared.answers.lock().unwrap().entry(path.to_owned()).or_default().push_back(body);
    }

    /// How many calls of this very path came to GHL.
    pub(crate) fn calls(&self, path: &str) -> usize {
        let calls = self.shared.calls.lock().unwrap();
        calls.iter().filter(|call| call.split('?').next() == Some(path)).count()
    }

    /// The requests to a function of the database.
    pub(crate) fn asked(&self, function: &str) -> Vec<Value> {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|(name, _)| name == function).map(|(_, request)| request.clone()).collect()
    }

    pub(crate) async fn fetch(&self, ids: &[String]) -> Vec<(FetchOrder, Fetched)> {
        let order = |id: &String| FetchOrder { id: OrderId::try_new(id).unwrap(), run_id: None, dispatched_at: None };
        let deadline = Instant::now().into_std() + Duration::from_secs(3_600);
        self.fetcher
            .fetch_all(&self.database, ids.iter().map(order).collect(), Lane::Bulk, Duration::MAX, deadline)
            .await
    }
}

async fn function(
    State(shared): State<Arc<Shared>>,
    Path(function): Path<String>,
    Json(body): Json<Value>,
) -> Json<Value> {
    let request = &body["request"];
    if function != "acquire_slots" {
        shared.asked.lock().unwrap().push((function.clone(), request.clone()));
    }
    Json(match function.as_str() {
        "acquire_slots" => {
            let wanted = request["wanted"].as_u64().unwrap();
            shared.wanted.lock().unwrap().push(wanted);
            let grants_nothing = shared.grants_nothing.load(Ordering::Relaxed);
            json!({
                "granted": if grants_nothing { 0 } else { wanted }, "granted_at": Timestamp::now(),
                "wait_ms": if grants_nothing { 1_000 } else { 0 }, "daily_remaining": null, "budget_exhausted": false,
                "run_state": null, "late_ms": null,
            })
        }
        "replace_products" => {
            let products = request["products"].as_array().unwrap();
            json!({ "product_ids": products.iter().map(|product| &product["product_id"]).collect::<Vec<_>>() })
        }
        _ => json!({}),
    })
}

async fn ghl(State(shared): State<Arc<Shared>>, OriginalUri(uri): OriginalUri) -> Response {
    shared.calls.lock().unwrap().push(uri.to_string());
    let path = uri.path();
    let refused = shared.refused.lock().unwrap();
    if let Some((_, status)) =
        refused.iter().find(|(of, _)| path == *of || (of.ends_with('/') && path.starts_with(*of)))
    {
        return (StatusCode::from_u16(*status).unwrap(), Json(json!({ "message": "refused" }))).into_response();
    }
    if let Some(answers) = shared.answers.lock().unwrap().get_mut(path) {
        let next = answers.front().cloned().unwrap_or_default();
        if answers.len() > 1 {
            answers.pop_front();
        }
        return Json(next).into_response();
    }
    match path.strip_prefix("/payments/orders/") {
        Some(id) => Json(json!({ "_id": id, "altId": "loc", "status": "completed" })).into_response(),
        None => Json(json!({ "data": [], "totalCount": 0 })).into_response(),
    }
}
