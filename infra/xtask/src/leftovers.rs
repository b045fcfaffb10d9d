//! Ends what a killed xtask has left running. Whatever is started carries a mark in its environment that names who started it; what
//! carries the mark of a process that is gone is ended, and nothing else is.
//!
//! Needs Linux's `/proc`. Elsewhere nothing is found, and a port that is still in use is told as such.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::progress::Step;
use crate::stop;

const MARK: &str = "GHL_SYNC_STARTED_BY";
/// How long a server may take to end by itself. Postgres has got its signal from the kernel already.
const PATIENCE: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After this time, something that can't be killed is told.
const LONGEST: Duration = Duration::from_secs(20);

/// Who started a process.
struct Owner {
    /// Process ids are those of a namespace: a container counts by itself.
    namespace: String,
    /// The project's own; another checkout looks after itself.
    project: String,
    pid: i32,
    /// In the kernel's ticks since it booted, so that another process with the same id is another one.
    begun: u64,
}

impl Owner {
    /// This process, if there is a `/proc`.
    fn this() -> Option<Self> {
        let pid = std::process::id().cast_signed();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned();
        Some(Self { namespace, project: env!("CARGO_MANIFEST_DIR").to_owned(), pid, begun: begun(pid)? })
    }

    fn mark(&self) -> String {
        format!("{} {} {} {}", self.namespace, self.pid, self.begun, self.project)
    }

    fn read(mark: &str) -> Option<Self> {
        let mut parts = mark.splitn(4, ' ');
        let (namespace, pid, begun, project) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (pid, begun) = (pid.parse().ok()?, begun.parse().ok()?);
        Some(Self { namespace: namespace.to_owned(), project: project.to_owned(), pid, begun })
    }

    fn is_gone(&self) -> bool {
        begun(self.pid) != Some(self.begun)
    }
}

/// Marks what a command will start, and all that starts in its turn.
pub(crate) fn mark(command: &mut Command) {
    if let Some(owner) = Owner::this() {
        command.env(MARK, owner.mark());
    }
}

/// Ends what processes of this project have left that are gone: asks first, then insists.
pub(crate) fn end() -> Result<()> {
    let Some(this) = Owner::this() else { return Ok(()) };
    let mut left = orphans(&this);
    if left.is_empty() {
        return Ok(());
    }
    let step = Step::start("Ending what a killed xtask has left running");
    let begun = Instant::now();
    for pid in &left {
        let _ = kill(*pid, Signal::SIGTERM);
    }
    while !left.is_empty() {
        if begun.elapsed() > LONGEST {
            let pids: Vec<String> = left.iter().map(ToString::to_string).collect();
            bail!("processes of an xtask that was killed can't be ended: {}", pids.join(", "));
        }
        if begun.elapsed() > PATIENCE {
            for pid in &left {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
        stop::sleep(LOOK_EVERY)?;
        // What they have started meanwhile is among them.
        left = orphans(&this);
    }
    step.done();
    Ok(())
}

/// The processes of a program whose working directory is this one.
pub(crate) fn working_in(directory: &Path, program: &str) -> Vec<Pid> {
    let works_there = |pid: &i32| {
        let process = Path::new("/proc").join(pid.to_string());
        fs::read_link(process.join("cwd")).is_ok_and(|place| place == directory)
            && fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end() == program)
    };
    processes().filter(works_there).map(Pid::from_raw).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Marked by a process of this project that is gone.
fn orphans(this: &Owner) -> Vec<Pid> {
    let is_orphan = |pid: &i32| {
        owner_of(*pid)
            .is_some_and(|owner| owner.namespace == this.namespace && owner.project == this.project && owner.is_gone())
    };
    processes().filter(is_orphan).map(Pid::from_raw).collect()
}

/// None for a process that carries no mark, or that isn't ours to look at.
fn owner_of(pid: i32) -> Option<Owner> {
    let mut environment = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ")).ok()?.read_to_end(&mut environment).ok()?;
    let mark = environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = std::str::from_utf8(variable).ok()?.strip_prefix(MARK)?;
        value.strip_prefix('=')
    })?;
    Owner::read(mark)
}

/// When a process was started, in ticks. None if it is gone, or has ended and only its parent has yet to hear of it.
fn begun(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // After the name, which may hold anything: the state is the first field, the time the twentieth.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let begun = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(begun)
}

// Elsewhere there is no `/proc`.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Child;

    use super::*;

    fn sleeper(mark: Option<&Owner>) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").env_remove(MARK).process_group(0);
        if let Some(owner) = mark {
            command.env(MARK, owner.mark());
        }
        command.spawn().unwrap()
    }

    fn gone() -> Owner {
        // Nobody with this id began at the kernel's own start.
        Owner { begun: 0, ..Owner::this().unwrap() }
    }

    #[test]
    fn only_what_a_gone_process_of_this_project_has_started_is_ended() {
        let mut orphan = sleeper(Some(&gone()));
        let elsewhere = Owner { project: "/elsewhere".to_owned(), ..gone() };
        let contained = Owner { namespace: "pid:[1]".to_owned(), ..gone() };
        let mut others = [
            sleeper(None),
            sleeper(Some(&Owner::this().unwrap())),
            sleeper(Some(&elsewhere)),
            sleeper(Some(&contained)),
        ];
        end().unwrap();
        assert!(orphan.wait().unwrap().code().is_none(), "ended by a signal");
        for other in &mut others {
            assert!(other.try_wait().unwrap().is_none(), "somebody else's process was ended");
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }

    #[test]
    fn a_mark_says_who_it_was() {
        let read = Owner::read(&Owner::this().unwrap().mark()).unwrap();
        assert_eq!((read.pid, read.is_gone()), (std::process::id().cast_signed(), false));
        assert!(Owner::read("pid:[1] seven 8 /a project").is_none());
        assert_eq!(Owner::read("pid:[1] 7 8 /a project").unwrap().project, "/a project");
    }
}
