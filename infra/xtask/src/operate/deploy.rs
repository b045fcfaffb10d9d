//! Deploys an artifact of `package`, or goes back to an older one, after a look at the database.
//!
//! `infra/deploy/ship.py` does it, as in the workflow: here with boto3, there with the AWS CLI.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::database::migrations::files;
use crate::http::text;
use crate::operate::migrate;
use crate::place::Place;
use crate::setup;

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask package && cargo xtask deploy --artifact target/package/ghl-sync-0.1.0-x86_64 --stack ghl-sync LocationId=... SupabaseUrl=...
  cargo xtask deploy --artifact older --stack ghl-sync --without-database    back to an older release, in minutes

Parameters that aren't given keep their value. DATABASE_URL names the database, whose migrations must be there. Uses the AWS credentials of
your environment, as the AWS CLI does.";

#[derive(Args)]
pub(crate) struct DeployOptions {
    /// What `package` has made, here or in the workflow of a tag
    #[arg(long, value_name = "DIR")]
    artifact: PathBuf,
    /// The CloudFormation stack
    #[arg(long, value_name = "NAME")]
    stack: String,
    /// The bucket for the code [default: ghl-sync-artifacts-ACCOUNT-REGION, made if it isn't there]
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// AWS region; else AWS_REGION, else the profile's
    #[arg(long)]
    region: Option<String>,
    /// Don't look whether the database has its migrations: to go back to an older release
    #[arg(long)]
    without_database: bool,
    /// Deploy without asking
    #[arg(long)]
    yes: bool,
    /// The template's parameters, as Name=value
    #[arg(value_name = "NAME=VALUE")]
    parameters: Vec<String>,
}

pub(crate) fn run(options: &DeployOptions) -> Result<ExitCode> {
    let place = Place::local()?;
    if !options.without_database {
        ready(&place, options)?;
    }
    setup::for_aws(&place)?;
    let mut ship = setup::python_program(&place, "infra/deploy/ship.py");
    ship.args(["--by", "boto3", "--stack", &options.stack]).arg("--artifact").arg(&options.artifact);
    for (name, value) in [("--bucket", &options.bucket), ("--region", &options.region)] {
        ship.args(value.iter().flat_map(|value| [name, value.as_str()]));
    }
    ship.args(options.yes.then_some("--yes")).arg("--").args(&options.parameters);
    let status = ship.status().context("can't run Python")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fails unless the database has what the artifact's functions need.
fn ready(place: &Place, options: &DeployOptions) -> Result<()> {
    let path = options.artifact.join("manifest.json");
    let manifest = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let manifest: Value = serde_json::from_str(&manifest).with_context(|| format!("{} is damaged", path.display()))?;
    let schema = text(&manifest, "schema");
    let migrations = files::migrations(&place.project("infra/supabase/migrations"))?;
    if !migrations.iter().any(|migration| migration.version == schema) {
        bail!("the artifact needs the migration {schema}, which this checkout doesn't have: update it");
    }
    let url = std::env::var("DATABASE_URL").ok();
    let up_to_date = migrate::is_up_to_date(place, url.as_deref())
        .context("nothing is deployed before its database is known to be ready (to go back to an older release: --without-database)")?;
    if !up_to_date {
        bail!("nothing is deployed: the database isn't what the migrations make. Run cargo xtask migrate first");
    }
    Ok(())
}
