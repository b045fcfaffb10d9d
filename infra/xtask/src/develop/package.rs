//! `package`: what a release deploys, built once for every environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::develop::build;
use crate::place::Place;
use crate::process::output_of;

/// Of the whole workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Options of `package`.
#[derive(Args)]
pub(crate) struct PackageOptions {
    /// The functions' processor
    #[arg(long, value_parser = ["x86_64", "arm64"], default_value = "x86_64")]
    architecture: String,
    /// Where to [default: target/package/ghl-sync-VERSION-ARCHITECTURE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Programs that are built already, as <function>/bootstrap, instead of building them with zig
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

pub(crate) fn run(options: &PackageOptions) -> Result<ExitCode> {
    let place = Place::local()?;
    let binaries = match &options.from {
        Some(directory) => directory.clone(),
        None => build::for_aws(&place, &options.architecture)?,
    };
    let out = match &options.out {
        Some(directory) => directory.clone(),
        None => {
            let directory = place.target("package").join(format!("ghl-sync-{VERSION}-{}", options.architecture));
            // Ours, and to be made anew.
            let _ = fs::remove_dir_all(&directory);
            directory
        }
    };
    let mut make = Command::new("python3");
    make.arg(place.project("infra/deploy/artifact.py"))
        .arg("make")
        .arg("--binaries")
        .arg(&binaries)
        .arg("--out")
        .arg(&out);
    make.args([
        "--architecture",
        &options.architecture,
        "--version",
        VERSION,
        "--commit",
        &commit(&place.project(""))?,
    ]);
    make.env("PYTHONDONTWRITEBYTECODE", "1");
    print!("{}", output_of(make, "").context("no artifact was made")?);
    println!("Made: {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// What is checked out, and whether something was changed in it.
fn commit(project: &Path) -> Result<String> {
    let git = |arguments: &[&str]| git(project, arguments);
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = !git(&["status", "--porcelain"])?.trim().is_empty();
    Ok(format!("{}{}", commit.trim(), if changed { "-changed" } else { "" }))
}

fn git(directory: &Path, arguments: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(directory);
    output_of(git, "").context("the commit isn't known: a release is made of a clone with git")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_says_whether_it_is_of_a_commit_as_it_stands() {
        let clone = std::env::temp_dir().join(format!("ghl-sync-clone-{:016x}", rand::random::<u64>()));
        fs::create_dir(&clone).unwrap();
        git(&clone, &["init", "--quiet"]).unwrap();
        let somebody = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"];
        git(&clone, &[&somebody[..], &["commit", "--quiet", "--allow-empty", "--message", "Begin"]].concat()).unwrap();
        let standing = commit(&clone).unwrap();
        assert!(standing.len() == 40 && standing.chars().all(|digit| digit.is_ascii_hexdigit()), "{standing}");
        fs::write(clone.join("more.rs"), "").unwrap();
        assert_eq!(commit(&clone).unwrap(), format!("{standing}-changed"));
        fs::remove_dir_all(clone).unwrap();
    }
}
