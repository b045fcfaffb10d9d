//! The stack's own secrets, for tests that forge what only their owner could make.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stack::{Stack, beside};

/// `keys.json` beside `stack.json`.
#[derive(Deserialize)]
pub struct Keys {
    /// Signs access tokens.
    pub jwt_secret: String,
    /// GHL's private integration token.
    pub ghl_token: String,
    /// Shared with workflow webhooks.
    pub webhook_secret: String,
    /// Signs tickets to the socket.
    pub ws_ticket_secret: String,
    /// The admin's user id.
    pub admin_id: String,
    /// With which the member signs in.
    pub member_password: String,
}

impl Keys {
    /// Those of the stack under test.
    pub fn of_the_stack() -> Self {
        Self::at(&beside("keys.json"))
    }

    /// Those in this file.
    pub fn at(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} lacks keys: {error}", path.display()))
    }
}

/// Seconds since the Unix epoch.
pub fn now() -> i64 {
    get_current_timestamp().try_into().unwrap()
}

/// The claims of a good token of an admin.
pub fn claims(stack: &Stack) -> Value {
    json!({
        "iss": format!("{}/auth/v1", stack.supabase_url()), "aud": "authenticated", "role": "authenticated",
        "sub": "00000000-0000-4000-8000-00000000feed", "exp": now() + 600, "iat": now(),
        "app_metadata": { "role": "admin" }, "user_metadata": {},
    })
}

/// A JWT of these claims.
pub fn sign(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A token without a signature, whose header says what it likes.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}
