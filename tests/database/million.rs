//! No statement grows with the orders: a million are stored, and half a million are open in a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{LOCATION, TestDatabase, alone};

const STORED: usize = 1_000_000;
/// What a statement may take: a project ends it after 8 s.
const LONGEST: Duration = Duration::from_secs(2);
const STAMP: &str = "2026-03-01T09:00:00Z";
/// As many orders as the run worker records by one call.
const PAGES: usize = 1_000;

/// A database whose calls are timed, by step.
struct Timed {
    database: TestDatabase,
    /// How often it was called, and the longest call.
    steps: BTreeMap<&'static str, (usize, Duration)>,
}

impl Timed {
    async fn call(&mut self, step: &'static str, function: &str, request: Value) -> Value {
        let begun = Instant::now();
        let answer = self.database.call(function, request).await;
        let (calls, longest) = self.steps.entry(step).or_default();
        (*calls, *longest) = (*calls + 1, begun.elapsed().max(*longest));
        answer
    }

    async fn start(&mut self, step: &'static str, kind: &str) -> String {
        let request = json!({"kind": kind, "requested_by": "admin", "cooldown_ms": 0, "lease_ms": 1_800_000});
        let started = self.call(step, "start_run", request).await;
        assert_eq!(started["started"], true, "{started}");
        id_of(&started)
    }

    fn assert_short(&self) {
        println!("| statement | calls | longest |\n|---|---|---|");
        for (step, (calls, longest)) in &self.steps {
            println!("| {step} | {calls} | {:.0} ms |", longest.as_secs_f64() * 1000.0);
        }
        let long: Vec<_> = self.steps.iter().filter(|(_, (_, longest))| *longest > LONGEST).collect();
        assert!(long.is_empty(), "{long:?}");
    }
}

fn id_of(answer: &Value) -> String {
    answer["run"]["run_id"].as_str().unwrap_or_else(|| panic!("no run: {answer}")).to_owned()
}

/// As GHL numbers them: the newest order has the greatest id.
fn id(number: usize) -> String {
    format!("{number:024x}")
}

/// Each stored order has a ticket and is in step; they are remembered in the order of a listing, newest first.
async fn stored() -> Timed {
    let database = TestDatabase::new().await;
    database
        .execute(&format!(
            "set synchronous_commit = off;
             -- Or each ticket would be one that somebody else has touched.
             set session_replication_role = replica;
             insert into sync_locations (location_id) values ('{LOCATION}');
             insert into sync_products (location_id, product_id) values ('{LOCATION}', 'p1');
             insert into ghl_qr_orders (order_id, location_id, payment_status, order_status, total_paid, source_updated_at,
               inserted_at, fetched_at, lines, entitled)
             select lpad(to_hex(n), 24, '0'), '{LOCATION}', 'paid', 'completed', 90, '{STAMP}', '{STAMP}', '{STAMP}',
               '[{{\"product_id\": \"p1\", \"price_id\": \"vip\", \"ticket_type\": \"VIP\", \"quantity\": 1}}]', true
             from generate_series(1, {STORED}) as n;
             insert into sync_order_memory (location_id, order_id, source_updated_at, fetched_at, product_ids, valid)
             select '{LOCATION}', order_id, '{STAMP}', '{STAMP}', '{{p1}}', true from ghl_qr_orders order by order_id desc;
             insert into ghl_qr_tickets (order_id, ticket_type, product_id, price_id, ordinal, status_by)
             select order_id, 'VIP', 'p1', 'vip', 1, 'sync' from ghl_qr_orders;
             set session_replication_role = default;
             -- What the planner knows are small runs: a run is half done before autovacuum has looked at its rows.
             alter table sync_outcomes set (autovacuum_enabled = off);
             insert into sync_runs (location_id, kind, state) select '{LOCATION}', 'full', 'Completed' from generate_series(1, 20);
             insert into sync_outcomes (run_id, order_id, outcome)
             select run_id, order_id, 'synced' from sync_runs cross join (select order_id from ghl_qr_orders limit 50) as o"
        ))
        .await;
    database.execute("vacuum analyze").await;
    Timed { database, steps: BTreeMap::new() }
}

/// A full run that has listed all orders but each thousandth, and synced the odd ones.
async fn half_done(timed: &mut Timed) -> String {
    let run_id = timed.start("start", "full").await;
    timed
        .database
        .execute(&format!(
            "set synchronous_commit = off;
             insert into sync_outcomes (run_id, order_id, outcome, class, code, reason, attempts, tickets, tickets_added,
               dispatched_at, recorded_at, listed)
             select '{run_id}', lpad(to_hex(n), 24, '0'), o.outcome, case o.outcome when 'failed' then 'permanent' end,
               case o.outcome when 'failed' then 'order_not_found' when 'skipped' then 'no_valid_product' end,
               case when o.outcome <> 'synced' then 'It is so' end, 1, 1, case o.outcome when 'synced' then 1 else 0 end,
               case when n <= 200 or o.outcome is not null then clock_timestamp() end,
               case when o.outcome is not null then clock_timestamp() end, '{{\"status\": \"completed\"}}'
             from generate_series(1, {STORED}) as n
             cross join lateral (select case when n % 2 = 0 then null when n % 50 = 1 then 'failed'
               when n % 50 = 3 then 'skipped' else 'synced' end as outcome) as o
             where n % 1000 <> 7;
             update sync_runs as r
             set listed = o.listed, synced = o.synced, failed = o.failed, skipped = o.skipped, tickets_added = o.synced
             from (select count(*) as listed, count(*) filter (where outcome = 'synced') as synced,
               count(*) filter (where outcome = 'failed') as failed, count(*) filter (where outcome = 'skipped') as skipped
               from sync_outcomes where run_id = '{run_id}') as o
             where r.run_id = '{run_id}'"
        ))
        .await;
    run_id
}

/// The pages of a run's reports, from the start and in the midst of them.
async fn read_reports(timed: &mut Timed, run_id: &str) -> Value {
    for after in [String::new(), id(STORED / 2), id(STORED - 10)] {
        for list in ["failures", "skips", "issues", "drift"] {
            let request = json!({"run_id": run_id, "only": list, "after": after, "limit": 1000});
            timed.call("reports, one list", "get_run", request).await;
        }
        timed.call("reports, all lists", "get_run", json!({"run_id": run_id, "after": after, "limit": 1000})).await;
    }
    timed.call("list of runs", "list_runs", json!({"limit": 100})).await;
    timed.call("snapshot", "sync_snapshot", json!({"next_seq": true})).await
}

/// The orders of the list of valid orders, as the run worker pages through it.
async fn valid_orders(timed: &mut Timed, step: &'static str, run_id: &str) -> usize {
    let (mut found, mut after) = (0, Value::Null);
    loop {
        let request = json!({"run_id": run_id, "after": after, "limit": 10_000});
        let page = timed.call(step, "valid_orders", request).await;
        found += page["order_ids"].as_array().unwrap().len();
        after = page["next"].clone();
        if after.is_null() {
            return found;
        }
    }
}

async fn with_rows(timed: &mut Timed) {
    let run_id = half_done(timed).await;
    let handed = json!({"run_id": run_id, "max_outstanding": 400, "resend_after_ms": 60_000, "limit": 200});
    assert_eq!(timed.call("dispatch", "dispatch_orders", handed).await["order_ids"].as_array().unwrap().len(), 200);
    timed.call("pulse", "begin_pulse", json!({"run_id": run_id, "pulse": 1, "claim_ms": 0})).await;
    let open: Vec<_> = (1..=50)
        .map(|n| json!({"order_id": id(2 * n), "run_id": run_id, "change": "unchanged", "attempts": 1}))
        .collect();
    let done = timed.call("outcomes of 50 orders", "reconcile_tickets", json!({"orders": open})).await;
    assert_eq!(done["orders"].as_array().unwrap().len(), 50, "{done}");

    let orders: Vec<_> = (1..=100).map(|n| json!({"order_id": id(STORED + n), "source_updated_at": STAMP})).collect();
    let last = json!({"run_id": run_id, "listing_complete": true, "deficit": 0, "short": false, "orders": orders});
    let mut run = timed.call("last page", "record_page", last).await["run"].clone();
    while run["comparing"] == true {
        run = timed.call("not listed", "compare_stored", json!({"run_id": run_id})).await["run"].clone();
    }
    let report = timed.call("reports, one list", "get_run", json!({"run_id": run_id, "only": "issues"})).await;
    let issue = report["issues"][0]["message"].as_str().unwrap();
    assert!(issue.starts_with("1000 stored order(s) with 1000 live ticket(s) aren't in GHL's list"), "{issue}");
    read_reports(timed, &run_id).await;
    assert_eq!(valid_orders(timed, "valid list, by rows", &run_id).await, STORED - 1000);

    let left = timed.call("cancel", "cancel_run", json!({})).await["run"]["not_attempted"].as_u64().unwrap();
    assert_eq!(left, 500_000 + 100 - 50);
    read_reports(timed, &run_id).await;

    // Sync the rest, which ends by an error, and its rest, which is found by a start after its lease.
    let rest =
        json!({"kind": "retry", "requested_by": "admin", "retry_of": run_id, "cooldown_ms": 0, "lease_ms": 60_000});
    let mut taking = timed.call("start of the rest", "start_run", rest.clone()).await["run"].clone();
    let second = taking["run_id"].as_str().unwrap().to_owned();
    while taking["listing_complete"] == false {
        taking = timed.call("taking the rest", "take_rest", json!({"run_id": second})).await["run"].clone();
    }
    assert_eq!(taking["listed"], left + 20_000);
    timed
        .call(
            "dispatch",
            "dispatch_orders",
            json!({"run_id": second, "max_outstanding": 400, "resend_after_ms": 60_000, "limit": 200}),
        )
        .await;
    let failed = json!({"run_id": second, "state": "Error", "code": "ghl_unavailable", "message": "It is so"});
    assert_eq!(timed.call("end", "end_run", failed).await["ended"], true);

    let third = timed.start("start", "full").await;
    timed
        .database
        .execute(&format!(
            "update sync_outcomes set run_id = '{third}' where run_id = '{second}';
             update sync_runs set listed = {}, last_progress_at = clock_timestamp() - interval '1 hour' where run_id = '{third}'",
            left + 20_000
        ))
        .await;
    timed.start("start after a lease", "full").await;
    let lost = timed.call("reports, all lists", "get_run", json!({"run_id": third})).await;
    assert_eq!((&lost["run"]["state"], &lost["run"]["not_attempted"]), (&json!("Error"), &json!(left + 20_000)));
    timed.call("cancel", "cancel_run", json!({})).await;
}

async fn with_bits(timed: &mut Timed) {
    let run_id = timed.start("start", "incremental").await;
    let listed = |number: usize| json!({"order_id": id(number), "source_updated_at": STAMP, "status": "completed", "amount": 90});
    // Numbers that lie together, and numbers of all blocks.
    for call in 0..8 {
        let orders: Vec<_> = (0..PAGES).map(|n| listed(STORED - call * PAGES - n)).collect();
        let recorded =
            timed.call("pages, 1,000 unchanged orders", "record_page", json!({"run_id": run_id, "orders": orders}));
        assert_eq!(recorded.await["run"]["unchanged"], (call + 1) * PAGES);
    }
    for call in 0..4 {
        let orders: Vec<_> = (0..PAGES).map(|n| listed(n * 990 + call + 1)).collect();
        let recorded = timed.call(
            "pages, 1,000 unchanged orders of all ages",
            "record_page",
            json!({"run_id": run_id, "orders": orders}),
        );
        assert_eq!(recorded.await["run"]["unchanged"], (call + 9) * PAGES);
    }
    // As if all were listed, and the oldest is none of ours.
    timed
        .database
        .execute(&format!(
            "insert into sync_run_bits (run_id, block, unchanged)
             select '{run_id}', block, decode(repeat('ff', 2048), 'hex') from generate_series(0, {STORED} / 16384) as block
             on conflict (run_id, block) do update set unchanged = excluded.unchanged;
             update sync_run_bits set unchanged = set_bit(unchanged, 1, 0), skipped = set_bit(decode(repeat('00', 2048), 'hex'), 1, 1)
             where run_id = '{run_id}' and block = 0;
             update sync_runs set listed = {STORED}, synced = {STORED} - 1, unchanged = {STORED} - 1, skipped = 1
             where run_id = '{run_id}'"
        ))
        .await;
    let last = json!({"run_id": run_id, "listing_complete": true, "deficit": 0, "short": false, "orders": [listed(5)]});
    assert_eq!(timed.call("last page", "record_page", last).await["run"]["state"], "Delay");
    read_reports(timed, &run_id).await;
    let skips = timed.call("reports, one list", "get_run", json!({"run_id": run_id, "only": "skips"})).await;
    assert_eq!(skips["skips"][0]["order_id"], id(STORED), "{skips}");
    assert_eq!(valid_orders(timed, "valid list, by bits", &run_id).await, STORED);
    let ended = timed.call("pulse", "begin_pulse", json!({"run_id": run_id, "pulse": 1, "claim_ms": 0})).await;
    assert_eq!(ended["run"]["state"], "Completed");
}

/// Forgets it all again.
async fn purge(timed: &mut Timed) {
    timed.database.execute("update sync_runs set ended_at = clock_timestamp() - interval '31 days'").await;
    while timed.call("purge", "purge", json!({"limit": 10_000})).await["deleted"] != 0 {}
    let left = "select (select count(*) from sync_outcomes) + (select count(*) from sync_run_bits)";
    assert_eq!(timed.database.value(left).await, 0);
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask test --long database million"]
async fn with_a_million_orders_no_statement_takes_two_seconds() {
    let _alone = alone().await;
    let mut timed = stored().await;
    with_rows(&mut timed).await;
    with_bits(&mut timed).await;
    purge(&mut timed).await;
    // The same once the planner knows what such a run is.
    timed.database.execute("vacuum sync_outcomes").await;
    half_done(&mut timed).await;
    timed.call("cancel", "cancel_run", json!({})).await;
    timed.database.execute("analyze").await;
    with_rows(&mut timed).await;
    purge(&mut timed).await;
    timed.assert_short();
}
