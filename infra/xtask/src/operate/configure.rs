//! Checks access to GHL, Supabase and AWS, and writes the secrets into AWS's parameter store.
//!
//! | module | what it is for |
//! |---|---|
//! | [`values`] | names, and the file that gives values |
//! | [`checks`], [`judge`] | asks GHL and Supabase; decides what their answers mean |
//! | [`plan`] | what is written, and the deployment that follows |
//!
//! No value is printed, put into an argument of a program or quoted in an error.

mod checks;
mod judge;
#[cfg(test)]
mod judge_tests;
mod plan;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::account::Concurrency;
use crate::operate::ask;
use crate::operate::aws::{Aws, Identity, secrets_of};
use crate::operate::report::Report;
use crate::place::Place;
use judge::Openness;
use plan::ParameterPlan;
use values::{ANON_KEY, JWT_SECRET, LOCATION, STORED, SUPABASE_URL, StoredValues, Values};

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask configure                          ask for each value, check, then write
  cargo xtask configure --from ~/ghl-sync.env    from a file like infra/docs/configure.example.env
  cargo xtask configure --stack ghl-sync-staging for another stack than ghl-sync, with secrets of its own
  cargo xtask configure --from FILE --check      only check; secrets that FILE lacks are taken from the parameter store
  cargo xtask configure --from FILE --dry-run    also show what would be written

Uses the AWS credentials of your environment, as the AWS CLI does. Values are never shown. Status 1 if anything is wrong.";

#[derive(Args)]
pub(crate) struct ConfigureOptions {
    /// A file of NAME=value lines, instead of questions
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Check only; write nothing
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "force"])]
    check: bool,
    /// Check, and show what would be written
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Write without asking, also over different values
    #[arg(long)]
    yes: bool,
    /// Write although a check of GHL or Supabase failed, say while one of them is down
    #[arg(long)]
    force: bool,
    /// AWS region; else AWS_REGION, else the profile's
    #[arg(long)]
    region: Option<String>,
    /// Concurrent executions to be reserved for each of webhook, authorizer and gate; refused if the account can't hold them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=300))]
    reserve: u32,
    /// The stack that the secrets are for; their names begin with /ghl-sync/ and its name
    #[arg(long, value_name = "NAME", default_value = "ghl-sync", value_parser = stack)]
    stack: String,
}

pub(crate) fn run(options: &ConfigureOptions) -> Result<ExitCode> {
    let place = Place::local()?;
    let mut given = match &options.from {
        Some(path) => Values::read(path)?,
        None => Values::default(),
    };
    let aws = Aws::of_the_user(&place, options.region.as_deref())?;
    let mut report = Report::default();
    println!("Checking");
    // First what is stored: it needn't be given again.
    let found = look(&aws, &options.stack);
    match &found {
        Ok((who, _)) => {
            report.add("AWS", Ok(format!("region {}, account {}, as {}", who.region, who.account, who.arn)));
        }
        Err(error) => {
            report.add("AWS", Err(format!("{error:#}")));
            if options.from.is_none() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let concurrency = found.is_ok().then(|| concurrency(&aws, options.reserve, &mut report)).flatten();
    if found.is_ok() {
        report.add("access logs", Ok(access_logs(aws.gateway_role())));
    }
    let stored = found.as_ref().map(|(_, stored)| stored.clone()).unwrap_or_default();
    if options.from.is_none() {
        if !ask::somebody() {
            bail!("nobody is there to answer questions: give --from FILE, like infra/docs/configure.example.env");
        }
        questions(&mut given, &stored)?;
    }
    let mut used = given.clone();
    for (variable, value) in &stored {
        if used.get(variable).is_none() {
            used.set(variable, value.expose());
        }
    }
    let reaches = checks::run(&place, &used, &mut report)?;
    let (who, _) = match found {
        Ok(found) if !options.check => found,
        _ => return Ok(verdict(&report)),
    };

    let plan = ParameterPlan::new(&given, &stored, &options.stack)?;
    let there = aws.has_stack(&options.stack);
    let is_new = !matches!(there, Ok(true));
    let stack = in_words(&options.stack, there);
    println!("\nParameters of {stack}, in region {}, account {}", who.region, who.account);
    plan.show();
    if options.dry_run {
        return Ok(verdict(&report));
    }
    if report.wrong > 0 && !options.force {
        println!("\nNothing is written: put right what is wrong, or give --force.");
        return Ok(ExitCode::FAILURE);
    }
    if !plan.is_empty() {
        if !ask::confirmed(options.yes, &format!("\nWrite {} of {stack}?", plan.summary()))? {
            println!("Nothing is written.");
            return Ok(ExitCode::FAILURE);
        }
        aws.write_parameters(&plan.writes())?;
        println!("\nWritten: {}.", plan.summary());
    }
    let more = [of_concurrency(concurrency, options.reserve), of_schedules(reaches.as_ref(), is_new)].concat();
    plan.introduce_next(&used, &who.region, &more);
    Ok(verdict(&report))
}

fn verdict(report: &Report) -> ExitCode {
    if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the account can run at a time, if it says so, and whether that holds what is to be reserved.
fn concurrency(aws: &Aws, reserve: u32, report: &mut Report) -> Option<Concurrency> {
    let found = aws.concurrency();
    let verdict = match &found {
        Ok(account) => account
            .holds(reserve)
            .map(|()| format!("{} executions at a time, {} of them unreserved", account.limit, account.unreserved)),
        Err(error) if reserve > 0 => Err(format!("{error:#}")),
        Err(error) => Ok(format!("unknown ({error:#}): webhooks will be let in as into the smallest account")),
    };
    report.add("concurrency", verdict);
    found.ok()
}

/// Which of the gateway's logs the account can have. Never wrong: the WebSocket API's are off unless somebody asks for them.
fn access_logs(role: Result<Option<String>>) -> String {
    match role {
        Ok(Some(role)) => {
            format!("the WebSocket API's too if you like (WebSocketAccessLogs=true): API Gateway has the role {role}")
        }
        Ok(None) => "of the HTTP API; API Gateway has no role for CloudWatch in this region, which WebSocketAccessLogs=true needs".to_owned(),
        Err(error) => format!("of the HTTP API; whether WebSocketAccessLogs=true would do is unknown ({error:#})"),
    }
}

/// The template's parameters about it.
fn of_concurrency(concurrency: Option<Concurrency>, reserve: u32) -> Vec<String> {
    let mut overrides: Vec<_> = concurrency
        .into_iter()
        .flat_map(Concurrency::parameters)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if reserve > 0 && concurrency.is_some_and(|account| account.holds(reserve).is_ok()) {
        overrides.push(format!("ReservedConcurrency={reserve}"));
    }
    overrides
}

/// The template's parameters while the original app may still sync: two syncs interfere with each other. A stack that is there keeps
/// what it has.
fn of_schedules(reaches: Option<&Openness>, is_new: bool) -> Vec<String> {
    match reaches {
        Some(Openness::OriginalTables(_)) if is_new => vec![plan::SCHEDULES_OFF.to_owned()],
        _ => Vec::new(),
    }
}

/// The stack that is written for. Whoever forgets `--stack` writes for another, which may not even be there.
fn in_words(stack: &str, there: Result<bool>) -> String {
    match there {
        Ok(true) => format!("the stack {stack}"),
        Ok(false) => format!("the stack {stack} (CloudFormation has none of this name yet)"),
        Err(error) => format!("the stack {stack} (whether there is one is unknown: {error:#})"),
    }
}

/// Who we are in AWS, and what the parameter store has, by variable.
fn look(aws: &Aws, stack: &str) -> Result<(Identity, StoredValues)> {
    let who = aws.identity()?;
    let prefix = secrets_of(stack);
    let names: Vec<_> = STORED.iter().map(|stored| format!("{prefix}/{}", stored.name)).collect();
    let mut found = aws.read_parameters(&names)?;
    let stored = STORED.iter().zip(&names).filter_map(|(stored, name)| Some((stored.variable, found.remove(name)??)));
    Ok((who, stored.collect()))
}

/// Asks for what the functions need.
fn questions(given: &mut Values, stored: &StoredValues) -> Result<()> {
    println!("\nSecrets aren't shown while you type. Enter alone leaves things as they are; Ctrl-C and Enter stop.");
    given.set(LOCATION, &ask::line("GHL location id")?);
    given.set(SUPABASE_URL, &ask::line("Supabase URL, like https://abcdefgh.supabase.co")?);
    given.set(ANON_KEY, &ask::line("Supabase's public key, for the dashboard's sign-in")?);
    for item in &STORED {
        let is = match (stored.contains_key(item.variable), item.random, item.variable == JWT_SECRET) {
            (true, ..) => "Enter keeps the stored one",
            (_, true, _) => "Enter makes a random one",
            (.., true) => "Enter if the project has signing keys",
            _ => "needed",
        };
        given.set(item.variable, ask::secret(&format!("{}, {is}", item.variable))?.expose());
    }
    println!("\nChecking");
    Ok(())
}

/// As CloudFormation names stacks.
fn stack(given: &str) -> Result<String, String> {
    let allowed = given.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let well_formed = allowed && given.starts_with(|c: char| c.is_ascii_alphabetic()) && given.len() <= 128;
    if well_formed { Ok(given.to_owned()) } else { Err("it must be a stack's name, like ghl-sync".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_the_socket_are_offered_where_the_account_has_a_role_for_them() {
        let role = "arn:aws:iam::123456789012:role/logs";
        assert!(access_logs(Ok(Some(role.to_owned()))).contains(role));
        assert!(access_logs(Ok(None)).contains("has no role for CloudWatch"));
        assert!(access_logs(Err(anyhow::anyhow!("AWS doesn't allow it"))).contains("unknown (AWS doesn't allow it)"));
    }

    #[test]
    fn schedules_stay_off_while_the_original_app_may_sync() {
        let open = Openness::OriginalTables("whoever has it can use ghl_qr_orders".to_owned());
        assert_eq!(of_schedules(Some(&open), true), ["SchedulesEnabled=false"]);
        assert_eq!(of_schedules(Some(&open), false), [""; 0], "a stack that is there keeps what it has");
        assert_eq!(of_schedules(Some(&Openness::Closed("it reaches nothing of ours".to_owned())), true), [""; 0]);
        assert_eq!(of_schedules(None, true), [""; 0]);
    }

    #[test]
    fn the_stack_that_is_written_for_is_named() {
        assert_eq!(in_words("ghl-sync", Ok(true)), "the stack ghl-sync");
        assert!(
            in_words("ghl-sync-prd", Ok(false)).contains("ghl-sync-prd (CloudFormation has none of this name yet)")
        );
        let denied = in_words("ghl-sync", Err(anyhow::anyhow!("AWS doesn't allow it")));
        assert!(denied.contains("ghl-sync (whether there is one is unknown: AWS doesn't allow it)"));
    }
}
