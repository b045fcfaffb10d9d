//! `cargo xtask migrate`, as an operator runs it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::xtask::Said;

use crate::harness::{ORIGINAL_TABLES, TestDatabase, migrations, supabase};
use crate::orders::{line, order, sync};

const PROJECTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/supabase/migrations");
/// What `migrate` holds while it applies.
const LOCK: &str = "select pg_try_advisory_lock(7266432802)";
const TABLES: &str = "select table_name as name from information_schema.tables
                      where table_schema in ('public', 'supabase_migrations') order by table_schema, table_name";

/// What it says of the database at this URL.
pub(crate) async fn migrate(url: &str, arguments: &[&str]) -> Said {
    xtask(&[&["migrate"], arguments].concat(), Some(url)).await
}

async fn xtask(arguments: &[&str], database_url: Option<&str>) -> Said {
    let mut command = tests::xtask::xtask();
    command.args(arguments);
    match database_url {
        Some(url) => command.env("DATABASE_URL", url),
        None => command.env_remove("DATABASE_URL"),
    };
    Said::by(command).await
}

/// Migrations of a test, removed with this value.
struct Directory(PathBuf);

impl Directory {
    fn of(files: &[(&str, &str)]) -> Self {
        let directory = Self(std::env::temp_dir().join(format!("ghl-sync-migrations-{:016x}", rand::random::<u64>())));
        std::fs::create_dir(&directory.0).unwrap();
        for (name, content) in files {
            directory.write(name, content);
        }
        directory
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    async fn migrate(&self, database: &TestDatabase, arguments: &[&str]) -> Said {
        let directory = ["--migrations", self.0.to_str().unwrap()];
        migrate(&database.url(), &[&directory[..], arguments].concat()).await
    }

    async fn migrate_as(&self, database: &TestDatabase, user: &str, password: &str) -> Said {
        let url = format!("postgres://{user}:{password}@{}/{}", database.server(), database.name());
        migrate(&url, &["--yes", "--migrations", self.0.to_str().unwrap()]).await
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn one_and_two() -> Directory {
    Directory::of(&[("1_one.sql", "create table one ();\n"), ("2_two.sql", "create table two ();\n")])
}

async fn versions(database: &TestDatabase) -> Value {
    database.value("select jsonb_agg(version order by version) from supabase_migrations.schema_migrations").await
}

#[tokio::test]
async fn an_empty_database_gets_all_and_then_nothing_more() {
    let database = TestDatabase::empty().await;
    let files = std::fs::read_dir(PROJECTS).unwrap().count();
    migrate(&database.url(), &["--yes"]).await.says(true, &[&format!("{files} to apply"), "Done"]);
    assert_eq!(versions(&database).await.as_array().map(Vec::len), Some(files));
    migrate(&database.url(), &[]).await.says(true, &["0 to apply", "Nothing to do"]);

    // In the shape of the Supabase CLI's own records.
    let columns = database
        .rows("select column_name as name, udt_name as type from information_schema.columns
               where table_schema = 'supabase_migrations' and table_name = 'schema_migrations' order by ordinal_position")
        .await;
    let column = |name, kind| json!({"name": name, "type": kind});
    assert_eq!(columns, [column("version", "text"), column("statements", "_text"), column("name", "text")]);
    let record = "select name, statements from supabase_migrations.schema_migrations where version = '20261128000100'";
    let file = std::fs::read_to_string(Path::new(PROJECTS).join("20261128000100_initial.sql")).unwrap();
    assert_eq!(database.rows(record).await, [json!({"name": "initial", "statements": [file]})]);
}

#[tokio::test]
async fn a_database_made_with_psql_gets_its_records_and_keeps_its_rows() {
    let database = TestDatabase::new().await;
    database.execute("insert into ghl_qr_orders (order_id, contact_firstname) values ('o1', 'Ada')").await;
    let words = ["0 of our migrations applied, 0 to apply", "stands already, is only recorded", "Done"];
    migrate(&database.url(), &["--dry-run"]).await.says(true, &[&words[..2], &["Nothing was changed"]].concat());
    assert_eq!(database.value("select to_regclass('supabase_migrations.schema_migrations')").await, Value::Null);
    migrate(&database.url(), &["--yes"]).await.says(true, &words);
    let orders = database.rows("select order_id, contact_firstname from ghl_qr_orders").await;
    assert_eq!(orders, [json!({"order_id": "o1", "contact_firstname": "Ada"})]);
    migrate(&database.url(), &[]).await.says(true, &["0 to apply", "Nothing to do"]);
}

/// As of the files that the first migration replaced: what they recorded stays, and it is compared with what is there.
#[tokio::test]
async fn a_database_of_other_migrations_is_recorded_only_if_it_is_what_ours_make() {
    let database = TestDatabase::original().await;
    database
        .execute(
            "create schema supabase_migrations;
             create table supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text);
             insert into supabase_migrations.schema_migrations values ('20261101000100'), ('20261101009000');
             insert into ghl_qr_orders (order_id, contact_firstname) values ('o1', 'Ada');
             -- Of somebody else in the same database.
             create table public.somebody_elses (id int);
             drop index public.sync_runs_newest;
             alter table public.sync_limiter drop column others_calls;
             create or replace function sync_internal.is_final(state text) returns boolean language sql immutable
               as $$ select state in ('Completed', 'Error') $$;
             grant select on public.sync_runs to anon",
        )
        .await;
    let differences = [
        "index public.sync_runs_newest is missing",
        "column public.sync_limiter.others_calls is missing",
        "function sync_internal.is_final(text) differs",
        "rights table public.sync_runs differs",
        "Nothing was changed",
    ];
    for arguments in [&["--yes"][..], &["--dry-run"]] {
        migrate(&database.url(), arguments).await.says(false, &differences);
    }
    assert_eq!(versions(&database).await, json!(["20261101000100", "20261101009000"]));

    let whole = TestDatabase::new().await;
    let is_final = whole.value("select pg_get_functiondef('sync_internal.is_final(text)'::regprocedure)").await;
    database
        .execute(&format!(
            "create index sync_runs_newest on public.sync_runs (location_id, started_at desc, run_id desc);
             alter table public.sync_limiter add column others_calls int[] not null default '{{}}';
             {};
             revoke select on public.sync_runs from anon",
            is_final.as_str().unwrap()
        ))
        .await;
    migrate(&database.url(), &["--yes"])
        .await
        .says(true, &["2 older ones of others", "stands already, is only recorded"]);
    assert_eq!(versions(&database).await.as_array().map(Vec::len), Some(2 + migrations().len()));
    let orders = database.rows("select order_id, contact_firstname from ghl_qr_orders").await;
    assert_eq!(orders, [json!({"order_id": "o1", "contact_firstname": "Ada"})]);
}

/// A copy of `infra/supabase`, changed as an author changes it.
struct Supabase(Directory);

impl Supabase {
    fn copied() -> Self {
        let copy = Directory::of(&[]);
        for name in ["schemas", "migrations"] {
            std::fs::create_dir(copy.0.join(name)).unwrap();
            for entry in std::fs::read_dir(supabase().join(name)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.0.join(name).join(entry.file_name())).unwrap();
            }
        }
        std::fs::copy(supabase().join("config.toml"), copy.0.join("config.toml")).unwrap();
        Self(copy)
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.0.0.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    async fn new_migration(&self, name: &str) -> Said {
        xtask(&["migration", "new", name, "--supabase", self.0.0.to_str().unwrap()], None).await
    }

    /// The newest migration and what it says.
    fn newest(&self) -> (PathBuf, String) {
        let entries = std::fs::read_dir(self.0.0.join("migrations")).unwrap();
        let path = entries.map(|entry| entry.unwrap().path()).max().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    }
}

#[tokio::test]
async fn the_next_migration_is_written_from_what_differs() {
    let copy = Supabase::copied();
    copy.new_migration("nothing").await.says(true, &["Nothing to do"]);
    copy.new_migration("With Spaces").await.says(false, &["lower-case letters"]);

    copy.change("schemas/gate.sql", "'already_validated'", "'let_in_before'");
    copy.change("schemas/tables.sql", "  validated_by text\n", "  validated_by text,\n  gate_name text not null\n");
    copy.change(
        "schemas/gate.sql",
        "grant execute on function public.undo_ticket(jsonb) to service_role;",
        "grant execute on function public.undo_ticket(jsonb) to service_role, authenticated;",
    );
    let ran = copy.new_migration("name_gates").await;
    let column = "column public.ghl_qr_tickets.gate_name is new: text not null";
    ran.says(true, &["_name_gates.sql", "function public.validate_ticket(jsonb) differs", "by you", column]);
    let (path, text) = copy.newest();
    assert!(path.to_str().unwrap().ends_with("_name_gates.sql"), "{path:?}");
    assert!(text.contains("CREATE OR REPLACE FUNCTION public.validate_ticket(request jsonb)"), "{text}");
    assert!(text.contains("'let_in_before'") && text.contains(column), "{text}");
    assert!(text.contains("grant execute on function public.undo_ticket(jsonb) to authenticated;"), "{text}");
    assert_eq!(text.matches("CREATE OR REPLACE").count(), 1, "{text}");

    // Until the author has written the rest, it is asked for; then both ways lead to the same.
    copy.new_migration("again").await.says(true, &["column public.ghl_qr_tickets.gate_name is missing"]);
    std::fs::remove_file(copy.newest().0).unwrap();
    let written = "alter table public.ghl_qr_tickets add column gate_name text not null default '';\n\
                   alter table public.ghl_qr_tickets alter column gate_name drop default;\n";
    std::fs::write(&path, text + written).unwrap();
    copy.new_migration("again").await.says(true, &["Nothing to do"]);
}

#[tokio::test]
async fn nothing_changes_unless_agreed_to() {
    let database = TestDatabase::empty().await;
    let directory = one_and_two();
    directory.migrate(&database, &["--dry-run"]).await.says(false, &["to apply: 1_one.sql", "Nothing was changed"]);
    directory.migrate(&database, &[]).await.says(false, &["to apply: 1_one.sql", "--yes", "--dry-run"]);
    assert_eq!(database.rows(TABLES).await, Vec::<Value>::new());
}

/// What stands before a deployment: nothing may be missing, by its record or by its text.
#[tokio::test]
async fn a_dry_run_fails_unless_the_database_is_what_the_migrations_make() {
    let database = TestDatabase::empty().await;
    let dry = async || migrate(&database.url(), &["--dry-run"]).await;
    dry().await.says(false, &["to apply: 20261128000100_initial.sql", "Nothing was changed"]);
    migrate(&database.url(), &["--yes"]).await.says(true, &["Done"]);
    dry().await.says(true, &["0 to apply", "Nothing to do"]);

    // With a login that may only read, as infra/docs/deploying.md makes it.
    let login = format!("deploy_check_{:016x}", rand::random::<u64>());
    database
        .execute(&format!(
            "create role {login} login password 'correct-horse';
             grant usage on schema supabase_migrations to {login};
             grant select on all tables in schema supabase_migrations to {login}"
        ))
        .await;
    let url = format!("postgres://{login}:correct-horse@{}/{}", database.server(), database.name());
    let said = migrate(&url, &["--dry-run"]).await;
    database.execute(&format!("drop owned by {login}; drop role {login}")).await;
    said.says(true, &["0 to apply", "Nothing to do"]);

    // As by a person in the SQL editor.
    let before = database.value("select pg_get_functiondef('sync_internal.is_final(text)'::regprocedure)").await;
    database
        .execute(
            "create or replace function sync_internal.is_final(state text) returns boolean language sql immutable
             as $$ select state in ('Completed', 'Error') $$",
        )
        .await;
    dry().await.says(false, &["0 to apply", "isn't what they make", "function sync_internal.is_final(text) differs"]);
    database.execute(before.as_str().unwrap()).await;
    database.execute("create table public.somebody_elses (id int)").await;
    dry().await.says(true, &["Nothing to do"]);
    let newest = "select max(version) from supabase_migrations.schema_migrations";
    database.execute(&format!("delete from supabase_migrations.schema_migrations where version = ({newest})")).await;
    dry().await.says(false, &["1 to apply"]);
}

#[tokio::test]
async fn nothing_is_deployed_to_a_database_that_lacks_a_migration() {
    let database = TestDatabase::empty().await;
    let artifact = Directory::of(&[]);
    let deploy = async |schema: &str| {
        artifact.write("manifest.json", &json!({ "schema": schema }).to_string());
        let directory = artifact.0.to_str().unwrap();
        let arguments = ["deploy", "--artifact", directory, "--stack", "nowhere", "--region", "us-east-1", "--yes"];
        xtask(&arguments, Some(&database.url())).await
    };
    deploy("20261128000100").await.says(false, &["to apply", "nothing is deployed", "Run cargo xtask migrate first"]);
    // Going back to an older release, its tables are there.
    let going_back = ["deploy", "--artifact", artifact.0.to_str().unwrap(), "--stack", "nowhere", "--without-database"];
    let said = xtask(&[&going_back[..], &["--region", "us-east-1", "--yes"]].concat(), Some(&database.url())).await;
    said.says(false, &["holds no artifact"]);
    assert!(!said.text.contains("to apply"), "{}", said.text);
    deploy("29991231000000").await.says(false, &["needs the migration 29991231000000", "update it"]);
    migrate(&database.url(), &["--yes"]).await.says(true, &["Done"]);
    // The database is ready, and what is to be deployed is looked at next.
    deploy("20261128000100").await.says(false, &["0 to apply", "holds no artifact"]);
}

#[tokio::test]
async fn the_last_step_comes_only_when_asked_for() {
    const OPEN: &str = "ghl_qr_orders and ghl_qr_tickets can be read and written with the public (anon) key";
    let database = TestDatabase::empty().await;
    database.execute(ORIGINAL_TABLES).await;
    let closed = "select relrowsecurity from pg_class where oid = 'public.ghl_qr_tickets'::regclass";
    let how = "close them: cargo xtask migrate --last-step";
    // The last thing that it says.
    let text = migrate(&database.url(), &["--yes"]).await.text;
    assert!(text.trim_end().lines().last().is_some_and(|line| line.contains(OPEN) && line.contains(how)), "{text}");
    migrate(&database.url(), &[]).await.says(true, &[OPEN, how, "Nothing to do"]);
    migrate(&database.url(), &["--dry-run"]).await.says(true, &[OPEN, how, "Nothing to do"]);
    assert_eq!(database.value(closed).await, json!(false));
    for _ in 0..2 {
        let closing = migrate(&database.url(), &["--yes", "--last-step"]).await;
        closing.says(true, &["applied: enable_rls_on"]);
        assert!(!closing.text.contains("OPEN"), "{}", closing.text);
        assert_eq!(database.value(closed).await, json!(true));
    }
    // Somebody opens a column of one of them again.
    let opening =
        "grant select (order_id) on ghl_qr_orders to anon; alter table ghl_qr_orders disable row level security";
    database.execute(opening).await;
    migrate(&database.url(), &[]).await.says(true, &["OPEN: ghl_qr_orders can be read with"]);
    database.execute("grant delete on ghl_qr_orders to authenticated").await;
    migrate(&database.url(), &[]).await.says(true, &["OPEN: ghl_qr_orders can be read and written with"]);
    // A policy for somebody else lets neither of the two keys in.
    let policy = "create policy server on ghl_qr_orders to service_role using (true)";
    database.execute(&format!("alter table ghl_qr_orders enable row level security; {policy}")).await;
    let closed = migrate(&database.url(), &[]).await;
    assert!(!closed.text.contains("OPEN"), "{}", closed.text);

    // What the last step can't close isn't called closed: a right that somebody else than the owner has granted.
    let role = format!("friend_{:016x}", rand::random::<u64>());
    database
        .execute(&format!(
            "create role {role}; grant select on ghl_qr_orders to {role} with grant option;
             set role {role}; grant select on ghl_qr_orders to anon; reset role;
             create policy friends on ghl_qr_orders for select using (true)"
        ))
        .await;
    let said = migrate(&database.url(), &["--yes", "--last-step"]).await;
    database.execute(&format!("drop owned by {role} cascade; drop role {role}")).await;
    said.says(false, &["applied: enable_rls_on", "OPEN: ghl_qr_orders can be read with"]);
}

#[tokio::test]
async fn a_file_that_changed_after_it_was_applied_is_refused() {
    let database = TestDatabase::empty().await;
    let directory = one_and_two();
    directory.migrate(&database, &["--yes"]).await.says(true, &[]);
    directory.write("1_one.sql", "create table one (id int);\n");
    directory.write("3_three.sql", "create table three ();\n");
    directory.migrate(&database, &["--yes"]).await.says(false, &["changed after it was applied: 1_one.sql"]);
    assert_eq!(versions(&database).await, json!(["1", "2"]));
}

#[tokio::test]
async fn unknown_versions_and_gaps_are_refused() {
    let database = TestDatabase::empty().await;
    let directory = one_and_two();
    directory.migrate(&database, &["--yes"]).await.says(true, &[]);
    let record = |version| format!("insert into supabase_migrations.schema_migrations values ('{version}')");
    // Another project's.
    database.execute(&record("0")).await;
    directory.migrate(&database, &["--yes"]).await.says(true, &["1 older ones of others", "Nothing to do"]);

    directory.write("15_between.sql", "create table between_them ();\n");
    directory.migrate(&database, &["--yes"]).await.says(false, &["newer 2_two.sql", "15_between.sql", "--include-all"]);
    directory.migrate(&database, &["--yes", "--include-all"]).await.says(true, &["applied: 15_between.sql"]);

    database.execute(&record("30")).await;
    directory.migrate(&database, &["--yes"]).await.says(false, &["doesn't know: 30", "update the code"]);
}

#[tokio::test]
async fn what_the_supabase_cli_applied_stands_and_its_checksum_is_taken_over() {
    let database = TestDatabase::empty().await;
    let directory = one_and_two();
    database
        .execute(
            "create schema supabase_migrations;
                  create table supabase_migrations.schema_migrations
                    (version text not null primary key, statements text[], name text);
                  insert into supabase_migrations.schema_migrations values ('1', '{create table one ()}', 'one')",
        )
        .await;
    let ran = directory.migrate(&database, &["--yes"]).await;
    ran.says(true, &["taken over: 1_one.sql", "to apply: 2_two.sql"]);
    assert_eq!(database.value("select to_regclass('public.one')").await, Value::Null);
    directory.write("1_one.sql", "create table one (id int);\n");
    directory.migrate(&database, &["--yes"]).await.says(false, &["1_one.sql"]);
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_those_before_it_stand() {
    let database = TestDatabase::empty().await;
    let directory = one_and_two();
    directory.write("2_two.sql", "create table two ();\nset search_path = '';\ncreate table public.one ();\n");
    directory.write("3_three.sql", "create table three ();\n");
    let ran = directory.migrate(&database, &["--yes"]).await;
    ran.says(false, &["2_two.sql failed", "line 3: ERROR:  relation \"one\" already exists", "1 of 3 were applied"]);
    assert_eq!(versions(&database).await, json!(["1"]));
    let tables = database.rows(TABLES).await;
    let names: Vec<_> = tables.iter().map(|table| table["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "ghl_sync_checksums", "schema_migrations"]);

    directory.write("2_two.sql", "create table two ();\nset search_path = '';\n");
    directory.migrate(&database, &["--yes"]).await.says(true, &["1 of our migrations applied, 2 to apply", "Done: 3"]);
    assert_eq!(database.value("select to_regclass('public.three')::text").await, json!("three"));
}

/// What can only be refused at the end of the transaction.
#[tokio::test]
async fn a_migration_that_fails_when_it_is_committed_is_named_too() {
    let database = TestDatabase::empty().await;
    let late = "create table late (id int unique deferrable initially deferred);\ninsert into late values (1), (1);\n";
    let directory = Directory::of(&[("1_late.sql", late)]);
    directory.migrate(&database, &["--yes"]).await.says(false, &["1_late.sql failed", "duplicate key"]);
    assert_eq!(versions(&database).await, Value::Null);
}

#[tokio::test]
async fn two_runs_at_once_are_refused() {
    let database = TestDatabase::empty().await;
    let directory = one_and_two();
    assert_eq!(database.value(LOCK).await, json!(true));
    directory.migrate(&database, &["--yes"]).await.says(false, &["another run", "nothing was changed"]);
    assert_eq!(database.rows(TABLES).await, Vec::<Value>::new());
}

/// As a project's `postgres`, who owns the database and is no superuser.
#[tokio::test]
async fn an_owner_without_a_superusers_rights_can_do_all_of_it() {
    let database = TestDatabase::empty().await;
    let owner = database.name();
    database
        .execute(&format!(
            "create role {owner} login createdb createrole bypassrls password 'correct-horse';
             alter database {owner} owner to {owner};
             alter default privileges for role {owner} in schema public grant all on tables to anon, authenticated, service_role;
             alter default privileges for role {owner} in schema public grant all on functions to anon, authenticated, service_role;
             alter default privileges for role {owner} in schema public grant all on sequences to anon, authenticated, service_role"
        ))
        .await;
    let url = format!("postgres://{owner}:correct-horse@{}/{owner}", database.server());
    migrate(&url, &["--yes", "--last-step"]).await.says(true, &["Done", "applied: enable_rls_on"]);
    assert_eq!(sync(&database, order("o1", &[line("p1", "vip", "VIP", 2)])).await["added"], 2);
    let recorded = "select count(*) from ghl_qr_ticket_changes where changed_by = 'sync'";
    assert_eq!(database.value(recorded).await, json!(2));
}

#[tokio::test]
async fn a_user_without_the_rights_is_told_so() {
    let database = TestDatabase::empty().await;
    let role = format!("migrating_{:016x}", rand::random::<u64>());
    database.execute(&format!("create role {role} login password 'correct-horse'")).await;
    let ran = one_and_two().migrate_as(&database, &role, "correct-horse").await;
    database.execute(&format!("drop role {role}")).await;
    ran.says(false, &["no migration was applied", "permission denied", "use the owner of the tables"]);
}

#[tokio::test]
async fn why_there_is_no_connection_is_told_without_the_password() {
    let database = TestDatabase::empty().await;
    let (server, name) = (database.server(), database.name());
    for (url, words) in [
        (format!("postgres://postgres:wrong-horse@{server}/{name}"), "refuses this password of postgres"),
        (format!("postgres://postgres:wrong-horse@127.0.0.1:1/{name}"), "can't be reached at 127.0.0.1:1"),
        (format!("postgres://postgres:wrong-horse@{server}/{name}?sslmode=require"), "can't encrypt"),
        (format!("postgres://postgres:wrong-horse@db.example:6543/{name}"), "the same URL with port 5432"),
        (format!("postgres://postgres:/wrong-horse@{server}/{name}"), "URL can't be read"),
    ] {
        let ran = migrate(&url, &["--yes"]).await;
        ran.says(false, &[words]);
        assert!(!ran.text.contains("wrong-horse"), "{}", ran.text);
    }
}
