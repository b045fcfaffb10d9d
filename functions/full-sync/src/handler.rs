//! The routes that start and cancel runs: for admins only.

use database::{Database, NewRun, RunSettings};
use domain::RunKind;
use http_api::{ApiError, Caller, Method, Request, Response, Role, StatusCode, json, request, started};
use runs::{Announcements, Pulses};
use serde_json::json;

/// The function's state.
pub(crate) struct FullSync {
    pub(crate) database: Database,
    pub(crate) settings: RunSettings,
    pub(crate) pulses: Pulses,
    pub(crate) announcements: Announcements,
}

/// What a request asks the function to do.
#[derive(Debug, PartialEq)]
enum Command {
    Start(RunKind),
    Cancel,
}

impl FullSync {
    pub(crate) async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let caller = request::caller(&request)?;
        caller.require(Role::Admin)?;
        match command(request.method(), request::path(&request), request::query(&request, "mode"))? {
            Command::Cancel => self.cancel(&caller).await,
            Command::Start(kind) => {
                let new = NewRun::of(kind, caller.user_id);
                let start =
                    runs::start_run(&self.database, &self.announcements, self.settings, &self.pulses, &new).await;
                started(start.map_err(|error| ApiError::database_unavailable().caused_by(error))?)
            }
        }
    }

    async fn cancel(&self, caller: &Caller) -> Result<Response, ApiError> {
        let cancelled = self.database.cancel_run(&caller.user_id).await;
        let cancelled = cancelled.map_err(|error| ApiError::database_unavailable().caused_by(error))?;
        let (true, Some(run)) = (cancelled.ended, cancelled.run) else {
            return Err(ApiError::conflict("no_run_in_progress", "There is no sync to cancel"));
        };
        tracing::info!(run_id = %run.run_id, "A run was cancelled");
        self.announcements.ask(&self.database, cancelled.publication_due).await;
        json(StatusCode::OK, &json!({ "message": "Sync cancelled", "runId": run.run_id }))
    }
}

fn command(method: &Method, path: &str, mode: Option<&str>) -> Result<Command, ApiError> {
    let post = *method == Method::POST;
    match path {
        "/api/ghl/orders/sync/cancel" if post => Ok(Command::Cancel),
        "/api/ghl/orders" if post => Ok(Command::Start(RunKind::ValidList)),
        "/api/ghl/orders/sync" if post || *method == Method::GET => match mode {
            None | Some("full") => Ok(Command::Start(RunKind::Full)),
            Some("incremental") => Ok(Command::Start(RunKind::Incremental)),
            Some(_) => Err(ApiError::bad_request("invalid_mode", "mode must be full or incremental")),
        },
        _ => Err(ApiError::no_route()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_modes() {
        let sync = "/api/ghl/orders/sync";
        assert_eq!(command(&Method::GET, sync, None).unwrap(), Command::Start(RunKind::Full));
        assert_eq!(command(&Method::POST, sync, Some("full")).unwrap(), Command::Start(RunKind::Full));
        assert_eq!(command(&Method::POST, sync, Some("incremental")).unwrap(), Command::Start(RunKind::Incremental));
        assert_eq!(command(&Method::POST, sync, Some("fast")).unwrap_err().code(), "invalid_mode");
        assert_eq!(command(&Method::POST, "/api/ghl/orders", None).unwrap(), Command::Start(RunKind::ValidList));
        assert_eq!(command(&Method::POST, "/api/ghl/orders/sync/cancel", None).unwrap(), Command::Cancel);
        assert_eq!(command(&Method::GET, "/api/ghl/orders/sync/cancel", None).unwrap_err().status(), 404);
    }
}
