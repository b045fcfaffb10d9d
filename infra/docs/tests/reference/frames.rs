use std::collections::{BTreeMap, BTreeSet};

use docs::table;
use domain::Run;
use domain::frames::{Publication, snapshot};
use domain::problem::Problem;
use serde_json::{Value, json};

/// By event the fields of its data, with `?` where they aren't always there.
type Events = BTreeMap<String, BTreeSet<String>>;

/// Runs in every state, before and after it was announced.
fn runs() -> Vec<Value> {
    let mut runs = Vec::new();
    for state in ["Syncing", "Delay", "Completed", "Error", "Cancelled"] {
        for announced in [Value::Null, "Syncing".into(), state.into()] {
            let error = (state == "Error").then_some("daily_budget_exhausted");
            runs.push(json!({
                "run_id": "r1", "location_id": "loc", "kind": "full", "state": state,
                "started_at": "2026-05-01T10:00:00Z", "ended_at": "2026-05-01T10:00:20Z", "cooldown_until": "2026-05-01T10:00:50Z",
                "listing": {}, "listing_complete": true, "total_count": 12, "listed": 12, "synced": 9, "failed": 1, "skipped": 2,
                "unchanged": 0, "tickets_total": 30, "tickets_checked": 30, "ticket_types": 3, "tickets_added": 28,
                "tickets_reinstated": 0, "tickets_cancelled": 1, "error_code": error, "error_message": error, "requested_by": null,
                "pulse": 1, "announced_state": announced, "now": "2026-05-01T10:00:30Z",
            }));
        }
    }
    runs
}

/// The frames that every dashboard gets.
fn published() -> Vec<Value> {
    let announced = runs().into_iter().flat_map(|run| {
        let publication = json!({ "location_id": "loc", "seq_first": 1, "run": run });
        serde_json::from_value::<Publication>(publication).unwrap().announce().frames
    });
    announced.map(|frame| json!(frame)).collect()
}

/// The frames for one that asked, with a problem and without.
fn answers() -> Vec<Value> {
    let problem = Problem { code: "database_too_slow", message: "It is slow.".to_owned() };
    let runs = runs().into_iter().map(|run| Some(serde_json::from_value::<Run>(run).unwrap()));
    let of =
        |run: Option<Run>| [&[][..], std::slice::from_ref(&problem)].map(|told| json!(snapshot(run.as_ref(), 1, told)));
    runs.chain([None]).flat_map(of).collect()
}

/// Every frame as a dashboard gets it.
fn frames() -> Vec<Value> {
    [published(), answers()].concat()
}

/// "`problems` is in the answers to whoever asked, and in nothing else."
#[test]
fn problems_are_in_answers_and_in_nothing_else() {
    assert!(published().iter().all(|frame| frame["data"].get("problems").is_none()));
    assert!(answers().iter().all(|frame| frame["data"]["problems"].is_array()));
    let row = table("websocket-api.md", "Frames").into_iter().find(|row| row.value(0) == "sync_status");
    assert!(row.unwrap().codes(1).contains(&"problems?"), "not every frame has them");
}

#[test]
fn the_page_has_the_fields_of_every_frame() {
    let mut seen: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
    for frame in frames() {
        let keys: Vec<_> = frame.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(BTreeSet::from_iter(keys), BTreeSet::from(["event", "runId", "seq", "data"]));
        let fields = frame["data"].as_object().unwrap().keys().cloned().collect();
        seen.entry(frame["event"].as_str().unwrap().to_owned()).or_default().push(fields);
    }
    let made: Events = seen
        .into_iter()
        .map(|(event, seen)| {
            let all: BTreeSet<String> = seen.iter().flatten().cloned().collect();
            let always = |field: &String| seen.iter().all(|fields| fields.contains(field));
            let marked = all.into_iter().map(|field| if always(&field) { field } else { format!("{field}?") });
            (event, marked.collect())
        })
        .collect();
    let rows = table("websocket-api.md", "Frames");
    let documented: Events = rows
        .iter()
        .map(|row| (row.value(0).to_owned(), row.codes(1).into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(documented, made);
}

/// What the original's clients read, with the types that it declares; more may stand beside it.
#[test]
fn every_frame_has_the_fields_of_the_original_with_their_types() {
    let boolean = |value: &Value| value.is_boolean();
    let number = |value: &Value| value.is_number();
    let text = |value: &Value| value.is_string();
    let time = |value: &Value| value.is_null() || value.as_str().is_some_and(|time| time.ends_with('Z'));
    let state = |value: &Value| {
        let original = ["Syncing", "Delay", "Completed", "Error"];
        // Before the first run, and a run that was cancelled.
        let more = ["Idle", "Cancelled"];
        value.as_str().is_some_and(|state| original.contains(&state) || more.contains(&state))
    };
    type Field<'a> = (&'a str, &'a dyn Fn(&Value) -> bool);
    let originals: [(&str, &[Field<'_>]); 4] = [
        (
            "sync_status",
            &[
                ("syncInProgress", &boolean),
                ("startTime", &time),
                ("endTime", &time),
                ("totalOrders", &number),
                ("syncedOrders", &number),
                ("status", &state),
                ("delay_in_sec", &number),
            ],
        ),
        (
            "sync_progress",
            &[
                ("syncInProgress", &boolean),
                ("totalOrders", &number),
                ("syncedOrders", &number),
                ("totalTickets", &number),
                ("status", &text),
            ],
        ),
        ("sync_ticket_progress", &[("totalTicketsChecked", &number), ("totalTicketTypes", &number), ("status", &text)]),
        ("sync_complete", &[("message", &text)]),
    ];
    let mut seen = BTreeSet::new();
    for frame in frames() {
        let event = frame["event"].as_str().unwrap();
        let (name, fields) = originals.iter().find(|(name, _)| *name == event).unwrap_or_else(|| panic!("{frame}"));
        for (field, is_right) in *fields {
            assert!(frame["data"].get(*field).is_some_and(is_right), "{field} of {frame}");
        }
        seen.insert(*name);
    }
    assert_eq!(seen.len(), originals.len(), "{seen:?}");
}
