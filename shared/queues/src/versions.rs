//! Messages of another deployment's version, which stand in a queue while a new one is deployed: each is understood, or
//! refused with a failure that says what is wrong and names its order all the same.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::batch::{SqsMessage, receive};
use crate::{AnyRunMessage, OrderMessage, OrdersMessage, Subject, TicketMessage, TicketsMessage};

const REFUSED: &str = "not the expected fields";

/// The result of reading a message: its contents, or why it is refused.
type Outcome = Result<Value, String>;

/// A type of message: its name, how it is read, and one as this version sends it.
type Kind = (&'static str, fn(&Value) -> Outcome, Value);

fn record(body: &Value) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some("m1".into());
    record.event_source_arn = Some("arn:aws:sqs:us-east-1:000000000000:orders".into());
    record.body = Some(body.to_string());
    record
}

fn read<T: DeserializeOwned + Serialize>(body: &Value) -> Outcome {
    let received = receive::<T>(&record(body)).map_err(|problem| problem.to_string())?;
    Ok(serde_json::to_value(received.message).unwrap())
}

fn order(body: &Value) -> Outcome {
    read::<OrderMessage>(body)
}

fn ticket(body: &Value) -> Outcome {
    read::<TicketMessage>(body)
}

fn orders(body: &Value) -> Outcome {
    read::<OrdersMessage>(body)
}

fn tickets(body: &Value) -> Outcome {
    read::<TicketsMessage>(body)
}

fn of_run(body: &Value) -> Outcome {
    read::<AnyRunMessage>(body)
}

fn current() -> [Kind; 6] {
    let order_message = json!({
        "location_id": "loc", "order_id": "ord", "cause": "run", "run_id": "r1", "attempt": 2, "noticed_at_ms": 1000,
        "waiting_since_ms": 2000, "dispatched_at_ms": 3000, "claimed": true,
        "force": { "lines": "0123456789abcdef0123456789abcdef", "asked_at_ms": 1000 },
    });
    let ticket_message = json!({
        "location_id": "loc", "order_id": "ord", "cause": "run", "run_id": "r1", "attempt": 2, "change": "stale",
        "waiting_since_ms": 2000,
    });
    let orders_message = json!({
        "location_id": "loc", "order_ids": ["ord", "ord2"], "cause": "run", "run_id": "r1", "dispatched_at_ms": 3000,
        "calls_at_ms": 4000,
    });
    let tickets_message = json!({
        "location_id": "loc", "orders": [{"order_id": "ord", "attempt": 2, "change": "stale"}], "cause": "run",
        "run_id": "r1",
    });
    let pulse_message =
        json!({ "location_id": "loc", "run_id": "r1", "pulse": 4, "waiting_since_ms": 2000, "calls_at_ms": 4000 });
    let publish_message = json!({ "location_id": "loc", "publish": true });
    [
        ("order", order, order_message),
        ("ticket", ticket, ticket_message),
        ("pulse", of_run, pulse_message),
        ("publication", of_run, publish_message),
        ("orders", orders, orders_message),
        ("tickets", tickets, tickets_message),
    ]
}

/// Values that no version has meant, by field.
fn nonsense(field: &str) -> Vec<Value> {
    match field {
        "attempt" => vec![json!("2"), json!(-1), json!(1.5), json!(null), json!(4_294_967_296_u64)],
        "pulse" => vec![json!("4"), json!(4.5), json!(null), json!({})],
        "publish" => vec![json!("yes"), json!(1), json!(null), json!({})],
        "noticed_at_ms" | "waiting_since_ms" | "dispatched_at_ms" | "calls_at_ms" => {
            vec![json!("1000"), json!(1000.5), json!(i64::MAX), json!([])]
        }
        "force" => vec![json!(true), json!("lines"), json!({"lines": 5}), json!({"asked_at_ms": "1000"})],
        "claimed" => vec![json!("true"), json!(1), json!(null)],
        "order_ids" | "orders" => vec![json!("ord"), json!([5]), json!({"order_id": "ord"}), json!(["Jane Roe"])],
        // No run is no nonsense.
        "run_id" => vec![json!(5), json!(""), json!("r 1"), json!("r".repeat(65)), json!({})],
        "cause" => vec![json!("gate"), json!("dead_letter"), json!("Run"), json!(""), json!(null), json!(1)],
        "change" => vec![json!("skipped"), json!("Stale"), json!(null), json!(1)],
        _ => vec![json!(5), json!(""), json!("a/b"), json!("Jane Roe"), json!(null), json!(["a"])],
    }
}

fn with(message: &Value, field: &str, value: Value) -> Value {
    let mut changed = message.clone();
    changed[field] = value;
    changed
}

fn without(message: &Value, field: &str) -> Value {
    let mut changed: Map<String, Value> = message.as_object().unwrap().clone();
    changed.remove(field).unwrap();
    changed.into()
}

#[test]
fn what_this_version_sends_is_read_whole() {
    for (kind, read, message) in current() {
        assert_eq!(read(&message), Ok(message.clone()), "{kind}");
    }
}

#[test]
fn a_field_more_is_ignored() {
    for (kind, read, message) in current() {
        for more in [json!(true), json!("word"), json!({"nested": [1, 2]}), json!(null)] {
            assert_eq!(read(&with(&message, "added_later", more)), Ok(message.clone()), "{kind}");
        }
    }
}

#[test]
fn a_field_less_has_its_default_or_is_named() {
    for (kind, read, message) in current() {
        for field in message.as_object().unwrap().keys() {
            let found = read(&without(&message, field));
            let expected = match (kind, field.as_str()) {
                ("order" | "ticket", "attempt") => Ok(with(&message, "attempt", json!(1))),
                ("order" | "ticket", "run_id")
                | ("order", "noticed_at_ms" | "dispatched_at_ms" | "claimed" | "force") => Ok(without(&message, field)),
                (_, "waiting_since_ms" | "calls_at_ms") => Ok(without(&message, field)),
                // What isn't a publication is taken for a pulse.
                ("publication", "publish") => Err("the field run_id is missing".to_owned()),
                _ => Err(format!("the field {field} is missing")),
            };
            match (&found, &expected) {
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{kind} without {field}: {found}"),
                _ => assert_eq!(found, expected, "{kind} without {field}"),
            }
        }
    }
}

#[test]
fn an_unknown_word_and_a_wrong_type_are_refused_by_place_and_not_quoted() {
    for (kind, read, message) in current() {
        for field in message.as_object().unwrap().keys() {
            for value in nonsense(field) {
                let body = with(&message, field, value);
                let refusal = read(&body).expect_err(&format!("{kind}: {body} was read"));
                let expected =
                    format!("the message m1 of the queue orders can't be read: {REFUSED}, at line 1 column ");
                assert!(refusal.starts_with(&expected), "{kind}: {refusal}");
                assert!(!refusal.contains("Jane") && !refusal.contains("gate"), "{kind}: {refusal}");
            }
        }
    }
}

#[test]
fn absent_and_null_runs_are_none() {
    let (_, read, message) = current()[0].clone();
    for absent in [without(&message, "run_id"), with(&message, "run_id", json!(null))] {
        assert_eq!(read(&absent), Ok(without(&message, "run_id")));
    }
}

/// A refused message becomes a dead letter: what it is about is found as long as it names its location and its order or run.
#[test]
fn what_a_refused_message_is_about_is_still_found() {
    let ids = |field: &str| matches!(field, "location_id" | "order_id" | "run_id");
    for (kind, read, message) in current() {
        let whole = Subject::of(&record(&message));
        assert!(whole.is_some(), "{kind}");
        for field in message.as_object().unwrap().keys().filter(|field| !ids(field)) {
            for value in nonsense(field) {
                let body = with(&message, field, value.clone());
                assert!(read(&body).is_err());
                let expected = match (field.as_str(), whole.clone()) {
                    // Only a pulse has a pulse: without any it is none. A publication likewise.
                    ("pulse" | "publish", _) if value.is_null() => None,
                    ("pulse", Some(Subject::Run { location_id, run_id, .. })) => {
                        Some(Subject::Run { location_id, run_id, pulse: None })
                    }
                    (_, whole) => whole,
                };
                assert_eq!(Subject::of(&record(&body)), expected, "{kind}: {body}");
            }
        }
    }
}

#[test]
fn what_names_nothing_has_no_subject() {
    for body in ["", "poison", "[]", "{}", r#"{"order_id": "ord"}"#, r#"{"location_id": "loc", "order_id": "a/b"}"#] {
        let mut record = SqsMessage::default();
        record.body = Some(body.to_owned());
        assert_eq!(Subject::of(&record), None, "{body}");
    }
    let (_, _, message) = current()[0].clone();
    let Some(Subject::Order { run_id, .. }) = Subject::of(&record(&with(&message, "run_id", json!("r 1")))) else {
        panic!("an order's message is about the order, whatever run it names")
    };
    assert_eq!(run_id, None);
}
