//! Each event of `tests/events` through `start-lambda`: `<function>.<case>.json`.
//!
//! The files hold invented ids and secrets. Here they are replaced by those of orders, runs and sessions that there are; everything
//! else reaches the functions as it is committed.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::{Value, json};
use tests::{
    api::As,
    dashboard::{Dashboard, ticket},
    fake_ghl::new_id,
    project,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::{World, assert_adds_up},
};

use crate::sam::{Template, invoke, read_json, variable};

/// What stands in the files.
const ORDER: &str = "64f1c0de0000000000000001";
const RUN: &str = "0a6f3c1e-5b7d-4c2a-9e8f-1d2c3b4a5968";
const CONNECTION: &str = "Zk1nVcRkIAMCJ9A=";
const TICKET: &str = "/tickets/4711/";
const USER_TOKEN: &str = "invented-user-token";
const WS_TICKET: &str = "invented-ws-ticket";
const WEBHOOK_SECRET: &str = "invented-webhook-secret";
const ORIGIN: &str = "https://dashboard.example";

/// The files by their names without `.json`.
fn committed() -> BTreeMap<String, Value> {
    let files = fs::read_dir(project("tests/events")).expect("tests/events");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            (name.unwrap_or_else(|| panic!("{} is no event", path.display())).to_owned(), read_json(&path))
        })
        .collect()
}

fn function_of(name: &str) -> &str {
    name.split_once('.').unwrap_or_else(|| panic!("{name} names no function and case")).0
}

struct Scene {
    world: World,
    functions: BTreeMap<String, String>,
    events: BTreeMap<String, Value>,
}

impl Scene {
    /// Sends a committed event, with these replacements.
    async fn send(&self, name: &str, replaced: &[(&str, &str)]) -> Value {
        let mut text = self.events[name].to_string();
        for (invented, real) in replaced {
            assert!(text.contains(invented), "{name} doesn't hold {invented}");
            text = text.replace(invented, real);
        }
        invoke(&self.functions[function_of(name)], &serde_json::from_str(&text).unwrap()).await
    }

    /// The answer of an HTTP function: its status and its body.
    async fn ask(&self, name: &str, replaced: &[(&str, &str)]) -> (u64, Value) {
        let answer = self.send(name, replaced).await;
        let text = answer["body"].as_str().unwrap_or_default();
        let body = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        (answer["statusCode"].as_u64().unwrap_or_else(|| panic!("{name}: {answer}")), body)
    }

    /// A batch of messages, none of which is handed back.
    async fn work(&self, name: &str, replaced: &[(&str, &str)]) {
        assert_eq!(self.send(name, replaced).await, json!({ "batchItemFailures": [] }), "{name}");
    }

    /// A new order in GHL.
    async fn order(&self) -> String {
        let id = new_id();
        self.world.ghl.put(&id, json!({})).await;
        id
    }

    /// A new order, stored with its one ticket.
    async fn stored_order(&self) -> (String, Value) {
        let id = self.order().await;
        self.world.api.sync(&id).await;
        let tickets = self.world.database.until_tickets(&id, 1, "live").await;
        (id, tickets[0]["ticket_id"].clone())
    }

    async fn until_completed(&self, run_id: &str) {
        let row = self.world.until_ended(run_id, A_SMALL_RUN).await;
        assert_eq!(row["state"], "Delay", "{row}");
        assert_adds_up(&row);
        self.world.database.end_cooldown().await;
    }

    /// A run whose first pulse hasn't come yet.
    async fn new_run(&self, silent: bool) -> String {
        let request = json!({
            "location_id": self.world.location_id, "kind": "incremental", "requested_by": "test", "cooldown_ms": 1000,
        });
        let database = &self.world.database;
        let rows = database.rows(&format!("select public.start_run('{request}'::jsonb) as started")).await;
        let run = rows[0]["started"]["run"]["run_id"].as_str().unwrap_or_else(|| panic!("{rows:?}")).to_owned();
        if silent {
            let lost = format!("last_pulse_at = clock_timestamp() - interval '1 minute' where run_id = '{run}'");
            database.execute(&format!("update public.sync_runs set {lost}")).await;
        }
        run
    }

    async fn newest_run(&self) -> Value {
        let runs = self.world.api.get(As::Member, "/api/qrapp/runs?limit=1").await.ok();
        runs["runs"][0].clone()
    }

    async fn check(&self, name: &str) {
        let world = &self.world;
        match name {
            "authorizer.http" => {
                let answer = self.send(name, &[(USER_TOKEN, &world.admin_token)]).await;
                assert_eq!((&answer["isAuthorized"], &answer["context"]["role"]), (&json!(true), &json!("admin")));
                assert_eq!(self.send(name, &[]).await, json!({ "isAuthorized": false }), "as it is committed");
            }
            "authorizer.websocket" => {
                let good = ticket(world, As::Member).await;
                let answer = self.send(name, &[(WS_TICKET, &good), (ORIGIN, world.origin())]).await;
                let effect = |answer: &Value| answer["policyDocument"]["Statement"][0]["Effect"].clone();
                assert_eq!((effect(&answer), &answer["context"]["role"]), (json!("Allow"), &json!("member")));
                let elsewhere = self.send(name, &[(WS_TICKET, &good)]).await;
                assert_eq!(effect(&elsewhere), "Deny", "{elsewhere}");
            }
            "webhook.workflow" => {
                let id = self.order().await;
                let replaced = [(WEBHOOK_SECRET, world.webhook_secret.as_str()), (ORDER, &id)];
                let (status, body) = self.ask(name, &replaced).await;
                assert_eq!((status, &body["orders"]), (202, &json!(1)), "{body}");
                world.database.until_tickets(&id, 1, "live").await;
                assert_eq!(self.ask(name, &[]).await.0, 401, "as it is committed");
            }
            "order-sync.order" => {
                let id = self.order().await;
                let (status, body) = self.ask(name, &[(ORDER, &id)]).await;
                assert_eq!((status, &body["result"]), (200, &json!("written")), "{body}");
                world.database.until_tickets(&id, 1, "live").await;
                let (status, body) = self.ask(name, &[]).await;
                assert_eq!((status, &body["code"]), (404, &json!("order_not_found")), "as it is committed");
            }
            "full-sync.start" => {
                let (status, body) = self.ask(name, &[]).await;
                assert_eq!(status, 202, "{body}");
                self.until_completed(body["runId"].as_str().expect("a run")).await;
            }
            "sync-status.status" => {
                let (status, body) = self.ask(name, &[]).await;
                assert!(status == 200 && body["syncInProgress"].is_boolean(), "{status} {body}");
            }
            "gate.validate" => {
                let (id, ticket) = self.stored_order().await;
                let (status, body) = self.ask(name, &[(TICKET, &format!("/tickets/{ticket}/"))]).await;
                assert_eq!((status, &body["result"]), (200, &json!("admitted")), "{body}");
                assert_eq!(world.database.tickets(&id).await[0]["status"], "validated");
            }
            "dashboard.page" => {
                let (status, body) = self.ask(name, &[]).await;
                assert!(status == 200 && body.as_str().is_some_and(|page| page.contains("<!doctype html>")));
            }
            "order-worker.webhook" => {
                let id = self.order().await;
                self.work(name, &[(ORDER, &id)]).await;
                assert!(world.database.order(&id).await.is_some(), "the order is stored before the answer");
                // The stack's own function takes it from the queue.
                world.database.until_tickets(&id, 1, "live").await;
            }
            "tickets.written" => {
                let (id, _) = self.stored_order().await;
                world.database.execute(&format!("delete from public.ghl_qr_tickets where order_id = '{id}'")).await;
                self.work(name, &[(ORDER, &id)]).await;
                assert_eq!(world.database.tickets(&id).await.len(), 1, "it is back before the answer");
            }
            "run-worker.pulse" => {
                let run = self.new_run(false).await;
                self.work(name, &[(RUN, &run)]).await;
                assert!(world.database.run(&run).await["pulse"].as_u64() > Some(0), "its pulse was claimed");
                self.until_completed(&run).await;
            }
            "run-worker.schedule-incremental" | "run-worker.schedule-full" => {
                self.send(name, &[]).await;
                let run = self.newest_run().await;
                assert_eq!(run["requestedBy"], "schedule", "{run}");
                assert!(name.ends_with(run["kind"].as_str().unwrap()), "{run}");
                self.until_completed(run["runId"].as_str().unwrap()).await;
            }
            "run-worker.schedule-watch" => {
                let run = self.new_run(true).await;
                self.send(name, &[]).await;
                self.until_completed(&run).await;
            }
            "dead-letters.order" => {
                let id = self.order().await;
                self.work(name, &[(ORDER, &id)]).await;
                let failures = world.api.get(As::Member, "/api/qrapp/failures?limit=1000").await.ok();
                let failures = failures["failures"].as_array().unwrap();
                let failure = failures.iter().find(|failure| failure["orderId"] == id.as_str());
                assert_eq!(failure.map(|failure| &failure["code"]), Some(&json!("dead_letter")), "{failures:?}");
            }
            "websocket.connect" => {
                assert_eq!(self.send(name, &[]).await["statusCode"], 200);
                assert!(self.is_registered(CONNECTION).await);
            }
            "websocket.default" => {
                let before = world.database.connections().await;
                let mut dashboard = Dashboard::open(world, As::Member).await;
                let after = world.database.connections().await;
                let connection = after.iter().find(|id| !before.contains(id)).expect("it is registered");
                assert_eq!(self.send(name, &[(CONNECTION, connection)]).await["statusCode"], 200);
                dashboard.until("pong", A_MOMENT, |frame| frame["event"] == "pong").await;
                dashboard.close().await;
            }
            "websocket.disconnect" => {
                self.send("websocket.connect", &[]).await;
                assert_eq!(self.send(name, &[]).await["statusCode"], 200);
                assert!(!self.is_registered(CONNECTION).await);
            }
            other => panic!("tests/events/{other}.json has no check here: add one"),
        }
    }

    async fn is_registered(&self, connection: &str) -> bool {
        self.world.database.connections().await.iter().any(|id| id == connection)
    }
}

#[tokio::test]
async fn every_function_answers_its_events_and_does_what_they_say() {
    let (functions, events) = (Template::served().functions(), committed());
    let scene = Scene { world: World::with_orders(4).await, functions, events };
    for name in scene.events.keys() {
        print!("{name} ... ");
        scene.check(name).await;
        println!("ok");
    }
    until("empty queues", A_MOMENT, async || scene.world.cloud().is_empty("tickets").await).await;
}

#[test]
fn every_function_has_an_event_and_every_event_a_function() {
    let (functions, events) = (Template::served().functions(), committed());
    assert_eq!(functions.len(), 12);
    for name in functions.keys() {
        assert!(events.keys().any(|event| function_of(event) == name), "{name} has no event in tests/events");
    }
    for name in events.keys() {
        assert!(functions.contains_key(function_of(name)), "{name}: no such function");
    }
}

/// `sam local invoke` has a container for one event only.
#[test]
fn an_event_can_be_invoked_by_hand() {
    let mut sam = Command::new(variable("SAM"));
    sam.args(["local", "invoke", "DashboardFunction", "--skip-pull-image", "--region", "us-east-1"]);
    sam.arg("--config-file")
        .arg(project("samconfig.toml"))
        .arg("--event")
        .arg(project("tests/events/dashboard.page.json"));
    sam.args(["--template", &variable("SAM_TEMPLATE"), "--env-vars", &variable("SAM_ENV_VARS")]);
    sam.envs([("SAM_CLI_TELEMETRY", "0"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
    let done = sam.output().expect("sam runs");
    let (said, log) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}\n{log}"));
    assert_eq!(answer["statusCode"], 200, "{answer}");
}
