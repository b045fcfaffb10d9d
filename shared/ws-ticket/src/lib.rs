//! The signed ticket with which a browser opens its WebSocket: not an event ticket.
//!
//! A browser can't send headers with a WebSocket, and a Supabase token in a URL would end up in logs. So a signed-in
//! caller gets a ticket over the HTTP API, which is valid for one minute and only for connecting, and puts that in the URL.
//! It is a JWT (HS256) with an audience of its own, so that neither kind of token passes for the other. It has an id (`jti`): whoever
//! registers the connection notes it, so that a ticket that was read from a log opens nothing any more.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use caller::{Caller, Role};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind, get_current_timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// How long a ticket is valid, in seconds.
pub const LIFETIME_SECONDS: i64 = 60;

/// The shortest secret that is accepted, in bytes: as long as the signature's hash (RFC 7518, 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// Two functions' clocks may differ by this many seconds.
const LEEWAY_SECONDS: u64 = 5;

const AUDIENCE: &str = "ghl-sync-websocket";

/// A WebSocket ticket as it is given to a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketTicket {
    /// What goes into the URL; needs no escaping.
    pub ticket: String,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: i64,
}

/// Whose a good ticket is, and which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Whose it is.
    pub caller: Caller,
    /// Its id, which no other ticket has.
    pub ticket_id: String,
}

/// Why a ticket can't be made or isn't accepted.
#[derive(Debug, Error)]
pub enum SocketTicketError {
    /// The secret would be too easy to guess.
    #[error("WS_TICKET_SECRET is malformed: it should have at least {MIN_SECRET_BYTES} bytes")]
    SecretTooShort,
    /// The ticket couldn't be signed.
    #[error("the ticket could not be signed")]
    Signing(#[source] jsonwebtoken::errors::Error),
    /// The ticket was signed with another secret, or altered.
    #[error("the ticket's signature is wrong")]
    WrongSignature,
    /// The ticket is over a minute old, or its user's session has ended.
    #[error("the ticket has expired")]
    Expired,
    /// The ticket is for another location, another purpose, or no ticket at all.
    #[error("this is not a ticket for this location")]
    NotForUs,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    jti: String,
    aud: String,
    sub: String,
    role: String,
    location_id: String,
    /// When the user's own token expires.
    uexp: i64,
    iat: i64,
    exp: i64,
}

/// A ticket for `caller` to the socket of `location_id`, good for a minute or as long as the caller's session lasts.
///
/// # Errors
/// [`SocketTicketError::SecretTooShort`], [`SocketTicketError::Signing`].
pub fn make(secret: &SecretString, caller: &Caller, location_id: &str) -> Result<SocketTicket, SocketTicketError> {
    let now = now();
    let claims = Claims {
        jti: Uuid::new_v4().to_string(),
        aud: AUDIENCE.to_owned(),
        sub: caller.user_id.clone(),
        role: caller.role.to_string(),
        location_id: location_id.to_owned(),
        uexp: caller.expires_at,
        iat: now,
        exp: caller.expires_at.min(now.saturating_add(LIFETIME_SECONDS)),
    };
    let key = EncodingKey::from_secret(bytes(secret)?);
    let ticket =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(SocketTicketError::Signing)?;
    Ok(SocketTicket { ticket, expires_at: claims.exp })
}

/// Whose ticket this is, if it is a good one for `location_id`. Whether it was used isn't known here.
///
/// # Errors
/// [`SocketTicketError`], but never [`SocketTicketError::Signing`].
pub fn verify(secret: &SecretString, ticket: &str, location_id: &str) -> Result<Holder, SocketTicketError> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = LEEWAY_SECONDS;
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "aud", "sub"]);
    let key = DecodingKey::from_secret(bytes(secret)?);
    let claims = jsonwebtoken::decode::<Claims>(ticket, &key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => SocketTicketError::WrongSignature,
        ErrorKind::ExpiredSignature => SocketTicketError::Expired,
        _ => SocketTicketError::NotForUs,
    })?;
    let Claims { jti, sub, role, location_id: location, uexp, .. } = claims.claims;
    if location != location_id || sub.is_empty() || jti.is_empty() {
        return Err(SocketTicketError::NotForUs);
    }
    if uexp <= now() {
        return Err(SocketTicketError::Expired);
    }
    let role: Role = role.parse().map_err(|_| SocketTicketError::NotForUs)?;
    Ok(Holder { caller: Caller { user_id: sub, role, expires_at: uexp }, ticket_id: jti })
}

fn bytes(secret: &SecretString) -> Result<&[u8], SocketTicketError> {
    let bytes = secret.expose_secret().as_bytes();
    if bytes.len() < MIN_SECRET_BYTES { Err(SocketTicketError::SecretTooShort) } else { Ok(bytes) }
}

fn now() -> i64 {
    i64::try_from(get_current_timestamp()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.repeat(4))
    }

    fn caller(expires_in: i64) -> Caller {
        Caller { user_id: "user-1".to_owned(), role: Role::Member, expires_at: now() + expires_in }
    }

    fn signed(claims: &serde_json::Value, algorithm: Algorithm) -> String {
        let key = EncodingKey::from_secret("invented".repeat(4).as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    #[test]
    fn a_ticket_names_its_caller() {
        let caller = caller(3600);
        let ticket = make(&secret("invented"), &caller, "loc").unwrap();
        assert!((58..=60).contains(&(ticket.expires_at - now())));
        assert!(ticket.ticket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
        assert_eq!(verify(&secret("invented"), &ticket.ticket, "loc").unwrap().caller, caller);
    }

    #[test]
    fn each_ticket_has_an_id_of_its_own() {
        let id = || {
            let ticket = make(&secret("invented"), &caller(3600), "loc").unwrap().ticket;
            let [first, again] = [(); 2].map(|()| verify(&secret("invented"), &ticket, "loc").unwrap().ticket_id);
            assert_eq!(first, again);
            first
        };
        assert_ne!(id(), id());
    }

    #[test]
    fn a_ticket_ends_with_the_session() {
        let ticket = make(&secret("invented"), &caller(10), "loc").unwrap();
        assert!(ticket.expires_at - now() <= 10);
        let ended = make(&secret("invented"), &caller(-1), "loc").unwrap();
        assert!(matches!(verify(&secret("invented"), &ended.ticket, "loc"), Err(SocketTicketError::Expired)));
    }

    #[test]
    fn only_our_tickets_for_this_location_are_good() {
        let ticket = make(&secret("invented"), &caller(3600), "loc").unwrap().ticket;
        assert!(matches!(verify(&secret("guessed!"), &ticket, "loc"), Err(SocketTicketError::WrongSignature)));
        assert!(matches!(verify(&secret("invented"), &ticket, "other"), Err(SocketTicketError::NotForUs)));
        assert!(matches!(verify(&secret("invented"), "rubbish", "loc"), Err(SocketTicketError::NotForUs)));
        assert!(matches!(verify(&secret("x"), &ticket, "loc"), Err(SocketTicketError::SecretTooShort)));
        assert!(matches!(make(&secret("x"), &caller(1), "loc"), Err(SocketTicketError::SecretTooShort)));
    }

    #[test]
    fn other_tokens_of_the_same_secret_are_no_tickets() {
        let claims = serde_json::json!({
            "jti": "t1", "aud": AUDIENCE, "sub": "u", "role": "admin", "location_id": "loc",
            "uexp": now() + 100, "iat": now(), "exp": now() + 50,
        });
        let with = |field: &str, value: serde_json::Value| {
            let mut claims = claims.clone();
            claims[field] = value;
            verify(&secret("invented"), &signed(&claims, Algorithm::HS256), "loc")
        };
        assert!(with("iat", now().into()).is_ok());
        assert!(matches!(with("aud", "authenticated".into()), Err(SocketTicketError::NotForUs)));
        assert!(matches!(with("role", "owner".into()), Err(SocketTicketError::NotForUs)));
        assert!(matches!(with("exp", (now() - 30).into()), Err(SocketTicketError::Expired)));
        assert!(matches!(with("sub", "".into()), Err(SocketTicketError::NotForUs)));
        assert!(matches!(with("jti", "".into()), Err(SocketTicketError::NotForUs)));
        assert!(matches!(with("jti", serde_json::Value::Null), Err(SocketTicketError::NotForUs)));
        let other = verify(&secret("invented"), &signed(&claims, Algorithm::HS512), "loc");
        assert!(matches!(other, Err(SocketTicketError::NotForUs)));
    }
}
