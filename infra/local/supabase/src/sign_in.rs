//! Addresses that one can read aloud, each of which signs somebody in once: `/go/7k3p9x`.
//!
//! As with Supabase's magic links, the answer leads to the page with a session in the fragment, which no server sees and no log holds.
//! `generate_link` makes such an address, as in Supabase's admin API. It takes the service key, which no page has: whatever else is open
//! in the browser can reach this server, too.
//!
//! An address is gone after its use, after an hour, with this server, and when somebody has tried a number of wrong ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::auth::Auth;

/// Crockford's digits: of those that sound or look alike there is one.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 30 bits, of which [`WRONG_TRIES`] are too few to find one of [`MOST`].
const LENGTH: usize = 6;
const WRONG_TRIES: u32 = 20;
/// The oldest are forgotten.
const MOST: usize = 20;
const VALID_FOR: Duration = Duration::from_secs(3600);

type Code = [u8; LENGTH];

/// The addresses that were made, oldest first; the used ones among them, so that it can be said.
pub(crate) struct Addresses {
    valid_for: Duration,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    addresses: VecDeque<Address>,
    wrong_tries: u32,
}

struct Address {
    code: Code,
    until: Instant,
    is_used: bool,
    email: String,
    page: String,
}

/// Why an address signs nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Used,
    Late,
    Unknown,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { valid_for: VALID_FOR, made: Mutex::default() }
    }
}

impl Addresses {
    fn make(&self, email: String, page: String) -> String {
        // 32 digits: each byte's lowest five bits choose one, all alike.
        let code: Code =
            rand::random::<Code>().map(|byte| DIGITS.get(usize::from(byte % 32)).copied().unwrap_or_default());
        let until = Instant::now() + self.valid_for;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.addresses.push_back(Address { code, until, is_used: false, email, page });
        if made.addresses.len() > MOST {
            made.addresses.pop_front();
        }
        String::from_utf8_lossy(&code).into_owned()
    }

    /// Whom it signs in and where that leads. Only the first who asks is told.
    fn take(&self, typed: &str) -> Result<(String, String), Refused> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let code = code_of(typed).ok_or(Refused::Unknown)?;
        // Compares with all of them, in a time that tells nothing of how much was right.
        let found = made
            .addresses
            .iter_mut()
            .fold(None, |found, address| if bool::from(address.code.ct_eq(&code)) { Some(address) } else { found });
        match found {
            Some(address) if address.is_used => Err(Refused::Used),
            Some(address) if address.until <= Instant::now() => Err(Refused::Late),
            Some(address) => {
                address.is_used = true;
                Ok((address.email.clone(), address.page.clone()))
            }
            None => {
                made.wrong_tries += 1;
                if made.wrong_tries >= WRONG_TRIES {
                    *made = Made::default();
                }
                Err(Refused::Unknown)
            }
        }
    }
}

/// What somebody typed who has heard it: in capitals, with an `o` for `0` or an `l` for `1`.
fn code_of(typed: &str) -> Option<Code> {
    let read = |letter: u8| match letter.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        letter => letter,
    };
    typed.bytes().map(read).collect::<Vec<_>>().try_into().ok()
}

struct Door {
    auth: Arc<Auth>,
    addresses: Addresses,
}

/// Apart from the other routes, since no other page may read these answers.
pub(crate) fn routes(auth: Arc<Auth>, addresses: Addresses) -> Router {
    Router::new()
        // Whoever only looks doesn't use it up.
        .route("/go/{code}", get(go).head(async || StatusCode::METHOD_NOT_ALLOWED))
        .route("/auth/v1/admin/generate_link", post(generate_link))
        .with_state(Arc::new(Door { auth, addresses }))
}

#[derive(Deserialize)]
struct Wanted {
    email: String,
    redirect_to: String,
}

async fn generate_link(State(door): State<Arc<Door>>, headers: HeaderMap, Json(wanted): Json<Wanted>) -> Response {
    let refused = |status: StatusCode, code: &str, message: &str| {
        (status, Json(json!({ "code": status.as_u16(), "error_code": code, "msg": message }))).into_response()
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if !bearer.is_some_and(|key| door.auth.is_service_key(key)) {
        return refused(StatusCode::FORBIDDEN, "not_admin", "This takes the service key");
    }
    if !door.auth.knows(&wanted.email) {
        return refused(StatusCode::NOT_FOUND, "user_not_found", "User not found");
    }
    let Some(page) = page_of_this_machine(&wanted.redirect_to) else {
        return refused(StatusCode::BAD_REQUEST, "validation_failed", "redirect_to is no page of 127.0.0.1");
    };
    let code = door.addresses.make(wanted.email, page.clone());
    let link = format!("{}/go/{code}", door.auth.url());
    Json(json!({ "action_link": link, "redirect_to": page, "verification_type": "magiclink" })).into_response()
}

/// A session goes nowhere else.
fn page_of_this_machine(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let is_here = uri.scheme_str() == Some("http") && matches!(uri.host(), Some("127.0.0.1" | "localhost"));
    // Without a fragment: that is the session's place.
    is_here.then(|| uri.to_string())
}

async fn go(State(door): State<Arc<Door>>, Path(code): Path<String>, headers: HeaderMap) -> Response {
    // A browser that guesses where its user goes next asks again when they do.
    if headers.get("sec-purpose").is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("prefetch"))) {
        return unshared(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    let answer = match door.addresses.take(&code) {
        Ok((email, page)) => match door.auth.sign_in_fragment(&email) {
            Ok(fragment) => (StatusCode::SEE_OTHER, [(header::LOCATION, format!("{page}#{fragment}"))]).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        },
        Err(Refused::Used) => refusal(StatusCode::GONE, "This address has been used", "It signs in only once."),
        Err(Refused::Late) => refusal(StatusCode::GONE, "This address is too old", "It signs in for an hour only."),
        Err(Refused::Unknown) => refusal(
            StatusCode::NOT_FOUND,
            "This address signs nobody in",
            "Compare it with the one that was printed. It ends with the stack, and when too many wrong ones were tried.",
        ),
    };
    unshared(answer)
}

fn refusal(status: StatusCode, title: &str, why: &str) -> Response {
    let page = format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<main>
<h1>{title}</h1>
<p>{why}</p>
<p>For another one, run <code>cargo xtask sign-in</code>. The passwords that were printed when the stack started work as well.</p>
</main>
</html>
"#
    );
    (status, Html(page)).into_response()
}

/// Neither kept nor told to whoever is next.
fn unshared(mut answer: Response) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(addresses: &Addresses) -> String {
        addresses.make("a@example.com".to_owned(), "http://127.0.0.1:1/".to_owned())
    }

    #[test]
    fn what_was_heard_is_understood() {
        assert_eq!(code_of("7K3POl"), Some(*b"7k3p01"));
        for wrong in ["", "7k3p0", "7k3p011", "é3p011x"] {
            assert_eq!(code_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn codes_are_of_digits_that_are_read_as_themselves_and_differ() {
        let addresses = Addresses::default();
        let codes: std::collections::BTreeSet<String> = (0..100).map(|_| made(&addresses)).collect();
        assert_eq!(codes.len(), 100);
        for code in codes {
            assert_eq!(code_of(&code).map(Vec::from), Some(code.into_bytes()));
        }
    }

    #[test]
    fn an_address_is_valid_for_its_time() {
        let addresses = Addresses { valid_for: Duration::ZERO, ..Addresses::default() };
        assert_eq!(addresses.take(&made(&addresses)), Err(Refused::Late));
    }

    #[test]
    fn those_that_were_not_used_for_long_are_forgotten() {
        let addresses = Addresses::default();
        let oldest = made(&addresses);
        let kept: Vec<String> = (0..MOST).map(|_| made(&addresses)).collect();
        assert_eq!(addresses.take(&oldest), Err(Refused::Unknown));
        assert!(kept.iter().all(|code| addresses.take(code).is_ok()));
    }

    #[test]
    fn guessing_ends_every_address() {
        let addresses = Addresses::default();
        let [used, open] = [made(&addresses), made(&addresses)];
        addresses.take(&used).unwrap();
        // What was right once is no guess.
        for _ in 0..2 * WRONG_TRIES {
            assert_eq!(addresses.take(&used), Err(Refused::Used));
        }
        // `u` is no digit of a code.
        for _ in 0..WRONG_TRIES {
            assert_eq!(addresses.take("uuuuuu"), Err(Refused::Unknown));
        }
        assert_eq!(addresses.take(&open), Err(Refused::Unknown));
        assert!(addresses.take(&made(&addresses)).is_ok(), "a new one is as good as ever");
    }

    #[test]
    fn of_many_who_come_at_once_one_is_let_in() {
        let addresses = Addresses::default();
        let code = made(&addresses);
        let let_in = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| addresses.take(&code).is_ok())).collect();
            asking.into_iter().map(|one| one.join().unwrap()).filter(|ok| *ok).count()
        });
        assert_eq!(let_in, 1);
    }

    #[test]
    fn a_session_leads_to_a_page_of_this_machine_only() {
        let page = "http://127.0.0.1:8400/_aws/execute-api/a0000001/$default/";
        assert_eq!(page_of_this_machine(page).as_deref(), Some(page));
        assert_eq!(page_of_this_machine("http://localhost:1/#x").as_deref(), Some("http://localhost:1/"));
        for elsewhere in [
            "https://example.com/",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1@example.com/",
            "/",
            "javascript:1",
        ] {
            assert_eq!(page_of_this_machine(elsewhere), None, "{elsewhere}");
        }
    }
}
