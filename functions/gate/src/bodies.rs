//! What a request says beside its ticket's number.

use domain::gate::{GateName, Reason, Scan, ScanId};
use http_api::{ApiError, Request, request};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// `{"scanId": "...", "gate": "..."}`; a scan without a name can't be sent again.
pub(crate) fn scan(request: &Request) -> Result<Option<Scan>, ApiError> {
    let fields = fields(request)?;
    let gate = text(&fields, "gate").map(GateName::try_new).transpose();
    let gate = gate.map_err(|invalid| ApiError::bad_request("invalid_gate", invalid.to_string()))?;
    match text(&fields, "scanId") {
        Some(id) => {
            let id = ScanId::try_new(id);
            let id = id.map_err(|invalid| ApiError::bad_request("invalid_scan_id", invalid.to_string()))?;
            Ok(Some(Scan { id, gate }))
        }
        None if gate.is_some() => Err(ApiError::bad_request("invalid_scan_id", "`gate` needs a `scanId` beside it")),
        None => Ok(None),
    }
}

/// `{"validatedAt": "..."}`, as answers give it.
pub(crate) fn admission(request: &Request) -> Result<Option<Timestamp>, ApiError> {
    let fields = fields(request)?;
    let Some(text) = text(&fields, "validatedAt") else { return Ok(None) };
    // Postgres writes years before ours in another way.
    match text.parse() {
        Ok(time) if time >= Timestamp::UNIX_EPOCH => Ok(Some(time)),
        _ => {
            let message = "`validatedAt` must be the time of the admission, such as 2026-05-01T10:00:00.123Z";
            Err(ApiError::bad_request("invalid_validated_at", message))
        }
    }
}

/// `{"reason": "..."}`.
pub(crate) fn reason(request: &Request) -> Result<Reason, ApiError> {
    let fields = fields(request)?;
    let reason = Reason::try_new(text(&fields, "reason").unwrap_or_default());
    reason.map_err(|invalid| ApiError::bad_request("invalid_reason", invalid.to_string()))
}

/// The body's fields; none without a body.
fn fields(request: &Request) -> Result<Map<String, Value>, ApiError> {
    Ok(request::json_body(request)?.unwrap_or_default())
}

/// A field's text. Null is as good as absent; what is no text is an empty one, which none of the rules takes.
fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let value = fields.get(name).filter(|value| !value.is_null())?;
    Some(value.as_str().unwrap_or_default())
}
