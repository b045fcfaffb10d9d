//! The routes that a dashboard reads, and an admin's retries and forgetting. Reading the status also finds a run that lost its pulse, and resends it.

use std::time::Duration;

use database::{Database, NewRun, ReportList, RunSettings};
use domain::problem::Thresholds;
use domain::{OrderId, RunId, RunKind, frames};
use http_api::header::{self, HeaderValue};
use http_api::{ApiError, Caller, Method, Request, Response, Role, StatusCode, json, request, started};
use runs::{Announcements, Pulses};
use serde::Deserialize;
use serde_json::json;
use settings::Secret;
use status_store::StatusStore;
use uuid::fmt::Hyphenated;

use crate::cursor::bad_cursor;
use crate::forget::forget;
use crate::{history, report};

/// The function's state.
pub(crate) struct SyncStatus {
    pub(crate) database: Database,
    pub(crate) settings: RunSettings,
    pub(crate) pulses: Pulses,
    pub(crate) announcements: Announcements,
    /// The published status, for when the database can't be reached, and the list of valid orders.
    pub(crate) store: StatusStore,
    pub(crate) ws_ticket_secret: Secret,
    /// From when on the status tells of a problem.
    pub(crate) thresholds: Thresholds,
}

/// The most orders that one retry may name: their ids take about 300 kB.
const MAX_RETRY: usize = 10_000;

/// How long the address of the list of valid orders can be used: long enough to follow it, and too short to hand it on.
const ADDRESS_VALID_FOR: Duration = Duration::from_secs(60);
/// How long callers are asked to wait when the documents can't be reached.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The body of a retry; none retries every failed order.
#[derive(Debug, Default, Deserialize)]
struct Retry {
    #[serde(rename = "orderIds")]
    order_ids: Option<Vec<String>>,
}

impl SyncStatus {
    pub(crate) async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let caller = request::caller(&request)?;
        caller.require(Role::Member)?;
        let path = request::path(&request).to_owned();
        let parts: Vec<_> = path.trim_start_matches("/api/qrapp/").split('/').collect();
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["sync-status"]) => self.status(&caller).await,
            (&Method::GET, ["valid-orders"]) => self.valid_orders().await,
            (&Method::GET, ["runs"]) => self.list(&request).await,
            (&Method::GET, ["runs", run_id]) => self.run(run_id, &request).await,
            (&Method::GET, ["failures"]) => self.failures(&request).await,
            (&Method::GET, ["orders", order_id, "history"]) => {
                history::answer(&self.database, order_id, &request).await
            }
            (&Method::POST, ["runs", run_id, "retry"]) => self.retry(run_id, &caller, &request).await,
            (&Method::POST, ["contacts", contact_id, "forget"]) => forget(&self.database, contact_id, &caller).await,
            (&Method::POST, ["ws-ticket"]) => self.ws_ticket(&caller).await,
            _ => Err(ApiError::no_route()),
        }
    }

    /// The status in the database; the published document if the database can't be reached.
    async fn status(&self, caller: &Caller) -> Result<Response, ApiError> {
        let snapshot = match self.pulses.snapshot(&self.database, false).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                return match self.store.get_status().await {
                    Ok(Some(status)) => {
                        tracing::warn!(
                            error = telemetry::chain(&error),
                            "The database is unavailable: the published status is served instead"
                        );
                        json(StatusCode::OK, &status)
                    }
                    _ => Err(ApiError::database_unavailable().caused_by(error)),
                };
            }
        };
        let problems = snapshot.problems(&self.thresholds, caller.role == Role::Admin);
        json(StatusCode::OK, &frames::answer(snapshot.run.as_ref(), snapshot.seq, &problems))
    }

    /// Leads to the list of valid orders: a million ids are more than a function may answer.
    async fn valid_orders(&self) -> Result<Response, ApiError> {
        let address = self.store.address_of_valid_orders(ADDRESS_VALID_FOR).await;
        let address = address.map_err(|error| documents_unavailable().caused_by(error))?;
        let Some(address) = address else {
            let message =
                "There is no list of valid orders yet: start a full sync, or POST /api/ghl/orders for the list alone";
            return Err(ApiError::not_found("no_valid_orders", message));
        };
        let location = HeaderValue::from_str(&address).map_err(ApiError::internal)?;
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::FOUND;
        answer.headers_mut().insert(header::LOCATION, location);
        Ok(answer)
    }

    async fn list(&self, request: &Request) -> Result<Response, ApiError> {
        let limit = request::query_number(request, "limit", 20, 1..=100)?;
        let runs = self.database.list_runs(request::query(request, "before"), limit).await.map_err(bad_cursor)?;
        json(
            StatusCode::OK,
            &json!({ "runs": runs.runs.iter().map(report::run).collect::<Vec<_>>(), "next": runs.next }),
        )
    }

    async fn run(&self, run_id: &str, request: &Request) -> Result<Response, ApiError> {
        let run_id = known_form(run_id)?;
        let limit = request::query_number(request, "limit", 100, 1..=1000)?;
        let only = request::query(request, "only").map(list_named).transpose()?;
        let detail = self.database.get_run(run_id.as_str(), request::query(request, "after"), limit, only).await;
        let detail = detail.map_err(bad_cursor)?;
        let Some(run) = &detail.run else { return Err(ApiError::run_not_found()) };
        json(StatusCode::OK, &report::detail(run, &detail))
    }

    async fn failures(&self, request: &Request) -> Result<Response, ApiError> {
        let limit = request::query_number(request, "limit", 100, 1..=1000)?;
        let found = self.database.list_failures(request::query(request, "after"), limit).await.map_err(bad_cursor)?;
        json(
            StatusCode::OK,
            &json!({ "failures": found.failures.iter().map(report::failure).collect::<Vec<_>>(), "next": found.next }),
        )
    }

    async fn retry(&self, run_id: &str, caller: &Caller, request: &Request) -> Result<Response, ApiError> {
        caller.require(Role::Admin)?;
        let run_id = known_form(run_id)?;
        let retry: Retry = request::json_body(request)?.unwrap_or_default();
        let order_ids = retry.order_ids.map(|ids| parse_ids(&ids)).transpose()?;
        let new = NewRun { order_ids, retry_of: Some(run_id), ..NewRun::of(RunKind::Retry, caller.user_id.clone()) };
        let start = runs::start_run(&self.database, &self.announcements, self.settings, &self.pulses, &new).await;
        started(start.map_err(|error| ApiError::database_unavailable().caused_by(error))?)
    }

    async fn ws_ticket(&self, caller: &Caller) -> Result<Response, ApiError> {
        // The WebSocket would refuse such a ticket, and the page would try again and again instead of asking to sign in.
        if caller.session_has_ended() {
            return Err(ApiError::session_ended());
        }
        let secret =
            self.ws_ticket_secret.get().await.map_err(|error| ApiError::live_updates_unavailable().caused_by(error))?;
        let ticket = ws_ticket::make(&secret, caller, self.database.location_id().as_str());
        let ticket = ticket.map_err(|error| ApiError::live_updates_unavailable().caused_by(error))?;
        let expires_at = jiff::Timestamp::from_second(ticket.expires_at).map_err(ApiError::internal)?;
        json(StatusCode::OK, &json!({ "ticket": ticket.ticket, "expiresAt": frames::utc_ms(expires_at) }))
    }
}

/// 503: the bucket of the documents can't be reached.
fn documents_unavailable() -> ApiError {
    let message = "The published documents can't be reached at the moment, please try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "documents_unavailable", message).retry_after(RETRY_AFTER)
}

fn parse_ids(ids: &[String]) -> Result<Vec<OrderId>, ApiError> {
    if ids.is_empty() || ids.len() > MAX_RETRY {
        return Err(ApiError::bad_request("invalid_order_ids", format!("orderIds must name 1 to {MAX_RETRY} orders")));
    }
    let parsed: Result<Vec<_>, _> = ids.iter().map(|id| OrderId::try_new(id.clone())).collect();
    parsed.map_err(|_| ApiError::invalid_order_id())
}

fn list_named(name: &str) -> Result<ReportList, ApiError> {
    match name {
        "failures" => Ok(ReportList::Failures),
        "skips" => Ok(ReportList::Skips),
        "issues" => Ok(ReportList::Issues),
        "drift" => Ok(ReportList::Drift),
        _ => Err(ApiError::bad_request("invalid_parameter", "`only` must be failures, skips, issues or drift")),
    }
}

/// Run ids are UUIDs; anything else is no run of ours.
fn known_form(run_id: &str) -> Result<RunId, ApiError> {
    if run_id.parse::<Hyphenated>().is_err() {
        return Err(ApiError::run_not_found());
    }
    RunId::try_new(run_id).map_err(|_| ApiError::run_not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_uuids() {
        assert!(known_form("0192f0c1-2345-7abc-8def-0123456789ab").is_ok());
        for bad in [
            "",
            "x",
            "0192f0c1-2345-7abc-8def-0123456789ag",
            "0192f0c1x2345-7abc-8def-0123456789ab",
            "%2e%2e",
            "0192f0c123457abc8def0123456789ab",
            "{0192f0c1-2345-7abc-8def-0123456789ab}",
            "urn:uuid:0192f0c1-2345-7abc-8def-0123456789ab",
        ] {
            assert_eq!(known_form(bad).unwrap_err().code(), "run_not_found", "{bad}");
        }
    }

    #[test]
    fn a_report_may_be_asked_for_one_of_its_lists() {
        for name in ["failures", "skips", "issues", "drift"] {
            assert_eq!(serde_json::to_value(list_named(name).unwrap()).unwrap(), name);
        }
        assert_eq!(list_named("Failures").unwrap_err().code(), "invalid_parameter");
    }

    #[test]
    fn a_retry_names_orders_or_none() {
        assert_eq!(parse_ids(&["a1".into()]).unwrap().len(), 1);
        assert_eq!(parse_ids(&[]).unwrap_err().code(), "invalid_order_ids");
        assert_eq!(parse_ids(&["a b".into()]).unwrap_err().code(), "invalid_order_id");
    }
}
