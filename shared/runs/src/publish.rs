//! Publishing progress: the status document is written to S3, and frames are posted to every dashboard, when the database grants it.

use std::time::Duration;

use database::Database;
use domain::frames::Publication;
use domain::{Run, RunState};
use push::Pusher;
use status_store::{PutOutcome, StatusStore};
use telemetry::metrics::{self, Metric};

/// Where progress is published.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// `STATUS_BUCKET`.
    pub bucket: String,
    /// `WEBSOCKET_ENDPOINT`; without it there are no frames.
    pub endpoint: Option<String>,
}

/// Longest publication: a bucket or a WebSocket API that hangs must not take the time of the sync that is published.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

/// Publishes progress. A failure here never fails a sync.
pub struct Publisher {
    store: StatusStore,
    pusher: Option<Pusher>,
}

impl Publisher {
    /// A publisher; without a pusher only the document is written.
    #[must_use]
    pub const fn new(store: StatusStore, pusher: Option<Pusher>) -> Self {
        Self { store, pusher }
    }

    /// A publisher to the bucket and the WebSocket API of the configuration.
    #[must_use]
    pub fn connect(aws: &aws_config::SdkConfig, config: &PublisherConfig) -> Self {
        let store = StatusStore::new(status_store::client(aws), config.bucket.clone());
        let pusher = config.endpoint.as_ref().map(|endpoint| Pusher::new(aws, endpoint));
        Self::new(store, pusher)
    }

    /// The documents.
    #[must_use]
    pub const fn store(&self) -> &StatusStore {
        &self.store
    }

    /// The connections.
    #[must_use]
    pub const fn pusher(&self) -> Option<&Pusher> {
        self.pusher.as_ref()
    }

    /// Publishes what was granted, and confirms it to the database, within 10 s. `false` if the document couldn't be written: the
    /// grant then stays unconfirmed, and the run's next pulse publishes again.
    pub async fn publish(&self, database: &Database, publication: &Publication) -> bool {
        let published = tokio::time::timeout(PUBLISH_WITHIN, self.announce(database, publication)).await;
        published.unwrap_or_else(|_elapsed| {
            tracing::warn!(run_id = %publication.run.run_id, "A publication took too long and was given up");
            false
        })
    }

    async fn announce(&self, database: &Database, publication: &Publication) -> bool {
        let announcement = publication.announce();
        let run_id = &publication.run.run_id;
        let (stored, ()) =
            tokio::join!(self.store.put_status(&announcement.status), self.post(database, &announcement.frames));
        match stored {
            Ok(PutOutcome::Written) => {}
            Ok(PutOutcome::Superseded(published)) => {
                if self.outruns_database(database, published).await {
                    return false;
                }
            }
            Err(error) => {
                tracing::warn!(run_id = %run_id, error = telemetry::chain(&error), "The status document could not be written");
                return false;
            }
        }
        match database.confirm_publication(run_id, announcement.seq, publication.run.state).await {
            Ok(()) => {
                measure_end(&publication.run);
                true
            }
            Err(error) => {
                tracing::warn!(run_id = %run_id, error = telemetry::chain(&error), "A publication could not be confirmed");
                false
            }
        }
    }

    /// Whether a published number is above all that the database has given out. Then the database was restored from a backup, and
    /// its numbers go on above the published one.
    async fn outruns_database(&self, database: &Database, published: i64) -> bool {
        match database.raise_seq(published).await {
            Ok(raised) => {
                if raised {
                    tracing::warn!(
                        seq = published,
                        "The published status is newer than the database; the sequence numbers go on above it"
                    );
                }
                raised
            }
            Err(error) => {
                tracing::warn!(error = telemetry::chain(&error), "The sequence numbers could not be compared");
                true
            }
        }
    }

    /// Publishes what a call was granted, if it was granted anything.
    pub async fn publish_granted(&self, database: &Database, granted: Option<&Publication>) {
        if let Some(publication) = granted {
            self.publish(database, publication).await;
        }
    }

    async fn post(&self, database: &Database, frames: &[domain::frames::Frame]) {
        let Some(pusher) = &self.pusher else { return };
        let connections = match database.list_connections().await {
            Ok(connections) => connections,
            Err(error) => {
                tracing::warn!(
                    error = telemetry::chain(&error),
                    "Live updates unavailable: connections could not be listed"
                );
                return;
            }
        };
        metrics::value(Metric::Connections, connections.len() as f64);
        if connections.is_empty() {
            return;
        }
        let frames: Vec<String> = frames.iter().filter_map(|frame| serde_json::to_string(frame).ok()).collect();
        let report = pusher.post_frames(&connections, &frames).await;
        if !report.is_working() {
            tracing::warn!(
                connections = connections.len(),
                failed = report.failed,
                "Live updates unavailable: frames could not be posted"
            );
        }
        if !report.gone.is_empty()
            && let Err(error) = database.remove_connections(&report.gone).await
        {
            tracing::warn!(error = telemetry::chain(&error), "Closed connections could not be removed");
        }
    }
}

/// Records a run's duration, and whether it failed, with the first publication of its end. That happens once, except for the rare
/// run whose end is published twice because the first publication wasn't confirmed in time.
fn measure_end(run: &Run) {
    let end_was_announced = run.announced_state.is_some_and(|state| state != RunState::Syncing);
    let state = match run.state {
        RunState::Delay | RunState::Completed => RunState::Completed,
        state => state,
    };
    if let (false, Some(ended_at), true) = (end_was_announced, run.ended_at, state.is_final()) {
        let seconds = ended_at.duration_since(run.started_at).as_secs_f64();
        metrics::value_by(Metric::RunSeconds, &[run.kind.as_str(), state.as_str()], seconds);
        metrics::count(Metric::FailuresRecorded, usize::from(state == RunState::Error));
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
    use serde_json::json;

    use super::*;

    fn run(state: &str, announced: Option<&str>) -> Run {
        let ended_at = (state != "Syncing").then_some("2026-05-01T10:01:15Z");
        let run = json!({
            "run_id": "r1", "location_id": "loc", "kind": "full", "state": state, "started_at": "2026-05-01T10:00:00Z",
            "ended_at": ended_at, "listing": {}, "listing_complete": true, "listed": 0, "synced": 0, "failed": 0,
            "skipped": 0, "unchanged": 0, "tickets_total": 0, "tickets_checked": 0, "ticket_types": 0,
            "tickets_added": 0, "tickets_cancelled": 0, "pulse": 1, "announced_state": announced,
            "now": "2026-05-01T10:01:16Z",
        });
        serde_json::from_value(run).unwrap()
    }

    /// How often a run in this state is measured as `Completed`, as `Error`, and as a failure.
    async fn measured(state: &str, announced: Option<&str>) -> (u64, u64, u64) {
        let counted = metrics::Collector::default();
        counted.scope(async { measure_end(&run(state, announced)) }).await;
        let of = |state: &str| counted.counted(Metric::RunSeconds, &["full", state]);
        (of("Completed"), of("Error"), counted.counted(Metric::FailuresRecorded, &[]))
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_holds_a_publication_up_for_ten_seconds() {
        // Takes connections, as the system does for it, and never answers: as the bucket, the WebSocket API and the database.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(aws_config::Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
            .endpoint_url(&url)
            .build();
        let publisher_config = PublisherConfig { bucket: "status".to_owned(), endpoint: Some(format!("{url}/live")) };
        let publisher = Publisher::connect(&config, &publisher_config);
        let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
        let env = settings::Env::of([("SUPABASE_URL", url.as_str()), key, ("GHL_LOCATION_ID", "loc")]);
        let database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
        let publication = Publication {
            location_id: domain::LocationId::try_new("loc").unwrap(),
            seq_first: 1,
            run: run("Syncing", None),
        };
        let begun = tokio::time::Instant::now();
        let publishing = tokio::time::timeout(6 * PUBLISH_WITHIN, publisher.publish(&database, &publication));
        assert!(!publishing.await.unwrap(), "it can't have been written");
        assert_eq!(begun.elapsed().as_secs(), PUBLISH_WITHIN.as_secs());
    }

    #[tokio::test]
    async fn a_run_is_measured_when_its_end_is_first_told() {
        assert_eq!(measured("Syncing", None).await, (0, 0, 0));
        assert_eq!(measured("Delay", Some("Syncing")).await, (1, 0, 0));
        assert_eq!(measured("Completed", Some("Delay")).await, (0, 0, 0));
        assert_eq!(measured("Completed", None).await, (1, 0, 0), "a cool-down that nobody was told of");
        assert_eq!(measured("Error", Some("Syncing")).await, (0, 1, 1));
        assert_eq!(measured("Error", Some("Error")).await, (0, 0, 0));
    }
}
