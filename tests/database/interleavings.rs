//! One writer in the middle of its transaction, another arriving: each of these shows what one lock is for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::forgetting::{forget, order_of};
use crate::harness::{LOCATION, TestDatabase, call, try_call};
use crate::orders::{assert_in_step, line, order, reconcile, sync, tickets, upsert, with};

/// Leaves a transaction of the owner's open after these statements, lets the server call the function, and commits once
/// the server waits.
async fn call_while_open(database: &TestDatabase, statements: &str, function: &'static str, request: Value) -> Value {
    let server = database.another_server().await;
    let process: i32 = server.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    database.execute("begin").await;
    database.execute(statements).await;
    let calling = tokio::spawn(async move { call(&server, function, request).await });
    let waits = format!("select wait_event_type = 'Lock' from pg_stat_activity where pid = {process}");
    for _ in 0..400 {
        if calling.is_finished() || database.value(&waits).await == true {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        // Within a transaction the view of other sessions is frozen.
        database.execute("select pg_stat_clear_snapshot()").await;
    }
    assert!(!calling.is_finished(), "{function} didn't wait for: {statements}");
    database.execute("commit").await;
    calling.await.unwrap()
}

fn calling(function: &str, request: Value) -> String {
    let mut request = request;
    request["location_id"] = json!(LOCATION);
    format!("select {function}('{request}')")
}

/// The order's lock: two reconciliations at once would both add what is missing.
#[tokio::test]
async fn a_second_reconciliation_waits_for_the_first() {
    let database = TestDatabase::new().await;
    upsert(&database, order("o1", &[line("p1", "vip", "VIP", 3)])).await;
    let request = json!({"orders": [{"order_id": "o1"}]});
    let second =
        call_while_open(&database, &calling("reconcile_tickets", request.clone()), "reconcile_tickets", request).await;
    assert_eq!((&second["orders"][0]["added"], &second["orders"][0]["kept"]), (&json!(0), &json!(3)));
    assert_eq!(tickets(&database, "o1").await.len(), 3);
}

/// The tickets' lock: the scanner takes no order lock, so what it is just doing must be waited for.
#[tokio::test]
async fn a_scan_under_way_counts() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    let fewer = json!({"source_updated_at": "2026-03-02T00:00:00Z"});
    upsert(&database, with(order("o1", &[line("p1", "vip", "VIP", 1)]), fewer)).await;
    // Ticket 2 is the one that would go.
    let scan = "update ghl_qr_tickets set status = 'used' where ticket_id = 2 and status = 'live'";
    let request = json!({"orders": [{"order_id": "o1"}]});
    call_while_open(&database, scan, "reconcile_tickets", request).await;
    assert_eq!(tickets(&database, "o1").await, ["VIP/cancelled", "VIP/used"]);
    assert_in_step(&database).await;
}

/// The scan's lock: another ticket of the same name, which no lock of an order keeps apart, isn't admitted beside it.
#[tokio::test]
async fn of_two_tickets_under_one_scan_id_one_is_admitted() {
    let database = TestDatabase::new().await;
    for id in ["o1", "o2"] {
        sync(&database, order(id, &[line("p1", "vip", "VIP", 1)])).await;
    }
    let scan = |ticket: u32| json!({"ticket_id": ticket, "by": "gate", "scan_id": "scan-0001"});
    let second = call_while_open(&database, &calling("validate_ticket", scan(1)), "validate_ticket", scan(2)).await;
    assert_eq!(second["result"], "scan_id_reused");
    assert_eq!(tickets(&database, "o2").await, ["VIP/live"]);
    let again = call_while_open(&database, &calling("validate_ticket", scan(1)), "validate_ticket", scan(1)).await;
    assert_eq!((&again["result"], &again["repeated"]), (&json!("admitted"), &json!(true)));
}

/// The lock of connections: the ticket's row isn't seen yet by whoever comes with the same ticket.
#[tokio::test]
async fn of_two_connections_at_once_by_one_ticket_one_is_accepted() {
    let database = TestDatabase::new().await;
    let add = |connection: &str| {
        json!({"connection_id": connection, "ticket_id": "t1", "user_id": "ada", "role": "admin",
            "expires_at": "2099-01-01T00:00:00Z", "max_per_user": 99, "max_total": 99})
    };
    // Else both would wait for the location's row.
    database.call("sync_snapshot", json!({})).await;
    let second = call_while_open(&database, &calling("add_connection", add("c1")), "add_connection", add("c2")).await;
    assert_eq!((&second["accepted"], &second["reason"]), (&json!(false), &json!("ticket_used")));
}

/// The memory's lock: the order's own row doesn't exist yet, and the stale guard has nothing to compare with.
#[tokio::test]
async fn of_two_first_reads_at_once_the_older_is_stale() {
    let database = TestDatabase::new().await;
    let newer = with(order("o1", &[line("p1", "vip", "VIP", 2)]), json!({"source_updated_at": "2026-03-02T00:00:00Z"}));
    let older = order("o1", &[line("p1", "vip", "VIP", 1)]);
    let statement = calling("upsert_orders", json!({"orders": [newer]}));
    let answer = call_while_open(&database, &statement, "upsert_orders", json!({"orders": [older]})).await;
    assert_eq!(answer["orders"][0]["result"], "stale");
    assert_eq!(reconcile(&database, "o1").await["added"], 2);
}

/// The contact's door: a new order that is being written has no row yet that could be blanked, and its writer can't see the mark.
#[tokio::test]
async fn who_is_forgotten_while_their_order_is_written_is_forgotten_there_too() {
    let database = TestDatabase::new().await;
    // Else they would wait for the location's first row.
    upsert(&database, order_of(Some("ben"), "o0", 1)).await;
    let statement = calling("upsert_orders", json!({"orders": [order_of(Some("ada"), "o1", 1)]}));
    let request = json!({"contact_id": "ada", "by": "admin-1"});
    let marked = call_while_open(&database, &statement, "forget_contact", request).await;
    assert_eq!(marked["done"], false);
    assert_eq!(forget(&database, "ada").await["orders"], 1);
    let told = "select count(*) from ghl_qr_orders where contact_id = 'ada' and contact_firstname is not null";
    assert_eq!(database.value(told).await, 0);
}

/// The same the other way round: who comes while the mark is made waits for it.
#[tokio::test]
async fn an_order_that_comes_while_its_buyer_is_forgotten_is_written_without_them() {
    let database = TestDatabase::new().await;
    upsert(&database, order_of(Some("ben"), "o0", 1)).await;
    let statement = calling("forget_contact", json!({"contact_id": "ada", "by": "admin-1"}));
    let request = json!({"orders": [order_of(Some("ada"), "o1", 1)]});
    let written = call_while_open(&database, &statement, "upsert_orders", request).await;
    assert_eq!(written["orders"][0]["result"], "written");
    let told = "select count(*) from ghl_qr_orders where contact_id = 'ada' and contact_firstname is not null";
    assert_eq!(database.value(told).await, 0);
    assert_eq!(forget(&database, "ada").await["orders"], 1);
}

/// The order's lock: a scan or a sync of an order that is being blanked waits, and the other way round; both take orders by their ids.
#[tokio::test]
async fn orders_are_blanked_after_whoever_writes_them() {
    let database = TestDatabase::new().await;
    for id in ["o1", "o2"] {
        sync(&database, order_of(Some("ada"), id, 1)).await;
    }
    let request = json!({"contact_id": "ada", "by": "admin-1"});
    database.call("forget_contact", request.clone()).await;
    let more = with(order_of(Some("ada"), "o2", 4), json!({"source_updated_at": "2026-03-02T00:00:00Z"}));
    let statement = calling("upsert_orders", json!({"orders": [more]}));
    let answer = call_while_open(&database, &statement, "forget_contact", request).await;
    assert_eq!((&answer["orders"], &answer["done"]), (&json!(2), &json!(true)));
    let told = "select count(*) from ghl_qr_orders where contact_firstname is not null";
    assert_eq!(database.value(told).await, 0);
    assert_eq!(reconcile(&database, "o2").await["added"], 3, "what was written stays");
}

/// An upsert and a reconciliation of the same order: whoever comes second sees what the first did.
#[tokio::test]
async fn a_reconciliation_waits_for_the_order_to_be_written() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let more = json!({"source_updated_at": "2026-03-02T00:00:00Z"});
    let more = with(order("o1", &[line("p1", "vip", "VIP", 4)]), more);
    let statement = calling("upsert_orders", json!({"orders": [more]}));
    let request = json!({"orders": [{"order_id": "o1"}]});
    let answer = call_while_open(&database, &statement, "reconcile_tickets", request).await;
    assert_eq!(answer["orders"][0]["added"], 3);
    assert_eq!(database.value("select tickets_due from ghl_qr_orders").await, Value::Null);
}

/// The run's lock: two last outcomes at once end it once, and both are counted.
#[tokio::test]
async fn of_two_last_outcomes_one_ends_the_run() {
    let database = TestDatabase::new().await;
    let run_id = crate::orders::start(&database, "full").await;
    crate::orders::page(&database, &run_id, &[("a", "2026-03-01T09:00:00Z"), ("b", "2026-03-01T09:00:00Z")], true)
        .await;
    let failing =
        |id: &str| json!({"failures": [{"order_id": id, "run_id": run_id, "class": "permanent", "code": "x"}]});
    let statement = calling("record_failures", failing("a"));
    call_while_open(&database, &statement, "record_failures", failing("b")).await;
    let published = &database.call("begin_publication", json!({})).await["publication"]["run"];
    assert_eq!((&published["state"], &published["failed"]), (&json!("Delay"), &json!(2)));
}

/// The runs' locks are taken once and in their order: with issues of one run first and outcomes of another after them, two
/// batches could wait for each other.
#[tokio::test]
async fn batches_over_the_same_runs_never_wait_for_each_other() {
    let database = TestDatabase::new().await;
    let [first, second] = ["00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"];
    database
        .execute(&format!(
            "insert into sync_runs (run_id, location_id, kind, state)
             values ('{first}', '{LOCATION}', 'full', 'Error'), ('{second}', '{LOCATION}', 'full', 'Syncing')"
        ))
        .await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    // Validated, and no longer on the order: an issue of the second run.
    sync(&database, order("o2", &[line("p1", "vip", "VIP", 1)])).await;
    database.execute("update ghl_qr_tickets set status = 'used' where order_id = 'o2'").await;
    let none = with(order("o2", &[line("p1", "vip", "VIP", 0)]), json!({"source_updated_at": "2026-03-02T00:00:00Z"}));
    upsert(&database, none).await;

    let (failing, reconciling) = (database.another_server().await, database.another_server().await);
    database.execute("begin").await;
    database.execute(&format!("select from sync_runs where run_id = '{first}' for update")).await;
    let failures = json!({"failures": [
        {"order_id": "o3", "run_id": first, "class": "permanent", "code": "x"},
        {"order_id": "o4", "run_id": second, "class": "permanent", "code": "x"},
    ]});
    let failed = tokio::spawn(async move { try_call(&failing, "record_failures", failures).await });
    until_waiting(&database, 1).await;
    let orders = json!({"orders": [
        {"order_id": "o1", "run_id": first, "change": "written"},
        {"order_id": "o2", "run_id": second, "change": "written"},
    ]});
    let reconciled = tokio::spawn(async move { try_call(&reconciling, "reconcile_tickets", orders).await });
    until_waiting(&database, 2).await;
    database.execute("commit").await;
    failed.await.unwrap().unwrap();
    reconciled.await.unwrap().unwrap();
}

/// What somebody sends of another location's run changes nothing of it.
#[tokio::test]
async fn a_run_of_another_location_is_left_alone() {
    let database = TestDatabase::new().await;
    let run_id = crate::orders::start(&database, "full").await;
    // Everything has its outcome, and nobody has ended the run: as if a worker had died just then.
    database.execute("update sync_runs set listing_complete = true").await;
    let failures =
        json!({"location_id": "AnotherLocation", "failures": [{"order_id": "o", "run_id": run_id, "code": "x"}]});
    database.call("record_failures", failures).await;
    assert_eq!(crate::orders::run(&database, &run_id).await["run"]["state"], "Syncing");
}

/// The failures' lock: what was recorded after it was taken stays, or clearing would take its rows in whatever order.
#[tokio::test]
async fn clearing_failures_takes_only_those_it_has_locked() {
    let database = TestDatabase::new().await;
    for id in ["a", "b", "c"] {
        upsert(&database, order(id, &[line("p1", "vip", "VIP", 1)])).await;
    }
    let failed = |ids: &[&str]| {
        let failures: Vec<_> =
            ids.iter().map(|id| json!({"order_id": id, "class": "transient", "code": "x"})).collect();
        json!({ "failures": failures })
    };
    database.call("record_failures", failed(&["b", "c"])).await;

    // Clearing has locked b and waits for c.
    database.execute("begin").await;
    database.execute(&calling("record_failures", failed(&["c"]))).await;
    let all = json!({"orders": [{"order_id": "a"}, {"order_id": "b"}, {"order_id": "c"}]});
    let clearing = database.another_server().await;
    let cleared = tokio::spawn(async move { try_call(&clearing, "reconcile_tickets", all).await });
    until_waiting(&database, 1).await;
    // Now a is recorded too, and somebody who records both anew has locked a and waits for b.
    database.call("record_failures", failed(&["a"])).await;
    let recording = database.another_server().await;
    let again = failed(&["a", "b"]);
    let recorded = tokio::spawn(async move { try_call(&recording, "record_failures", again).await });
    until_waiting(&database, 2).await;

    database.execute("commit").await;
    cleared.await.unwrap().unwrap();
    recorded.await.unwrap().unwrap();
    let left = database.value("select jsonb_agg(order_id order by order_id) from sync_failures").await;
    assert_eq!(left, json!(["a", "b"]));
}

/// Returns once so many sessions of this database wait for a lock.
async fn until_waiting(database: &TestDatabase, sessions: i64) {
    let waiting =
        "(select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    for _ in 0..400 {
        // Within a transaction the view of other sessions is frozen.
        database.execute("select pg_stat_clear_snapshot()").await;
        if database.value(waiting).await == sessions {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{sessions} sessions should be waiting");
}

/// The location's lock: a snapshot of a run from before its end must not be numbered above the frames that tell the end.
#[tokio::test]
async fn a_snapshot_tells_no_less_than_the_frames_numbered_below_it() {
    let database = TestDatabase::new().await;
    let started = database.call("start_run", json!({"kind": "full"})).await;
    let end = json!({"run_id": started["run"]["run_id"], "state": "Error", "code": "ghl_unavailable", "message": "GHL is away"});
    database.call("end_run", end).await;
    let publication = calling("begin_publication", json!({}));
    let snapshot = call_while_open(&database, &publication, "sync_snapshot", json!({"next_seq": true})).await;
    assert_eq!(snapshot["run"]["state"], "Error", "{snapshot}");
}
