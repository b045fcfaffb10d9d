//! What an admin reads of a run afterwards: page by page without gaps, and what was put right since.

use serde_json::{Value, json};

use crate::harness::{LOCATION, TestDatabase, last_step};
use crate::orders::{line, order, page, reconcile, start, sync, upsert, with};

const STAMP: &str = "2026-03-01T09:00:00Z";
/// Reads that follow whatever these tests record.
const LATER: &str = "2099-01-01T00:00:00Z";

fn failure(id: &str, run_id: Option<&str>) -> Value {
    json!({"order_id": id, "run_id": run_id, "cause": "run", "class": "permanent", "code": "not_found",
        "reason": "GHL has no such order", "attempts": 1})
}

/// A run in which these orders failed.
async fn failed_run(database: &TestDatabase, ids: &[&str]) -> String {
    let run_id = start(database, "full").await;
    let listed: Vec<_> = ids.iter().map(|id| (*id, STAMP)).collect();
    page(database, &run_id, &listed, true).await;
    let failures: Vec<_> = ids.iter().map(|id| failure(id, Some(&run_id))).collect();
    database.call("record_failures", json!({"failures": failures})).await;
    run_id
}

fn vip(id: &str) -> Value {
    with(order(id, &[line("p1", "vip", "VIP", 1)]), json!({"fetched_at": LATER}))
}

async fn report(database: &TestDatabase, run_id: &str, request: Value) -> Value {
    let mut request = request;
    request["run_id"] = json!(run_id);
    database.call("get_run", request).await
}

/// Orders of the run that count as synced since, and when.
async fn resolved(database: &TestDatabase, run_id: &str) -> Vec<(String, Value)> {
    let report = report(database, run_id, json!({})).await;
    let of = |row: &Value| (row["order_id"].as_str().unwrap().to_owned(), row["resolved_at"].clone());
    report["failures"].as_array().unwrap().iter().map(of).filter(|(_, at)| !at.is_null()).collect()
}

/// Reading alone has moved no ticket.
#[tokio::test]
async fn the_drift_names_the_tables_that_the_public_key_can_change() {
    let database = TestDatabase::original().await;
    let run_id = failed_run(&database, &[]).await;
    let open = async |request: Value| report(&database, &run_id, request).await["open"].clone();
    assert_eq!(open(json!({})).await, json!(["ghl_qr_orders", "ghl_qr_tickets"]));
    assert_eq!(open(json!({"only": "failures"})).await, json!([]));
    database.execute("revoke insert, update, delete on ghl_qr_orders from anon, authenticated").await;
    database.execute("grant select on ghl_qr_tickets_out_of_step to anon").await;
    assert_eq!(open(json!({})).await, json!(["ghl_qr_tickets"]));
    database.execute(&last_step()).await;
    assert_eq!(open(json!({"only": "drift"})).await, json!([]));
}

#[tokio::test]
async fn a_failure_is_resolved_by_a_later_sync_of_its_order_and_stays_in_the_record() {
    let database = TestDatabase::new().await;
    // What was read before the run says nothing about it.
    sync(&database, with(vip("before"), json!({"fetched_at": "2026-02-01T00:00:00Z"}))).await;
    let run_id = failed_run(&database, &["before", "never", "since"]).await;
    assert_eq!(resolved(&database, &run_id).await, []);

    sync(&database, vip("since")).await;
    let found = resolved(&database, &run_id).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1.as_str().unwrap().get(..10)), ("since", Some("2099-01-01")));
    let report = report(&database, &run_id, json!({})).await;
    assert_eq!((&report["run"]["failed"], report["failures"].as_array().unwrap().len()), (&json!(3), 3));
    assert_eq!(report["failures"][2]["reason"], "GHL has no such order");
}

#[tokio::test]
async fn a_failure_is_not_resolved_before_the_tickets_are_in_step() {
    let database = TestDatabase::new().await;
    let run_id = failed_run(&database, &["a"]).await;
    upsert(&database, vip("a")).await;
    assert_eq!(resolved(&database, &run_id).await, [], "it was read, but its tickets are due");
    reconcile(&database, "a").await;
    assert_eq!(resolved(&database, &run_id).await.len(), 1);
}

#[tokio::test]
async fn a_failure_is_not_resolved_while_a_newer_one_stands() {
    let database = TestDatabase::new().await;
    let run_id = failed_run(&database, &["a"]).await;
    sync(&database, vip("a")).await;
    database.call("record_failures", json!({"failures": [failure("a", None)]})).await;
    assert_eq!(resolved(&database, &run_id).await, []);
    let standing = database.call("list_failures", json!({})).await;
    assert_eq!(standing["failures"][0]["order_id"], "a", "it stands among those outside of runs");

    sync(&database, vip("a")).await;
    assert_eq!(resolved(&database, &run_id).await.len(), 1);
}

#[tokio::test]
async fn an_order_that_turned_out_not_to_be_ours_is_resolved_by_being_read() {
    let database = TestDatabase::new().await;
    let run_id = failed_run(&database, &["listed", "not-ours"]).await;
    upsert(&database, with(order("not-ours", &[]), json!({"fetched_at": LATER, "valid": false}))).await;
    // Read for the list of valid orders only: its tickets were not looked at.
    upsert(&database, with(vip("listed"), json!({"remember_only": true}))).await;
    let found: Vec<_> = resolved(&database, &run_id).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, ["not-ours"]);
}

#[tokio::test]
async fn every_list_of_a_report_comes_whole_and_once_whatever_the_pages_size() {
    let database = TestDatabase::new().await;
    let run_id = mixed_run(&database).await;
    let whole = report(&database, &run_id, json!({"limit": 1000})).await;
    assert_eq!(whole["next"], Value::Null);
    for limit in 1..=13 {
        let paged = pages(&database, &run_id, json!({"limit": limit})).await;
        for (list, rows) in ["failures", "skips", "issues", "drift"].iter().zip(paged) {
            assert_eq!(json!(rows), rows_of(&whole, list), "{list} in pages of {limit}");
        }
    }
}

#[tokio::test]
async fn one_list_alone_comes_without_paging_through_the_others() {
    let database = TestDatabase::new().await;
    let run_id = mixed_run(&database).await;
    let whole = report(&database, &run_id, json!({"limit": 1000})).await;
    for (at, only) in ["failures", "skips", "issues", "drift"].iter().enumerate() {
        let wanted = rows_of(&whole, only);
        let limit = wanted.as_array().unwrap().len() + 1;
        let answer = report(&database, &run_id, json!({"only": only, "limit": limit})).await;
        assert_eq!(answer["next"], Value::Null, "{only}: one page holds it, however long the other lists are");
        for list in ["failures", "skips", "issues", "drift"] {
            let expected = if list == *only { wanted.clone() } else { json!([]) };
            assert_eq!(rows_of(&answer, list), expected, "{list} of only {only}");
        }
        let paged = pages(&database, &run_id, json!({"only": only, "limit": 2})).await;
        assert_eq!(json!(paged[at]), wanted, "{only} in pages of 2");
    }
}

/// Twelve orders: failed, skipped with an issue, and synced with new tickets, in turns; and an issue of the listing.
async fn mixed_run(database: &TestDatabase) -> String {
    let run_id = start(database, "full").await;
    let ids: Vec<_> = (0..12).map(|number| format!("o{number:02}")).collect();
    let listed: Vec<_> = ids.iter().map(|id| (id.as_str(), STAMP)).collect();
    let request = json!({"run_id": run_id, "listing": {}, "listing_complete": true, "total_count": 12, "orders":
        listed.iter().map(|(id, at)| json!({"order_id": id, "source_updated_at": at, "foreign": false})).collect::<Vec<_>>(),
        "issues": [{"code": "listing_short", "message": "GHL listed fewer orders than it counted"}]});
    database.call("record_page", request).await;
    for (at, id) in ids.iter().enumerate() {
        match at % 4 {
            0 | 1 => {
                database.call("record_failures", json!({"failures": [failure(id, Some(&run_id))]})).await;
            }
            2 => {
                let issues = json!([{"code": "bad_quantity", "message": "items[0].qty is -1"}, {"code": "bad_price", "message": "items[0].price is missing"}]);
                upsert(database, with(order(id, &[]), json!({"run_id": run_id, "valid": false, "issues": issues})))
                    .await;
            }
            _ => {
                upsert(database, with(vip(id), json!({"run_id": run_id}))).await;
                let due = json!({"orders": [{"order_id": id, "run_id": run_id, "change": "written", "attempts": 1}]});
                database.call("reconcile_tickets", due).await;
            }
        }
    }
    run_id
}

/// A report's lists, in their order, read to the end page by page.
async fn pages(database: &TestDatabase, run_id: &str, mut request: Value) -> [Vec<Value>; 4] {
    let mut read: [Vec<Value>; 4] = Default::default();
    for _ in 0..50 {
        let answer = report(database, run_id, request.clone()).await;
        for (list, rows) in ["failures", "skips", "issues", "drift"].iter().zip(&mut read) {
            rows.extend(rows_of(&answer, list).as_array().unwrap().clone());
        }
        if answer["next"].is_null() {
            return read;
        }
        request["after"] = answer["next"].clone();
    }
    panic!("the pages don't end: {request}");
}

fn rows_of(report: &Value, list: &str) -> Value {
    if list == "drift" { report["drift"]["list"].clone() } else { report[list].clone() }
}

#[tokio::test]
async fn hours_since_runs_completed() {
    let database = TestDatabase::new().await;
    let hours = async || {
        let told = database.call("hours_since_sync", json!({})).await;
        ["sync", "full_sync"].map(|which| told[which].as_f64().unwrap())
    };
    let near = |[sync, full]: [f64; 2], expected: [f64; 2]| {
        assert!((sync - expected[0]).abs() < 0.01 && (full - expected[1]).abs() < 0.01, "{sync} {full}: {expected:?}");
    };
    near(hours().await, [0.0, 0.0]);
    // The first day: nothing has completed yet, and it counts from when the location became known.
    database.execute("update sync_locations set created_at = now() - interval '3 hours'").await;
    near(hours().await, [3.0, 3.0]);
    let run = async |kind: &str, state: &str, begun: &str, ended: &str, progress: &str| {
        let ago = |hours: &str| {
            if hours.is_empty() { "null".to_owned() } else { format!("now() - interval '{hours} hours'") }
        };
        let values = format!("'{LOCATION}', '{kind}', '{state}', {}, {}, {}", ago(begun), ago(ended), ago(progress));
        let columns = "location_id, kind, state, started_at, ended_at, last_progress_at";
        database.execute(&format!("insert into sync_runs ({columns}) values ({values})")).await;
    };
    // One long full run stands for now as long as it gets on.
    run("full", "Syncing", "2", "", "0.1").await;
    near(hours().await, [0.0, 0.0]);
    database.execute("update sync_runs set last_progress_at = now() - interval '31 minutes'").await;
    near(hours().await, [3.0, 3.0]);
    database.execute("update sync_runs set state = 'Completed', ended_at = now() - interval '1.5 hours'").await;
    near(hours().await, [1.5, 1.5]);
    // What wasn't a sync, or none that completed, counts for nothing.
    run("full", "Error", "1.2", "1.1", "1.1").await;
    run("full", "Cancelled", "1.1", "1", "1").await;
    run("incremental", "Skipped", "0.9", "0.9", "0.9").await;
    run("valid_list", "Completed", "0.8", "0.7", "0.7").await;
    run("retry", "Completed", "0.7", "0.6", "0.6").await;
    near(hours().await, [1.5, 1.5]);
    run("incremental", "Delay", "0.5", "0.4", "0.4").await;
    near(hours().await, [0.4, 1.5]);
    // No other run completes beside it, but it is no full one.
    run("retry", "Syncing", "0.2", "", "0").await;
    near(hours().await, [0.0, 1.5]);
}
