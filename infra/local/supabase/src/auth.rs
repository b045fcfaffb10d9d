//! Signs the demo users in with tokens like those of Supabase Auth, and renews their sessions.
//!
//! A refresh token is a JWT that says whose session it renews, how long each access token is valid and when the session ends
//! for good (as with Supabase's time-boxed sessions). So nothing is kept, sessions outlive a restart, and a test that knows
//! the secret makes sessions as short as it needs them.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Supabase's default.
const VALID_FOR_SECONDS: u64 = 3600;

/// How long a session that was signed in can be renewed.
const SESSION_SECONDS: u64 = 30 * 24 * 3600;

/// Of refresh tokens: neither kind of token passes for the other.
const REFRESH_AUDIENCE: &str = "refresh";

/// Somebody who may sign in.
#[derive(Clone)]
pub(crate) struct User {
    email: String,
    password: String,
    role: String,
    id: String,
}

impl FromStr for User {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = given.split(':').collect();
        let &[email, password, role, id] = parts.as_slice() else {
            return Err("a user is email:password:role:id".to_owned());
        };
        Ok(Self { email: email.to_owned(), password: password.to_owned(), role: role.to_owned(), id: id.to_owned() })
    }
}

pub(crate) struct Auth {
    key: EncodingKey,
    decoding_key: DecodingKey,
    url: String,
    users: Vec<User>,
}

#[derive(Deserialize)]
pub(crate) struct Grant {
    #[serde(default)]
    grant_type: String,
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    refresh_token: String,
}

/// A refresh token's claims.
#[derive(Deserialize, Serialize)]
struct Renewal {
    aud: String,
    /// The user's id.
    sub: String,
    /// How long an access token is valid, in seconds.
    valid_for: u64,
    /// When the session ends for good, in seconds since the Unix epoch.
    exp: u64,
}

impl Renewal {
    /// Of a session that begins now.
    fn of(user: &User) -> Self {
        Self {
            aud: REFRESH_AUDIENCE.to_owned(),
            sub: user.id.clone(),
            valid_for: VALID_FOR_SECONDS,
            exp: now() + SESSION_SECONDS,
        }
    }
}

/// An API key's claims.
#[derive(Deserialize)]
struct Key {
    role: String,
}

impl Auth {
    pub(crate) fn new(jwt_secret: &str, supabase_url: &str, users: Vec<User>) -> Self {
        let key = EncodingKey::from_secret(jwt_secret.as_bytes());
        let decoding_key = DecodingKey::from_secret(jwt_secret.as_bytes());
        Self { key, decoding_key, url: supabase_url.to_owned(), users }
    }

    /// Where this server answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn knows(&self, email: &str) -> bool {
        self.users.iter().any(|user| user.email == email)
    }

    /// Whether it is the project's service key.
    pub(crate) fn is_service_key(&self, key: &str) -> bool {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_aud = false;
        decode::<Key>(key, &self.decoding_key, &validation).is_ok_and(|key| key.claims.role == "service_role")
    }

    /// A new session of a user, as Supabase hands it over in a page's fragment.
    pub(crate) fn sign_in_fragment(&self, email: &str) -> Result<String> {
        let user = self.users.iter().find(|user| user.email == email).context("nobody has this address")?;
        let session = self.session(user, &Renewal::of(user))?;
        let text = |name: &str| session.get(name).and_then(Value::as_str).context("a session has tokens");
        Ok(format!(
            "access_token={}&expires_in={VALID_FOR_SECONDS}&refresh_token={}&token_type=bearer",
            text("access_token")?,
            text("refresh_token")?,
        ))
    }

    fn signed_in(&self, credentials: &Credentials) -> Option<(&User, Renewal)> {
        let known = |user: &&User| user.email == credentials.email && user.password == credentials.password;
        let user = self.users.iter().find(known)?;
        Some((user, Renewal::of(user)))
    }

    fn renewed(&self, refresh_token: &str) -> Option<(&User, Renewal)> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&[REFRESH_AUDIENCE]);
        let renewal = decode::<Renewal>(refresh_token, &self.decoding_key, &validation).ok()?.claims;
        Some((self.users.iter().find(|user| user.id == renewal.sub)?, renewal))
    }

    fn session(&self, user: &User, renewal: &Renewal) -> Result<Value, jsonwebtoken::errors::Error> {
        let now = now();
        let expires_at = now + renewal.valid_for;
        let claims = json!({
            "iss": format!("{}/auth/v1", self.url),
            "sub": user.id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": user.email,
            "app_metadata": { "role": user.role },
            "user_metadata": {},
            "iat": now,
            "exp": expires_at,
        });
        Ok(json!({
            "access_token": encode(&Header::default(), &claims, &self.key)?,
            "token_type": "bearer",
            "expires_in": renewal.valid_for,
            "expires_at": expires_at,
            "refresh_token": encode(&Header::default(), renewal, &self.key)?,
            "user": { "id": user.id, "email": user.email, "app_metadata": { "role": user.role } },
        }))
    }
}

pub(crate) async fn token(
    State(auth): State<Arc<Auth>>,
    Query(grant): Query<Grant>,
    Json(credentials): Json<Credentials>,
) -> Response {
    let granted = match grant.grant_type.as_str() {
        "password" => auth.signed_in(&credentials).ok_or(("invalid_credentials", "Invalid login credentials")),
        "refresh_token" => {
            auth.renewed(&credentials.refresh_token).ok_or(("refresh_token_not_found", "Invalid Refresh Token"))
        }
        _ => Err(("unsupported_grant_type", "Only password and refresh_token are served here")),
    };
    let (user, renewal) = match granted {
        Ok(granted) => granted,
        Err((code, message)) => return refused(code, message),
    };
    match auth.session(user, &renewal) {
        Ok(session) => Json(session).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Supabase forgets the session; here there is none to forget, and the page drops its token itself.
pub(crate) async fn logout() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// The tokens are signed with a shared secret, which is no public key.
pub(crate) async fn jwks() -> Json<Value> {
    Json(json!({ "keys": [] }))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn refused(code: &str, message: &str) -> Response {
    let body = json!({ "code": 400, "error_code": code, "msg": message });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
