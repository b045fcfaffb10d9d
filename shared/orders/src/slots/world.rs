//! A limiter that is far away, and GHL: in paused time, so that a run of minutes takes a moment, and every millisecond is its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use database::{Database, Lane, Limits};
use domain::{LocationId, OrderId};
use futures::stream;
use http_client::HttpClient;
use jiff::Timestamp;
use limiter_model::{Answer, Ask, Limiter, MS, Seen};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use settings::Secret;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::{FetchOrder, Fetched, Fetcher};

/// How long GHL takes for an order.
pub(crate) const GHL_LATENCY: Duration = Duration::from_millis(400);
/// How long a message waits for the database.
const SENT_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A new connection costs three round trips more.
const CONNECTING: u32 = 3;

/// How the way to the database is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Way {
    /// There and back.
    pub(crate) round_trip: Duration,
    /// A call is made that much slower with this chance.
    pub(crate) slower: Option<(f64, Duration)>,
    /// An answer is lost with this chance.
    pub(crate) loses: f64,
    /// The answers to the calls with these numbers are lost.
    pub(crate) lost: &'static [usize],
    /// From one moment to another no call passes.
    pub(crate) pause: Option<(Duration, Duration)>,
}

/// The limiter's model at the end of a way, and GHL beside it.
pub(crate) struct World {
    base_url: String,
    state: Arc<Shared>,
}

pub(crate) struct Shared {
    begun: Instant,
    ways: Vec<Way>,
    inner: Mutex<Inner>,
}

struct Inner {
    random: StdRng,
    limiter: Limiter,
    /// Calls that the run has still to make.
    remaining: i64,
    /// The function of each database call.
    calls: Vec<String>,
    /// When calls came to GHL.
    sent: Vec<Duration>,
    /// Workers with a connection.
    connected: HashSet<usize>,
}

impl World {
    /// Workers have these ways to the database, each its own; they have so many orders to fetch.
    pub(crate) async fn new(ways: &[Way], orders: usize) -> Self {
        let inner = Inner {
            random: StdRng::seed_from_u64(1),
            limiter: Limiter::default(),
            remaining: orders as i64,
            calls: Vec::new(),
            sent: Vec::new(),
            connected: HashSet::new(),
        };
        let state = Arc::new(Shared { begun: Instant::now(), ways: ways.to_vec(), inner: Mutex::new(inner) });
        let router = Router::new()
            .route("/{worker}/rest/v1/rpc/{function}", post(database))
            .route("/payments/orders/{id}", get(order))
            .with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, state }
    }

    /// Fetches so many orders with the worker that has this way. Returns how many were read, and when the last one was.
    pub(crate) async fn fetch(&self, worker: usize, lane: Lane, orders: usize) -> (usize, Duration) {
        let location_id = LocationId::try_new("loc").unwrap();
        let http = HttpClient::new().unwrap();
        let url = format!("{}/{worker}", self.base_url);
        let database = Database::new(&url, Secret::fixed("KEY", "k"), location_id.clone(), http.clone());
        let config = ghl_client::Config {
            base_url: self.base_url.clone(),
            version: "2021-07-28".to_owned(),
            location_id,
            timeout: Duration::from_secs(20),
        };
        let client = ghl_client::Client::new(config, http).unwrap();
        let fetcher = Fetcher::new(client, Secret::fixed("TOKEN", "t"), Limits::DEFAULT);
        let order = |number| OrderId::try_new(format!("order-{worker}-{number}")).unwrap();
        let mut orders: Vec<_> =
            (0..orders).map(|number| FetchOrder { id: order(number), run_id: None, dispatched_at: None }).collect();
        let mut read = 0;
        while !orders.is_empty() {
            let deadline = Instant::now().into_std() + Duration::from_secs(3_600);
            let fetched = fetcher.fetch_all(&database, orders, lane, Duration::MAX, deadline).await;
            read += fetched.iter().filter(|(_, fetched)| matches!(fetched, Fetched::Order { .. })).count();
            // What had no database is sent again as messages.
            let without = fetched.into_iter().filter(|(_, fetched)| matches!(fetched, Fetched::NoDatabase));
            orders = without.map(|(order, _)| order).collect();
            if !orders.is_empty() {
                sleep(SENT_AGAIN_AFTER).await;
            }
        }
        (read, self.state.begun.elapsed())
    }

    /// The most calls that came to GHL in any 10 s.
    pub(crate) fn fullest(&self) -> usize {
        let sent = &self.state.inner.lock().unwrap().sent;
        let window =
            |from: &Duration| sent.iter().filter(|at| *at >= from && **at < *from + Duration::from_secs(10)).count();
        sent.iter().map(window).max().unwrap_or(0)
    }

    /// How many calls came to GHL.
    pub(crate) fn sent(&self) -> usize {
        self.state.inner.lock().unwrap().sent.len()
    }

    /// How often a function of the database was called.
    pub(crate) fn calls(&self, function: &str) -> usize {
        self.state.inner.lock().unwrap().calls.iter().filter(|called| *called == function).count()
    }
}

impl Shared {
    /// Microseconds by the database's clock.
    fn clock(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_micros()).unwrap()
    }

    /// Half of a call's time, which the way there and the way back take each.
    fn half(&self, worker: usize) -> Duration {
        let (way, mut inner) = (self.ways[worker], self.inner.lock().unwrap());
        let connecting = if inner.connected.insert(worker) { way.round_trip * CONNECTING } else { Duration::ZERO };
        let slower =
            way.slower.filter(|(chance, _)| inner.random.random_bool(*chance)).map_or(Duration::ZERO, |(_, by)| by);
        (way.round_trip + connecting + slower) / 2
    }

    async fn pass(&self, worker: usize, half: Duration) {
        sleep(half).await;
        if let Some((from, until)) = self.ways[worker].pause
            && self.begun.elapsed() >= from
        {
            sleep(until.saturating_sub(self.begun.elapsed())).await;
        }
    }
}

async fn database(
    State(shared): State<Arc<Shared>>,
    Path((worker, function)): Path<(usize, String)>,
    Json(body): Json<Value>,
) -> Response {
    let half = shared.half(worker);
    shared.pass(worker, half).await;
    let (answer, is_lost) = {
        let (clock, request, mut inner) = (shared.clock(), &body["request"], shared.inner.lock().unwrap());
        inner.calls.push(function.clone());
        let answer = match function.as_str() {
            "acquire_slots" => {
                let ask = ask(request, inner.remaining);
                told(inner.limiter.ask(clock, &ask))
            }
            "hand_back_slots" => {
                let (id, unused) = (id(request), request["unused"].as_i64().unwrap());
                json!({ "handed_back": inner.limiter.hand_back(clock, id, unused) })
            }
            _ => panic!("{function} isn't called for slots"),
        };
        let chance = shared.ways[worker].loses;
        let number = inner.calls.len() - 1;
        (answer, inner.random.random_bool(chance) || shared.ways[worker].lost.contains(&number))
    };
    shared.pass(worker, half).await;
    if is_lost {
        let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("the connection broke")) });
        return Body::from_stream(broken).into_response();
    }
    Json(answer).into_response()
}

fn id(request: &Value) -> u64 {
    let id: uuid::Uuid = request["id"].as_str().unwrap().parse().unwrap();
    id.as_u64_pair().1
}

fn ask(request: &Value, remaining: i64) -> Ask {
    let number = |key: &str| request["limits"][key].as_i64().unwrap();
    let limits = limiter_model::Limits {
        max: number("max"),
        window_ms: number("window_ms"),
        daily_reserve: number("daily_reserve"),
    };
    Ask {
        id: Some(id(request)),
        lane: if request["lane"] == "bulk" { limiter_model::Lane::Bulk } else { limiter_model::Lane::Priority },
        wanted: request["wanted"].as_i64().unwrap(),
        remaining: Some(remaining),
        margin_ms: number("margin_ms"),
        limits,
        // GHL says nothing here: what its headers tell is another test's subject.
        seen: Seen::default(),
    }
}

fn told(answer: Answer) -> Value {
    let at = Timestamp::from_microsecond(1_700_000_000_000 * MS + answer.granted_at).unwrap();
    json!({
        "granted": answer.granted, "granted_at": at, "wait_ms": answer.wait_ms, "daily_remaining": null,
        "budget_exhausted": false, "run_state": null, "late_ms": null,
    })
}

async fn order(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Json<Value> {
    {
        let mut inner = shared.inner.lock().unwrap();
        inner.sent.push(shared.begun.elapsed());
        inner.remaining -= 1;
    }
    sleep(GHL_LATENCY).await;
    Json(json!({ "_id": id, "altId": "loc", "altType": "location", "status": "completed" }))
}
