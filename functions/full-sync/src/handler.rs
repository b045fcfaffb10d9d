//! The routes that start and cancel runs: for admins only.

use database::{Database, NewRun, Settings};
use domain::RunKind;
use http_api::{ApiError, Caller, Method, Request, Response, Role, StatusCode, json, request};
use serde_json::json;
use sync::{Publisher, Pulses};

/// The function's state.
pub(crate) struct FullSync {
    pub(crate) database: Database,
    pub(crate) settings: Settings,
    pub(crate) pulses: Pulses,
    pub(crate) publisher: Publisher,
}

/// What a request asks for.
#[derive(Debug, PartialEq)]
enum Wish {
    Start(RunKind),
    Cancel,
}

impl FullSync {
    pub(crate) async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let caller = request::caller(&request)?;
        caller.require(Role::Admin)?;
        match wish(request.method(), request::path(&request), request::query(&request, "mode"))? {
            Wish::Cancel => self.cancel(&caller).await,
            Wish::Start(kind) => {
                let new =
                    NewRun { kind, requested_by: caller.user_id, order_ids: None, retry_of: None, daily_reserve: None };
                sync::start_run(&self.database, &self.publisher, self.settings, &self.pulses, &new).await
            }
        }
    }

    async fn cancel(&self, caller: &Caller) -> Result<Response, ApiError> {
        let cancelled = self.database.cancel_run(&caller.user_id).await;
        let cancelled = cancelled.map_err(|error| ApiError::database_unavailable().caused_by(error))?;
        let (true, Some(run)) = (cancelled.cancelled, cancelled.run) else {
            return Err(ApiError::conflict("no_run_in_progress", "There is no sync to cancel"));
        };
        tracing::info!(run_id = %run.run_id, "A run is cancelled");
        // Told at once; if that fails, the run's next pulse does it.
        self.publisher.publish_granted(&self.database, cancelled.publication.as_ref()).await;
        json(StatusCode::OK, &json!({ "message": "Sync cancelled", "runId": run.run_id }))
    }
}

fn wish(method: &Method, path: &str, mode: Option<&str>) -> Result<Wish, ApiError> {
    let post = *method == Method::POST;
    match path {
        "/api/ghl/orders/sync/cancel" if post => Ok(Wish::Cancel),
        "/api/ghl/orders" if post => Ok(Wish::Start(RunKind::ValidList)),
        "/api/ghl/orders/sync" if post || *method == Method::GET => match mode {
            None | Some("full") => Ok(Wish::Start(RunKind::Full)),
            Some("incremental") => Ok(Wish::Start(RunKind::Incremental)),
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
        assert_eq!(wish(&Method::GET, sync, None).unwrap(), Wish::Start(RunKind::Full));
        assert_eq!(wish(&Method::POST, sync, Some("full")).unwrap(), Wish::Start(RunKind::Full));
        assert_eq!(wish(&Method::POST, sync, Some("incremental")).unwrap(), Wish::Start(RunKind::Incremental));
        assert_eq!(wish(&Method::POST, sync, Some("fast")).unwrap_err().code(), "invalid_mode");
        assert_eq!(wish(&Method::POST, "/api/ghl/orders", None).unwrap(), Wish::Start(RunKind::ValidList));
        assert_eq!(wish(&Method::POST, "/api/ghl/orders/sync/cancel", None).unwrap(), Wish::Cancel);
        assert_eq!(wish(&Method::GET, "/api/ghl/orders/sync/cancel", None).unwrap_err().status(), 404);
    }
}
