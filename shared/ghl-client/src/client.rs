//! The calls, their headers, and what keeps the token from reaching other hosts.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use domain::{LocationId, Order, OrderId};
use ghl::{OrderPage, ProductPage, TransactionPage, json};
use http_client::HttpClient;
use jiff::civil::Date;
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use telemetry::metrics::{self, Metric};

use crate::error::Error;
use crate::rate::RateLimit;

/// Where GHL is and who we are there.
#[derive(Clone)]
pub struct Config {
    /// `https://services.leadconnectorhq.com`, or a stand-in.
    pub base_url: String,
    /// The `Version` header: `2021-07-28`.
    pub version: String,
    /// Whose orders.
    pub location_id: LocationId,
    /// Time-out of one call, body included. GHL itself gives up after 30 s.
    pub timeout: Duration,
}

/// Which transactions to list.
#[derive(Debug, Clone, Copy)]
pub enum TransactionsOf<'a> {
    /// All of them.
    All,
    /// Those that were made on this day or later.
    Since(Date),
    /// Those of one order.
    Order(&'a OrderId),
}

/// The client. Its [`HttpClient`] follows no redirect, so the token goes to the configured host only.
pub struct Client {
    http: HttpClient,
    base: Url,
    config: Config,
    observed: Mutex<Observations>,
}

/// What GHL's answers said about its rate limit, and when the call with the newest value was sent and answered.
#[derive(Default)]
struct Observations {
    rate: RateLimit,
    last: Option<(Instant, Instant)>,
}

impl Observations {
    /// Adds what the answer to a call said. The call that was sent last has the newest values, whenever it was answered.
    fn add(&mut self, rate: RateLimit, sent_at: Instant, answered_at: Instant) {
        match self.last {
            Some((last_sent_at, _)) if sent_at < last_sent_at => self.rate = rate.and(self.rate),
            _ => (self.rate, self.last) = (self.rate.and(rate), Some((sent_at, answered_at))),
        }
    }
}

/// What GHL said about its rate limit since [`Client::take_observed`] was last called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservedRate {
    /// What it said.
    pub rate: RateLimit,
    /// How long ago the answer came.
    pub age: Duration,
    /// How long before that the call was sent: GHL counted at some moment in between.
    pub took: Duration,
}

/// Largest answer read, in bytes: an order with thousands of items is below 5 MB.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

impl Client {
    /// A client for `config`.
    ///
    /// # Errors
    /// A text naming what is wrong with the base URL.
    pub fn new(config: Config, http: HttpClient) -> Result<Self, String> {
        let base = Url::parse(&config.base_url).map_err(|error| format!("GHL_API_BASE_URL is not a URL: {error}"))?;
        let local = matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "host.docker.internal"));
        if base.cannot_be_a_base() || !(base.scheme() == "https" || (base.scheme() == "http" && local)) {
            return Err("GHL_API_BASE_URL must be an https URL".to_owned());
        }
        Ok(Self { http, base, config, observed: Mutex::default() })
    }

    /// What GHL said about its rate limit since the last call of this method.
    pub fn take_observed(&self) -> ObservedRate {
        let taken = self.observed.lock().map(|mut observed| std::mem::take(&mut *observed)).unwrap_or_default();
        let (age, took) = taken
            .last
            .map(|(sent_at, answered_at)| (answered_at.elapsed(), answered_at.duration_since(sent_at)))
            .unwrap_or_default();
        ObservedRate { rate: taken.rate, age, took }
    }

    /// One page of orders, newest first. `payment_status` filters (`refunded`).
    ///
    /// # Errors
    /// [`Error`], by class; a page without a `data` array is an error, never "no orders".
    pub async fn list_orders(
        &self,
        token: &SecretString,
        offset: u64,
        limit: u32,
        payment_status: Option<&str>,
    ) -> Result<OrderPage, Error> {
        let mut query = vec![("limit", limit.to_string()), ("offset", offset.to_string())];
        if let Some(status) = payment_status {
            query.push(("paymentStatus", status.to_owned()));
        }
        let url = self.orders_url(&["payments", "orders"], &query);
        let body = self.get("list orders", url, token).await?;
        ghl::read_orders(&body).map_err(|problem| Error::NotWhole { call: "list orders", problem })
    }

    /// One order, with its items.
    ///
    /// # Errors
    /// [`Error`], by class; a 2xx without the asked-for `_id`, an `altId` and a `status` is no order.
    pub async fn order(&self, token: &SecretString, id: &OrderId) -> Result<Order, Error> {
        let url = self.orders_url(&["payments", "orders", id.as_str()], &[]);
        let body = self.get("get order", url, token).await?;
        ghl::read_order(&body, id).map_err(|problem| Error::NotWhole { call: "get order", problem })
    }

    /// One page of the location's products: being listed is being active.
    ///
    /// # Errors
    /// [`Error`], by class.
    pub async fn list_products(&self, token: &SecretString, offset: u64, limit: u32) -> Result<ProductPage, Error> {
        let mut url = self.url(&["products", ""]);
        url.query_pairs_mut()
            .append_pair("locationId", self.config.location_id.as_str())
            .append_pair("limit", &limit.to_string())
            .append_pair("offset", &offset.to_string());
        let body = self.get("list products", url, token).await?;
        ghl::read_products(&body).map_err(|problem| Error::NotWhole { call: "list products", problem })
    }

    /// One page of transactions, newest first: those of one order, or of all since a day.
    ///
    /// # Errors
    /// [`Error`], by class; a page without a `data` array is an error, never "no transactions".
    pub async fn list_transactions(
        &self,
        token: &SecretString,
        offset: u64,
        limit: u32,
        of: &TransactionsOf<'_>,
    ) -> Result<TransactionPage, Error> {
        let mut query = vec![("limit", limit.to_string()), ("offset", offset.to_string())];
        match of {
            TransactionsOf::All => {}
            TransactionsOf::Since(day) => query.push(("startAt", day.to_string())),
            TransactionsOf::Order(id) => query.push(("entityId", id.to_string())),
        }
        let url = self.orders_url(&["payments", "transactions"], &query);
        let body = self.get("list transactions", url, token).await?;
        ghl::read_transactions(&body, self.config.location_id.as_str())
            .map_err(|problem| Error::NotWhole { call: "list transactions", problem })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Segments are percent-encoded one by one, so an id can't leave its place.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn orders_url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.url(path);
        url.query_pairs_mut().append_pair("altId", self.config.location_id.as_str()).append_pair("altType", "location");
        url.query_pairs_mut().extend_pairs(query);
        url
    }

    async fn get(&self, call: &'static str, url: Url, token: &SecretString) -> Result<Value, Error> {
        let no_answer = |error: reqwest::Error| Error::NoAnswer { call, source: error.without_url() };
        let request = self
            .http
            .request(Method::GET, url, self.config.timeout)
            .bearer_auth(token.expose_secret())
            .header("Version", &self.config.version)
            .header(reqwest::header::ACCEPT, "application/json");
        let sent_at = Instant::now();
        let sent = request.send().await;
        count(call, sent.as_ref().ok().map(reqwest::Response::status));
        let mut response = sent.map_err(no_answer)?;
        let status = response.status();
        let rate = RateLimit::from_headers(response.headers(), status.as_u16(), jiff::Timestamp::now());
        if let Ok(mut observed) = self.observed.lock() {
            observed.add(rate, sent_at, Instant::now());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(Error::NotWhole { call, problem: "the body is over 16 MiB" });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return json::parse(&body).map_err(|_| Error::NotWhole { call, problem: "the body is not whole JSON" });
        }
        Err(refusal(call, status, &body))
    }
}

/// What every token must be allowed to ask for. GHL may refuse a single order for good, and runs do without transactions.
const NEEDED: [&str; 2] = ["list orders", "list products"];

/// Each call once, by the status it was answered with.
fn count(call: &str, status: Option<StatusCode>) {
    metrics::count_by(Metric::GhlCalls, &[status.as_ref().map_or("no_answer", StatusCode::as_str)], 1);
    if status == Some(StatusCode::TOO_MANY_REQUESTS) {
        metrics::count(Metric::GhlThrottled, 1);
    }
    if matches!(status, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) && NEEDED.contains(&call) {
        metrics::count(Metric::GhlTokenRefused, 1);
    }
}

/// Reads an error body of any form: `message` is a text or a list of texts; gateways answer HTML or nothing.
fn refusal(call: &'static str, status: StatusCode, body: &[u8]) -> Error {
    let body = json::parse(body).unwrap_or(Value::Null);
    let message = match body.get("message") {
        Some(Value::String(text)) => text.to_lowercase(),
        Some(Value::Array(texts)) => {
            texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ").to_lowercase()
        }
        _ => String::new(),
    };
    let client_error = matches!(status.as_u16(), 400 | 404);
    // A trace id is a reference, not data; anything that doesn't look like one is left out.
    let trace_id = json::text(&body, "traceId").filter(|id| OrderId::try_new(id.clone()).is_ok());
    Error::Status {
        call,
        status: status.as_u16(),
        not_found: status.as_u16() == 404 || (client_error && message.contains("not found")),
        timed_out: client_error && (message.contains("timeout") || message.contains("timed out")),
        trace_id,
    }
}

#[cfg(test)]
mod tests;
