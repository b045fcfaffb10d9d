//! What is configured: its names, and the file that gives it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::operate::secret::Secret;

pub(crate) const LOCATION: &str = "GHL_LOCATION_ID";
pub(crate) const TOKEN: &str = "GHL_ACCESS_TOKEN";
pub(crate) const GHL_URL: &str = "GHL_API_BASE_URL";
pub(crate) const SUPABASE_URL: &str = "SUPABASE_URL";
pub(crate) const SERVICE_KEY: &str = "SUPABASE_SERVICE_ROLE_KEY";
pub(crate) const ANON_KEY: &str = "SUPABASE_ANON_KEY";
pub(crate) const JWT_SECRET: &str = "SUPABASE_JWT_SECRET";
pub(crate) const WEBHOOK_SECRET: &str = "WEBHOOK_SHARED_SECRET";
pub(crate) const TICKET_SECRET: &str = "WS_TICKET_SECRET";
pub(crate) const PUBLIC_KEYS: &str = "WEBHOOK_PUBLIC_KEYS";

/// The functions' variables that a file may give.
const KNOWN: [&str; 10] = [
    LOCATION,
    TOKEN,
    GHL_URL,
    SUPABASE_URL,
    SERVICE_KEY,
    ANON_KEY,
    JWT_SECRET,
    WEBHOOK_SECRET,
    TICKET_SECRET,
    PUBLIC_KEYS,
];

/// A secret of the parameter store.
pub(crate) struct Stored {
    /// The functions' variable.
    pub(crate) variable: &'static str,
    /// The parameter's name, behind the prefix.
    pub(crate) name: &'static str,
    /// Whether a random one may be made.
    pub(crate) random: bool,
    /// Whether the functions do without it.
    pub(crate) optional: bool,
    /// How many bytes it has at least.
    pub(crate) shortest: usize,
}

/// As `shared/ws-ticket` wants it.
const SHORTEST_TICKET_SECRET: usize = 32;
/// Shorter ones can be guessed.
const SHORTEST_WEBHOOK_SECRET: usize = 16;

pub(crate) const STORED: [Stored; 5] = [
    Stored { variable: TOKEN, name: "ghl-access-token", random: false, optional: false, shortest: 1 },
    Stored { variable: SERVICE_KEY, name: "supabase-service-role-key", random: false, optional: false, shortest: 1 },
    Stored {
        variable: WEBHOOK_SECRET,
        name: "webhook-shared-secret",
        random: true,
        optional: false,
        shortest: SHORTEST_WEBHOOK_SECRET,
    },
    Stored {
        variable: TICKET_SECRET,
        name: "ws-ticket-secret",
        random: true,
        optional: false,
        shortest: SHORTEST_TICKET_SECRET,
    },
    Stored { variable: JWT_SECRET, name: "supabase-jwt-secret", random: false, optional: true, shortest: 1 },
];

/// What the parameter store has, by the functions' variables.
pub(crate) type StoredValues = BTreeMap<&'static str, Secret>;

/// Values by the functions' variables; an empty one isn't there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Values(BTreeMap<&'static str, Secret>);

impl Values {
    /// Reads `NAME=value` lines. Says where others may read the file too.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        let values = Self::parse(&text).with_context(|| path.display().to_string())?;
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            eprintln!("warning: others on this machine may read {0}: chmod 600 {0}", path.display());
        }
        Ok(values)
    }

    /// Comments, blank lines, `export` and quotes are what a shell makes of them. No error quotes a value.
    fn parse(text: &str) -> Result<Self> {
        let mut values = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let assigned = line.strip_prefix("export ").unwrap_or(line).split_once('=');
            let Some((name, value)) = assigned.map(|(name, value)| (name.trim(), unquoted(value.trim()))) else {
                bail!("line {number} is no NAME=value");
            };
            let Some(known) = KNOWN.into_iter().find(|known| *known == name) else {
                let plain = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                bail!(
                    "line {number} gives {}, which isn't one of {}",
                    if plain { name } else { "something" },
                    KNOWN.join(", ")
                );
            };
            if values.0.contains_key(known) {
                bail!("line {number} gives {known} a second time");
            }
            values.set(known, value);
        }
        Ok(values)
    }

    pub(crate) fn set(&mut self, variable: &'static str, value: &str) {
        if !value.is_empty() {
            self.0.insert(variable, Secret::new(value));
        }
    }

    pub(crate) fn get(&self, variable: &str) -> Option<&Secret> {
        self.0.get(variable)
    }

    pub(crate) fn text(&self, variable: &str) -> Option<&str> {
        self.get(variable).map(Secret::expose)
    }
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, variable: &str) -> Option<String> {
        Values::parse(text).unwrap().text(variable).map(str::to_owned)
    }

    #[test]
    fn lines_are_read_as_a_shell_reads_them() {
        assert_eq!(parsed("GHL_ACCESS_TOKEN=pit-a=b\r\n", TOKEN).unwrap(), "pit-a=b");
        assert_eq!(parsed("# a\n\n export GHL_ACCESS_TOKEN = 'pit a' ", TOKEN).unwrap(), "pit a");
        assert_eq!(parsed("GHL_ACCESS_TOKEN=\"pit\"", TOKEN).unwrap(), "pit");
        assert_eq!(parsed("GHL_ACCESS_TOKEN=", TOKEN), None);
        assert_eq!(parsed("GHL_ACCESS_TOKEN=\"", TOKEN).unwrap(), "\"");
    }

    #[test]
    fn an_error_names_the_line_and_quotes_no_value() {
        for (text, words) in [
            ("\npit-secret", "line 2 is no NAME=value"),
            ("GHL_TOKEN=pit-secret", "line 1 gives GHL_TOKEN"),
            ("pit-secret=a", "line 1 gives something"),
            ("GHL_ACCESS_TOKEN=a\nGHL_ACCESS_TOKEN=pit-secret", "line 2 gives GHL_ACCESS_TOKEN a second time"),
        ] {
            let error = format!("{:#}", Values::parse(text).unwrap_err());
            assert!(error.contains(words) && !error.contains("pit-secret"), "{error}");
        }
        assert_eq!(format!("{:?}", Values::parse("GHL_ACCESS_TOKEN=pit").unwrap()).find("pit"), None);
    }

    #[test]
    fn the_example_is_read_with_and_without_its_comments() {
        let example = include_str!("../../../../docs/configure.example.env");
        let values = Values::parse(example).unwrap();
        for needed in [LOCATION, TOKEN, SUPABASE_URL, SERVICE_KEY] {
            assert!(values.get(needed).is_some(), "{needed}");
        }
        for known in KNOWN {
            assert!(example.contains(&format!("{known}=")), "the example lacks {known}");
        }
    }
}
