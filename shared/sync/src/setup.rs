//! Clients and times from the environment. A missing or malformed variable is an error that names it, before any work starts.

use std::time::Duration;

use database::{Database, Limits, RunSettings};
use domain::LocationId;
use domain::failure::Pace;
use domain::run::PULSE_LOST_AFTER;
use queues::{Queue, RunMessage};
use settings::{Env, Secret, SettingsError};

use crate::prepare::Rules;
use crate::publish::PublisherConfig;
use crate::pulses::Pulses;

/// Time-out of one call to GHL. GHL itself gives up after 30 s, and a worker needs time to hand back its messages.
const GHL_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest configurable time-out: workers start nothing in the last 30 s of an invocation.
const LONGEST_CALL: Duration = Duration::from_secs(25);

/// `GHL_LOCATION_ID`.
///
/// # Errors
/// [`SettingsError`] when it is missing or no id.
pub fn location_id(env: &Env) -> Result<LocationId, SettingsError> {
    let text = env.required("GHL_LOCATION_ID")?;
    LocationId::try_new(text).map_err(|error| SettingsError::malformed("GHL_LOCATION_ID", error.to_string()))
}

/// The database at `SUPABASE_URL`, with `SUPABASE_SERVICE_ROLE_KEY`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn database(env: &Env) -> Result<Database, SettingsError> {
    let (url, key) = (env.url("SUPABASE_URL")?, Secret::required(env, "SUPABASE_SERVICE_ROLE_KEY")?);
    Database::new(&url, key, location_id(env)?).map_err(|problem| SettingsError::malformed("SUPABASE_URL", problem))
}

/// GHL at `GHL_API_BASE_URL`, its token `GHL_ACCESS_TOKEN`, and `GHL_TIMEOUT_SECONDS` (1 to 25).
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn ghl(env: &Env) -> Result<(ghl::Client, Secret), SettingsError> {
    let config = ghl::Config {
        base_url: env.required("GHL_API_BASE_URL")?,
        version: env.optional("GHL_API_VERSION").unwrap_or_else(|| "2021-07-28".to_owned()),
        location_id: location_id(env)?,
        timeout: env.seconds("GHL_TIMEOUT_SECONDS", GHL_TIMEOUT)?.clamp(Duration::from_secs(1), LONGEST_CALL),
    };
    let client = ghl::Client::new(config).map_err(|problem| SettingsError::malformed("GHL_API_BASE_URL", problem))?;
    Ok((client, Secret::required(env, "GHL_ACCESS_TOKEN")?))
}

/// `RATE_LIMIT_MAX`, `RATE_LIMIT_WINDOW_MS`, `RATE_LIMIT_MARGIN_MS`, `BULK_SHARE_PERCENT`, `DAILY_RESERVE`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn limits(env: &Env) -> Result<Limits, SettingsError> {
    let Limits { max, window_ms, margin_ms, bulk_percent, daily_reserve } = Limits::DEFAULT;
    let limits = Limits {
        max: env.parsed("RATE_LIMIT_MAX", max)?,
        window_ms: env.parsed("RATE_LIMIT_WINDOW_MS", window_ms)?,
        margin_ms: env.parsed("RATE_LIMIT_MARGIN_MS", margin_ms)?,
        bulk_percent: env.parsed("BULK_SHARE_PERCENT", bulk_percent)?,
        daily_reserve: env.parsed("DAILY_RESERVE", daily_reserve)?,
    };
    if limits.max == 0 || limits.window_ms == 0 {
        return Err(SettingsError::malformed("RATE_LIMIT_MAX", "it and RATE_LIMIT_WINDOW_MS must be above 0"));
    }
    if !(1..=100).contains(&limits.bulk_percent) {
        return Err(SettingsError::malformed("BULK_SHARE_PERCENT", "it must be 1 to 100"));
    }
    Ok(limits)
}

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

/// `WAITS_PERCENT`: scales the waits of retries and re-sending; 100 is as designed.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn pace(env: &Env) -> Result<Pace, SettingsError> {
    let percent = env.parsed("WAITS_PERCENT", 100)?;
    Pace::try_new(percent).ok_or_else(|| SettingsError::malformed("WAITS_PERCENT", "it must be 1 to 1000"))
}

/// The pulses in `queue`; one counts as lost after 30 s, at the pace of `WAITS_PERCENT`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn pulses(env: &Env, queue: Queue<RunMessage>) -> Result<Pulses, SettingsError> {
    Ok(Pulses::new(queue, pace(env)?.of(PULSE_LOST_AFTER)))
}

/// `MAX_QUANTITY_PER_LINE`, `PARTIALLY_PAID_ENTITLES`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn rules(env: &Env) -> Result<Rules, SettingsError> {
    Ok(Rules {
        max_quantity: env.parsed("MAX_QUANTITY_PER_LINE", 1000)?,
        partially_paid_entitles: env.parsed("PARTIALLY_PAID_ENTITLES", false)?,
    })
}

/// `STATUS_BUCKET`, `WEBSOCKET_ENDPOINT`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn publisher_config(env: &Env) -> Result<PublisherConfig, SettingsError> {
    let endpoint = env.optional_url("WEBSOCKET_ENDPOINT", &["https", "http"])?;
    Ok(PublisherConfig { bucket: env.required("STATUS_BUCKET")?, endpoint })
}
