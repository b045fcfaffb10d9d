use std::time::Duration;

use domain::failure::{Pace, retry_outage};
use jiff::Timestamp;
use serde::Serialize;

use crate::messages::Waiting;
use crate::queue::Queue;

impl<T: Serialize + Waiting> Queue<T> {
    /// Sends messages again whose work the database has kept from being done, so that it goes on within seconds after the
    /// database is back and no attempt is lost. `jitter`, in `0.0..=1.0`, is drawn for each: one that the database never
    /// finishes meets others the next time. Returns the indices of those to hand back: they have waited for
    /// [`domain::failure::OUTAGE_PATIENCE`], or SQS didn't take them.
    pub async fn postpone(
        &self,
        mut messages: Vec<T>,
        now: Timestamp,
        mut jitter: impl FnMut() -> f64,
        pace: Pace,
    ) -> Vec<usize> {
        let (mut patient, mut hand_back) = (Vec::with_capacity(messages.len()), Vec::new());
        for (index, message) in messages.iter_mut().enumerate() {
            let since = *message.waiting_since().get_or_insert(now);
            let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            match retry_outage(waited, jitter()) {
                Some(wait) => patient.push((&*message, pace.of(wait))),
                None => hand_back.push(index),
            }
        }
        match self.send_each(&patient).await {
            Ok(()) => hand_back,
            Err(error) => {
                tracing::error!(
                    error = telemetry::chain(&error),
                    "Messages that wait for the database could not be resent"
                );
                (0..messages.len()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{LocationId, RunId};
    use serde_json::{Value, json};
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

    use super::*;
    use crate::RunMessage;
    use crate::queue::tests::client_of;

    fn pulse(waiting_since_ms: Option<i64>) -> RunMessage {
        let (location_id, run_id) = (LocationId::try_new("loc").unwrap(), RunId::try_new("r1").unwrap());
        let waiting_since = waiting_since_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        RunMessage { location_id, run_id, pulse: 1, waiting_since, calls_at: None }
    }

    async fn answering(answer: ResponseTemplate) -> (MockServer, Queue<RunMessage>) {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(answer).mount(&server).await;
        let queue = Queue::new(client_of(&server), format!("{}/000000000000/runs", server.uri()));
        (server, queue)
    }

    #[tokio::test]
    async fn what_has_waited_for_too_long_is_not_sent_and_the_rest_says_since_when_it_waits() {
        let (server, queue) = answering(ResponseTemplate::new(200).set_body_json(json!({"Successful": []}))).await;
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        let messages = vec![pulse(None), pulse(Some(100_000)), pulse(Some(990_000))];
        let mut jitters = [1.0, 1.0, 0.0].into_iter();
        let impatient = queue.postpone(messages, now, || jitters.next().unwrap(), Pace::default()).await;
        assert_eq!(impatient, [1], "15 minutes are over");
        let request: Value = serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap();
        let sent = request["Entries"].as_array().unwrap().iter();
        let sent: Vec<(i64, i64)> = sent
            .map(|entry| {
                let body: Value = serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap();
                (body["waiting_since_ms"].as_i64().unwrap(), entry["DelaySeconds"].as_i64().unwrap())
            })
            .collect();
        assert_eq!(sent, [(1_000_000, 1), (990_000, 3)], "each waits for its own time");
    }

    #[tokio::test]
    async fn what_sqs_does_not_take_is_to_be_handed_back() {
        let (_server, queue) = answering(ResponseTemplate::new(503)).await;
        let hand_back = queue.postpone(vec![pulse(None), pulse(None)], Timestamp::now(), || 0.0, Pace::default()).await;
        assert_eq!(hand_back, [0, 1]);
    }
}
