//! What becomes of a batch when something that it needs accepts connections and never answers.

use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use domain::failure::Pace;
use queues::Queue;
use queues::batch::{SqsEvent, SqsMessage};
use runs::Announcements;
use serde_json::json;
use settings::Env;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::handler::Tickets;

/// Takes connections, as the system does for it, and never answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn tickets(database_url: &str, aws_url: &str) -> Tickets {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client::for_aws())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(7)).build())
        .endpoint_url(aws_url)
        .build();
    let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
    let env = Env::of([("SUPABASE_URL", database_url), key, ("GHL_LOCATION_ID", "loc")]);
    let database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
    let sqs = queues::client(&config);
    let announcements = Announcements::new(Queue::new(sqs.clone(), format!("{aws_url}/000000000000/runs")));
    let queue = Queue::new(sqs, format!("{aws_url}/000000000000/tickets"));
    Tickets { database, announcements, queue, pace: Pace::default() }
}

fn event() -> SqsEvent {
    let mut event = SqsEvent::default();
    for order_id in ["a", "b"] {
        let mut message = SqsMessage::default();
        message.message_id = Some(format!("of-{order_id}"));
        let body =
            json!({"location_id": "loc", "order_id": order_id, "cause": "webhook", "attempt": 1, "change": "written"});
        message.body = Some(body.to_string());
        event.records.push(message);
    }
    event
}

#[tokio::test]
async fn a_queue_that_hangs_keeps_tickets_that_are_done_for_two_seconds() {
    let (_listener, aws_url) = silent();
    let database = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({"orders": [], "publication_due": true}));
    Mock::given(path("/rest/v1/rpc/reconcile_tickets")).respond_with(answer).mount(&database).await;
    let tickets = tickets(&database.uri(), &aws_url);
    let handled = tokio::time::timeout(Duration::from_secs(5), tickets.handle(event())).await;
    let handed_back = handled.expect("the time-out of the SDK is longer");
    assert!(handed_back.batch_item_failures.is_empty(), "{handed_back:?}");
    assert_eq!(database.received_requests().await.unwrap().len(), 1, "what the database has to do is one call");
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_which_database_and_queue_hang_is_handed_back_whole_before_the_deadline() {
    let (_listener, url) = silent();
    let tickets = tickets(&url, &url);
    let lambda_ends_at = SystemTime::now() + Duration::from_secs(30);
    let handed_back = deadline::in_time(lambda_ends_at, tickets.handle(event())).await.unwrap();
    let ids: Vec<_> = handed_back.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(ids, ["of-a", "of-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_cut_is_an_error_so_that_its_queue_delivers_it_again() {
    let (_listener, url) = silent();
    let tickets = tickets(&url, &url);
    let lambda_ends_at = SystemTime::now() + Duration::from_secs(5);
    assert!(deadline::in_time(lambda_ends_at, tickets.handle(event())).await.is_err());
}
