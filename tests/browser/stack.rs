//! The stack under test, and its fake GHL.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

/// What these tests need of `stack.json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stack {
    pub(crate) dashboard_url: String,
    pub(crate) websocket_url: String,
    pub(crate) ghl_url: String,
    pub(crate) member_token: String,
    pub(crate) location_id: String,
    postgrest_url: String,
    database_url: String,
}

impl Stack {
    pub(crate) fn running() -> Self {
        read(&described_by())
    }

    /// The page's address without the session that `dashboard_url` carries.
    pub(crate) fn page_url(&self) -> &str {
        self.dashboard_url.split('#').next().unwrap()
    }

    /// The project's address.
    pub(crate) fn supabase_url(&self) -> &str {
        self.postgrest_url.trim_end_matches("/rest/v1")
    }

    /// The page's address with a member's session.
    pub(crate) fn member_url(&self) -> String {
        format!("{}#access_token={}&token_type=bearer", self.page_url(), self.member_token)
    }

    /// An admin's access token that ends in so many seconds; `changes` are other claims.
    pub(crate) fn token(&self, seconds: u64, changes: Value) -> String {
        let mut claims = json!({
            "iss": format!("{}/auth/v1", self.supabase_url()), "aud": "authenticated", "sub": key("admin_id"),
            "email": "admin@example.com", "exp": get_current_timestamp() + seconds, "app_metadata": { "role": "admin" },
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sign(&claims)
    }

    /// A refresh token of the admin's, good for so many seconds, which brings access tokens of `valid_for` seconds each.
    pub(crate) fn refresh_token(seconds: u64, valid_for: u64) -> String {
        let exp = get_current_timestamp() + seconds;
        sign(&json!({ "aud": "refresh", "sub": key("admin_id"), "valid_for": valid_for, "exp": exp }))
    }

    /// GHL has its first orders again, whatever the tests before this one have left.
    pub(crate) async fn reset_ghl(&self) {
        self.ghl("POST", "reset", Some(json!({}))).await;
    }

    /// Orders that GHL has.
    pub(crate) async fn some_orders(&self) -> [String; 3] {
        let orders: Value = self.ghl("GET", "orders", None).await;
        [7, 11, 13].map(|at| orders["orders"][at].as_str().expect("fake GHL has orders").to_owned())
    }

    /// Changes an order, so that an incremental run fetches it.
    pub(crate) async fn touch(&self, order_id: &str) {
        self.change(order_id, json!({})).await;
    }

    pub(crate) async fn change(&self, order_id: &str, change: Value) {
        self.ghl("PUT", &format!("orders/{order_id}"), Some(change)).await;
    }

    /// GHL doesn't find the order until [`Stack::heal`].
    pub(crate) async fn lose(&self, order_id: &str) {
        let fault = json!({ "endpoint": "detail", "orderId": order_id, "fault": { "kind": "status", "status": 404 } });
        self.ghl("POST", "faults", Some(fault)).await;
    }

    pub(crate) async fn heal(&self) {
        self.ghl("DELETE", "faults", None).await;
    }

    /// Runs statements in the stack's database.
    pub(crate) async fn execute(&self, statements: &str) {
        let client = self.database().await;
        client.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The only value of a query, as text.
    pub(crate) async fn value(&self, query: &str) -> String {
        let row = self.database().await.query_one(&format!("select ({query})::text"), &[]).await;
        row.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
    }

    async fn database(&self) -> tokio_postgres::Client {
        let connected = tokio_postgres::connect(&self.database_url, NoTls).await;
        let (client, connection) = connected.expect("the stack's database answers");
        tokio::spawn(connection);
        client
    }

    async fn ghl(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}/_control/{path}", self.ghl_url);
        let mut request = reqwest::Client::new().request(method.parse().unwrap(), &url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        let text = answer.unwrap_or_else(|error| panic!("{method} {url}: {error}")).text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

fn described_by() -> PathBuf {
    env::var_os("STACK_JSON")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/local/stack.json"), PathBuf::from)
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}. Start a stack first: cargo xtask up", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One of the stack's own secrets, for tests that make what only their owner could.
fn key(name: &str) -> String {
    let keys: Value = read(&described_by().with_file_name("keys.json"));
    keys[name].as_str().unwrap_or_else(|| panic!("keys.json has no {name}")).to_owned()
}

fn sign(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(key("jwt_secret").as_bytes())).unwrap()
}
