use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use queues::Queue;
use settings::Env;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, method, path},
};

use super::*;

fn aws_config(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client::for_aws())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build()
}

/// One server that is the database, the gateway's `@connections` and SQS.
async fn world() -> (MockServer, Socket) {
    let server = MockServer::start().await;
    let url = server.uri();
    let env = Env::of([
        ("SUPABASE_URL", url.as_str()),
        ("SUPABASE_SERVICE_ROLE_KEY", "invented"),
        ("GHL_LOCATION_ID", "loc"),
    ]);
    let config = aws_config(&url);
    let socket = Socket {
        limits: ConnectionLimits::from_env(&env).unwrap(),
        database: wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap(),
        pusher: Pusher::new(&config, &format!("{url}/live")),
        pulses: Pulses::new(
            Queue::new(queues::client(&config), format!("{url}/000000000000/runs")),
            Duration::from_secs(30),
        ),
        thresholds: runs::setup::thresholds(&env).unwrap(),
    };
    (server, socket)
}

async fn function(server: &MockServer, name: &str, answer: Value) {
    let answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(path(format!("/rest/v1/rpc/{name}"))).respond_with(answer).mount(server).await;
}

async fn posts(server: &MockServer, status: u16) {
    let posting = Mock::given(method("POST")).and(path("/live/@connections/c1"));
    posting.respond_with(ResponseTemplate::new(status)).mount(server).await;
}

fn event(route: &str, body: &str) -> Event {
    let authorizer = json!({
        "userId": "u1", "role": "admin", "expiresAt": "4102444800", "principalId": "u1", "ticketId": "t1",
    });
    let context = json!({"routeKey": route, "connectionId": "c1", "authorizer": authorizer});
    serde_json::from_value(json!({"requestContext": context, "body": body, "isBase64Encoded": false})).unwrap()
}

/// The bodies sent to paths that end so, in order.
async fn sent(server: &MockServer, ending: &str) -> Vec<Value> {
    let requests = server.received_requests().await.unwrap();
    let is_wanted = |request: &&wiremock::Request| request.method == "POST" && request.url.path().ends_with(ending);
    let of_path = requests.iter().filter(is_wanted);
    of_path.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

#[tokio::test]
async fn connecting_registers_the_caller() {
    let (server, socket) = world().await;
    function(&server, "add_connection", json!({"accepted": true, "reason": null})).await;
    assert_eq!(socket.handle(event("$connect", "")).await.unwrap(), Answer { status_code: 200 });
    let request = sent(&server, "/add_connection").await.remove(0)["request"].clone();
    assert_eq!(
        (&request["connection_id"], &request["user_id"], &request["role"]),
        (&json!("c1"), &json!("u1"), &json!("admin"))
    );
    assert_eq!((&request["expires_at"], &request["ticket_id"]), (&json!("2100-01-01T00:00:00Z"), &json!("t1")));
}

#[tokio::test]
async fn a_client_learns_that_the_database_hangs_before_lambda_stops_the_function() {
    let (_server, mut socket) = world().await;
    // Takes connections, as the system does for it, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
    let env = Env::of([("SUPABASE_URL", url.as_str()), key, ("GHL_LOCATION_ID", "loc")]);
    socket.database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(socket.handle(event("$connect", "")).await.unwrap(), Answer { status_code: 503 });
    assert!(begun.elapsed() < ANSWER_WITHIN + Duration::from_millis(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_refusal_is_given_up_when_the_connection_hangs_too() {
    let (_server, mut socket) = world().await;
    // Takes connections, as the system does for it, and never answers: as the database and the gateway.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
    let env = Env::of([("SUPABASE_URL", url.as_str()), key, ("GHL_LOCATION_ID", "loc")]);
    socket.database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
    socket.pusher = Pusher::new(&aws_config(&url), &format!("{url}/live"));
    for message in [r#"{"action": "status"}"#, "no message of ours"] {
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        assert_eq!(socket.handle(event("$default", message)).await.unwrap(), Answer { status_code: 200 });
        let took = begun.elapsed();
        tokio::time::resume();
        assert!(took <= ANSWER_WITHIN + REFUSE_WITHIN + Duration::from_millis(10), "{message}: {took:?}");
    }
}

#[tokio::test]
async fn who_may_not_connect() {
    let (server, socket) = world().await;
    let mut nobody = event("$connect", "");
    nobody.request_context.authorizer = Value::Null;
    assert_eq!(socket.handle(nobody).await.unwrap().status_code, 403);
    assert_eq!(socket.handle(event("$connect", "")).await.unwrap().status_code, 503, "the database answers 404");
    server.reset().await;
    function(&server, "add_connection", json!({"accepted": false, "reason": "too_many_connections"})).await;
    assert_eq!(socket.handle(event("$connect", "")).await.unwrap().status_code, 429);
    server.reset().await;
    function(&server, "add_connection", json!({"accepted": false, "reason": "ticket_used"})).await;
    assert_eq!(socket.handle(event("$connect", "")).await.unwrap().status_code, 403);
    server.reset().await;
    function(&server, "add_connection", json!({"accepted": true, "reason": null})).await;
    let mut without = event("$connect", "");
    without.request_context.authorizer.as_object_mut().unwrap().remove("ticketId");
    assert_eq!(socket.handle(without).await.unwrap().status_code, 403, "it couldn't be told from a used one");
}

#[tokio::test]
async fn status_is_answered_with_the_snapshot() {
    let (server, socket) = world().await;
    function(&server, "add_connection", json!({"accepted": true, "reason": null})).await;
    function(&server, "sync_snapshot", json!({"seq": 7, "run": null, "needs_pulse": false, "pulse": null})).await;
    posts(&server, 200).await;
    assert_eq!(socket.handle(event("$default", r#"{"action":"status"}"#)).await.unwrap().status_code, 200);
    let frames = sent(&server, "/c1").await;
    assert_eq!(frames.len(), 1);
    assert_eq!((&frames[0]["event"], &frames[0]["seq"]), (&json!("sync_status"), &json!(7)));
    assert_eq!(frames[0]["data"]["status"], "Idle");
    assert_eq!(frames[0]["data"]["problems"], json!([]), "that there are none is told, too");
    assert_eq!(sent(&server, "/sync_snapshot").await[0]["request"]["next_seq"], true);
    assert_eq!(sent(&server, "/add_connection").await.len(), 1, "registered anew");
}

#[tokio::test]
async fn a_snapshot_tells_an_admin_of_every_problem_and_a_member_of_those_that_are_no_hole() {
    let (server, socket) = world().await;
    function(&server, "add_connection", json!({"accepted": true, "reason": null})).await;
    let system = json!({
        "ghl_refused_ms": 1000, "frames_failed_ms": null, "known_ms": 5000, "completed_ms": null, "daily_remaining": null,
        "open_tables": [{"table": "ghl_qr_orders", "reads": true, "writes": false}],
    });
    let snapshot = json!({"seq": 7, "run": null, "needs_pulse": false, "pulse": null, "system": system});
    function(&server, "sync_snapshot", snapshot).await;
    posts(&server, 200).await;
    for role in ["admin", "member"] {
        let mut asked = event("$default", r#"{"action":"status"}"#);
        asked.request_context.authorizer["role"] = json!(role);
        socket.handle(asked).await.unwrap();
    }
    let codes = |frame: &Value| {
        let problems = frame["data"]["problems"].as_array().unwrap().iter();
        problems.map(|problem| problem["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let frames = sent(&server, "/c1").await;
    assert_eq!(codes(&frames[0]), ["ghl_unauthorized", "tables_open"]);
    assert_eq!(codes(&frames[1]), ["ghl_unauthorized"]);
}

#[tokio::test]
async fn a_ping_is_answered_and_rubbish_once_and_then_closed() {
    let (server, socket) = world().await;
    posts(&server, 200).await;
    let closing = Mock::given(method("DELETE")).and(path("/live/@connections/c1"));
    closing.respond_with(ResponseTemplate::new(204)).expect(1).mount(&server).await;
    socket.handle(event("$default", r#"{"action":"ping"}"#)).await.unwrap();
    socket.handle(event("$default", "hello")).await.unwrap();
    let frames = sent(&server, "/c1").await;
    assert_eq!(frames[0], json!({"event": "pong"}));
    assert_eq!((&frames[1]["event"], &frames[1]["data"]["code"]), (&json!("error"), &json!("unknown_action")));
    server.verify().await;
}

/// What a client with this context is told. It is also closed and forgotten, and nothing else is done.
async fn told_with(authorizer: Value, message: &str) -> Value {
    let (server, socket) = world().await;
    posts(&server, 200).await;
    function(&server, "remove_connections", json!({})).await;
    let closing = Mock::given(method("DELETE")).and(path("/live/@connections/c1"));
    closing.respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let mut event = event("$default", message);
    event.request_context.authorizer = authorizer;
    assert_eq!(socket.handle(event).await.unwrap(), Answer { status_code: 200 });
    let requests = server.received_requests().await.unwrap();
    let done: Vec<_> = requests.iter().map(|asked| (asked.method.as_str(), asked.url.path())).collect();
    let (connection, function) = ("/live/@connections/c1", "/rest/v1/rpc/remove_connections");
    assert_eq!(done, [("POST", connection), ("DELETE", connection), ("POST", function)], "{message}");
    assert_eq!(sent(&server, "/remove_connections").await[0]["request"]["connection_ids"], json!(["c1"]));
    serde_json::from_slice(&requests[0].body).unwrap()
}

#[tokio::test]
async fn a_session_that_has_ended_is_told_and_closed_whatever_it_asks() {
    let now = Timestamp::now().as_second();
    for expires_at in [1000, now - 59, now] {
        let context = json!({"userId": "u1", "role": "admin", "expiresAt": expires_at.to_string()});
        for message in [r#"{"action":"ping"}"#, r#"{"action":"status"}"#, "hello"] {
            let frame = told_with(context.clone(), message).await;
            let words = "Your session has ended: renew it, then connect again";
            assert_eq!(
                frame,
                json!({"event": "error", "data": {"error": words, "code": "session_ended"}}),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn who_is_nobody_is_told_and_closed_whatever_it_asks() {
    for context in [Value::Null, json!({"userId": "u1", "role": "owner", "expiresAt": "4102444800"})] {
        for message in [r#"{"action":"ping"}"#, r#"{"action":"status"}"#] {
            assert_eq!(told_with(context.clone(), message).await["data"]["code"], "not_authorised", "{message}");
        }
    }
}

#[tokio::test]
async fn a_ping_of_a_session_that_goes_on_needs_no_database() {
    let (server, socket) = world().await;
    posts(&server, 200).await;
    let mut going_on = event("$default", r#"{"action":"ping"}"#);
    let soon = Timestamp::now().as_second() + 30;
    going_on.request_context.authorizer["expiresAt"] = soon.to_string().into();
    socket.handle(going_on).await.unwrap();
    assert_eq!(sent(&server, "/c1").await, [json!({"event": "pong"})]);
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_the_database_the_client_is_told_and_kept() {
    let (server, socket) = world().await;
    posts(&server, 200).await;
    socket.handle(event("$default", r#"{"action":"status"}"#)).await.unwrap();
    assert_eq!(sent(&server, "/c1").await[0]["data"]["code"], "database_unavailable");
}

#[tokio::test]
async fn gone_connections_are_forgotten() {
    let (server, socket) = world().await;
    posts(&server, 410).await;
    function(&server, "remove_connections", json!({})).await;
    socket.handle(event("$default", r#"{"action":"ping"}"#)).await.unwrap();
    socket.handle(event("$disconnect", "")).await.unwrap();
    let removed = sent(&server, "/remove_connections").await;
    assert_eq!(removed.len(), 2);
    assert_eq!(removed[1]["request"]["connection_ids"], json!(["c1"]));
}

#[tokio::test]
async fn a_lost_pulse_is_sent_anew() {
    let (server, socket) = world().await;
    let sqs = Mock::given(method("POST")).and(body_partial_json(json!({"Entries": [{"DelaySeconds": 0}]})));
    let taken = json!({"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "0"}], "Failed": []});
    sqs.respond_with(ResponseTemplate::new(200).set_body_json(taken)).expect(1).mount(&server).await;
    let run = json!({"run_id": "r1", "location_id": "loc", "kind": "full", "state": "Syncing",
        "started_at": "2026-03-01T10:00:00Z", "now": "2026-03-01T10:05:00Z", "pulse": 4, "listing": {},
        "listing_complete": false, "listed": 0, "synced": 0, "failed": 0, "skipped": 0, "unchanged": 0,
        "tickets_total": 0, "tickets_checked": 0, "ticket_types": 0, "tickets_added": 0, "tickets_cancelled": 0});
    function(&server, "add_connection", json!({"accepted": true, "reason": null})).await;
    function(&server, "sync_snapshot", json!({"seq": 7, "run": run, "needs_pulse": true, "pulse": 5})).await;
    posts(&server, 200).await;
    socket.handle(event("$default", r#"{"action":"status"}"#)).await.unwrap();
    assert_eq!(sent(&server, "/sync_snapshot").await[0]["request"]["pulse_lost_after_ms"], 30_000);
    let requests = server.received_requests().await.unwrap();
    let to_sqs = requests.iter().find(|request| request.url.path() == "/").expect("a message for SQS");
    let request: Value = serde_json::from_slice(&to_sqs.body).unwrap();
    let message: Value = serde_json::from_str(request["Entries"][0]["MessageBody"].as_str().unwrap()).unwrap();
    assert_eq!(message, json!({"location_id": "loc", "run_id": "r1", "pulse": 5}));
}
