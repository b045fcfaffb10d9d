//! The changes: to bytes, and to values of JSON.

use serde_json::{Value, json};

/// One change: what is done, where, and with what, all drawn at random.
pub(crate) type Change = (u8, u32, u32);

/// What stands where something else should, in JSON.
fn odd(which: u32) -> Value {
    let odd = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(""),
        json!("null"),
        json!("\u{0}"),
        json!("\u{feff}\u{202e}\u{1f3df}"),
        json!("A".repeat(20_000)),
        json!("2026-13-45T99:99:99Z"),
        json!("+999999-12-31T23:59:59Z"),
        json!("../../etc/passwd%00"),
        json!("660000000000000000000001"),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!("1e999999"),
        json!([[[[[[[[]]]]]]]]),
        json!({ "_id": { "_id": [] } }),
    ];
    odd.get(which as usize % odd.len()).cloned().unwrap_or_default()
}

/// An input with the changes made to it, one after the other.
pub(crate) fn changed(mut input: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for (kind, at, what) in changes {
        input = match kind % 4 {
            // Most of what is no JSON is refused at once: half of the changes keep it JSON.
            0 | 1 => match serde_json::from_slice(&input) {
                Ok(value) => with_value(value, *kind / 4, *at, *what).to_string().into_bytes(),
                Err(_) => with_bytes(input, *kind / 4, *at, *what),
            },
            _ => with_bytes(input, *kind / 4, *at, *what),
        };
    }
    input
}

fn with_bytes(mut input: Vec<u8>, kind: u8, at: u32, what: u32) -> Vec<u8> {
    let at = at as usize % (input.len() + 1);
    let [byte, length, ..] = what.to_le_bytes();
    let end = (at + length as usize).min(input.len());
    match kind % 7 {
        0 => {
            if let Some(there) = input.get_mut(at) {
                *there = byte;
            }
        }
        1 => {
            if let Some(there) = input.get_mut(at) {
                *there ^= 1 << (byte % 8);
            }
        }
        2 => input.insert(at, byte),
        3 => drop(input.drain(at..end)),
        4 => input.truncate(at),
        5 => {
            let again: Vec<u8> = input.drain(at..end).collect();
            let twice = [again.as_slice(), again.as_slice()].concat();
            drop(input.splice(at..at, twice));
        }
        _ => {
            let opening = if byte % 2 == 0 { b'[' } else { b'{' };
            drop(input.splice(at..at, vec![opening; 200 * length as usize]));
        }
    }
    input
}

fn with_value(mut value: Value, kind: u8, at: u32, what: u32) -> Value {
    let places = places(&value);
    let Some(place) = places.get(at as usize % places.len().max(1)) else { return odd(what) };
    let Some(there) = value.pointer_mut(place) else { return value };
    match (kind % 4, there) {
        (0, Value::Object(fields)) => {
            let name = fields.keys().nth(what as usize % fields.len().max(1)).cloned();
            name.map(|name| fields.remove(&name));
        }
        (1, Value::Object(fields)) => {
            let name = fields.keys().nth(what as usize % fields.len().max(1)).cloned().unwrap_or_default();
            fields.insert(name, odd(what / 7));
        }
        (2, Value::Array(rows)) if rows.len() < 2_000 => {
            let again = rows.clone();
            rows.extend(again);
        }
        (_, there) => *there = odd(what),
    }
    value
}

/// The JSON pointer of every value.
fn places(value: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let mut next = 0;
    while let Some(place) = places.get(next).cloned() {
        match value.pointer(&place) {
            Some(Value::Object(fields)) => {
                places
                    .extend(fields.keys().map(|key| format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"))));
            }
            Some(Value::Array(rows)) => places.extend((0..rows.len()).map(|row| format!("{place}/{row}"))),
            _ => {}
        }
        next += 1;
    }
    places
}
