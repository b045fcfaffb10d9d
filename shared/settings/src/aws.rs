use std::time::Duration;

use aws_config::{
    BehaviorVersion, SdkConfig, environment::EnvironmentVariableRegionProvider, retry::RetryConfig,
    timeout::TimeoutConfig,
};

/// Longest call to AWS, all its attempts included: shorter than any function may take, so that a function can still answer when
/// AWS hangs.
const CALL_TIMEOUT: Duration = Duration::from_secs(7);

/// Region and credentials from the environment, as Lambda sets them. A call gives up connecting after 2 s, an attempt
/// after 5 s, and the whole call after 3 attempts or 7 s. `AWS_ENDPOINT_URL` is the SDK's own variable for a local cloud;
/// empty counts as absent.
///
/// Make it once per process and pass it on.
pub async fn aws_config() -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(EnvironmentVariableRegionProvider::new())
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(100)))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(2))
                .operation_attempt_timeout(Duration::from_secs(5))
                .operation_timeout(CALL_TIMEOUT)
                .build(),
        );
    if std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| url.trim().is_empty()) {
        // Clients made from the configuration would read the empty variable once more and call nowhere, unless the
        // endpoint was set in code. So it is set in code, and taken out again.
        let config = loader.endpoint_url("https://unused.invalid").load().await;
        let mut config = config.into_builder();
        config.set_endpoint_url(None);
        return config.build();
    }
    loader.load().await
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
