//! Whatever a run's row says, no frame contradicts another one, or itself.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::outlook::{Grant, Outlook};

/// A run's row as the database may give it: its counts add up.
fn runs() -> impl Strategy<Value = Run> {
    let states = prop::sample::select(vec!["Syncing", "Delay", "Completed", "Error", "Cancelled"]);
    let kinds = prop::sample::select(vec!["full", "incremental", "valid_list", "retry"]);
    let counts = (0..300_u64, 0..300_u64, 0..100_u64, 0..100_u64, 0..400_u64);
    let told = prop::option::of(any::<bool>());
    let at = (0..120_000_i64, any::<bool>(), any::<bool>(), prop::option::of(0..500_u64));
    (states, kinds, counts, told, at, prop::option::of((0..200_u64, 0..200_u64, 0..12_000_i64))).prop_map(
        |(state, kind, (open, synced, failed, skipped, more), told, (took_ms, is_listed, is_counted, expected), limit)| {
            let syncing = state == "Syncing";
            let broke_off = matches!(state, "Error" | "Cancelled");
            let is_listed = is_listed || matches!(state, "Delay" | "Completed");
            let open = if syncing && is_listed { open.max(1) } else { open };
            let open = if syncing || broke_off { open } else { 0 };
            let listed = synced + failed + skipped + open;
            let started_at = "2026-05-01T10:00:00Z".parse::<Timestamp>().unwrap();
            let after = |ms: i64| Timestamp::from_millisecond(started_at.as_millisecond() + ms).unwrap();
            let announced = match told {
                None => Value::Null,
                Some(true) => json!(state),
                Some(false) => json!("Syncing"),
            };
            let mut run: Run = serde_json::from_value(json!({
                "run_id": "r1", "location_id": "loc", "kind": kind, "state": state, "started_at": started_at,
                "ended_at": (!syncing).then(|| after(took_ms)), "cooldown_until": (!syncing).then(|| after(took_ms + 30_000)),
                "listing": {}, "listing_complete": is_listed, "total_count": is_counted.then_some(listed + more),
                "expected_orders": expected, "listed": listed, "synced": synced, "failed": failed, "skipped": skipped,
                "not_attempted": if broke_off { open } else { 0 }, "unchanged": synced / 2, "tickets_total": 3 * synced,
                "tickets_checked": 4 * synced, "ticket_types": synced.min(4), "tickets_added": synced, "tickets_cancelled": failed,
                "error_code": (state == "Error").then_some("internal"), "error_message": (state == "Error").then_some("It failed."),
                "requested_by": null, "pulse": 1, "announced_state": announced, "announced_count": told == Some(true),
                "now": after(took_ms + 100),
            }))
            .unwrap();
            run.outlook = limit.filter(|_| syncing).map(|(dispatched, awaited, age_ms)| Outlook {
                max: 100,
                window_ms: 10_000,
                dispatched,
                awaited,
                grants: vec![Grant { is_bulk: true, calls: 98, age_ms, left_ms: 10_250 - age_ms }],
                ..Outlook::default()
            });
            run
        },
    )
}

fn announce(run: &Run) -> Announcement {
    let location_id = LocationId::try_new("loc").unwrap();
    Publication { location_id, seq_first: 1, run: run.clone() }.announce()
}

fn count(data: &Value, name: &str) -> u64 {
    data[name].as_u64().unwrap_or_else(|| panic!("{name} of {data}"))
}

proptest! {
    /// The share that clients show is (synced + failed) / total.
    #[test]
    fn property_no_share_contradicts_the_counts(run in runs()) {
        for frame in announce(&run).frames.iter().filter(|frame| frame.event != Event::SyncTicketProgress) {
            let data = &frame.data;
            let (total, done) = (count(data, "totalOrders"), count(data, "syncedOrders") + count(data, "failedOrders"));
            prop_assert!(done <= total, "{data}");
            if frame.event == Event::SyncComplete {
                prop_assert_eq!(done, total, "{}", data);
                continue;
            }
            let not_attempted = count(data, "notAttemptedOrders");
            match data["status"].as_str().unwrap() {
                // All are done only where nothing is left: a run that is syncing has something left, or knows of no order yet.
                "Syncing" | "Syncing Orders" => {
                    prop_assert_eq!(data["syncInProgress"].as_bool(), Some(true));
                    prop_assert!(data["etaSeconds"].as_u64() != Some(0), "{data}");
                    prop_assert_eq!(not_attempted, 0);
                    let guessed = run.state == RunState::Syncing && !run.is_counted();
                    prop_assert!(!guessed || data["etaSeconds"].is_null(), "{data}");
                }
                "Delay" | "Completed" => {
                    prop_assert_eq!((done, not_attempted), (total, 0), "{}", data);
                    prop_assert_eq!(count(data, "listedOrders"), total + count(data, "skippedOrders"), "{}", data);
                    prop_assert_eq!(&data["etaSeconds"], 0);
                }
                _ => {
                    prop_assert_eq!(done + not_attempted, total, "{}", data);
                    prop_assert_eq!(count(data, "listedOrders"), total + count(data, "skippedOrders"), "{}", data);
                    prop_assert!(data["etaSeconds"].is_null(), "nobody waits for it: {data}");
                    // It has done nothing: neither a share nor a speed.
                    prop_assert!(count(data, "syncedOrders") + count(data, "failedOrders") + count(data, "skippedOrders") > 0
                        || data["ordersPerSecond"] == 0.0, "{data}");
                }
            }
            prop_assert!(data["syncInProgress"] == true || data["waitSeconds"].is_null(), "{data}");
            let elapsed = data.get("elapsedSeconds");
            match (data["syncInProgress"] == true, run.state == RunState::Syncing) {
                (true, true) => {
                    let seconds = (run.now.as_millisecond() - run.started_at.as_millisecond()) / 1000;
                    prop_assert_eq!(elapsed, Some(&json!(seconds)), "{}", data);
                }
                (true, false) => prop_assert_eq!(elapsed, Some(&json!(0)), "its beginning: {}", data),
                (false, _) => prop_assert_eq!(elapsed, Some(&Value::Null), "{}", data),
            }
        }
    }

    /// Whoever joins knows as much as who was there.
    #[test]
    fn property_a_snapshot_tells_all_that_frames_of_progress_tell(run in runs()) {
        let snapshot = snapshot(Some(&run), 9, &[]).data;
        for frame in announce(&run).frames {
            if !matches!(frame.event, Event::SyncProgress | Event::SyncTicketProgress) {
                continue;
            }
            for (field, told) in frame.data.as_object().unwrap().iter().filter(|(field, _)| *field != "status") {
                prop_assert_eq!(snapshot.get(field), Some(told), "{}", field);
            }
        }
        let idle = status(None, 9);
        let fields = |data: &Value| data.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let more = BTreeSet::from(["error", "errorCode", "problems"].map(str::to_owned));
        prop_assert_eq!(fields(&idle), &fields(&snapshot) - &more);
    }

    /// The first frame of a run is a status of its beginning, the last one of a publication that tells of an end is its status, and no
    /// number is there twice.
    #[test]
    fn property_a_run_begins_and_ends_with_a_status(run in runs()) {
        let announcement = announce(&run);
        let frames = &announcement.frames;
        prop_assert!(frames.len() as u64 <= FRAMES_PER_PUBLICATION);
        prop_assert!(frames.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        if run.announced_state.is_none() {
            let (event, data) = (frames[0].event, &frames[0].data);
            prop_assert_eq!((event, data["status"].as_str()), (Event::SyncStatus, Some("Syncing")));
            prop_assert_eq!((&data["syncInProgress"], &data["endTime"], &data["delay_in_sec"]), (&json!(true), &Value::Null, &json!(0)));
            prop_assert!(run.state == RunState::Syncing || data["syncedOrders"] == 0, "{data}");
        }
        if run.state.is_final() {
            let last = frames.last().unwrap();
            prop_assert_eq!((last.event, last.data["status"].as_str()), (Event::SyncStatus, Some(run.state.as_str())));
            prop_assert_eq!(&announcement.status, &last.data);
        }
    }
}
