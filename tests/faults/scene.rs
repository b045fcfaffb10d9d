//! One case: a run is started, harm is done, and then everything must be right.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    accounts::{assert_every_account_agrees, assert_tickets},
    api::As,
    dashboard::Dashboard,
    output::Output,
    waiting::until,
    world::World,
};
use tokio::time::timeout;

use crate::harm;

const SYNC: &str = "/api/ghl/orders/sync?mode=full";
const ORDERS: u32 = 20;
/// No case may take longer: the longest outage, and retries after it.
const PATIENCE: Duration = Duration::from_secs(120);
/// A message becomes a dead letter after five receives, each followed by the visibility time-out.
const POISON: Duration = Duration::from_secs(240);
/// No frame for this long after the end means that there are no more.
const SILENCE: Duration = Duration::from_millis(1500);

/// A fault and how a run is to end that meets it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Runs also where not all do.
    pub(crate) quick: bool,
    /// GHL's faults; `"orderId": "one"` means one ordinary order.
    pub(crate) ghl: Vec<Value>,
    /// The local cloud's faults.
    pub(crate) cloud: Vec<Value>,
    /// SQL functions whose first answer gets lost.
    pub(crate) lost: &'static [&'static str],
    /// What is done once the moment has come.
    pub(crate) at: Moment,
    pub(crate) harm: Harm,
    /// The last state, and the error's code.
    pub(crate) ends: (&'static str, Option<&'static str>),
    /// Orders that fail; unknown where the run ends early.
    pub(crate) failed: Option<u64>,
}

/// When harm is done.
#[derive(Clone, Copy)]
pub(crate) enum Moment {
    Start,
    /// GHL was asked for an order.
    Fetching,
    /// An order was written.
    Written,
    /// A run's outcome was recorded.
    Recorded,
    /// The run is over; what comes now is late.
    Over,
}

/// What is done then.
#[derive(Clone, Copy)]
pub(crate) enum Harm {
    Nothing,
    Outage {
        ms: u64,
    },
    /// The database takes calls and answers none.
    Hang {
        ms: u64,
    },
    CrashPostgres,
    Kill(&'static str),
    /// SSM hangs for 20 s, and the workers of this function start anew: warm ones know their secrets.
    NoSecrets(&'static str),
    /// Messages that nobody can read, in each of these queues.
    Poison(&'static [&'static str]),
    /// Each order's message again, to this queue.
    Again(&'static str),
    /// The cloud's faults end.
    Heal,
}

/// What a case showed.
pub(crate) struct Shown {
    pub(crate) ends: String,
    pub(crate) failed: u64,
}

pub(crate) async fn play(case: &Case) -> Shown {
    let mut world = World::with_orders(ORDERS).await;
    harm::heal(&world).await;
    let census = world.ghl.census().await;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    for rule in &case.ghl {
        let mut rule = rule.clone();
        if rule["orderId"] == "one" {
            rule["orderId"] = json!(census.ordinary[7]);
        }
        world.ghl.fail(rule).await;
    }
    for fault in &case.cloud {
        harm::cloud(&world, fault).await;
    }
    harm::lose_answers(&world, case.lost).await;
    let output = Output::from_now();
    let run_id = start(&world, case).await;
    await_moment(&world, &run_id, case.at).await;
    do_harm(&mut world, &run_id, case.harm).await;

    let ended = until("the final state", PATIENCE, async || {
        // Dashboards look now and then, which also finds a lost pulse; else the watch does.
        world.api.get(As::Member, "/api/qrapp/sync-status").await;
        let run = world.database.run(&run_id).await;
        let state = run["announced_state"].as_str().unwrap_or("none");
        if ["Completed", "Error", "Cancelled"].contains(&state) { Ok(run) } else { Err(run.to_string()) }
    })
    .await;
    let state = ended["state"].as_str().unwrap().to_owned();
    let failed = ended["failed"].as_u64().unwrap();
    let right = (state.as_str(), ended["error_code"].as_str()) == case.ends
        && case.failed.is_none_or(|expected| expected == failed);
    if !right {
        panic!("{}: {ended}\n{}", case.name, failures(&world, &run_id).await);
    }
    harm::until_lost(&world, &format!("{}: calls of what is lost", case.name), PATIENCE).await;
    let told = last_status(&mut dashboard, &run_id).await;
    assert_every_account_agrees(&world, &run_id, &told).await;
    assert_told_once(&output, &run_id, &state, case.harm).await;

    harm::heal(&world).await;
    assert_nothing_lost(&world).await;
    let code = ended["error_code"].as_str().map(|code| format!(" (`{code}`)")).unwrap_or_default();
    Shown { ends: format!("{state}{code}"), failed }
}

/// Starts the case's run; its id.
async fn start(world: &World, case: &Case) -> String {
    if !case.lost.contains(&"start_run") {
        return world.api.start(SYNC).await;
    }
    world.api.post(As::Admin, SYNC).await.refused(503, "database_unavailable", &[]);
    let begun = "select run_id from public.sync_runs where state = 'Syncing'";
    world.database.rows(begun).await[0]["run_id"].as_str().expect("the run was started").to_owned()
}

/// The orders that failed in a run, each with its reason: what its row doesn't tell.
async fn failures(world: &World, run_id: &str) -> String {
    let failed = world
        .database
        .rows(&format!(
            "select order_id, class, code, reason, attempts from public.sync_outcomes
             where run_id = '{run_id}' and outcome = 'failed' order by recorded_at"
        ))
        .await;
    failed.iter().map(|order| format!("failed: {order}\n")).collect()
}

/// The last status told of a run, once nothing more has come for a while.
async fn last_status(dashboard: &mut Dashboard, run_id: &str) -> Value {
    while timeout(SILENCE, dashboard.next()).await.is_ok() {}
    let frames = dashboard.of_run(run_id);
    let last = frames.iter().rfind(|frame| frame["event"] == "sync_status");
    last.unwrap_or_else(|| panic!("no status of {run_id}: {frames:?}"))["data"].clone()
}

/// The log tells the end of a run, and each of its orders, once. Whoever is killed, or has no database to ask, may leave a line out.
async fn assert_told_once(output: &Output, run_id: &str, state: &str, harm: Harm) {
    let is_left_out = matches!(harm, Harm::Outage { .. } | Harm::Hang { .. } | Harm::CrashPostgres | Harm::Kill(_));
    let is_told = state != "Cancelled" && !is_left_out;
    let told = until("the line about the end", PATIENCE, async || {
        let told = told(output, run_id);
        if is_told && !told.contains_key("end") { Err(output.text()) } else { Ok(told) }
    })
    .await;
    let more: Vec<_> = told.iter().filter(|(what, times)| **times > 1 && (*what == "end" || !is_left_out)).collect();
    assert!(more.is_empty(), "told more than once: {more:?}");
}

/// How often the log tells the end of a run, and of each of its orders what became of it.
fn told(output: &Output, run_id: &str) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for line in output.read().1.into_iter().filter(|line| line["run_id"] == run_id) {
        let what = match line["event"].as_str() {
            Some("run_succeeded" | "run_failed") => "end".to_owned(),
            Some(event @ ("order_synced" | "order_failed")) => format!("{event} {}", line["order_id"]),
            _ => continue,
        };
        *told.entry(what).or_default() += 1;
    }
    told
}

/// With the fault gone, one more run brings everything in step, and no message is stuck.
pub(crate) async fn assert_nothing_lost(world: &World) {
    until("a run that completes", PATIENCE, async || {
        let started = world.api.post(As::Admin, SYNC).await;
        let Some(run_id) = started.body["runId"].as_str().filter(|_| started.status == 202) else {
            return Err(format!("{started:?}"));
        };
        let row = world.until_ended(run_id, PATIENCE).await;
        world.database.end_cooldown().await;
        let right = row["state"] == "Delay" && row["failed"] == 0;
        if right { Ok(()) } else { Err(format!("{row}\n{}", failures(world, run_id).await)) }
    })
    .await;
    until("quiet queues", PATIENCE, async || {
        for queue in ["orders", "orders-bulk", "tickets"] {
            world.cloud().is_empty(queue).await?;
        }
        Ok(())
    })
    .await;
    let census = world.ghl.census().await;
    assert_tickets(world, &census.valid).await;
    let broken = world.database.rows("select * from public.ghl_qr_tickets_out_of_step").await;
    assert!(broken.is_empty(), "{broken:?}");
}

async fn await_moment(world: &World, run_id: &str, moment: Moment) {
    until("the moment", PATIENCE, async || {
        let come = match moment {
            Moment::Start => true,
            Moment::Fetching => world.ghl.counters().await["requests"]["detail"].as_u64() > Some(0),
            Moment::Written => !world.database.rows("select 1 from public.ghl_qr_orders limit 1").await.is_empty(),
            Moment::Recorded => world.database.run(run_id).await["synced"].as_u64() > Some(0),
            Moment::Over => world.database.run(run_id).await["state"] != "Syncing",
        };
        if come { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

async fn kill(world: &World, function: &str) {
    let killed = harm::kill_workers(world, function).await;
    assert!(killed > 0, "no worker of {function} was running");
}

async fn do_harm(world: &mut World, run_id: &str, what: Harm) {
    match what {
        Harm::Nothing => {}
        Harm::Outage { ms } => world.take_database_away(ms).await,
        Harm::Hang { ms } => harm::database(world, &json!({ "hangForMs": ms })).await,
        Harm::CrashPostgres => {
            harm::crash_postgres(world).await;
            // It takes our own connection along.
            world.database = world.database.connect_again(&world.stack).await;
        }
        Harm::Kill(function) => kill(world, function).await,
        Harm::NoSecrets(function) => {
            harm::cloud(world, &json!({ "service": "ssm", "kind": "hang", "seconds": 20 })).await;
            kill(world, function).await;
        }
        Harm::Poison(queues) => {
            for queue in queues {
                for body in ["poison", "{}", r#"{"location_id": "elsewhere", "order_id": "a1", "cause": "run"}"#] {
                    world.cloud().send(queue, body).await;
                }
            }
            let poison = 3 * queues.len();
            until("the poison among the failures", POISON, async || {
                let failures = world.api.get(As::Member, "/api/qrapp/failures?limit=1000").await.ok();
                let failures = failures["failures"].as_array().unwrap().iter();
                let unreadable = failures.filter(|failure| failure["code"] == "unreadable_message").count();
                if unreadable == poison { Ok(()) } else { Err(format!("{unreadable} of {poison}")) }
            })
            .await;
        }
        Harm::Again(queue) => {
            for order_id in &world.ghl.census().await.valid {
                let mut message = json!({ "location_id": world.location_id, "order_id": order_id, "cause": "run",
                    "run_id": run_id, "attempt": 1 });
                if queue == "tickets" {
                    message["change"] = json!("written");
                }
                world.cloud().send(queue, &message.to_string()).await;
            }
        }
        Harm::Heal => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            harm::heal(world).await;
        }
    }
}
