//! What the schema files say and what the migrations make is the same, to the last index and right.

use schema::{Catalogue, catalogue::QUERY, files::schema_files};
use tokio_postgres::SimpleQueryMessage;

use crate::harness::{TestDatabase, migrations, supabase};
use crate::projects::Project;

const ORIGINAL: &str = include_str!("fixtures/original_app_with_dirty_rows.sql");

pub(crate) async fn catalogue(database: &TestDatabase) -> Catalogue {
    // Of its own, since it sets the session's path.
    let session = database.connect_as("postgres").await;
    let answer = session.simple_query(QUERY).await.unwrap();
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Catalogue::parse(row.expect("a catalogue")).unwrap()
}

impl Project {
    /// A database made of the schema files.
    async fn of_schemas(self) -> TestDatabase {
        let database = self.empty().await;
        for file in schema_files(&supabase()).unwrap() {
            let text = std::fs::read_to_string(&file).unwrap();
            database.owner.batch_execute(&text).await.unwrap_or_else(|error| panic!("{}: {error:?}", file.display()));
        }
        database
    }

    /// A database of these statements and then of the migrations.
    async fn of_migrations(self, before: &str) -> TestDatabase {
        let database = self.empty().await;
        database.execute(before).await;
        for (name, migration) in migrations() {
            database.owner.batch_execute(&migration).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        database
    }
}

/// What differs, in words.
fn differences(wanted: &Catalogue, found: &Catalogue) -> Vec<String> {
    wanted.differences(found).iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn schema_files_and_migrations_make_the_same_database() {
    for project in Project::ALL {
        let wanted = catalogue(&project.of_schemas().await).await;
        let none: [String; 0] = [];
        let found = catalogue(&project.of_migrations("").await).await;
        assert_eq!(differences(&wanted, &found), none, "migrations on nothing, {project:?}");
        let found = catalogue(&project.of_migrations(ORIGINAL).await).await.without_original_rights();
        let wanted = wanted.without_original_rights();
        assert_eq!(differences(&wanted, &found), none, "migrations on the original app's tables, {project:?}");
    }
}

/// Each of these is something that a migration could forget.
#[tokio::test]
async fn whatever_differs_is_named() {
    let migrated = catalogue(&TestDatabase::new().await).await;
    for (change, difference) in [
        (
            "create or replace function sync_internal.is_final(state text) returns boolean language sql immutable
             as $$ select state in ('Completed', 'Error') $$",
            "function sync_internal.is_final(text) differs",
        ),
        (
            "alter function public.purge(jsonb) reset lock_timeout",
            "function public.purge(jsonb) differs: \"SET lock_timeout TO '5s'\" instead of \"SET jit",
        ),
        ("alter function public.purge(jsonb) security definer", "function public.purge(jsonb) differs"),
        ("drop function public.purge(jsonb)", "function public.purge(jsonb) should not be there"),
        (
            "revoke execute on function public.purge(jsonb) from service_role",
            "rights function public.purge(jsonb) differs",
        ),
        ("grant execute on function public.purge(jsonb) to anon", "rights function public.purge(jsonb) differs"),
        ("grant select on public.sync_runs to authenticated", "rights table public.sync_runs differs"),
        (
            "grant usage on sequence public.ghl_qr_tickets_ticket_id_seq to anon",
            "rights sequence public.ghl_qr_tickets_ticket_id_seq differs",
        ),
        ("grant usage on schema sync_internal to anon", "rights schema sync_internal differs"),
        ("grant select (location_id) on public.sync_runs to anon", "column public.sync_runs.location_id differs"),
        ("drop index public.sync_runs_newest", "index public.sync_runs_newest should not be there"),
        ("create index added on public.sync_runs (kind)", "index public.added is missing"),
        (
            "create policy added on public.sync_runs for select to anon using (true)",
            "policy public.sync_runs.added is missing",
        ),
        ("alter table public.sync_runs disable row level security", "row level security public.sync_runs differs"),
        ("alter table public.sync_runs add column added text", "column public.sync_runs.added is missing"),
        ("alter table public.sync_runs alter column kind drop not null", "column public.sync_runs.kind differs"),
        (
            "alter table public.sync_runs alter column cooldown_ms set default 1",
            "column public.sync_runs.cooldown_ms differs",
        ),
        (
            "alter table public.sync_runs drop constraint sync_runs_kind_check",
            "constraint public.sync_runs.sync_runs_kind_check should not be there",
        ),
        (
            "alter table public.ghl_qr_tickets disable trigger ghl_qr_tickets_record_inserts",
            "trigger public.ghl_qr_tickets.ghl_qr_tickets_record_inserts differs",
        ),
        (
            "alter view public.ghl_qr_tickets_out_of_step reset (security_invoker)",
            "view public.ghl_qr_tickets_out_of_step differs",
        ),
        (
            "alter sequence public.ghl_qr_tickets_ticket_id_seq increment by 2",
            "sequence public.ghl_qr_tickets_ticket_id_seq differs",
        ),
        ("alter table public.sync_runs owner to service_role", "owner table public.sync_runs differs"),
        (
            "alter default privileges in schema public revoke all on tables from anon",
            "default rights public postgres tables differs",
        ),
        ("create table public.added (id int)", "table public.added is missing"),
        ("create type public.added as enum ('a')", "type public.added is missing"),
    ] {
        let database = TestDatabase::new().await;
        database.execute(change).await;
        let found = differences(&catalogue(&database).await, &migrated);
        assert!(found.iter().any(|line| line.starts_with(difference)), "{change}: {difference:?} isn't in {found:#?}");
    }
}

#[tokio::test]
async fn the_order_of_columns_does_not_count() {
    let (one, other) = (TestDatabase::new().await, TestDatabase::new().await);
    one.execute("alter table public.sync_failures add column first text; alter table public.sync_failures add column second text").await;
    other.execute("alter table public.sync_failures add column second text; alter table public.sync_failures add column first text").await;
    assert_eq!(differences(&catalogue(&one).await, &catalogue(&other).await), Vec::<String>::new());
}

/// Files are applied in an order in which a function may call one that isn't there yet, so Postgres looks into no body then.
#[tokio::test]
async fn every_function_is_whole() {
    let database = TestDatabase::new().await;
    let functions = database
        .rows(
            "select pg_get_functiondef(oid) as text from pg_proc
             where pronamespace in ('public'::regnamespace, 'sync_internal'::regnamespace)",
        )
        .await;
    assert!(functions.len() > 70, "{}", functions.len());
    database.execute("set check_function_bodies = on").await;
    for function in functions {
        database.execute(function["text"].as_str().unwrap()).await;
    }
}
