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

/// A scan that names itself.
async fn scan(database: &TestDatabase, ticket: u32, scan_id: &str) -> Value {
    let by = "gate@example.test";
    let request = json!({"ticket_id": ticket, "by": by, "scan_id": scan_id, "gate": "Door 2"});
    database.call("validate_ticket", request).await
}

/// Takes back the admission of this answer.
async fn undo_that(database: &TestDatabase, admitted: &Value) -> Value {
    let ticket = &admitted["ticket"];
    // To the millisecond, as the API tells it.
    let moment = ticket["validated_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let request =
        json!({"ticket_id": ticket["ticket_id"], "by": "admin@example.test", "validated_at": format!("{moment:.3}")});
    database.call("undo_ticket", request).await
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

#[tokio::test]
async fn a_scan_that_is_sent_again_gets_its_answer_again() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    let first = scan(&database, 1, "scan-0001").await;
    assert_eq!((&first["result"], &first["repeated"]), (&json!("admitted"), &json!(false)));
    for _ in 0..3 {
        let again = scan(&database, 1, "scan-0001").await;
        assert_eq!((&again["result"], &again["repeated"]), (&json!("admitted"), &json!(true)));
        assert_eq!(again["ticket"], first["ticket"]);
    }
    // A copy of the ticket is another scan.
    assert_eq!(scan(&database, 1, "scan-0002").await["result"], "already_validated");
    assert_eq!(validate(&database, 1).await["result"], "already_validated");
    let kept =
        "select jsonb_agg(array[ticket_id::text, scanned_by, gate, (validated_at is not null)::text] order by scan_id)
        from gate_scans";
    assert_eq!(
        database.value(kept).await,
        json!([["1", "gate@example.test", "Door 2", "true"], ["1", "gate@example.test", "Door 2", "false"]])
    );
    let admissions = "select count(*) from ghl_qr_ticket_changes where new_status = 'validated'";
    assert_eq!(database.value(admissions).await, 1);
}

#[tokio::test]
async fn a_scan_is_of_one_ticket_and_one_user() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    scan(&database, 1, "scan-0001").await;
    assert_eq!(scan(&database, 2, "scan-0001").await["result"], "scan_id_reused");
    let somebody_else = json!({"ticket_id": 1, "by": "other@example.test", "scan_id": "scan-0001"});
    assert_eq!(database.call("validate_ticket", somebody_else).await["result"], "scan_id_reused");
    assert_eq!(tickets(&database, "o1").await, ["VIP/validated", "VIP/live"]);
    // Of another location it is another.
    database.execute("update gate_scans set location_id = 'Elsewhere'").await;
    assert_eq!(scan(&database, 2, "scan-0001").await["result"], "admitted");
    assert_eq!(database.value("select count(*) from gate_scans").await, 2);
}

#[tokio::test]
async fn two_minutes_later_the_same_scan_is_refused() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    let first = scan(&database, 1, "scan-0001").await;
    for (age, result) in [("100 seconds", "admitted"), ("120 seconds", "already_validated")] {
        database.execute(&format!("update gate_scans set scanned_at = now() - interval '{age}'")).await;
        let again = scan(&database, 1, "scan-0001").await;
        assert_eq!((&again["result"], &again["ticket"]), (&json!(result), &first["ticket"]), "{age}");
    }
}

#[tokio::test]
async fn a_scan_that_was_undone_never_admits_again() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let first = scan(&database, 1, "scan-0001").await;
    assert_eq!(undo_that(&database, &first).await["result"], "undone");
    // The ticket is free, its scan isn't.
    assert_eq!(scan(&database, 1, "scan-0001").await["result"], "scan_ended");
    assert_eq!(tickets(&database, "o1").await, ["VIP/live"]);
    assert_eq!(scan(&database, 1, "scan-0002").await["result"], "admitted");
    assert_eq!(scan(&database, 1, "scan-0001").await["result"], "already_validated", "it is another admission");
}

/// A copy of the request may come when nobody stands at the gate any more.
#[tokio::test]
async fn a_scan_that_was_refused_never_admits_later() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let admitted = validate(&database, 1).await;
    assert_eq!(scan(&database, 1, "scan-0001").await["result"], "already_validated");
    undo_that(&database, &admitted).await;
    assert_eq!(scan(&database, 1, "scan-0001").await["result"], "scan_ended");
    sync(&database, refunded(1)).await;
    assert_eq!(scan(&database, 1, "scan-0001").await["result"], "cancelled");
}

#[tokio::test]
async fn a_status_changed_from_outside_ends_repeats() {
    for (statements, result) in [
        ("update ghl_qr_tickets set status = 'live'", "scan_ended"),
        (
            "update ghl_qr_tickets set status = 'live'; update ghl_qr_tickets set status = 'validated'",
            "already_validated",
        ),
        ("update ghl_qr_tickets set status = 'used'", "already_validated"),
        (
            "update ghl_qr_tickets set status = 'used'; update ghl_qr_tickets set status = 'validated'",
            "already_validated",
        ),
        ("update ghl_qr_tickets set status = 'cancelled'", "cancelled"),
    ] {
        let database = TestDatabase::new().await;
        sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
        scan(&database, 1, "scan-0001").await;
        database.execute(statements).await;
        let again = scan(&database, 1, "scan-0001").await;
        assert_eq!((&again["result"], &again["repeated"]), (&json!(result), &json!(false)), "{statements}");
    }
}

#[tokio::test]
async fn an_undo_takes_back_the_admission_that_it_names() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    let first = validate(&database, 1).await;
    let undone = undo_that(&database, &first).await;
    assert_eq!((&undone["result"], &undone["repeated"]), (&json!("undone"), &json!(false)));
    let again = undo_that(&database, &first).await;
    assert_eq!(
        (&again["result"], &again["repeated"], &again["ticket"]),
        (&json!("undone"), &json!(true), &undone["ticket"])
    );

    // Somebody is admitted meanwhile: that stays.
    let second = validate(&database, 1).await;
    assert_eq!(second["result"], "admitted");
    let again = undo_that(&database, &first).await;
    assert_eq!((&again["result"], &again["ticket"]), (&json!("undone"), &second["ticket"]));
    assert_eq!(tickets(&database, "o1").await, ["VIP/validated"]);
    let never = json!({"ticket_id": 1, "by": "a", "validated_at": "2026-03-01T10:00:00.123Z"});
    assert_eq!(database.call("undo_ticket", never.clone()).await["result"], "other_admission");
    assert_eq!(undo_that(&database, &second).await["result"], "undone");
    assert_eq!(database.call("undo_ticket", never).await["result"], "not_validated");
    // What somebody else took back, no undo did.
    let third = validate(&database, 1).await;
    database.execute("update ghl_qr_tickets set status = 'live'").await;
    assert_eq!(undo_that(&database, &third).await["result"], "not_validated");
}

#[tokio::test]
async fn scans_are_forgotten_after_thirty_days() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    scan(&database, 1, "scan-0001").await;
    database.execute("update gate_scans set scanned_at = now() - interval '29 days 23 hours'").await;
    scan(&database, 2, "scan-0002").await;
    assert_eq!(database.call("purge", json!({"limit": 100})).await["deleted"], 0);
    database.execute("update gate_scans set scanned_at = now() - interval '30 days' where ticket_id = 1").await;
    assert_eq!(database.call("purge", json!({"limit": 100})).await["deleted"], 1);
    assert_eq!(database.value("select jsonb_agg(scan_id) from gate_scans").await, json!(["scan-0002"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_sent_by_two_processes_at_once_admits_once_and_tells_both() {
    let database = TestDatabase::new().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 40)])).await;
    let mut processes = JoinSet::new();
    for _ in 0..4 {
        let client = database.another_server().await;
        processes.spawn(async move {
            let mut told = Vec::new();
            for ticket in 1..=40 {
                let request = json!({"ticket_id": ticket, "by": "gate", "scan_id": format!("scan-{ticket:04}")});
                told.push(call(&client, "validate_ticket", request).await);
            }
            told
        });
    }
    let told = processes.join_all().await;
    for ticket in 0..40 {
        let of_ticket: Vec<_> = told.iter().map(|told| &told[ticket]).collect();
        assert!(of_ticket.iter().all(|told| told["result"] == "admitted"), "{of_ticket:?}");
        assert_eq!(of_ticket.iter().filter(|told| told["repeated"] == false).count(), 1, "{of_ticket:?}");
    }
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
