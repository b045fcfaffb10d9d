use std::time::Duration;

use database::Database;
use domain::FailureClass;
use domain::frames::utc_ms;
use domain::gate::{GateResult, GateTicket};
use http_api::{ApiError, Method, Request, Response, Role, StatusCode, json, request};
use serde_json::{Value, json};
use telemetry::metrics::{self, Metric};
use tokio::time::timeout;

/// Longest wait for the database: somebody waits at the gate. If it decides later, the next scan tells what it decided.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Admits tickets. The decision is the database's: it locks order and ticket, reconciles a due order, and admits.
pub(crate) struct Gate {
    pub(crate) database: Database,
}

enum Action {
    Validate,
    Undo,
}

impl Gate {
    pub(crate) async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let caller = request::caller(&request)?;
        let (ticket_id, action) = route(&request)?;
        caller.require(match action {
            Action::Validate => Role::Member,
            Action::Undo => Role::Admin,
        })?;
        let deciding = async {
            match action {
                Action::Validate => self.database.validate_ticket(ticket_id, &caller.user_id).await,
                Action::Undo => self.database.undo_ticket(ticket_id, &caller.user_id).await,
            }
        };
        let answer = match timeout(ANSWER_WITHIN, deciding).await {
            Ok(answer) => answer.map_err(failure)?,
            Err(_elapsed) => return Err(database_busy().caused_by("the database did not answer within 4 s")),
        };
        count(&action, answer.result);
        let ticket = answer.ticket.as_ref().map(shown).unwrap_or_default();
        match answer.result {
            GateResult::Admitted => json(StatusCode::OK, &json!({"result": "admitted", "ticket": ticket})),
            GateResult::Undone => json(StatusCode::OK, &json!({"result": "undone", "ticket": ticket})),
            GateResult::AlreadyValidated => {
                Err(ApiError::conflict("already_validated", "This ticket has already been admitted")
                    .with("validatedAt", ticket.get("validatedAt").cloned().unwrap_or_default())
                    .with("ticket", ticket))
            }
            GateResult::Cancelled => Err(ApiError::conflict("ticket_cancelled", "This ticket is no longer valid")
                .with("reason", answer.ticket.and_then(|ticket| ticket.reason))
                .with("ticket", ticket)),
            GateResult::NotValidated => {
                Err(ApiError::conflict("not_validated", "This ticket has not been admitted yet").with("ticket", ticket))
            }
            GateResult::NotFound => Err(ApiError::not_found("ticket_not_found", "There is no such ticket")),
        }
    }
}

/// Counts scans only: an undo is neither an admission nor a refusal.
fn count(action: &Action, result: GateResult) {
    match (action, result) {
        (Action::Validate, GateResult::Admitted) => metrics::count(Metric::GateAdmitted, 1),
        (Action::Validate, _) => metrics::count(Metric::GateRefused, 1),
        (Action::Undo, _) => {}
    }
}

/// `/api/qrapp/tickets/{id}/validate` or `/undo`.
fn route(request: &Request) -> Result<(i64, Action), ApiError> {
    let (id, action) = request::path(request)
        .strip_prefix("/api/qrapp/tickets/")
        .and_then(|rest| rest.split_once('/'))
        .filter(|_| request.method() == Method::POST)
        .ok_or_else(ApiError::no_route)?;
    let action = match action {
        "validate" => Action::Validate,
        "undo" => Action::Undo,
        _ => return Err(ApiError::no_route()),
    };
    match id.parse() {
        Ok(id) if id > 0 => Ok((id, action)),
        _ => Err(ApiError::bad_request("invalid_ticket_id", "A ticket id is a whole number above 0")),
    }
}

/// A ticket as the scanner shows it; nothing of its buyer.
fn shown(ticket: &GateTicket) -> Value {
    json!({
        "ticketId": ticket.ticket_id,
        "orderId": ticket.order_id,
        "ticketType": ticket.ticket_type,
        "status": ticket.status,
        "validatedAt": ticket.validated_at.map(utc_ms),
    })
}

/// Somebody waits at the gate, and a lock is released in a moment.
fn database_busy() -> ApiError {
    ApiError::database_unavailable().retry_after(Duration::from_secs(1))
}

fn failure(error: database::Error) -> ApiError {
    match error.class() {
        FailureClass::Permanent => ApiError::internal(error),
        FailureClass::Transient => database_busy().caused_by(error),
        FailureClass::Auth => ApiError::database_unavailable().caused_by(error),
    }
}

#[cfg(test)]
mod tests {
    use lambda_http::Body;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

    use super::*;

    fn request(address: &str, role: &str) -> Request {
        let authorizer = json!({"lambda": {"userId": "u1", "role": role, "expiresAt": 4_102_444_800_i64}});
        let event = json!({
            "version": "2.0", "routeKey": "x", "rawPath": address, "rawQueryString": "", "headers": {},
            "requestContext": {
                "stage": "$default", "requestId": "req-1", "authorizer": authorizer,
                "http": {"method": "POST", "path": address},
            },
            "isBase64Encoded": false,
        });
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    fn gate(url: &str) -> Gate {
        let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
        let env = settings::Env::of([("SUPABASE_URL", url), key, ("GHL_LOCATION_ID", "loc")]);
        Gate { database: wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap() }
    }

    /// What a caller gets when the database's function answers so.
    async fn answer_to(address: &str, role: &str, function: &str, answer: ResponseTemplate) -> (u16, Value) {
        let server = MockServer::start().await;
        Mock::given(path(format!("/rest/v1/rpc/{function}"))).respond_with(answer).mount(&server).await;
        let answer = http_api::respond(gate(&server.uri()).handle(request(address, role)), "req-1").await;
        let body: &Body = answer.body();
        (answer.status().as_u16(), serde_json::from_slice(body).unwrap())
    }

    fn ticket(result: &str, status: &str) -> ResponseTemplate {
        let ticket = json!({
            "ticket_id": 7, "order_id": "ord", "ticket_type": "VIP", "status": status,
            "validated_at": "2026-05-01T12:00:00.123456+02:00", "reason": "refunded",
        });
        let ticket = if result == "not_found" { Value::Null } else { ticket };
        ResponseTemplate::new(200).set_body_json(json!({"result": result, "ticket": ticket}))
    }

    #[tokio::test]
    async fn what_the_database_decides_is_told() {
        let shown = json!({
            "ticketId": 7, "orderId": "ord", "ticketType": "VIP", "status": "validated",
            "validatedAt": "2026-05-01T10:00:00.123Z",
        });
        let validate = "/api/qrapp/tickets/7/validate";
        let (status, body) = answer_to(validate, "member", "validate_ticket", ticket("admitted", "validated")).await;
        assert_eq!((status, body), (200, json!({"result": "admitted", "ticket": shown})));
        let (status, body) =
            answer_to(validate, "member", "validate_ticket", ticket("already_validated", "validated")).await;
        assert_eq!((status, &body["code"], &body["ticket"]), (409, &json!("already_validated"), &shown));
        assert_eq!(body["validatedAt"], "2026-05-01T10:00:00.123Z");
        let (status, body) = answer_to(validate, "admin", "validate_ticket", ticket("cancelled", "cancelled")).await;
        assert_eq!((status, &body["code"], &body["reason"]), (409, &json!("ticket_cancelled"), &json!("refunded")));
        let (status, body) = answer_to(validate, "admin", "validate_ticket", ticket("not_found", "")).await;
        assert_eq!((status, &body["code"], &body["requestId"]), (404, &json!("ticket_not_found"), &json!("req-1")));
    }

    #[tokio::test]
    async fn a_ticket_without_any_status_is_refused_like_one_of_an_unknown_status() {
        let ticket = json!({
            "ticket_id": 7, "order_id": "ord", "ticket_type": "VIP", "status": null, "validated_at": null,
            "reason": "its status is \"\"",
        });
        let answer = ResponseTemplate::new(200).set_body_json(json!({"result": "cancelled", "ticket": ticket}));
        let (status, body) = answer_to("/api/qrapp/tickets/7/validate", "member", "validate_ticket", answer).await;
        assert_eq!((status, &body["code"]), (409, &json!("ticket_cancelled")));
    }

    #[tokio::test]
    async fn scans_are_counted_by_what_came_of_them() {
        let counted = metrics::Collector::default();
        let (validate, undo) = ("/api/qrapp/tickets/7/validate", "/api/qrapp/tickets/7/undo");
        for result in ["admitted", "already_validated", "not_found"] {
            counted.scope(answer_to(validate, "member", "validate_ticket", ticket(result, "validated"))).await;
        }
        counted.scope(answer_to(undo, "admin", "undo_ticket", ticket("undone", "live"))).await;
        let of = |metric| counted.counted(metric, &[]);
        assert_eq!((of(Metric::GateAdmitted), of(Metric::GateRefused)), (1, 2));
    }

    #[tokio::test]
    async fn only_admins_undo() {
        let undo = "/api/qrapp/tickets/7/undo";
        let (status, body) = answer_to(undo, "member", "undo_ticket", ticket("undone", "live")).await;
        assert_eq!((status, &body["code"]), (403, &json!("admin_required")));
        let (status, body) = answer_to(undo, "admin", "undo_ticket", ticket("undone", "live")).await;
        assert_eq!((status, &body["result"], &body["ticket"]["status"]), (200, &json!("undone"), &json!("live")));
        let (status, body) = answer_to(undo, "admin", "undo_ticket", ticket("not_validated", "live")).await;
        assert_eq!((status, &body["code"]), (409, &json!("not_validated")));
    }

    #[tokio::test]
    async fn bad_requests_never_reach_the_database() {
        for (address, role, status, code) in [
            ("/api/qrapp/tickets/seven/validate", "member", 400, "invalid_ticket_id"),
            ("/api/qrapp/tickets/-7/validate", "member", 400, "invalid_ticket_id"),
            ("/api/qrapp/tickets/99999999999999999999/undo", "admin", 400, "invalid_ticket_id"),
            ("/api/qrapp/tickets/7/burn", "admin", 404, "no_route"),
            ("/api/qrapp/tickets/7", "admin", 404, "no_route"),
            ("/api/qrapp/tickets/7/validate", "owner", 403, "not_authorised"),
        ] {
            let (got, body) = answer_to(address, role, "none", ResponseTemplate::new(200)).await;
            assert_eq!((got, &body["code"]), (status, &json!(code)), "{address}");
        }
    }

    #[tokio::test]
    async fn a_database_that_does_not_answer_is_given_up_after_four_seconds() {
        // Takes connections, as the system does for it, and never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = gate(&format!("http://{}", silent.local_addr().unwrap()));
        for (address, role) in [("/api/qrapp/tickets/7/validate", "member"), ("/api/qrapp/tickets/7/undo", "admin")] {
            tokio::time::pause();
            let begun = tokio::time::Instant::now();
            let answer = http_api::respond(gate.handle(request(address, role)), "req-1").await;
            let took = begun.elapsed();
            tokio::time::resume();
            assert!(took <= Duration::from_millis(4010), "{address}: {took:?}");
            let body: Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!((answer.status().as_u16(), &body["code"]), (503, &json!("database_unavailable")));
            assert_eq!(answer.headers()["retry-after"], "1");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_said_so() {
        let busy = ResponseTemplate::new(500).set_body_json(json!({"code": "55P03", "message": "lock timeout"}));
        let (status, body) = answer_to("/api/qrapp/tickets/7/validate", "member", "validate_ticket", busy).await;
        assert_eq!((status, &body["code"]), (503, &json!("database_unavailable")));
        assert!(!body.to_string().contains("lock timeout"));
        let wrong = ResponseTemplate::new(400).set_body_json(json!({"code": "22023", "message": "no"}));
        let (status, body) = answer_to("/api/qrapp/tickets/7/validate", "member", "validate_ticket", wrong).await;
        assert_eq!((status, &body["code"]), (500, &json!("internal")));
    }
}
