//! Clients and times from the environment. A missing or malformed variable is an error that names it, before any work starts.

use std::time::Duration;

use database::{Database, Limits};
use domain::LocationId;
use domain::failure::Pace;
use queues::{Queue, RunMessage};
use settings::{Env, Secret, SettingsError};

use crate::pulses::Pulses;

/// Time-out of one call to GHL in seconds: GHL gives up itself after 30, and a worker must be able to hand back what it
/// holds.
const GHL_TIMEOUT_SECONDS: u32 = 20;
/// What workers keep in reserve at the end of an invocation allows no more.
const LONGEST_CALL: Duration = Duration::from_secs(25);

/// A run is without a pulse for this long only if one was lost.
const PULSE_LOST_AFTER: Duration = Duration::from_secs(30);

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
        timeout: env.seconds("GHL_TIMEOUT_SECONDS", GHL_TIMEOUT_SECONDS)?.clamp(Duration::from_secs(1), LONGEST_CALL),
    };
    let client = ghl::Client::new(config).map_err(|problem| SettingsError::malformed("GHL_API_BASE_URL", problem))?;
    Ok((client, Secret::required(env, "GHL_ACCESS_TOKEN")?))
}

/// `RATE_LIMIT_MAX`, `RATE_LIMIT_WINDOW_MS`, `RATE_LIMIT_MARGIN_MS`, `BULK_SHARE_PERCENT`, `DAILY_RESERVE`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn limits(env: &Env) -> Result<Limits, SettingsError> {
    let limits = Limits {
        max: env.parsed("RATE_LIMIT_MAX", 100)?,
        window_ms: env.parsed("RATE_LIMIT_WINDOW_MS", 10_000)?,
        margin_ms: env.parsed("RATE_LIMIT_MARGIN_MS", 250)?,
        bulk_percent: env.parsed("BULK_SHARE_PERCENT", 80)?,
        daily_reserve: env.parsed("DAILY_RESERVE", 1000)?,
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
pub fn run_settings(env: &Env) -> Result<database::Settings, SettingsError> {
    Ok(database::Settings {
        cooldown: env.seconds("COOLDOWN_SECONDS", 30)?,
        lease: env.seconds("LEASE_SECONDS", 1800)?,
        publish_interval: env.milliseconds("PUBLISH_INTERVAL_MS", 250)?,
    })
}

/// `WAITS_PERCENT`: how fast retries and re-sending pass, 100 as designed.
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
pub fn rules(env: &Env) -> Result<crate::prepare::Rules, SettingsError> {
    Ok(crate::prepare::Rules {
        max_quantity: env.parsed("MAX_QUANTITY_PER_LINE", 1000)?,
        partially_paid_entitles: env.parsed("PARTIALLY_PAID_ENTITLES", false)?,
    })
}

/// Where progress is published.
#[derive(Debug, Clone)]
pub struct Published {
    /// `STATUS_BUCKET`.
    pub bucket: String,
    /// `WEBSOCKET_ENDPOINT`; without it there are no frames.
    pub endpoint: Option<String>,
}

/// `STATUS_BUCKET`, `WEBSOCKET_ENDPOINT`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn published(env: &Env) -> Result<Published, SettingsError> {
    let endpoint = env.optional_url("WEBSOCKET_ENDPOINT", &["https", "http"])?;
    Ok(Published { bucket: env.required("STATUS_BUCKET")?, endpoint })
}
