//! A running fake and a caller for it.

use fake_ghl::{FakeGhl, Options};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

pub(crate) struct Caller {
    pub(crate) fake: FakeGhl,
    pub(crate) options: Options,
    pub(crate) http: Client,
}

impl Caller {
    pub(crate) async fn start(options: Options) -> Self {
        let fake = FakeGhl::start(&options).await.unwrap();
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { fake, options, http }
    }

    /// A right GHL call; `query` without `?`, the location added.
    pub(crate) fn ghl(&self, path: &str, query: &str) -> RequestBuilder {
        let key = if path.starts_with("/products") { "locationId" } else { "altType=location&altId" };
        let url = format!("{}{path}?{key}={}&{query}", self.fake.url(), self.options.location_id);
        self.http.get(url).bearer_auth(&self.options.token).header("version", "2021-07-28")
    }

    pub(crate) async fn get(&self, path: &str, query: &str) -> (StatusCode, Value) {
        let answer = self.ghl(path, query).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub(crate) async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/_control/{path}", self.fake.url());
        let request = self.http.request(method, url);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {} {:?}", answer.status(), answer.text().await);
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    pub(crate) async fn fault(&self, rule: Value) {
        self.control(Method::POST, "faults", rule).await;
    }
}
