use std::{borrow::Cow, time::Duration};

use caller::AdminRequired;
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::{Map, Value};

use crate::response::{Response, of_json};

/// Why a request failed: what the caller gets, and separately the cause, which only the log gets.
///
/// The body is `{"error": "<message for a person>", "code": "<stable_code>", "requestId": "..."}`, with further fields
/// where documented. It never holds the body of an answer of GHL or the database.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    extra: Map<String, Value>,
    retry_after: Option<Duration>,
    is_logged: bool,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ApiError {
    /// An error of a function's own; `code` is a stable code in snake case that programs may rely on.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            extra: Map::new(),
            retry_after: None,
            is_logged: false,
            source: None,
        }
    }

    /// 400: the request can't be understood.
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404: what the request names isn't there.
    pub fn not_found(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409: the request doesn't fit the present state.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 404 `no_route`: no such path in this function.
    pub fn no_route() -> Self {
        Self::not_found("no_route", "There is nothing at this address")
    }

    /// 403 `not_authorised`: the request has no usable context from the authorizer.
    pub fn not_authorised() -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_authorised", "You are not signed in, or your session has ended")
    }

    /// 401 `session_ended`: the user's session has ended; its token may still be accepted for a while, as clocks differ.
    pub fn session_ended() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "session_ended", "Your session has ended. Sign in again.")
    }

    /// 403 `admin_required`: a member asks for something that only admins may do.
    pub fn admin_required() -> Self {
        Self::new(StatusCode::FORBIDDEN, "admin_required", "Only an admin may do this")
    }

    /// 400 `invalid_order_id`: a text isn't an order id.
    pub fn invalid_order_id() -> Self {
        Self::bad_request("invalid_order_id", "An order id must be 1 to 64 letters, digits, '-' or '_'")
    }

    /// 404 `run_not_found`: no run has this id.
    pub fn run_not_found() -> Self {
        Self::not_found("run_not_found", "There is no such run")
    }

    /// 409 `sync_in_progress`: this run is in the way of a start.
    pub(crate) fn sync_in_progress(run_id: &str, retry_after: Duration) -> Self {
        let message = "A sync is running already; wait until it has ended, or cancel it";
        Self::conflict("sync_in_progress", message).until(run_id, retry_after)
    }

    /// 409 `cooling_down`: this run has just ended.
    pub(crate) fn cooling_down(run_id: &str, retry_after: Duration) -> Self {
        let wait = retry_after.as_secs();
        let message = format!("The last sync has just ended; the next can start in {wait} s");
        Self::conflict("cooling_down", message).until(run_id, retry_after)
    }

    /// 409 `nothing_to_retry`: nothing has failed in the run that a retry names, and it came to all of its orders.
    pub(crate) fn nothing_to_retry() -> Self {
        Self::conflict("nothing_to_retry", "There is nothing to retry in this run")
    }

    /// Which run is in the way, and for how long.
    fn until(self, run_id: &str, retry_after: Duration) -> Self {
        self.with("runId", run_id).with("retryAfterSeconds", retry_after.as_secs()).retry_after(retry_after)
    }

    /// 502 `ghl_unavailable`: GHL can't be reached or doesn't answer as it should.
    pub fn ghl_unavailable(retry_after: Duration) -> Self {
        let message = "Failed to fetch order details: GoHighLevel is not answering, please try again";
        Self::new(StatusCode::BAD_GATEWAY, "ghl_unavailable", message).retry_after(retry_after)
    }

    /// 502 `ghl_unauthorized`: GHL refuses the access token, or it can't be read; `message` says which.
    pub fn ghl_unauthorized(message: String) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "ghl_unauthorized", message)
    }

    /// 502 `order_refused`: GHL refuses this order, though not the access token.
    pub fn order_refused(message: String) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "order_refused", message)
    }

    /// 503 `database_unavailable`: the database can't be reached or refuses the key.
    pub fn database_unavailable() -> Self {
        let message = "Database connection error: please check the Supabase URL and key, or try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", message).retry_after(Duration::from_secs(5))
    }

    /// 503 `queue_unavailable`: work can't be handed over to a queue.
    pub fn queue_unavailable() -> Self {
        let message = "The work could not be queued, please try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue_unavailable", message).retry_after(Duration::from_secs(5))
    }

    /// 503 `live_updates_unavailable`: frames can't be sent; the sync goes on.
    pub fn live_updates_unavailable() -> Self {
        let message = "Live updates unavailable: the sync goes on, please reload to see where it stands";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "live_updates_unavailable", message)
            .retry_after(Duration::from_secs(5))
    }

    /// 503 `timed_out`: a dependency doesn't answer. What was requested may still have been done.
    pub fn timed_out() -> Self {
        let message = "It took too long, and may or may not have been done: please check, then try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", message).retry_after(Duration::from_secs(5))
    }

    /// 500 `internal`: a mistake of ours.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let message = "Something went wrong on our side; the logs have it under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).caused_by(source)
    }

    /// Adds a field to the body.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.extra.insert(field.to_owned(), value.into());
        self
    }

    /// Says when another request makes sense, as `Retry-After` in whole seconds, at least 1.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What happened, for the log only.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The function has logged it in words of its own, so that nobody does it again.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.is_logged = true;
        self
    }

    pub(crate) const fn is_logged(&self) -> bool {
        self.is_logged
    }

    /// The words for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The answer the caller gets.
    pub fn into_response(self, request_id: &str) -> Response {
        let mut body = self.extra;
        body.insert("error".to_owned(), self.message.into());
        body.insert("code".to_owned(), self.code.into());
        body.insert("requestId".to_owned(), request_id.into());
        let mut response = of_json(self.status, Value::Object(body).to_string());
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        response
    }
}

impl From<AdminRequired> for ApiError {
    fn from(_: AdminRequired) -> Self {
        Self::admin_required()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_documented_body() {
        let error = ApiError::conflict("cooling_down", "The last sync ended moments ago")
            .with("retryAfterSeconds", 12)
            .with("runId", "r1")
            .retry_after(Duration::from_millis(11_200))
            .caused_by("upstream says: Jane Roe");
        let answer = error.into_response("req-1");
        assert_eq!(answer.status(), 409);
        assert_eq!(answer.headers()["retry-after"], "12");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        let expected = json!({
            "error": "The last sync ended moments ago", "code": "cooling_down", "requestId": "req-1",
            "retryAfterSeconds": 12, "runId": "r1",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_run_in_the_way_is_named_with_its_seconds() {
        for (error, code) in [
            (ApiError::sync_in_progress("r1", Duration::from_secs(7)), "sync_in_progress"),
            (ApiError::cooling_down("r1", Duration::from_secs(7)), "cooling_down"),
        ] {
            let answer = error.into_response("req-1");
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["retry-after"]),
                (409, &HeaderValue::from_static("7"))
            );
            let body: Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(
                (&body["code"], &body["runId"], &body["retryAfterSeconds"]),
                (&json!(code), &json!("r1"), &json!(7))
            );
        }
    }

    #[test]
    fn a_member_is_told_that_an_admin_is_required() {
        let error = ApiError::from(AdminRequired);
        assert_eq!((error.status().as_u16(), error.code()), (403, "admin_required"));
    }

    #[test]
    fn the_words_an_admin_knows() {
        let text = |error: ApiError| error.message.into_owned();
        assert!(text(ApiError::ghl_unavailable(Duration::ZERO)).starts_with("Failed to fetch order details"));
        assert!(text(ApiError::database_unavailable()).starts_with("Database connection error"));
        assert!(text(ApiError::live_updates_unavailable()).starts_with("Live updates unavailable"));
        let soon = ApiError::ghl_unavailable(Duration::ZERO).into_response("r");
        assert_eq!((soon.status().as_u16(), &soon.headers()["retry-after"]), (502, &HeaderValue::from_static("1")));
    }
}
