//! What is told of one order.

use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::orders::{line, order, page, start, sync, with};

const STAMP: &str = "2026-03-01T09:00:00Z";

async fn history(database: &TestDatabase, id: &str, more: Value) -> Value {
    let request = with(json!({"order_id": id}), more);
    database.call("order_history", request).await
}

fn two_tickets(id: &str) -> Value {
    order(id, &[line("p1", "vip", "VIP", 2)])
}

async fn fail(database: &TestDatabase, id: &str, run_id: Option<&str>, code: &str) {
    let failure = json!({"order_id": id, "run_id": run_id, "cause": "webhook", "class": "permanent", "code": code,
        "reason": "Something failed", "attempts": 3});
    database.call("record_failures", json!({"failures": [failure]})).await;
}

/// The codes of its failures or issues.
fn codes(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_order_is_told_without_its_buyer() {
    let database = TestDatabase::new().await;
    let known = with(
        two_tickets("o1"),
        json!({"row": {
            "total_paid": "150.10", "payment_status": "paid", "payment_currency": "EUR", "order_status": "completed",
            "contact_id": "c1", "contact_firstname": "Ada", "contact_lastname": "Example", "contact_email": "ada@example.test",
            "contact_phone": "+4915100000", "event_name": "Spring Gala",
        }}),
    );
    sync(&database, known.clone()).await;
    database.call("replace_products", json!({"products": [{"product_id": "p1", "name": "Gala"}]})).await;
    let told = history(&database, "o1", json!({})).await;
    let facts = &told["order"];
    for (field, expected) in [
        ("status", json!("completed")),
        ("payment_status", json!("paid")),
        ("total_paid", json!(150.1)),
        ("refunded", Value::Null),
        ("currency", json!("EUR")),
        ("event_name", json!("Spring Gala")),
        ("entitled", json!(true)),
        ("valid", json!(true)),
        ("is_due", json!(false)),
        ("forgotten", json!(false)),
    ] {
        assert_eq!(facts[field], expected, "{field}");
    }
    assert_eq!((&told["found"], &facts["lines"][0]["quantity"]), (&json!(true), &json!(2)));
    let tickets = told["tickets"].as_array().unwrap();
    assert_eq!((tickets.len(), &tickets[0]["ticket_type"], &tickets[0]["status"]), (2, &json!("VIP"), &json!("live")));
    for buyer in ["Ada", "Example", "ada@", "+49151", "c1"] {
        assert!(!told.to_string().contains(buyer), "{buyer}: {told}");
    }

    let forget = json!({"contact_id": "c1", "by": "admin"});
    database.call("forget_contact", forget).await;
    let told = history(&database, "o1", json!({})).await;
    assert_eq!((&told["order"]["forgotten"], &told["order"]["total_paid"]), (&json!(true), &json!(150.1)));
}

#[tokio::test]
async fn what_was_refunded_is_told() {
    let database = TestDatabase::new().await;
    sync(&database, two_tickets("o1")).await;
    let run_id = start(&database, "full").await;
    let refund = json!({"order_id": "o1", "refunded": "50.00", "received": "150.10", "transactions": {"t1": "50.00"}});
    database.call("record_refunds", json!({"run_id": run_id, "transactions": null, "refunds": [refund]})).await;
    let told = history(&database, "o1", json!({})).await;
    assert_eq!((&told["order"]["refunded"], codes(&told["issues"])), (&json!(50), vec!["partial_refund"]));
    assert_eq!(told["issues"][0]["run_id"], json!(run_id));
}

#[tokio::test]
async fn changes_come_newest_first_and_in_pages() {
    let database = TestDatabase::new().await;
    sync(&database, two_tickets("o1")).await;
    sync(&database, two_tickets("o2")).await;
    database.call("validate_ticket", json!({"ticket_id": 1, "by": "u1"})).await;
    database.call("cancel_ticket", json!({"ticket_id": 2, "by": "u2", "reason": "Given back"})).await;
    database.execute("update ghl_qr_tickets set status = 'live' where ticket_id = 2").await;
    let first = history(&database, "o1", json!({"limit": 2})).await;
    let who = |told: &Value| {
        let changes = told["changes"].as_array().unwrap().iter();
        changes
            .map(|c| format!("{} {}", c["changed_by"].as_str().unwrap(), c["new_status"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(who(&first), ["external live", "admin cancelled"]);
    let second = history(&database, "o1", json!({"limit": 2, "before": first["next"]})).await;
    assert_eq!(who(&second), ["gate validated", "sync live"]);
    let third = history(&database, "o1", json!({"limit": 2, "before": second["next"]})).await;
    assert_eq!((who(&third), &third["next"]), (vec!["sync live".to_owned()], &Value::Null));
    assert_eq!(third["order"]["status"], "completed", "everything else stands on each page");
    assert!(database.try_call("order_history", json!({"order_id": "o1", "before": "x"})).await.is_err());
}

#[tokio::test]
async fn failures_and_issues_are_those_of_the_last_30_days() {
    let database = TestDatabase::new().await;
    let run_id = start(&database, "full").await;
    page(&database, &run_id, &[("o1", STAMP), ("o2", STAMP)], true).await;
    fail(&database, "o1", Some(&run_id), "in_a_run").await;
    fail(&database, "o2", Some(&run_id), "of_another").await;
    database
        .execute(&format!(
            "insert into sync_issues (run_id, order_id, code, message)
             values ('{run_id}', 'o1', 'noted', 'x'), ('{run_id}', 'o2', 'of_another', 'x'), ('{run_id}', '', 'of_the_run', 'x')"
        ))
        .await;
    fail(&database, "o1", None, "outside").await;
    let told = history(&database, "o1", json!({})).await;
    assert_eq!((codes(&told["failures"]), codes(&told["issues"])), (vec!["outside", "in_a_run"], vec!["noted"]));
    assert_eq!((&told["failures"][0]["run_id"], &told["failures"][1]["run_id"]), (&Value::Null, &json!(run_id)));
    assert_eq!((&told["found"], &told["order"]), (&json!(true), &Value::Null), "it was never stored");

    database.execute("update sync_runs set started_at = now() - interval '30 days'").await;
    let told = history(&database, "o1", json!({})).await;
    assert_eq!((codes(&told["failures"]), codes(&told["issues"])), (vec!["outside"], Vec::new()));
}

#[tokio::test]
async fn what_is_deleted_keeps_its_history_and_what_is_anothers_is_not_told() {
    let database = TestDatabase::new().await;
    sync(&database, two_tickets("o1")).await;
    database.execute("delete from ghl_qr_orders where order_id = 'o1'").await;
    let told = history(&database, "o1", json!({})).await;
    assert_eq!((&told["found"], &told["order"], &told["tickets"]), (&json!(true), &Value::Null, &json!([])));
    assert_eq!(told["changes"].as_array().unwrap().len(), 4, "made and deleted");

    sync(&database, two_tickets("o2")).await;
    for (id, location) in [("never", None), ("o2", Some("Elsewhere")), ("o1", Some("Elsewhere"))] {
        let mut request = json!({});
        if let Some(location) = location {
            request["location_id"] = json!(location);
        }
        let told = history(&database, id, request).await;
        let nothing = json!({"found": false, "order": null, "tickets": [], "changes": [], "failures": [], "issues": [],
            "next": null});
        assert_eq!(told, nothing, "{id} {location:?}");
    }
    // Old rows of the original app name no location.
    database
        .execute(
            "insert into ghl_qr_orders (order_id) values ('old');
             insert into ghl_qr_tickets (order_id, ticket_type) values ('old', 'VIP')",
        )
        .await;
    let told = history(&database, "old", json!({})).await;
    assert_eq!(
        (&told["found"], &told["order"]["lines"], &told["order"]["valid"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    assert_eq!(told["changes"][0]["changed_by"], "external");
}
