//! Doing harm to the running stack, and undoing it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{waiting::until, workers::workers, world::World};
use tokio::process::Command;

/// Orders a fault of the local cloud (`infra/local/cloud/faults.py`).
pub(crate) async fn cloud(world: &World, fault: &Value) {
    let answer = tests::http().post(faults_url(world)).json(fault).send().await.expect("the local cloud answers");
    assert!(answer.status().is_success(), "{fault}: {}", answer.text().await.unwrap());
}

/// Orders a fault of the local Supabase's door (`infra/local/supabase`), in place of the one before.
pub(crate) async fn database(world: &World, fault: &Value) {
    let answer = tests::http().put(door_url(world)).json(fault).send().await.expect("the local Supabase answers");
    assert!(answer.status().is_success(), "{fault}: {}", answer.text().await.unwrap());
}

/// The next answer of each of these SQL functions gets lost, after the function has committed.
pub(crate) async fn lose_answers(world: &World, functions: &[&str]) {
    let once: BTreeMap<_, _> = functions.iter().map(|function| (format!("/rpc/{function}"), 1)).collect();
    database(world, &json!({ "loseAnswers": once })).await;
}

/// Waits until each answer that was to be lost is lost.
pub(crate) async fn until_lost(world: &World, what: &str, patience: Duration) {
    until(what, patience, async || {
        let left = not_lost_yet(world).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

/// The SQL functions whose answers are still to be lost: those that nobody has called.
pub(crate) async fn not_lost_yet(world: &World) -> Vec<String> {
    let answer = tests::http().get(door_url(world)).send().await.expect("the local Supabase answers");
    let set: Value = answer.json().await.expect("it shows what is set");
    let left: BTreeMap<String, u64> = serde_json::from_value(set["loseAnswers"].clone()).unwrap();
    left.into_iter().filter(|(_, times)| *times > 0).map(|(path, _)| path).collect()
}

/// Postgres crashes and recovers: it does so whenever one of its processes is killed.
pub(crate) async fn crash_postgres(world: &World) {
    let victims = "select pid from pg_stat_activity where usename = 'authenticator' limit 1";
    let pid = world.database.rows(victims).await[0]["pid"].as_u64().expect("PostgREST is connected");
    kill(&[pid]).await;
}

/// Kills all workers of a function, in the middle of whatever they do. How many there were.
pub(crate) async fn kill_workers(world: &World, function: &str) -> usize {
    let found = workers(world).into_iter().filter(|(name, _)| name == function);
    let pids: Vec<_> = found.map(|(_, pid)| pid).collect();
    kill(&pids).await;
    pids.len()
}

async fn kill(pids: &[u64]) {
    for pid in pids {
        Command::new("kill").args(["-KILL", &pid.to_string()]).status().await.expect("kill is there");
    }
}

/// Ends every fault.
pub(crate) async fn heal(world: &World) {
    world.ghl.heal().await;
    tests::http().delete(faults_url(world)).send().await.expect("the local cloud answers");
    tests::http().delete(door_url(world)).send().await.expect("the local Supabase answers");
}

fn door_url(world: &World) -> String {
    format!("{}/_control", world.supabase_url())
}

fn faults_url(world: &World) -> String {
    format!("{}/_local/faults", world.aws_endpoint_url)
}
