//! The gate admits a ticket once, whoever scans it how often.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{TestDatabase, call};
use crate::orders::{assert_in_step, line, order, sync, tickets, upsert, with};

async fn validate(database: &TestDatabase, ticket: u32) -> Value {
    database.call("validate_ticket", json!({"ticket_id": ticket, "by": "gate@example.test"})).await
}

async fn undo(database: &TestDatabase, ticket: u32) -> Value {
    database.call("undo_ticket", json!({"ticket_id": ticket, "by": "admin@example.test"})).await
}

fn refunded(quantity: u32) -> Value {
    with(
        order("o1", &[line("p1", "vip", "VIP", quantity)]),
        json!({
        "source_updated_at": "2026-03-02T00:00:00Z", "entitled": false, "entitlement_reason": "The order was refunded"}),
    )
}

#[tokio::test]
async fn admits_once_and_tells_a_second_scan_when_the_first_was() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    let first = validate(&database, 1).await;
    assert_eq!(first["result"], "admitted");
    assert_eq!(
        first["ticket"],
        json!({"ticket_id": 1, "order_id": "o1", "ticket_type": "VIP", "status": "validated",
        "validated_at": first["ticket"]["validated_at"], "reason": null})
    );
    let second = validate(&database, 1).await;
    assert_eq!((&second["result"], &second["ticket"]), (&json!("already_validated"), &first["ticket"]));
    assert_eq!(
        database.value("select validated_by from ghl_qr_tickets where ticket_id = 1").await,
        "gate@example.test"
    );
    assert_eq!(validate(&database, 99).await, json!({"result": "not_found", "ticket": null}));
}

#[tokio::test]
async fn tickets_the_original_app_used_are_already_validated() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    database.execute("update ghl_qr_tickets set status = 'used'").await;
    let scan = validate(&database, 1).await;
    assert_eq!((&scan["result"], &scan["ticket"]["status"]), (&json!("already_validated"), &json!("used")));
    assert!(scan["ticket"]["validated_at"].is_string());
}

#[tokio::test]
async fn refuses_cancelled_ones_with_the_reason() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    sync(&database, refunded(1)).await;
    let scan = validate(&database, 1).await;
    assert_eq!((&scan["result"], &scan["ticket"]["reason"]), (&json!("cancelled"), &json!("The order was refunded")));
    database.execute("update ghl_qr_tickets set status = 'lost'").await;
    let scan = validate(&database, 1).await;
    assert_eq!((&scan["result"], &scan["ticket"]["reason"]), (&json!("cancelled"), &json!("its status is \"lost\"")));
}

#[tokio::test]
async fn reconciles_a_due_order_first() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    // Written, and the worker died before handing over.
    upsert(&database, refunded(1)).await;
    assert_eq!(validate(&database, 1).await["result"], "cancelled");
    assert_in_step(&database).await;
}

#[tokio::test]
async fn another_locations_ticket_isnt_found() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let request = json!({"location_id": "Elsewhere", "ticket_id": 1, "by": "x"});
    assert_eq!(database.call("validate_ticket", request).await["result"], "not_found");
}

#[tokio::test]
async fn an_order_never_fetched_can_be_scanned() {
    let database = TestDatabase::new().await;
    database.execute("insert into ghl_qr_orders (order_id) values ('old'); insert into ghl_qr_tickets (order_id, ticket_type) values ('old', 'VIP')").await;
    assert_eq!(validate(&database, 1).await["result"], "admitted");
    assert_eq!(undo(&database, 1).await["result"], "undone");
    assert_eq!(tickets(&database, "old").await, ["VIP/live"]);
}

#[tokio::test]
async fn undo_makes_live_what_the_order_still_entitles_to() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    assert_eq!(undo(&database, 1).await["result"], "not_validated");
    validate(&database, 1).await;
    let undone = undo(&database, 1).await;
    assert_eq!(
        (&undone["result"], &undone["ticket"]["status"], &undone["ticket"]["validated_at"]),
        (&json!("undone"), &json!("live"), &Value::Null)
    );
    validate(&database, 1).await;
    sync(&database, refunded(1)).await;
    assert_eq!(undo(&database, 1).await["ticket"]["status"], "cancelled");
    assert_eq!(undo(&database, 99).await["result"], "not_found");
    assert_in_step(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_scans_at_once_one_admits() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let mut scans = JoinSet::new();
    // A server takes about a hundred connections: each of these scans four times without a pause.
    for _ in 0..25 {
        let client = database.another_server().await;
        scans.spawn(async move {
            let scan = || call(&client, "validate_ticket", json!({"ticket_id": 1, "by": "gate"}));
            let (a, b, c, d) = tokio::join!(scan(), scan(), scan(), scan());
            [a, b, c, d]
        });
    }
    let answers = scans.join_all().await.concat();
    assert_eq!(answers.len(), 100);
    assert_eq!(answers.iter().filter(|answer| answer["result"] == "admitted").count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer["result"] == "already_validated").count(), 99);
    let when: std::collections::HashSet<_> =
        answers.iter().map(|answer| answer["ticket"]["validated_at"].to_string()).collect();
    assert_eq!(when.len(), 1, "all are told the same moment");
}
