//! The servers of a stack: started one by one, watched, stopped in reverse.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::place::Place;
use crate::process::{end_group, tail};
use crate::{leftovers, stop};

/// A server that hasn't stopped by then is killed.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long a port may stay in use after the end of whoever had it.
const LETTING_GO: Duration = Duration::from_secs(5);

struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
    stop_with: Signal,
}

/// Everything that runs; dropping it stops it all.
#[derive(Default)]
pub(crate) struct Services {
    running: Vec<Service>,
}

impl Services {
    /// Starts a server in a process group of its own, its output in `logs/<name>.log`.
    pub(crate) fn start(
        &mut self,
        place: &Place,
        name: &'static str,
        mut command: Command,
        stop_with: Signal,
    ) -> Result<()> {
        let log = place.log(name)?;
        let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        leftovers::mark(&mut command);
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        self.running.push(Service { name, child, log, stop_with });
        Ok(())
    }

    /// Fails if a server has ended by itself, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        for service in &mut self.running {
            if let Some(status) = service.child.try_wait()? {
                bail!(
                    "{} ended by itself ({status}):\n\n{}\n\nwhole log: {}",
                    service.name,
                    tail(&service.log),
                    service.log.display()
                );
            }
        }
        Ok(())
    }

    /// Waits until `ready` says so, while all servers live.
    pub(crate) fn wait_for(&mut self, what: &str, longest: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let until = Instant::now() + longest;
        while !ready() {
            self.check()?;
            if Instant::now() > until {
                let logs: Vec<String> = self.running.last().map(|last| tail(&last.log)).into_iter().collect();
                bail!("{what} isn't ready after {} s:\n\n{}", longest.as_secs(), logs.join("\n"));
            }
            stop::sleep(Duration::from_millis(30))?;
        }
        Ok(())
    }

    /// Stops what was started, the last first.
    pub(crate) fn stop(&mut self) {
        while let Some(mut service) = self.running.pop() {
            end_group(&mut service.child, service.stop_with, PATIENCE);
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port on which nobody listens.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Fails with the name of the port and the way out if somebody else listens there. What has just been killed may take a moment until
/// it lets go.
pub(crate) fn require_free(port: u16, whose: &str) -> Result<()> {
    let until = Instant::now() + LETTING_GO;
    while TcpListener::bind(("127.0.0.1", port)).is_err() {
        if Instant::now() > until {
            bail!("port {port} ({whose}) is in use: stop what listens there, or choose others with --port-base");
        }
        stop::sleep(Duration::from_millis(50))?;
    }
    Ok(())
}
