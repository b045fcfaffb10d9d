use std::{fmt, marker::PhantomData, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_sqs::{Client, types::SendMessageBatchRequestEntry};
use futures::{StreamExt, stream};
use serde::Serialize;
use thiserror::Error;

/// The longest delay of a message that SQS allows: 15 minutes. Longer delays are cut to it.
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// Messages in one call; SQS allows no more.
const BATCH: usize = 10;

/// Calls under way at a time in [`Queue::send_all`].
const CONCURRENCY: usize = 8;

/// An SQS client, to be shared by all queues of a function.
pub fn client(config: &SdkConfig) -> Client {
    Client::new(config)
}

/// Where messages `T` are sent. Clones are cheap and share the client's connections.
pub struct Queue<T> {
    client: Client,
    url: String,
    messages: PhantomData<fn(&T)>,
}

/// Some messages couldn't be sent. The failure is transient: sending all of them again is right, since handling a
/// message twice does no harm.
#[derive(Debug, Error)]
#[error("{unsent} of {total} messages could not be sent to the queue {queue}: {problem}")]
pub struct QueueError {
    /// The queue's name.
    pub queue: String,
    /// How many messages weren't sent, at least 1.
    pub unsent: usize,
    /// How many were to be sent.
    pub total: usize,
    /// The code of the first problem, such as `InternalError`.
    pub problem: String,
    /// The failed call, if the whole call failed.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Default)]
struct Unsent {
    count: usize,
    problem: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl<T: Serialize> Queue<T> {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into(), messages: PhantomData }
    }

    /// The queue's name: the last segment of its URL.
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// Sends one message, to be received after `delay` (whole seconds, at most [`MAX_DELAY`]).
    ///
    /// # Errors
    /// [`QueueError`] if SQS didn't take it.
    pub async fn send(&self, message: &T, delay: Duration) -> Result<(), QueueError> {
        self.send_each(&[(message, delay)]).await
    }

    /// Sends all messages, to be received at once. Their order isn't kept.
    ///
    /// # Errors
    /// [`QueueError`] if SQS didn't take each of them; the others are sent all the same.
    pub async fn send_all(&self, messages: &[T]) -> Result<(), QueueError> {
        self.send_each(&messages.iter().map(|message| (message, Duration::ZERO)).collect::<Vec<_>>()).await
    }

    /// Sends messages, each to be received after its own delay (whole seconds, at most [`MAX_DELAY`]). Their order isn't kept.
    ///
    /// # Errors
    /// [`QueueError`] if SQS didn't take each of them; the others are sent all the same.
    pub async fn send_each(&self, messages: &[(&T, Duration)]) -> Result<(), QueueError> {
        let mut bodies = Vec::with_capacity(messages.len());
        for (message, delay) in messages {
            // Rounded up: a deliberate wait must not become none.
            let delay = i32::try_from(delay.min(&MAX_DELAY).as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
            let body = serde_json::to_string(message).map_err(|error| QueueError {
                queue: self.name().to_owned(),
                unsent: messages.len(),
                total: messages.len(),
                problem: "a message could not be written as JSON".to_owned(),
                source: Some(error.into()),
            })?;
            bodies.push((body, delay));
        }
        let unsent = stream::iter(bodies.chunks(BATCH).map(<[_]>::to_vec))
            .map(|bodies| self.send_batch(bodies))
            .buffer_unordered(CONCURRENCY)
            .fold(Unsent::default(), async |sum, next| Unsent {
                count: sum.count + next.count,
                problem: sum.problem.or(next.problem),
                source: sum.source.or(next.source),
            })
            .await;
        if unsent.count == 0 {
            return Ok(());
        }
        Err(QueueError {
            queue: self.name().to_owned(),
            unsent: unsent.count,
            total: messages.len(),
            problem: unsent.problem.unwrap_or_else(|| "no answer".to_owned()),
            source: unsent.source,
        })
    }

    /// Sends up to ten messages, those that SQS refused for a reason of its own once more.
    async fn send_batch(&self, bodies: Vec<(String, i32)>) -> Unsent {
        let mut waiting: Vec<(String, (String, i32))> =
            bodies.into_iter().enumerate().map(|(index, body)| (index.to_string(), body)).collect();
        let mut problem = None;
        for _attempt in 0..2 {
            let mut entries = Vec::with_capacity(waiting.len());
            for (id, (body, delay)) in &waiting {
                let entry =
                    SendMessageBatchRequestEntry::builder().id(id).message_body(body).delay_seconds(*delay).build();
                match entry {
                    Ok(entry) => entries.push(entry),
                    Err(error) => return Unsent { count: waiting.len(), problem: None, source: Some(error.into()) },
                }
            }
            match self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await {
                Ok(answer) => {
                    let failed = answer.failed;
                    if failed.is_empty() {
                        return Unsent::default();
                    }
                    problem = failed.first().map(|entry| entry.code.clone());
                    waiting.retain(|(id, _)| failed.iter().any(|entry| entry.id == *id));
                    // Our fault: asking again can't help.
                    if failed.iter().all(|entry| entry.sender_fault) {
                        break;
                    }
                }
                // The SDK has tried the whole call again already.
                Err(error) => {
                    let problem = error.as_service_error().and_then(|error| error.meta().code()).map(str::to_owned);
                    return Unsent { count: waiting.len(), problem, source: Some(error.into()) };
                }
            }
        }
        Unsent { count: waiting.len(), problem, source: None }
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), url: self.url.clone(), messages: PhantomData }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
    use serde_json::{Value, json};
    use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::method};

    use super::*;

    pub(crate) fn client_of(server: &MockServer) -> Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(server.uri())
            .build();
        Client::from_conf(config)
    }

    fn queue(server: &MockServer) -> Queue<Value> {
        Queue::new(client_of(server), format!("{}/000000000000/orders", server.uri()))
    }

    /// Takes every entry of a batch but those whose body holds one of `refused`.
    struct Sqs {
        refused: Vec<&'static str>,
        sender_fault: bool,
    }

    impl Respond for Sqs {
        fn respond(&self, request: &Request) -> ResponseTemplate {
            let request: Value = serde_json::from_slice(&request.body).unwrap();
            let (mut successful, mut failed) = (vec![], vec![]);
            for entry in request["Entries"].as_array().unwrap() {
                let body = entry["MessageBody"].as_str().unwrap();
                if self.refused.iter().any(|refused| body.contains(refused)) {
                    failed.push(json!({"Id": entry["Id"], "Code": "InternalError", "SenderFault": self.sender_fault}));
                } else {
                    let md5 = "00000000000000000000000000000000";
                    successful.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": md5}));
                }
            }
            ResponseTemplate::new(200)
                .insert_header("content-type", "application/x-amz-json-1.0")
                .set_body_json(json!({"Successful": successful, "Failed": failed}))
        }
    }

    async fn sent_to(server: &MockServer) -> Vec<Value> {
        let requests = server.received_requests().await.unwrap();
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    #[tokio::test]
    async fn batches_of_ten_with_the_delay() {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(Sqs { refused: vec![], sender_fault: false }).mount(&server).await;
        let messages: Vec<Value> = (0..23).map(|n| json!({"n": n})).collect();
        let late: Vec<_> = messages.iter().map(|message| (message, Duration::from_millis(4001))).collect();
        queue(&server).send_each(&late).await.unwrap();
        let requests = sent_to(&server).await;
        let mut bodies: Vec<&str> = vec![];
        for request in &requests {
            for entry in request["Entries"].as_array().unwrap() {
                assert_eq!(entry["DelaySeconds"], 5);
                bodies.push(entry["MessageBody"].as_str().unwrap());
            }
        }
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!((requests.len(), bodies.len()), (3, 23));
        queue(&server).send(&json!({}), Duration::from_secs(3600)).await.unwrap();
        assert_eq!(sent_to(&server).await[3]["Entries"][0]["DelaySeconds"], 900);
        queue(&server).send_all(&[]).await.unwrap();
        assert_eq!(sent_to(&server).await.len(), 4);
    }

    #[tokio::test]
    async fn a_refused_message_is_tried_once_more_and_then_named() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(Sqs { refused: vec!["one"], sender_fault: false })
            .up_to_n_times(1)
            .mount(&server)
            .await;
        let fine = Mock::given(method("POST"))
            .respond_with(Sqs { refused: vec![], sender_fault: false })
            .mount_as_scoped(&server)
            .await;
        queue(&server).send_all(&[json!("one"), json!("two")]).await.unwrap();
        assert_eq!(sent_to(&server).await[1]["Entries"].as_array().unwrap().len(), 1);
        drop(fine);
        let sender = Sqs { refused: vec!["one"], sender_fault: true };
        Mock::given(method("POST")).respond_with(sender).expect(1).mount(&server).await;
        let error = queue(&server).send_all(&[json!("one"), json!("two")]).await.unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 messages could not be sent to the queue orders: InternalError");
    }

    #[tokio::test]
    async fn a_failed_call_leaves_all_unsent() {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(503)).mount(&server).await;
        let error = queue(&server).send_all(&[json!(1), json!(2)]).await.unwrap_err();
        assert_eq!((error.unsent, error.total), (2, 2));
        assert!(error.source.is_some());
    }
}
