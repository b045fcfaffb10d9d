//! A run's pulses: sending one, and finding out that one was lost. Looking at a run heals it.

use std::time::Duration;

use database::{Database, Snapshot};
use domain::RunId;
use queues::{Queue, QueueError, RunMessage};

/// Where pulses are sent, and when one counts as lost.
pub struct Pulses {
    queue: Queue<RunMessage>,
    lost_after: Duration,
}

impl Pulses {
    /// Pulses of this queue; a run without one for `lost_after` gets a new one.
    #[must_use]
    pub const fn new(queue: Queue<RunMessage>, lost_after: Duration) -> Self {
        Self { queue, lost_after }
    }

    /// Sends a run's pulse, to be handled after `wait`.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn send(
        &self,
        database: &Database,
        run_id: &RunId,
        pulse: i64,
        wait: Duration,
    ) -> Result<(), QueueError> {
        let (location_id, run_id) = (database.location_id().clone(), run_id.clone());
        self.queue.send(&RunMessage { location_id, run_id, pulse }, wait).await
    }

    /// How things stand; a run that lost its pulse is sent a new one on the way. With `next_seq` under a sequence number of
    /// its own, to be sent as a frame.
    ///
    /// # Errors
    /// [`database::Error`]. A pulse that can't be sent is only logged: the next look tries again.
    pub async fn snapshot(&self, database: &Database, next_seq: bool) -> Result<Snapshot, database::Error> {
        let snapshot = database.sync_snapshot(next_seq, self.lost_after).await?;
        if let (true, Some(run), Some(pulse)) = (snapshot.needs_pulse, &snapshot.run, snapshot.pulse) {
            match self.send(database, &run.run_id, pulse, Duration::ZERO).await {
                Ok(()) => tracing::warn!(run_id = %run.run_id, pulse, "A lost pulse was sent anew"),
                Err(error) => {
                    tracing::warn!(run_id = %run.run_id, pulse, error = telemetry::chain(&error), "A lost pulse could not be sent anew");
                }
            }
        }
        Ok(snapshot)
    }
}
