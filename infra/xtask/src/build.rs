//! Builds what runs: the functions with cargo-lambda, and the two local servers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::place::Place;
use crate::process::{find, output_of, step};

/// What stands in for GHL and for Supabase's front door, and a function that does nothing, which the benchmark compares with.
const SERVERS: [&str; 3] = ["fake-ghl", "local-supabase", "idle"];

/// Builds everything that a stack runs.
pub(crate) fn all(place: &Place) -> Result<()> {
    if find("cargo").is_none() {
        bail!("cargo is missing from PATH: install Rust with rustup");
    }
    let mut lambda = Command::new(place.tools("venv-cloud/bin/cargo-lambda"));
    // The host's own linker: what is built here also runs here, and zig's download isn't needed.
    lambda.args(["lambda", "build", "--release", "--locked", "--compiler", "cargo", "--target", &host()?]);
    lambda.arg("--lambda-dir").arg(binaries(place));
    // The servers in the same call: cargo-lambda has compiler flags of its own, with which what they share is built once.
    for package in functions(place)?.iter().map(String::as_str).chain(SERVERS) {
        lambda.args(["--package", package]);
    }
    lambda.current_dir(place.project(""));
    as_by_hand(&mut lambda);
    let hint = "Mend what the compiler says, then run the same command again";
    step(place, "Building the functions and the local servers", "build", lambda, hint)
}

/// Has SAM's call of cargo-lambda build as [`all`] does, where that makes what containers run.
pub(crate) fn like_ours(sam: &mut Command) -> Result<()> {
    as_by_hand(sam);
    if cfg!(target_os = "linux") {
        sam.envs([("CARGO_LAMBDA_COMPILER", "cargo"), ("CARGO_BUILD_TARGET", &host()?)]);
    }
    Ok(())
}

/// Takes out what `cargo xtask` says of its own package: a crate that asks for these variables (ring) is built anew whenever they change,
/// with all that depends on it.
fn as_by_hand(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
}

/// The directory that holds `<function>/bootstrap` for each function.
pub(crate) fn binaries(place: &Place) -> PathBuf {
    place.target("lambda")
}

/// Where cargo-lambda puts a server: like a function.
pub(crate) fn server(place: &Place, name: &str) -> PathBuf {
    binaries(place).join(name).join("bootstrap")
}

/// The names of the functions' crates, which are the names of their directories.
fn functions(place: &Place) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(place.project("functions")).context("can't read functions/")? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let mut rustc = Command::new("rustc");
    rustc.arg("-vV");
    let said = output_of(rustc, "").context("rustc is missing: install Rust with rustup")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}
