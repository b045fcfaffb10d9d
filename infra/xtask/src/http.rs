//! A small HTTP client, for the local stack and for looking at the real GHL and Supabase.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};
use ureq::tls::{RootCerts, TlsConfig};

/// Longer than any function may take.
const TIMEOUT: Duration = Duration::from_secs(35);

pub(crate) struct Http {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// What came back, whatever the status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    /// `Null` if the body isn't JSON.
    pub(crate) body: Value,
}

impl Http {
    pub(crate) fn new(base: &str, token: Option<&str>) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            // A key goes to the address it was given for, and to no other.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Self { agent: config.into(), base: base.trim_end_matches('/').to_owned(), token: token.map(str::to_owned) }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], "")
    }

    pub(crate) fn post(&self, path: &str) -> Result<Answer> {
        self.send(Method::POST, path, &[], "")
    }

    /// What a browser shows.
    pub(crate) fn page(&self, path: &str) -> Result<Page> {
        let url = format!("{}{path}", self.base);
        let request = Request::builder().method(Method::GET).uri(&url).body(())?;
        let mut response = self.agent.run(request).with_context(|| format!("no answer from {url}"))?;
        let policy = response.headers().get("content-security-policy").and_then(|value| value.to_str().ok());
        let policy = policy.unwrap_or_default().to_owned();
        let text = response.body_mut().read_to_string().with_context(|| format!("{url} broke off"))?;
        Ok(Page { status: response.status().as_u16(), policy, text })
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &[], "")
    }

    pub(crate) fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(&url).header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned())?;
        let mut response = self.agent.run(request).with_context(|| format!("no answer from {url}"))?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.body_mut().read_to_string().with_context(|| format!("{url} broke off"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status: response.status().as_u16(), retry_after, body })
    }
}

/// A page as a browser gets it.
pub(crate) struct Page {
    pub(crate) status: u16,
    /// Its content security policy; empty without one.
    pub(crate) policy: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The message for a person, as the design's error body has it.
    pub(crate) fn message(&self) -> String {
        let said = self.body.get("error").or_else(|| self.body.get("message")).and_then(Value::as_str);
        format!("{} ({})", said.unwrap_or("no message"), self.status)
    }
}

/// A number in a JSON object; 0 if it isn't there.
pub(crate) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// A text in a JSON object; empty if it isn't there.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}
