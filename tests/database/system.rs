//! What keeps the whole system from working: which facts a snapshot tells, from when on and until when.

use serde_json::{Value, json};

use crate::clock::{pass, with_stopped_clock};
use crate::harness::{LOCATION, NEWER_PROJECT, ORIGINAL_TABLES, TestDatabase, last_step};
use crate::orders::{line, order, page, start, upsert, with};

const HOUR: i64 = 3_600_000;

async fn system(database: &TestDatabase) -> Value {
    database.call("sync_snapshot", json!({})).await["system"].clone()
}

fn refused(run_id: Option<&str>) -> Value {
    json!({"failures": [{"order_id": "o1", "run_id": run_id, "cause": "webhook", "class": "auth", "code": "ghl_unauthorized",
        "reason": "GoHighLevel refuses the access token", "attempts": 1}]})
}

/// An order that is read at a moment of the stopped clock.
async fn read_now(database: &TestDatabase, id: &str) {
    let now = database.value("sync_internal.stopped_time()").await;
    upsert(database, with(order(id, &[line("p1", "vip", "VIP", 1)]), json!({"fetched_at": now}))).await;
}

#[tokio::test]
async fn a_fresh_location_has_no_problem() {
    let database = TestDatabase::new().await;
    let system = system(&database).await;
    assert!(system["known_ms"].as_i64().is_some_and(|known| known < 60_000), "{system}");
    for nothing in ["ghl_refused_ms", "frames_failed_ms", "completed_ms", "daily_remaining"] {
        assert_eq!(system[nothing], Value::Null, "{nothing}");
    }
    assert_eq!(system["open_tables"], json!([]));
}

#[tokio::test]
async fn a_refused_token_is_noted_until_something_is_read_with_it() {
    let database = with_stopped_clock().await;
    database.call("record_failures", refused(None)).await;
    pass(&database, 7_000).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], 7_000);

    // What was read before it was refused, and is stored only now.
    upsert(&database, order("o2", &[line("p1", "vip", "VIP", 1)])).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], 7_000);
    read_now(&database, "o3").await;
    assert_eq!(system(&database).await["ghl_refused_ms"], Value::Null);

    // Of another failure nothing follows.
    let mut lost = refused(None);
    lost["failures"][0]["code"] = json!("order_not_found");
    database.call("record_failures", lost).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], Value::Null);
}

#[tokio::test]
async fn a_run_that_ends_by_it_notes_it_and_the_next_ones_first_page_ends_it() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let end = |code: &str| json!({"run_id": run_id, "state": "Error", "code": code, "message": "It ended"});
    database.call("end_run", end("ghl_unauthorized")).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], 0);
    // A page that comes late belongs to the run that is over.
    pass(&database, 1_000).await;
    page(&database, &run_id, &[("o1", "2026-03-01T09:00:00Z")], false).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], 1_000);
    // What is over can't be ended again.
    database.call("end_run", end("ghl_unauthorized")).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], 1_000);

    let next = start(&database, "incremental").await;
    assert_eq!(system(&database).await["ghl_refused_ms"], 1_000, "it has read nothing yet");
    page(&database, &next, &[("o1", "2026-03-01T09:00:00Z")], false).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], Value::Null);
    let other = json!({"run_id": next, "state": "Error", "code": "ghl_unavailable", "message": "It ended"});
    database.call("end_run", other).await;
    assert_eq!(system(&database).await["ghl_refused_ms"], Value::Null);
}

#[tokio::test]
async fn the_last_run_that_completed_is_told_whatever_came_after_it() {
    let database = with_stopped_clock().await;
    assert_eq!(system(&database).await["completed_ms"], Value::Null);
    let run_id = start(&database, "full").await;
    pass(&database, HOUR).await;
    page(&database, &run_id, &[], true).await;
    pass(&database, 500).await;
    assert_eq!(system(&database).await["completed_ms"], 500, "its cool-down counts as completed");
    for (kind, ends) in [("full", "Error"), ("incremental", "Cancelled"), ("valid_list", "Completed")] {
        pass(&database, HOUR).await;
        let later = start(&database, kind).await;
        if ends == "Completed" {
            page(&database, &later, &[], true).await;
        } else {
            database.call("end_run", json!({"run_id": later, "state": ends, "code": "x", "message": "x"})).await;
        }
    }
    database.call("skip_run", json!({"kind": "full", "reason": "running"})).await;
    let told = system(&database).await;
    assert_eq!((&told["completed_ms"], &told["known_ms"]), (&json!(3 * HOUR + 500), &told["known_ms"]));
    pass(&database, HOUR).await;
    let incremental = start(&database, "incremental").await;
    page(&database, &incremental, &[], true).await;
    assert_eq!(system(&database).await["completed_ms"], 0);
}

#[tokio::test]
async fn the_days_budget_is_told_for_six_hours() {
    let database = with_stopped_clock().await;
    let observed = json!({"lane": "priority", "wanted": 0, "limits": {"max": 100, "window_ms": 10000},
        "observed": {"daily_remaining": 812, "age_ms": 0}});
    database.call("acquire_slots", observed).await;
    assert_eq!(system(&database).await["daily_remaining"], 812);
    pass(&database, 6 * HOUR - 1).await;
    assert_eq!(system(&database).await["daily_remaining"], 812);
    pass(&database, 1).await;
    assert_eq!(system(&database).await["daily_remaining"], Value::Null);
}

#[tokio::test]
async fn frames_that_reach_nobody_are_noted_until_some_do() {
    let database = with_stopped_clock().await;
    let run_id = start(&database, "full").await;
    let publish = async |reached: Value| {
        let begun = database.call("begin_publication", json!({})).await;
        let seq = begun["publication"]["seq_first"].as_u64().expect("a publication") + 2;
        let confirmation = json!({"run_id": run_id, "seq": seq, "state": "Syncing", "reached": reached});
        database.call("confirm_publication", confirmation).await;
        // Something new to publish.
        page(&database, &run_id, &[], false).await;
        pass(&database, 1_000).await;
    };
    publish(json!(false)).await;
    assert_eq!(system(&database).await["frames_failed_ms"], 1_000);
    publish(Value::Null).await;
    assert_eq!(system(&database).await["frames_failed_ms"], 2_000, "nobody was there");
    publish(json!(true)).await;
    assert_eq!(system(&database).await["frames_failed_ms"], Value::Null);
}

async fn open(database: &TestDatabase) -> Value {
    let told = database.value("sync_internal.open_tables()").await;
    assert_eq!(told, system(database).await["open_tables"], "a snapshot tells the same");
    let names = |tables: &[Value]| tables.iter().map(|table| table["table"].clone()).collect::<Value>();
    let tables = told.as_array().unwrap();
    assert_eq!(database.call("open_to_public", json!({})).await["open"], names(tables), "so does `configure`");
    told
}

fn table(name: &str, reads: bool, writes: bool) -> Value {
    json!({"table": name, "reads": reads, "writes": writes})
}

#[tokio::test]
async fn the_original_apps_tables_are_open_until_the_last_step() {
    let database = TestDatabase::original().await;
    assert_eq!(open(&database).await, json!([table("ghl_qr_orders", true, true), table("ghl_qr_tickets", true, true)]));
    database.execute("alter table public.ghl_qr_orders enable row level security").await;
    assert_eq!(open(&database).await, json!([table("ghl_qr_tickets", true, true)]));
    database.execute(&last_step()).await;
    assert_eq!(open(&database).await, json!([]));

    let newer = TestDatabase::empty().await;
    newer.execute(NEWER_PROJECT).await;
    newer.execute(ORIGINAL_TABLES).await;
    newer.migrate().await;
    assert_eq!(open(&newer).await, json!([]), "a newer project hands out nothing to use");
}

#[tokio::test]
async fn a_table_is_as_open_as_rights_and_policies_make_it() {
    const POLICY: &str = "create policy p on public.ghl_qr_tickets";
    // What is done to closed tables, and what of the tickets is open then.
    let table_of_cases: &[(&str, Option<(bool, bool)>)] = &[
        ("alter table public.ghl_qr_tickets disable row level security", None),
        ("grant select on public.ghl_qr_tickets to anon", None),
        ("OFF grant truncate, references, trigger on public.ghl_qr_tickets to anon", None),
        ("OFF grant select on public.ghl_qr_tickets to anon", Some((true, false))),
        ("OFF grant select on public.ghl_qr_tickets to authenticated", Some((true, false))),
        ("OFF grant select on public.ghl_qr_tickets to public", Some((true, false))),
        ("OFF grant select (status) on public.ghl_qr_tickets to anon", Some((true, false))),
        ("OFF grant update on public.ghl_qr_tickets to anon", Some((false, true))),
        ("OFF grant insert on public.ghl_qr_tickets to anon", Some((false, true))),
        ("OFF grant delete on public.ghl_qr_tickets to anon", Some((false, true))),
        ("ALL POLICY for select to anon using (true)", Some((true, false))),
        ("ALL POLICY for select using (true)", Some((true, false))),
        ("ALL POLICY for all to anon using (true)", Some((true, true))),
        ("ALL POLICY for all to anon using (order_id = current_user)", Some((true, true))),
        ("ALL POLICY for insert to anon with check (true)", Some((false, true))),
        ("ALL POLICY for update to anon using (true)", Some((false, true))),
        ("ALL POLICY for all to anon using (false)", None),
        ("ALL POLICY as restrictive for select to anon using (true)", None),
        ("ALL POLICY for select to service_role using (true)", None),
        ("ALL POLICY for select to authenticated using (true)", Some((true, false))),
        ("ALL POLICY for select to authenticated using (order_id = current_user)", None),
        ("POLICY for select to anon using (true)", None),
    ];
    let database = TestDatabase::new().await;
    for (change, expected) in table_of_cases {
        let change = change
            .replace("OFF ", "alter table public.ghl_qr_tickets disable row level security; ")
            .replace("ALL ", "grant select, insert, update, delete on public.ghl_qr_tickets to anon, authenticated; ")
            .replace("POLICY", POLICY);
        database.execute(&change).await;
        let expected = expected.map(|(reads, writes)| table("ghl_qr_tickets", reads, writes));
        assert_eq!(open(&database).await, Value::from_iter(expected), "{change}");
        database
            .execute(
                "drop policy if exists p on public.ghl_qr_tickets;
                 alter table public.ghl_qr_tickets enable row level security;
                 revoke all on public.ghl_qr_tickets from public, anon, authenticated;
                 revoke all (status) on public.ghl_qr_tickets from public, anon, authenticated",
            )
            .await;
    }
}

/// A table of the same name elsewhere isn't meant, and a dropped one is no problem.
#[tokio::test]
async fn only_the_two_tables_are_looked_at() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "create schema other; create table other.ghl_qr_orders (id int); grant all on other.ghl_qr_orders to anon;
             grant usage on schema other to anon; create table public.theirs (id int); grant all on public.theirs to anon",
        )
        .await;
    assert_eq!(open(&database).await, json!([]));
    assert_eq!(database.value("sync_internal.open_tables()").await, json!([]));
    let unknown = database.value(&format!("sync_internal.system_state('not {LOCATION}')")).await;
    assert_eq!(unknown, Value::Null, "a location that nobody has asked for");
}
