//! What an answer of GHL or Supabase, or the form of a value, says about the configuration. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;
use ureq::http::Uri;

use crate::http::Answer;
use crate::operate::report::Verdict;
use crate::operate::secret::Secret;

/// The most that a standard parameter of SSM holds.
const LARGEST: usize = 4096;

/// An address that keys are sent to: https, or this machine.
pub(crate) fn address(url: &str) -> Verdict {
    let form = "it must be like https://example.com, without a path".to_owned();
    let uri: Uri = url.parse().map_err(|_| form.clone())?;
    let local = matches!(uri.host(), Some("127.0.0.1" | "localhost"));
    match uri.scheme_str() {
        _ if !matches!(uri.path(), "/" | "") || uri.query().is_some() || uri.host().is_none() => Err(form),
        Some("https") => Ok(url.to_owned()),
        Some("http") if local => Ok(url.to_owned()),
        _ => Err("it must begin with https://, since keys are sent there".to_owned()),
    }
}

pub(crate) fn location(id: &str) -> Verdict {
    let letters = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if letters && (1..=64).contains(&id.len()) {
        return Ok(id.to_owned());
    }
    Err("it must be 1 to 64 letters, digits, '-' or '_'".to_owned())
}

/// `read` names what was asked for: "orders", "products" or "transactions", and the field of the answer that lists them.
pub(crate) fn ghl(answer: &Answer, [read, list]: [&str; 2], location_id: &str) -> Verdict {
    let said = said(&answer.body).to_lowercase();
    Err(match answer.status {
        200 if answer.body.get(list).is_some_and(|rows| rows.is_array() || rows.is_object()) => {
            return Ok(format!("the token reads {read} of {location_id}"));
        }
        200 => "the answer isn't GoHighLevel's: check GHL_API_BASE_URL".to_owned(),
        401 | 403 if said.contains("scope") => {
            format!("the token may not read {read}: give it that scope in GHL (Private Integrations)")
        }
        401 => "GHL_ACCESS_TOKEN is wrong or has run out: make a new one in GHL (Private Integrations)".to_owned(),
        400 | 403 | 422 => format!(
            "the token is not for location {location_id}: GHL_LOCATION_ID and GHL_ACCESS_TOKEN must be of the same sub-account"
        ),
        429 => "GHL's rate limit is used up: wait ten seconds and try again".to_owned(),
        status @ 500.. => format!("GHL is unwell (status {status}): try again later"),
        status => format!("status {status} is no answer of GoHighLevel's: check GHL_API_BASE_URL"),
    })
}

/// A service key by its form, before it is sent anywhere; `jwt_secret` where it is known.
pub(crate) fn key_form(key: &str, supabase_url: &str, jwt_secret: Option<&Secret>) -> Verdict {
    let wanted = "take the secret key (sb_secret_...) or the service_role key (Project Settings, API Keys)";
    if key.starts_with("sb_publishable_") {
        return Err(format!("SUPABASE_SERVICE_ROLE_KEY is the public key: {wanted}"));
    }
    if key.starts_with("sb_secret_") {
        return Ok("a secret key".to_owned());
    }
    let claims = claims(key).ok_or_else(|| format!("SUPABASE_SERVICE_ROLE_KEY is no key of Supabase: {wanted}"))?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if claim("role") != "service_role" {
        let role = if claim("role") == "anon" { "the anon key" } else { "a user's token" };
        return Err(format!("SUPABASE_SERVICE_ROLE_KEY is {role}: {wanted}"));
    }
    let project = supabase_url.strip_prefix("https://").and_then(|rest| rest.strip_suffix(".supabase.co"));
    if project.is_some_and(|project| project != claim("ref")) {
        return Err("SUPABASE_SERVICE_ROLE_KEY is of another project than SUPABASE_URL".to_owned());
    }
    if jwt_secret.is_some_and(|secret| !signed_with(key, secret)) {
        return Err(
            "SUPABASE_JWT_SECRET isn't the one that SUPABASE_SERVICE_ROLE_KEY was signed with: one of them is of \
                    another project, or has been replaced"
                .to_owned(),
        );
    }
    Ok("the service_role key".to_owned())
}

/// Whether a public key is given where anybody can see it.
pub(crate) fn is_public_key(key: &str) -> bool {
    let role = claims(key).and_then(|claims| Some(claims.get("role")?.as_str()? == "anon"));
    key.starts_with("sb_publishable_") || role.unwrap_or(false)
}

/// The answer to a call of one of our SQL functions.
pub(crate) fn service_key(answer: &Answer) -> Verdict {
    let code = answer.body.get("code").and_then(Value::as_str).unwrap_or_default();
    Err(match answer.status {
        200..300 => return Ok("the service key is accepted".to_owned()),
        // The function isn't there, but the key was taken: the migrations are looked at next.
        404 if code.starts_with("PGRST") => return Ok("the service key is accepted".to_owned()),
        401 | 403 if code == "42501" => {
            "SUPABASE_SERVICE_ROLE_KEY is accepted, but it isn't the service role's: take the \
                                         secret key (Project Settings, API Keys)"
                .to_owned()
        }
        401 | 403 => {
            "SUPABASE_SERVICE_ROLE_KEY isn't accepted: it is wrong, of another project, or switched off".to_owned()
        }
        300..500 => "there is no database under SUPABASE_URL: check it (Project Settings, Data API)".to_owned(),
        status => format!("the database doesn't answer (status {status}): is the project paused?"),
    })
}

/// PostgREST's own description, against the functions that the migrations make.
pub(crate) fn migrations(answer: &Answer, required: &[(String, String)]) -> Verdict {
    let Some(paths) = answer.body.get("paths").filter(|_| answer.ok()) else {
        return Err(format!("the list of SQL functions can't be read (status {})", answer.status));
    };
    let there = |function: &str| paths.get(format!("/rpc/{function}")).is_some();
    let missing: Vec<_> = required.iter().filter(|(function, _)| !there(function)).collect();
    if missing.is_empty() {
        return Ok(format!("all {} SQL functions are there", required.len()));
    }
    let named: Vec<_> = missing.iter().map(|(function, file)| format!("{function} ({file})")).collect();
    let (shown, more) = named.split_at(named.len().min(3));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    Err(format!("missing: {}{more}: run cargo xtask migrate", shown.join(", ")))
}

/// How far the public key reaches, in words.
#[derive(Debug, PartialEq)]
pub(crate) enum Openness {
    Closed(String),
    /// The original app's two tables, or one of them, and nothing else: so they stay until the last step.
    OriginalTables(String),
}

/// As the original app made them.
const ORIGINAL_TABLES: [&str; 2] = ["ghl_qr_orders", "ghl_qr_tickets"];

/// The paths behind `/rest/v1/` of our tables and views, by PostgREST's own description, and of our functions.
pub(crate) fn ours(described: &Answer, functions: &[(String, String)]) -> Vec<String> {
    let paths = described.body.get("paths").and_then(Value::as_object).into_iter().flatten();
    let names = paths.map(|(path, _)| path.trim_start_matches('/'));
    let tables = names.filter(|name| name.starts_with("ghl_qr_") || name.starts_with("sync_") || *name == "gate_scans");
    tables.map(str::to_owned).chain(functions.iter().map(|(function, _)| format!("rpc/{function}"))).collect()
}

/// Whether the public key may use what is at this path.
pub(crate) fn is_open(path: &str, answer: &Answer) -> Result<bool, String> {
    let text = |field: &str| answer.body.get(field).and_then(Value::as_str).unwrap_or_default();
    let denied = text("code") == "42501";
    match answer.status {
        // A function that it may execute is refused what it uses, too.
        401 | 403 if denied => {
            let function = path.strip_prefix("rpc/").map(|name| format!("function {name}"));
            Ok(function.is_some_and(|function| !text("message").contains(&function)))
        }
        401 | 403 => {
            Err("SUPABASE_ANON_KEY isn't accepted: it is wrong, of another project, or switched off".to_owned())
        }
        404 => Ok(false),
        200..500 => Ok(true),
        status => Err(format!("what the public key reaches isn't known (status {status}): try again")),
    }
}

/// What these names mean. `asked` is for how many PostgREST was asked with the public key.
pub(crate) fn openness(open: &std::collections::BTreeSet<String>, asked: usize) -> Result<Openness, String> {
    let how = match asked {
        0 => "says the database (to have PostgREST asked with it, give SUPABASE_ANON_KEY)".to_owned(),
        asked => format!("as the database says and PostgREST answers for {asked} tables, views and functions"),
    };
    let named = open.iter().map(String::as_str).collect::<Vec<_>>();
    let (original, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|name| ORIGINAL_TABLES.contains(name));
    if !others.is_empty() {
        return Err(format!(
            "whoever has it can use {}, {how}: take back the rights of anon and authenticated on them (the files in \
             infra/supabase/schemas say which there should be)",
            [original, others].concat().join(", ")
        ));
    }
    if original.is_empty() {
        return Ok(Openness::Closed(format!("it reaches nothing of ours, {how}")));
    }
    Ok(Openness::OriginalTables(format!(
        "whoever has it can use {}, as the original app made them, {how}. Once nothing writes with it any more, \
         close them: cargo xtask migrate --last-step",
        original.join(" and ")
    )))
}

/// The public SQL functions that migrations make and don't drop, each with the last file that makes it. Takes `(file name, text)` in order.
pub(crate) fn functions_of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let mut found = std::collections::BTreeMap::new();
    for (file, text) in files {
        for line in text.lines() {
            // Drafted migrations have Postgres' capitals.
            let line = line.trim().to_lowercase();
            if let Some((function, _)) = line
                .strip_prefix("create or replace function public.")
                .and_then(|rest| rest.split_once("(request jsonb)"))
            {
                found.insert(function.to_owned(), file.to_owned());
            }
            if let Some((function, _)) =
                line.strip_prefix("drop function if exists public.").and_then(|rest| rest.split_once("(jsonb)"))
            {
                found.remove(function);
            }
        }
    }
    found.into_iter().collect()
}

/// The answer of `/auth/v1/.well-known/jwks.json`.
pub(crate) fn sign_in(answer: &Answer, has_jwt_secret: bool) -> Verdict {
    let Some(keys) = answer.body.get("keys").and_then(Value::as_array).filter(|_| answer.ok()) else {
        return Err(format!("the public keys of sign-in can't be read (status {}): check SUPABASE_URL", answer.status));
    };
    match (keys.len(), has_jwt_secret) {
        (0, false) => {
            Err("the project signs users' tokens with its legacy JWT secret: give SUPABASE_JWT_SECRET, or move to \
                           signing keys (Project Settings, JWT Keys)"
                .to_owned())
        }
        (0, true) => Ok("users' tokens are checked with the legacy JWT secret".to_owned()),
        (count, false) => Ok(format!("users' tokens are checked with {count} public key(s)")),
        (count, true) => Ok(format!("users' tokens are checked with {count} public key(s) or the legacy JWT secret")),
    }
}

pub(crate) fn public_keys(keys: &str) -> Verdict {
    for (number, key) in (1..).zip(keys.split(',')) {
        let bytes = STANDARD.decode(key.trim()).ok();
        if bytes.and_then(|bytes| VerifyingKey::from_public_key_der(&bytes).ok()).is_none() {
            return Err(format!(
                "key {number} is no Ed25519 public key in base64 (SPKI, begins with MCowBQYDK2VwAyEA)"
            ));
        }
    }
    Ok(format!("{} Ed25519 key(s)", keys.split(',').count()))
}

/// Whether a secret is one that the functions and the parameter store take.
pub(crate) fn secret(value: &str, shortest: usize) -> Verdict {
    if value.len() < shortest || value.len() > LARGEST {
        return Err(format!("it must have {shortest} to {LARGEST} bytes"));
    }
    // It is sent in an HTTP header.
    if !value.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Err("it holds characters that can't be sent in a header".to_owned());
    }
    Ok("set".to_owned())
}

/// The claims of a token, whoever signed it.
fn claims(token: &str) -> Option<Value> {
    insecure_decode_claims(token).ok()
}

fn signed_with(token: &str, secret: &Secret) -> bool {
    let mut signature_only = Validation::new(Algorithm::HS256);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    decode::<Value>(token, &DecodingKey::from_secret(secret.expose().as_bytes()), &signature_only).is_ok()
}

/// GHL's `message` is a text or a list of them.
fn said(body: &Value) -> String {
    match body.get("message") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}
