//! Times as GHL writes and reads them. All are milliseconds since 1970 inside.

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

/// The newest order was made before this: 2025-06-01T12:00:00Z. Fixed, so that a seed always gives the same data.
pub(crate) const BASE_TIME: i64 = 1_748_779_200_000;

/// Now.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// As GHL writes it: UTC with milliseconds and `Z`.
pub(crate) fn text(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// As some old records have it: without milliseconds, with an offset.
pub(crate) fn old_text(millis: i64) -> String {
    format!("{}+00:00", text(millis).split('.').next().unwrap_or_default())
}

/// An order's time in any of the forms seen; one without an offset is UTC.
pub(crate) fn parse(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let time = text.parse::<civil::DateTime>().ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp().as_millisecond())
}

/// The end of an interval: a date alone means the whole of that day.
pub(crate) fn parse_end(text: &str) -> Option<i64> {
    if text.len() > 10 {
        return parse(text);
    }
    let next_day = text.parse::<civil::Date>().ok()?.checked_add(1.day()).ok()?;
    parse(&next_day.to_string()).map(|millis| millis - 1)
}
