//! A real PostgREST before a test's database, under the path that Supabase gives it: the way production calls.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::IntoResponse;
use axum::serve::ListenerExt;
use database::Database;
use domain::LocationId;
use http_client::HttpClient;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::{Client, StatusCode};
use serde_json::json;
use settings::Secret;
use tokio::process::{Child, Command};

use crate::harness::{LOCATION, TestDatabase, supabase};

/// Longer than PostgREST demands; good for this test's servers alone.
const JWT_SECRET: &str = "a secret that signs the keys of the database tests";

/// PostgREST and the door before it, for one test.
pub(crate) struct PostgRest {
    process: Child,
    door: Arc<Door>,
    url: String,
}

/// Supabase's gateway: its `/rest/v1/...` is PostgREST's `/...`.
struct Door {
    http: Client,
    upstream: String,
    calls: AtomicUsize,
}

impl PostgRest {
    /// Starts it with as many connections as callers who are to work at once, and waits until it answers.
    pub(crate) async fn start(database: &TestDatabase, callers: usize) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("postgrest-{port}.log"));
        let output = std::fs::File::create(&log).expect("PostgREST's log can be written");
        let mut process = Command::new(program())
            // As the local stack is configured, and a project.
            .arg(supabase().join("local/postgrest.conf"))
            // By the environment, not by arguments: those stand in the list of processes.
            .env("PGRST_DB_URI", database.url_for_postgrest().await)
            .env("PGRST_DB_POOL", callers.to_string())
            .envs([("PGRST_SERVER_HOST", "127.0.0.1"), ("PGRST_SERVER_PORT", &port.to_string())])
            .env("PGRST_JWT_SECRET", JWT_SECRET)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .expect("TEST_POSTGREST can be run");
        let door =
            Door { http: Client::new(), upstream: format!("http://127.0.0.1:{port}"), calls: AtomicUsize::new(0) };
        if !door.opens(&mut process).await {
            panic!("PostgREST doesn't answer:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        std::fs::remove_file(&log).ok();
        let door = Arc::new(door);
        Self { process, url: Arc::clone(&door).serve().await, door }
    }

    /// One more client, with connections of its own, as each instance of a function has.
    pub(crate) fn client(&self) -> Database {
        let key = Secret::fixed("SUPABASE_SERVICE_ROLE_KEY", api_key("service_role"));
        Database::new(&self.url, key, LocationId::try_new(LOCATION).unwrap(), HttpClient::new().unwrap())
    }

    /// Where the original app finds the tables.
    pub(crate) fn tables(&self) -> String {
        format!("{}/rest/v1", self.url)
    }

    /// Calls that went through the door.
    pub(crate) fn calls(&self) -> usize {
        self.door.calls.load(Ordering::Relaxed)
    }

    /// Ends it, so that its sessions have reported what happened in them once the database has no others.
    pub(crate) async fn stop(mut self) {
        self.process.kill().await.expect("PostgREST can be stopped");
    }
}

/// A Supabase API key of the older form: a token whose role is a database role.
pub(crate) fn api_key(role: &str) -> String {
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &json!({ "role": role }), &key).unwrap()
}

fn program() -> PathBuf {
    let program = std::env::var_os("TEST_POSTGREST").map(PathBuf::from);
    program
        .filter(|program| program.is_file())
        .expect("TEST_POSTGREST must name the PostgREST program; `cargo xtask test database` installs one and names it")
}

impl Door {
    /// PostgREST answers 503 until it knows the tables and functions.
    async fn opens(&self, process: &mut Child) -> bool {
        for _ in 0..600 {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            if self.http.get(&self.upstream).send().await.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    async fn serve(self: Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Without this an answer's second packet waits 40 ms for the client's acknowledgement.
        let listener = listener.tap_io(|connection| connection.set_nodelay(true).unwrap());
        let app = axum::Router::new().fallback(pass_on).with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }
}

async fn pass_on(
    State(door): State<Arc<Door>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    door.calls.fetch_add(1, Ordering::Relaxed);
    let path = uri.path_and_query().and_then(|path| path.as_str().strip_prefix("/rest/v1")).unwrap_or_default();
    let mut request = door.http.request(method, format!("{}{path}", door.upstream)).body(body);
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, "prefer".parse().unwrap()] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let away = |error: reqwest::Error| (StatusCode::BAD_GATEWAY, error.to_string());
    let answer = request.send().await.map_err(away)?;
    let status = answer.status();
    Ok((status, [(header::CONTENT_TYPE, "application/json")], answer.bytes().await.map_err(away)?))
}
