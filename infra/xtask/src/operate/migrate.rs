//! `migrate`: shows what a database lacks of the Supabase migrations, asks, and applies it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use schema::Difference;

use crate::database::migrations::address::Address;
use crate::database::migrations::files::{self, Migration, file_name};
use crate::database::migrations::plan::MigrationPlan;
use crate::database::migrations::session::Session;
use crate::database::migrations::{apply, catalogue, read};
use crate::database::scratch::Scratch;
use crate::database::sql_files::sql_files;
use crate::operate::ask;
use crate::place::Place;

/// Differences that are shown one by one.
const MOST_SHOWN: usize = 20;

/// Options of `migrate`.
#[derive(Args)]
pub(crate) struct MigrateOptions {
    /// The database: postgres://user:password@host:5432/postgres. On Supabase the direct connection or the session
    /// pooler. Better given by the environment: arguments stand in the list of processes
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Only show what would be done, and compare what stands; status 1 if the database isn't what this code's migrations make
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

/// Whether a database is as this checkout's migrations make it; says what it lacks.
pub(crate) fn is_up_to_date(place: &Place, database_url: Option<&str>) -> Result<bool> {
    let migrations = files::migrations(&place.project("infra/supabase/migrations"))?;
    let session = Session::new(place, address(database_url)?)?;
    let found = read(&session)?;
    let mut plan = MigrationPlan::of(&migrations, &found.recorded()?, false)?;
    if found.made && plan.begins_anew() {
        take_over(&session, &mut plan, &migrations)?;
    }
    show(&plan, &[], session.address());
    look(&session, &plan, &migrations, found.open.as_deref())
}

fn address(database_url: Option<&str>) -> Result<Address> {
    let url = database_url.filter(|url| !url.trim().is_empty());
    let address = Address::of(url.context("which database? Set DATABASE_URL (or give --database-url)")?)?;
    if address.is_transaction_pooler() {
        bail!(
            "port 6543 is Supabase's transaction pooler, where no lock outlives a transaction: use the same URL with port 5432, \
             which is the session pooler, or the direct connection"
        );
    }
    Ok(address)
}

pub(crate) fn run(options: &MigrateOptions) -> Result<ExitCode> {
    let place = Place::local()?;
    let address = address(options.database_url.as_deref())?;
    let dir = options.migrations.clone().unwrap_or_else(|| place.project("infra/supabase/migrations"));
    let migrations = files::migrations(&dir)?;
    let last_steps =
        if options.last_step { sql_files(&place.project("infra/supabase/last-step"))? } else { Vec::new() };

    let session = Session::new(&place, address)?;
    let found = read(&session)?;
    let mut plan = MigrationPlan::of(&migrations, &found.recorded()?, options.include_all)?;
    if found.made && plan.begins_anew() {
        take_over(&session, &mut plan, &migrations)?;
    }
    show(&plan, &last_steps, session.address());
    if options.dry_run {
        let up_to_date = look(&session, &plan, &migrations, found.open.as_deref())?;
        let nothing = up_to_date && plan.is_empty() && last_steps.is_empty();
        println!("{}", if nothing { "Nothing to do." } else { "Nothing was changed." });
        return Ok(if up_to_date { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut open = found.open;
    if plan.is_empty() && last_steps.is_empty() {
        println!("Nothing to do.");
    } else if ask::confirmed(options.yes, "Apply this?")? {
        apply(&session, &plan, &last_steps, &found.state, &mut |line| println!("{line}"))?;
        open = read(&session)?.open;
    } else {
        println!("Nothing was changed.");
        return Ok(ExitCode::FAILURE);
    }
    if let Some(tables) = open {
        println!("{}", still_open(&tables));
        // It was to be closed.
        return Ok(if options.last_step { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    Ok(ExitCode::SUCCESS)
}

/// What a deployment wants to know first: true if the database is as these migrations make it. Tells what is otherwise.
fn look(session: &Session, plan: &MigrationPlan<'_>, migrations: &[Migration], open: Option<&str>) -> Result<bool> {
    // What is missing would differ, of course, and what is taken over has been compared.
    let differences = if plan.pending.is_empty() && plan.standing.is_empty() {
        Wanted::new(migrations)?.differences(session, migrations.len())?
    } else {
        Vec::new()
    };
    if !differences.is_empty() {
        println!("  the migrations are recorded, but the database isn't what they make:\n{}", listed(&differences));
    }
    if let Some(tables) = open {
        println!("{}", still_open(tables));
    }
    Ok(plan.pending.is_empty() && differences.is_empty())
}

fn still_open(tables: &str) -> String {
    format!(
        "OPEN: {tables} with the public (anon) key by anybody who has it, as the original app made \
         them. Once nothing writes with it any more, close them: cargo xtask migrate --last-step"
    )
}

/// What migrations make, on a server of its own.
struct Wanted<'a> {
    scratch: Scratch,
    files: Vec<&'a PathBuf>,
}

impl<'a> Wanted<'a> {
    fn new(migrations: &'a [Migration]) -> Result<Self> {
        println!("  comparing with what the migrations make ...");
        Ok(Self { scratch: Scratch::start()?, files: migrations.iter().map(|migration| &migration.path).collect() })
    }

    /// What is missing or otherwise in the database than the first so many make it, to the text of each function.
    fn differences(&self, session: &Session, standing: usize) -> Result<Vec<Difference>> {
        let files: Vec<PathBuf> = self.files.iter().take(standing).map(|path| (*path).clone()).collect();
        let wanted = self.scratch.of_migrations(&files)?.as_on_any_server();
        let found = catalogue(session)?.as_on_any_server();
        // What others have in the same database is theirs.
        let ours = |difference: &Difference| !matches!(difference, Difference::Surplus(_));
        Ok(wanted.differences(&found).into_iter().filter(ours).collect())
    }
}

/// A database that holds what our first migrations make, but no record of them: they were applied by hand, or by files that
/// have been replaced. They are recorded as they stand if they are all there.
fn take_over<'a>(session: &Session, plan: &mut MigrationPlan<'a>, migrations: &'a [Migration]) -> Result<()> {
    println!(
        "The tables are there, but no record of {}:",
        migrations.first().map_or_else(String::new, Migration::file)
    );
    let wanted = Wanted::new(migrations)?;
    let mut nearest: Option<Vec<Difference>> = None;
    for standing in (1..=migrations.len()).rev() {
        let differences = wanted.differences(session, standing)?;
        if differences.is_empty() {
            plan.take_over(standing);
            return Ok(());
        }
        if nearest.as_ref().is_none_or(|nearest| differences.len() < nearest.len()) {
            nearest = Some(differences);
        }
    }
    bail!(
        "this database was made by other migrations, and isn't what they make now:\n{}\nNothing was changed. Make it so by hand, then \
         run the same command again: it records what stands",
        listed(&nearest.unwrap_or_default())
    );
}

fn listed(differences: &[Difference]) -> String {
    let shown: Vec<String> = differences.iter().take(MOST_SHOWN).map(|difference| format!("  {difference}")).collect();
    let more = differences.len().saturating_sub(MOST_SHOWN);
    format!("{}{}", shown.join("\n"), if more > 0 { format!("\n  and {more} more") } else { String::new() })
}

fn show(plan: &MigrationPlan<'_>, last_steps: &[PathBuf], address: &Address) {
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
