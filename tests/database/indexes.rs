//! What the original app's documentation says is indexed is, by whichever way the tables were made.

use serde_json::json;

use crate::harness::TestDatabase;

/// Tables with the columns by which people, the original app and our functions look rows up.
const LOOKED_UP: [(&str, &str, &str); 6] = [
    ("ghl_qr_orders", "order_id", "'o1'"),
    ("ghl_qr_orders", "event_id", "'e1'"),
    ("ghl_qr_orders", "contact_id", "'c1'"),
    ("ghl_qr_orders", "date_added", "timestamptz '2026-03-01'"),
    ("ghl_qr_tickets", "order_id", "'o1'"),
    ("ghl_qr_tickets", "status", "'live'"),
];

#[tokio::test]
async fn whatever_is_looked_up_has_an_index() {
    for database in [TestDatabase::new().await, TestDatabase::original().await] {
        for (table, column, value) in LOOKED_UP {
            let valid = format!(
                "select count(*) from pg_index i
                 join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                 where i.indrelid = 'public.{table}'::regclass and a.attname = '{column}' and i.indisvalid"
            );
            assert!(database.value(&valid).await.as_u64() > Some(0), "{table}.{column} has no index");
            // Small tables are read whole otherwise.
            database.execute("set enable_seqscan = off").await;
            let plan = format!("explain select * from public.{table} where {column} = {value}");
            let plan: Vec<String> =
                database.owner.query(&plan, &[]).await.unwrap().iter().map(|line| line.get(0)).collect();
            assert!(plan.iter().any(|line| line.contains("Index")), "{table}.{column}: {}", json!(plan));
        }
    }
}
