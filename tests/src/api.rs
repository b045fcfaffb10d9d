//! The HTTP API as an admin, a member or a stranger.

use std::{fs::OpenOptions, io::Write as _, time::Duration};

use reqwest::{
    Method, RequestBuilder,
    header::{HeaderMap, LOCATION, RETRY_AFTER},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stack::Stack;

/// One caller per role.
pub struct Api {
    http: reqwest::Client,
    base: String,
    admin_token: String,
    member_token: String,
}

/// Who calls.
#[derive(Clone, Copy)]
pub enum As {
    /// Starts and stops runs.
    Admin,
    /// Looks, and lets people in.
    Member,
    /// Has no token.
    Nobody,
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body: text where it isn't JSON.
    pub body: Value,
}

impl Api {
    /// The API of a stack, for its admin and its member.
    pub fn new(stack: &Stack) -> Self {
        Self {
            http: crate::http(),
            base: stack.http_url.clone(),
            admin_token: stack.admin_token.clone(),
            member_token: stack.member_token.clone(),
        }
    }

    /// A request that isn't sent yet.
    pub fn request(&self, who: As, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match who {
            As::Admin => request.bearer_auth(&self.admin_token),
            As::Member => request.bearer_auth(&self.member_token),
            As::Nobody => request,
        }
    }

    /// Sends a GET.
    pub async fn get(&self, who: As, path: &str) -> Answer {
        Answer::to(self.request(who, Method::GET, path)).await
    }

    /// Sends a GET and follows no redirect; the answer, and where it leads.
    pub async fn led_by(&self, who: As, path: &str) -> (Answer, String) {
        let staying = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().timeout(crate::AN_ANSWER).redirect(staying).build().expect("a client");
        let (admin_token, member_token) = (self.admin_token.clone(), self.member_token.clone());
        let staying = Self { http, base: self.base.clone(), admin_token, member_token };
        let answer = staying.get(who, path).await;
        let location = answer.headers.get(LOCATION).map(|location| location.to_str().unwrap().to_owned());
        (answer, location.unwrap_or_default())
    }

    /// Sends a POST without a body.
    pub async fn post(&self, who: As, path: &str) -> Answer {
        Answer::to(self.request(who, Method::POST, path)).await
    }

    /// Sends a POST with a JSON body.
    pub async fn post_json(&self, who: As, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(who, Method::POST, path).json(body)).await
    }

    /// Starts a run as an admin; the run's id.
    pub async fn start(&self, path: &str) -> String {
        let started = self.post(As::Admin, path).await;
        assert_eq!(started.status, 202, "{started:?}");
        assert!(started.body["message"].is_string(), "{started:?}");
        started.body["runId"].as_str().expect("a start names its run").to_owned()
    }

    /// `GET /api/qrapp/runs/{id}`.
    pub async fn run(&self, run_id: &str) -> Value {
        self.get(As::Member, &format!("/api/qrapp/runs/{run_id}")).await.ok()
    }

    /// Syncs one order as an admin; the answer's body.
    pub async fn sync(&self, order_id: &str) -> Value {
        self.post(As::Admin, &format!("/api/ghl/orders/{order_id}")).await.ok()
    }
}

/// Between two tries of a request that the gateway refuses.
pub(crate) const THROTTLED: Duration = Duration::from_millis(200);

/// Whether the gateway has refused a request, so that no function saw it. In the smallest account few webhooks may come at once.
pub(crate) fn is_throttled(status: u16, body: &Value) -> bool {
    status == 429 && *body == json!({ "message": "Too Many Requests" })
}

/// Refusals are kept in the file `ANSWERS_LOG`, where the suite `traces` looks for what mustn't be in them.
fn keep(status: u16, body: &str) {
    let Some(path) = std::env::var_os("ANSWERS_LOG") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("ANSWERS_LOG can be written");
    writeln!(file, "{status} {body}").expect("ANSWERS_LOG can be written");
}

impl Answer {
    /// Sends a request and reads what comes; as often as the gateway lets it wait, as GHL does with its webhooks.
    pub async fn to(request: RequestBuilder) -> Self {
        loop {
            let answer = Self::once(request.try_clone().expect("a body that can be sent again")).await;
            if !is_throttled(answer.status, &answer.body) {
                return answer;
            }
            sleep(THROTTLED).await;
        }
    }

    async fn once(request: RequestBuilder) -> Self {
        let answer = request.send().await.expect("the HTTP API answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("a body");
        if status >= 400 {
            keep(status, &text);
        }
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    /// The body of a 200.
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }

    /// A refusal in the documented form: exactly `error`, `code` and `requestId` beside the `extra` fields.
    pub fn refused(&self, status: u16, code: &str, extra: &[&str]) {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{self:?}");
        let words = |field: &str| self.body[field].as_str().is_some_and(|text| !text.trim().is_empty());
        assert!(words("error") && words("requestId"), "{self:?}");
        let mut fields: Vec<_> = self.body.as_object().expect("an object").keys().map(String::as_str).collect();
        fields.retain(|field| !["error", "code", "requestId"].contains(field));
        assert_eq!(fields, extra, "{self:?}");
    }

    /// `Retry-After` in seconds.
    pub fn retry_after(&self) -> u64 {
        let header = self.headers.get(RETRY_AFTER).unwrap_or_else(|| panic!("no Retry-After: {self:?}"));
        header.to_str().unwrap().parse().expect("whole seconds")
    }
}
