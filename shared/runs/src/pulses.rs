//! A run's pulses: sending one, and resending a lost one. Every read of a run's state checks for that.

use std::time::Duration;

use database::{Database, Snapshot};
use domain::RunId;
use domain::failure::Pace;
use jiff::Timestamp;
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

    /// Sends a run's pulse, to be handled after `wait`; `calls_at`, if it is known when there will be calls for more orders.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn send(
        &self,
        database: &Database,
        run_id: &RunId,
        pulse: i64,
        wait: Duration,
        calls_at: Option<Timestamp>,
    ) -> Result<(), QueueError> {
        let (location_id, run_id) = (database.location_id().clone(), run_id.clone());
        self.queue.send(&RunMessage { location_id, run_id, pulse, waiting_since: None, calls_at }, wait).await
    }

    /// Sends the pulse after one that the database has kept from its work, to be handled in some seconds. `false` if the run has
    /// waited for the database for too long, or SQS didn't take it.
    pub async fn postpone(&self, failed: RunMessage, pace: Pace) -> bool {
        // A number more: the failed pulse may have been claimed by a call whose answer was lost.
        let next = RunMessage { pulse: failed.pulse.saturating_add(1), ..failed };
        self.queue.postpone(vec![next], Timestamp::now(), fastrand::f64, pace).await.is_empty()
    }

    /// The current state. If the run has lost its pulse, a new one is sent. With `next_seq` the snapshot has a sequence number
    /// of its own, to be sent as a frame.
    ///
    /// # Errors
    /// [`database::Error`]. A pulse that can't be sent is only logged: the next read of the state tries again.
    pub async fn snapshot(&self, database: &Database, next_seq: bool) -> Result<Snapshot, database::Error> {
        let snapshot = database.sync_snapshot(next_seq, self.lost_after).await?;
        if let (true, Some(run), Some(pulse)) = (snapshot.needs_pulse, &snapshot.run, snapshot.pulse) {
            match self.send(database, &run.run_id, pulse, Duration::ZERO, None).await {
                Ok(()) => tracing::warn!(run_id = %run.run_id, pulse, "A lost pulse was resent"),
                Err(error) => {
                    tracing::warn!(run_id = %run.run_id, pulse, error = telemetry::chain(&error), "A lost pulse could not be resent");
                }
            }
        }
        Ok(snapshot)
    }
}
