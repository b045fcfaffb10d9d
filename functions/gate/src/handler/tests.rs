use lambda_http::Body;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;

fn request(address: &str, role: &str) -> Request {
    request_with(address, role, "")
}

fn request_with(address: &str, role: &str, body: &str) -> Request {
    let authorizer = json!({"lambda": {"userId": "u1", "role": role, "expiresAt": 4_102_444_800_i64}});
    let event = json!({
        "version": "2.0", "routeKey": "x", "rawPath": address, "rawQueryString": "", "headers": {},
        "requestContext": {
            "stage": "$default", "requestId": "req-1", "authorizer": authorizer,
            "http": {"method": "POST", "path": address},
        },
        "body": body, "isBase64Encoded": false,
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

/// What the database is asked for a request with this body; nothing if it isn't asked, and the code of the refusal.
async fn asked_for(action: &str, body: &str) -> (Option<Value>, Value) {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(ticket("not_found", "")).mount(&server).await;
    let request = request_with(&format!("/api/qrapp/tickets/7/{action}"), "admin", body);
    let answer = http_api::respond(gate(&server.uri()).handle(request), "req-1").await;
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    let asked = server.received_requests().await.unwrap().pop();
    let asked = asked.map(|asked| serde_json::from_slice::<Value>(&asked.body).unwrap()["request"].clone());
    (asked, answer["code"].clone())
}

fn ticket(result: &str, status: &str) -> ResponseTemplate {
    let ticket = json!({
        "ticket_id": 7, "order_id": "ord", "ticket_type": "VIP", "status": status,
        "validated_at": "2026-05-01T12:00:00.123956+02:00", "reason": "refunded",
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
    let [validate, undo, cancel] =
        ["validate", "undo", "cancel"].map(|action| format!("/api/qrapp/tickets/7/{action}"));
    for result in ["admitted", "already_validated", "not_found"] {
        counted.scope(answer_to(&validate, "member", "validate_ticket", ticket(result, "validated"))).await;
    }
    let again =
        ResponseTemplate::new(200).set_body_json(json!({"result": "admitted", "repeated": true, "ticket": null}));
    counted.scope(answer_to(&validate, "member", "validate_ticket", again)).await;
    counted.scope(answer_to(&undo, "admin", "undo_ticket", ticket("undone", "live"))).await;
    counted.scope(answer_to(&cancel, "admin", "cancel_ticket", ticket("already_validated", "validated"))).await;
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
async fn a_scan_that_is_told_again_says_so() {
    let validate = "/api/qrapp/tickets/7/validate";
    let again = json!({"result": "admitted", "repeated": true, "ticket": null});
    let again = ResponseTemplate::new(200).set_body_json(again);
    let (status, body) = answer_to(validate, "member", "validate_ticket", again).await;
    assert_eq!((status, body), (200, json!({"result": "admitted", "repeated": true, "ticket": null})));
    for (result, fields) in [("scan_ended", vec!["ticket"]), ("scan_id_reused", vec![])] {
        let (status, body) = answer_to(validate, "member", "validate_ticket", ticket(result, "live")).await;
        assert_eq!((status, &body["code"]), (409, &json!(result)));
        let mut told: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        told.retain(|field| !["code", "error", "requestId"].contains(field));
        assert_eq!(told, fields, "of another ticket nothing is told");
    }
    let undo = "/api/qrapp/tickets/7/undo";
    let (status, body) = answer_to(undo, "admin", "undo_ticket", ticket("other_admission", "validated")).await;
    assert_eq!((status, &body["code"]), (409, &json!("other_admission")));
    assert_eq!(body["validatedAt"], "2026-05-01T10:00:00.123Z");
}

#[tokio::test]
async fn what_a_body_says_reaches_the_database() {
    let of = |fields: Value| {
        let mut all = json!({"location_id": "loc", "ticket_id": 7, "by": "u1"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Some(all)
    };
    let unnamed = json!({"scan_id": null, "gate": null});
    for (action, body, fields) in [
        ("validate", "", unnamed.clone()),
        ("validate", "{}", unnamed.clone()),
        ("validate", r#"{"scanId": null, "device": 4}"#, unnamed),
        ("validate", r#"{"scanId": "scan-0001"}"#, json!({"scan_id": "scan-0001", "gate": null})),
        ("validate", r#"{"scanId": "scan-0001", "gate": " Tür 2"}"#, json!({"scan_id": "scan-0001", "gate": "Tür 2"})),
        ("undo", "", json!({"validated_at": null})),
        ("undo", r#"{"validatedAt": null}"#, json!({"validated_at": null})),
        (
            "undo",
            r#"{"validatedAt": "2026-05-01T12:00:00.123+02:00"}"#,
            json!({"validated_at": "2026-05-01T10:00:00.123Z"}),
        ),
        ("cancel", r#"{"reason": " Given back "}"#, json!({"reason": "Given back"})),
        ("reinstate", r#"{"reason": "Found again"}"#, json!({"reason": "Found again"})),
    ] {
        assert_eq!(asked_for(action, body).await, (of(fields), json!("ticket_not_found")), "{action} {body}");
    }
}

#[tokio::test]
async fn a_bad_body_is_told_what_is_wrong_with_it() {
    let long = format!(r#"{{"reason": "{}"}}"#, "r".repeat(201));
    for (action, body, code) in [
        ("validate", "scan-0001", "invalid_body"),
        ("validate", r#"["scan-0001"]"#, "invalid_body"),
        ("validate", r#"{"scanId": "short"}"#, "invalid_scan_id"),
        ("validate", r#"{"scanId": 123456789}"#, "invalid_scan_id"),
        ("validate", r#"{"scanId": "with a blank"}"#, "invalid_scan_id"),
        ("validate", r#"{"gate": "Door 2"}"#, "invalid_scan_id"),
        ("validate", r#"{"scanId": "scan-0001", "gate": ""}"#, "invalid_gate"),
        ("validate", r#"{"scanId": "scan-0001", "gate": 2}"#, "invalid_gate"),
        ("undo", r#"{"validatedAt": "today"}"#, "invalid_validated_at"),
        ("undo", r#"{"validatedAt": "-000044-03-15T12:00:00Z"}"#, "invalid_validated_at"),
        ("undo", r#"{"validatedAt": 1777629600}"#, "invalid_validated_at"),
        ("cancel", "", "invalid_reason"),
        ("cancel", "{}", "invalid_reason"),
        ("cancel", r#"{"reason": " "}"#, "invalid_reason"),
        ("reinstate", r#"{"reason": "two\nlines"}"#, "invalid_reason"),
        ("reinstate", &long, "invalid_reason"),
    ] {
        assert_eq!(asked_for(action, body).await, (None, json!(code)), "{action} {body}");
    }
}

#[tokio::test]
async fn only_admins_cancel_and_reinstate() {
    let reason = r#"{"reason": "Given back"}"#;
    for (action, result, status, code, fields) in [
        ("cancel", "cancelled_by_hand", 200, json!(null), &["result", "ticket"][..]),
        ("cancel", "already_validated", 409, json!("already_validated"), &["ticket", "validatedAt"]),
        ("cancel", "cancelled_by_sync", 409, json!("cancelled_by_sync"), &["reason", "ticket"]),
        ("reinstate", "reinstated", 200, json!(null), &["result", "ticket"]),
        ("reinstate", "not_cancelled", 409, json!("not_cancelled"), &["ticket"]),
        ("reinstate", "not_entitled", 409, json!("not_entitled"), &["reason", "ticket"]),
        ("reinstate", "not_found", 404, json!("ticket_not_found"), &[]),
    ] {
        let server = MockServer::start().await;
        let function = format!("/rest/v1/rpc/{action}_ticket");
        Mock::given(path(function)).respond_with(ticket(result, "cancelled")).mount(&server).await;
        let address = format!("/api/qrapp/tickets/7/{action}");
        let refused = gate(&server.uri()).handle(request_with(&address, "member", reason)).await.unwrap_err();
        assert_eq!(refused.code(), "admin_required");
        let answer =
            http_api::respond(gate(&server.uri()).handle(request_with(&address, "admin", reason)), "req-1").await;
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!((answer.status().as_u16(), &body["code"]), (status, &code), "{result}: {body}");
        let mut told: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        told.retain(|field| !["code", "error", "requestId"].contains(field));
        assert_eq!(told, fields, "{body}");
    }
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
