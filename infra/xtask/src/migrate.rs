//! `migrate`: applies the Supabase migrations to a database, with the Supabase CLI's records.
//!
//! | module | what it is for |
//! |---|---|
//! | [`address`] | the database's URL |
//! | [`files`] | the migrations of a directory |
//! | [`plan`] | what is to be done |
//! | [`script`], [`session`] | what psql is told, and psql |

mod address;
pub(crate) mod files;
mod plan;
mod script;
mod session;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use schema::{Catalogue, Difference};

use self::address::Address;
use self::files::{Migration, file_name};
use self::plan::{Plan, Recorded};
use self::session::{Ended, Session, hint, indented};
use crate::ask;
use crate::place::Place;
use crate::postgres::sql_files;
use crate::scratch::Scratch;

/// Options of `migrate`.
#[derive(Args)]
pub(crate) struct Options {
    /// The database: postgres://user:password@host:5432/postgres. On Supabase the direct connection or the session
    /// pooler. Better given by the environment: arguments stand in the list of processes
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Afterwards close the original app's two tables to the anonymous key: once nothing writes with it any more
    #[arg(long)]
    last_step: bool,
    /// Also apply migrations that are older than one that is applied
    #[arg(long)]
    include_all: bool,
    /// Other migrations than the project's
    #[arg(long, value_name = "DIR", hide = true)]
    migrations: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let place = Place::local()?;
    let url = options.database_url.as_deref().filter(|url| !url.trim().is_empty());
    let address = Address::of(url.context("which database? Set DATABASE_URL (or give --database-url)")?)?;
    if address.is_transaction_pooler() {
        bail!(
            "port 6543 is Supabase's transaction pooler, where no lock outlives a transaction: use the direct connection \
             or the session pooler, both on port 5432"
        );
    }
    let dir = options.migrations.clone().unwrap_or_else(|| place.project("infra/supabase/migrations"));
    let migrations = files::migrations(&dir)?;
    let last_steps =
        if options.last_step { sql_files(&place.project("infra/supabase/last-step"))? } else { Vec::new() };

    let session = Session::new(&place, address)?;
    let Found { state, open, made } = read(&session)?;
    let mut plan = Plan::of(&migrations, &recorded(&state)?, options.include_all)?;
    if made && plan.begins_anew() {
        take_over(&session, &mut plan, &migrations)?;
    }
    show(&plan, &last_steps, session.address());
    if let (Some(tables), true) = (open, last_steps.is_empty()) {
        println!(
            "  {tables} can be read and written with the public (anon) key, as the original app made them; when nothing \
             writes with it any more, `cargo xtask migrate --last-step` closes them"
        );
    }
    if plan.is_empty() && last_steps.is_empty() {
        println!("Nothing to do.");
    } else if options.dry_run {
        println!("Nothing was changed.");
    } else if options.yes || agreed()? {
        apply(&session, &plan, &last_steps, &state, &mut |line| println!("{line}"))?;
    } else {
        println!("Nothing was changed.");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings the database of a local stack up to date. Nobody is asked: it holds nothing that can't be made again.
pub(crate) fn bring_up_to_date(place: &Place, database_url: &str) -> Result<()> {
    let migrations = files::migrations(&place.project("infra/supabase/migrations"))?;
    let session = Session::bundled(place, Address::of(database_url)?);
    let Found { state, made, .. } = read(&session)?;
    match Plan::of(&migrations, &recorded(&state)?, false) {
        Ok(plan) if !(made && plan.begins_anew()) => apply(&session, &plan, &[], &state, &mut |_| {}),
        _ => bail!(
            "this stack's database was made by other migrations than there are now: the same command with --reset makes an \
             empty one, and forgets what is in it"
        ),
    }
}

/// A database that holds what our first migrations make, but no record of them: they were applied by hand, or by files that
/// have been replaced. They are recorded as they stand if they are all there.
fn take_over<'a>(session: &Session, plan: &mut Plan<'a>, migrations: &'a [Migration]) -> Result<()> {
    println!(
        "The tables are there, but no record of {}: comparing ...",
        migrations.first().map_or_else(String::new, Migration::file)
    );
    let found = catalogue(session)?.as_on_any_server();
    let scratch = Scratch::start()?;
    let mut nearest: Option<Vec<Difference>> = None;
    for standing in (1..=migrations.len()).rev() {
        let files: Vec<PathBuf> = migrations.iter().take(standing).map(|migration| migration.path.clone()).collect();
        let wanted = scratch.of_migrations(&files)?.as_on_any_server();
        // What others have in the same database is theirs.
        let differences: Vec<_> = wanted
            .differences(&found)
            .into_iter()
            .filter(|difference| !matches!(difference, Difference::Surplus(_)))
            .collect();
        if differences.is_empty() {
            plan.take_over(standing);
            return Ok(());
        }
        if nearest.as_ref().is_none_or(|nearest| differences.len() < nearest.len()) {
            nearest = Some(differences);
        }
    }
    let differences = nearest.unwrap_or_default();
    let shown: Vec<String> = differences.iter().take(MOST_SHOWN).map(|difference| format!("  {difference}")).collect();
    let more = differences.len().saturating_sub(MOST_SHOWN);
    bail!(
        "this database was made by other migrations, and isn't what they make now:\n{}{}\nNothing was changed. Make it so by hand, then \
         run the same command again: it records what stands",
        shown.join("\n"),
        if more > 0 { format!("\n  and {more} more") } else { String::new() }
    );
}

/// What the database holds.
fn catalogue(session: &Session) -> Result<Catalogue> {
    let mut told = String::new();
    match session.run(script::telling_the_catalogue(), &mut |line| told.push_str(line))? {
        Ended::Well => Catalogue::parse(&told).context("psql told something else than the catalogue"),
        Ended::Refused(complaint) => {
            bail!("what the database holds can't be read\n{}\n{}", indented(&complaint), hint(&complaint))
        }
        Ended::Unconnected(complaint) => bail!("{}", session.why_unconnected(&complaint)),
        Ended::Interrupted => bail!("nothing was changed"),
    }
}

/// What the database tells before anything is done.
struct Found {
    /// The records, as JSON.
    state: String,
    /// The names of those of the original app's tables that the public key reaches, in words.
    open: Option<String>,
    /// Whether it has tables of ours.
    made: bool,
}

/// The rows of the records.
fn recorded(state: &str) -> Result<Vec<Recorded>> {
    serde_json::from_str(state).context("psql told something else than the records")
}

fn read(session: &Session) -> Result<Found> {
    let mut found = Found { state: String::new(), open: None, made: false };
    let ended = session.run(script::reading(), &mut |line| match line.split_once(' ') {
        Some((script::OPEN, tables)) => found.open = Some(tables.to_owned()).filter(|tables| !tables.is_empty()),
        _ if line == script::OPEN => {}
        _ if line == script::MADE => found.made = true,
        _ => line.clone_into(&mut found.state),
    })?;
    match ended {
        Ended::Well => Ok(found),
        Ended::Refused(complaint) => {
            bail!("the records of migrations can't be read\n{}\n{}", indented(&complaint), hint(&complaint))
        }
        Ended::Unconnected(complaint) => bail!("{}", session.why_unconnected(&complaint)),
        Ended::Interrupted => bail!("nothing was changed"),
    }
}

fn show(plan: &Plan<'_>, last_steps: &[PathBuf], address: &Address) {
    println!("Database {address}: {} of our migrations applied, {} to apply", plan.applied, plan.pending.len());
    if plan.others > 0 {
        println!("  {} older ones of others are recorded and stay as they are", plan.others);
    }
    for migration in &plan.adopted {
        println!("  applied by the Supabase CLI, its checksum is taken over: {}", migration.file());
    }
    for migration in &plan.standing {
        println!("  stands already, is only recorded: {}", migration.file());
    }
    for file in plan.pending.iter().map(|migration| &migration.path).chain(last_steps) {
        println!("  to apply: {}", file_name(file));
    }
}

/// Asks on the terminal.
fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here, so nothing was changed: --yes applies it, --dry-run only shows it");
    }
    ask::yes("Apply this?")
}

/// `state` is what the plan was made from.
fn apply(
    session: &Session,
    plan: &Plan<'_>,
    last_steps: &[PathBuf],
    state: &str,
    say: &mut dyn FnMut(String),
) -> Result<()> {
    let mut begun = None;
    let (mut stand, mut busy, mut moved) = (0, false, false);
    let ended = session.run(script::applying(plan, last_steps, state), &mut |line| match line.split_once(' ') {
        Some((script::BEGUN, file)) => begun = Some(file.to_owned()),
        Some((script::STANDS, file)) => {
            say(format!("  applied: {file}"));
            begun = None;
            stand += 1;
        }
        _ => {
            busy |= line == script::BUSY;
            moved |= line == script::MOVED;
        }
    })?;
    if busy {
        bail!("another run is migrating this database: nothing was changed; run the same command when it has ended");
    }
    if moved {
        bail!("somebody else migrated this database meanwhile: nothing was changed; run the same command again");
    }
    let all = plan.pending.len() + last_steps.len();
    let stands = format!("{stand} of {all} were applied before it and stand, nothing after it was begun.");
    match (ended, begun) {
        (Ended::Well, None) if stand == all => {
            say(format!("Done: {} migrations stand.", plan.applied + plan.standing.len() + plan.pending.len()));
            Ok(())
        }
        (Ended::Refused(complaint), Some(file)) => {
            let complaint = short(&complaint, &file);
            bail!("{file} failed, and nothing of it stands\n{}\n{stands}\n{}", indented(&complaint), hint(&complaint))
        }
        (Ended::Refused(complaint), None) => {
            bail!("no migration was applied\n{}\n{}", indented(&complaint), hint(&complaint))
        }
        (Ended::Unconnected(complaint), Some(file)) => bail!(
            "the connection was lost during {file}, which stands as a whole or not at all\n{}\n{stands}\n\
             Run the same command again: it reads what stands and goes on from there.",
            indented(&complaint)
        ),
        (Ended::Unconnected(complaint), None) => bail!("{}", session.why_unconnected(&complaint)),
        (Ended::Interrupted, begun) => bail!("{stand} of {all} were applied, interrupted {}", during(begun)),
        (Ended::Well, begun) => bail!("psql ended early {}: {stand} of {all} were applied", during(begun)),
    }
}

/// Differences that are shown one by one.
const MOST_SHOWN: usize = 20;

fn during(begun: Option<String>) -> String {
    begun.map_or("between two migrations".to_owned(), |file| {
        format!("during {file}, which stands as a whole or not at all")
    })
}

/// psql's message with `line 7:` for `psql:/where/it/is/file.sql:7:`.
fn short(complaint: &str, file: &str) -> String {
    let shorter = |line: &str| match line.split_once(&format!("{file}:")) {
        Some((before, after)) if before.starts_with("psql:") => format!("line {after}"),
        _ => line.to_owned(),
    };
    complaint.lines().map(shorter).collect::<Vec<_>>().join("\n")
}
