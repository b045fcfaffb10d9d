//! Syncs one order in process, and answers what was done or why it failed.

use std::time::{Duration, Instant};

use database::{Database, Lane, ToReconcile};
use domain::outcome::{Reconciled, UpsertResult};
use domain::{Cause, Change, FailureClass, Force, OrderId};
use http_api::{ApiError, Method, Request, Response, Role, StatusCode, json, request};
use jiff::Timestamp;
use orders::prepare::Rules;
use orders::{FetchError, FetchOrder, Fetched, Fetcher, Products, Purpose, prepare};
use queues::{OrderMessage, Queue};
use serde_json::json;
use telemetry::events::{self, OrderFailed};
use telemetry::metrics::{self, Metric};
use tokio::time::timeout;
use tracing::Span;

/// The function's state.
pub(crate) struct OrderSync {
    pub(crate) database: Database,
    pub(crate) fetcher: Fetcher,
    pub(crate) products: Products,
    pub(crate) rules: Rules,
    pub(crate) orders: Queue<OrderMessage>,
}

/// The gateway waits 30 s. An order that takes longer is enqueued, and synced in the background.
const TIME_LIMIT: Duration = Duration::from_secs(25);
/// Longest wait for the queue after that: the rest of the function's time belongs to the answer.
const ENQUEUE_WITHIN: Duration = Duration::from_secs(2);
/// No fetch starts later than this.
const LATEST_START: Duration = Duration::from_secs(12);
/// How long callers are asked to wait when GHL doesn't answer.
const RETRY_AFTER: Duration = Duration::from_secs(30);

impl OrderSync {
    pub(crate) async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let caller = request::caller(&request)?;
        caller.require(Role::Admin)?;
        let order_id =
            OrderId::try_new(request::path_parameter(&request, "id")?).map_err(|_| ApiError::invalid_order_id())?;
        let force = force(&request)?;
        Span::current().record("order_id", order_id.as_str());
        let answer = match timeout(TIME_LIMIT, self.sync(&order_id, force.as_ref())).await {
            Ok(result) => result,
            Err(_elapsed) => self.enqueue(&order_id, force.as_ref()).await,
        };
        // A caller's mistake (4xx) doesn't count as a failed order.
        let failed = answer.as_ref().is_err_and(|error| error.status().is_server_error());
        metrics::count(Metric::OrdersFailed, usize::from(failed));
        answer.map_err(|error| {
            tell_failure(&order_id, &error);
            error.logged()
        })
    }

    async fn sync(&self, order_id: &OrderId, force: Option<&Force>) -> Result<Response, ApiError> {
        let latest = Instant::now() + LATEST_START;
        let (order, at) = match self.fetch(order_id, latest).await? {
            Some(read) => read,
            None => return self.enqueue(order_id, force).await,
        };
        let listed = self.products.listed_for(&[&order], &self.database, &self.fetcher, Lane::Priority, latest).await;
        let listed = listed.map_err(not_fetched)?;
        // The caller is told at once what was forced.
        let force = force.map(|force| Force { asked_at: None, ..force.clone() });
        let purpose = Purpose { run_id: None, cause: Cause::Single, attempts: 1, remember_only: false, force };
        let upsert = prepare(&order, self.database.location_id(), &listed, self.rules, purpose, at);
        if upsert.foreign {
            return Err(ApiError::not_found("other_location", "This order belongs to another location"));
        }
        let payment_status = upsert.row.payment_status.clone();
        let written = self.database.upsert_orders(&[upsert]).await.map_err(no_database)?;
        let upserted = written.orders.first();
        let result = upserted.map_or(UpsertResult::Skipped, |order| order.result);
        let (valid, entitled) = upserted.map(|order| (order.valid, order.entitled)).unzip();
        let lines_hash = upserted.and_then(|order| order.lines_hash.clone());
        // They include the issues found when the order was read, reworded to say what was done about them.
        let mut issues: Vec<_> = written.orders.into_iter().flat_map(|order| order.issues).collect();
        let change = match result {
            UpsertResult::Skipped => {
                metrics::count(Metric::OrdersSkipped, 1);
                let reason = "None of its products is in GoHighLevel's product list";
                return json(
                    StatusCode::OK,
                    &json!({ "orderId": order_id, "result": "skipped", "reason": reason, "issues": issues }),
                );
            }
            UpsertResult::Stored(change) => change,
        };
        let due = ToReconcile { order_id: order_id.clone(), run_id: None, change, attempts: 1 };
        let reconciled = self.database.reconcile_tickets(&[due]).await.map_err(no_database)?;
        let tickets = reconciled.orders.into_iter().next();
        let changed = tickets.as_ref().is_some_and(Reconciled::changed);
        events::tickets_added(order_id.as_str(), None, tickets.as_ref().map_or(0, |tickets| tickets.added));
        events::order_synced(order_id.as_str(), None);
        metrics::count(Metric::OrdersSynced, 1);
        metrics::count(Metric::OrdersUnchanged, usize::from(change != Change::Written && !changed));
        issues.extend(tickets.iter().flat_map(|tickets| tickets.issues.clone()));
        let answer = json!({
            "orderId": order_id, "result": change, "valid": valid, "paymentStatus": payment_status, "entitled": entitled,
            "tickets": counts(tickets.as_ref()), "issues": issues, "lines": lines_hash,
        });
        json(StatusCode::OK, &answer)
    }

    async fn fetch(&self, order_id: &OrderId, latest: Instant) -> Result<Option<(domain::Order, Timestamp)>, ApiError> {
        let wanted = vec![FetchOrder { id: order_id.clone(), run_id: None, dispatched_at: None }];
        let fetched = self.fetcher.fetch_all(&self.database, wanted, Lane::Priority, Duration::MAX, latest).await;
        match fetched.into_iter().next() {
            Some((_, Fetched::Order { order, at })) => Ok(Some((*order, at))),
            Some((_, Fetched::Failed(error))) => Err(not_fetched(error)),
            Some((_, Fetched::NoDatabase)) => Err(ApiError::database_unavailable()),
            Some((_, Fetched::NotStarted(_) | Fetched::RunOver)) | None => Ok(None),
        }
    }

    async fn enqueue(&self, order_id: &OrderId, force: Option<&Force>) -> Result<Response, ApiError> {
        let message = OrderMessage::new(self.database.location_id().clone(), order_id.clone(), Cause::Single);
        let message = OrderMessage { force: force.cloned(), ..message };
        timeout(ENQUEUE_WITHIN, self.orders.send(&message, Duration::ZERO))
            .await
            .map_err(|elapsed| ApiError::queue_unavailable().caused_by(elapsed))?
            .map_err(|error| ApiError::queue_unavailable().caused_by(error))?;
        json(
            StatusCode::ACCEPTED,
            &json!({ "message": "GoHighLevel is slow at the moment; the order will be synced in the background", "orderId": order_id }),
        )
    }
}

/// What the caller insists on: with `lines` only those, else what GHL shows now, or showed already if it turns out to be slow.
fn force(request: &Request) -> Result<Option<Force>, ApiError> {
    if *request.method() != Method::POST || request::query(request, "force") != Some("true") {
        return Ok(None);
    }
    let lines = request::query(request, "lines").map(str::to_owned);
    if !lines.as_deref().is_none_or(Force::is_hash) {
        return Err(ApiError::bad_request("invalid_parameter", "`lines` must be what an answer named `lines`"));
    }
    Ok(Some(Force { lines, asked_at: Some(Timestamp::now()) }))
}

fn counts(tickets: Option<&Reconciled>) -> serde_json::Value {
    tickets.map_or_else(
        || json!({ "added": 0, "reinstated": 0, "cancelled": 0, "kept": 0, "overValidated": 0 }),
        |tickets| {
            json!({
                "added": tickets.added, "reinstated": tickets.reinstated, "cancelled": tickets.cancelled, "kept": tickets.kept,
                "overValidated": tickets.over_validated,
            })
        },
    )
}

/// Logs an order that can't be synced.
fn tell_failure(order_id: &OrderId, error: &ApiError) {
    let class = match error.code() {
        "ghl_unauthorized" => FailureClass::Auth,
        "order_refused" | "internal" => FailureClass::Permanent,
        _ if error.status().is_client_error() => FailureClass::Permanent,
        _ => FailureClass::Transient,
    };
    let causes = std::error::Error::source(error).map(telemetry::chain);
    events::order_failed(OrderFailed {
        order_id: order_id.as_str(),
        run_id: None,
        cause: Cause::Single.as_str(),
        class: class.as_str(),
        code: error.code(),
        attempts: 1,
        reason: error.message(),
        error: causes.as_deref(),
    });
}

fn no_database(error: database::Error) -> ApiError {
    ApiError::database_unavailable().caused_by(error)
}

fn not_fetched(error: FetchError) -> ApiError {
    let answer = match (&error, error.class()) {
        (FetchError::Database(_), _) => ApiError::database_unavailable(),
        (FetchError::Ghl(ghl), _) if ghl.is_not_found() => {
            return ApiError::not_found("order_not_found", "GoHighLevel has no such order");
        }
        (_, FailureClass::Auth) => ApiError::ghl_unauthorized(error.order_reason()),
        (FetchError::OrderRefused(_), _) => ApiError::order_refused(error.order_reason()),
        (FetchError::Panicked, _) => ApiError::internal("reading the order panicked"),
        _ => ApiError::ghl_unavailable(RETRY_AFTER),
    };
    answer.caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
    use settings::Env;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_hangs_is_given_up_after_two_seconds() {
        // Takes connections, as the system does for it, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let env = Env::of([
            ("GHL_API_BASE_URL", url.as_str()),
            ("GHL_ACCESS_TOKEN", "invented"),
            ("SUPABASE_URL", &url),
            ("SUPABASE_SERVICE_ROLE_KEY", "invented"),
            ("GHL_LOCATION_ID", "loc"),
        ]);
        let http = wiring::HttpClient::new().unwrap();
        // Without time-outs of its own.
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(&url)
            .build();
        let order_sync = OrderSync {
            database: wiring::database(&env, http.clone()).unwrap(),
            fetcher: orders::setup::fetcher(&env, http).unwrap(),
            products: Products::default(),
            rules: orders::setup::rules(&env).unwrap(),
            orders: Queue::new(aws_sdk_sqs::Client::from_conf(sqs), format!("{url}/000000000000/orders")),
        };
        let begun = tokio::time::Instant::now();
        let order_id = OrderId::try_new("660000000000000000000001").unwrap();
        let error = tokio::time::timeout(Duration::from_secs(120), order_sync.enqueue(&order_id, None))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!((error.code(), begun.elapsed().as_secs()), ("queue_unavailable", ENQUEUE_WITHIN.as_secs()));
    }
}
