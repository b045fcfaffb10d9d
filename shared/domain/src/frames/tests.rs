use super::*;
use crate::run::RunKind;

fn run(state: RunState, announced: Option<RunState>) -> Run {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let done = state != RunState::Syncing;
    Run {
        run_id: RunId::try_new("r1").unwrap(),
        location_id: LocationId::try_new("loc").unwrap(),
        kind: RunKind::Full,
        state,
        started_at: at("2026-05-01T10:00:00Z"),
        ended_at: done.then(|| at("2026-05-01T10:00:20.5Z")),
        cooldown_until: done.then(|| at("2026-05-01T10:00:50.5Z")),
        listing: None,
        listing_complete: done,
        total_count: Some(12),
        transactions: None,
        expected_orders: None,
        known_deficit: 0,
        listing_short: false,
        comparing: false,
        valid_list: None,
        listed: if done { 12 } else { 10 },
        synced: if done { 9 } else { 4 },
        failed: 1,
        not_attempted: 0,
        skipped: if done { 2 } else { 1 },
        unchanged: 0,
        tickets_total: 30,
        tickets_checked: 30,
        ticket_types: 3,
        tickets_added: 28,
        tickets_reinstated: 0,
        tickets_cancelled: 1,
        error_code: None,
        error_message: None,
        requested_by: None,
        pulse: 1,
        last_progress_at: None,
        announced_state: announced,
        announced_count: announced.is_some(),
        outlook: None,
        now: at("2026-05-01T10:00:20.5Z"),
    }
}

fn announce(state: RunState, announced: Option<RunState>) -> Announcement {
    let location_id = LocationId::try_new("loc").unwrap();
    Publication { location_id, seq_first: 40, run: run(state, announced) }.announce()
}

fn name(event: Event) -> String {
    serde_json::from_value(json!(event)).unwrap()
}

fn events(announcement: &Announcement) -> Vec<(String, u64)> {
    announcement.frames.iter().map(|frame| (name(frame.event), frame.seq)).collect()
}

#[test]
fn each_state_is_told_once_and_the_last_frame_is_the_final_status() {
    use RunState::{Cancelled, Completed, Delay, Error, Syncing};
    let (p, t, s, c) = ("sync_progress", "sync_ticket_progress", "sync_status", "sync_complete");
    let table: &[(RunState, Option<RunState>, &[&str])] = &[
        (Syncing, None, &[s, p, t]),
        (Syncing, Some(Syncing), &[p, t]),
        (Delay, Some(Syncing), &[p, t, s, c]),
        (Delay, None, &[s, p, s, c]),
        (Completed, Some(Delay), &[s]),
        (Completed, Some(Syncing), &[t, s, c, s]),
        (Completed, None, &[s, s, c, s]),
        (Error, Some(Syncing), &[p, t, s]),
        (Cancelled, None, &[s, p, t, s]),
        (Error, Some(Error), &[s]),
    ];
    for &(state, told, expected) in table {
        let announcement = announce(state, told);
        let names: Vec<_> = announcement.frames.iter().map(|frame| name(frame.event)).collect();
        assert_eq!(names, expected, "{state:?} after {told:?}");
        assert!(announcement.frames.len() as u64 <= FRAMES_PER_PUBLICATION);
        if state.is_final() {
            assert_eq!(names.last().map(String::as_str), Some(s));
        }
    }
}

/// Who looks at nothing but the status would see the guess until the end.
#[test]
fn a_count_that_was_not_known_at_first_is_told_by_a_status_of_its_own() {
    let names =
        |announcement: &Announcement| announcement.frames.iter().map(|frame| name(frame.event)).collect::<Vec<_>>();
    let location_id = LocationId::try_new("loc").unwrap();
    let publish = |run: Run| Publication { location_id: location_id.clone(), seq_first: 40, run }.announce();
    let begun = Run { total_count: None, listed: 0, synced: 0, failed: 0, skipped: 0, ..run(RunState::Syncing, None) };
    let first = publish(begun.clone());
    assert_eq!((&first.frames[0].data["totalOrders"], &first.frames[0].data["etaSeconds"]), (&json!(0), &Value::Null));
    let expected = publish(Run { expected_orders: Some(11), ..begun.clone() });
    assert_eq!(
        (&expected.frames[0].data["totalOrders"], &expected.frames[0].data["syncedOrders"]),
        (&json!(11), &json!(0))
    );

    let told = Run { announced_state: Some(RunState::Syncing), announced_count: false, ..begun };
    assert_eq!(names(&publish(told.clone())), ["sync_progress", "sync_ticket_progress"], "nothing is known yet");
    let counted = Run { total_count: Some(12), ..told };
    let second = publish(counted.clone());
    assert_eq!(names(&second), ["sync_status", "sync_progress", "sync_ticket_progress"]);
    assert_eq!((&second.frames[0].data["totalOrders"], second.status["seq"].as_u64()), (&json!(12), Some(42)));
    assert_eq!(names(&publish(Run { announced_count: true, ..counted })).len(), 2, "once");
}

#[test]
fn the_first_status_of_a_run_has_nothing_done_and_the_progress_after_it_what_was_done_meanwhile() {
    let told = announce(RunState::Syncing, None);
    let of = |frame: usize, name: &str| told.frames[frame].data[name].clone();
    assert_eq!([of(0, "syncedOrders"), of(0, "failedOrders"), of(0, "totalTickets")], [0, 0, 0]);
    assert_eq!([of(0, "totalOrders"), of(0, "listedOrders"), of(0, "skippedOrders")], [11, 10, 1]);
    assert_eq!([of(1, "syncedOrders"), of(1, "failedOrders"), of(2, "totalTicketsChecked")], [4, 1, 30]);
    assert_eq!(told.status["syncedOrders"], 4, "the document is what is so");
}

/// A run of few orders may be over before anybody published its beginning.
#[test]
fn a_beginning_that_nobody_was_told_of_is_told_with_the_end() {
    for state in [RunState::Delay, RunState::Completed, RunState::Error, RunState::Cancelled] {
        let frames = announce(state, None).frames;
        let first = &frames[0].data;
        assert_eq!([&first["status"], &first["syncInProgress"]], [&json!("Syncing"), &json!(true)], "{state:?}");
        assert_eq!([&first["endTime"], &first["delay_in_sec"]], [&Value::Null, &json!(0)], "{state:?}");
        assert_eq!([&first["totalOrders"], &first["syncedOrders"]], [&json!(10), &json!(0)], "{state:?}");
        assert_eq!(frames.last().unwrap().data.get("syncedOrders"), Some(&json!(9)), "{state:?}");
    }
}

#[test]
fn words_are_those_of_the_original() {
    let frames = announce(RunState::Syncing, Some(RunState::Syncing)).frames;
    assert_eq!(frames[0].data["status"], "Syncing Orders");
    let frames = announce(RunState::Delay, Some(RunState::Syncing)).frames;
    assert_eq!(frames[0].data["status"], "Delay");
    assert_eq!(frames[3].data["message"], "Sync Process Complete!");
}

#[test]
fn a_cool_down_that_was_over_soon_is_told_with_the_end() {
    let announcement = announce(RunState::Completed, Some(RunState::Syncing));
    let states: Vec<_> = announcement.frames.iter().filter_map(|frame| frame.data["status"].as_str()).collect();
    assert_eq!(states, ["Delay", "Delay", "Completed"]);
    assert_eq!(
        (announcement.status["status"].as_str(), announcement.status["seq"].as_u64()),
        (Some("Completed"), Some(43))
    );
}

#[test]
fn each_event_has_its_own_data() {
    let own = |event| match event {
        Event::SyncStatus => &["delay_in_sec"][..],
        // A status has all that they have.
        Event::SyncProgress => &["etaSeconds", "status"],
        Event::SyncTicketProgress => &["totalTicketTypes", "status"],
        Event::SyncComplete => &["message"],
    };
    let frames = announce(RunState::Delay, Some(RunState::Syncing)).frames;
    assert_eq!(frames.len() as u64, FRAMES_PER_PUBLICATION);
    for told in frames.iter().map(|frame| frame.event) {
        for frame in &frames {
            let has_all = own(told).iter().all(|field| frame.data.get(field).is_some());
            let is_it = frame.event == told || (frame.event == Event::SyncStatus && told != Event::SyncComplete);
            assert_eq!(has_all, is_it, "{told:?} in {:?}", frame.event);
        }
    }
}

#[test]
fn the_status_document_is_the_data_of_the_sync_status_frame() {
    let announcement = announce(RunState::Delay, Some(RunState::Syncing));
    let expected = [("sync_progress", 40), ("sync_ticket_progress", 41), ("sync_status", 42), ("sync_complete", 43)];
    assert_eq!(events(&announcement), expected.map(|(name, seq)| (name.to_owned(), seq)));
    assert_eq!(announcement.status, announcement.frames[2].data);
    assert_eq!(announcement.status["seq"], 42);
    assert_eq!(announcement.seq, 43);
}

#[test]
fn counts_add_up_at_the_end_and_while_listing_the_larger_count_shows() {
    let end = announce(RunState::Completed, Some(RunState::Delay)).status;
    assert_eq!(end["totalOrders"], 10);
    assert_eq!(end["listedOrders"], 12);
    assert_eq!(end["endTime"], "2026-05-01T10:00:20.500Z");
    assert_eq!(end["delay_in_sec"], 0);
    let listing = announce(RunState::Syncing, Some(RunState::Syncing));
    assert_eq!(listing.frames[0].data["totalOrders"], 11);
    assert_eq!(listing.frames[0].data["etaSeconds"], 21, "at the rate so far, where nobody knows the limit");
    assert_eq!(announce(RunState::Delay, None).status["delay_in_sec"], 30);
}

#[test]
fn before_the_first_run_the_status_is_idle() {
    let frame = snapshot(None, 3, &[]);
    assert_eq!((frame.data["status"].as_str(), frame.seq), (Some("Idle"), 3));
}

#[test]
fn errors_are_told_in_words() {
    let mut failed = run(RunState::Error, Some(RunState::Syncing));
    failed.error_message = Some("No valid products found".into());
    failed.error_code = Some("no_valid_products".into());
    assert_eq!(status(Some(&failed), 1)["error"], "No valid products found");
    assert_eq!(status(Some(&run(RunState::Syncing, None)), 1).get("error"), None);
}

#[test]
fn whoever_asks_is_told_of_problems_and_the_document_is_not() {
    let problem = Problem { code: "database_too_slow", message: "It is slow.".to_owned() };
    let told = answer(None, 3, std::slice::from_ref(&problem));
    assert_eq!(told["problems"], json!([{"code": "database_too_slow", "message": "It is slow."}]));
    assert_eq!(snapshot(None, 3, &[problem]).data, told);

    let (mut none, mut ended) = (answer(None, 3, &[]), snapshot(Some(&run(RunState::Delay, None)), 3, &[]).data);
    for answer in [&mut none, &mut ended] {
        let problems = answer.as_object_mut().unwrap().remove("problems");
        assert_eq!(problems, Some(json!([])), "that there are none is told, too");
    }
    assert_eq!(none, status(None, 3), "beside them it is the document");
    let published = announce(RunState::Delay, None);
    let told = published.frames.iter().map(|frame| &frame.data).chain([&published.status]);
    assert!(told.into_iter().all(|data| data.get("problems").is_none()), "one user's problems are not another's");
}

/// A client's clock may be minutes off.
#[test]
fn for_how_long_a_run_goes_on_is_told_by_the_clock_that_started_it() {
    let syncing = announce(RunState::Syncing, None);
    assert_eq!(syncing.frames[0].data["elapsedSeconds"], 20, "20.5 s");
    assert_eq!(syncing.frames[1].data["elapsedSeconds"], 20);
    assert_eq!(syncing.frames[2].data.get("elapsedSeconds"), None, "tickets tell nothing of time");
    assert_eq!(syncing.status["elapsedSeconds"], 20);
    for state in [RunState::Delay, RunState::Completed, RunState::Error, RunState::Cancelled] {
        let ended = announce(state, None);
        assert_eq!(ended.status.get("elapsedSeconds"), Some(&Value::Null), "{state:?}");
        assert_eq!(ended.frames[0].data["elapsedSeconds"], 0, "a beginning that is told with the end");
    }
    assert_eq!(status(None, 3).get("elapsedSeconds"), Some(&Value::Null));

    let run = run(RunState::Syncing, None);
    let before = "2026-05-01T09:59:58Z".parse().unwrap();
    assert_eq!(status(Some(&Run { now: before, ..run }), 3)["elapsedSeconds"], 0, "the clock was set back");
}
