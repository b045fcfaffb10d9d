//! The events: pulses and publications from the queue, or a schedule's event.

use std::time::Instant;

use domain::FailureClass;
use futures::future::join_all;
use queues::batch::{OTHER_LOCATION, Received, SqsEvent, failures, measure_age, receive_all};
use queues::{AnyRunMessage, PublishMessage, RunMessage};
use serde_json::{Value, json};
use tracing::{Instrument, error_span};

use crate::worker::RunWorker;

impl RunWorker {
    /// Handles pulses and publications from the queue, or a schedule's event.
    pub(crate) async fn handle(&self, event: Value, deadline: Instant) -> Result<Value, lambda_runtime::Error> {
        if event.get("schedule").is_some() {
            let event = serde_json::from_value(event).map_err(|error| format!("unknown schedule: {error}"))?;
            self.scheduled(event).await?;
            return Ok(json!({}));
        }
        let event: SqsEvent = serde_json::from_value(event)
            .map_err(|_| "the event is neither a batch of messages nor a schedule's event")?;
        measure_age(&event);
        let (received, unreadable) = receive_all::<AnyRunMessage>(&event);
        for problem in &unreadable {
            tracing::warn!(message_id = problem.message_id, queue = problem.queue, "{problem}");
        }
        let unreadable = unreadable.into_iter().map(|problem| problem.message_id);
        // Side by side: most of what they do is waiting.
        let handled = join_all(received.into_iter().map(|received| self.message(received, deadline))).await;
        Ok(serde_json::to_value(failures(unreadable.chain(handled.into_iter().flatten())))?)
    }

    /// Handles one message. Its id if it is to be handed back.
    async fn message(&self, received: Received<AnyRunMessage>, deadline: Instant) -> Option<String> {
        let message_id = received.message_id;
        let message = match received.message {
            AnyRunMessage::Pulse(message) => message,
            AnyRunMessage::Publish(PublishMessage { location_id, .. }) => {
                if location_id == *self.database.location_id() {
                    self.publisher.publish(&self.database, &self.announcements).await;
                } else {
                    tracing::warn!(message_id, "{OTHER_LOCATION}");
                }
                return None;
            }
        };
        let RunMessage { location_id, run_id, pulse, calls_at, .. } = &message;
        if location_id != self.database.location_id() {
            tracing::warn!(message_id, run_id = %run_id, "{OTHER_LOCATION}");
            return Some(message_id);
        }
        let span = error_span!("pulse", run_id = run_id.as_str());
        let Err(error) = self.pulse(run_id, *pulse, *calls_at, deadline).instrument(span).await else { return None };
        tracing::error!(run_id = %run_id, pulse, error = telemetry::chain(error.as_ref()), "A pulse failed");
        let permanent =
            error.downcast_ref::<database::Error>().is_some_and(|error| error.class() == FailureClass::Permanent);
        // The run goes on with another pulse, which does what is due then.
        (permanent || !self.pulses.postpone(message, self.pace).await).then_some(message_id)
    }
}
