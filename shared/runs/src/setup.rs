//! How runs are configured. A missing or malformed variable is an error that names it, before any work starts.

use database::RunSettings;
use domain::problem::Thresholds;
use domain::run::PULSE_LOST_AFTER;
use queues::{Queue, RunMessage};
use settings::{Env, SettingsError};

use crate::pulses::Pulses;

/// `COOLDOWN_SECONDS`, `LEASE_SECONDS`, `PUBLISH_INTERVAL_MS`: kept on each run's row when it starts.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn run_settings(env: &Env) -> Result<RunSettings, SettingsError> {
    let RunSettings { cooldown, lease, publish_interval } = RunSettings::DEFAULT;
    Ok(RunSettings {
        cooldown: env.seconds("COOLDOWN_SECONDS", cooldown)?,
        lease: env.seconds("LEASE_SECONDS", lease)?,
        publish_interval: env.milliseconds("PUBLISH_INTERVAL_MS", publish_interval)?,
    })
}

/// The pulses in `queue`; one counts as lost after 30 s, at the pace of `WAITS_PERCENT`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn pulses(env: &Env, queue: Queue<RunMessage>) -> Result<Pulses, SettingsError> {
    Ok(Pulses::new(queue, wiring::pace(env)?.of(PULSE_LOST_AFTER)))
}

/// `HOURS_WITHOUT_SYNC` (absent: no run is due), `DAILY_BUDGET_LOW`: from when on the status tells of a problem.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn thresholds(env: &Env) -> Result<Thresholds, SettingsError> {
    let hours_without_sync =
        env.optional("HOURS_WITHOUT_SYNC").map(|_| env.required_as("HOURS_WITHOUT_SYNC")).transpose()?;
    Ok(Thresholds { hours_without_sync, daily_budget_low: env.parsed("DAILY_BUDGET_LOW", 10_000)? })
}
