//! How orders are fetched and prepared. A missing or malformed variable is an error that names it, before any work starts.

use std::time::Duration;

use database::Limits;
use http_client::HttpClient;
use settings::{Env, Secret, SettingsError};

use crate::fetch::Fetcher;
use crate::prepare::Rules;

/// Time-out of one call to GHL. GHL itself gives up after 30 s, and a worker needs time to hand back its messages.
const GHL_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest configurable time-out: workers start nothing in the last 30 s of an invocation.
const LONGEST_CALL: Duration = Duration::from_secs(25);

/// A fetcher of orders from GHL, within the rate limit: calls to GHL go through it only.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn fetcher(env: &Env, http: HttpClient) -> Result<Fetcher, SettingsError> {
    let (client, token) = ghl(env, http)?;
    Ok(Fetcher::new(client, token, limits(env)?))
}

/// GHL at `GHL_API_BASE_URL`, its token `GHL_ACCESS_TOKEN`, and `GHL_TIMEOUT_SECONDS` (1 to 25).
///
/// # Errors
/// [`SettingsError`] naming the variable.
fn ghl(env: &Env, http: HttpClient) -> Result<(ghl_client::Client, Secret), SettingsError> {
    let config = ghl_client::Config {
        base_url: env.required("GHL_API_BASE_URL")?,
        version: env.optional("GHL_API_VERSION").unwrap_or_else(|| "2021-07-28".to_owned()),
        location_id: wiring::location_id(env)?,
        timeout: env.seconds("GHL_TIMEOUT_SECONDS", GHL_TIMEOUT)?.clamp(Duration::from_secs(1), LONGEST_CALL),
    };
    let client = ghl_client::Client::new(config, http)
        .map_err(|problem| SettingsError::malformed("GHL_API_BASE_URL", problem))?;
    Ok((client, Secret::required(env, "GHL_ACCESS_TOKEN")?))
}

/// `RATE_LIMIT_MAX`, `RATE_LIMIT_WINDOW_MS`, `RATE_LIMIT_MARGIN_MS`, `DAILY_RESERVE`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
fn limits(env: &Env) -> Result<Limits, SettingsError> {
    let Limits { max, window_ms, margin_ms, daily_reserve } = Limits::DEFAULT;
    let limits = Limits {
        max: env.parsed("RATE_LIMIT_MAX", max)?,
        window_ms: env.parsed("RATE_LIMIT_WINDOW_MS", window_ms)?,
        margin_ms: env.parsed("RATE_LIMIT_MARGIN_MS", margin_ms)?,
        daily_reserve: env.parsed("DAILY_RESERVE", daily_reserve)?,
    };
    if limits.max == 0 || limits.window_ms == 0 {
        return Err(SettingsError::malformed("RATE_LIMIT_MAX", "it and RATE_LIMIT_WINDOW_MS must be above 0"));
    }
    Ok(limits)
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
