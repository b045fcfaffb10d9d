//! What a dead letter was about, and where that is recorded.

use std::time::{Duration, Instant};

use database::{Database, Failure};
use domain::failure::MAX_RECEIVES;
use domain::{Cause, FailureClass, OrderId, RunId};
use queues::Subject;
use queues::batch::{BatchItemFailures, SqsEvent, SqsMessage, failures, measure_age};
use runs::Announcements;
use telemetry::metrics::{self, Metric};

const REASON: &str = "It failed five times because a part of the system could not be reached. Look at the logs of that time, then retry it.";
const _: () = assert!(MAX_RECEIVES == 5, "the reason names another number");

/// The code of a message that names nothing.
const UNREADABLE: &str = "unreadable_message";

/// The function's state.
pub(crate) struct DeadLetters {
    pub(crate) database: Database,
    pub(crate) announcements: Announcements,
    /// After this time without a pulse a run has lost it.
    pub(crate) pulse_lost_after: Duration,
}

impl DeadLetters {
    /// Records each dead letter; what can't be recorded now, or isn't begun by `latest`, stays in its queue.
    pub(crate) async fn handle(&self, event: SqsEvent, latest: Instant) -> BatchItemFailures {
        measure_age(&event);
        let mut hand_back = Vec::new();
        for record in &event.records {
            let message_id = record.message_id.clone().unwrap_or_default();
            if Instant::now() >= latest {
                hand_back.push(message_id);
                continue;
            }
            match self.record(&message_id, record).await {
                Ok(publication_due) => self.announcements.ask(&self.database, publication_due).await,
                Err(error) => {
                    tracing::error!(
                        message_id,
                        error = telemetry::chain(&error),
                        "A dead letter could not be recorded"
                    );
                    hand_back.push(message_id);
                }
            }
        }
        failures(hand_back)
    }

    /// Records what a dead letter is about, and logs it once it is recorded. If it isn't, the message is delivered again. Whether to
    /// ask for a publication.
    async fn record(&self, message_id: &str, record: &SqsMessage) -> Result<bool, database::Error> {
        let ours = |subject: &Subject| subject.location_id() == self.database.location_id();
        let failure = match Subject::of(record).filter(ours) {
            Some(Subject::Run { run_id, pulse, .. }) => {
                let message = format!("The sync stopped. {REASON}");
                let ended = self
                    .database
                    .end_run_of_dead_pulse(&run_id, pulse, self.pulse_lost_after, "pulse_failed", &message)
                    .await?;
                if ended.ended {
                    // Whoever publishes the end logs it.
                    tracing::warn!(message_id, run_id = %run_id, pulse, "A run's pulse failed permanently");
                } else {
                    tracing::warn!(message_id, run_id = %run_id, pulse, "A pulse failed permanently; its run has ended or goes on with a newer one");
                }
                return Ok(ended.publication_due);
            }
            // The run's pulse asks for as many as it takes.
            Some(Subject::Publication { .. }) => {
                tracing::warn!(message_id, "A publication failed permanently");
                return Ok(false);
            }
            // Nothing was heard of them since: the run's pulses send each of them again, alone, or hand it over to tickets.
            Some(Subject::Orders { run_id, .. }) => {
                tracing::warn!(message_id, run_id = %run_id, "A message about several orders failed permanently; each of them goes again, alone");
                return Ok(false);
            }
            Some(Subject::Order { order_id, run_id, .. }) => Failure {
                order_id,
                run_id,
                cause: Cause::DeadLetter,
                class: FailureClass::Permanent,
                code: "dead_letter",
                reason: REASON.to_owned(),
                attempts: MAX_RECEIVES,
            },
            None => {
                // The message's own id stands for the order it doesn't name.
                let Ok(order_id) = OrderId::try_new(message_id) else {
                    tracing::error!(message_id, "An unreadable message was discarded without a record");
                    return Ok(false);
                };
                Failure {
                    order_id,
                    run_id: None,
                    cause: Cause::DeadLetter,
                    class: FailureClass::Permanent,
                    code: UNREADABLE,
                    reason: "A queue held a message that names no order of this location; the id is the message's own."
                        .to_owned(),
                    attempts: MAX_RECEIVES,
                }
            }
        };
        let recorded = self.database.record_failures(std::slice::from_ref(&failure)).await?;
        let is_first = recorded.first.contains(&failure.order_id);
        tracing::error_span!("dead_letter", message_id).in_scope(|| tell(&failure, is_first));
        metrics::count(Metric::FailuresRecorded, 1);
        metrics::count(Metric::OrdersFailed, usize::from(failure.code != UNREADABLE));
        Ok(recorded.publication_due)
    }
}

/// Logs what was recorded. What went wrong each time stands in the lines of these tries.
fn tell(failure: &Failure, is_first: bool) {
    let Failure { order_id, run_id, code, .. } = failure;
    let (order_id, run_id) = (order_id.as_str(), run_id.as_ref().map(RunId::as_str));
    if *code == UNREADABLE {
        tracing::error!(order_id, code, "A message failed permanently");
    } else if is_first {
        runs::tell_failure(failure, None);
    } else {
        tracing::warn!(order_id, run_id, code, "A message failed permanently; its run knows how its order came out");
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, SdkConfig};
    use queues::Queue;
    use settings::Env;

    use super::*;

    #[tokio::test]
    async fn dead_letters_for_which_no_time_is_left_stay_in_their_queue() {
        // No database is there to record anything.
        let env = Env::of([
            ("SUPABASE_URL", "http://127.0.0.1:1"),
            ("SUPABASE_SERVICE_ROLE_KEY", "invented"),
            ("GHL_LOCATION_ID", "loc"),
        ]);
        let config = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
        let announcements = Announcements::new(Queue::new(queues::client(&config), "http://127.0.0.1:1/0/runs"));
        let dead_letters = DeadLetters { database, announcements, pulse_lost_after: Duration::from_secs(30) };
        // Its id can't stand for an order: a letter that is begun is discarded without the database.
        let event = || {
            let mut letter = SqsMessage::default();
            letter.message_id = Some("no id".to_owned());
            let mut event = SqsEvent::default();
            event.records = vec![letter; 2];
            event
        };
        let now = Instant::now();
        let handed_back = dead_letters.handle(event(), now).await;
        assert_eq!(handed_back.batch_item_failures.len(), 2);
        let handed_back = dead_letters.handle(event(), now + Duration::from_secs(60)).await;
        assert!(handed_back.batch_item_failures.is_empty());
    }
}
