use domain::run::Start;
use http::StatusCode;
use serde_json::json;

use crate::{ApiError, Response, json};

/// 202 with the run's id; else which run is in the way and for how long, or why there is nothing to start.
///
/// # Errors
/// 409 `sync_in_progress`, `cooling_down` or `nothing_to_retry`; 404 `run_not_found`.
pub fn started(start: Start) -> Result<Response, ApiError> {
    match start {
        Start::Started(run_id) => json(StatusCode::ACCEPTED, &json!({ "message": "Sync started", "runId": run_id })),
        Start::Running { run_id, retry_after } => Err(ApiError::sync_in_progress(run_id.as_str(), retry_after)),
        Start::CoolingDown { run_id, retry_after } => Err(ApiError::cooling_down(run_id.as_str(), retry_after)),
        Start::NothingToRetry => Err(ApiError::nothing_to_retry()),
        Start::UnknownRun => Err(ApiError::run_not_found()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::RunId;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_becomes_of_a_start() {
        let run_id = RunId::try_new("r1").unwrap();
        let retry_after = Duration::from_secs(7);
        let answer = started(Start::Started(run_id.clone())).unwrap();
        assert_eq!(answer.status(), 202);
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body, json!({ "message": "Sync started", "runId": "r1" }));
        for (start, status, code) in [
            (Start::Running { run_id: run_id.clone(), retry_after }, 409, "sync_in_progress"),
            (Start::CoolingDown { run_id, retry_after }, 409, "cooling_down"),
            (Start::NothingToRetry, 409, "nothing_to_retry"),
            (Start::UnknownRun, 404, "run_not_found"),
        ] {
            let error = started(start).unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (status, code));
        }
    }
}
