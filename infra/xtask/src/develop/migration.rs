//! `migration new`: writes the next migration, from what the schema files say and the migrations don't do yet.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schema::draft::draft;

use crate::database::migrations::files;
use crate::database::scratch::Scratch;
use crate::place::Place;

/// What can be done with migrations beside applying them.
#[derive(Subcommand)]
pub(crate) enum MigrationCommand {
    /// Write the next migration from what differs between infra/supabase/schemas and the migrations that there are
    New {
        /// What it does, in a few words: add_scan_ids
        name: String,
        /// Another directory than infra/supabase
        #[arg(long, value_name = "DIR", hide = true)]
        supabase: Option<PathBuf>,
    },
}

pub(crate) fn run(task: &MigrationCommand) -> Result<ExitCode> {
    let MigrationCommand::New { name, supabase } = task;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        bail!("a migration's name has lower-case letters, digits and '_', such as add_scan_ids");
    }
    let supabase = match supabase {
        Some(directory) => directory.clone(),
        None => Place::local()?.project("infra/supabase"),
    };
    let directory = supabase.join("migrations");
    let migrations = files::migrations(&directory)?;
    let scratch = Scratch::start()?;
    let wanted = scratch.of_schemas(&supabase)?;
    let paths: Vec<PathBuf> = migrations.iter().map(|migration| migration.path.clone()).collect();
    let found = scratch.of_migrations(&paths).context("the migrations can't be applied to an empty database")?;
    let differences = wanted.differences(&found);
    if differences.is_empty() {
        println!("Nothing to do: the migrations make what infra/supabase/schemas says.");
        return Ok(ExitCode::SUCCESS);
    }

    let newest = migrations.last().map_or("", |migration| &migration.version);
    let path = directory.join(format!("{}_{name}.sql", next_version(newest)));
    let draft = draft(name, &differences);
    fs::write(&path, &draft.text).with_context(|| format!("can't write {}", path.display()))?;
    println!("Written: {}", path.display());
    for difference in &differences {
        println!("  {difference}");
    }
    if !draft.to_write.is_empty() {
        println!("Still to be written there by you, since rows may be at stake:");
        for line in &draft.to_write {
            println!("  {line}");
        }
    }
    println!("`cargo xtask test database` shows whether both ways then lead to the same.");
    Ok(ExitCode::SUCCESS)
}

/// The time, as the Supabase CLI numbers migrations, or one above the newest where that lies ahead.
fn next_version(newest: &str) -> String {
    let now = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S").to_string();
    match newest.parse::<u64>() {
        Ok(number) if newest >= now.as_str() => (number + 1).to_string(),
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::next_version;

    #[test]
    fn a_version_is_above_the_newest() {
        assert_eq!(next_version("99990101000000"), "99990101000001");
        let now = next_version("20261128000000");
        assert!(now.len() == 14 && now.as_str() > "20261128000000", "{now}");
    }
}
