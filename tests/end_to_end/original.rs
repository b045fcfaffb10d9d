//! What the public key reaches: nothing where our migrations made the tables, the original app's own two where it made them.

use std::{process::Stdio, time::Duration};

use jsonwebtoken::Algorithm;
use reqwest::{Method, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use tests::{
    database::Database,
    keys::{Keys, now, sign},
    project,
    stack::Stack,
    world::World,
    xtask::{Said, xtask},
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Supabase's public key, in the hands of anybody who has seen the original app's page.
struct Anonymous {
    rest: String,
    key: String,
}

impl Anonymous {
    fn of(stack: &Stack, jwt_secret: &str) -> Self {
        let claims = json!({ "iss": "supabase", "ref": "local", "role": "anon", "exp": now() + 600 });
        Self { rest: stack.postgrest_url.clone(), key: sign(&claims, Algorithm::HS256, jwt_secret) }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, String) {
        let url = format!("{}/{path}", self.rest);
        let request = tests::http().request(method, url).header("apikey", &self.key).bearer_auth(&self.key);
        let request = request.header("prefer", "return=representation");
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await.expect("PostgREST answers");
        (answer.status(), answer.text().await.unwrap())
    }

    async fn is_refused(&self, method: Method, path: &str, body: Option<Value>) {
        let (status, text) = self.ask(method.clone(), path, body).await;
        assert!(matches!(status.as_u16(), 401 | 403), "{method} {path}: {status} {text}");
        assert!(text.contains("42501"), "{method} {path}: {text}");
    }
}

const SCANNED: &str = "ghl_qr_tickets?order_id=eq.original-1";

#[tokio::test]
async fn in_a_fresh_database_the_public_key_can_do_nothing() {
    let world = World::with_orders(4).await;
    let anonymous = Anonymous::of(&world, &Keys::of_the_stack().jwt_secret);
    let order = json!({ "order_id": "forged-1", "contact_email": "ada@example.com" });
    anonymous.is_refused(Method::GET, "ghl_qr_orders?select=contact_email", None).await;
    anonymous.is_refused(Method::POST, "ghl_qr_orders", Some(order)).await;
    anonymous.is_refused(Method::POST, "ghl_qr_tickets", Some(json!({ "ticket_type": "VIP" }))).await;
    anonymous.is_refused(Method::PATCH, SCANNED, Some(json!({ "status": "used" }))).await;
    anonymous.is_refused(Method::GET, "sync_runs", None).await;
    anonymous.is_refused(Method::POST, "rpc/validate_ticket", Some(json!({ "request": {} }))).await;
}

/// A stack beside the one under test, ended with this value.
struct Beside {
    process: Child,
    stack: Stack,
    jwt_secret: String,
    /// What `up` printed.
    printed: String,
}

/// Of the stack beside.
const NAME: &str = "end-to-end";

fn up(arguments: &[&str]) -> Command {
    let mut command = xtask();
    command.args(["up", "--name", NAME, "--port-base", "8720", "--orders", "3"]).args(arguments);
    command
}

impl Beside {
    async fn start(arguments: &[&str]) -> Self {
        let mut command = up(arguments);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("xtask runs");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = async {
            let mut printed = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.starts_with("Ready.") {
                    return printed;
                }
                printed = format!("{printed}{line}\n");
            }
            panic!("`up` ended before it was ready:\n{printed}");
        };
        let printed = timeout(Duration::from_secs(120), ready).await.expect("`up` is ready within two minutes");
        let directory = project("target/local/stacks").join(NAME);
        let keys = Keys::at(&directory.join("keys.json"));
        Self { process, stack: Stack::at(&directory.join("stack.json")), jwt_secret: keys.jwt_secret, printed }
    }

    /// What is printed is no session, but a short address that signs in once.
    async fn assert_introduces_itself(&self) {
        let mut another = xtask();
        another.args(["sign-in", "--name", NAME, "--member"]);
        let another = Said::by(another).await;
        another.says(true, &["/go/"]);
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        for (printed, may_start) in [(&self.printed, true), (&another.text, false)] {
            assert!(!printed.contains("token"), "{printed}");
            let address = printed.split_whitespace().find(|word| word.contains("/go/")).expect("an address");
            assert!(address.starts_with("http://127.0.0.1:") && address.len() < 32, "{address}");
            let answer = client.get(address).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::SEE_OTHER);
            let location = answer.headers()["location"].to_str().unwrap();
            let (page, session) = location.split_once("#access_token=").expect("a session in the fragment");
            assert_eq!(page, self.stack.dashboard_url.split('#').next().unwrap());
            let token = session.split('&').next().unwrap();
            let cancelled =
                client.post(format!("{}/api/ghl/orders/sync/cancel", self.stack.http_url)).bearer_auth(token);
            let status = cancelled.send().await.unwrap().status();
            // Who may start and cancel is told that there is nothing to cancel.
            assert_eq!(status, if may_start { StatusCode::CONFLICT } else { StatusCode::FORBIDDEN });
            assert_eq!(client.get(address).send().await.unwrap().status(), StatusCode::GONE);
        }
    }

    /// As by Ctrl-C.
    async fn stop(mut self) {
        let id = self.process.id().expect("it runs").to_string();
        Command::new("kill").args(["-INT", &id]).status().await.expect("kill is there");
        timeout(Duration::from_secs(60), self.process.wait()).await.expect("`up` ends within a minute").unwrap();
    }
}

async fn migrate(database_url: &str, arguments: &[&str]) -> String {
    let mut command = xtask();
    command.arg("migrate").args(arguments).env("DATABASE_URL", database_url);
    let said = Said::by(command).await;
    said.says(true, &[]);
    said.text
}

#[tokio::test]
async fn beside_the_original_app_its_tables_stay_open_until_the_last_step() {
    // Nothing of the stack under test is used; it only has the processors for itself.
    let _world = World::with_orders(4).await;
    let beside = Beside::start(&["--original", "--reset"]).await;
    beside.assert_introduces_itself().await;
    let anonymous = Anonymous::of(&beside.stack, &beside.jwt_secret);

    // The app makes an order with its tickets, the scanner lets somebody in.
    let order = json!({ "order_id": "original-1", "contact_firstname": "Ada" });
    let (status, text) = anonymous.ask(Method::POST, "ghl_qr_orders", Some(order)).await;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    let tickets = json!([{ "order_id": "original-1", "ticket_type": "VIP" }]);
    let (status, text) = anonymous.ask(Method::POST, "ghl_qr_tickets", Some(tickets)).await;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    let (_, text) = anonymous.ask(Method::PATCH, SCANNED, Some(json!({ "status": "used" }))).await;
    let scanned: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&scanned[0]["status"], &scanned[0]["status_by"]), (&json!("used"), &json!("external")), "{text}");
    anonymous.is_refused(Method::GET, "ghl_qr_ticket_changes", None).await;
    anonymous.is_refused(Method::GET, "sync_order_memory", None).await;

    let database_url = &beside.stack.database_url;
    let text = migrate(database_url, &["--dry-run"]).await;
    assert!(text.contains("ghl_qr_orders and ghl_qr_tickets can be read and written with the public"), "{text}");
    let text = migrate(database_url, &["--yes", "--last-step"]).await;
    assert!(!text.contains("can be read and written"), "{text}");
    anonymous.is_refused(Method::GET, "ghl_qr_orders?select=contact_email", None).await;
    anonymous.is_refused(Method::PATCH, SCANNED, Some(json!({ "status": "live" }))).await;
    assert!(!migrate(database_url, &["--dry-run"]).await.contains("can be read and written"));

    // Its database has the records that `migrate` keeps. One without them, as stacks of before had, isn't touched.
    let database = Database::connect(&beside.stack).await;
    let recorded = database.rows("select version from supabase_migrations.schema_migrations").await;
    let migrations = std::fs::read_dir(project("infra/supabase/migrations")).unwrap();
    assert_eq!(recorded.len(), migrations.count(), "{recorded:?}");
    database.execute("drop schema supabase_migrations cascade").await;
    beside.stop().await;
    let output = up(&[]).output().await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("with --reset makes an"), "{text}");
}
