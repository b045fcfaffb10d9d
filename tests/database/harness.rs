//! A database for each test, so that tests run in parallel and none sees another's rows.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio_postgres::{Client, Config, Error, NoTls};

pub(crate) const LOCATION: &str = "LocationOfTheTests";
/// What a newer project hands out by default, after the roles of an older one.
pub(crate) const NEWER_PROJECT: &str = include_str!("../../infra/supabase/strict/default_privileges.sql");
/// The tables of the original app, as it made them.
pub(crate) const ORIGINAL_TABLES: &str = include_str!("../../infra/supabase/original/tables.sql");

/// Held while the template is made, whoever makes it: test processes may run side by side.
const TEMPLATE_LOCK: i64 = 7_266_432_801;
/// Held by a test that measures.
const MEASURING_LOCK: i64 = 7_266_432_803;

/// A database of its own, dropped with this value.
pub(crate) struct TestDatabase {
    name: String,
    /// As the owner of the schema: for looking, and for playing the original app or a person in the table editor.
    pub(crate) owner: Client,
    /// As `service_role`, the way PostgREST calls for us.
    server: Client,
}

impl TestDatabase {
    /// A newer project with all migrations applied: the server may do what our migrations grant, and nothing else.
    pub(crate) async fn new() -> Self {
        let template = ensure_template().await;
        Self::create(&format!("template {template}")).await
    }

    /// An older project without anything but Supabase's roles: what our migrations make is everybody's until they close it.
    pub(crate) async fn empty() -> Self {
        // As template: it is also what makes sure that the roles exist.
        ensure_template().await;
        let database = Self::create("").await;
        database.execute(&roles()).await;
        database
    }

    /// A database of the original app, without a row, with all migrations applied.
    pub(crate) async fn original() -> Self {
        let database = Self::empty().await;
        database.execute(ORIGINAL_TABLES).await;
        database.migrate().await;
        database
    }

    async fn create(options: &str) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        let admin = connect(None).await;
        admin.batch_execute(&format!("create database {name} {options}")).await.expect("a test database is created");
        let owner = connect(Some(&name)).await;
        let server = connect_as(&name, "service_role").await;
        Self { name, owner, server }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Host and port.
    pub(crate) fn server(&self) -> String {
        let url = server_url();
        let authority = url.rsplit_once('/').map_or(url.as_str(), |(authority, _)| authority);
        authority.rsplit_once('@').map_or(authority, |(_, server)| server).to_owned()
    }

    /// The URL of this database, as its owner.
    pub(crate) fn url(&self) -> String {
        let url = server_url();
        let (server, _) = url.rsplit_once('/').expect("TEST_DATABASE_URL names a database");
        format!("{server}/{}", self.name)
    }

    /// The URL of this database for a PostgREST of its own: a login with what authenticator has, whose password is somebody else's.
    /// It goes with this value.
    pub(crate) async fn url_for_postgrest(&self) -> String {
        let (login, password) = (&self.name, format!("{:032x}", rand::random::<u128>()));
        self.execute(&format!(
            "create role {login} login noinherit password '{password}' in role anon, authenticated, service_role;
             do $$
             declare
               setting text;
             begin
               for setting in select unnest(rolconfig) from pg_roles where rolname = 'authenticator' loop
                 execute format('alter role {login} set %I = %L', split_part(setting, '=', 1), split_part(setting, '=', 2));
               end loop;
             end
             $$"
        ))
        .await;
        format!("postgres://{login}:{password}@{}/{}", self.server(), self.name)
    }

    /// Calls a function as the server does and returns its answer.
    pub(crate) async fn call(&self, function: &str, request: Value) -> Value {
        call(&self.server, function, request).await
    }

    /// The same where an error is expected.
    pub(crate) async fn try_call(&self, function: &str, request: Value) -> Result<Value, Error> {
        try_call(&self.server, function, request).await
    }

    /// One more connection as the server.
    pub(crate) async fn another_server(&self) -> Client {
        connect_as(&self.name, "service_role").await
    }

    /// One more connection in any role.
    pub(crate) async fn connect_as(&self, role: &str) -> Client {
        connect_as(&self.name, role).await
    }

    /// Runs statements as the owner.
    pub(crate) async fn execute(&self, statements: &str) {
        self.owner.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The rows of a query as JSON objects.
    pub(crate) async fn rows(&self, query: &str) -> Vec<Value> {
        self.owner
            .query(&format!("select to_jsonb(q) from ({query}) as q"), &[])
            .await
            .unwrap_or_else(|error| panic!("{query}: {error:?}"))
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    /// The first column of the only row.
    pub(crate) async fn value(&self, query: &str) -> Value {
        let row = self.owner.query_one(&format!("select to_jsonb(({query}))"), &[]).await;
        row.unwrap_or_else(|error| panic!("{query}: {error:?}")).get::<_, Option<Value>>(0).unwrap_or(Value::Null)
    }

    /// Applies every migration, as `supabase db push` does.
    pub(crate) async fn migrate(&self) {
        apply_migrations(&self.owner).await;
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A thread of its own, since a runtime can't wait inside another one.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let admin = connect(None).await;
                for drop in
                    [format!("drop database if exists {name} with (force)"), format!("drop role if exists {name}")]
                {
                    admin.batch_execute(&drop).await.ok();
                }
                Ok::<_, std::io::Error>(())
            })
        });
        dropping.join().ok();
    }
}

/// For tests that measure: one after the other, whoever runs them, until the connection is dropped. A long transaction of one would
/// keep the other's rows from being cleaned up.
pub(crate) async fn alone() -> Client {
    let admin = connect(None).await;
    admin.execute("select pg_advisory_lock($1)", &[&MEASURING_LOCK]).await.expect("the lock of tests that measure");
    admin
}

/// Calls `public.<function>(request)` and returns its answer.
pub(crate) async fn call(client: &Client, function: &str, request: Value) -> Value {
    try_call(client, function, request.clone())
        .await
        .unwrap_or_else(|error| panic!("{function}({request:#}): {error:?}"))
}

/// The same where an error is expected.
pub(crate) async fn try_call(client: &Client, function: &str, mut request: Value) -> Result<Value, Error> {
    if request.get("location_id").is_none() {
        request["location_id"] = json!(LOCATION);
    }
    let row = client.query_one(&format!("select public.{function}($1)"), &[&request]).await?;
    Ok(row.get(0))
}

/// The SQLSTATE of a refused call.
pub(crate) fn sql_state(error: &Error) -> String {
    error.code().map(|state| state.code().to_owned()).unwrap_or_default()
}

fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL must name a Postgres server for the tests, as postgres://user@127.0.0.1:5432/postgres",
    )
}

fn config() -> Config {
    server_url().parse().expect("TEST_DATABASE_URL is a Postgres URL")
}

async fn connect(database: Option<&str>) -> Client {
    let mut config = config();
    if let Some(name) = database {
        config.dbname(name);
    }
    let (client, connection) = config.connect(NoTls).await.expect("the server at TEST_DATABASE_URL answers");
    // The connection ends with its client; a broken one shows in the client's next call.
    tokio::spawn(async move { connection.await.ok() });
    client
}

/// In a role, with the limits that a statement of it has through PostgREST: those of its login, then the role's own.
async fn connect_as(database: &str, role: &str) -> Client {
    let client = connect(Some(database)).await;
    let limits = ["authenticator", role].map(|of| {
        format!(
            "select set_config(split_part(s, '=', 1), split_part(s, '=', 2), false)
             from pg_roles cross join unnest(rolconfig) as s where rolname = '{of}'; "
        )
    });
    client.batch_execute(&format!("{}set role {role}", limits.concat())).await.expect("the role exists");
    client
}

/// The migrated template's name, which changes with the migrations; made by whoever needs it first.
async fn ensure_template() -> String {
    let mut hasher = DefaultHasher::new();
    (roles(), NEWER_PROJECT, migrations()).hash(&mut hasher);
    let name = format!("test_template_{:016x}", hasher.finish());

    let admin = connect(None).await;
    admin.execute("select pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await.expect("the template's lock");
    let made = admin.query_opt("select 1 from pg_database where datname = $1", &[&name]).await.unwrap();
    if made.is_none() {
        // Under another name until it is whole: a half-made template must not be taken for one.
        let scratch = format!("test_{:016x}", rand::random::<u64>());
        admin.batch_execute(&format!("create database {scratch}")).await.expect("a template is created");
        let owner = connect(Some(&scratch)).await;
        owner.batch_execute(&(roles() + NEWER_PROJECT)).await.expect("the roles apply");
        apply_migrations(&owner).await;
        drop(owner);
        rename_when_unused(&admin, &scratch, &name).await;
    }
    admin.execute("select pg_advisory_unlock($1)", &[&TEMPLATE_LOCK]).await.unwrap();
    name
}

/// A closed connection lingers for a moment, and a database in use can't be renamed.
async fn rename_when_unused(admin: &Client, from: &str, to: &str) {
    for _ in 0..100 {
        if admin.batch_execute(&format!("alter database {from} rename to {to}")).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{from} is still in use and can't become the template");
}

async fn apply_migrations(owner: &Client) {
    for (name, migration) in migrations() {
        owner.batch_execute(&migration).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

pub(crate) fn supabase() -> PathBuf {
    tests::project("infra/supabase")
}

fn roles() -> String {
    std::fs::read_to_string(supabase().join("local/roles.sql")).expect("the roles are readable")
}

/// Every migration with its file name, in order.
pub(crate) fn migrations() -> Vec<(String, String)> {
    let mut paths: Vec<_> = std::fs::read_dir(supabase().join("migrations"))
        .expect("the migrations are there")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).expect("the migration is readable")))
        .collect()
}

/// The last step of moving, which no test database has by itself.
pub(crate) fn last_step() -> String {
    std::fs::read_to_string(supabase().join("last-step/enable_rls_on_original_tables.sql")).expect("it is readable")
}
