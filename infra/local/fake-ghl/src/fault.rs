//! Faults to order: per endpoint, per order, from the nth call on, for so many calls.

use std::{collections::BTreeMap, convert::Infallible, io, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{connection::Cut, error::GhlError, id::Id};

/// The endpoints, as counters and faults name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `GET /payments/orders`
    List,
    /// `GET /payments/orders/{id}`
    Detail,
    /// `GET /products/`
    Products,
    /// `GET /products/{id}/price`
    Prices,
    /// `GET /payments/transactions`
    Transactions,
}

/// `POST /_control/faults`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Which calls.
    pub endpoint: Endpoint,
    /// Only calls about this order (its id in the path, or `entityId`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Id>,
    /// So many matching calls are served well first.
    #[serde(default)]
    pub skip: u64,
    /// So many calls fail after that; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// How they fail.
    pub fault: Fault,
    /// When [`Fault::Hang`] is over, once it has begun.
    #[serde(skip)]
    pub(crate) hangs_until: Option<Instant>,
}

/// A way to fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// That status; a body given as text goes out as it is, anything else as JSON; absent: GHL's error form.
    Status {
        /// Any HTTP status, 200 too.
        status: u16,
        /// What to send instead of the error form.
        #[serde(default)]
        body: Option<Value>,
        /// More headers, such as `Retry-After`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// The connection is reset without an answer.
    Reset,
    /// The right answer, so many milliseconds late.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// No answer until so many milliseconds after the first call that met it; whoever still waits then is served, and later calls at once.
    Hang {
        /// Milliseconds.
        ms: u64,
    },
    /// The right answer's headers and first half at once, the rest so many milliseconds later.
    SlowBody {
        /// Milliseconds.
        ms: u64,
    },
    /// The right headers, half of the body, then the connection ends.
    Truncate,
    /// A gateway's error page.
    Html {
        /// Usually 502.
        status: u16,
    },
    /// No body at all.
    Empty {
        /// Usually 204.
        status: u16,
    },
    /// 302 to somewhere else, where the token must not follow.
    Redirect {
        /// The address.
        location: String,
    },
    /// 200 whose body is an error.
    ErrorBody,
}

/// The first rule for this call that is due; counts the call in every matching rule before it.
pub(crate) fn due(rules: &mut [Rule], endpoint: Endpoint, order_id: Option<Id>) -> Option<Fault> {
    let matches = |rule: &&mut Rule| {
        rule.endpoint == endpoint && (rule.order_id.is_none() || rule.order_id == order_id) && rule.times != Some(0)
    };
    for rule in rules.iter_mut().filter(matches) {
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        if let Fault::Hang { ms } = rule.fault {
            let now = Instant::now();
            let until = *rule.hangs_until.get_or_insert(now + Duration::from_millis(ms));
            if until <= now {
                continue;
            }
            return Some(Fault::Delay { ms: until.duration_since(now).as_millis() as u64 });
        }
        rule.times = rule.times.map(|times| times - 1);
        return Some(rule.fault.clone());
    }
    None
}

impl Fault {
    /// What the caller gets; `answer` makes the right answer where the fault needs it.
    pub(crate) async fn apply(self, cut: Option<Cut>, answer: impl Future<Output = Response>) -> Response {
        match self {
            Self::Status { status, body, headers } => with_status(status, body, &headers),
            Self::Reset => {
                if let Some(cut) = cut {
                    cut.cut();
                }
                StatusCode::NO_CONTENT.into_response()
            }
            Self::Delay { ms } | Self::Hang { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                answer.await
            }
            Self::SlowBody { ms } => in_halves(answer.await, Duration::from_millis(ms), true).await,
            // The first half has to leave before the connection ends.
            Self::Truncate => in_halves(answer.await, Duration::from_millis(20), false).await,
            Self::Html { status } => {
                let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>";
                (valid(status), [(header::CONTENT_TYPE, "text/html")], page).into_response()
            }
            Self::Empty { status } => valid(status).into_response(),
            Self::Redirect { location } => (StatusCode::FOUND, [(header::LOCATION, location)]).into_response(),
            Self::ErrorBody => {
                axum::Json(json!({"statusCode": 500, "message": "Internal server error"})).into_response()
            }
        }
    }
}

fn valid(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn with_status(status: u16, body: Option<Value>, headers: &BTreeMap<String, String>) -> Response {
    let status = valid(status);
    let mut response = match body {
        None => GhlError::plain(status).into_response(),
        Some(Value::String(raw)) => (status, [(header::CONTENT_TYPE, "application/json")], raw).into_response(),
        Some(body) => (status, axum::Json(body)).into_response(),
    };
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer in two halves with a pause between; without `whole` the connection ends instead of the second half.
async fn in_halves(answer: Response, pause: Duration, whole: bool) -> Response {
    let (mut head, body) = answer.into_parts();
    let Ok::<Bytes, _>(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let (first, second) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
    let end = async move {
        tokio::time::sleep(pause).await;
        if whole { Ok(second) } else { Err(io::Error::from(io::ErrorKind::ConnectionReset)) }
    };
    let first = stream::once(async { Ok::<_, Infallible>(first) }).map(|half| half.map_err(io::Error::other));
    Response::from_parts(head, Body::from_stream(first.chain(stream::once(end))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn skips_then_fails_so_many_times_for_that_order_only() {
        let id: Id = "aaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        let mut rules = [rule(
            r#"{"endpoint":"detail","orderId":"aaaaaaaaaaaaaaaaaaaaaaaa","skip":1,"times":2,"fault":{"kind":"reset"}}"#,
        )];
        let mut call = |endpoint, id| due(&mut rules, endpoint, id).is_some();
        assert!(!call(Endpoint::Detail, None) && !call(Endpoint::List, Some(id)));
        let calls: Vec<bool> = (0..4).map(|_| call(Endpoint::Detail, Some(id))).collect();
        assert_eq!(calls, [false, true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_is_over_for_all_at_once() {
        let mut rules = [rule(r#"{"endpoint":"list","fault":{"kind":"hang","ms":20000}}"#)];
        tokio::time::advance(Duration::from_secs(60)).await;
        let mut waits = Vec::new();
        for _ in 0..3 {
            waits.push(match due(&mut rules, Endpoint::List, None) {
                Some(Fault::Delay { ms }) => ms,
                _ => 0,
            });
            tokio::time::advance(Duration::from_secs(15)).await;
        }
        assert_eq!(waits, [20_000, 5_000, 0], "from the first call on");
    }

    #[test]
    fn a_rule_without_times_never_ends_and_an_unknown_word_is_refused() {
        let mut rules = [rule(r#"{"endpoint":"list","fault":{"kind":"html","status":502}}"#)];
        assert!((0..100).all(|_| due(&mut rules, Endpoint::List, None).is_some()));
        assert!(serde_json::from_str::<Rule>(r#"{"endpoint":"lists","fault":{"kind":"reset"}}"#).is_err());
    }
}
