//! A function that lacks a variable, or has one it can't read, stops at its start and names it.
//!
//! Runs the built programs themselves; `LAMBDA_DIR` says where they are (default: `target/lambda`).

use std::{collections::BTreeMap, env, path::PathBuf, process::Output, time::Duration};

use tests::project;
use tokio::{process::Command, time::timeout};

/// What each function can't do without, beside [`DATABASE`] where it says so.
const FUNCTIONS: [(&str, bool, &[&str]); 12] = [
    ("authorizer", false, &["SUPABASE_URL", "WS_TICKET_SECRET", "GHL_LOCATION_ID"]),
    ("dashboard", false, &["WEBSOCKET_URL", "GHL_LOCATION_ID"]),
    ("dead-letters", true, &["RUNS_QUEUE_URL"]),
    ("full-sync", true, &["RUNS_QUEUE_URL"]),
    ("gate", true, &[]),
    ("order-sync", true, &["GHL_API_BASE_URL", "GHL_ACCESS_TOKEN", "ORDERS_QUEUE_URL"]),
    (
        "order-worker",
        true,
        &[
            "GHL_API_BASE_URL",
            "GHL_ACCESS_TOKEN",
            "ORDERS_QUEUE_URL",
            "ORDERS_BULK_QUEUE_URL",
            "TICKETS_QUEUE_URL",
            "RUNS_QUEUE_URL",
        ],
    ),
    (
        "run-worker",
        true,
        &[
            "GHL_API_BASE_URL",
            "GHL_ACCESS_TOKEN",
            "RUNS_QUEUE_URL",
            "ORDERS_BULK_QUEUE_URL",
            "TICKETS_QUEUE_URL",
            "STATUS_BUCKET",
        ],
    ),
    ("sync-status", true, &["RUNS_QUEUE_URL", "STATUS_BUCKET", "WS_TICKET_SECRET"]),
    ("tickets", true, &["TICKETS_QUEUE_URL", "RUNS_QUEUE_URL"]),
    ("webhook", false, &["GHL_LOCATION_ID", "ORDERS_QUEUE_URL"]),
    ("websocket", true, &["WEBSOCKET_ENDPOINT", "RUNS_QUEUE_URL"]),
];

const DATABASE: [&str; 3] = ["SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "GHL_LOCATION_ID"];

fn variables(function: &str) -> Vec<&'static str> {
    let (_, database, others) = FUNCTIONS.iter().find(|(name, ..)| *name == function).unwrap();
    let database = if *database { &DATABASE[..] } else { &[] };
    [database, others].concat()
}

/// Values that can't be read, and a function that reads them.
const MALFORMED: [(&str, &str, &str); 21] = [
    ("gate", "SUPABASE_URL", "example.com"),
    ("gate", "SUPABASE_URL", "http://example.com"),
    ("authorizer", "SUPABASE_URL", "http://example.com"),
    ("order-sync", "GHL_API_BASE_URL", "http://example.com"),
    ("gate", "GHL_LOCATION_ID", "a location"),
    ("webhook", "WEBHOOK_PUBLIC_KEYS", "AAAA"),
    ("webhook", "ORDERS_QUEUE_URL", "orders"),
    ("full-sync", "COOLDOWN_SECONDS", "soon"),
    ("full-sync", "LEASE_SECONDS", "-1"),
    ("order-sync", "GHL_API_BASE_URL", "ftp://example.com"),
    ("order-worker", "RATE_LIMIT_MAX", "many"),
    ("order-worker", "DAILY_RESERVE", "-1"),
    ("run-worker", "PULSE_SECONDS", "2.5"),
    ("run-worker", "WAITS_PERCENT", "0"),
    ("websocket", "WEBSOCKET_ENDPOINT", "nowhere"),
    ("dashboard", "WEBSOCKET_URL", "https://example.com"),
    ("dashboard", "SUPABASE_ANON_KEY", "sb_secret_AnInventedExampleKey"),
    ("dashboard", "GHL_ORDER_URL", "https://example.com/orders"),
    ("sync-status", "HOURS_WITHOUT_SYNC", "two"),
    ("sync-status", "DAILY_BUDGET_LOW", "-1"),
    ("websocket", "HOURS_WITHOUT_SYNC", "2.5"),
];

/// A value that serves.
fn good(variable: &str) -> &'static str {
    match variable {
        "WEBSOCKET_URL" => "wss://example.com/live",
        "GHL_LOCATION_ID" => "ExampleLocation00001",
        "STATUS_BUCKET" => "example-bucket",
        name if name.ends_with("_URL") || name.ends_with("_ENDPOINT") => "https://example.com",
        _ => "an-invented-secret-of-more-than-32-characters",
    }
}

async fn start(function: &str, environment: BTreeMap<&str, &str>) -> Output {
    let directory = env::var_os("LAMBDA_DIR").map_or_else(|| project("target/lambda"), PathBuf::from);
    let program = directory.join(function).join("bootstrap");
    assert!(
        program.is_file(),
        "{} is missing: build the functions (cargo xtask up), or set LAMBDA_DIR",
        program.display()
    );
    let mut command = Command::new(program);
    command.env_clear().envs(environment).kill_on_drop(true);
    let ended = timeout(Duration::from_secs(20), command.output()).await;
    ended.unwrap_or_else(|_| panic!("{function} goes on without its configuration")).expect("it starts")
}

/// It failed, and its words for a person name the variable.
fn assert_names(function: &str, variable: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{function} without {variable} ends with {}", output.status);
    let named = said.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == variable);
    assert!(named, "{function} doesn't name {variable}: {said}");
}

#[tokio::test]
async fn a_missing_variable_is_named() {
    for (function, ..) in FUNCTIONS {
        let variables = variables(function);
        for missing in &variables {
            let others = variables.iter().filter(|name| *name != missing).map(|name| (*name, good(name)));
            let mut environment: BTreeMap<_, _> = others.collect();
            assert_names(function, missing, &start(function, environment.clone()).await);
            // CloudFormation hands over what isn't configured as an empty value.
            environment.insert(missing, "");
            assert_names(function, missing, &start(function, environment).await);
        }
    }
}

#[tokio::test]
async fn an_empty_environment_stops_every_function() {
    for (function, ..) in FUNCTIONS {
        let output = start(function, BTreeMap::new()).await;
        assert!(!output.status.success(), "{function}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(variables(function).iter().any(|name| said.contains(name)), "{function} names no variable: {said}");
    }
}

#[tokio::test]
async fn a_malformed_variable_is_named() {
    for (function, variable, value) in MALFORMED {
        let mut environment: BTreeMap<_, _> = variables(function).iter().map(|name| (*name, good(name))).collect();
        environment.insert(variable, value);
        assert_names(function, variable, &start(function, environment).await);
    }
}
