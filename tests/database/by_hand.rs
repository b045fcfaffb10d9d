//! What admins do with tickets by hand, and how sync respects it.

use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::orders::{assert_in_step, line, order, reconcile, sync, tickets, with};

async fn cancel(database: &TestDatabase, ticket: u32) -> Value {
    let request = json!({"ticket_id": ticket, "by": "admin-1", "reason": "Given back"});
    database.call("cancel_ticket", request).await
}

async fn reinstate(database: &TestDatabase, ticket: u32) -> Value {
    let request = json!({"ticket_id": ticket, "by": "admin-2", "reason": "Needed after all"});
    database.call("reinstate_ticket", request).await
}

/// The n-th version of an order with so many tickets, paid for or not.
fn version(n: u32, quantity: u32, entitled: bool) -> Value {
    with(
        order("o1", &[line("p1", "vip", "VIP", quantity)]),
        json!({
            "source_updated_at": format!("2026-03-{:02}T00:00:00Z", n + 1), "entitled": entitled,
            "entitlement_reason": if entitled { "paid" } else { "refunded" },
        }),
    )
}

async fn statuses(database: &TestDatabase) -> String {
    tickets(database, "o1").await.join(" ").replace("VIP/", "")
}

#[tokio::test]
async fn a_cancelled_ticket_stays_cancelled_and_is_not_replaced() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 3, true)).await;
    let cancelled = cancel(&database, 2).await;
    assert_eq!((&cancelled["result"], &cancelled["repeated"]), (&json!("cancelled_by_hand"), &json!(false)));
    assert_eq!(cancelled["ticket"]["status"], "cancelled");
    assert_eq!(cancelled["ticket"]["reason"], "Given back (cancelled by admin-1)");
    for (n, quantity, entitled, expected) in [
        (2, 3, true, "live cancelled live"),
        (3, 4, true, "live cancelled live live"),
        (4, 4, false, "cancelled cancelled cancelled cancelled"),
        (5, 4, true, "live cancelled live live"),
    ] {
        sync(&database, version(n, quantity, entitled)).await;
        assert_eq!(statuses(&database).await, expected);
    }
    let scan = database.call("validate_ticket", json!({"ticket_id": 2, "by": "gate"})).await;
    assert_eq!((&scan["result"], &scan["ticket"]["reason"]), (&json!("cancelled"), &cancelled["ticket"]["reason"]));
    assert_in_step(&database).await;
}

#[tokio::test]
async fn who_did_it_and_why_stands_in_the_history() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 1, true)).await;
    cancel(&database, 1).await;
    reinstate(&database, 1).await;
    let history = "select changed_by, reason, old_status, new_status from ghl_qr_ticket_changes
        where changed_by <> 'sync' order by change_id";
    assert_eq!(
        database.rows(history).await,
        [
            json!({"changed_by": "admin", "reason": "Given back (cancelled by admin-1)",
                "old_status": "live", "new_status": "cancelled"}),
            json!({"changed_by": "admin", "reason": "Needed after all (reinstated by admin-2)",
                "old_status": "cancelled", "new_status": "live"}),
        ]
    );
}

#[tokio::test]
async fn the_same_again_gets_the_same_answer_and_changes_nothing() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 2, true)).await;
    let rows = "select jsonb_agg(t.xmin::text || c.changes) from ghl_qr_tickets t,
        (select count(*) as changes from ghl_qr_ticket_changes) c";
    for deed in ["cancel", "reinstate"] {
        let again = async || if deed == "cancel" { cancel(&database, 1).await } else { reinstate(&database, 1).await };
        let first = again().await;
        let before = database.value(rows).await;
        let second = again().await;
        assert_eq!((&second["result"], &second["ticket"]), (&first["result"], &first["ticket"]));
        assert_eq!((&first["repeated"], &second["repeated"]), (&json!(false), &json!(true)));
        assert_eq!(database.value(rows).await, before);
    }
    assert_eq!(statuses(&database).await, "live live");
    // What was reinstated is like any other: sync cancels it, and brings it back.
    sync(&database, version(2, 2, false)).await;
    assert_eq!(reinstate(&database, 1).await["result"], "not_entitled");
    sync(&database, version(3, 2, true)).await;
    assert_eq!(statuses(&database).await, "live live");
    assert_eq!(reinstate(&database, 1).await["result"], "not_cancelled", "sync did it");
}

#[tokio::test]
async fn an_admitted_ticket_is_not_cancelled_before_that_is_undone() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 1, true)).await;
    database.call("validate_ticket", json!({"ticket_id": 1, "by": "gate"})).await;
    assert_eq!(cancel(&database, 1).await["result"], "already_validated");
    database.execute("update ghl_qr_tickets set status = 'used'").await;
    assert_eq!(cancel(&database, 1).await["result"], "already_validated");
    assert_eq!(reinstate(&database, 1).await["result"], "not_cancelled");
    database.call("undo_ticket", json!({"ticket_id": 1, "by": "admin-1"})).await;
    assert_eq!(cancel(&database, 1).await["result"], "cancelled_by_hand");
}

/// Held, it would count: of two tickets of an order for two, one would go for it.
#[tokio::test]
async fn what_sync_has_cancelled_is_neither_cancelled_nor_reinstated_by_hand() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 3, true)).await;
    sync(&database, version(2, 2, true)).await;
    let (cancelled, reinstated) = (cancel(&database, 3).await, reinstate(&database, 3).await);
    assert_eq!(
        (&cancelled["result"], &cancelled["ticket"]["reason"]),
        (&json!("cancelled_by_sync"), &json!("quantity lowered"))
    );
    assert_eq!(
        (&reinstated["result"], &reinstated["why_not"]),
        (&json!("not_entitled"), &json!("other tickets take its places"))
    );
    reconcile(&database, "o1").await;
    assert_eq!(statuses(&database).await, "live live cancelled");
    sync(&database, version(3, 2, false)).await;
    assert_eq!(reinstate(&database, 1).await["why_not"], "refunded");
    sync(&database, version(4, 3, true)).await;
    assert_eq!(statuses(&database).await, "live live live", "it comes back by itself");
}

/// Else the next reconciliation would cancel it again, and the admin would have been told that it is live.
#[tokio::test]
async fn a_ticket_is_reinstated_only_where_its_order_has_a_place() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 2, true)).await;
    cancel(&database, 1).await;
    sync(&database, version(2, 2, false)).await;
    assert_eq!(reinstate(&database, 1).await["why_not"], "refunded");
    sync(&database, version(3, 2, true)).await;
    assert_eq!(statuses(&database).await, "cancelled live");
    // One place is left, and somebody came in on it.
    database.call("validate_ticket", json!({"ticket_id": 2, "by": "gate"})).await;
    sync(&database, version(4, 1, true)).await;
    assert_eq!(reinstate(&database, 1).await["why_not"], "other tickets take its places");
    sync(&database, with(version(5, 1, true), json!({"lines": [line("p2", "reg", "Regular", 1)]}))).await;
    assert_eq!(reinstate(&database, 1).await["why_not"], "no longer on the order");
    sync(&database, version(6, 2, true)).await;
    assert_eq!(reinstate(&database, 1).await["result"], "reinstated");
    let before = reconcile(&database, "o1").await;
    assert_eq!((&before["added"], &before["cancelled"], &before["reinstated"]), (&json!(0), &json!(0), &json!(0)));
    assert_in_step(&database).await;
}

#[tokio::test]
async fn a_due_order_is_brought_in_step_first() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 2, true)).await;
    cancel(&database, 1).await;
    // Written, and the worker died before handing over.
    crate::orders::upsert(&database, version(2, 2, false)).await;
    assert_eq!(reinstate(&database, 1).await["result"], "not_entitled");
    assert_eq!(cancel(&database, 2).await["result"], "cancelled_by_sync");
}

#[tokio::test]
async fn what_people_cancelled_elsewhere_can_be_reinstated() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 1, true)).await;
    database.execute("update ghl_qr_tickets set status = 'cancelled'").await;
    let cancelled = cancel(&database, 1).await;
    assert_eq!((&cancelled["result"], &cancelled["repeated"]), (&json!("cancelled_by_hand"), &json!(true)));
    assert_eq!(reinstate(&database, 1).await["result"], "reinstated");
    assert_eq!(statuses(&database).await, "live");
    // Orders of the original app that were never fetched.
    database
        .execute(
            "insert into ghl_qr_orders (order_id) values ('old');
             insert into ghl_qr_tickets (order_id, ticket_type, status) values
               ('old', 'VIP', 'cancelled'), ('old', 'VIP', 'lost at the door'), ('old', 'VIP', null)",
        )
        .await;
    assert_eq!(reinstate(&database, 2).await["result"], "reinstated");
    for ticket in [3, 4] {
        assert_eq!(reinstate(&database, ticket).await["result"], "not_cancelled");
        assert_eq!(cancel(&database, ticket).await["result"], "cancelled_by_hand");
    }
    assert_eq!(tickets(&database, "old").await, ["VIP/live", "VIP/cancelled", "VIP/cancelled"]);
}

#[tokio::test]
async fn nobody_reaches_another_locations_ticket_or_does_without_a_reason() {
    let database = TestDatabase::new().await;
    sync(&database, version(1, 1, true)).await;
    for function in ["cancel_ticket", "reinstate_ticket"] {
        let elsewhere = json!({"location_id": "Elsewhere", "ticket_id": 1, "by": "x", "reason": "x"});
        assert_eq!(database.call(function, elsewhere).await, json!({"result": "not_found", "ticket": null}));
        let none = database.try_call(function, json!({"ticket_id": 1, "by": "x"})).await.unwrap_err();
        assert_eq!(crate::harness::sql_state(&none), "22023", "{function}");
    }
    assert_eq!(statuses(&database).await, "live");
}
