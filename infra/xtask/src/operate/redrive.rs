//! Sends orders that failed for good through the queues again, and moves dead letters back.
//!
//! It goes past the API on purpose: at the time it is needed there may be no admin signed in, a run in progress or a
//! cool-down. Messages go to the lane of runs, so webhooks and the gate stay ahead of them, and no faster than the rate
//! limit's share of that lane. Sending one twice does no harm: a message only says which order to look at.

mod dead_letters;
mod failures;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use domain::{LocationId, RunId};
use jiff::{SignedDuration, Timestamp};

use crate::operate::ask;
use crate::operate::aws::{Aws, BATCH, Deployment};
use crate::operate::supabase::Supabase;
use crate::place::Place;
use crate::progress::OrderBar;
use crate::stop;
use dead_letters::{DeadLetters, MovedBack};
use failures::{Failure, Selection, Standing};

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask redrive --stack ghl-sync --dry-run             what failed, and what would be sent
  cargo xtask redrive --stack ghl-sync --since 2h            what failed in the last two hours
  cargo xtask redrive --stack ghl-sync --only ghl_unauthorized
  cargo xtask redrive --stack ghl-sync --dead-letters        messages that stand in the dead-letter queue

Put right first what made them fail: cargo xtask configure --stack <name> --check tells. Without --stack it is the local stack that runs.
Needs, in AWS: cloudformation:DescribeStacks and ListStackResources, ssm:GetParameters, sqs:SendMessage; for dead letters
also sqs:ReceiveMessage, DeleteMessage and GetQueueAttributes. Status 1 if an order failed anew.";

#[derive(Args)]
pub(crate) struct RedriveOptions {
    /// The CloudFormation stack; else the local stack
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// AWS region; else AWS_REGION, else the profile's
    #[arg(long, requires = "stack")]
    region: Option<String>,
    /// Only failures with this code; may be given again
    #[arg(long, value_name = "CODE", conflicts_with = "dead_letters")]
    only: Vec<String>,
    /// Only what failed within this time: 2h, 30m, 3d
    #[arg(long, value_name = "TIME", value_parser = failures::duration, conflicts_with = "dead_letters")]
    since: Option<SignedDuration>,
    /// At most so many orders, the oldest failures first
    #[arg(long, value_name = "N", conflicts_with = "dead_letters")]
    limit: Option<usize>,
    /// Move messages from the dead-letter queue back into the queues they came from
    #[arg(long)]
    dead_letters: bool,
    /// Only show what would be sent
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Send without asking
    #[arg(long)]
    yes: bool,
}

/// The queue of the runs' lane.
const QUEUE: &str = "OrdersBulkQueue";
/// Time for ten orders: runs get 98 calls in 10.25 s.
const PER_BATCH: Duration = Duration::from_millis(1_050);
/// The table's length: more scroll away.
const SHOWN: usize = 40;
/// After the last message: a batch, and the retries of what fails for a moment.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(crate) fn run(options: &RedriveOptions) -> Result<ExitCode> {
    let place = Place::local()?;
    let (aws, deployment) = Aws::of_stack(&place, options.stack.as_deref(), options.region.as_deref())?;
    if options.dead_letters {
        return move_dead_letters(&aws, &deployment, options);
    }
    failed_orders(&aws, &deployment, options)
}

fn failed_orders(aws: &Aws, deployment: &Deployment, options: &RedriveOptions) -> Result<ExitCode> {
    let now = Timestamp::now();
    let selection = Selection {
        only: options.only.clone(),
        since: options.since.map(|since| now.checked_sub(since)).transpose()?,
        limit: options.limit,
    };
    let supabase = Supabase::of(aws, deployment)?;
    let failures::Found { failures, left } = failures::read(&supabase, selection.since)?;
    let selected = selection.of(failures);
    if left > 0 {
        println!("{left} order(s) that the last run didn't come to are left to the next sync.");
    }
    if selected.not_attempted > 0 {
        println!(
            "{} order(s) of runs that were stopped are left to the next sync; --only {} takes them.",
            selected.not_attempted,
            failures::NOT_ATTEMPTED
        );
    }
    if selected.unreadable > 0 {
        println!("{} message(s) named no order: nothing can be sent for them.", selected.unreadable);
    }
    if selected.chosen.is_empty() {
        println!("No failed order to send again.");
        return Ok(ExitCode::SUCCESS);
    }
    show(&selected.chosen, now);
    if options.dry_run {
        println!("Would send {} order(s) again.", selected.chosen.len());
        return Ok(ExitCode::SUCCESS);
    }
    if !ask::confirmed(options.yes, &format!("Send {} order(s) again?", selected.chosen.len()))? {
        println!("Nothing is sent.");
        return Ok(ExitCode::FAILURE);
    }
    send(aws, deployment, &selected.chosen)?;
    let standing = follow(&supabase, &selected.chosen)?;
    println!(
        "{} synced, {} failed anew, {} still under way",
        standing.synced,
        standing.failed.len(),
        standing.under_way
    );
    for (order_id, code) in standing.failed.iter().take(SHOWN) {
        println!("  {order_id}  {code}");
    }
    Ok(if standing.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whose stack it is.
fn location_of(deployment: &Deployment) -> Result<LocationId> {
    deployment.parameter("LocationId")?.parse().context("the stack's LocationId is none")
}

fn show(chosen: &[Failure], now: Timestamp) {
    println!("{:<26} {:<22} {:>8}  {:>8}  in", "order", "code", "attempts", "age");
    for failure in chosen.iter().take(SHOWN) {
        let run = failure.run_id.as_ref().map_or_else(|| "-".to_owned(), |id| format!("run {id}"));
        let age = failures::age(failure.at, now);
        println!("{:<26} {:<22} {:>8}  {age:>8}  {run}", failure.order_id.as_str(), failure.code, failure.attempts);
    }
    if let Some(more) = chosen.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("... and {more} more");
    }
}

fn send(aws: &Aws, deployment: &Deployment, chosen: &[Failure]) -> Result<()> {
    let (url, location_id) = (deployment.queue(QUEUE)?, location_of(deployment)?);
    let mut bar = OrderBar::start();
    let mut sent = 0;
    for batch in chosen.chunks(BATCH) {
        let began = Instant::now();
        let messages: Vec<_> = batch.iter().map(|failure| failure.message(&location_id)).collect();
        aws.send(url, &messages).with_context(|| format!("{sent} of {} order(s) were sent", chosen.len()))?;
        sent += batch.len();
        bar.show("sent", sent as u64, chosen.len() as u64, "Ctrl-C stops");
        if sent < chosen.len() {
            stop::sleep(PER_BATCH.saturating_sub(began.elapsed())).with_context(|| format!("{sent} were sent"))?;
        }
    }
    bar.finish();
    println!("Sent {sent} order(s) again.");
    Ok(())
}

/// Watches until each order is synced or has failed anew, or the patience ends.
fn follow(supabase: &Supabase, sent: &[Failure]) -> Result<Standing> {
    let runs: BTreeSet<&RunId> = sent.iter().filter_map(|failure| failure.run_id.as_ref()).collect();
    let until = Instant::now() + PATIENCE;
    let mut bar = OrderBar::start();
    loop {
        let mut in_runs = BTreeSet::new();
        for run in &runs {
            in_runs.extend(failures::of_run(supabase, run)?.into_iter().map(|failure| failure.order_id));
        }
        // Read after the runs: what is resolved there and failed anew since is seen here.
        let standing = Standing::of(sent, &failures::outside_of_runs(supabase)?, &in_runs);
        let done = sent.len() - standing.under_way;
        bar.show("done", done as u64, sent.len() as u64, "Ctrl-C stops watching");
        if standing.under_way == 0 || Instant::now() >= until {
            bar.finish();
            return Ok(standing);
        }
        stop::sleep(LOOK_EVERY).context("the orders are sent; what became of them wasn't awaited")?;
    }
}

fn move_dead_letters(aws: &Aws, deployment: &Deployment, options: &RedriveOptions) -> Result<ExitCode> {
    let location_id = location_of(deployment)?;
    let letters = DeadLetters::of(deployment)?;
    let visible = letters.show(aws)?;
    if visible == 0 {
        println!("No dead letter to move.");
        return Ok(ExitCode::SUCCESS);
    }
    if options.dry_run {
        println!("Would move about {visible} message(s).");
        return Ok(ExitCode::SUCCESS);
    }
    if !ask::confirmed(options.yes, &format!("Move about {visible} message(s) back?"))? {
        println!("Nothing is moved.");
        return Ok(ExitCode::FAILURE);
    }
    let MovedBack { moved, left } = letters.move_back(aws, &location_id, PER_BATCH)?;
    println!("Moved {moved} message(s) back; {left} are no work of this location and stay.");
    Ok(ExitCode::SUCCESS)
}
