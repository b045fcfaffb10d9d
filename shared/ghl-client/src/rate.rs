//! What GHL says about its rate limit, on every answer.

use std::time::Duration;

use reqwest::header::HeaderMap;

/// The rate limit headers of an answer, or of several: then the newest of each, but the longest wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// `X-RateLimit-Max`: requests per interval.
    pub max: Option<u32>,
    /// `X-RateLimit-Remaining`: requests left in this interval.
    pub remaining: Option<u32>,
    /// `X-RateLimit-Daily-Remaining`: requests left today.
    pub daily_remaining: Option<u64>,
    /// After a 429: no request before this has passed.
    pub closed_for: Option<Duration>,
}

/// The wait after a 429 that names none: one interval, as documented.
const DEFAULT_CLOSED: Duration = domain::rate::WINDOW;
/// The longest wait that is accepted: a used-up day's budget is handled by the daily reserve, not by a closed window.
const LONGEST_CLOSED: Duration = Duration::from_secs(300);

impl RateLimit {
    /// Reads the headers of an answer; `now` resolves a `Retry-After` date.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, status: u16, now: jiff::Timestamp) -> Self {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let small = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        let interval = number("x-ratelimit-interval-milliseconds").map_or(DEFAULT_CLOSED, Duration::from_millis);
        let closed_for = (status == 429).then(|| retry_after(headers, now).unwrap_or(interval).min(LONGEST_CLOSED));
        Self {
            max: small("x-ratelimit-max").filter(|max| *max > 0),
            remaining: small("x-ratelimit-remaining"),
            daily_remaining: number("x-ratelimit-daily-remaining"),
            closed_for,
        }
    }

    /// This observation and a later one as one. What remains belongs to its time, so only the later one's counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            max: other.max.or(self.max),
            remaining: other.remaining.or(self.remaining),
            daily_remaining: other.daily_remaining.or(self.daily_remaining),
            closed_for: self.closed_for.max(other.closed_for),
        }
    }
}

/// `Retry-After` in seconds or as an HTTP date.
fn retry_after(headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)], status: u16) -> RateLimit {
        let headers = pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
        RateLimit::from_headers(&headers, status, "2026-05-01T10:00:00Z".parse().unwrap())
    }

    #[test]
    fn headers_are_read_and_nonsense_is_absent() {
        let rate = read(
            &[("x-ratelimit-max", "25"), ("x-ratelimit-remaining", "3"), ("x-ratelimit-daily-remaining", "9000")],
            200,
        );
        assert_eq!(
            rate,
            RateLimit { max: Some(25), remaining: Some(3), daily_remaining: Some(9000), closed_for: None }
        );
        assert_eq!(read(&[("x-ratelimit-max", "0"), ("x-ratelimit-remaining", "-1")], 200), RateLimit::default());
    }

    #[test]
    fn a_429_closes_for_retry_after_or_one_interval() {
        let closed = |pairs: &[(&'static str, &str)]| read(pairs, 429).closed_for.unwrap().as_secs();
        assert_eq!(closed(&[("retry-after", "7")]), 7);
        assert_eq!(closed(&[("retry-after", "Fri, 01 May 2026 10:00:05 GMT")]), 5);
        assert_eq!(closed(&[("retry-after", "Fri, 01 May 2026 09:00:05 GMT")]), 0);
        assert_eq!(closed(&[]), 10);
        assert_eq!(closed(&[("x-ratelimit-interval-milliseconds", "20000")]), 20);
        assert_eq!(closed(&[("retry-after", "99999999")]), 300);
    }

    #[test]
    fn of_several_answers_the_later_counts() {
        let daily_remaining = Some(5);
        let a = RateLimit { max: Some(100), remaining: Some(50), daily_remaining, ..RateLimit::default() };
        let b = RateLimit { remaining: Some(70), closed_for: Some(Duration::from_secs(1)), ..RateLimit::default() };
        let both = RateLimit { max: Some(100), remaining: Some(70), daily_remaining, closed_for: b.closed_for };
        assert_eq!(a.and(b), both);
        assert_eq!(b.and(a), RateLimit { remaining: Some(50), ..both });
    }
}
