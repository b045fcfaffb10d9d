use std::{collections::HashMap, fmt::Display, str::FromStr, sync::Arc, time::Duration};

use tokio::sync::OnceCell;

use crate::SettingsError;

/// Reads configuration variables. White space around a value is dropped, and an empty value counts as absent, because
/// `!Ref AWS::NoValue` in a template arrives as an empty string.
///
/// Clones are cheap and share one SSM client, which is made only when the first secret is read from SSM.
#[derive(Clone, Debug)]
pub struct Env {
    variables: Variables,
    pub(crate) ssm: Arc<OnceCell<aws_sdk_ssm::Client>>,
}

#[derive(Clone, Debug)]
enum Variables {
    Process,
    Fixed(Arc<HashMap<String, String>>),
}

impl Env {
    /// The variables of this process.
    pub fn process() -> Self {
        Self { variables: Variables::Process, ssm: Arc::default() }
    }

    /// Just these variables, for tests.
    pub fn of<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables: Variables::Fixed(Arc::new(variables)), ssm: Arc::default() }
    }

    /// The value of `name`, or `None` if it is absent or empty.
    pub fn optional(&self, name: &str) -> Option<String> {
        let value = match &self.variables {
            Variables::Process => std::env::var_os(name)?.to_string_lossy().into_owned(),
            Variables::Fixed(variables) => variables.get(name)?.clone(),
        };
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// [`SettingsError::Missing`] if it is absent or empty.
    pub fn required(&self, name: &str) -> Result<String, SettingsError> {
        self.optional(name).ok_or_else(|| SettingsError::Missing { name: name.to_owned() })
    }

    /// The value of `name` as a `T`.
    ///
    /// # Errors
    /// As [`Env::required`], and [`SettingsError::Malformed`] if it isn't a `T`.
    pub fn required_as<T>(&self, name: &str) -> Result<T, SettingsError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let value = self.required(name)?;
        value.parse().map_err(|problem: T::Err| SettingsError::malformed(name, problem.to_string()))
    }

    /// The value of `name` as a `T`, or `default` if it is absent.
    ///
    /// # Errors
    /// [`SettingsError::Malformed`] if it is present but isn't a `T`.
    pub fn parsed<T>(&self, name: &str, default: T) -> Result<T, SettingsError>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.optional(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|problem: T::Err| SettingsError::malformed(name, problem.to_string())),
        }
    }

    /// A whole number of seconds.
    ///
    /// # Errors
    /// As [`Env::parsed`].
    pub fn seconds(&self, name: &str, default: Duration) -> Result<Duration, SettingsError> {
        self.duration(name, default, Duration::from_secs)
    }

    /// A whole number of milliseconds.
    ///
    /// # Errors
    /// As [`Env::parsed`].
    pub fn milliseconds(&self, name: &str, default: Duration) -> Result<Duration, SettingsError> {
        self.duration(name, default, Duration::from_millis)
    }

    fn duration(&self, name: &str, default: Duration, of: fn(u64) -> Duration) -> Result<Duration, SettingsError> {
        match self.optional(name) {
            None => Ok(default),
            Some(_) => Ok(of(self.parsed(name, 0_u32)?.into())),
        }
    }

    /// The non-empty members of a comma-separated list, without the white space around them. Absent is empty.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.optional(name)
            .map(|value| value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// A URL, without its trailing slashes so that paths can be appended, or `None` if it is absent.
    ///
    /// # Errors
    /// [`SettingsError::Malformed`] if it doesn't start with one of `schemes`, such as `["https", "http"]`, or holds
    /// white space or no host.
    pub fn optional_url(&self, name: &str, schemes: &[&str]) -> Result<Option<String>, SettingsError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let host = schemes.iter().find_map(|scheme| value.strip_prefix(scheme)?.strip_prefix("://"));
        match host {
            Some(host) if !host.is_empty() && !host.starts_with('/') && !host.contains(char::is_whitespace) => {
                Ok(Some(value.trim_end_matches('/').to_owned()))
            }
            _ => Err(SettingsError::malformed(
                name,
                format!("it should be a URL like {}://host", schemes.join(":// or ")),
            )),
        }
    }

    /// An `http` or `https` URL, without its trailing slashes.
    ///
    /// # Errors
    /// [`SettingsError::Missing`] and those of [`Env::optional_url`].
    pub fn url(&self, name: &str) -> Result<String, SettingsError> {
        self.optional_url(name, &["https", "http"])?.ok_or_else(|| SettingsError::Missing { name: name.to_owned() })
    }

    /// A URL that keys are sent to: `https`, or `http` on this machine. Without its trailing slashes.
    ///
    /// # Errors
    /// Those of [`Env::url`], and [`SettingsError::Malformed`] if what is sent could be read on its way, or the host isn't what it seems.
    pub fn https_url(&self, name: &str) -> Result<String, SettingsError> {
        let url = self.url(name)?;
        let authority = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        if authority.contains('@') {
            return Err(SettingsError::malformed(name, "it should hold no user"));
        }
        if url.starts_with("http://") && !THIS_MACHINE.contains(&host) {
            return Err(SettingsError::malformed(name, "it should begin with https://, since keys are sent there"));
        }
        Ok(url)
    }
}

/// The last is how a container of `sam local` reaches it.
const THIS_MACHINE: [&str; 3] = ["127.0.0.1", "localhost", "host.docker.internal"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_absent() {
        let env = Env::of([("EMPTY", ""), ("BLANK", "  "), ("SET", " value ")]);
        assert_eq!(env.optional("EMPTY"), None);
        assert_eq!(env.optional("BLANK"), None);
        assert_eq!(env.optional("NEVER"), None);
        assert_eq!(env.required("SET").unwrap(), "value");
        assert_eq!(env.parsed("EMPTY", 7).unwrap(), 7);
    }

    #[test]
    fn errors_name_the_variable() {
        let env = Env::of([("COOLDOWN_SECONDS", "soon"), ("SUPABASE_URL", "example.org")]);
        assert!(env.required("GHL_LOCATION_ID").unwrap_err().to_string().starts_with("GHL_LOCATION_ID is not set"));
        let text = env.seconds("COOLDOWN_SECONDS", Duration::ZERO).unwrap_err().to_string();
        assert_eq!(text, "COOLDOWN_SECONDS is malformed: invalid digit found in string");
        assert!(env.url("SUPABASE_URL").unwrap_err().to_string().starts_with("SUPABASE_URL is malformed"));
        assert!(env.url("GHL_API_BASE_URL").unwrap_err().to_string().starts_with("GHL_API_BASE_URL is not set"));
        let text = env.required_as::<u32>("COOLDOWN_SECONDS").unwrap_err().to_string();
        assert_eq!(text, "COOLDOWN_SECONDS is malformed: invalid digit found in string");
        let text = env.required_as::<u32>("LEASE_SECONDS").unwrap_err().to_string();
        assert!(text.starts_with("LEASE_SECONDS is not set"), "{text}");
    }

    #[test]
    fn keys_are_sent_by_https_or_to_this_machine() {
        let read = |url: &str| Env::of([("SUPABASE_URL", url)]).https_url("SUPABASE_URL");
        for good in
            ["https://p.example.co", "http://127.0.0.1:8403", "http://localhost", "http://host.docker.internal:1"]
        {
            assert_eq!(read(good).unwrap(), good);
        }
        for bad in [
            "http://p.example.co",
            "http://127.0.0.1.example.co",
            "http://127.0.0.1@example.co",
            "http://127.0.0.1:80@example.co",
            "https://p.example.co@example.net",
            "http://example.co/127.0.0.1:80",
            "http://example.co?127.0.0.1",
            "ftp://127.0.0.1",
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.starts_with("SUPABASE_URL is malformed"), "{bad}: {error}");
        }
    }

    #[test]
    fn durations_lists_and_urls() {
        let env =
            Env::of([("A", "30"), ("LIST", "one, two,,"), ("URL", "http://127.0.0.1:54321/"), ("WS", "wss://x/live")]);
        assert_eq!(env.seconds("A", Duration::ZERO).unwrap(), Duration::from_secs(30));
        assert_eq!(env.milliseconds("A", Duration::ZERO).unwrap(), Duration::from_millis(30));
        assert_eq!(env.seconds("NONE", Duration::from_millis(7)).unwrap(), Duration::from_millis(7));
        assert_eq!(env.list("LIST"), ["one", "two"]);
        assert!(env.list("NONE").is_empty());
        assert_eq!(env.url("URL").unwrap(), "http://127.0.0.1:54321");
        assert_eq!(env.optional_url("WS", &["wss", "ws"]).unwrap().as_deref(), Some("wss://x/live"));
        assert!(env.optional_url("WS", &["https"]).is_err());
    }
}
