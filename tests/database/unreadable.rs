//! Nobody's tickets vanish because something couldn't be read, or because GHL no longer lists it; a person is told.

use serde_json::{Value, json};

use crate::harness::{LOCATION, TestDatabase};
use crate::orders::{assert_in_step, line, order, page, reconcile, run, start, sync, tickets, upsert, with};

/// A line whose quantity couldn't be read.
fn unknown(product: &str, price: &str, label: &str) -> Value {
    with(line(product, price, label, 0), json!({"quantity": null}))
}

/// The order's next version, with these lines.
fn version(number: u32, lines: &[Value]) -> Value {
    with(order("o1", lines), json!({"source_updated_at": format!("2026-03-01T09:{number:02}:00Z")}))
}

#[tokio::test]
async fn a_line_of_unreadable_quantity_keeps_the_tickets_it_had() {
    let database = TestDatabase::new().await;
    let lines = [line("p1", "vip", "VIP", 2), line("p1", "", "Late", 1), line("p1", "", "Early", 3)];
    sync(&database, version(0, &lines)).await;
    let unreadable = [unknown("p1", "vip", "Gold"), unknown("p1", "", "Late"), line("p1", "", "Early", 2)];
    let read = with(version(1, &unreadable), json!({"row": {"event_id": "p1"}}));
    let result = sync(&database, read.clone()).await;
    assert_eq!((&result["added"], &result["cancelled"]), (&json!(0), &json!(1)), "only what was read: {result}");
    let row = &database.rows("select ticket_quantities, event_ticket_qty, lines from ghl_qr_orders").await[0];
    assert_eq!(row["ticket_quantities"], json!({"Gold": 2, "Late": 1, "Early": 2}));
    assert_eq!((&row["event_ticket_qty"], &row["lines"][0]["quantity"]), (&json!(5), &json!(2)));
    assert_eq!(upsert(&database, read.clone()).await["result"], "unchanged", "the same again");

    let forced = with(read, json!({"force": true, "fetched_at": "2026-03-01T10:00:01Z"}));
    assert_eq!(sync(&database, forced).await["cancelled"], 3);
    assert_in_step(&database).await;
}

#[tokio::test]
async fn a_new_line_of_unreadable_quantity_gives_none() {
    let database = TestDatabase::new().await;
    assert_eq!(
        sync(&database, version(0, &[unknown("p1", "vip", "VIP"), line("p1", "reg", "Regular", 1)])).await["added"],
        1
    );
    assert_eq!(tickets(&database, "o1").await, ["Regular/live"]);
    // Also one that is new on a known order.
    let more = [line("p1", "reg", "Regular", 1), unknown("p2", "reg", "Regular")];
    assert_eq!(sync(&database, version(1, &more)).await["kept"], 1);
}

#[tokio::test]
async fn an_order_of_the_original_app_keeps_what_its_quantities_say() {
    let database = TestDatabase::new().await;
    database
        .execute(
            r#"insert into ghl_qr_orders (order_id, ticket_quantities) values ('o1', '{"VIP": 2, "Late": "many"}');
            insert into ghl_qr_tickets (order_id, ticket_type, status) values
              ('o1', 'VIP', 'live'), ('o1', 'VIP', 'used'), ('o1', 'VIP', 'live'), ('o1', 'Late', 'live')"#,
        )
        .await;
    sync(&database, version(0, &[unknown("p1", "vip", "VIP"), unknown("p1", "late", "Late")])).await;
    assert_eq!(tickets(&database, "o1").await, ["VIP/live", "VIP/used", "VIP/cancelled", "Late/cancelled"]);
    assert_in_step(&database).await;
}

#[tokio::test]
async fn vanished_lines_are_reported_once() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[line("p1", "vip", "VIP", 2)])).await;
    let vanished =
        json!({"lines_readable": false, "issues": [{"code": "items_unreadable", "message": "items is empty"}]});
    let codes = |result: &Value| -> Vec<String> {
        let issues = result["issues"].as_array().unwrap();
        issues.iter().map(|issue| issue["code"].as_str().unwrap().to_owned()).collect()
    };
    let kept = upsert(&database, with(version(1, &[]), vanished.clone())).await;
    assert_eq!(codes(&kept), ["lines_unreadable"], "what was kept, not what was missing");
    let new = upsert(&database, with(with(version(1, &[]), vanished), json!({"order_id": "o2"}))).await;
    assert_eq!(codes(&new), ["items_unreadable"]);
    assert_eq!(reconcile(&database, "o1").await["kept"], 2);
}

#[tokio::test]
async fn stored_orders_that_a_full_listing_misses_are_reported_and_left_alone() {
    let database = TestDatabase::new().await;
    for id in ["listed", "missed"] {
        sync(&database, order(id, &[line("p1", "vip", "VIP", 2)])).await;
    }
    database
        .execute(
            "insert into ghl_qr_orders (order_id) values ('of the original app');
             insert into ghl_qr_orders (order_id, location_id) values ('of another location', 'SomewhereElse')",
        )
        .await;
    for (kind, reported) in [("incremental", false), ("full", true)] {
        let run_id = start(&database, kind).await;
        // It came by webhook while the pages were read.
        sync(
            &database,
            with(order(kind, &[line("p1", "vip", "VIP", 1)]), json!({"fetched_at": "2100-01-01T00:00:00Z"})),
        )
        .await;
        // The second needs a fetch, so that the run goes on.
        let stamp = "2026-03-01T09:00:00Z";
        page(&database, &run_id, &[("listed", stamp), ("not fetched yet", stamp)], true).await;
        let issues = run(&database, &run_id).await["issues"].clone();
        if reported {
            assert_eq!(
                (&issues[0]["code"], &issues[0]["order_id"]),
                (&json!("orders_not_listed"), &Value::Null),
                "{issues}"
            );
            let message = issues[0]["message"].as_str().unwrap();
            assert!(message.starts_with("2 stored order(s) with 2 live ticket(s)"), "{message}");
            assert!(message.contains("missed, of the original app"), "{message}");
        } else {
            assert_eq!(issues, json!([]), "an incremental listing says nothing about the others");
        }
        database.call("cancel_run", json!({"location_id": LOCATION})).await;
    }
    assert_eq!(tickets(&database, "missed").await, ["VIP/live"; 2]);
}

#[tokio::test]
async fn a_run_reports_order_by_order_what_it_found_out_of_step() {
    let database = TestDatabase::new().await;
    for id in ["even", "fewer", "revived", "scanned"] {
        sync(&database, order(id, &[line("p1", "vip", "VIP", 2)])).await;
    }
    // What drift is: somebody changed tickets, and nobody noticed yet.
    database
        .execute(
            "update ghl_qr_tickets set status = 'validated' where order_id = 'scanned';
             delete from ghl_qr_tickets where ticket_id = (select min(ticket_id) from ghl_qr_tickets where order_id = 'fewer')",
        )
        .await;
    let refund = json!({"source_updated_at": "2026-03-02T09:00:00Z", "entitled": false});
    let revived = order("revived", &[line("p1", "vip", "VIP", 2)]);
    sync(&database, with(revived.clone(), refund)).await;
    upsert(&database, with(revived, json!({"source_updated_at": "2026-03-03T09:00:00Z"}))).await;

    let run_id = start(&database, "full").await;
    let ids = ["even", "fewer", "new", "revived", "scanned"];
    page(&database, &run_id, &ids.map(|id| (id, "2026-03-01T09:00:00Z")), true).await;
    upsert(&database, order("new", &[line("p1", "vip", "VIP", 3)])).await;
    let orders: Vec<_> =
        ids.iter().map(|id| json!({"order_id": id, "run_id": run_id, "change": "unchanged"})).collect();
    database.call("reconcile_tickets", json!({"orders": orders})).await;

    let row = |id: &str, added: u32, reinstated: u32| json!({"order_id": id, "added": added, "reinstated": reinstated, "cancelled": 0});
    let all = [row("fewer", 1, 0), row("new", 3, 0), row("revived", 0, 2)];
    let drift = &run(&database, &run_id).await["drift"];
    assert_eq!(drift, &json!({"orders": 3, "added": 4, "reinstated": 2, "cancelled": 0, "list": all}));

    let request = |after: Value| json!({"run_id": run_id, "limit": 2, "after": after});
    let first = database.call("get_run", request(Value::Null)).await;
    let second = database.call("get_run", request(first["next"].clone())).await;
    assert_eq!(
        (&first["drift"]["list"], &second["drift"]["list"]),
        (&json!(all[..2]), &json!(all[2..])),
        "page by page"
    );
    assert_eq!(second["next"], Value::Null);
}

/// What is forced later than it was asked for is what the admin had seen, or nothing.
#[tokio::test]
async fn only_lines_that_were_seen_are_forced() {
    let database = TestDatabase::new().await;
    let two = [line("p1", "vip", "VIP", 2)];
    sync(&database, version(0, &two)).await;
    let none = version(1, &[]);
    let unknown_quantity = version(1, &[unknown("p1", "vip", "VIP")]);
    let before = database.value("clock_timestamp() - interval '1 second'").await;
    let seen = upsert(&database, none.clone()).await;
    assert_eq!(seen["result"], "written");
    let after = database.value("clock_timestamp() + interval '1 second'").await;
    let codes = |result: &Value| -> Vec<String> {
        let issues = result["issues"].as_array().unwrap();
        issues.iter().map(|issue| issue["code"].as_str().unwrap().to_owned()).collect()
    };
    let by_hash = |read: &Value| with(read.clone(), json!({"force": true, "force_lines": seen["lines_hash"]}));
    let asked_at = |read: &Value, at: &Value| with(read.clone(), json!({"force": true, "force_asked_at": at}));
    for refused in [by_hash(&unknown_quantity), asked_at(&unknown_quantity, &after), asked_at(&none, &before)] {
        // The lines that were reported last are those of the first read again.
        upsert(&database, none.clone()).await;
        let result = upsert(&database, refused.clone()).await;
        assert!(codes(&result).contains(&"force_outdated".to_owned()), "{refused} {result}");
        assert_eq!(reconcile(&database, "o1").await["kept"], 2);
        database.execute("update sync_order_memory set lines_since = now()").await;
    }
    // Nothing is wrong with these lines, so nothing was to be seen.
    let whole = asked_at(&version(1, &two), &after);
    assert_eq!(codes(&upsert(&database, whole).await), ["force_outdated"]);

    upsert(&database, none.clone()).await;
    database.execute("update sync_order_memory set lines_since = now() - interval '10 seconds'").await;
    assert_eq!(
        codes(&upsert(&database, asked_at(&none, &before)).await),
        [""; 0],
        "asked for after they were reported"
    );
    assert_eq!(reconcile(&database, "o1").await["cancelled"], 2);

    sync(&database, with(version(2, &two), json!({}))).await;
    // Beside a run's read of the same order in the same batch.
    let plain = with(version(3, &[]), json!({"fetched_at": "2026-03-01T10:05:00Z"}));
    let forced = with(version(3, &[]), json!({"force": true, "force_lines": seen["lines_hash"]}));
    let answer = database.call("upsert_orders", json!({"orders": [plain, forced]})).await;
    assert_eq!(answer["orders"][0]["issues"], json!([]));
    assert_eq!(reconcile(&database, "o1").await["cancelled"], 2);
}
