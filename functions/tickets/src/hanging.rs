//! What becomes of a batch when something that it needs accepts connections and never answers.

use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use domain::failure::Pace;
use queues::Queue;
use queues::batch::{SqsEvent, SqsMessage};
use runs::Publisher;
use runs::publish::PublisherConfig;
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

/// With a short time-out for the bucket and the WebSocket API, so that nobody waits for it.
fn tickets(database_url: &str, aws_url: &str) -> Tickets {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client::for_aws())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_millis(200)).build())
        .endpoint_url(aws_url)
        .build();
    let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
    let env = Env::of([("SUPABASE_URL", database_url), key, ("GHL_LOCATION_ID", "loc")]);
    let database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
    let publisher_config = PublisherConfig { bucket: "status".to_owned(), endpoint: Some(format!("{aws_url}/live")) };
    let queue = Queue::new(queues::client(&config), format!("{aws_url}/000000000000/tickets"));
    Tickets { database, publisher: Publisher::connect(&config, &publisher_config), queue, pace: Pace::default() }
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
async fn a_publication_that_hangs_hands_nothing_back() {
    let (_listener, aws_url) = silent();
    let database = MockServer::start().await;
    let run = json!({
        "run_id": "r1", "location_id": "loc", "kind": "full", "state": "Completed", "started_at": "2026-05-01T10:00:00Z",
        "ended_at": "2026-05-01T10:01:15Z", "listing": null, "listing_complete": true, "listed": 2, "synced": 2, "failed": 0, "skipped": 0,
        "unchanged": 0, "tickets_total": 0, "tickets_checked": 0, "ticket_types": 0, "tickets_added": 0,
        "tickets_cancelled": 0, "pulse": 1, "announced_state": "Delay", "now": "2026-05-01T10:01:16Z",
    });
    let publication = json!({"location_id": "loc", "seq_first": 1, "run": run});
    for (function, answer) in [
        ("reconcile_tickets", json!({"orders": [], "publication": publication})),
        ("list_connections", json!({"connection_ids": ["c1"]})),
    ] {
        let answer = ResponseTemplate::new(200).set_body_json(answer);
        Mock::given(path(format!("/rest/v1/rpc/{function}"))).respond_with(answer).mount(&database).await;
    }
    let handed_back = tickets(&database.uri(), &aws_url).handle(event()).await;
    assert!(handed_back.batch_item_failures.is_empty(), "{handed_back:?}");
    let asked = database.received_requests().await.unwrap();
    assert!(asked.iter().any(|request| request.url.path().ends_with("/list_connections")), "nothing was published");
    let confirmed = asked.iter().any(|request| request.url.path().ends_with("/confirm_publication"));
    assert!(!confirmed, "what wasn't written isn't confirmed");
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
