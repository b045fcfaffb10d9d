//! The psql that talks to the database, and what its refusals mean.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::address::{Address, Trust};
use super::roots;
use crate::database::postgres::bundled;
use crate::place::Place;
use crate::process::{end_group, find, output_of, tied};
use crate::{leftovers, setup, stop};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long psql may take to cancel what it does.
const PATIENCE: Duration = Duration::from_secs(10);
/// psql's status if it had no connection, or lost it.
const NO_CONNECTION: i32 = 2;

pub(crate) struct Session {
    psql: PathBuf,
    address: Address,
    /// Of authorities that may have signed the server's certificate.
    roots: Option<PathBuf>,
}

/// The first version that can refuse to hand over a password (`PGREQUIREAUTH`).
const CAREFUL: u32 = 16;

/// How a script ended.
pub(crate) enum ScriptEnd {
    Well,
    /// With the first error, in the database's or psql's words.
    Refused(String),
    /// Without a connection.
    Unconnected(String),
    /// By Ctrl-C.
    Interrupted,
}

impl Session {
    /// With the psql on the PATH, else with the local stack's, which can't encrypt.
    pub(crate) fn new(place: &Place, address: Address) -> Result<Self> {
        let roots = if address.needs_roots() && std::env::var_os("PGSSLROOTCERT").is_none() {
            Some(roots::of_host(place, address.host())?)
        } else {
            None
        };
        let found = find("psql").and_then(|psql| Some((version(&psql)?, psql)));
        let unsafe_version = found.as_ref().map(|(version, _)| *version).filter(|version| {
            // Nobody knows who would get the password.
            *version < CAREFUL && address.trust() == Trust::Nothing
        });
        match (found, unsafe_version) {
            (Some((_, psql)), None) => return Ok(Self { psql, address, roots }),
            (_, Some(version)) if address.needs_tls() => bail!(
                "psql {version} would hand the password to a server that nobody made sure of: leave sslmode out of the URL (it is \
                 verify-full then; sslrootcert names a file of authorities), or install psql {CAREFUL} or newer"
            ),
            _ => {}
        }
        if address.needs_tls() {
            bail!(
                "psql is missing: apt-get install postgresql-client (or brew install libpq, and its bin on PATH). The \
                 one that comes with the local stack can't encrypt what it sends"
            );
        }
        setup::for_stack(place)?;
        Ok(Self { psql: bundled(place).join("psql"), address, roots })
    }

    /// With the local stack's psql, for the local stack's database.
    pub(crate) fn bundled(place: &Place, address: Address) -> Self {
        Self { psql: bundled(place).join("psql"), address, roots: None }
    }

    /// Runs a script up to its first error, and hands each line that it prints to `on_line`.
    pub(crate) fn run(&self, script: String, on_line: &mut dyn FnMut(&str)) -> Result<ScriptEnd> {
        let mut psql = tied(&self.psql, "TERM");
        psql.args(["--no-psqlrc", "--quiet", "--no-password", "-v", "ON_ERROR_STOP=1"]);
        // Refusals are distinguished by psql's messages.
        psql.env("LC_ALL", "C").env("PGCLIENTENCODING", "UTF8");
        self.address.lead(&mut psql, self.roots.as_deref());
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        leftovers::mark(&mut psql);
        let mut child = psql.spawn().context("can't run psql")?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) = pipes else { bail!("psql has no pipes") };

        // A psql that gave up reads no further: its status tells.
        thread::spawn(move || stdin.write_all(script.as_bytes()).ok());
        let complaining = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).ok();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        });
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        loop {
            match lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => on_line(&line),
                Err(RecvTimeoutError::Timeout) if stop::requested() => {
                    end_group(&mut child, Signal::SIGINT, PATIENCE);
                    return Ok(ScriptEnd::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.wait()?;
        let complaint = complaining.join().unwrap_or_default();
        Ok(match status.code() {
            Some(0) => ScriptEnd::Well,
            Some(NO_CONNECTION) => ScriptEnd::Unconnected(complaint),
            _ => ScriptEnd::Refused(if complaint.is_empty() { format!("psql ended with {status}") } else { complaint }),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Why there is no connection, and what to do.
    pub(crate) fn why_unconnected(&self, complaint: &str) -> String {
        let address = &self.address;
        let (server, user) = (address.server(), address.user());
        let said = |words: &[&str]| words.iter().any(|words| complaint.contains(words));
        let what = if said(&["password authentication failed", "SASL authentication failed"]) {
            format!(
                "{server} refuses this password of {user}: is it the database's own, with its special characters encoded?"
            )
        } else if said(&["no password supplied"]) {
            format!("{server} wants a password of {user}, but the URL has none")
        } else if said(&["Tenant or user not found"]) {
            format!("the pooler at {server} doesn't know {user}: its users are called postgres.<project>")
        } else if said(&["server does not support SSL"]) {
            format!("{server} can't encrypt: if the network is to be trusted, add ?sslmode=disable to the URL")
        } else if said(&["certificate verify failed", "does not match host name"]) {
            format!(
                "{server} got no password: its certificate isn't one of that host by an authority that is known here. If it has an \
                 authority of its own, let ?sslrootcert=FILE in the URL name it"
            )
        } else if said(&["authentication method requirement"]) {
            format!("{server} asked for the password itself and got nothing: nobody has made sure which server it is")
        } else if said(&["SSL support is not compiled in"]) {
            "the psql on PATH can't encrypt: apt-get install postgresql-client".to_owned()
        } else if said(&["translate host name", "refused", "timeout", "unreachable", "No route", "timed out"]) {
            let hint = if address.is_supabase_direct() {
                "; Supabase's direct connection needs IPv6, its session pooler (port 5432, see \"Connect\" there) doesn't"
            } else {
                ""
            };
            format!("the database can't be reached at {server}{hint}")
        } else {
            format!("the database at {server} can't be used")
        };
        format!("{what}\n{}", indented(complaint))
    }
}

/// The first number of what a psql says of its version; `None` where it can't be run.
fn version(psql: &Path) -> Option<u32> {
    let mut command = Command::new(psql);
    command.arg("--version");
    // psql (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)
    let said = output_of(command, "").ok()?;
    Some(said.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok()).unwrap_or(0))
}

/// What helps against a refused statement, if that is known.
pub(crate) fn hint(complaint: &str) -> &'static str {
    let said = |words: &str| complaint.contains(words);
    if said("permission denied") || said("must be owner") {
        "The user of the URL may not do this: use the owner of the tables, `postgres` on Supabase."
    } else if said("role \"") && said("does not exist") {
        "This isn't a Supabase database: infra/supabase/local/roles.sql makes the roles that Supabase has."
    } else if said("due to lock timeout") {
        "Somebody else uses the table: run the same command again."
    } else {
        "Put right what it names, then run the same command again: it goes on from there."
    }
}

pub(crate) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
