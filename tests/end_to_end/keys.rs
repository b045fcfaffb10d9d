//! The stack's own secrets, for tests that forge what only their owner could make.

use std::path::Path;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stack::Stack;

/// `keys.json` beside `stack.json`.
#[derive(Deserialize)]
pub(crate) struct Keys {
    pub(crate) jwt_secret: String,
    pub(crate) ghl_token: String,
    pub(crate) webhook_secret: String,
    pub(crate) ws_ticket_secret: String,
}

impl Keys {
    pub(crate) fn of_the_stack() -> Self {
        let stack = std::env::var_os("STACK_JSON").expect("STACK_JSON is set");
        let path = Path::new(&stack).with_file_name("keys.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("keys.json holds the keys")
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    get_current_timestamp().try_into().unwrap()
}

/// The claims of a good token of an admin.
pub(crate) fn claims(stack: &Stack) -> Value {
    let supabase = stack.postgrest_url.trim_end_matches("/rest/v1");
    json!({
        "iss": format!("{supabase}/auth/v1"), "aud": "authenticated", "role": "authenticated",
        "sub": "00000000-0000-4000-8000-00000000feed", "exp": now() + 600, "iat": now(),
        "app_metadata": { "role": "admin" }, "user_metadata": {},
    })
}

pub(crate) fn sign(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A token without a signature, whose header says what it likes.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}
