//! Builds what runs: the functions with cargo-lambda, and the two local servers.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::place::Place;
use crate::process::{find, output_of, step};
use crate::setup;

/// What stands in for GHL and for Supabase's front door, and a function that does nothing, which the benchmark compares with.
const SERVERS: [&str; 3] = ["fake-ghl", "local-supabase", "idle"];

/// This machine's, in SAM's words.
pub(crate) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };

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

/// Builds all functions with SAM. On Linux with the compiler, target and flags of [`all`], which has built them: nothing is
/// compiled again. Elsewhere with zig, which is SAM's default, since containers run Linux.
pub(crate) fn by_sam(place: &Place) -> Result<()> {
    setup::for_sam(place)?;
    let mut build = Command::new(sam(place));
    build.arg("build").arg("--template").arg(place.project("template.yaml"));
    build.arg("--build-dir").arg(sam_directory(place)).args(["--parameter-overrides", &architecture()]);
    build.current_dir(place.project("")).env("SAM_CLI_TELEMETRY", "0");
    // SAM looks for cargo-lambda there.
    build.env("PATH", with_sam(place)?);
    as_by_hand(&mut build);
    if cfg!(target_os = "linux") {
        build.envs([("CARGO_LAMBDA_COMPILER", "cargo"), ("CARGO_BUILD_TARGET", &host()?)]);
    }
    let hint = "Mend what SAM says, then run the same command again";
    step(place, "Building the functions with SAM", "sam-build", build, hint)
}

/// Builds all functions for AWS, with zig, whose glibc is old enough there; returns the directory, which holds `<function>/bootstrap`.
pub(crate) fn for_aws(place: &Place, architecture: &str) -> Result<PathBuf> {
    setup::for_sam(place)?;
    let binaries = place.target("package").join(format!("binaries-{architecture}"));
    let mut lambda = Command::new(place.tools("venv-sam/bin/cargo-lambda"));
    // Zig is its default.
    lambda.args(["lambda", "build", "--release", "--locked"]).env_remove("CARGO_LAMBDA_COMPILER");
    lambda.arg(if architecture == "arm64" { "--arm64" } else { "--x86-64" }).arg("--lambda-dir").arg(&binaries);
    for package in functions(place)? {
        lambda.args(["--package", &package]);
    }
    lambda.current_dir(place.project("")).env("PATH", with_sam(place)?);
    as_by_hand(&mut lambda);
    let hint = "Mend what the compiler says, then run the same command again";
    step(place, "Building the functions for AWS", "package", lambda, hint)?;
    Ok(binaries)
}

/// The PATH on which cargo-lambda and zig are.
fn with_sam(place: &Place) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [place.tools("venv-sam/bin")].into_iter().chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(paths)?)
}

/// The program.
pub(crate) fn sam(place: &Place) -> PathBuf {
    place.tools("venv-sam/bin/sam")
}

/// Where [`by_sam`] puts what it builds.
pub(crate) fn sam_directory(place: &Place) -> PathBuf {
    place.own("sam/build")
}

/// The template with the paths of what was built.
pub(crate) fn sam_template(place: &Place) -> PathBuf {
    sam_directory(place).join("template.yaml")
}

/// The template's parameter for functions that this machine runs.
pub(crate) fn architecture() -> String {
    format!("Architecture={ARCHITECTURE}")
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

/// A server's program: a copy that is this stack's own, since cargo-lambda can't replace a program that runs in another one.
pub(crate) fn server(place: &Place, name: &str) -> Result<PathBuf> {
    // cargo-lambda treats it like a function.
    let built = binaries(place).join(name).join("bootstrap");
    let (program, draft) = (place.own(&format!("bin/{name}")), place.own(&format!("bin/{name}.new")));
    fs::create_dir_all(place.own("bin"))?;
    fs::copy(&built, &draft).with_context(|| format!("can't copy {}", built.display()))?;
    fs::rename(&draft, &program).with_context(|| format!("can't replace {}", program.display()))?;
    Ok(program)
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
