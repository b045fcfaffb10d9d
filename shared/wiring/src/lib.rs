//! Configuration to what every subject is wired with. A missing or malformed variable is an error that names it, before any
//! work starts.
//!
//! | function | reads |
//! |---|---|
//! | [`location_id`] | `GHL_LOCATION_ID` |
//! | [`database`] | `SUPABASE_URL`, `SUPABASE_SERVICE_ROLE_KEY` |
//! | [`pace`] | `WAITS_PERCENT` |
//!
//! What only one subject is configured with is read in its own crate: `orders::setup`, `runs::setup`.

use database::Database;
use domain::LocationId;
use domain::failure::Pace;
pub use http_client::HttpClient;
use settings::{Env, Secret, SettingsError};

/// `GHL_LOCATION_ID`.
///
/// # Errors
/// [`SettingsError`] when it is missing or no id.
pub fn location_id(env: &Env) -> Result<LocationId, SettingsError> {
    env.required_as("GHL_LOCATION_ID")
}

/// The database at `SUPABASE_URL`, with `SUPABASE_SERVICE_ROLE_KEY`.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn database(env: &Env, http: HttpClient) -> Result<Database, SettingsError> {
    let (url, key) = (env.https_url("SUPABASE_URL")?, Secret::required(env, "SUPABASE_SERVICE_ROLE_KEY")?);
    Ok(Database::new(&url, key, location_id(env)?, http))
}

/// `WAITS_PERCENT`: scales the waits of retries and re-sending; 100 is as designed.
///
/// # Errors
/// [`SettingsError`] naming the variable.
pub fn pace(env: &Env) -> Result<Pace, SettingsError> {
    let percent = env.parsed("WAITS_PERCENT", 100)?;
    Pace::try_new(percent).ok_or_else(|| SettingsError::malformed("WAITS_PERCENT", "it must be 1 to 1000"))
}
