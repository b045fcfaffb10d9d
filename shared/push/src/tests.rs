use aws_config::{BehaviorVersion, Region};
use aws_sdk_apigatewaymanagement::config::{Credentials, SharedCredentialsProvider};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use super::*;

fn pusher(endpoint: &str) -> Pusher {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client::for_aws())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        // As locally, where AWS_ENDPOINT_URL is set: the pusher's own endpoint must win.
        .endpoint_url("http://127.0.0.1:9")
        .build();
    Pusher::new(&config, endpoint)
}

async fn connection(server: &MockServer, id: &str, answer: ResponseTemplate) {
    Mock::given(method("POST")).and(path(format!("/live/@connections/{id}"))).respond_with(answer).mount(server).await;
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn gone_and_failing_connections_do_not_stop_the_others() {
    let server = MockServer::start().await;
    connection(&server, "here", ResponseTemplate::new(200)).await;
    connection(&server, "gone", ResponseTemplate::new(410)).await;
    connection(&server, "broken", ResponseTemplate::new(500)).await;
    let pusher = pusher(&format!("{}/live/", server.uri()));
    let counted = metrics::Collector::default();
    let report = counted.scope(pusher.post_all(&ids(&["gone", "here", "broken", "here"]), "{}")).await;
    assert_eq!((counted.counted(Metric::FramesSent, &[]), counted.counted(Metric::FramesFailed, &[])), (1, 1));
    assert_eq!(report, PushReport { sent: 1, gone: ids(&["gone"]), failed: 1 });
    assert!(report.is_working());
}

#[tokio::test]
async fn frames_keep_their_order() {
    let server = MockServer::start().await;
    connection(&server, "a", ResponseTemplate::new(200)).await;
    connection(&server, "b", ResponseTemplate::new(410)).await;
    let frames = ids(&["1", "2", "3"]);
    let report = pusher(&format!("{}/live", server.uri())).post_frames(&ids(&["a", "b"]), &frames).await;
    assert_eq!(report, PushReport { sent: 3, gone: ids(&["b"]), failed: 0 });
    let requests = server.received_requests().await.unwrap();
    let to_a = requests.iter().filter(|request| request.url.path().ends_with("/a"));
    assert_eq!(to_a.map(|request| request.body.clone()).collect::<Vec<_>>().concat(), b"123");
}

#[tokio::test]
async fn a_hanging_connection_takes_two_seconds_at_most() {
    let server = MockServer::start().await;
    connection(&server, "slow", ResponseTemplate::new(200).set_delay(Duration::from_secs(20))).await;
    let started = Instant::now();
    let report = pusher(&format!("{}/live", server.uri())).post_frames(&ids(&["slow"]), &ids(&["1", "2"])).await;
    assert_eq!((report.sent, report.failed), (0, 2), "the second isn't tried");
    assert!(!report.is_working());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn nobody_there_is_fine() {
    let report = pusher("http://127.0.0.1:9/live").post_all(&ids(&["a"]), "{}").await;
    assert_eq!(report.failed, 1);
    assert!(pusher("http://127.0.0.1:9/live").post_all(&[], "{}").await.is_working());
}

#[tokio::test]
async fn close_is_quiet_about_gone_connections() {
    let server = MockServer::start().await;
    let gone = Mock::given(method("DELETE")).and(path("/live/@connections/a"));
    gone.respond_with(ResponseTemplate::new(410)).expect(1).mount(&server).await;
    pusher(&format!("{}/live", server.uri())).close("a").await;
}
