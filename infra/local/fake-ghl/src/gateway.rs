//! What happens to every GHL call before its handler: counting, token, limit, latency, faults.

use std::time::Duration;

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;

use crate::{
    connection::Cut,
    desk::Desk,
    error::GhlError,
    fault::{self, Endpoint, Fault},
    id::Id,
    random::Seed,
    rate::Budget,
    settings::RetryAfter,
    world::Shared,
};

/// The middleware.
pub(crate) async fn pass(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Some((endpoint, order_id)) = classify(&request) else {
        return GhlError::plain(StatusCode::NOT_FOUND).into_response();
    };
    let (budget, outcome) = {
        let mut desk = shared.desk();
        desk.counters.arrived(endpoint, order_id);
        decide(&mut desk, &shared.token, shared.latency_seed, request.headers(), endpoint, order_id)
    };
    let mut reset = false;
    let mut response = match outcome {
        Outcome::Refused(response) => response,
        Outcome::Served { latency, fault } => {
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            let cut = request.extensions().get::<ConnectInfo<Cut>>().map(|ConnectInfo(cut)| cut.clone());
            match fault {
                Some(fault) => {
                    reset = matches!(fault, Fault::Reset);
                    fault.apply(cut, next.run(request)).await
                }
                None => next.run(request).await,
            }
        }
    };
    budget.write(response.headers_mut());
    let status = if reset { "reset".to_owned() } else { response.status().as_u16().to_string() };
    shared.desk().counters.answered(status);
    response
}

enum Outcome {
    Refused(Response),
    Served { latency: Duration, fault: Option<Fault> },
}

fn decide(
    desk: &mut Desk,
    token: &str,
    seed: Seed,
    headers: &HeaderMap,
    endpoint: Endpoint,
    order_id: Option<Id>,
) -> (Budget, Outcome) {
    let now = std::time::Instant::now();
    let day = Timestamp::now().as_second() / 86_400;
    let token = desk.settings.token.as_deref().unwrap_or(token);
    if let Err(error) = authenticate(headers, token) {
        let budget = desk.limiter.look(&desk.settings, now, day);
        return (budget, Outcome::Refused(error.into_response()));
    }
    let budget = desk.limiter.admit(&desk.settings, now, day);
    if !budget.allowed {
        let mut response = GhlError::plain(StatusCode::TOO_MANY_REQUESTS).into_response();
        if let Some(value) = retry_after(desk.settings.retry_after, budget.wait) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        return (budget, Outcome::Refused(response));
    }
    desk.served += 1;
    let latency = latency(desk.settings.latency_ms, seed.fraction("latency", desk.served));
    let fault = fault::due(&mut desk.faults, endpoint, order_id);
    (budget, Outcome::Served { latency, fault })
}

fn authenticate(headers: &HeaderMap, token: &str) -> Result<(), GhlError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match given {
        None => return Err(GhlError::new(StatusCode::UNAUTHORIZED, "Authentication token is missing")),
        Some(given) if given != token => {
            return Err(GhlError::new(StatusCode::UNAUTHORIZED, "Invalid token: access token is invalid"));
        }
        Some(_) => {}
    }
    match text("version") {
        // The one that the API's descriptions name, and the one that GHL's own client sends.
        Some("2021-07-28" | "2023-02-21") => Ok(()),
        Some(_) => Err(GhlError::new(StatusCode::UNAUTHORIZED, "version header is invalid")),
        None => Err(GhlError::new(StatusCode::UNAUTHORIZED, "version header was not found.")),
    }
}

fn retry_after(form: RetryAfter, wait: Duration) -> Option<HeaderValue> {
    let seconds = wait.as_millis().div_ceil(1_000) as i64;
    match form {
        RetryAfter::None => None,
        RetryAfter::Seconds => Some(HeaderValue::from(seconds)),
        RetryAfter::Date => {
            let at = Timestamp::from_second(Timestamp::now().as_second() + seconds + 1).ok()?;
            HeaderValue::from_str(&at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
        }
    }
}

/// Log-logistic about the median: one call in a hundred takes three times as long, one in a thousand six times.
fn latency(median_ms: u64, chance: f64) -> Duration {
    let factor = (chance / (1.0 - chance)).powf(0.25).clamp(0.1, 20.0);
    Duration::from_micros((median_ms as f64 * 1_000.0 * factor) as u64)
}

/// Which endpoint, and which order it is about.
fn classify(request: &Request) -> Option<(Endpoint, Option<Id>)> {
    let parts: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["payments", "orders"] => Some((Endpoint::List, None)),
        ["payments", "orders", id] => Some((Endpoint::Detail, id.parse().ok())),
        ["payments", "transactions"] => {
            let query = request.uri().query().unwrap_or_default();
            let entity = query.split('&').find_map(|pair| pair.strip_prefix("entityId="));
            Some((Endpoint::Transactions, entity.and_then(|id| id.parse().ok())))
        }
        ["products"] => Some((Endpoint::Products, None)),
        ["products", _, "price"] => Some((Endpoint::Prices, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_has_its_median_and_a_long_tail() {
        let mut millis: Vec<u128> =
            (0..10_000).map(|call| latency(100, Seed(1).fraction("latency", call)).as_millis()).collect();
        millis.sort_unstable();
        assert!((95..=105).contains(&millis[5_000]), "median {}", millis[5_000]);
        assert!((280..=360).contains(&millis[9_900]), "p99 {}", millis[9_900]);
        assert!(millis[9_999] <= 2_000);
        assert_eq!(latency(0, 0.5), Duration::ZERO);
    }
}
