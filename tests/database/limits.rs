//! What a project cuts off does so here: statements that take too long, locks that don't come free, rows above a thousand.

use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::postgrest::{PostgRest, api_key};

/// Beside ours: something that takes long, and something that answers with many rows.
const FUNCTIONS: &str = "
    create function public.sleep(seconds float8) returns void language sql as 'select pg_sleep(seconds)';
    create function public.many() returns setof int language sql as 'select generate_series(1, 1001)';
    grant execute on function public.sleep(float8), public.many() to anon, authenticated, service_role";

async fn ask(postgrest: &PostgRest, role: &str, path: &str, body: Option<Value>) -> Response {
    let url = format!("{}/{path}", postgrest.tables());
    let request = match body {
        Some(body) => Client::new().post(url).json(&body),
        None => Client::new().get(url),
    };
    request.bearer_auth(api_key(role)).send().await.unwrap()
}

/// The server's key has no limit of its own: its login's holds.
#[tokio::test]
async fn a_statement_of_nine_seconds_is_cancelled() {
    let database = TestDatabase::new().await;
    database.execute(FUNCTIONS).await;
    let postgrest = PostgRest::start(&database, 4).await;
    let sleep = async |role: &str, seconds: f64| {
        let begun = Instant::now();
        let answer = ask(&postgrest, role, "rpc/sleep", Some(json!({ "seconds": seconds }))).await;
        (answer.status(), answer.text().await.unwrap(), begun.elapsed())
    };
    let (server, person, anybody, shorter) = tokio::join!(
        sleep("service_role", 9.0),
        sleep("authenticated", 9.0),
        sleep("anon", 4.0),
        sleep("service_role", 4.0)
    );
    for ((status, body, took), limit) in [(server, 8), (person, 8), (anybody, 3)] {
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
        assert!(body.contains("57014") && took >= Duration::from_secs(limit), "{took:?}: {body}");
    }
    assert_eq!(shorter.0, StatusCode::NO_CONTENT, "{}", shorter.1);
}

#[tokio::test]
async fn rows_above_a_thousand_are_cut_off() {
    let database = TestDatabase::new().await;
    database.execute(FUNCTIONS).await;
    database.execute("insert into ghl_qr_orders (order_id) select 'o' || n from generate_series(1, 1001) as n").await;
    let postgrest = PostgRest::start(&database, 2).await;
    for (path, body) in [("ghl_qr_orders?select=order_id", None), ("rpc/many", Some(json!({})))] {
        let answer = ask(&postgrest, "service_role", path, body).await;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let rows: Vec<Value> = answer.json().await.unwrap();
        assert_eq!(rows.len(), 1000, "{path}");
    }
}
