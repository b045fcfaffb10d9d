//! Signs the demo users in with tokens like those of Supabase Auth.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Supabase's default.
const VALID_FOR_SECONDS: u64 = 3600;

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
    issuer: String,
    users: Vec<User>,
}

#[derive(Deserialize)]
pub(crate) struct Grant {
    #[serde(default)]
    grant_type: String,
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    email: String,
    password: String,
}

impl Auth {
    pub(crate) fn new(jwt_secret: &str, supabase_url: &str, users: Vec<User>) -> Self {
        let key = EncodingKey::from_secret(jwt_secret.as_bytes());
        Self { key, issuer: format!("{supabase_url}/auth/v1"), users }
    }

    fn session(&self, user: &User) -> Result<Value, jsonwebtoken::errors::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let expires_at = now + VALID_FOR_SECONDS;
        let claims = json!({
            "iss": self.issuer,
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
            "expires_in": VALID_FOR_SECONDS,
            "expires_at": expires_at,
            "refresh_token": "",
            "user": { "id": user.id, "email": user.email, "app_metadata": { "role": user.role } },
        }))
    }
}

pub(crate) async fn token(
    State(auth): State<Arc<Auth>>,
    Query(grant): Query<Grant>,
    Json(credentials): Json<Credentials>,
) -> Response {
    if grant.grant_type != "password" {
        return refused("unsupported_grant_type", "Only grant_type=password is served here");
    }
    let known = |user: &&User| user.email == credentials.email && user.password == credentials.password;
    let Some(user) = auth.users.iter().find(known) else {
        return refused("invalid_credentials", "Invalid login credentials");
    };
    match auth.session(user) {
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

fn refused(code: &str, message: &str) -> Response {
    let body = json!({ "code": 400, "error_code": code, "msg": message });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
