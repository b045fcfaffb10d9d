//! A run's life: one at a time, it ends and adds up whatever happens.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::clock::{pass, with_stopped_clock};
use crate::harness::{TestDatabase, call, sql_state};
use crate::orders::{dispatch, line, order, page, run, start, upsert, with};

const STAMP: &str = "2026-03-01T09:00:00Z";

fn start_request(kind: &str) -> Value {
    json!({"kind": kind, "requested_by": "admin", "cooldown_ms": 150, "lease_ms": 60000, "publish_interval_ms": 100})
}

async fn finish_order(database: &TestDatabase, run_id: &str, id: &str) -> Value {
    upsert(database, with(order(id, &[line("p1", "vip", "VIP", 1)]), json!({"run_id": run_id}))).await;
    let handed = json!({"orders": [{"order_id": id, "run_id": run_id, "change": "written", "attempts": 2}]});
    database.call("reconcile_tickets", handed).await
}

async fn fail_order(database: &TestDatabase, run_id: &str, id: &str) {
    let failure = json!({"order_id": id, "run_id": run_id, "cause": "run", "class": "permanent", "code": "not_found",
        "reason": "GHL has no such order", "attempts": 1});
    database.call("record_failures", json!({"failures": [failure]})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_starts_at_once_one_wins() {
    let database = TestDatabase::new().await;
    for _ in 0..5 {
        let mut starts = JoinSet::new();
        for _ in 0..8 {
            let client = database.another_server().await;
            starts.spawn(async move { call(&client, "start_run", start_request("full")).await });
        }
        let answers = starts.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer["started"] == true).count(), 1);
        for refused in answers.iter().filter(|answer| answer["started"] == false) {
            assert_eq!(refused["reason"], "running");
            assert!(refused["retry_after_seconds"].as_u64().unwrap() >= 1);
            assert!(refused["run"]["run_id"].is_string());
        }
        database.call("cancel_run", json!({})).await;
    }
}

#[tokio::test]
async fn a_run_ends_with_its_last_outcome_and_cools_down() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[("a", STAMP), ("b", STAMP), ("c", STAMP)], false).await;
    finish_order(&database, &run_id, "a").await;
    fail_order(&database, &run_id, "b").await;
    upsert(&database, with(order("c", &[]), json!({"run_id": run_id, "valid": false}))).await;
    let state = &run(&database, &run_id).await["run"];
    assert_eq!((&state["state"], &state["listing_complete"]), (&json!("Syncing"), &json!(false)), "more may be listed");

    let state = &page(&database, &run_id, &[("c", STAMP)], true).await["run"];
    assert_eq!(state["state"], "Delay");
    assert_eq!([&state["listed"], &state["synced"], &state["failed"], &state["skipped"]], [3, 1, 1, 1]);
    assert!(state["ended_at"].is_string() && state["cooldown_until"].is_string());

    pass(&database, 199).await;
    let refused = database.call("start_run", start_request("full")).await;
    assert_eq!((&refused["reason"], &refused["run"]["run_id"]), (&json!("cooldown"), &json!(run_id)));
    pass(&database, 1).await;
    // The column still says Delay; the clock decides.
    assert_eq!(run(&database, &run_id).await["run"]["state"], "Delay");
    assert_eq!(database.call("start_run", start_request("full")).await["started"], true);
    assert_eq!(run(&database, &run_id).await["run"]["state"], "Completed");
}

#[tokio::test]
async fn the_first_outcome_stands_and_is_counted_once() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[("a", STAMP), ("b", STAMP)], true).await;
    fail_order(&database, &run_id, "a").await;
    finish_order(&database, &run_id, "a").await;
    fail_order(&database, &run_id, "a").await;
    finish_order(&database, &run_id, "unlisted").await;
    let state = run(&database, &run_id).await;
    assert_eq!([&state["run"]["failed"], &state["run"]["synced"]], [1, 0]);
    assert_eq!(
        state["failures"][0],
        json!({"order_id": "a", "class": "permanent", "code": "not_found",
        "reason": "GHL has no such order", "attempts": 1, "last_try_at": state["failures"][0]["last_try_at"],
        "resolved_at": null})
    );
    // The data is right all the same.
    assert_eq!(database.value("select count(*) from ghl_qr_tickets where status = 'live'").await, 2);

    finish_order(&database, &run_id, "b").await;
    assert_eq!(run(&database, &run_id).await["run"]["state"], "Delay");
    finish_order(&database, &run_id, "b").await;
    assert_eq!(run(&database, &run_id).await["run"]["synced"], 1);
}

#[tokio::test]
async fn synced_counts_what_needed_no_write_as_unchanged() {
    let database = TestDatabase::new().await;
    for id in ["kept", "mended"] {
        crate::orders::sync(&database, order(id, &[line("p1", "vip", "VIP", 1)])).await;
    }
    database.execute("delete from ghl_qr_tickets where order_id = 'mended'").await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[("kept", STAMP), ("mended", STAMP)], true).await;
    let handed: Vec<_> = ["kept", "mended"]
        .iter()
        .map(|id| json!({"order_id": id, "run_id": run_id, "change": "unchanged", "attempts": 1}))
        .collect();
    database.call("reconcile_tickets", json!({"orders": handed})).await;
    let state = &run(&database, &run_id).await["run"];
    assert_eq!(
        [
            &state["synced"],
            &state["unchanged"],
            &state["tickets_total"],
            &state["tickets_added"],
            &state["drift_orders"],
            &state["ticket_types"]
        ],
        [2, 1, 2, 1, 1, 1]
    );
}

#[tokio::test]
async fn ending_early_leaves_the_rest_not_attempted() {
    for (function, request, state) in [
        ("cancel_run", json!({"requested_by": "admin"}), "Cancelled"),
        (
            "end_run",
            json!({"state": "Error", "code": "ghl_unauthorized", "message": "Failed to fetch order details"}),
            "Error",
        ),
    ] {
        let database = TestDatabase::new().await;
        let run_id = start(&database, "full").await;
        page(&database, &run_id, &[("a", STAMP), ("b", STAMP), ("c", STAMP)], false).await;
        finish_order(&database, &run_id, "a").await;
        let mut request = request;
        request["run_id"] = json!(run_id);
        let answer = database.call(function, request.clone()).await;
        assert_eq!(answer["run"]["state"], state);
        let published = database.call("begin_publication", json!({})).await;
        assert_eq!(published["publication"]["run"]["state"], state);

        let ended = run(&database, &run_id).await;
        assert_eq!(
            ["synced", "failed", "not_attempted", "listed"].map(|count| ended["run"][count].clone()),
            [1, 0, 2, 3].map(|count| json!(count))
        );
        assert_eq!(ended["failures"], json!([]), "what wasn't attempted has not failed");
        // Late results change data, never counts; and nothing goes on.
        finish_order(&database, &run_id, "b").await;
        page(&database, &run_id, &[("d", STAMP)], true).await;
        assert_eq!(dispatch(&database, &run_id).await, Vec::<String>::new());
        let later = run(&database, &run_id).await;
        assert_eq!([&later["run"]["synced"], &later["run"]["not_attempted"], &later["run"]["listed"]], [1, 2, 3]);
        assert_eq!(later["run"]["state"], state);
        let again = database.call(function, request).await;
        assert!(again["ended"] == false || again["cancelled"] == false, "{again}");
        assert_eq!(
            database.call("start_run", start_request("full")).await["started"],
            true,
            "no cool-down after {state}"
        );
    }
}

#[tokio::test]
async fn a_run_without_progress_ends_when_its_lease_is_over() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    pass(&database, 59_999).await;
    page(&database, &run_id, &[("a", STAMP)], false).await;
    pass(&database, 59_999).await;
    let pulse = json!({"run_id": run_id, "pulse": 1, "claim_ms": 1});
    assert_eq!(database.call("begin_pulse", pulse).await["run"]["state"], "Syncing", "progress renews the lease");
    pass(&database, 1).await;
    let pulse = json!({"run_id": run_id, "pulse": 2, "claim_ms": 1});
    let ended = database.call("begin_pulse", pulse).await;
    assert_eq!(
        [&ended["run"]["state"], &ended["run"]["error_code"], &ended["run"]["failed"], &ended["run"]["not_attempted"]],
        [&json!("Error"), &json!("lease_expired"), &json!(0), &json!(1)]
    );

    // The next start finds a lost run as well.
    let lost = start(&database, "full").await;
    pass(&database, 59_999).await;
    assert_eq!(database.call("start_run", start_request("full")).await["reason"], "running");
    pass(&database, 1).await;
    assert_eq!(database.call("start_run", start_request("full")).await["started"], true);
    assert_eq!(run(&database, &lost).await["run"]["state"], "Error");
}

#[tokio::test]
async fn a_retry_takes_the_failed_orders_or_the_named_ones() {
    let database = with_stopped_clock().await;
    let first = start(&database, "full").await;
    page(&database, &first, &[("a", STAMP), ("b", STAMP)], true).await;
    finish_order(&database, &first, "a").await;
    fail_order(&database, &first, "b").await;
    pass(&database, 200).await;

    let mut retry = start_request("retry");
    retry["retry_of"] = json!(first);
    let started = database.call("start_run", retry.clone()).await;
    assert_eq!((&started["run"]["listed"], &started["run"]["retry_of"]), (&json!(1), &json!(first)));
    let second = started["run"]["run_id"].as_str().unwrap();
    assert_eq!(dispatch(&database, second).await, ["b"]);
    finish_order(&database, second, "b").await;
    assert_eq!(run(&database, second).await["run"]["state"], "Delay");
    pass(&database, 150).await;

    retry["retry_of"] = json!(second);
    assert_eq!(database.call("start_run", retry.clone()).await["reason"], "nothing_to_retry");
    retry["retry_of"] = json!("00000000-0000-4000-8000-000000000000");
    assert_eq!(database.call("start_run", retry.clone()).await["reason"], "unknown_run");
    retry["retry_of"] = Value::Null;
    retry["order_ids"] = json!(["x", "y", "x"]);
    assert_eq!(database.call("start_run", retry).await["run"]["listed"], 2);
}

/// Starts what syncs the rest of a run, and returns the answer.
async fn retry(database: &TestDatabase, of: &str) -> Value {
    database.call("start_run", with(start_request("retry"), json!({"retry_of": of}))).await
}

#[tokio::test]
async fn the_rest_of_a_run_that_broke_off_is_what_failed_and_what_wasnt_attempted() {
    let database = with_stopped_clock().await;
    let first = start(&database, "full").await;
    page(&database, &first, &[("a", STAMP), ("b", STAMP), ("c", STAMP), ("d", STAMP)], true).await;
    finish_order(&database, &first, "a").await;
    fail_order(&database, &first, "b").await;
    database.call("cancel_run", json!({})).await;

    let started = retry(&database, &first).await;
    let run = &started["run"];
    assert_eq!([&run["kind"], &run["retry_of"]], [&json!("retry"), &json!(first)]);
    assert_eq!([&run["listed"], &run["total_count"], &run["listing_complete"]], [&json!(3), &json!(3), &json!(true)]);
    let second = run["run_id"].as_str().unwrap();
    assert_eq!(dispatch(&database, second).await, ["b", "c", "d"]);
    for id in ["b", "c", "d"] {
        finish_order(&database, second, id).await;
    }
    pass(&database, 150).await;
    assert_eq!(retry(&database, second).await["reason"], "nothing_to_retry");
}

#[tokio::test]
async fn the_rest_of_a_run_that_broke_off_while_listing_is_a_new_run_of_its_kind() {
    let database = TestDatabase::new().await;
    for kind in ["full", "incremental", "valid_list"] {
        let first = start(&database, kind).await;
        page(&database, &first, &[("a", STAMP)], false).await;
        database.call("cancel_run", json!({})).await;
        let started = retry(&database, &first).await;
        let run = &started["run"];
        assert_eq!([&run["kind"], &run["retry_of"]], [&json!(kind), &json!(first)]);
        assert_eq!([&run["listed"], &run["listing_complete"]], [&json!(0), &json!(false)]);
        database.call("cancel_run", json!({})).await;
    }
}

#[tokio::test]
async fn the_rest_of_a_large_run_is_taken_in_portions() {
    let database = TestDatabase::new().await;
    let first = start(&database, "full").await;
    database
        .execute(&format!(
            "insert into sync_outcomes (run_id, order_id, outcome)
             select '{first}', lpad(n::text, 6, '0'), case when n % 5 = 0 then 'synced' when n % 5 = 1 then 'failed' end
             from generate_series(1, 25000) as n;
             update sync_runs set listed = 25000, synced = 5000, failed = 5000, listing_complete = true"
        ))
        .await;
    database.call("cancel_run", json!({})).await;
    let started = retry(&database, &first).await;
    assert_eq!(
        [&started["run"]["listed"], &started["run"]["total_count"], &started["run"]["listing_complete"]],
        [&json!(8000), &json!(20000), &json!(false)]
    );
    let second = started["run"]["run_id"].as_str().unwrap();
    let taken = database.call("take_rest", json!({"run_id": second})).await;
    assert_eq!([&taken["run"]["listed"], &taken["run"]["listing_complete"]], [&json!(16000), &json!(false)]);
    database.call("cancel_run", json!({})).await;

    // A retry that broke off before it had taken everything is begun again.
    let again = retry(&database, second).await;
    assert_eq!([&again["run"]["kind"], &again["run"]["retry_of"]], [&json!("retry"), &json!(first)]);
    let third = again["run"]["run_id"].as_str().unwrap();
    for _ in 0..4 {
        database.call("take_rest", json!({"run_id": third})).await;
    }
    let run = run(&database, third).await["run"].clone();
    assert_eq!(
        [&run["listed"], &run["listing_complete"], &run["state"]],
        [&json!(20000), &json!(true), &json!("Syncing")]
    );
    let twice = format!("select count(*) - count(distinct order_id) from sync_outcomes where run_id = '{third}'");
    assert_eq!(database.value(&twice).await, 0);

    // Once the rows are purged nobody knows the rest, and a retry of nothing would never end.
    database.call("cancel_run", json!({})).await;
    database.execute(&format!("delete from sync_outcomes where run_id = '{first}'")).await;
    assert_eq!(retry(&database, second).await["reason"], "nothing_to_retry");
}

#[tokio::test]
async fn a_run_gets_pulses_until_its_list_of_valid_orders_is_written() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[], true).await;
    pass(&database, 200).await;
    let pulse = |number: u32| json!({"run_id": run_id, "pulse": number, "claim_ms": 0});
    let begun = database.call("begin_pulse", pulse(1)).await;
    assert_eq!((&begun["run"]["state"], &begun["accepted"]), (&json!("Completed"), &json!(true)));
    let published = database.call("begin_publication", json!({})).await;
    let seq = published["publication"]["seq_first"].clone();
    database.call("confirm_publication", json!({"run_id": run_id, "seq": seq, "state": "Completed"})).await;
    assert_eq!(database.call("begin_pulse", pulse(2)).await["accepted"], false, "nothing is left to do");

    let keep = |upload: Value| json!({"run_id": run_id, "upload": upload});
    database.call("keep_valid_list", keep(json!({"after": "a"}))).await;
    let begun = database.call("begin_pulse", pulse(2)).await;
    assert_eq!((&begun["accepted"], &begun["run"]["valid_list"]), (&json!(true), &json!({"after": "a"})));
    database.call("keep_valid_list", keep(json!({"done": true}))).await;
    assert_eq!(database.call("begin_pulse", pulse(3)).await["accepted"], false);
}

#[tokio::test]
async fn runs_are_listed_newest_first_page_by_page() {
    let database = TestDatabase::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, start(&database, "full").await);
        database.call("cancel_run", json!({})).await;
    }
    database.call("skip_run", json!({"kind": "incremental", "reason": "daily budget"})).await;
    let first = database.call("list_runs", json!({"limit": 2})).await;
    assert_eq!((&first["runs"][0]["state"], &first["runs"][1]["run_id"]), (&json!("Skipped"), &json!(ids[0])));
    let cursor = first["next"].as_str().unwrap();
    assert!(
        cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)),
        "fit for a URL: {cursor}"
    );
    let rest = database.call("list_runs", json!({"limit": 5, "before": cursor})).await;
    let listed: Vec<_> = rest["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect();
    assert_eq!((listed, &rest["next"]), (vec![ids[1].as_str(), ids[2].as_str()], &Value::Null));
    // A scheduled start that was skipped isn't what a dashboard shows.
    assert_eq!(database.call("sync_snapshot", json!({})).await["run"]["run_id"], json!(ids[0]));
}

#[tokio::test]
async fn a_runs_report_comes_page_by_page_without_gaps() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    let ids: Vec<_> = (0..9).map(|number| format!("o{number}")).collect();
    let listed: Vec<_> = ids.iter().map(|id| (id.as_str(), STAMP)).collect();
    page(&database, &run_id, &listed, false).await;
    for id in &ids[..6] {
        fail_order(&database, &run_id, id).await;
    }
    for id in &ids[6..] {
        let issues = json!([{"code": "bad_quantity", "message": "items[0].qty is -1"}]);
        upsert(&database, with(order(id, &[]), json!({"run_id": run_id, "valid": false, "issues": issues}))).await;
    }
    let (mut failures, mut skips, mut issues, mut after) = (0, 0, 0, json!(""));
    for _ in 0..10 {
        let answer = database.call("get_run", json!({"run_id": run_id, "after": after, "limit": 2})).await;
        failures += answer["failures"].as_array().unwrap().len();
        skips += answer["skips"].as_array().unwrap().len();
        issues += answer["issues"].as_array().unwrap().len();
        after = answer["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!((failures, skips, issues), (6, 3, 3));
    let unknown = json!({"run_id": "00000000-0000-4000-8000-000000000000", "limit": 2});
    assert_eq!(database.call("get_run", unknown).await["run"], Value::Null);
}

#[tokio::test]
async fn what_cant_be_is_refused() {
    let database = TestDatabase::new().await;
    let refused = database.try_call("start_run", start_request("sideways")).await.unwrap_err();
    assert_eq!(sql_state(&refused), "22023");
    let ending = json!({"run_id": "00000000-0000-4000-8000-000000000000", "state": "Completed"});
    let refused = database.try_call("end_run", ending).await.unwrap_err();
    assert_eq!(sql_state(&refused), "22023");
}
