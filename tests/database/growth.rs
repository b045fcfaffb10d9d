//! What runs leave in the database: a few bits per order that the listing alone decided, and no row.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{LOCATION, TestDatabase, alone};
use crate::orders::start;

const STAMP: &str = "2026-03-01T09:00:00Z";

/// How orders were remembered, which decides where their bits are.
#[derive(Clone, Copy, Debug)]
enum Remembered {
    /// By a listing: orders of a page lie together.
    AsListed,
    /// In any order, as when the column of numbers was added later.
    AtRandom,
}

/// A location whose orders are all in step; `ids` lists them as GHL does, newest first.
async fn in_step(orders: usize, remembered: Remembered) -> (TestDatabase, Vec<String>) {
    let order_by = match remembered {
        Remembered::AsListed => "order_id desc",
        Remembered::AtRandom => "md5(order_id)",
    };
    let database = TestDatabase::new().await;
    database
        .execute(&format!(
            "insert into ghl_qr_orders (order_id, location_id, payment_status, order_status, total_paid, source_updated_at,
               fetched_at, lines, entitled)
             select lpad(to_hex(n), 24, '0'), '{LOCATION}', 'paid', 'completed', 90, '{STAMP}', '{STAMP}', '[]', true
             from generate_series(1, {orders}) as n;
             insert into sync_order_memory (location_id, order_id, source_updated_at, fetched_at, product_ids, valid)
             select '{LOCATION}', order_id, '{STAMP}', '{STAMP}', '{{p1}}', true from ghl_qr_orders order by {order_by}"
        ))
        .await;
    database.execute("vacuum analyze").await;
    let ids = (1..=orders).rev().map(|number| format!("{number:024x}")).collect();
    (database, ids)
}

/// An incremental run in which nothing has changed, as the run worker drives it; ends with its cool-down over.
async fn incremental(database: &TestDatabase, ids: &[String], pages_per_call: usize) -> Value {
    let run_id = start(database, "incremental").await;
    let pages: Vec<_> = (0..ids.len()).step_by(90).map(|first| &ids[first..ids.len().min(first + 100)]).collect();
    for (call, batch) in pages.chunks(pages_per_call).enumerate() {
        if call % 20 == 0 {
            database.call("begin_pulse", json!({"run_id": run_id, "pulse": call / 20 + 1, "claim_ms": 0})).await;
        }
        let orders: Vec<_> = batch
            .iter()
            .flat_map(|page| page.iter())
            .map(|id| json!({"order_id": id, "source_updated_at": STAMP, "status": "completed", "amount": 90}))
            .collect();
        let listing =
            json!({"phase": "orders", "offset": call * 90, "page_size": 100, "tail": batch.last().unwrap().last()});
        let request = json!({"run_id": run_id, "listing": listing, "total_count": ids.len(), "orders": orders});
        database.call("record_page", request).await;
    }
    let done = json!({"run_id": run_id, "listing_complete": true, "deficit": 0, "short": false, "orders": []});
    let run = database.call("record_page", done).await["run"].clone();
    let counts = ["listed", "synced", "unchanged"].map(|count| run[count].as_u64().unwrap());
    assert_eq!((counts, &run["state"]), ([ids.len() as u64; 3], &json!("Delay")), "{run}");
    database.execute("update sync_runs set cooldown_until = clock_timestamp()").await;
    run
}

/// Runs, and by how many bytes the whole database grew, after a plain `vacuum`.
async fn growth(orders: usize, remembered: Remembered, runs: usize, pages_per_call: usize) -> i64 {
    let (database, ids) = in_step(orders, remembered).await;
    let size = "select pg_database_size(current_database())";
    let before = database.value(size).await.as_i64().unwrap();
    let begun = Instant::now();
    for _ in 0..runs {
        incremental(&database, &ids, pages_per_call).await;
    }
    let took = begun.elapsed();
    database.execute("vacuum").await;
    let grown = database.value(size).await.as_i64().unwrap() - before;
    println!("{runs} runs over {orders} unchanged orders, remembered {remembered:?}: {grown} bytes, {took:?}");
    for row in database
        .rows("select relname, pg_total_relation_size(oid) as bytes from pg_class where relname ~ '^sync_' and relkind = 'r' order by 2 desc limit 5")
        .await
    {
        println!("  {row}");
    }
    assert_eq!(database.value("select count(*) from sync_outcomes").await, 0, "an unchanged order has no row");
    grown
}

#[tokio::test]
async fn runs_in_which_nothing_changed_leave_next_to_nothing() {
    let grown = growth(2_000, Remembered::AsListed, 12, 3).await;
    // A row of outcome each would take 3 MB and more.
    assert!(grown < 500_000, "{grown} bytes");
}

/// A day of incremental runs.
#[tokio::test]
#[ignore = "takes minutes: cargo xtask test --long database growth"]
async fn a_day_of_runs_over_a_hundred_thousand_orders_leaves_less_than_five_megabytes() {
    let _alone = alone().await;
    for remembered in [Remembered::AsListed, Remembered::AtRandom] {
        let grown = growth(100_000, remembered, 96, 4).await;
        assert!(grown < 5_000_000, "{grown} bytes");
    }
}
