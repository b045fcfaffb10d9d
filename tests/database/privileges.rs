//! The anonymous and the signed-in key reach none of our tables and functions.

use crate::harness::{TestDatabase, last_step, migrations, sql_state};

#[tokio::test]
async fn anon_and_authenticated_can_do_nothing_with_what_is_ours() {
    let database = TestDatabase::new().await;
    let tables = database
        .rows(
            "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')
             and relname not in ('ghl_qr_orders', 'ghl_qr_tickets')",
        )
        .await;
    let functions =
        database.rows("select proname as name from pg_proc where pronamespace = 'public'::regnamespace").await;
    assert!(tables.len() >= 13 && functions.len() >= 28, "{} tables, {} functions", tables.len(), functions.len());

    let granted = database
        .rows(
            "select table_name, grantee, privilege_type from information_schema.role_table_grants
             where table_schema in ('public', 'sync_internal') and grantee in ('PUBLIC', 'anon', 'authenticated')
             and table_name not in ('ghl_qr_orders', 'ghl_qr_tickets')",
        )
        .await;
    assert!(granted.is_empty(), "{granted:?}");

    for role in ["anon", "authenticated"] {
        let client = database.connect_as(role).await;
        for table in tables.iter().map(|row| row["name"].as_str().unwrap()) {
            let statement = format!("select * from public.{table}");
            let refused = client.batch_execute(&statement).await.expect_err(&statement);
            assert_eq!(sql_state(&refused), "42501", "{role}: {statement}: {refused:?}");
        }
        for function in functions.iter().map(|row| row["name"].as_str().unwrap()) {
            let statement = format!("select public.{function}('{{}}')");
            let refused = client.batch_execute(&statement).await.expect_err(&statement);
            assert_eq!(sql_state(&refused), "42501", "{role}: {statement}: {refused:?}");
        }
        let refused = client.batch_execute("select sync_internal.listed_products('x')").await.unwrap_err();
        assert_eq!(sql_state(&refused), "42501");
    }
}

/// Who may put a table or function of the same name into another schema must not be called instead of ours.
#[tokio::test]
async fn every_function_has_an_empty_search_path_and_nobody_elses_rights() {
    let database = TestDatabase::new().await;
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
    let database = TestDatabase::new().await;
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
    database.execute(include_str!("../../infra/supabase/original/tables.sql")).await;
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
    }
    let order = crate::orders::order("o2", &[crate::orders::line("p1", "vip", "VIP", 1)]);
    assert_eq!(crate::orders::sync(&database, order).await["added"], 1);
}
