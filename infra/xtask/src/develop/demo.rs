//! A full sync of the fake orders through every function, and whether all agrees afterwards.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::database::postgres::{Durability, Postgres};
use crate::develop::drive::{self, Outcome};
use crate::develop::stack::Stack;
use crate::develop::stack::options::StackOptions;
use crate::http::{Http, number, text};

pub(crate) fn run(options: &StackOptions, exit: bool) -> Result<ExitCode> {
    let place = options.place()?;
    let mut stack = Stack::start(&place, options, Durability::Kept)?;
    let ghl = options.ghl_url.is_none().then(|| Http::new(&stack.file.ghl_url, None));
    if let Some(ghl) = &ghl {
        ghl.delete("/_control/counters")?;
    }

    let admin = drive::admin(&stack.file);
    // A run that an earlier stack left unfinished lost its messages with that stack; 409 says that there is none.
    admin.post("/api/ghl/orders/sync/cancel")?;
    if ghl.is_some() {
        // The cool-down spares GHL, of which there is only the stand-in here: nobody waits for it between two demos.
        stack.postgres.query("update public.sync_runs set cooldown_until = now() where cooldown_until > now()")?;
    }
    let run_id = drive::start_run(&admin, "full")?;
    let outcome = drive::follow(&admin, &run_id, &mut || stack.check())?;
    summarise(&outcome, ghl.as_ref())?;
    let verdict = agrees(&outcome.run, ghl.as_ref(), &stack.postgres);
    match &verdict {
        Ok(()) => println!("every order has its outcome, and the database agrees"),
        Err(difference) => println!("NOT right: {difference:#}"),
    }
    println!();
    if exit {
        return Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    stack.introduce()?;
    stack.stay()?;
    Ok(ExitCode::SUCCESS)
}

fn summarise(outcome: &Outcome, ghl: Option<&Http>) -> Result<()> {
    println!();
    drive::print_run(&outcome.run);
    println!("in {:.1} s", outcome.syncing.as_secs_f64());
    if let Some(ghl) = ghl {
        let counters = ghl.get("/_control/counters")?.body;
        let count_of = |key: &str| counters.get(key).cloned().unwrap_or_default();
        let requests = count_of("requests");
        let calls: u64 = requests.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        println!("{calls} calls to GHL, 429s: {}", number(&count_of("status"), "429"));
    }
    Ok(())
}

/// Ended well (`Delay` is the cool-down after that), every listed order accounted for, and the rows are what the fake GHL's orders entitle to.
fn agrees(run: &Value, ghl: Option<&Http>, postgres: &Postgres) -> Result<()> {
    if !matches!(text(run, "status"), "Delay" | "Completed") {
        bail!("the run ended as {}", text(run, "status"));
    }
    let listed = number(run, "listedOrders");
    let accounted = ["syncedOrders", "failedOrders", "skippedOrders"].iter().map(|key| number(run, key)).sum::<u64>();
    if listed == 0 || listed != accounted {
        bail!("{listed} orders were listed, but {accounted} have an outcome");
    }
    if number(run, "failedOrders") > 0 {
        bail!("{} orders failed: see the dashboard, or cargo xtask status", number(run, "failedOrders"));
    }
    let Some(ghl) = ghl else { return Ok(()) };
    let expected = ghl.get("/_control/orders")?.body;
    let orders = expected.get("valid").and_then(Value::as_array).context("the fake GHL tells no valid orders")?;
    let ids: Vec<&str> = orders.iter().filter_map(Value::as_str).collect();
    if !ids.iter().all(|id| id.chars().all(|letter| letter.is_ascii_alphanumeric())) {
        bail!("the fake GHL has an order with a strange id");
    }
    let list = format!("('{}')", ids.join("','"));
    let stored = postgres.query(&format!(
        "select (select count(*) from ghl_qr_orders where order_id in {list}) || ' ' || \
         (select count(*) from ghl_qr_tickets where order_id in {list} and status in ('live', 'validated', 'used'))"
    ))?;
    let wanted = format!("{} {}", ids.len(), number(&expected, "expectedTickets"));
    if stored != wanted {
        bail!("the database holds (orders, tickets) {stored}, where {wanted} are due");
    }
    Ok(())
}
