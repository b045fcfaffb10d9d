//! The events: pulses from the queue, or a schedule's event.

use std::time::Instant;

use domain::FailureClass;
use queues::RunMessage;
use queues::batch::{OTHER_LOCATION, SqsEvent, failures, measure_age, receive_all};
use serde_json::{Value, json};
use tracing::{Instrument, error_span};

use crate::worker::RunWorker;

impl RunWorker {
    /// Handles pulses from the queue, or a schedule's event.
    pub(crate) async fn handle(&self, event: Value, deadline: Instant) -> Result<Value, lambda_runtime::Error> {
        if let Some(schedule) = event.get("schedule").and_then(Value::as_str) {
            self.scheduled(schedule).await?;
            return Ok(json!({}));
        }
        let event: SqsEvent = serde_json::from_value(event)
            .map_err(|_| "the event is neither a batch of messages nor a schedule's event")?;
        measure_age(&event);
        let (received, unreadable) = receive_all::<RunMessage>(&event);
        for problem in &unreadable {
            tracing::warn!(message_id = problem.message_id, queue = problem.queue, "{problem}");
        }
        let mut hand_back: Vec<String> = unreadable.into_iter().map(|problem| problem.message_id).collect();
        for received in received {
            let message = received.message;
            let RunMessage { location_id, run_id, pulse, .. } = &message;
            if location_id != self.database.location_id() {
                tracing::warn!(message_id = received.message_id, run_id = %run_id, "{OTHER_LOCATION}");
                hand_back.push(received.message_id);
                continue;
            }
            let span = error_span!("pulse", run_id = run_id.as_str());
            if let Err(error) = self.pulse(run_id, *pulse, deadline).instrument(span).await {
                tracing::error!(run_id = %run_id, pulse, error = telemetry::chain(error.as_ref()), "A pulse failed");
                let permanent = error
                    .downcast_ref::<database::Error>()
                    .is_some_and(|error| error.class() == FailureClass::Permanent);
                if permanent || !self.goes_on(message).await {
                    hand_back.push(received.message_id);
                }
            }
        }
        Ok(serde_json::to_value(failures(hand_back))?)
    }

    /// Whether the run goes on with another pulse after a failed one: what is due is done then.
    async fn goes_on(&self, failed: RunMessage) -> bool {
        let run_id = failed.run_id.clone();
        match self.pulses.postpone(failed, self.pace).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::error!(run_id = %run_id, error = telemetry::chain(&error), "The next pulse could not be sent");
                false
            }
        }
    }
}
