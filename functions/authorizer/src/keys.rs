//! Supabase's public keys (JWKS), cached.

use std::{collections::HashMap, time::Duration};

use http_client::HttpClient;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm},
};
use reqwest::Method;
use serde_json::Value;
use thiserror::Error;
use tokio::{sync::Mutex, time::Instant};

/// How long keys are used before they are read again. Supabase's own edge caches them as long.
const FRESH: Duration = Duration::from_secs(600);

/// The keys are read for an unknown key id no more often than this: anybody can send tokens with invented key ids.
const READ_FOR_UNKNOWN_AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// The keys are read again no sooner than this after a failed read.
const RETRY_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// Longest read of the keys, connection included.
const READ_WITHIN: Duration = Duration::from_secs(4);

/// A public key and the only algorithm it verifies.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    pub(crate) key: DecodingKey,
    pub(crate) algorithm: Algorithm,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    #[error("Supabase has no signing key with this id")]
    Unknown,
    #[error("Supabase's signing keys can't be read from {url}: check SUPABASE_URL")]
    Unreadable {
        url: String,
        #[source]
        source: ReadError,
    },
    #[error("Supabase's signing keys could not be read from {url} less than 5 s ago")]
    RecentlyUnreadable { url: String },
}

/// Why Supabase's keys can't be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is JSON, but not a key set")]
    NoKeySet,
}

/// Supabase's signing keys, cached.
pub(crate) struct SigningKeys {
    http: HttpClient,
    url: String,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    keys: HashMap<String, VerifyingKey>,
    read_at: Option<Instant>,
    failed_at: Option<Instant>,
}

impl SigningKeys {
    pub(crate) fn new(url: String, http: HttpClient) -> Self {
        Self { http, url, cache: Mutex::default() }
    }

    /// The key with the id `kid`. A cached one stays in use while Supabase can't be reached.
    pub(crate) async fn get(&self, kid: &str) -> Result<VerifyingKey, KeyError> {
        let mut cache = self.cache.lock().await;
        let known = cache.keys.get(kid).cloned();
        let wait = if known.is_some() { FRESH } else { READ_FOR_UNKNOWN_AT_MOST_EVERY };
        if is_within(cache.read_at, wait) {
            return known.ok_or(KeyError::Unknown);
        }
        if is_within(cache.failed_at, RETRY_AT_MOST_EVERY) {
            return known.ok_or_else(|| KeyError::RecentlyUnreadable { url: self.url.clone() });
        }
        match self.read().await {
            Ok(keys) => {
                *cache = Cache { keys, read_at: Some(Instant::now()), failed_at: None };
                cache.keys.get(kid).cloned().ok_or(KeyError::Unknown)
            }
            Err(source) => {
                cache.failed_at = Some(Instant::now());
                if known.is_some() {
                    let error = telemetry::chain(&source);
                    tracing::warn!(
                        error,
                        "Supabase's signing keys could not be read again; the cached ones stay in use"
                    );
                }
                known.ok_or_else(|| KeyError::Unreadable { url: self.url.clone(), source })
            }
        }
    }

    async fn read(&self) -> Result<HashMap<String, VerifyingKey>, ReadError> {
        let set: Value =
            self.http.request(Method::GET, &self.url, READ_WITHIN).send().await?.error_for_status()?.json().await?;
        // RFC 7517, 5.1: a set has `keys`, even if the list is empty. An answer without it says nothing about the keys.
        let keys = set.get("keys").and_then(Value::as_array).ok_or(ReadError::NoKeySet)?;
        // One by one: a key of a kind we don't know must not hide the others.
        Ok(keys.iter().filter_map(usable).collect())
    }
}

/// A key that signs tokens by an algorithm we accept. Symmetric keys have no place in a public set.
fn usable(key: &Value) -> Option<(String, VerifyingKey)> {
    let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
    let (algorithm, declared) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|algorithm| algorithm != declared) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((jwk.common.key_id?, VerifyingKey { key, algorithm }))
}

fn is_within(moment: Option<Instant>, span: Duration) -> bool {
    moment.is_some_and(|moment| moment.elapsed() < span)
}
