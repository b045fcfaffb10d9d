//! What whoever has a key of the project can do right after `cargo xtask migrate`, whatever the project hands out by default: the
//! anonymous and the signed-in key nothing with what is ours, the server all that it needs.

use serde_json::{Value, json};

use crate::harness::{NEWER_PROJECT, ORIGINAL_TABLES, TestDatabase, last_step, migrations, sql_state};
use crate::migrating::migrate;
use crate::orders::{line, order, sync};
use crate::projects::Project;

/// Every right on something in our schemas that somebody was granted who doesn't own it, whatever it is for.
const GRANTED: &str = "
    with ours as (select * from pg_namespace where nspname in ('public', 'sync_internal')),
    relations as (select * from pg_class where relnamespace in (select oid from ours)),
    access (name, acl) as (
      select oid::regclass::text, relacl from relations
      union all select attrelid::regclass || '.' || attname, attacl from pg_attribute where attrelid in (select oid from relations)
      union all select oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)) from pg_proc
        where pronamespace in (select oid from ours)
      union all select nspname, nspacl from ours where nspname = 'sync_internal'
    )
    select name, case grantee when 0 then 'PUBLIC' else grantee::regrole::text end as grantee, privilege_type
    from access cross join aclexplode(acl)";

/// Those of [`GRANTED`] for which a condition holds.
async fn granted(database: &TestDatabase, condition: &str) -> Vec<Value> {
    let order = "order by name, grantee, privilege_type";
    database.rows(&format!("select * from ({GRANTED}) as every_one where {condition} {order}")).await
}

/// What a public key is tried with, right after `migrate`: every way to read, write, count on and call what is ours.
const TRIED: &str = "
    with relations as (
      select c.oid::regclass::text as name, c.relname, c.relkind,
        (select quote_ident(attname) from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped and attidentity = ''
         order by attnum limit 1) as first_column
      from pg_class c where c.relnamespace = 'public'::regnamespace
    )
    select 'table' as kind, relname, format(statement, name, first_column) as statement
    from relations cross join unnest(array['select * from %1$s', 'insert into %1$s default values',
      'delete from %1$s where false', 'update %1$s set %2$s = %2$s where false']) as statement
    where relkind in ('r', 'p')
    union all select 'view', relname, format('select * from %s', name) from relations where relkind in ('v', 'm')
    union all select 'sequence', relname, format(statement, name)
    from relations cross join unnest(array['select nextval(''%s'')', 'select last_value from %s']) as statement
    where relkind = 'S'
    union all select 'function', p.proname, format('select %s.%I(%s)', p.pronamespace::regnamespace, p.proname,
      (select string_agg(case t when 'jsonb'::regtype then '''{}''::jsonb' else 'null::' || format_type(t, null) end, ', '
         order by n) from unnest(p.proargtypes) with ordinality as a (t, n)))
    from pg_proc p where p.pronamespace in ('public'::regnamespace, 'sync_internal'::regnamespace)
    union all select 'schema', nspname, format('create table %I.made ()', nspname)
    from pg_namespace where nspname in ('public', 'sync_internal')";

/// Those that nobody refuses. Each is tried by itself, and nothing of it stays.
async fn unrefused(database: &TestDatabase, role: &str) -> Vec<String> {
    let tried = database.rows(TRIED).await;
    for (kind, least) in [("table", 15), ("view", 1), ("sequence", 1), ("function", 60), ("schema", 2)] {
        let number = tried.iter().filter(|row| row["kind"] == kind).count();
        assert!(number >= least, "only {number} of {kind}");
    }
    let client = database.connect_as(role).await;
    let mut unrefused = Vec::new();
    for row in tried {
        let statement = row["statement"].as_str().unwrap();
        client.batch_execute("begin").await.unwrap();
        let answer = client.batch_execute(statement).await;
        client.batch_execute("rollback").await.unwrap();
        if !answer.is_err_and(|error| sql_state(&error) == "42501") {
            unrefused.push(format!("{}: {statement}", row["relname"].as_str().unwrap()));
        }
    }
    unrefused
}

async fn said_to_be_open(database: &TestDatabase) -> Value {
    database.call("open_to_public", json!({})).await["open"].clone()
}

#[tokio::test]
async fn anon_and_authenticated_can_do_nothing_with_what_is_ours() {
    for project in Project::ALL {
        let database = project.empty().await;
        migrate(&database.url(), &["--yes"]).await.says(true, &["Done"]);
        let open = granted(&database, "grantee in ('PUBLIC', 'anon', 'authenticated')").await;
        assert!(open.is_empty(), "{project:?}: {open:?}");
        for role in ["anon", "authenticated"] {
            assert_eq!(unrefused(&database, role).await, [""; 0], "{project:?}, {role}");
        }
        assert_eq!(said_to_be_open(&database).await, json!([]), "{project:?}");
    }
}

/// What somebody opens is named, whichever right it is; what row level security closes isn't open, and what is other people's isn't ours.
#[tokio::test]
async fn what_is_open_is_named() {
    let database = TestDatabase::new().await;
    for (change, named) in [
        ("grant select on ghl_qr_tickets_out_of_step to anon", json!(["ghl_qr_tickets_out_of_step"])),
        ("revoke all on ghl_qr_tickets_out_of_step from anon", json!([])),
        ("grant execute on function get_run(jsonb) to authenticated", json!(["get_run"])),
        ("revoke all on function get_run(jsonb) from authenticated", json!([])),
        ("grant select on sync_runs to anon", json!([])),
        ("create policy ours on sync_runs for select to service_role using (true)", json!([])),
        ("create policy everybody on sync_runs for select using (true)", json!(["sync_runs"])),
        ("drop policy everybody on sync_runs", json!([])),
        ("create policy anonymous on sync_runs for select to anon using (true)", json!(["sync_runs"])),
        ("drop policy anonymous on sync_runs", json!([])),
        ("alter table sync_runs disable row level security", json!(["sync_runs"])),
        ("revoke all on sync_runs from anon", json!([])),
        ("grant update (state) on sync_runs to public", json!(["sync_runs"])),
        ("revoke all on sync_runs from public", json!([])),
        ("create table theirs (id int); grant all on theirs to anon", json!([])),
        ("create function theirs(a jsonb) returns jsonb language sql as 'select a'", json!([])),
    ] {
        database.execute(change).await;
        assert_eq!(said_to_be_open(&database).await, named, "{change}");
    }
}

/// Where the original app's tables stood before, they stay as open as they were, also in an older project that hands out nothing to what is
/// new since October 2026; everything else is closed.
#[tokio::test]
async fn beside_the_tables_of_the_original_app_nothing_is_open() {
    const PUBLIC_KEYS: &str = "grantee in ('PUBLIC', 'anon', 'authenticated')";
    const THEIRS: &str = "name in ('ghl_qr_orders', 'ghl_qr_tickets', 'ghl_qr_tickets_ticket_id_seq')";
    for became_a_newer_project in [false, true] {
        let database = TestDatabase::empty().await;
        database.execute(ORIGINAL_TABLES).await;
        if became_a_newer_project {
            database.execute(NEWER_PROJECT).await;
        }
        let theirs = format!("{PUBLIC_KEYS} and {THEIRS}");
        let before = granted(&database, &theirs).await;
        assert!(before.len() > 20, "{before:?}");
        migrate(&database.url(), &["--yes"]).await.says(true, &["Done"]);
        assert_eq!(granted(&database, &theirs).await, before);
        let open = granted(&database, &format!("{PUBLIC_KEYS} and not {THEIRS}")).await;
        assert!(open.is_empty(), "{open:?}");
        assert_eq!(said_to_be_open(&database).await, json!(["ghl_qr_orders", "ghl_qr_tickets"]));
        for role in ["anon", "authenticated"] {
            let names = ["ghl_qr_orders", "ghl_qr_tickets", "ghl_qr_tickets_ticket_id_seq"];
            let theirs = |tried: &String| tried.split_once(": ").is_some_and(|(name, _)| names.contains(&name));
            let (theirs, others): (Vec<_>, Vec<_>) = unrefused(&database, role).await.into_iter().partition(theirs);
            assert_eq!(others, [""; 0], "{role}");
            assert_eq!(theirs.len(), 10, "four of each table and two of the sequence, {role}: {theirs:?}");
        }
        assert_eq!(sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await["added"], 2);
    }
}

/// What the server needs is granted to it, and doesn't come by what a project hands out.
#[tokio::test]
async fn the_server_can_do_all_that_it_needs() {
    for project in Project::ALL {
        let database = project.empty().await;
        migrate(&database.url(), &["--yes"]).await.says(true, &["Done"]);
        assert_eq!(sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await["added"], 2);
        let admitted = database.call("validate_ticket", json!({"ticket_id": 1, "by": "gate"})).await;
        assert_eq!(admitted["result"], "admitted");
        let lacking = database
            .rows(
                "select oid::regprocedure::text as name from pg_proc
                 where pronamespace in ('public'::regnamespace, 'sync_internal'::regnamespace)
                 and not has_function_privilege('service_role', oid, 'execute')
                 union all
                 select oid::regclass::text from pg_class
                 where relnamespace in ('public'::regnamespace, 'sync_internal'::regnamespace) and case relkind
                   when 'r' then not (has_table_privilege('service_role', oid, 'select')
                     and has_table_privilege('service_role', oid, 'insert')
                     and has_table_privilege('service_role', oid, 'update')
                     and has_table_privilege('service_role', oid, 'delete'))
                   when 'v' then not has_table_privilege('service_role', oid, 'select')
                   when 'S' then not has_sequence_privilege('service_role', oid, 'usage') end",
            )
            .await;
        assert!(lacking.is_empty(), "{project:?}: {lacking:?}");
    }
}

/// Who may put a table or function of the same name into another schema must not be called instead of ours.
#[tokio::test]
async fn every_function_has_an_empty_search_path_and_nobody_elses_rights() {
    let database = TestDatabase::empty().await;
    database.migrate().await;
    let loose = database
        .rows(
            "select proname from pg_proc where pronamespace = 'public'::regnamespace
             and (prosecdef or not coalesce(proconfig, '{}') @> array['search_path=\"\"'])",
        )
        .await;
    assert!(loose.is_empty(), "{loose:?}");
    let others = database
        .rows(
            "select proname from pg_proc where pronamespace = 'sync_internal'::regnamespace
             and (has_function_privilege('anon', oid, 'execute') or has_function_privilege('authenticated', oid, 'execute')
               -- Whoever writes a ticket, its history is written with the owner's rights; triggers can't be called.
               or prosecdef and (prorettype <> 'trigger'::regtype
                 or not coalesce(proconfig, '{}') @> array['search_path=\"\"']))",
        )
        .await;
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test]
async fn every_table_of_ours_has_row_level_security() {
    let database = TestDatabase::new().await;
    let open = database
        .rows(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
             and not relrowsecurity and relname not in ('ghl_qr_orders', 'ghl_qr_tickets')",
        )
        .await;
    assert!(open.is_empty(), "{open:?}");
    let policies = database.rows("select policyname from pg_policies where schemaname = 'public'").await;
    assert!(policies.is_empty(), "no policy lets anybody in: {policies:?}");
}

/// A project's anonymous key is in its page: where our migrations make the tables, buyers were never readable with it.
#[tokio::test]
async fn tables_that_a_migration_makes_are_closed_with_their_sequences() {
    let database = TestDatabase::empty().await;
    database.migrate().await;
    let open = database
        .rows(
            "select c.relname, r.rolname from pg_class c, pg_roles r
             where c.relnamespace = 'public'::regnamespace and r.rolname in ('anon', 'authenticated')
             and case c.relkind
               when 'r' then not c.relrowsecurity or has_table_privilege(r.oid, c.oid, 'select,insert,update,delete')
               when 'S' then has_sequence_privilege(r.oid, c.oid, 'usage,select,update') end",
        )
        .await;
    assert!(open.is_empty(), "{open:?}");
}

/// Also between two of them nothing is open.
#[tokio::test]
async fn no_table_is_open_between_two_migrations() {
    let database = TestDatabase::empty().await;
    for (name, migration) in migrations() {
        database.execute(&migration).await;
        let open = database
            .rows(
                "select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
                 and (not c.relrowsecurity or has_table_privilege('anon', c.oid, 'select,insert,update,delete'))",
            )
            .await;
        assert!(open.is_empty(), "after {name}: {open:?}");
    }
}

#[tokio::test]
async fn the_tables_of_the_original_app_stay_as_open_as_they_were() {
    let database = TestDatabase::original().await;
    let anonymous = database.connect_as("anon").await;
    anonymous
        .batch_execute(
            "insert into public.ghl_qr_orders (order_id) values ('o1');
             insert into public.ghl_qr_tickets (order_id, ticket_type) values ('o1', 'VIP');
             update public.ghl_qr_tickets set status = 'used' where order_id = 'o1'",
        )
        .await
        .unwrap();
    assert_eq!(database.value("select status_by from ghl_qr_tickets").await, "external");
}

/// Only one of the two may be the original app's.
#[tokio::test]
async fn each_table_is_judged_by_itself() {
    let database = TestDatabase::empty().await;
    database.execute(ORIGINAL_TABLES).await;
    database.execute("drop table public.ghl_qr_tickets").await;
    database.migrate().await;
    let can = async |table: &str| {
        database.value(&format!("select has_table_privilege('anon', 'public.{table}', 'select')")).await
    };
    assert_eq!((can("ghl_qr_orders").await, can("ghl_qr_tickets").await), (true.into(), false.into()));
}

#[tokio::test]
async fn the_last_step_closes_the_original_tables_and_leaves_the_server_working() {
    let database = TestDatabase::original().await;
    database.execute("insert into ghl_qr_orders (order_id) values ('o1')").await;
    database.execute(&last_step()).await;
    database.execute(&last_step()).await;
    for role in ["anon", "authenticated"] {
        let client = database.connect_as(role).await;
        for table in ["ghl_qr_orders", "ghl_qr_tickets"] {
            let refused = client.batch_execute(&format!("select * from public.{table}")).await.unwrap_err();
            assert_eq!(sql_state(&refused), "42501");
        }
        let refused = client.batch_execute("select nextval('public.ghl_qr_tickets_ticket_id_seq')").await.unwrap_err();
        assert_eq!(sql_state(&refused), "42501");
    }
    assert_eq!(said_to_be_open(&database).await, json!([]));
    let order = order("o2", &[line("p1", "vip", "VIP", 1)]);
    assert_eq!(sync(&database, order).await["added"], 1);
}
