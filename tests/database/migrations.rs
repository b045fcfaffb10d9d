//! The migrations apply to an empty database and to the original app's, and twice.

use serde_json::json;

use crate::harness::TestDatabase;
use crate::orders::{line, order, sync};

const ORIGINAL: &str = include_str!("fixtures/original_app_with_dirty_rows.sql");

#[tokio::test]
async fn apply_to_an_empty_database_and_once_more() {
    let database = TestDatabase::empty().await;
    database.migrate().await;
    sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;

    database.migrate().await;
    assert_eq!(database.value("select count(*) from ghl_qr_tickets").await, json!(2));
    let result = sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await;
    assert_eq!(result["kept"], 2);
}

#[tokio::test]
async fn keep_every_row_and_value_of_the_original_app() {
    let database = TestDatabase::empty().await;
    database.execute(ORIGINAL).await;
    let orders = "select order_id, location_id, payment_status, contact_firstname, qr_code_image, ticket_quantities, \
                  inserted_at, updated_at from ghl_qr_orders order by order_id";
    let tickets = "select ticket_id, order_id, ticket_type, status from ghl_qr_tickets order by ticket_id";
    let before = (database.rows(orders).await, database.rows(tickets).await);

    database.migrate().await;
    assert_eq!((database.rows(orders).await, database.rows(tickets).await), before);
    database.migrate().await;
    assert_eq!((database.rows(orders).await, database.rows(tickets).await), before);
    // Never fetched, so nothing is known to be wrong with them.
    assert_eq!(database.rows("select * from ghl_qr_tickets_out_of_step").await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn leave_the_original_app_able_to_write_as_before() {
    let database = TestDatabase::empty().await;
    database.execute(ORIGINAL).await;
    database.migrate().await;
    let scanner = database.connect_as("anon").await;
    scanner
        .batch_execute(
            "insert into public.ghl_qr_orders (order_id, location_id) values ('late', 'LocationOfTheTests');
             insert into public.ghl_qr_tickets (order_id, ticket_type) values ('late', 'VIP'), ('late', 'VIP');
             update public.ghl_qr_tickets set status = 'used' where order_id = 'late' and ticket_type = 'VIP';
             delete from public.ghl_qr_orders where order_id = 'another location';",
        )
        .await
        .expect("the original app still writes with the anonymous key");
    let changes = database
        .rows("select changed_by, new_status from ghl_qr_ticket_changes where order_id = 'late' order by change_id")
        .await;
    assert_eq!(changes.len(), 4);
    assert_eq!(changes[3], json!({"changed_by": "external", "new_status": "used"}));
}
