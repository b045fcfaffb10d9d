//! What must hold when all have gone home, and at every commit before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use database::Database;
use domain::Change;

use super::evening::{Heard, MOST_TICKETS};
use super::writer::handed_over;
use crate::harness::TestDatabase;
use crate::orders::assert_in_step;

/// Whoever declares an order reconciled must leave it in step at that very commit: what was decided by an old state
/// would be healed by somebody else later, and not be seen any more when all have gone home.
pub(super) const WATCHED: &str = "
    create function public.watched() returns trigger language plpgsql set search_path = '' as $$
    begin
      if exists (
        select from public.ghl_qr_tickets_out_of_step where order_id = new.order_id and tickets_due is null
      ) then
        -- The one SQLSTATE whose words callers show.
        raise exception '% was left out of step', new.order_id using errcode = '22023';
      end if;
      return null;
    end $$;
    create constraint trigger watched after update on public.ghl_qr_orders deferrable initially deferred
    for each row when (old.tickets_due is not null and new.tickets_due is null) execute function public.watched()";

/// What the pulses of a later run would do.
pub(super) async fn reconcile_what_is_due(database: &Database) {
    loop {
        let due = database.due_orders(Duration::ZERO, 100).await.unwrap();
        if due.is_empty() {
            return;
        }
        let handed: Vec<_> = due.into_iter().map(handed_over).collect();
        database.reconcile_tickets(&handed).await.unwrap();
    }
}

/// Also not one that somebody resolved before a caller saw it.
pub(super) async fn assert_no_deadlock(database: &TestDatabase) {
    let sessions = "(select count(*) from pg_stat_activity
        where datname = current_database() and application_name like 'PostgREST%')";
    while database.value(sessions).await != 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let deadlocks = "(select deadlocks from pg_stat_database where datname = current_database())";
    assert_eq!(database.value(deadlocks).await, 0, "deadlocks");
}

async fn assert_none(database: &TestDatabase, what: &str, query: &str) {
    let rows = database.rows(query).await;
    assert!(rows.is_empty(), "{what}: {rows:#?}");
}

pub(super) async fn assert_tickets_are_sound(database: &TestDatabase, heard: &Heard) {
    assert_in_step(database).await;
    for (what, query) in [
        (
            "tickets with the same identity",
            "select order_id, product_id, price_id, ordinal from ghl_qr_tickets
             group by 1, 2, 3, 4 having count(*) > 1 or min(ordinal) is null",
        ),
        (
            // What sync cancelled comes back before anything is added, so that a line never has more than its largest
            // version gave: also a ticket that was doubled and cancelled again shows.
            "lines with more tickets than they ever asked for",
            &format!(
                "select order_id, price_id, count(*) from ghl_qr_tickets group by 1, 2
                 having count(*) > ('{MOST_TICKETS}'::jsonb ->> price_id)::int"
            ),
        ),
        (
            "tickets that are gone",
            "select ticket_id from ghl_qr_ticket_changes except select ticket_id from ghl_qr_tickets",
        ),
        (
            "validated tickets that sync changed",
            "select * from ghl_qr_ticket_changes
             where old_status in ('validated', 'used') and changed_by = 'sync'
               and new_status is distinct from old_status",
        ),
        (
            "changes that don't follow from the one before",
            "select * from (
               select *, lag(new_status) over (partition by ticket_id order by change_id) as before
               from ghl_qr_ticket_changes) as c where old_status is distinct from before",
        ),
        (
            "tickets whose last change isn't their status",
            "select ticket_id, status from ghl_qr_tickets except select * from (
               select distinct on (ticket_id) ticket_id, new_status from ghl_qr_ticket_changes
               order by ticket_id, change_id desc) as latest",
        ),
    ] {
        assert_none(database, what, query).await;
    }
    // Whoever was told of an admission or a cancellation finds it in the history, once.
    for ((by, status), &told) in &heard.changes {
        let recorded = format!(
            "(select count(*) from ghl_qr_ticket_changes where changed_by = '{by}' and new_status = '{status}'
              and old_status <> new_status)"
        );
        assert_eq!(database.value(&recorded).await, told, "{by}: {status}");
    }
}

pub(super) async fn assert_runs_add_up(database: &TestDatabase) {
    // The tickets of unchanged orders were counted when they were listed; nothing keeps how many each had.
    let counted = "select run_id, state, listed, synced, failed, skipped, unchanged, tickets_added,
        tickets_reinstated, tickets_cancelled, drift_orders from sync_runs
      except
      select run_id, state, count(o.*) + b.unchanged + b.skipped,
        count(*) filter (where outcome = 'synced') + b.unchanged,
        count(*) filter (where outcome = 'failed'), count(*) filter (where outcome = 'skipped') + b.skipped,
        count(*) filter (where outcome = 'synced' and change in ('unchanged', 'stale') and changes = 0) + b.unchanged,
        coalesce(sum(o.tickets_added), 0), coalesce(sum(o.tickets_reinstated), 0),
        coalesce(sum(o.tickets_cancelled), 0), count(*) filter (where changes > 0)
      from sync_runs r
      cross join lateral (
        select coalesce(sum(bit_count(b.unchanged)), 0) as unchanged, coalesce(sum(bit_count(b.skipped)), 0) as skipped
        from sync_run_bits b where b.run_id = r.run_id) as b
      left join (
        select *, tickets_added + tickets_reinstated + tickets_cancelled as changes
        from sync_outcomes) as o using (run_id)
      group by run_id, state, b.unchanged, b.skipped";
    assert_none(database, "runs whose counts aren't those of their rows and bits", counted).await;
    let both = "select c.run_id, c.order_id from sync_outcomes c
      join sync_order_memory m using (order_id)
      join sync_run_bits b on b.run_id = c.run_id and b.block = m.number / 16384
      where get_bit(coalesce(b.unchanged, b.skipped), m.number % 16384) = 1
        or get_bit(coalesce(b.skipped, b.unchanged), m.number % 16384) = 1";
    assert_none(database, "orders with a row and a bit", both).await;
    let ended = "select run_id, state, listed, synced, failed, skipped from sync_runs
      where state in ('Delay', 'Completed') and listed <> synced + failed + skipped";
    assert_none(database, "runs that ended and don't add up", ended).await;
}

/// Whoever came last with an old version didn't win.
pub(super) async fn assert_newest_version_is_stored(database: &TestDatabase, heard: &Heard) {
    let stored = database
        .rows(
            "select order_id, extract(epoch from source_updated_at)::bigint as version
             from ghl_qr_orders order by order_id collate \"C\"",
        )
        .await;
    let stored: Vec<_> = stored.iter().map(|row| (row["order_id"].as_str(), row["version"].as_i64())).collect();
    let newest: Vec<_> = heard.newest.iter().map(|(id, at)| (Some(id.as_str()), Some(at.as_second()))).collect();
    assert_eq!(stored, newest);
}

/// An evening on which little happened would prove little.
pub(super) async fn assert_everything_happened(database: &TestDatabase, heard: &Heard) {
    let happened = database
        .rows(
            "select changed_by || ': ' || coalesce(old_status || ' -> ' || new_status, reason) as what, count(*)
             from ghl_qr_ticket_changes where changed_by <> 'sync' or old_status is distinct from new_status group by 1
             union all select 'sync: ' || reason, count(*) from ghl_qr_ticket_changes
               where reason = 'relabelled' group by 1
             union all select 'run: ' || kind || ' ' || state, count(*) from sync_runs group by 1
             union all select 'outcome: ' || outcome || coalesce(' ' || change, ''), count(*) from sync_outcomes
               where outcome is not null group by 1
             order by 1",
        )
        .await;
    let counts: BTreeMap<_, _> =
        happened.iter().map(|row| (row["what"].as_str().unwrap(), row["count"].as_u64().unwrap())).collect();
    println!("{counts:#?}\nupserts: {:?}", heard.upserts);
    for what in [
        "sync: added",
        "sync: live -> cancelled",
        "sync: cancelled -> live",
        "sync: relabelled",
        "gate: live -> validated",
        "gate: validated -> live",
        "admin: live -> cancelled",
        "admin: cancelled -> live",
        "external: live -> used",
        "external: live -> validated",
        "external: live -> cancelled",
        "external: cancelled -> live",
        "run: full Completed",
        "outcome: synced written",
        "outcome: synced unchanged",
        "outcome: skipped",
        "outcome: failed",
    ] {
        assert!(counts.contains_key(what), "nothing of: {what}");
    }
    for what in [Change::Written, Change::Unchanged, Change::Stale] {
        assert!(heard.upserts.contains_key(&what), "no upsert was {what:?}");
    }
}

pub(super) fn assert_numbers_are_given_once(heard: &Heard) {
    let different: BTreeSet<_> = heard.numbers.iter().collect();
    assert_eq!(different.len(), heard.numbers.len(), "a sequence number was given twice");
}
