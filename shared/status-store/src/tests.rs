use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use serde_json::json;
use wiremock::matchers::{any, method};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::*;

/// An object's version and content.
type Object = (u32, Vec<u8>);

/// A bucket with S3's conditional writes. `rivals` are statuses that another writer puts just before ours.
#[derive(Clone, Default)]
struct Bucket {
    object: Arc<Mutex<Option<Object>>>,
    rivals: Arc<Mutex<Vec<Value>>>,
}

impl Bucket {
    fn holding(body: &[u8]) -> Self {
        Self { object: Arc::new(Mutex::new(Some((1, body.to_vec())))), ..Self::default() }
    }

    fn seq(&self) -> Option<i64> {
        seq_of(&serde_json::from_slice(&self.object.lock().unwrap().as_ref()?.1).ok()?)
    }
}

impl Respond for Bucket {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut object = self.object.lock().unwrap();
        if request.method.as_str() == "GET" {
            return match &*object {
                Some((version, body)) => ResponseTemplate::new(200)
                    .insert_header("etag", format!("\"{version}\""))
                    .set_body_bytes(body.clone()),
                None => ResponseTemplate::new(404).set_body_string(
                    "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>no</Message></Error>",
                ),
            };
        }
        assert_eq!(request.headers["content-type"], "application/json");
        if let Some(rival) = self.rivals.lock().unwrap().pop() {
            let version = object.as_ref().map_or(1, |(version, _)| version + 1);
            *object = Some((version, rival.to_string().into_bytes()));
        }
        let version = object.as_ref().map(|(version, _)| format!("\"{version}\""));
        let expected = request.headers.get("if-match").map(|etag| etag.to_str().unwrap().to_owned());
        let fits = match (&version, &expected) {
            (Some(version), Some(expected)) => version == expected,
            (None, None) => request.headers["if-none-match"] == "*",
            _ => false,
        };
        if !fits {
            return ResponseTemplate::new(412).set_body_string("<Error><Code>PreconditionFailed</Code></Error>");
        }
        let version = object.as_ref().map_or(1, |(version, _)| version + 1);
        *object = Some((version, request.body.clone()));
        ResponseTemplate::new(200).insert_header("etag", format!("\"{version}\""))
    }
}

fn store(server: &MockServer) -> StatusStore {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client::for_aws())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(server.uri())
        .build();
    StatusStore::new(client(&config), "bucket")
}

async fn with(bucket: &Bucket) -> (MockServer, StatusStore) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(bucket.clone()).mount(&server).await;
    let store = store(&server);
    (server, store)
}

#[tokio::test]
async fn the_newest_seq_stands() {
    let bucket = Bucket::default();
    let (server, store) = with(&bucket).await;
    assert_eq!(store.get_status().await.unwrap(), None);
    assert_eq!(store.put_status(&json!({"seq": 5})).await.unwrap(), PutOutcome::Written);
    assert_eq!(store.put_status(&json!({"seq": 4})).await.unwrap(), PutOutcome::Superseded(5));
    assert_eq!(store.put_status(&json!({"seq": 5})).await.unwrap(), PutOutcome::Superseded(5));
    assert_eq!(store.put_status(&json!({"seq": 9})).await.unwrap(), PutOutcome::Written);
    assert_eq!(store.get_status().await.unwrap(), Some(json!({"seq": 9})));
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests[0].url.path(), "/bucket/sync_status.json", "addressed by path");
}

#[tokio::test]
async fn a_rival_is_compared_with_anew() {
    let bucket = Bucket::holding(b"{\"seq\": 1}");
    let (_server, store) = with(&bucket).await;
    bucket.rivals.lock().unwrap().extend([json!({"seq": 3}), json!({"seq": 2})]);
    assert_eq!(store.put_status(&json!({"seq": 4})).await.unwrap(), PutOutcome::Written);
    assert_eq!(bucket.seq(), Some(4));
    bucket.rivals.lock().unwrap().push(json!({"seq": 8}));
    assert_eq!(store.put_status(&json!({"seq": 7})).await.unwrap(), PutOutcome::Superseded(8));
    assert_eq!(bucket.seq(), Some(8));
}

#[tokio::test]
async fn two_writers_of_a_first_status() {
    let bucket = Bucket::default();
    let (_server, store) = with(&bucket).await;
    bucket.rivals.lock().unwrap().push(json!({"seq": 1}));
    assert_eq!(store.put_status(&json!({"seq": 2})).await.unwrap(), PutOutcome::Written);
    assert_eq!(bucket.seq(), Some(2));
}

#[tokio::test]
async fn many_writers_leave_the_newest() {
    let bucket = Bucket::default();
    let (_server, store) = with(&bucket).await;
    let writers = (1..=6).map(|seq| {
        let store = store.clone();
        async move { store.put_status(&json!({"seq": seq})).await }
    });
    for outcome in futures::future::join_all(writers).await {
        outcome.unwrap();
    }
    assert_eq!(bucket.seq(), Some(6));
}

#[tokio::test]
async fn a_damaged_object_is_replaced() {
    let bucket = Bucket::holding(b"{\"seq\": 1");
    let (_server, store) = with(&bucket).await;
    assert_eq!(store.get_status().await.unwrap(), None);
    assert_eq!(store.put_status(&json!({"seq": 1})).await.unwrap(), PutOutcome::Written);
}

#[tokio::test]
async fn errors_name_the_object() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).mount(&server).await;
    let store = store(&server);
    assert!(matches!(store.put_status(&json!({})).await, Err(StatusStoreError::NoSeq)));
    let text = store.put_status(&json!({"seq": 1})).await.unwrap_err().to_string();
    assert_eq!(text, "s3://bucket/sync_status.json could not be read");
    let text = store.valid_orders().finish().await.unwrap_err().to_string();
    assert_eq!(text, "s3://bucket/valid_order_list.json could not be written");
}

/// A bucket that takes an object whole or in parts.
#[derive(Clone, Default)]
struct Parts {
    parts: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Once it is complete.
    object: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Respond for Parts {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let (mut parts, query) = (self.parts.lock().unwrap(), request.url.query().unwrap_or_default());
        match (request.method.as_str(), query.contains("uploads"), query.contains("uploadId=u-1")) {
            ("POST", true, _) => ResponseTemplate::new(200).set_body_string(
                "<InitiateMultipartUploadResult><UploadId>u-1</UploadId></InitiateMultipartUploadResult>",
            ),
            ("PUT", _, true) => {
                parts.push(request.body.clone());
                assert!(query.contains(&format!("partNumber={}", parts.len())), "{query}");
                ResponseTemplate::new(200).insert_header("etag", format!("\"part-{}\"", parts.len()))
            }
            ("POST", _, true) => {
                let named = String::from_utf8_lossy(&request.body).matches("part-").count();
                assert_eq!(named, parts.len(), "every part is named");
                *self.object.lock().unwrap() = Some(parts.concat());
                ResponseTemplate::new(200).set_body_string("<CompleteMultipartUploadResult/>")
            }
            ("PUT", ..) => {
                *self.object.lock().unwrap() = Some(request.body.clone());
                ResponseTemplate::new(200)
            }
            _ => ResponseTemplate::new(405),
        }
    }
}

/// Writes so many ids in pages of 5,000, by another writer after each part if so wanted; how many parts it took.
async fn listed(count: usize, by_many: bool) -> usize {
    let bucket = Parts::default();
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(bucket.clone()).mount(&server).await;
    let store = store(&server);
    let ids: Vec<String> = (0..count).map(|number| format!("order-{number:018}")).collect();
    let mut list = store.valid_orders();
    for page in ids.chunks(5_000) {
        if let Some(upload) = list.append(page).await.unwrap()
            && by_many
        {
            let kept = serde_json::to_value(upload).unwrap();
            list = store.go_on_with_valid_orders(serde_json::from_value(kept).unwrap());
        }
        assert!(bucket.object.lock().unwrap().is_none(), "the old list stands until the new one is whole");
    }
    list.finish().await.unwrap();
    let object = bucket.object.lock().unwrap().take().expect("a list");
    assert_eq!(serde_json::from_slice::<Vec<String>>(&object).unwrap(), ids);
    let parts = bucket.parts.lock().unwrap();
    assert!(parts.iter().all(|part| part.len() < 6 * 1024 * 1024), "a part is held in memory");
    parts.len()
}

#[tokio::test]
async fn a_list_is_written_at_once_or_in_parts_and_replaces_the_old_one_when_it_is_whole() {
    assert_eq!(listed(0, false).await, 0);
    assert_eq!(listed(12_345, false).await, 0);
    assert_eq!(listed(400_000, false).await, 3);
    assert_eq!(listed(12_345, true).await, 0);
    assert_eq!(listed(1_000_000, true).await, 6);
}

#[tokio::test]
async fn the_list_is_reached_by_an_address_that_is_signed_for_a_minute_and_nothing_else() {
    let minute = Duration::from_secs(60);
    let server = MockServer::start().await;
    let is_there = |status| Mock::given(method("HEAD")).respond_with(ResponseTemplate::new(status));
    is_there(404).mount(&server).await;
    assert_eq!(store(&server).address_of_valid_orders(minute).await.unwrap(), None);
    server.reset().await;
    is_there(503).mount(&server).await;
    assert!(store(&server).address_of_valid_orders(minute).await.is_err());
    server.reset().await;
    is_there(200).mount(&server).await;
    let address = store(&server).address_of_valid_orders(minute).await.unwrap().unwrap();
    let (place, query) = address.split_once('?').unwrap();
    assert_eq!(place, format!("{}/bucket/valid_order_list.json", server.uri()), "addressed by path");
    let parts: Vec<_> = query.split('&').collect();
    // Whoever follows it sends no header but the host's.
    for part in ["X-Amz-Expires=60", "X-Amz-SignedHeaders=host", "x-id=GetObject"] {
        assert!(parts.contains(&part), "{part} isn't in {address}");
    }
}
