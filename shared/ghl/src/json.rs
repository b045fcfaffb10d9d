//! Lenient reading of JSON: text that Postgres could not store is repaired, and fields of the wrong type are absent.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde_json::Value;

/// Parses JSON that may hold `\u0000` (Postgres stores no NUL) or lone surrogates (no Unicode text has them): both become U+FFFD.
pub fn parse(body: &[u8]) -> Result<Value, serde_json::Error> {
    let text = String::from_utf8_lossy(body);
    serde_json::from_str(&repair_escapes(&text))
}

/// Replaces the escapes `\u0000` and lone `\ud800`..`\udfff` by `\ufffd`, leaving everything else as it is.
fn repair_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        repaired.push_str(before);
        let (kept, used) = match code_unit(escape) {
            Some(0) => ("\\ufffd", 6),
            Some(0xD800..=0xDBFF) if matches!(escape.get(6..).and_then(code_unit), Some(0xDC00..=0xDFFF)) => {
                (escape.get(..12).unwrap_or(escape), 12)
            }
            Some(0xD800..=0xDFFF) => ("\\ufffd", 6),
            Some(_) => (escape.get(..6).unwrap_or(escape), 6),
            // Another escape: the backslash and the character after it belong together.
            None => {
                let used = 1 + escape.get(1..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
                (escape.get(..used).unwrap_or(escape), used)
            }
        };
        repaired.push_str(kept);
        rest = escape.get(used..).unwrap_or("");
    }
    repaired.push_str(rest);
    Cow::Owned(repaired)
}

/// The UTF-16 code unit of an escape `\uXXXX` at the start of `text`.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok()
}

/// A non-empty text, at most 10,000 characters long, without NUL.
pub fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?.trim();
    let clean: String = text.chars().filter(|c| *c != '\0').take(10_000).collect();
    // Workflow webhooks spell an absent value "null".
    (!clean.is_empty() && clean != "null").then_some(clean)
}

/// The rows of a list and GHL's count of them, 0 when absent. A sibling endpoint nests its list; the total stands beside the list then.
pub(crate) fn list(body: &Value) -> Result<(&Vec<Value>, u64), &'static str> {
    let holder = body.get("data").filter(|data| data.is_object()).unwrap_or(body);
    let rows = holder.get("data").and_then(Value::as_array).ok_or("there is no data array")?;
    let total = [holder, body].iter().find_map(|place| place.get("totalCount")?.as_u64()).unwrap_or(0);
    Ok((rows, total))
}

/// The first of several spellings of a field.
pub(crate) fn text_of(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| text(value, key))
}

/// A decimal from a number or a text, exactly as written; nothing when it is neither or too large.
pub(crate) fn decimal(value: &Value, key: &str) -> Option<Decimal> {
    let written = match value.get(key)? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    written.parse().or_else(|_| Decimal::from_scientific(&written)).ok()
}

/// A time stamp with or without milliseconds or offset (then UTC).
pub(crate) fn timestamp(value: &Value, key: &str) -> Option<jiff::Timestamp> {
    let text = text(value, key)?;
    text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_and_lone_surrogates_are_mended_and_pairs_stay() {
        let read = |body: &str| parse(body.as_bytes()).unwrap();
        assert_eq!(read(r#"{"a":"x\u0000y"}"#)["a"], "x\u{fffd}y");
        assert_eq!(
            read(r#"["\ud83d\ude00","\ud83d","\ude00\ud83d!","\ud83dx"]"#),
            json!(["😀", "\u{fffd}", "\u{fffd}\u{fffd}!", "\u{fffd}x"])
        );
        assert_eq!(read(r#"["\\ud83d","\\\ud83d","\"","\u00e9"]"#), json!(["\\ud83d", "\\\u{fffd}", "\"", "é"]));
        assert!(parse(br#"{"a":"\u00"#).is_err());
        assert_eq!(parse(b"[\"\xff\"]").unwrap(), json!(["\u{fffd}"]));
    }

    #[test]
    fn amounts_are_exact_whatever_their_type() {
        let amount = |value: Value| decimal(&json!({ "amount": value }), "amount").map(|d| d.to_string());
        assert_eq!(amount(json!(150.1)).as_deref(), Some("150.1"));
        assert_eq!(amount(json!("150.10")).as_deref(), Some("150.10"));
        assert_eq!(amount(json!(17)).as_deref(), Some("17"));
        assert_eq!(amount(json!(1e21)).as_deref(), Some("1000000000000000000000"));
        assert_eq!(amount(json!(1e300)), None);
        assert_eq!(amount(json!(null)), None);
        assert_eq!(amount(json!([1])), None);
    }

    #[test]
    fn time_stamps_come_with_and_without_milliseconds_and_offset() {
        for written in
            ["2026-05-01T10:00:00Z", "2026-05-01T10:00:00.000Z", "2026-05-01T12:00:00+02:00", "2026-05-01T10:00:00"]
        {
            let read = timestamp(&json!({ "at": written }), "at").unwrap();
            assert_eq!(read.to_string(), "2026-05-01T10:00:00Z", "{written}");
        }
        assert_eq!(timestamp(&json!({ "at": "yesterday" }), "at"), None);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn what_needs_no_mending_is_read_as_it_is(text in "\\PC*") {
                prop_assert_eq!(parse(json!([text]).to_string().as_bytes()).unwrap(), json!([text]));
            }

            #[test]
            fn escaped_code_units_of_any_kind_can_be_read_and_stored(units in prop::collection::vec(any::<u16>(), 0..40)) {
                let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
                let read = parse(format!("\"{escaped}\"").as_bytes()).unwrap();
                let expected = String::from_utf16_lossy(&units).replace('\0', "\u{fffd}");
                prop_assert_eq!(read.as_str().unwrap(), expected);
            }

            #[test]
            fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
                let _ = parse(&bytes);
            }
        }
    }
}
