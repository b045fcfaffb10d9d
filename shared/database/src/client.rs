//! One call: `postgrest` builds the request, our client sends it with the key, and the answer is read here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::LocationId;
use http_client::HttpClient;
use postgrest::Postgrest;
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use settings::{ExposeSecret as _, Secret};
use tokio::time::timeout;

use crate::error::Error;

/// Longest wait for one call, with its key, its connection and a second try after a refused key. Supabase ends statements after
/// 8 s, and ours give up on locks after 5 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The database of one location, behind its SQL functions.
pub struct Database {
    postgrest: Postgrest,
    http: HttpClient,
    key: Secret,
    location_id: LocationId,
    has_answered: AtomicBool,
}

impl Database {
    /// The database behind `supabase_url` (without `/rest/v1`), reached with the service key.
    #[must_use]
    pub fn new(supabase_url: &str, key: Secret, location_id: LocationId, http: HttpClient) -> Self {
        let postgrest = Postgrest::new(format!("{}/rest/v1", supabase_url.trim_end_matches('/')));
        Self { postgrest, http, key, location_id, has_answered: AtomicBool::new(false) }
    }

    /// Whose rows these are.
    #[must_use]
    pub const fn location_id(&self) -> &LocationId {
        &self.location_id
    }

    /// Whether it has answered this process before: then the key is read, and a connection made, which a first call takes longer for.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Calls a SQL function; the location is added to every request. A refused key is read again, once.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        function: &'static str,
        request: impl Serialize,
    ) -> Result<T, Error> {
        let mut request = serde_json::to_value(request).map_err(|source| Error::Unexpected { function, source })?;
        if let Some(fields) = request.as_object_mut() {
            fields.insert("location_id".to_owned(), json!(self.location_id));
        }
        let body = json!({ "request": request }).to_string();
        let answer = timeout(CALL_TIMEOUT, self.answer(function, &body)).await;
        let answer = answer.map_err(|elapsed| Error::no_answer(function, elapsed))??;
        serde_json::from_slice(&answer).map_err(|source| Error::Unexpected { function, source })
    }

    async fn answer(&self, function: &'static str, body: &str) -> Result<Vec<u8>, Error> {
        let key = self.key.get().await?;
        match self.send(function, body, key.expose_secret()).await {
            Err(Error::Refused { status: 401, .. }) => {
                let key = self.key.refresh().await?;
                self.send(function, body, key.expose_secret()).await
            }
            first => first,
        }
    }

    async fn send(&self, function: &'static str, body: &str, key: &str) -> Result<Vec<u8>, Error> {
        let mut request = self.request(function, body)?.header("apikey", key);
        // New keys (sb_secret_...) aren't JWTs and only go into `apikey`; legacy ones are sent as bearer too.
        if key.starts_with("eyJ") {
            request = request.bearer_auth(key);
        }
        let no_answer = |error: reqwest::Error| Error::no_answer(function, error.without_url());
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let answer = response.bytes().await.map_err(no_answer)?;
        self.has_answered.store(true, Ordering::Relaxed);
        if (200..300).contains(&status) {
            return Ok(answer.to_vec());
        }
        let refusal: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let sqlstate = refusal.get("code").and_then(Value::as_str).unwrap_or("-").to_owned();
        let hint = (sqlstate == "22023").then(|| refusal.get("message")?.as_str().map(str::to_owned)).flatten();
        Err(Error::Refused { function, status, sqlstate, hint })
    }

    /// The request as `postgrest` builds it, for a client of ours. `postgrest` has a reqwest of its own, whose TLS is out of
    /// date: it never sees the key, and sends nothing.
    fn request(&self, function: &'static str, body: &str) -> Result<RequestBuilder, Error> {
        let built = self.postgrest.rpc(function, body).build().build();
        let built = built.map_err(|error| Error::no_answer(function, error.without_url()))?;
        let method = Method::from_bytes(built.method().as_str().as_bytes());
        let method = method.map_err(|error| Error::no_answer(function, error))?;
        let mut request = self.http.request(method, built.url().clone(), CALL_TIMEOUT);
        for (name, value) in built.headers() {
            request = request.header(name.as_str(), value.as_bytes());
        }
        let body = built.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        Ok(request.body(body.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region};
    use domain::FailureClass::{self, Auth, Permanent, Transient};
    use wiremock::matchers::{body_json, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    fn database(url: &str, key: &str) -> Database {
        let (key, location_id) = (Secret::fixed("SUPABASE_SERVICE_ROLE_KEY", key), LocationId::try_new("loc").unwrap());
        Database::new(url, key, location_id, HttpClient::new().unwrap())
    }

    #[tokio::test]
    async fn every_request_names_its_location_and_carries_the_key() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/rest/v1/rpc/purge"))
            .and(header("apikey", "eyJinvented"))
            .and(header("authorization", "Bearer eyJinvented"))
            .and(header("accept", "application/json"))
            .and(header("content-type", "application/json"))
            .and(body_json(json!({"request": {"limit": 5, "location_id": "loc"}})))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"deleted": 3})))
            .mount(&server)
            .await;
        let answer: Value = database(&server.uri(), "eyJinvented").call("purge", json!({"limit": 5})).await.unwrap();
        assert_eq!(answer["deleted"], 3);
    }

    #[tokio::test]
    async fn new_keys_are_never_sent_as_bearer() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({})))
            .mount(&server)
            .await;
        let _: Value = database(&server.uri(), "sb_secret_invented").call("purge", json!({})).await.unwrap();
        let request = server.received_requests().await.unwrap().remove(0);
        assert!(request.headers.get("authorization").is_none());
        assert_eq!(request.headers["apikey"], "sb_secret_invented");
    }

    #[tokio::test]
    async fn refusals_are_classed_by_sqlstate_and_status() {
        let table: &[(u16, &str, FailureClass)] = &[
            (500, "55P03", Transient),
            (500, "57014", Transient),
            (500, "40P01", Transient),
            (503, "PGRST001", Transient),
            (400, "22023", Permanent),
            (500, "22P05", Permanent),
            (409, "23505", Permanent),
            (401, "PGRST301", Auth),
            (403, "42501", Auth),
            (404, "PGRST202", Permanent),
        ];
        for &(status, code, class) in table {
            let server = MockServer::start().await;
            let answer = ResponseTemplate::new(status).set_body_json(json!({"code": code, "message": "what is wrong"}));
            Mock::given(method("POST")).respond_with(answer).mount(&server).await;
            let error = database(&server.uri(), "k").call::<Value>("purge", json!({})).await.unwrap_err();
            assert_eq!(error.class(), class, "{status} {code}");
            assert_eq!(error.to_string().contains("what is wrong"), code == "22023", "only our own words are shown");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (server, elsewhere) = (MockServer::start().await, MockServer::start().await);
        let redirect = ResponseTemplate::new(307).insert_header("location", elsewhere.uri());
        Mock::given(method("POST")).respond_with(redirect).mount(&server).await;
        let error = database(&server.uri(), "k").call::<Value>("purge", json!({})).await.unwrap_err();
        assert!(matches!(error, Error::Refused { status: 307, .. }), "{error}");
        assert!(elsewhere.received_requests().await.unwrap().is_empty(), "the key has left for another host");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_10_seconds() {
        // Takes connections, as the system does for it, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let begun = tokio::time::Instant::now();
        let error = database(&url, "k").call::<Value>("purge", json!({})).await.unwrap_err();
        assert_eq!((error.class(), begun.elapsed().as_secs()), (Transient, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_cannot_be_read_counts_for_those_10_seconds() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        // Without time-outs of its own.
        let ssm = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(&url)
            .build();
        let key = Secret::parameter("SUPABASE_SERVICE_ROLE_KEY", "/key", aws_sdk_ssm::Client::from_conf(ssm));
        let database = Database::new(&url, key, LocationId::try_new("loc").unwrap(), HttpClient::new().unwrap());
        let begun = tokio::time::Instant::now();
        let answer = timeout(6 * CALL_TIMEOUT, database.call::<Value>("purge", json!({}))).await.unwrap();
        assert_eq!((answer.unwrap_err().class(), begun.elapsed().as_secs()), (Transient, 10));
    }

    #[tokio::test]
    async fn nobody_there_is_transient() {
        let error = database("http://127.0.0.1:1", "k").call::<Value>("purge", json!({})).await.unwrap_err();
        assert_eq!(error.class(), Transient);
    }

    #[tokio::test]
    async fn no_error_names_the_url() {
        let cut = TcpListener::bind("127.0.0.1:0").unwrap();
        let cut_url = format!("http://{}/secret-path", cut.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut connection = cut.accept().unwrap().0;
            // Without its request the answer would be refused as unasked for.
            let _ = connection.read(&mut [0; 4096]).unwrap();
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").unwrap();
        });
        for url in ["http://127.0.0.1:1/secret-path", "no url: secret-path", &cut_url] {
            let error = database(url, "k").call::<Value>("purge", json!({})).await.unwrap_err();
            assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");
            let mut told = format!("{error:?}");
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                told = format!("{told}\n{error}");
                cause = error.source();
            }
            assert!(!told.contains("secret-path") && !told.contains("rest/v1"), "{url}: {told}");
        }
    }
}
