use std::time::Duration;

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::region::ProvideRegion as _;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_ssm::config::SharedCredentialsProvider;

use crate::Env;

/// Longest call to AWS, all its attempts included: shorter than any function may take, so that a function can still answer when
/// AWS hangs.
const CALL_TIMEOUT: Duration = Duration::from_secs(7);

/// Region and credentials from the environment, as Lambda sets them, and from nowhere else: the SDK's usual search through
/// profiles, roles and the machine's metadata is left out, with the clients it would bring along. A call gives up connecting
/// after 2 s, an attempt after 5 s, and the whole call after 3 attempts or 7 s. `AWS_ENDPOINT_URL` is a local cloud's, for every
/// service; empty counts as absent.
///
/// Make it once per process and pass it on.
pub async fn aws_config() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client::for_aws())
        .region(EnvironmentVariableRegionProvider::new().region().await)
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(100)))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(5))
                .operation_timeout(CALL_TIMEOUT)
                .build(),
        );
    config.set_endpoint_url(Env::process().optional("AWS_ENDPOINT_URL"));
    config.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_ends_by_itself_however_often_it_is_tried() {
        let config = aws_config().await;
        assert_eq!(config.timeout_config().unwrap().operation_timeout(), Some(CALL_TIMEOUT));
    }
}
