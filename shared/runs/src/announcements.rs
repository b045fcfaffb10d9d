//! Asking for a publication of a run's progress. Whoever changes a run does that and goes on: no order waits for a dashboard.

use std::time::Duration;

use database::Database;
use queues::{PublishMessage, Queue};
use tokio::time::timeout;

/// Longest wait for SQS to take a request. The work that is announced is done by then, and a request that is lost is asked anew.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Where publications are asked for: the queue of runs, whose worker is the only one that publishes.
pub struct Announcements {
    queue: Queue<PublishMessage>,
}

impl Announcements {
    /// Requests to this queue.
    #[must_use]
    pub const fn new(queue: Queue<PublishMessage>) -> Self {
        Self { queue }
    }

    /// Asks for a publication if one is `due`, as the database says of each change. Takes 2 s at most and never fails: the run's
    /// next pulse asks again.
    pub async fn ask(&self, database: &Database, due: bool) {
        if !due {
            return;
        }
        let message = PublishMessage::new(database.location_id().clone());
        match timeout(ASK_WITHIN, self.queue.send(&message, Duration::ZERO)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = telemetry::chain(&error), "A publication could not be asked for");
            }
            Err(_elapsed) => tracing::warn!("Asking for a publication took too long and was given up"),
        }
    }
}
