//! What a database has of our migrations, and applying the rest, with the Supabase CLI's records.
//!
//! | module | what it is for |
//! |---|---|
//! | [`address`] | the database's URL |
//! | [`files`] | the migrations of a directory |
//! | [`plan`] | what is to be done |
//! | [`roots`] | who may have signed the database's certificate |
//! | [`script`], [`session`] | what psql is told, and psql |

pub(crate) mod address;
pub(crate) mod files;
pub(crate) mod plan;
mod roots;
mod script;
pub(crate) mod session;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use schema::Catalogue;

use self::address::Address;
use self::plan::{MigrationPlan, Recorded};
use self::session::{ScriptEnd, Session, hint, indented};
use crate::place::Place;

/// Brings the database of a local stack up to date. Nobody is asked: it holds nothing that can't be made again.
pub(crate) fn bring_up_to_date(place: &Place, database_url: &str) -> Result<()> {
    let migrations = files::migrations(&place.project("infra/supabase/migrations"))?;
    let session = Session::bundled(place, Address::of(database_url)?);
    let found = read(&session)?;
    match MigrationPlan::of(&migrations, &found.recorded()?, false) {
        Ok(plan) if !(found.made && plan.begins_anew()) => apply(&session, &plan, &[], &found.state, &mut |_| {}),
        _ => bail!(
            "this stack's database was made by other migrations than there are now: the same command with --reset makes an \
             empty one, and forgets what is in it"
        ),
    }
}

/// What the database tells before anything is done.
pub(crate) struct Found {
    /// The records, as JSON.
    pub(crate) state: String,
    /// The names of those of the original app's tables that the public key reaches, in words.
    pub(crate) open: Option<String>,
    /// Whether it has tables of ours.
    pub(crate) made: bool,
}

impl Found {
    /// The rows of the records.
    pub(crate) fn recorded(&self) -> Result<Vec<Recorded>> {
        serde_json::from_str(&self.state).context("psql told something else than the records")
    }
}

/// Asks for the records, and what else decides what is to be done.
pub(crate) fn read(session: &Session) -> Result<Found> {
    let mut found = Found { state: String::new(), open: None, made: false };
    let ended = session.run(script::reading(), &mut |line| match line.split_once(' ') {
        Some((script::OPEN, tables)) => found.open = Some(tables.to_owned()).filter(|tables| !tables.is_empty()),
        _ if line == script::OPEN => {}
        _ if line == script::MADE => found.made = true,
        _ => line.clone_into(&mut found.state),
    })?;
    was_read(session, ended, "the records of migrations")?;
    Ok(found)
}

/// What the database holds.
pub(crate) fn catalogue(session: &Session) -> Result<Catalogue> {
    let mut told = String::new();
    let ended = session.run(script::telling_the_catalogue(), &mut |line| told.push_str(line))?;
    was_read(session, ended, "what the database holds")?;
    Catalogue::parse(&told).context("psql told something else than the catalogue")
}

/// Fails unless a script that only reads ended well.
fn was_read(session: &Session, ended: ScriptEnd, what: &str) -> Result<()> {
    match ended {
        ScriptEnd::Well => Ok(()),
        ScriptEnd::Refused(complaint) => {
            bail!("{what} can't be read\n{}\n{}", indented(&complaint), hint(&complaint))
        }
        ScriptEnd::Unconnected(complaint) => bail!("{}", session.why_unconnected(&complaint)),
        ScriptEnd::Interrupted => bail!("nothing was changed"),
    }
}

/// Applies what is planned. `state` is what the plan was made from; `say` is told each step.
pub(crate) fn apply(
    session: &Session,
    plan: &MigrationPlan<'_>,
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
        (ScriptEnd::Well, None) if stand == all => {
            say(format!("Done: {} migrations stand.", plan.applied + plan.standing.len() + plan.pending.len()));
            Ok(())
        }
        (ScriptEnd::Refused(complaint), Some(file)) => {
            let complaint = short(&complaint, &file);
            bail!("{file} failed, and nothing of it stands\n{}\n{stands}\n{}", indented(&complaint), hint(&complaint))
        }
        (ScriptEnd::Refused(complaint), None) => {
            bail!("no migration was applied\n{}\n{}", indented(&complaint), hint(&complaint))
        }
        (ScriptEnd::Unconnected(complaint), Some(file)) => bail!(
            "the connection was lost during {file}, which stands as a whole or not at all\n{}\n{stands}\n\
             Run the same command again: it reads what stands and goes on from there.",
            indented(&complaint)
        ),
        (ScriptEnd::Unconnected(complaint), None) => bail!("{}", session.why_unconnected(&complaint)),
        (ScriptEnd::Interrupted, begun) => bail!("{stand} of {all} were applied, interrupted {}", during(begun)),
        (ScriptEnd::Well, begun) => bail!("psql ended early {}: {stand} of {all} were applied", during(begun)),
    }
}

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
