//! Where things are: the project, its `target/`, and the directory of one local stack.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::leftovers;

/// The directory that holds the state of one local stack, its logs, its keys and `stack.json`.
#[derive(Clone)]
pub(crate) struct Place {
    root: PathBuf,
    dir: PathBuf,
}

impl Place {
    /// The stack of `up` and `demo`: `target/local`.
    pub(crate) fn local() -> Result<Self> {
        Self::under("local")
    }

    /// A stack beside it: `target/local/stacks/<name>`.
    pub(crate) fn beside(name: &str) -> Result<Self> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            bail!("--name takes letters, digits and '-'");
        }
        Self::under(&format!("local/stacks/{name}"))
    }

    /// The stack that the tests start for themselves, beside one that may be running: `target/local/test`.
    pub(crate) fn test() -> Result<Self> {
        Self::under("local/test")
    }

    /// The other stacks that the fault tests run beside it: `target/local/test-2`, ...
    pub(crate) fn test_beside(number: u16) -> Result<Self> {
        Self::under(&format!("local/test-{number}"))
    }

    /// The stack of the benchmark: `target/local/bench`.
    pub(crate) fn bench() -> Result<Self> {
        Self::under("local/bench")
    }

    /// The database that a suite of database tests uses: `target/local/test-database`, ...
    pub(crate) fn scratch_database(suite: &str) -> Result<Self> {
        Self::under(&format!("local/test-{suite}"))
    }

    /// This process's own, for a database that lives as long: `target/local/scratch/<process id>`. What killed processes have
    /// left is removed.
    pub(crate) fn scratch() -> Result<Self> {
        let all = Self::under("local/scratch")?;
        for entry in fs::read_dir(&all.dir)? {
            let entry = entry?;
            let owner = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw);
            if owner.is_some_and(|owner| kill(owner, None) == Err(Errno::ESRCH)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Self::under(&format!("local/scratch/{}", std::process::id()))
    }

    /// Forgets the directory.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.dir);
    }

    fn under(name: &str) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .map(Path::to_path_buf)
            .context("the project's directory has moved: build again")?;
        let dir = root.join("target").join(name);
        fs::create_dir_all(dir.join("logs")).with_context(|| format!("can't create {}", dir.display()))?;
        Ok(Self { root, dir })
    }

    /// A path in the repository.
    pub(crate) fn project(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A path in `target/`, where cargo puts what it builds.
    pub(crate) fn target(&self, path: &str) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => self.root.join(dir).join(path),
            None => self.root.join("target").join(path),
        }
    }

    /// A path among the tools that were installed; the same for every stack.
    pub(crate) fn tools(&self, path: &str) -> PathBuf {
        self.root.join("target/local").join(path)
    }

    /// A path in this stack's own directory.
    pub(crate) fn own(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// A log file of this stack.
    pub(crate) fn log(&self, name: &str) -> Result<PathBuf> {
        let logs = self.dir.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("can't create {}", logs.display()))?;
        Ok(logs.join(format!("{name}.log")))
    }

    pub(crate) fn stack_file(&self) -> PathBuf {
        self.own("stack.json")
    }

    /// One stack at a time. The lock goes with the process, however it ends, and what a killed one has left running is ended.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.own("lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("can't open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                write!(file, "{}", std::process::id())?;
                leftovers::end()?;
                Ok(Lock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                bail!("a local stack is already running (process {}): stop it with Ctrl-C there first", pid.trim())
            }
            Err(TryLockError::Error(error)) => Err(error).context("can't lock the local stack"),
        }
    }

    /// Whether a stack runs here.
    pub(crate) fn is_locked(&self) -> bool {
        File::open(self.own("lock")).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

/// Held while a stack runs.
pub(crate) struct Lock {
    _file: File,
}
