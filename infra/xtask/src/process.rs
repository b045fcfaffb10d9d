//! Runs a command to its end: output into a log file, the last line shown, stopped on request.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::place::Place;
use crate::progress::Step;
use crate::{leftovers, stop};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Enough to see why something failed, not so much that the hint scrolls away.
const SHOWN_LINES: usize = 30;

/// Shows `title` while `command` runs. If it fails, the error holds the end of its output and `hint`.
pub(crate) fn step(place: &Place, title: &str, log_name: &str, command: Command, hint: &str) -> Result<()> {
    let mut step = Step::start(title);
    let log = place.log(log_name)?;
    let finished = run_logged(&log, command, &mut |line| step.note(line))?;
    if !finished {
        drop(step);
        bail!("{title}: failed\n\n{}\n\n{hint} (whole output: {})", tail(&log), log.display());
    }
    step.done();
    Ok(())
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With status 0.
    Well,
    /// With another one.
    Badly,
    /// By us, since its time was over.
    TooLate,
}

/// Runs `command` with both outputs in `log`. True if it ended with status 0.
pub(crate) fn run_logged(log: &Path, command: Command, note: &mut dyn FnMut(&str)) -> Result<bool> {
    Ok(run_within(None, log, command, note)? == Ended::Well)
}

/// Runs `command` with both outputs in `log`, for `limit` at most.
pub(crate) fn run_within(
    limit: Option<Duration>,
    log: &Path,
    mut command: Command,
    note: &mut dyn FnMut(&str),
) -> Result<Ended> {
    let file = File::create(log).with_context(|| format!("can't write {}", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    leftovers::mark(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't run {program}"))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Ended::Well } else { Ended::Badly });
        }
        if limit.is_some_and(|limit| begun.elapsed() > limit) {
            end_group(&mut child, Signal::SIGTERM, Duration::from_secs(5));
            return Ok(Ended::TooLate);
        }
        if let Err(interrupted) = stop::sleep(LOOK_EVERY) {
            end_group(&mut child, Signal::SIGTERM, Duration::from_secs(5));
            return Err(interrupted);
        }
        if let Some(line) = last_line(log) {
            note(&line);
        }
    }
}

/// Runs a short command to its end with `input`, returning what it printed; its error output is in the error.
pub(crate) fn output_of(mut command: Command, input: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    leftovers::mark(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ends a child and all it started: asks first, then insists.
pub(crate) fn end_group(child: &mut Child, signal: Signal, patience: Duration) {
    let group = Pid::from_raw(child.id().cast_signed());
    let _ = killpg(group, signal);
    let until = Instant::now() + patience;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

/// A command that the kernel ends when this program dies, however it dies (Linux; elsewhere a plain command).
pub(crate) fn tied(program: &Path, signal: &str) -> Command {
    match find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", signal, "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Looks a program up on PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// The end of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = end_of(log, 16_384).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
    shown.iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

fn last_line(log: &Path) -> Option<String> {
    let text = end_of(log, 1_024)?;
    text.lines().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
}

fn end_of(log: &Path, bytes: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes))).ok()?;
    let mut content = Vec::new();
    file.read_to_end(&mut content).ok()?;
    Some(String::from_utf8_lossy(&content).into_owned())
}
