//! GHL's error answers: `{"statusCode", "message", "error", "traceId"}`.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error as GHL answers it.
#[derive(Debug)]
pub(crate) struct GhlError {
    status: StatusCode,
    message: Value,
}

impl GhlError {
    /// With a sentence of one's own.
    pub(crate) fn new(status: StatusCode, message: &str) -> Self {
        Self { status, message: json!(message) }
    }

    /// With the status's own words.
    pub(crate) fn plain(status: StatusCode) -> Self {
        Self::new(status, status.canonical_reason().unwrap_or("Error"))
    }

    /// 422, whose message is a list.
    pub(crate) fn unprocessable(messages: Vec<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, message: json!(messages) }
    }
}

impl IntoResponse for GhlError {
    fn into_response(self) -> Response {
        static TRACE: AtomicU64 = AtomicU64::new(1);
        let trace = TRACE.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "statusCode": self.status.as_u16(),
            "message": self.message,
            "error": self.status.canonical_reason().unwrap_or("Error"),
            "traceId": format!("00000000-0000-4000-8000-{trace:012x}"),
        });
        (self.status, Json(body)).into_response()
    }
}
