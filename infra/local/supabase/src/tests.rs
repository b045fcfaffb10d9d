//! The doors, with a tiny server in PostgREST's place.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::Response;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

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
    router(Arc::new(Auth::new("key", "http://127.0.0.1:1", users)), Arc::new(Proxy::new(&url).unwrap()))
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
