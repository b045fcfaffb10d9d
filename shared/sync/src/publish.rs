//! Status document and frames: what the database granted is written to S3 and posted to every dashboard.

use database::Database;
use domain::frames::Publication;
use push::Pusher;
use status_store::StatusStore;

use crate::setup::Published;

/// Publishes progress. Showing it never fails a sync.
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
    pub fn connect(config: &aws_config::SdkConfig, published: &Published) -> Self {
        let store = StatusStore::new(status_store::client(config), published.bucket.clone());
        let pusher = published.endpoint.as_ref().map(|endpoint| Pusher::new(config, endpoint));
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

    /// Publishes what was granted and tells the database that it went out. `false` when the document couldn't be written:
    /// the grant then stays open, and the run's pulse publishes anew.
    pub async fn publish(&self, database: &Database, publication: &Publication) -> bool {
        let announcement = publication.announce();
        let run_id = &publication.run.run_id;
        let (stored, ()) =
            tokio::join!(self.store.put_status(&announcement.status), self.post(database, &announcement.frames));
        if let Err(error) = stored {
            tracing::warn!(run_id = %run_id, error = telemetry::chain(&error), "The status document could not be written");
            return false;
        }
        match database.confirm_publication(run_id, announcement.seq, publication.run.state).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(run_id = %run_id, error = telemetry::chain(&error), "A publication could not be confirmed");
                false
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
            tracing::warn!(error = telemetry::chain(&error), "Gone connections could not be removed");
        }
    }
}
