//! The routes of a ticket: who may call them, and what they ask of the database.

use std::time::Duration;

use database::Database;
use domain::FailureClass;
use domain::gate::GateResult;
use http_api::{ApiError, Method, Request, Response, Role, StatusCode, request};
use telemetry::metrics::{self, Metric};
use tokio::time::timeout;

use crate::action::Action;
use crate::{answers, bodies};

/// Longest wait for the database: somebody waits at the gate. If it decides later, the next scan tells what it decided.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Admits tickets. The decision is the database's: it locks order and ticket, reconciles a due order, and admits.
pub(crate) struct Gate {
    pub(crate) database: Database,
}

#[derive(Clone, Copy)]
enum Route {
    Validate,
    Undo,
    Cancel,
    Reinstate,
}

impl Gate {
    pub(crate) async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let caller = request::caller(&request)?;
        let (ticket_id, route) = route(&request)?;
        caller.require(match route {
            Route::Validate => Role::Member,
            Route::Undo | Route::Cancel | Route::Reinstate => Role::Admin,
        })?;
        let action = match route {
            Route::Validate => Action::Validate(bodies::scan(&request)?),
            Route::Undo => Action::Undo(bodies::admission(&request)?),
            Route::Cancel => Action::Cancel(bodies::reason(&request)?),
            Route::Reinstate => Action::Reinstate(bodies::reason(&request)?),
        };
        let (database, by) = (&self.database, caller.user_id.as_str());
        let deciding = async {
            match &action {
                Action::Validate(scan) => database.validate_ticket(ticket_id, by, scan.as_ref()).await,
                Action::Undo(admission) => database.undo_ticket(ticket_id, by, *admission).await,
                Action::Cancel(reason) => database.cancel_ticket(ticket_id, by, reason).await,
                Action::Reinstate(reason) => database.reinstate_ticket(ticket_id, by, reason).await,
            }
        };
        let answer = match timeout(ANSWER_WITHIN, deciding).await {
            Ok(answer) => answer.map_err(failure)?,
            Err(_elapsed) => return Err(undecided()),
        };
        if matches!(action, Action::Validate(_)) && !answer.repeated {
            count(answer.result);
        }
        answers::told(&action, answer)
    }
}

/// Counts a scan, once: what is told again was counted, unless its answer was lost on the way here.
fn count(result: GateResult) {
    let metric = if result == GateResult::Admitted { Metric::GateAdmitted } else { Metric::GateRefused };
    metrics::count(metric, 1);
}

/// `/api/qrapp/tickets/{id}/validate`, `/undo`, `/cancel` or `/reinstate`.
fn route(request: &Request) -> Result<(i64, Route), ApiError> {
    let (id, route) = request::path(request)
        .strip_prefix("/api/qrapp/tickets/")
        .and_then(|rest| rest.split_once('/'))
        .filter(|_| request.method() == Method::POST)
        .ok_or_else(ApiError::no_route)?;
    let route = match route {
        "validate" => Route::Validate,
        "undo" => Route::Undo,
        "cancel" => Route::Cancel,
        "reinstate" => Route::Reinstate,
        _ => return Err(ApiError::no_route()),
    };
    match id.parse() {
        Ok(id) if id > 0 => Ok((id, route)),
        _ => Err(ApiError::bad_request("invalid_ticket_id", "A ticket id is a whole number above 0")),
    }
}

/// Somebody waits at the gate, and a lock is released in a moment.
fn database_busy() -> ApiError {
    ApiError::database_unavailable().retry_after(Duration::from_secs(1))
}

/// The database may still decide: locks are waited for 3 s, but an answer may get lost.
fn undecided() -> ApiError {
    let message = "The database did not answer in time; try again to see what it has decided";
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", message);
    error.retry_after(Duration::from_secs(1)).caused_by("the database did not answer within 4 s")
}

fn failure(error: database::Error) -> ApiError {
    match error.class() {
        FailureClass::Permanent => ApiError::internal(error),
        FailureClass::Transient => database_busy().caused_by(error),
        FailureClass::Auth => ApiError::database_unavailable().caused_by(error),
    }
}

#[cfg(test)]
mod tests;
