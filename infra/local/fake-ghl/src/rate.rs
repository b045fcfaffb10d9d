//! GHL's limit: at most so many requests in any window of so many milliseconds, and in a day.
//!
//! Exact: it holds the time of each request of the last window. Refused requests take no place in it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue};

use crate::settings::FakeSettings;

/// The requests of the last window and of the day.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    served: VecDeque<Instant>,
    day: i64,
    served_today: u64,
}

/// How the limit stands after a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) allowed: bool,
    pub(crate) remaining: u64,
    pub(crate) daily_remaining: u64,
    /// Until a request would be let through again.
    pub(crate) wait: Duration,
    max: u64,
    window_ms: u64,
    daily_max: u64,
}

impl Limiter {
    /// Takes a place if one is free. `day` is any number that changes at midnight.
    pub(crate) fn admit(&mut self, settings: &FakeSettings, now: Instant, day: i64) -> Budget {
        let mut budget = self.look(settings, now, day);
        if budget.remaining == 0 || budget.daily_remaining == 0 {
            return budget;
        }
        self.served.push_back(now);
        self.served_today += 1;
        budget.allowed = true;
        budget.remaining -= 1;
        budget.daily_remaining -= 1;
        budget
    }

    /// How it stands, without taking a place.
    pub(crate) fn look(&mut self, settings: &FakeSettings, now: Instant, day: i64) -> Budget {
        let window = Duration::from_millis(settings.rate_window_ms);
        while self.served.front().is_some_and(|first| now.duration_since(*first) >= window) {
            self.served.pop_front();
        }
        if self.day != day {
            (self.day, self.served_today) = (day, 0);
        }
        let oldest = self.served.front().map(|first| window.saturating_sub(now.duration_since(*first)));
        Budget {
            allowed: false,
            remaining: settings.rate_max.saturating_sub(self.served.len() as u64),
            daily_remaining: settings.rate_daily.saturating_sub(self.served_today),
            wait: oldest.unwrap_or(window),
            max: settings.rate_max,
            window_ms: settings.rate_window_ms,
            daily_max: settings.rate_daily,
        }
    }
}

impl Budget {
    /// Writes the five headers GHL puts on every answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert("x-ratelimit-limit-daily", HeaderValue::from(self.daily_max));
        headers.insert("x-ratelimit-daily-remaining", HeaderValue::from(self.daily_remaining));
        headers.insert("x-ratelimit-interval-milliseconds", HeaderValue::from(self.window_ms));
        headers.insert("x-ratelimit-max", HeaderValue::from(self.max));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(self.remaining));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max: u64, daily: u64) -> FakeSettings {
        FakeSettings { rate_max: max, rate_daily: daily, rate_window_ms: 1_000, ..FakeSettings::default() }
    }

    #[test]
    fn no_window_holds_more_than_the_maximum() {
        let (mut limiter, settings, start) = (Limiter::default(), settings(5, 10_000), Instant::now());
        let mut served = Vec::new();
        for step in 0..4_000_u64 {
            // Uneven steps of 0 to 36 ms.
            let at = start + Duration::from_millis(step * 7 + step * step % 30);
            if served.last().is_none_or(|last| *last <= at) && limiter.admit(&settings, at, 0).allowed {
                served.push(at);
            }
        }
        assert!(served.len() > 100, "it lets requests through: {}", served.len());
        for (first, sixth) in served.iter().zip(served.iter().skip(5)) {
            assert!(sixth.duration_since(*first) >= Duration::from_secs(1));
        }
    }

    #[test]
    fn a_place_is_free_again_exactly_one_window_later() {
        let (mut limiter, settings, start) = (Limiter::default(), settings(1, 10), Instant::now());
        assert!(limiter.admit(&settings, start, 0).allowed);
        let refused = limiter.admit(&settings, start + Duration::from_millis(999), 0);
        assert_eq!((refused.allowed, refused.wait), (false, Duration::from_millis(1)));
        assert!(limiter.admit(&settings, start + Duration::from_millis(1_000), 0).allowed);
    }

    #[test]
    fn the_day_has_its_own_budget() {
        let (mut limiter, settings, start) = (Limiter::default(), settings(100, 2), Instant::now());
        assert!(limiter.admit(&settings, start, 0).allowed);
        assert_eq!(limiter.admit(&settings, start, 0).daily_remaining, 0);
        assert!(!limiter.admit(&settings, start, 0).allowed);
        assert!(limiter.admit(&settings, start, 1).allowed);
    }
}
