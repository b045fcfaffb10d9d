//! The doors, with a tiny server in PostgREST's place.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::Response;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::ServiceExt;

use super::*;
use crate::distance::{CONNECTING, SHORTEST};

/// The demo user's.
const ID: &str = "0b5c9a54-0000-4000-8000-000000000001";

/// Answers with what it was asked.
async fn echo(uri: Uri, headers: HeaderMap, body: String) -> String {
    let bearer = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    json!({ "uri": uri.to_string(), "authorization": bearer, "body": body }).to_string()
}

async fn door() -> Router {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    let users = vec![format!("a@example.com:secret:admin:{ID}").parse().unwrap()];
    let auth = Auth::new("key", "http://127.0.0.1:1", users);
    let connection = MockConnectInfo(Connection::default());
    router(Arc::new(auth), Arc::new(Proxy::new(&url).unwrap()), false).layer(connection)
}

async fn call(door: &Router, method: &str, path: &str, body: &str) -> Response {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("apikey", "k")
        .body(Body::from(body.to_owned()))
        .unwrap();
    door.clone().oneshot(request).await.unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 65_536).await.unwrap()).unwrap()
}

#[tokio::test]
async fn rest_calls_reach_postgrest_unchanged_but_for_the_prefix() {
    let response = call(&door().await, "POST", "/rest/v1/rpc/x?select=a%2Cb&c=%2B", "{}").await;
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let asked = json_of(response).await;
    assert_eq!(asked, json!({ "uri": "/rpc/x?select=a%2Cb&c=%2B", "authorization": "Bearer k", "body": "{}" }));
    let root = json_of(call(&door().await, "GET", "/rest/v1/", "").await).await;
    assert_eq!(root["uri"], "/");
}

#[tokio::test]
async fn a_user_signs_in_with_the_right_password_only() {
    let door = door().await;
    let path = "/auth/v1/token?grant_type=password";
    let session = json_of(call(&door, "POST", path, r#"{"email":"a@example.com","password":"secret"}"#).await).await;
    assert_eq!(session["user"]["app_metadata"]["role"], "admin");
    assert_eq!(session["access_token"].as_str().unwrap().split('.').count(), 3);
    let wrong = call(&door, "POST", path, r#"{"email":"a@example.com","password":"guess"}"#).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

async fn renew(door: &Router, refresh_token: &str) -> Response {
    let body = json!({ "refresh_token": refresh_token }).to_string();
    call(door, "POST", "/auth/v1/token?grant_type=refresh_token", &body).await
}

#[tokio::test]
async fn a_session_is_renewed_again_and_again_until_it_ends_for_good() {
    let door = door().await;
    let path = "/auth/v1/token?grant_type=password";
    let mut session =
        json_of(call(&door, "POST", path, r#"{"email":"a@example.com","password":"secret"}"#).await).await;
    for _ in 0..2 {
        session = json_of(renew(&door, session["refresh_token"].as_str().unwrap()).await).await;
        assert_eq!((&session["user"]["id"], &session["expires_in"]), (&json!(ID), &json!(3600)));
    }

    let signed = |changes: Value| {
        let mut claims = json!({ "aud": "refresh", "sub": ID, "valid_for": 5, "exp": get_current_timestamp() + 60 });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        encode(&Header::default(), &claims, &EncodingKey::from_secret(b"key")).unwrap()
    };
    assert_eq!(json_of(renew(&door, &signed(json!({}))).await).await["expires_in"], 5, "as short as a test needs it");
    for refused in [
        String::new(),
        session["access_token"].as_str().unwrap().to_owned(),
        signed(json!({ "exp": get_current_timestamp() - 1 })),
        signed(json!({ "sub": "nobody" })),
    ] {
        assert_eq!(renew(&door, &refused).await.status(), StatusCode::BAD_REQUEST, "{refused}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_their_path() {
    let door = door().await;
    for path in ["/rest/v1/rpc/a", "/rest/v1/rpc/a?x=1", "/rest/v1/b"] {
        call(&door, "GET", path, "").await;
    }
    let counted = json_of(call(&door, "GET", "/_control/calls", "").await).await;
    assert_eq!(counted, json!({ "/rpc/a": 2, "/b": 1 }));
    call(&door, "DELETE", "/_control/calls", "").await;
    assert_eq!(json_of(call(&door, "GET", "/_control/calls", "").await).await, json!({}));
}

#[tokio::test]
async fn a_test_can_take_the_database_away_and_give_it_back() {
    let door = door().await;
    call(&door, "PUT", "/_control", r#"{"refuseForMs": 60000}"#).await;
    assert_eq!(call(&door, "GET", "/rest/v1/x", "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    call(&door, "DELETE", "/_control", "").await;
    assert_eq!(call(&door, "GET", "/rest/v1/x", "").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_far_database_takes_its_time_until_it_is_near_again() {
    let door = door().await;
    let took = async || {
        let begun = Instant::now();
        assert_eq!(call(&door, "GET", "/rest/v1/x", "").await.status(), StatusCode::OK);
        begun.elapsed()
    };
    call(&door, "PUT", "/_control", r#"{"far": true}"#).await;
    // The test's one connection is new once.
    assert!(took().await >= CONNECTING + SHORTEST);
    // What else is ordered leaves it where it is.
    let shown = json_of(call(&door, "PUT", "/_control", r#"{"latencyMs": 1}"#).await).await;
    assert_eq!(shown["far"], true);
    assert!(took().await >= SHORTEST + Duration::from_millis(1));
    let shown = json_of(call(&door, "DELETE", "/_control", "").await).await;
    assert_eq!(shown["far"], false, "as at the start");
}

#[tokio::test]
async fn each_connection_is_new_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = |ConnectInfo(connection): ConnectInfo<Connection>| async move {
        if connection.is_new() { StatusCode::CREATED } else { StatusCode::OK }
    };
    let app = Router::new().fallback(asked).into_make_service_with_connect_info::<Connection>();
    tokio::spawn(async move { axum::serve(PromptListener(listener), app).await });
    let mut statuses = Vec::new();
    for calls in [2, 1] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..calls {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await.unwrap());
            }
            statuses.push(String::from_utf8(answer[9..12].to_vec()).unwrap());
        }
    }
    assert_eq!(statuses, ["201", "200", "201"]);
}

#[tokio::test]
async fn a_test_can_let_the_database_hang() {
    let (door, begun) = (door().await, Instant::now());
    call(&door, "PUT", "/_control", r#"{"hangForMs": 300}"#).await;
    assert_eq!(call(&door, "GET", "/rest/v1/x", "").await.status(), StatusCode::OK, "who waits is served");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    call(&door, "PUT", "/_control", r#"{"hangForMs": 60000}"#).await;
    let gives_up = tokio::time::timeout(Duration::from_millis(50), call(&door, "GET", "/rest/v1/x", "")).await;
    assert!(gives_up.is_err());
    call(&door, "DELETE", "/_control", "").await;
    call(&door, "GET", "/rest/v1/x", "").await;
}

#[tokio::test]
async fn an_answer_gets_lost_after_all_was_done() {
    let door = door().await;
    call(&door, "PUT", "/_control", r#"{"loseAnswers": {"/rpc/x": 1}}"#).await;
    assert_eq!(json_of(call(&door, "POST", "/rest/v1/rpc/y", "1").await).await["body"], "1");
    let lost = call(&door, "POST", "/rest/v1/rpc/x", "1").await;
    to_bytes(lost.into_body(), 65_536).await.unwrap_err();
    assert_eq!(json_of(call(&door, "POST", "/rest/v1/rpc/x", "1").await).await["body"], "1", "once");
    let left = json_of(call(&door, "GET", "/_control", "").await).await;
    assert_eq!(left["loseAnswers"], json!({ "/rpc/x": 0 }));
}

const PAGE: &str = "http://127.0.0.1:8400/page/";

fn api_key(role: &str) -> String {
    let claims = json!({ "iss": "supabase", "role": role, "exp": get_current_timestamp() + 60 });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(b"key")).unwrap()
}

async fn generate_link(door: &Router, key: &str, email: &str, page: &str) -> Response {
    let request = Request::post("/auth/v1/admin/generate_link")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .body(Body::from(json!({ "type": "magiclink", "email": email, "redirect_to": page }).to_string()))
        .unwrap();
    door.clone().oneshot(request).await.unwrap()
}

/// The path of an address that signs the demo user in.
async fn address(door: &Router) -> String {
    let made = generate_link(door, &api_key("service_role"), "a@example.com", PAGE).await;
    assert_eq!(made.status(), StatusCode::OK);
    assert!(!made.headers().contains_key("access-control-allow-origin"), "no other page may read it");
    let link = json_of(made).await["action_link"].as_str().unwrap().to_owned();
    link.strip_prefix("http://127.0.0.1:1").unwrap().to_owned()
}

async fn text_of(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 65_536).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_short_address_signs_in_once() {
    let door = door().await;
    let path = address(&door).await;
    assert_eq!(path.len(), "/go/7k3p9x".len(), "{path}");
    let first = call(&door, "GET", &path, "").await;
    assert_eq!(first.status(), StatusCode::SEE_OTHER);
    for (name, value) in [("cache-control", "no-store"), ("referrer-policy", "no-referrer")] {
        assert_eq!(first.headers()[name], value);
    }
    assert!(!first.headers().contains_key("access-control-allow-origin"), "no other page may read it");
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    let session = location.strip_prefix(&format!("{PAGE}#access_token=")).unwrap();
    let (access, session) = session.split_once("&expires_in=3600&refresh_token=").unwrap();
    let (refresh, kind) = session.split_once('&').unwrap();
    assert_eq!((access.split('.').count(), kind), (3, "token_type=bearer"));
    assert_eq!(json_of(renew(&door, refresh).await).await["user"]["id"], ID, "it can be renewed");

    let second = call(&door, "GET", &path, "").await;
    assert_eq!(second.status(), StatusCode::GONE);
    assert_eq!(second.headers()["cache-control"], "no-store");
    let page = text_of(second).await;
    assert!(page.contains("has been used") && page.contains("cargo xtask sign-in"), "{page}");
    let unknown = call(&door, "GET", "/go/000000", "").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert!(text_of(unknown).await.contains("cargo xtask sign-in"));
}

#[tokio::test]
async fn looking_at_an_address_does_not_use_it_up() {
    let door = door().await;
    let path = address(&door).await;
    assert_eq!(call(&door, "HEAD", &path, "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let guess = Request::get(&path).header("sec-purpose", "prefetch;prerender").body(Body::empty()).unwrap();
    assert_eq!(door.clone().oneshot(guess).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(call(&door, "GET", &path, "").await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn only_the_service_key_makes_an_address() {
    let door = door().await;
    let session =
        call(&door, "POST", "/auth/v1/token?grant_type=password", r#"{"email":"a@example.com","password":"secret"}"#);
    let admin = json_of(session.await).await["access_token"].as_str().unwrap().to_owned();
    for key in ["", "x", &api_key("anon"), &admin] {
        let refused = generate_link(&door, key, "a@example.com", PAGE).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{key}");
    }
    let service = api_key("service_role");
    for (email, page, status) in [
        ("b@example.com", PAGE, StatusCode::NOT_FOUND),
        ("a@example.com", "https://example.com/", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(generate_link(&door, &service, email, page).await.status(), status);
    }
}
