//! Tickets against the lines of their order. Invariant per line: live + held = max(entitled, held).

use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::orders::{assert_in_step, line, order, page, reconcile, run, start, sync, tickets, upsert, with};

/// The order's next version, with these lines.
fn version(number: u32, lines: &[Value]) -> Value {
    with(order("o1", lines), json!({"source_updated_at": format!("2026-03-01T09:{number:02}:00Z")}))
}

fn unpaid(number: u32, lines: &[Value], reason: &str) -> Value {
    with(version(number, lines), json!({"entitled": false, "entitlement_reason": reason}))
}

async fn set_status(database: &TestDatabase, ticket: u32, status: &str) {
    database.execute(&format!("update ghl_qr_tickets set status = '{status}' where ticket_id = {ticket}")).await;
}

/// Its name, what people set (ticket and status), GHL's lines, paid?, the tickets afterwards.
type Case = (&'static str, &'static [(u32, &'static str)], Vec<Value>, bool, &'static str);

/// One order of three VIP tickets; then somebody does something to the tickets, then GHL says something new.
#[tokio::test]
async fn three_tickets_after_what_people_did_and_what_ghl_says() {
    let vip = |quantity| vec![line("p1", "vip", "VIP", quantity)];
    let cases: [Case; 17] = [
        ("nothing", &[], vip(3), true, "live live live"),
        ("more", &[], vip(5), true, "live live live live live"),
        ("fewer: the highest go", &[], vip(1), true, "live cancelled cancelled"),
        ("the line is gone", &[], vec![line("p2", "x", "Other", 1)], true, "cancelled cancelled cancelled live"),
        ("refunded", &[], vip(3), false, "cancelled cancelled cancelled"),
        ("refunded after a scan", &[(1, "validated")], vip(3), false, "validated cancelled cancelled"),
        ("refunded after a scan of the original app", &[(3, "used")], vip(3), false, "cancelled cancelled used"),
        ("fewer than scanned", &[(1, "used"), (2, "validated")], vip(1), true, "used validated cancelled"),
        ("a scanned one counts", &[(3, "validated")], vip(2), true, "live cancelled validated"),
        ("more after a scan", &[(1, "used")], vip(4), true, "used live live live"),
        ("cancelled by hand: not replaced", &[(2, "cancelled")], vip(3), true, "live cancelled live"),
        ("cancelled by hand, then more", &[(2, "cancelled")], vip(4), true, "live cancelled live live"),
        ("cancelled by hand, then fewer", &[(1, "cancelled")], vip(2), true, "cancelled live cancelled"),
        ("an unknown status is held", &[(2, "lost")], vip(3), true, "live lost live"),
        ("an unknown status, refunded", &[(2, "lost")], vip(3), false, "cancelled lost cancelled"),
        ("all held", &[(1, "used"), (2, "lost"), (3, "cancelled")], vip(2), true, "used lost cancelled"),
        ("a quantity of nothing", &[], vip(0), true, "cancelled cancelled cancelled"),
    ];
    for (case, people, lines, paid, expected) in cases {
        let database = TestDatabase::new().await;
        sync(&database, version(0, &vip(3))).await;
        for (ticket, status) in people {
            set_status(&database, *ticket, status).await;
        }
        upsert(&database, if paid { version(1, &lines) } else { unpaid(1, &lines, "refunded") }).await;
        reconcile(&database, "o1").await;
        let statuses: Vec<_> =
            tickets(&database, "o1").await.iter().map(|ticket| ticket.split_once('/').unwrap().1.to_owned()).collect();
        assert_eq!(statuses.join(" "), expected, "{case}");
        assert_in_step(&database).await;

        let again = reconcile(&database, "o1").await;
        assert_eq!([&again["added"], &again["reinstated"], &again["cancelled"]], [0, 0, 0], "{case}: {again}");
    }
}

#[tokio::test]
async fn what_sync_cancelled_comes_back_with_its_id() {
    let database = TestDatabase::new().await;
    let lines = [line("p1", "vip", "VIP", 3)];
    sync(&database, version(0, &lines)).await;
    sync(&database, unpaid(1, &lines, "refunded")).await;
    let reason = "select distinct status_reason from ghl_qr_tickets";
    assert_eq!(database.value(reason).await, "refunded");
    let result = sync(&database, version(2, &lines)).await;
    assert_eq!((&result["reinstated"], &result["added"]), (&json!(3), &json!(0)));
    assert_eq!(
        database.value("select array_agg(ticket_id order by ticket_id) from ghl_qr_tickets").await,
        json!([1, 2, 3])
    );
    assert_eq!(tickets(&database, "o1").await, ["VIP/live"; 3]);
}

#[tokio::test]
async fn a_ticket_a_person_cancelled_stays_cancelled_through_refund_and_revert() {
    let database = TestDatabase::new().await;
    let lines = [line("p1", "vip", "VIP", 2)];
    sync(&database, version(0, &lines)).await;
    set_status(&database, 1, "cancelled").await;
    sync(&database, unpaid(1, &lines, "refunded")).await;
    sync(&database, version(2, &lines)).await;
    assert_eq!(tickets(&database, "o1").await, ["VIP/cancelled", "VIP/live"]);
}

#[tokio::test]
async fn a_person_who_revives_what_sync_cancelled_is_corrected() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[line("p1", "vip", "VIP", 2)])).await;
    sync(&database, version(1, &[line("p1", "vip", "VIP", 1)])).await;
    set_status(&database, 2, "live").await;
    let due = database.call("due_orders", json!({"older_than_ms": 0, "limit": 10})).await;
    assert_eq!(due["orders"], json!([{"order_id": "o1", "run_id": null}]), "noticed without a message");
    assert_eq!(reconcile(&database, "o1").await["cancelled"], 1);
    assert_in_step(&database).await;
    let due = database.call("due_orders", json!({"older_than_ms": 0, "limit": 10})).await;
    assert_eq!(due["orders"], json!([]));
}

/// Handed over again and again, it would be refused each time.
#[tokio::test]
async fn what_the_database_refused_is_not_due_until_it_changes() {
    let database = TestDatabase::new().await;
    let due = async || database.call("due_orders", json!({"older_than_ms": 0, "limit": 10})).await["orders"].clone();
    let failed = async |code: &str| {
        let order =
            json!({"order_id": "o1", "cause": "run", "class": "permanent", "code": code, "reason": "-", "attempts": 1});
        database.call("record_failures", json!({"failures": [order]})).await;
    };
    sync(&database, version(0, &[line("p1", "vip", "VIP", 2)])).await;
    database.execute("delete from ghl_qr_tickets where ticket_id = 1").await;
    failed("ghl_unavailable").await;
    assert_eq!(due().await[0]["order_id"], "o1", "another failure");
    failed("tickets_refused").await;
    assert_eq!(due().await, json!([]));
    database.execute("delete from ghl_qr_tickets where ticket_id = 2").await;
    assert_eq!(due().await[0]["order_id"], "o1");
}

#[tokio::test]
async fn a_deleted_ticket_is_replaced() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[line("p1", "vip", "VIP", 2)])).await;
    database.execute("delete from ghl_qr_tickets where ticket_id = 1").await;
    let due = database.call("due_orders", json!({"older_than_ms": 0, "limit": 10})).await;
    assert_eq!(due["orders"][0]["order_id"], "o1");
    assert_eq!(reconcile(&database, "o1").await["added"], 1);
    assert_in_step(&database).await;
}

#[tokio::test]
async fn a_renamed_price_relabels() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[line("p1", "vip", "VIP", 2)])).await;
    set_status(&database, 1, "validated").await;
    let result = sync(&database, version(1, &[line("p1", "vip", "Gold", 2)])).await;
    assert_eq!((&result["relabelled"], &result["kept"], &result["added"]), (&json!(2), &json!(2), &json!(0)));
    assert_eq!(tickets(&database, "o1").await, ["Gold/validated", "Gold/live"]);
}

#[tokio::test]
async fn lines_are_told_apart_by_their_ids_and_without_ids_by_their_labels() {
    let database = TestDatabase::new().await;
    let lines = [
        line("p1", "a", "VIP", 1),
        line("p2", "b", "VIP", 2),
        line("p1", "", "Early", 1),
        line("p1", "", "Late", 2),
        line("", "", "General", 1),
        line("p1", "a", "VIP", 1),
    ];
    assert_eq!(sync(&database, version(0, &lines)).await["added"], 8);
    // The same price twice is one line of two.
    assert_eq!(database.value("select count(*) from ghl_qr_tickets where price_id = 'a'").await, 2);
    let fewer =
        [line("p1", "a", "VIP", 2), line("p2", "b", "VIP", 1), line("p1", "", "Late", 2), line("", "", "General", 1)];
    let result = sync(&database, version(1, &fewer)).await;
    assert_eq!((&result["cancelled"], &result["kept"]), (&json!(2), &json!(6)));
    let gone =
        database.rows("select ticket_type, product_id from ghl_qr_tickets where status = 'cancelled' order by 1").await;
    assert_eq!(
        gone,
        [json!({"ticket_type": "Early", "product_id": "p1"}), json!({"ticket_type": "VIP", "product_id": "p2"})]
    );
    assert_in_step(&database).await;
}

#[tokio::test]
async fn too_many_validated_tickets_are_reported_on_the_run() {
    let database = TestDatabase::new().await;
    let lines = [line("p1", "vip", "VIP", 2)];
    sync(&database, version(0, &lines)).await;
    set_status(&database, 1, "used").await;
    let run_id = start(&database, "full").await;
    crate::orders::page(&database, &run_id, &[("o1", "2026-03-01T09:01:00Z")], true).await;
    upsert(&database, with(unpaid(1, &lines, "refunded"), json!({"run_id": run_id}))).await;
    let request = json!({"orders": [{"order_id": "o1", "run_id": run_id, "change": "written", "attempts": 1}]});
    let answer = database.call("reconcile_tickets", request).await;
    assert_eq!(answer["orders"][0]["over_validated"], 1);
    let state = run(&database, &run_id).await;
    assert_eq!(state["issues"][0]["code"], "over_validated", "also when it is the run's last order: {state:#}");
    let row = json!({"order_id": "o1", "added": 0, "reinstated": 0, "cancelled": 1});
    let drift = json!({"orders": 1, "added": 0, "reinstated": 0, "cancelled": 1, "list": [row]});
    assert_eq!(state["drift"], drift);
}

#[tokio::test]
async fn reconciling_again_writes_no_row() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[line("p1", "vip", "VIP", 3)])).await;
    database.execute("begin").await;
    let request = json!({"location_id": crate::harness::LOCATION, "orders": [{"order_id": "o1"}]});
    let reconciled = database.owner.query_one("select reconcile_tickets($1)", &[&request]).await.unwrap();
    assert_eq!(reconciled.get::<_, Value>(0)["orders"][0]["kept"], 3);
    let written = "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_xact_user_tables";
    assert_eq!(database.value(written).await, 0);
    database.execute("commit").await;
}

#[tokio::test]
async fn every_change_is_recorded_with_its_reason() {
    let database = TestDatabase::new().await;
    let lines = [line("p1", "vip", "VIP", 1)];
    sync(&database, version(0, &lines)).await;
    sync(&database, unpaid(1, &lines, "refunded")).await;
    sync(&database, version(2, &[line("p1", "vip", "Gold", 1)])).await;
    set_status(&database, 1, "used").await;
    let changes = database
        .rows("select changed_by, reason, old_status, new_status from ghl_qr_ticket_changes order by change_id")
        .await;
    let changes: Vec<_> = changes
        .iter()
        .map(|change| {
            format!(
                "{}: {} ({}->{})",
                change["changed_by"].as_str().unwrap(),
                change["reason"].as_str().unwrap(),
                change["old_status"].as_str().unwrap_or("-"),
                change["new_status"].as_str().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        changes,
        [
            "sync: added (-->live)",
            "sync: refunded (live->cancelled)",
            "sync: relabelled (cancelled->cancelled)",
            "sync: entitled again (cancelled->live)",
            "external: changed outside ghl-sync (live->used)",
        ]
    );
    assert_ne!(
        database.value("select validated_at from ghl_qr_tickets").await,
        Value::Null,
        "when a plain UPDATE validated it"
    );
}

#[tokio::test]
async fn an_order_of_five_thousand_tickets_works() {
    let database = TestDatabase::new().await;
    assert_eq!(sync(&database, version(0, &[line("p1", "vip", "VIP", 5000)])).await["added"], 5000);
    assert_eq!(sync(&database, version(1, &[line("p1", "vip", "VIP", 4000)])).await["cancelled"], 1000);
    assert_in_step(&database).await;
}

/// 1,000 orders of three tickets in one call. How long it takes is printed, and bounded only by the time-out of a call.
#[tokio::test]
async fn a_thousand_orders_in_one_call() {
    let database = TestDatabase::new().await;
    let ids: Vec<_> = (0..1000).map(|number| format!("o{number}")).collect();
    let orders: Vec<_> =
        ids.iter().map(|id| order(id, &[line("p1", "vip", "VIP", 2), line("p1", "reg", "Regular", 1)])).collect();
    let run_id = start(&database, "full").await;
    let listed: Vec<_> = ids.iter().map(|id| (id.as_str(), "2026-03-01T09:00:00Z")).collect();
    crate::orders::page(&database, &run_id, &listed, true).await;
    database.call("upsert_orders", json!({"orders": orders})).await;
    let request = json!({"orders": ids.iter().map(|id| json!({"order_id": id, "run_id": run_id, "change": "written"})).collect::<Vec<_>>()});
    for (which, expected) in [("adding", 3000), ("unchanged", 0)] {
        let begun = std::time::Instant::now();
        let answer = database.call("reconcile_tickets", request.clone()).await;
        let added: u64 =
            answer["orders"].as_array().unwrap().iter().map(|order| order["added"].as_u64().unwrap()).sum();
        assert_eq!(added, expected);
        println!("{which}: {:?}", begun.elapsed());
    }
    let state = &run(&database, &run_id).await["run"];
    assert_eq!(
        (&state["synced"], &state["tickets_total"], &state["state"]),
        (&json!(1000), &json!(3000), &json!("Delay"))
    );
}

/// The example of the original's documentation: ids that aren't GHL's, and tickets numbered in the order of the lines, whatever their
/// ids and labels sort as.
#[tokio::test]
async fn tickets_are_numbered_in_the_order_of_the_lines() {
    let database = TestDatabase::new().await;
    let lines = [line("z", "late", "VIP", 2), line("a", "early", "Regular", 3)];
    sync(&database, order("order_abc123", &lines)).await;
    let numbered = async |id: &str| {
        let query =
            format!("select ticket_id, ticket_type from ghl_qr_tickets where order_id = '{id}' order by ticket_id");
        let rows = database.rows(&query).await;
        rows.iter()
            .map(|row| format!("{} {}", row["ticket_id"], row["ticket_type"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(numbered("order_abc123").await, ["1 VIP", "2 VIP", "3 Regular", "4 Regular", "5 Regular"]);

    // Several orders in one call, lines without a price's id, and a line that grows.
    let unnamed = |label: &str, quantity| line("p", "", label, quantity);
    upsert(&database, order("o2", &[unnamed("B", 1), unnamed("A", 2)])).await;
    upsert(&database, order("o1", &[line("z", "1", "Z", 1), line("a", "1", "A", 1)])).await;
    let orders = json!([{"order_id": "o2"}, {"order_id": "o1"}]);
    database.call("reconcile_tickets", json!({"orders": orders})).await;
    assert_eq!(numbered("o1").await, ["6 Z", "7 A"]);
    assert_eq!(numbered("o2").await, ["8 B", "9 A", "10 A"]);
    sync(
        &database,
        with(
            order("o1", &[line("z", "1", "Z", 2), line("a", "1", "A", 1)]),
            json!({
                "source_updated_at": "2026-03-01T09:30:00Z",
            }),
        ),
    )
    .await;
    assert_eq!(numbered("o1").await, ["6 Z", "7 A", "11 Z"], "a number once given stays");
    assert_in_step(&database).await;
}

/// Who is told so logs it; the same message again, and another one about the same, isn't.
#[tokio::test]
async fn an_order_is_brought_in_step_by_one_call() {
    let database = TestDatabase::new().await;
    let tell =
        async |orders: Value| database.call("reconcile_tickets", json!({"orders": orders})).await["first"].clone();
    let lines = [line("p1", "vip", "VIP", 2)];
    upsert(&database, version(0, &lines)).await;
    assert_eq!(tell(json!([{"order_id": "o1"}])).await, json!(["o1"]), "it was due");
    assert_eq!(tell(json!([{"order_id": "o1"}])).await, json!([]));
    database.execute("delete from ghl_qr_tickets where ticket_id = 1").await;
    assert_eq!(tell(json!([{"order_id": "o1"}])).await, json!(["o1"]), "a ticket was missing");

    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[("o1", "2026-03-01T09:00:00Z"), ("o2", "2026-03-01T09:00:00Z")], true).await;
    let of_run = |id: &str| json!({"order_id": id, "run_id": run_id, "change": "unchanged", "attempts": 1});
    assert_eq!(tell(json!([of_run("o1")])).await, json!(["o1"]), "its run waits for it");
    assert_eq!(tell(json!([of_run("o1")])).await, json!([]), "no more");
    assert_eq!(tell(json!([of_run("unknown")])).await, json!([]));

    let failed = async |run_id: Value| {
        let failure = json!({"order_id": "o2", "run_id": run_id, "cause": "run", "class": "permanent", "code": "x", "reason": "-", "attempts": 1});
        database.call("record_failures", json!({"failures": [failure]})).await["first"].clone()
    };
    assert_eq!(failed(json!(run_id)).await, json!(["o2"]));
    assert_eq!(failed(json!(run_id)).await, json!([]), "the first outcome stands");
    assert_eq!(failed(Value::Null).await, json!(["o2"]), "outside of a run each failure is one");
}
