//! What an admin does, from the terminal, over the running stack's own doors.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::develop::sign_in;
use crate::develop::stack::keys::StackKeys;
use crate::http::{Answer, Http, number, text};
use crate::place::Place;
use crate::progress::OrderBar;
use crate::stack_file::StackFile;
use crate::stop;

const POLL_EVERY: Duration = Duration::from_millis(500);
/// A run that doesn't move for so long is given up by who follows it (its own lease is 30 minutes).
const STILL_FOR: Duration = Duration::from_secs(300);
/// What moves while a run does.
const COUNTS: [&str; 6] = ["runId", "status", "listedOrders", "syncedOrders", "failedOrders", "skippedOrders"];

/// What a sync fetches.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Every order
    Full,
    /// Orders that are new or changed
    Incremental,
}

pub(crate) fn admin(file: &StackFile) -> Http {
    Http::new(&file.http_url, Some(&file.admin_token))
}

pub(crate) fn sync(mode: Mode) -> Result<ExitCode> {
    let file = StackFile::read(&Place::local()?)?;
    let admin = admin(&file);
    let mode = match mode {
        Mode::Full => "full",
        Mode::Incremental => "incremental",
    };
    let run_id = start_run(&admin, mode)?;
    let outcome = follow(&admin, &run_id, &mut || Ok(()))?;
    print_run(&outcome.run);
    let completed = matches!(text(&outcome.run, "status"), "Delay" | "Completed");
    Ok(if completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn status() -> Result<ExitCode> {
    let file = StackFile::read(&Place::local()?)?;
    let admin = admin(&file);
    let status = successful(admin.get("/api/qrapp/sync-status")?)?;
    print_run(&status);
    let failures = successful(admin.get("/api/qrapp/failures?limit=20")?)?;
    for failure in failures.get("failures").and_then(Value::as_array).into_iter().flatten() {
        println!("  failed {}: {} ({})", text(failure, "orderId"), text(failure, "reason"), text(failure, "code"));
    }
    println!("dashboard: {} (signs in once)", sign_in::address(&file, "admin")?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn webhook(order_id: &str) -> Result<ExitCode> {
    let place = Place::local()?;
    let file = StackFile::read(&place)?;
    let body = json!({
        "type": "OrderStatusUpdate",
        "locationId": file.location_id,
        "_id": order_id,
        "altId": file.location_id,
        "altType": "location",
        "status": "completed",
    })
    .to_string();
    let signature = StackKeys::load_or_make(&place)?.webhook_signature(body.as_bytes())?;
    let ghl = Http::new(&file.http_url, None);
    let headers = [("x-ghl-signature", signature.as_str())];
    let answer = ghl.send(Method::POST, "/api/ghl/webhook-qr", &headers, &body)?;
    println!("{} {}", answer.status, answer.body);
    Ok(if answer.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a run, after the cool-down of the one before if need be.
pub(crate) fn start_run(admin: &Http, mode: &str) -> Result<String> {
    loop {
        let answer = admin.post(&format!("/api/ghl/orders/sync?mode={mode}"))?;
        if answer.ok() {
            let run_id = text(&answer.body, "runId");
            return (!run_id.is_empty()).then(|| run_id.to_owned()).context("the start names no run");
        }
        if text(&answer.body, "code") != "cooling_down" {
            bail!("can't start the sync: {}", answer.message());
        }
        let seconds = answer.retry_after.unwrap_or(1).max(1);
        eprintln!("the last run is cooling down: waiting {seconds} s ...");
        stop::sleep(Duration::from_secs(seconds))?;
    }
}

/// A run that has left `Syncing`.
pub(crate) struct Outcome {
    /// As `/api/qrapp/runs/{id}` tells it.
    pub(crate) run: Value,
    /// From here to the last order.
    pub(crate) syncing: Duration,
}

/// Shows a run's progress until every order has its outcome; the cool-down that follows changes nothing any more. `check` is called now and then and may give up.
pub(crate) fn follow(admin: &Http, run_id: &str, check: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let started = Instant::now();
    let mut bar = OrderBar::start();
    let mut last = (Vec::new(), Instant::now());
    loop {
        stop::sleep(POLL_EVERY)?;
        check()?;
        let status = successful(admin.get("/api/qrapp/sync-status")?)?;
        if text(&status, "runId") == run_id {
            let state = text(&status, "status");
            let done = number(&status, "syncedOrders") + number(&status, "failedOrders");
            let total = number(&status, "totalOrders");
            bar.show(state, done, total, &note(&status));
            if state != "Syncing" {
                break;
            }
        }
        let counts = COUNTS.map(|count| status.get(count).cloned().unwrap_or_default()).to_vec();
        if counts != last.0 {
            last = (counts, Instant::now());
        } else if last.1.elapsed() > STILL_FOR {
            bail!("the run hasn't moved for {} s; see target/local/logs/functions.log", STILL_FOR.as_secs());
        }
    }
    bar.finish();
    let syncing = started.elapsed();
    let detail = successful(admin.get(&format!("/api/qrapp/runs/{run_id}?limit=100"))?)?;
    let run = detail.get("run").cloned().context("the run's detail holds no run")?;
    Ok(Outcome { run, syncing })
}

/// In the dashboard's words.
fn note(status: &Value) -> String {
    let known = |name: &str| status.get(name).and_then(Value::as_u64).filter(|seconds| *seconds > 0);
    let mut note = format!("{} valid tickets", number(status, "totalTickets"));
    if let Some(left) = known("etaSeconds") {
        note += &format!(", {left} s left");
    }
    if let Some(wait) = known("waitSeconds") {
        note += &format!(", waiting for GoHighLevel's limit, {wait} s");
    }
    note
}

fn successful(answer: Answer) -> Result<Value> {
    if !answer.ok() {
        bail!("the stack answers: {}", answer.message());
    }
    Ok(answer.body)
}

/// One line for a run, in the dashboard's words.
pub(crate) fn print_run(run: &Value) {
    println!(
        "{} {}: {} orders listed, {} synced ({} unchanged), {} failed, {} skipped, {} valid tickets",
        text(run, "kind"),
        text(run, "status"),
        number(run, "listedOrders"),
        number(run, "syncedOrders"),
        number(run, "unchangedOrders"),
        number(run, "failedOrders"),
        number(run, "skippedOrders"),
        number(run, "totalTickets"),
    );
    if let Some(error) = run.get("error").filter(|error| !error.is_null()) {
        println!("  error: {}", error.get("message").and_then(Value::as_str).unwrap_or(&error.to_string()));
    }
}
