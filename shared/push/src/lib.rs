//! Frames posted to the dashboards' WebSocket connections.
//!
//! A dashboard that can't be reached must never fail or hold up a sync, so nothing here returns an error: what didn't
//! get through is counted in a [`PushReport`], which also names the closed connections, so that the caller removes them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::{collections::BTreeSet, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_apigatewaymanagement::{Client, error::SdkError, primitives::Blob};
use futures::{StreamExt, stream};
use telemetry::metrics::{self, Metric};
use tokio::time::{Instant, timeout_at};

/// Connections posted to at a time.
const CONCURRENCY: usize = 16;

/// The longest a single post may take, its retry included.
const POST_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest all posts of one call may take: many connections that hang must not hold up a sync.
const DEADLINE: Duration = Duration::from_secs(5);

/// Posts to the connections of one WebSocket API stage. Clones are cheap and share connections.
#[derive(Clone, Debug)]
pub struct Pusher {
    client: Client,
}

/// The result of the posts of one call. `sent + failed` is connections times frames, less those to gone connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Frames that API Gateway took.
    pub sent: usize,
    /// Connections that don't exist any more (410), sorted.
    pub gone: Vec<String>,
    /// Frames that didn't get through for another reason, or not in time.
    pub failed: usize,
}

enum Post {
    Sent,
    Gone,
    Failed,
    NoAnswer,
}

impl Pusher {
    /// Posts to `endpoint`, the `https://` URL of the WebSocket API's stage, not that of its clients.
    pub fn new(config: &SdkConfig, endpoint: &str) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(POST_TIMEOUT)
            .operation_timeout(POST_TIMEOUT)
            .build();
        let config = aws_sdk_apigatewaymanagement::config::Builder::from(config)
            .endpoint_url(endpoint.trim_end_matches('/'))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50)))
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// Posts one frame to each connection.
    pub async fn post_all(&self, connection_ids: &[String], frame: &str) -> PushReport {
        self.post_frames(connection_ids, &[frame.to_owned()]).await
    }

    /// Posts the frames to each connection, in their order. Takes 5 s at most.
    pub async fn post_frames(&self, connection_ids: &[String], frames: &[String]) -> PushReport {
        let deadline = Instant::now() + DEADLINE;
        let reports = stream::iter(connection_ids.iter().cloned().collect::<BTreeSet<_>>())
            .map(|connection_id| self.post_in_order(connection_id, frames, deadline))
            .buffer_unordered(CONCURRENCY);
        let mut report = reports
            .fold(PushReport::default(), async |mut sum, next| {
                sum.sent += next.sent;
                sum.failed += next.failed;
                sum.gone.extend(next.gone);
                sum
            })
            .await;
        report.gone.sort_unstable();
        metrics::count(Metric::FramesSent, report.sent);
        metrics::count(Metric::FramesFailed, report.failed);
        report
    }

    /// Closes a connection. One that is closed already is no problem, and one that can't be closed ends by itself.
    pub async fn close(&self, connection_id: &str) {
        let closing = self.client.delete_connection().connection_id(connection_id).send().await;
        if let Err(error) = closing.map_err(|error| kind_of(&error))
            && error != "gone"
        {
            tracing::warn!(error, "A WebSocket connection could not be closed");
        }
    }

    async fn post_in_order(&self, connection_id: String, frames: &[String], deadline: Instant) -> PushReport {
        let mut report = PushReport::default();
        for (index, frame) in frames.iter().enumerate() {
            match timeout_at(deadline, self.post(&connection_id, frame)).await.unwrap_or(Post::NoAnswer) {
                Post::Sent => report.sent += 1,
                Post::Failed => report.failed += 1,
                // The others wait for its place: it takes one time-out, and not one for each frame.
                Post::NoAnswer => {
                    report.failed += frames.len() - index;
                    break;
                }
                Post::Gone => {
                    report.gone.push(connection_id);
                    break;
                }
            }
        }
        report
    }

    async fn post(&self, connection_id: &str, frame: &str) -> Post {
        let posting = self.client.post_to_connection().connection_id(connection_id).data(Blob::new(frame)).send();
        match posting.await.map_err(|error| kind_of(&error)) {
            Ok(_) => Post::Sent,
            Err("gone") => Post::Gone,
            Err("unreachable") => {
                tracing::debug!("A frame could not be posted in time");
                Post::NoAnswer
            }
            Err(error) => {
                tracing::debug!(error, "A frame could not be posted");
                Post::Failed
            }
        }
    }
}

impl PushReport {
    /// Whether live updates are working at all: something was sent, or nothing went wrong.
    pub fn is_working(&self) -> bool {
        self.sent > 0 || self.failed == 0
    }
}

/// The kind of error, for the log. The whole error would hold the connection's id, with which anybody in the account can post to it.
fn kind_of<E>(error: &SdkError<E>) -> &'static str {
    // By the status: API Gateway leaves the error's name out of some 410 answers.
    match error.raw_response().map(|answer| answer.status().as_u16()) {
        Some(410) => "gone",
        Some(403) => "forbidden",
        Some(413) => "payload_too_large",
        Some(429) => "throttled",
        Some(_) => "refused",
        None => "unreachable",
    }
}

#[cfg(test)]
mod tests;
