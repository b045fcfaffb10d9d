//! The processes of the functions: how much memory and processor time they have had.

use std::collections::BTreeMap;
use std::fs;

use tests::{workers::workers, world::World};

/// Clock ticks per second, in which /proc tells processor time: 100 on every Linux.
const TICKS: f64 = 100.0;

/// The most memory that any worker of each function has had, in MB.
pub(crate) fn peak_mb(world: &World) -> BTreeMap<String, f64> {
    let mut peaks = BTreeMap::new();
    for (function, pid) in workers(world) {
        let peak: &mut f64 = peaks.entry(function).or_default();
        *peak = peak.max(peak_of(pid).unwrap_or(0.0));
    }
    peaks
}

/// `VmHWM` of a process, in MB.
pub(crate) fn peak_of(pid: u64) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// Processor time that all workers together have had, in seconds.
pub(crate) fn cpu_seconds(world: &World) -> f64 {
    let of = |pid: u64| -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; user and system time are the 12th and 13th words after it.
        let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some((words.get(11)?.parse::<f64>().ok()? + words.get(12)?.parse::<f64>().ok()?) / TICKS)
    };
    workers(world).into_iter().filter_map(|(_, pid)| of(pid)).sum()
}
