//! Cursors of lists: `before` and `after`.

use http_api::ApiError;

/// The cursor is the only part of these calls that comes from outside, so data that Postgres can't read (SQLSTATE class 22)
/// is a malformed cursor.
pub(crate) fn bad_cursor(error: database::Error) -> ApiError {
    match &error {
        database::Error::Refused { sqlstate, hint, .. } if sqlstate.starts_with("22") => {
            let message =
                hint.clone().unwrap_or_else(|| "`before` and `after` must be a `next` of an earlier answer".into());
            ApiError::bad_request("invalid_parameter", message)
        }
        _ => ApiError::database_unavailable().caused_by(error),
    }
}
