use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::SecretString;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use crate::{Env, SettingsError, aws_config};

/// How long a value read from SSM is used before it is read again.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// Longest wait for a value that is read again while the old one can stay in use.
const READ_AGAIN_WITHIN: Duration = Duration::from_secs(1);

/// [`Secret::refresh`] reads no more often than this, so that a burst of refused calls makes one read.
const REFRESH_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// A secret of the configuration: the value of `NAME`, or the SSM SecureString named by `NAME_PARAMETER`, which wins if
/// both are set. Clones share the cached value.
#[derive(Clone)]
pub struct Secret {
    name: Arc<str>,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    Value(SecretString),
    Parameter { parameter: Arc<str>, ssm: Arc<OnceCell<aws_sdk_ssm::Client>>, read: Arc<Mutex<Option<Read>>> },
}

struct Read {
    /// When SSM told it.
    at: Instant,
    /// When SSM was last asked, in vain or not.
    asked_at: Instant,
    value: SecretString,
}

impl Secret {
    /// The secret `name`, of which either the value or the parameter must be configured. Nothing is read from SSM yet.
    ///
    /// # Errors
    /// [`SettingsError::MissingSecret`] if neither is.
    pub fn required(env: &Env, name: &str) -> Result<Self, SettingsError> {
        Self::optional(env, name).ok_or_else(|| SettingsError::MissingSecret { name: name.to_owned() })
    }

    /// The secret `name`, or `None` if neither its value nor its parameter is configured.
    pub fn optional(env: &Env, name: &str) -> Option<Self> {
        let origin = if let Some(parameter) = env.optional(&format!("{name}_PARAMETER")) {
            Origin::Parameter { parameter: parameter.into(), ssm: Arc::clone(&env.ssm), read: Arc::default() }
        } else {
            Origin::Value(env.optional(name)?.into())
        };
        Some(Self { name: name.into(), origin })
    }

    /// A secret with a value that never changes, for tests and tools.
    pub fn fixed(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.into(), origin: Origin::Value(SecretString::from(value.into())) }
    }

    /// A secret at this parameter, read by this client, for tests.
    pub fn parameter(name: &str, parameter: &str, ssm: aws_sdk_ssm::Client) -> Self {
        let ssm = Arc::new(OnceCell::new_with(Some(ssm)));
        let origin = Origin::Parameter { parameter: parameter.into(), ssm, read: Arc::default() };
        Self { name: name.into(), origin }
    }

    /// The value, at most 5 minutes old. If it can't be read again within a second, the old value stays in use, so that an
    /// outage of SSM neither stops nor delays a warm function.
    ///
    /// # Errors
    /// [`SettingsError::SecretUnreadable`] or [`SettingsError::SecretEmpty`] if it was never read.
    pub async fn get(&self) -> Result<SecretString, SettingsError> {
        self.not_older_than(FRESH, true).await
    }

    /// The value, read again for one more try after a call was refused with it (401). A value less than 5 s old is
    /// returned as it is.
    ///
    /// # Errors
    /// [`SettingsError::SecretUnreadable`] or [`SettingsError::SecretEmpty`].
    pub async fn refresh(&self) -> Result<SecretString, SettingsError> {
        self.not_older_than(REFRESH_AT_MOST_EVERY, false).await
    }

    async fn not_older_than(&self, age: Duration, keep_on_failure: bool) -> Result<SecretString, SettingsError> {
        let (parameter, ssm, read) = match &self.origin {
            Origin::Value(value) => return Ok(value.clone()),
            Origin::Parameter { parameter, ssm, read } => (parameter, ssm, read),
        };
        // Held while reading: callers that come meanwhile wait for the one answer.
        let mut read = read.lock().await;
        let since = |last: &Read| if keep_on_failure { last.asked_at } else { last.at };
        if let Some(last) = read.as_ref().filter(|last| since(last).elapsed() < age) {
            return Ok(last.value.clone());
        }
        let client = ssm.get_or_init(|| async { aws_sdk_ssm::Client::new(&aws_config().await) }).await;
        let reading = self.read_parameter(client, parameter);
        let value = match read.as_mut().filter(|_| keep_on_failure) {
            Some(last) => match timeout(READ_AGAIN_WITHIN, reading).await {
                Ok(Ok(value)) => value,
                Ok(Err(_)) | Err(_) => {
                    last.asked_at = Instant::now();
                    return Ok(last.value.clone());
                }
            },
            None => reading.await?,
        };
        *read = Some(Read { at: Instant::now(), asked_at: Instant::now(), value: value.clone() });
        Ok(value)
    }

    async fn read_parameter(
        &self,
        client: &aws_sdk_ssm::Client,
        parameter: &str,
    ) -> Result<SecretString, SettingsError> {
        let answer = client.get_parameter().name(parameter).with_decryption(true).send().await.map_err(|source| {
            SettingsError::SecretUnreadable {
                name: self.name.to_string(),
                parameter: parameter.to_owned(),
                source: source.into(),
            }
        })?;
        let value = answer.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
        match value.trim() {
            "" => Err(SettingsError::SecretEmpty { name: self.name.to_string(), parameter: parameter.to_owned() }),
            value => Ok(SecretString::from(value)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
    use secrecy::ExposeSecret;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{body_partial_json, header},
    };

    use super::*;

    /// An environment whose SSM is `server`.
    fn env_with_ssm(server: &MockServer) -> Env {
        let env = Env::of([("TOKEN_PARAMETER", "/ghl-sync/token"), ("TOKEN", "ignored")]);
        let config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(server.uri())
            .build();
        env.ssm.set(aws_sdk_ssm::Client::from_conf(config)).unwrap();
        env
    }

    fn parameter(value: &str) -> Mock {
        let body = format!(r#"{{"Parameter": {{"Name": "/ghl-sync/token", "Value": "{value}"}}}}"#);
        Mock::given(header("x-amz-target", "AmazonSSM.GetParameter"))
            .and(body_partial_json(serde_json::json!({"Name": "/ghl-sync/token", "WithDecryption": true})))
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
    }

    #[tokio::test]
    async fn a_plain_value_needs_no_ssm() {
        let env = Env::of([("TOKEN", "invented")]);
        let secret = Secret::required(&env, "TOKEN").unwrap();
        assert_eq!(secret.get().await.unwrap().expose_secret(), "invented");
        assert_eq!(secret.refresh().await.unwrap().expose_secret(), "invented");
        assert_eq!(format!("{secret:?}"), "Secret(TOKEN)");
        assert!(env.ssm.get().is_none());
    }

    #[tokio::test]
    async fn a_parameter_is_read_once_and_cached() {
        let server = MockServer::start().await;
        parameter("from-ssm").expect(1).mount(&server).await;
        let secret = Secret::required(&env_with_ssm(&server), "TOKEN").unwrap();
        assert_eq!(secret.get().await.unwrap().expose_secret(), "from-ssm");
        assert_eq!(secret.clone().get().await.unwrap().expose_secret(), "from-ssm");
        assert_eq!(secret.refresh().await.unwrap().expose_secret(), "from-ssm");
    }

    #[tokio::test]
    async fn a_stale_value_is_used_on_when_ssm_is_down_but_not_after_a_refusal() {
        let server = MockServer::start().await;
        parameter("old").up_to_n_times(1).mount(&server).await;
        let secret = Secret::required(&env_with_ssm(&server), "TOKEN").unwrap();
        secret.get().await.unwrap();
        assert_eq!(secret.not_older_than(Duration::ZERO, true).await.unwrap().expose_secret(), "old");
        let error = secret.not_older_than(Duration::ZERO, false).await.unwrap_err();
        assert!(error.to_string().starts_with("TOKEN_PARAMETER names the SSM parameter /ghl-sync/token"), "{error}");
    }

    #[tokio::test]
    async fn a_stale_value_is_used_on_when_ssm_hangs() {
        let server = MockServer::start().await;
        parameter("old").up_to_n_times(1).mount(&server).await;
        let secret = Secret::required(&env_with_ssm(&server), "TOKEN").unwrap();
        secret.get().await.unwrap();
        Mock::given(header("x-amz-target", "AmazonSSM.GetParameter"))
            .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(20)))
            .mount(&server)
            .await;
        tokio::time::pause();
        let reading = timeout(2 * READ_AGAIN_WITHIN, secret.not_older_than(Duration::ZERO, true));
        assert_eq!(reading.await.unwrap().unwrap().expose_secret(), "old");
    }

    /// SSM was away when a new secret was to be read: what is refused since is read again, and not taken for new.
    #[tokio::test]
    async fn a_value_that_was_only_kept_is_not_fresh_after_a_refusal() {
        let server = MockServer::start().await;
        parameter("old").up_to_n_times(1).mount(&server).await;
        let secret = Secret::required(&env_with_ssm(&server), "TOKEN").unwrap();
        secret.get().await.unwrap();
        if let Origin::Parameter { read, .. } = &secret.origin {
            read.lock().await.as_mut().unwrap().at -= REFRESH_AT_MOST_EVERY;
        }
        assert_eq!(secret.not_older_than(Duration::ZERO, true).await.unwrap().expose_secret(), "old");
        parameter("new").mount(&server).await;
        assert_eq!(secret.refresh().await.unwrap().expose_secret(), "new");
        assert_eq!(secret.get().await.unwrap().expose_secret(), "new");
    }

    #[tokio::test]
    async fn missing_and_empty_secrets_are_named() {
        let text = Secret::required(&Env::of([("TOKEN", "")]), "TOKEN").unwrap_err().to_string();
        assert!(text.contains("TOKEN_PARAMETER"), "{text}");
        let server = MockServer::start().await;
        parameter(" ").mount(&server).await;
        let error = Secret::required(&env_with_ssm(&server), "TOKEN").unwrap().get().await.unwrap_err();
        assert!(matches!(error, SettingsError::SecretEmpty { .. }), "{error}");
    }
}
