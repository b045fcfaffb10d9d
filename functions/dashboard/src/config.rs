//! What the page gets to know about this deployment. Everything here is public.

use serde::Serialize;

use crate::anon_key::{AnonKey, NotPublic};

/// The content of `assets/config.json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    /// Where browsers listen to progress, `wss://...`.
    pub(crate) websocket_url: String,
    /// The Supabase project that signs users in; absent where sessions come from elsewhere.
    pub(crate) supabase_url: Option<String>,
    /// The project's public key. Without it the page offers no sign-in form.
    pub(crate) supabase_anon_key: Option<AnonKey>,
    /// The GHL location that is kept in step.
    pub(crate) location_id: String,
}

/// A variable that keeps the function from starting.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A required variable is absent or empty.
    #[error("{0} is not set: set it in the function's environment")]
    Missing(&'static str),
    /// A variable that should hold an address doesn't.
    #[error("{name} is malformed: it should be a URL like {example}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What was expected.
        example: String,
    },
    /// The public key isn't one.
    #[error(transparent)]
    AnonKey(#[from] NotPublic),
}

impl ConfigError {
    /// `schemes`: those the address may have, the usual one first.
    pub(crate) fn malformed(name: &'static str, schemes: &[&str]) -> Self {
        Self::Malformed {
            name,
            example: schemes.iter().map(|scheme| format!("{scheme}://host")).collect::<Vec<_>>().join(" or "),
        }
    }
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the first variable that is missing, or a public key that isn't one.
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        // CloudFormation passes what isn't configured as an empty string.
        let optional = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        let required = |name: &'static str| optional(name).ok_or(ConfigError::Missing(name));
        let supabase_anon_key = optional("SUPABASE_ANON_KEY").map(|key| AnonKey::parse(&key)).transpose()?;
        let supabase_url = match supabase_anon_key {
            Some(_) => Some(required("SUPABASE_URL")?),
            None => None,
        };
        Ok(Self {
            websocket_url: required("WEBSOCKET_URL")?,
            supabase_url,
            supabase_anon_key,
            location_id: required("GHL_LOCATION_ID")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: [(&str, &str); 4] = [
        ("WEBSOCKET_URL", "wss://live.example.com/live"),
        ("SUPABASE_URL", "https://project.example.com"),
        ("SUPABASE_ANON_KEY", "sb_publishable_example"),
        ("GHL_LOCATION_ID", "location1"),
    ];

    fn read_without(absent: &[&str]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            let value = COMPLETE.iter().find(|(key, _)| *key == name)?.1;
            Some(if absent.contains(&name) { " ".to_owned() } else { value.to_owned() })
        })
    }

    #[test]
    fn names_the_variable_that_is_missing() {
        for name in ["WEBSOCKET_URL", "SUPABASE_URL", "GHL_LOCATION_ID"] {
            assert_eq!(read_without(&[name]).err(), Some(ConfigError::Missing(name)));
        }
    }

    #[test]
    fn shows_nobody_a_secret_key() {
        let read = Config::read(|name| match name {
            "SUPABASE_ANON_KEY" => Some(" sb_secret_example ".to_owned()),
            name => Some(COMPLETE.iter().find(|(key, _)| *key == name)?.1.to_owned()),
        });
        assert_eq!(read.err(), Some(ConfigError::AnonKey(NotPublic::Secret("a secret key"))));
    }

    #[test]
    fn needs_no_supabase_project_where_nobody_signs_in_with_a_password() {
        let config = read_without(&["SUPABASE_ANON_KEY", "SUPABASE_URL"]).unwrap();
        assert_eq!(
            serde_json::to_value(config).unwrap(),
            serde_json::json!({
                "websocketUrl": "wss://live.example.com/live",
                "supabaseUrl": null,
                "supabaseAnonKey": null,
                "locationId": "location1",
            })
        );
    }
}
