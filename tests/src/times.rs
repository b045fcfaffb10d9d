//! Times as whoever is outside gets them: in UTC, with milliseconds, as JavaScript writes them.

use serde_json::Value;

/// Every text of an answer, frame or document that is a time has that form.
pub fn assert_times(told: &Value) {
    match told {
        Value::String(text) if is_time(text) => {
            assert!(is_ours(text), "{text} isn't of the form 2026-05-01T10:00:00.123Z");
        }
        Value::Array(values) => values.iter().for_each(assert_times),
        // A cursor is no time, whatever it looks like.
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "next").for_each(|(_, told)| assert_times(told))
        }
        _ => {}
    }
}

/// Whether it begins as a time does, in whatever form.
fn is_time(text: &str) -> bool {
    let form = ["dddd-dd-ddTdd:dd", "dddd-dd-dd dd:dd"];
    form.iter().any(|form| text.len() >= form.len() && has_form(text.get(..form.len()).unwrap_or_default(), form))
}

fn is_ours(text: &str) -> bool {
    has_form(text, "dddd-dd-ddTdd:dd:dd.dddZ")
}

/// Where `d` stands for a digit.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| if form == b'd' { byte.is_ascii_digit() } else { byte == form };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_known_in_any_form_and_one_is_right() {
        assert_times(
            &json!({"at": "2026-05-01T10:00:00.123Z", "list": [{"none": null}], "words": "at 2026-05-01", "next": "2026-05-01T10:00:00.123456Z_r"}),
        );
        for wrong in [
            "2026-05-01T10:00:00Z",
            "2026-05-01T10:00:00.123456Z",
            "2026-05-01T10:00:00.123+00:00",
            "2026-05-01T10:00:00.123456+00:00",
            "2026-05-01 10:00:00.123+00",
            "2026-05-01T10:00",
        ] {
            let told = json!({"run": {"changes": [{"at": wrong}]}});
            assert!(catch_unwind(|| assert_times(&told)).is_err(), "{wrong}");
        }
    }
}
