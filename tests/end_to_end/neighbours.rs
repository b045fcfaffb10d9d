//! A second stack, such as staging, deployed from the same template to the same account.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    api::{Api, As},
    cloud::Cloud,
    database::Database,
    fake_ghl::{FakeGhl, new_id},
    project,
    stack::Stack,
    waiting::{A_SMALL_RUN, until},
    world::{World, assert_adds_up},
    xtask::{Said, xtask},
};
use tokio::process::{Child, Command};

const NAME: &str = "neighbour";
const SYNC: &str = "/api/ghl/orders/sync?mode=full";
/// A database is made, and everything deployed.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// Above the ports of every stack that the tests start.
const PORTS_ABOVE: u16 = 70;

/// Ends a stack as Ctrl-C does, which ends its servers too.
struct Running(Child);

impl Running {
    async fn stop(mut self) {
        let id = self.0.id().expect("it runs").to_string();
        Command::new("kill").args(["-INT", &id]).status().await.expect("kill is there");
        self.0.wait().await.expect("it ends");
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().expect("a port")
}

/// A second stack in the account of the first, once it is up.
async fn neighbour(world: &World) -> (Running, Stack) {
    let account = port_of(&world.aws_endpoint_url);
    let file: PathBuf = project("target/local/stacks").join(NAME).join("stack.json");
    let _ = std::fs::remove_file(&file);
    let mut up = xtask();
    up.args(["up", "--name", NAME, "--reset", "--orders", "4"])
        .args(["--account-of", &account.to_string(), "--port-base", &(account + PORTS_ABOVE).to_string()])
        .stdout(Stdio::null());
    let mut child = up.spawn().expect("xtask runs");
    until("the second stack", STARTS_WITHIN, async || {
        assert_eq!(child.try_wait().unwrap(), None, "it has ended");
        if file.is_file() { Ok(()) } else { Err("it isn't up".to_owned()) }
    })
    .await;
    (Running(child), Stack::at(&file))
}

/// A stack's own doors.
struct Doors<'a> {
    stack: &'a Stack,
    api: Api,
    ghl: FakeGhl,
    database: Database,
}

impl<'a> Doors<'a> {
    async fn of(stack: &'a Stack) -> Self {
        Self { stack, api: Api::new(stack), ghl: FakeGhl::new(stack), database: Database::connect(stack).await }
    }

    async fn until_over(&self, run_id: &str) -> Value {
        until("the end of its run", A_SMALL_RUN, async || {
            let run = self.database.run(run_id).await;
            if run["state"] == "Syncing" { Err(run.to_string()) } else { Ok(run) }
        })
        .await
    }

    async fn assert_in_step(&self, run: &Value) {
        assert_adds_up(run);
        assert_eq!((&run["state"], &run["failed"]), (&json!("Delay"), &json!(0)), "{run}");
        let census = self.ghl.census().await;
        let live = "select count(*) as n from public.ghl_qr_tickets where status = 'live'";
        assert_eq!(self.database.rows(live).await[0]["n"], census.expected_tickets, "tickets");
        let document = Cloud::of(self.stack).document("sync_status.json").await.expect("its own document");
        assert_eq!(document["runId"], run["run_id"]);
    }
}

fn names(stack: &Stack) -> BTreeSet<String> {
    let (queues, functions) = (stack.queues.values(), stack.functions.values());
    queues.chain(functions).chain([&stack.bucket, &stack.http_url, &stack.websocket_url]).cloned().collect()
}

#[tokio::test]
async fn a_second_stack_in_the_account_shares_nothing_with_the_first_and_both_work() {
    let world = World::with_orders(6).await;
    let (running, second) = neighbour(&world).await;
    assert_eq!(second.aws_endpoint_url, world.aws_endpoint_url);
    assert_eq!(names(&second).len(), names(&world.stack).len());
    assert_eq!(names(&second).intersection(&names(&world.stack)).collect::<Vec<_>>(), [""; 0]);
    let secret = async |stack: &str| {
        world.cloud().secret(&format!("/ghl-sync/{stack}/ws-ticket-secret")).await.expect("a secret")
    };
    assert_ne!(secret("ghl-sync").await, secret(&format!("ghl-sync-{NAME}")).await);

    for stack in [&world.stack, &second] {
        let mut check = xtask();
        check.args(["check", "--url", &stack.http_url]).env("CHECK_TOKEN", &stack.member_token);
        Said::by(check).await.says(true, &["a scan without a session is refused", "told to a member"]);
    }

    // Both at once, in an account of ten executions.
    let both = [Doors::of(&world.stack).await, Doors::of(&second).await];
    let mut runs = Vec::new();
    for doors in &both {
        runs.push(doors.api.start(SYNC).await);
    }
    for (doors, run_id) in both.iter().zip(&runs) {
        let run = doors.until_over(run_id).await;
        doors.assert_in_step(&run).await;
        doors.database.end_cooldown().await;
    }
    // A webhook of one reaches nobody else, and neither signature nor token opens the other's door.
    let id = new_id();
    both[1].ghl.put_quantity(&id, 2).await;
    both[1].ghl.notify(&id).await;
    both[1].database.until_tickets(&id, 2, "live").await;
    assert_eq!(both[0].database.tickets(&id).await, [Value::Null; 0]);
    let to_the_first = format!("{}/api/ghl/webhook-qr", world.http_url);
    let astray = both[1].ghl.webhook(json!({ "kind": "signed", "orderId": id, "url": to_the_first })).await;
    assert_eq!(astray["status"], 401, "{astray}");
    let foreign = Api::new(&Stack { http_url: world.http_url.clone(), ..second.clone() });
    assert_eq!(foreign.get(As::Admin, "/api/qrapp/sync-status").await.status, 403);
    running.stop().await;
}
