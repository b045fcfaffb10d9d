//! One call: keys, time-out, and how an answer is read.

use std::time::Duration;

use domain::LocationId;
use postgrest::Postgrest;
use postgrest_reqwest::{Client, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use settings::{ExposeSecret as _, Secret};

use crate::error::Error;

/// Longest wait for one call, connection included. Statements themselves give up on locks after 5 s.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The database of one location, behind its SQL functions.
pub struct Database {
    postgrest: Postgrest,
    http: Client,
    key: Secret,
    location_id: LocationId,
}

impl Database {
    /// The database behind `supabase_url` (without `/rest/v1`), reached with the service key.
    ///
    /// # Errors
    /// A text if no HTTP client can be made.
    pub fn new(supabase_url: &str, key: Secret, location_id: LocationId) -> Result<Self, String> {
        let postgrest = Postgrest::new(format!("{}/rest/v1", supabase_url.trim_end_matches('/')));
        // `postgrest`'s own client would follow a redirect to any host, and take the key and the buyers along.
        let http = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT).build();
        let http = http.map_err(|_| "no HTTP client can be made".to_owned())?;
        Ok(Self { postgrest, http, key, location_id })
    }

    /// Whose rows these are.
    #[must_use]
    pub const fn location_id(&self) -> &LocationId {
        &self.location_id
    }

    /// Calls a SQL function; the location is added to every request. A key that is refused is read anew, once.
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
        let key = self.key.get().await?;
        let first = self.send(function, &body, key.expose_secret()).await;
        let answer = match first {
            Err(Error::Refused { status: 401, .. }) => {
                let key = self.key.refresh().await?;
                self.send(function, &body, key.expose_secret()).await?
            }
            other => other?,
        };
        serde_json::from_slice(&answer).map_err(|source| Error::Unexpected { function, source })
    }

    async fn send(&self, function: &'static str, body: &str, key: &str) -> Result<Vec<u8>, Error> {
        let mut request = self.postgrest.rpc(function, body).build().header("apikey", key);
        // New keys (sb_secret_...) aren't JWTs and only go into `apikey`; legacy ones are sent as bearer too.
        if key.starts_with("eyJ") {
            request = request.bearer_auth(key);
        }
        let no_answer =
            |error: postgrest_reqwest::Error| Error::NoAnswer { function, source: Box::new(error.without_url()) };
        let response = self.http.execute(request.build().map_err(no_answer)?).await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let answer = response.bytes().await.map_err(no_answer)?;
        if (200..300).contains(&status) {
            return Ok(answer.to_vec());
        }
        let refusal: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let sqlstate = refusal.get("code").and_then(Value::as_str).unwrap_or("-").to_owned();
        let hint = (sqlstate == "22023").then(|| refusal.get("message")?.as_str().map(str::to_owned)).flatten();
        Err(Error::Refused { function, status, sqlstate, hint })
    }
}

#[cfg(test)]
mod tests {
    use domain::FailureClass::{self, Auth, Permanent, Transient};
    use wiremock::matchers::{body_json, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    fn database(url: &str, key: &str) -> Database {
        Database::new(url, Secret::fixed("SUPABASE_SERVICE_ROLE_KEY", key), LocationId::try_new("loc").unwrap())
            .unwrap()
    }

    #[tokio::test]
    async fn every_request_names_its_location_and_carries_the_key() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/rest/v1/rpc/purge"))
            .and(header("apikey", "eyJinvented"))
            .and(header("authorization", "Bearer eyJinvented"))
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

    #[tokio::test]
    async fn nobody_there_is_transient() {
        let error = database("http://127.0.0.1:1", "k").call::<Value>("purge", json!({})).await.unwrap_err();
        assert_eq!(error.class(), Transient);
    }
}
