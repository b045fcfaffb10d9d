//! Publishing progress: the status document is written to S3, and frames are posted to every dashboard. One publication of a
//! location at a time, and each is of the newest state: what changes meanwhile is in the next one.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use database::{Begun, Confirmed, Database, Published};
use domain::frames::{Announcement, Frame, Publication};
use domain::{Run, RunState};
use jiff::SignedDuration;
use push::Pusher;
use runs::Announcements;
use settings::{Env, SettingsError};
use status_store::{PutOutcome, StatusStore};
use telemetry::events::{self, RunEnded};
use telemetry::metrics::{self, Metric};

/// Where progress is published.
#[derive(Debug, Clone)]
pub(crate) struct PublisherConfig {
    bucket: String,
    /// Without it there are no frames.
    endpoint: Option<String>,
}

impl PublisherConfig {
    /// `STATUS_BUCKET`, `WEBSOCKET_ENDPOINT`.
    pub(crate) fn from_env(env: &Env) -> Result<Self, SettingsError> {
        let endpoint = env.optional_url("WEBSOCKET_ENDPOINT", &["https", "http"])?;
        Ok(Self { bucket: env.required("STATUS_BUCKET")?, endpoint })
    }
}

/// Longest publication, its confirmation included: after 15 s the database takes it for lost.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);
/// No publication follows another after this time: the rest is for a new message.
const GO_ON_FOR: Duration = Duration::from_secs(20);

/// Publishes progress.
pub(crate) struct Publisher {
    store: StatusStore,
    pusher: Option<Pusher>,
    go_on_for: Duration,
}

impl Publisher {
    /// A publisher to the bucket and the WebSocket API of the configuration.
    pub(crate) fn connect(aws: &SdkConfig, config: &PublisherConfig) -> Self {
        let store = StatusStore::new(status_store::client(aws), config.bucket.clone());
        let pusher = config.endpoint.as_ref().map(|endpoint| Pusher::new(aws, endpoint));
        Self { store, pusher, go_on_for: GO_ON_FOR }
    }

    /// The documents.
    pub(crate) const fn store(&self) -> &StatusStore {
        &self.store
    }

    /// Publishes the newest state until nothing is new or 20 s have passed; then it asks for another message. Nothing happens if
    /// another publisher is at it. What fails is only logged, and asked for anew by the run's next pulse.
    pub(crate) async fn publish(&self, database: &Database, announcements: &Announcements) {
        let begun_at = Instant::now();
        let Some(mut begun) = begin(database).await else { return };
        loop {
            tokio::time::sleep(begun.wait).await;
            let Some(publication) = &begun.publication else {
                if begun.wait.is_zero() {
                    return;
                }
                let Some(again) = begin(database).await else { return };
                begun = again;
                continue;
            };
            let goes_on = begun_at.elapsed() < self.go_on_for;
            match self.publish_in_time(database, announcements, &begun, publication, goes_on).await {
                Ok(Some(next)) => begun = next,
                Ok(None) => return,
                Err(NotPublished) => {
                    match database.give_up_publication(publication.seq_first).await {
                        // Only the answer to its confirmation was lost: nobody else will tell of this end.
                        Ok(confirmed) => tell_end(&publication.run, confirmed && tells_end(&publication.run)),
                        Err(error) => {
                            tracing::warn!(
                                error = telemetry::chain(&error),
                                "A failed publication could not be given up"
                            );
                        }
                    }
                    return;
                }
            }
        }
    }

    async fn publish_in_time(
        &self,
        database: &Database,
        announcements: &Announcements,
        begun: &Begun,
        publication: &Publication,
        goes_on: bool,
    ) -> Result<Option<Begun>, NotPublished> {
        let publishing = self.publish_one(database, announcements, begun, publication, goes_on);
        tokio::time::timeout(PUBLISH_WITHIN, publishing).await.unwrap_or_else(|_elapsed| {
            tracing::warn!(run_id = %publication.run.run_id, "A publication took too long and was given up");
            Err(NotPublished)
        })
    }

    /// Publishes and confirms. What follows, if it goes on.
    async fn publish_one(
        &self,
        database: &Database,
        announcements: &Announcements,
        begun: &Begun,
        publication: &Publication,
        goes_on: bool,
    ) -> Result<Option<Begun>, NotPublished> {
        let Announcement { frames, status, seq } = publication.announce();
        let (run_id, state, counted) = (&publication.run.run_id, publication.run.state, publication.run.is_counted());
        let (stored, reached) =
            tokio::join!(self.store.put_status(&status), self.post(database, &begun.connection_ids, &frames));
        match stored {
            Ok(PutOutcome::Written) => {}
            Ok(PutOutcome::Superseded(published)) => {
                if self.outruns_database(database, published).await {
                    return Err(NotPublished);
                }
            }
            Err(error) => {
                tracing::warn!(run_id = %run_id, error = telemetry::chain(&error), "The status document could not be written");
                return Err(NotPublished);
            }
        }
        // A hanging WebSocket API comes back, and whoever looks on should see the end.
        if reached == Some(false) && ended_lately(&publication.run) {
            return Err(NotPublished);
        }
        let published = Published { run_id, seq, state, counted, reached };
        let confirmed = if goes_on {
            database.confirm_and_begin(&published).await.map(|next| (next.ended, Some(next)))
        } else {
            let confirmed = database.confirm_publication(&published).await;
            if let Ok(Confirmed { publication_due, .. }) = confirmed {
                announcements.ask(database, publication_due).await;
            }
            confirmed.map(|confirmed| (confirmed.ended, None))
        };
        let (ended, next) = confirmed.map_err(|error| {
            tracing::warn!(run_id = %run_id, error = telemetry::chain(&error), "A publication could not be confirmed");
            NotPublished
        })?;
        tell_end(&publication.run, ended);
        Ok(next)
    }

    /// Whether a published number is above all that the database has given out. Then the database was restored from a backup, and
    /// its numbers go on above the published one.
    async fn outruns_database(&self, database: &Database, published: i64) -> bool {
        match database.raise_seq(published).await {
            Ok(raised) => {
                if raised {
                    tracing::warn!(
                        seq = published,
                        "The published status is newer than the database; the sequence numbers go on above it"
                    );
                }
                raised
            }
            Err(error) => {
                tracing::warn!(error = telemetry::chain(&error), "The sequence numbers could not be compared");
                true
            }
        }
    }

    /// Posts the frames. Whether they reached somebody; `None` if nobody is there.
    async fn post(&self, database: &Database, connection_ids: &[String], frames: &[Frame]) -> Option<bool> {
        let pusher = self.pusher.as_ref()?;
        metrics::value(Metric::Connections, connection_ids.len() as f64);
        if connection_ids.is_empty() {
            return None;
        }
        let frames: Vec<String> = frames.iter().filter_map(|frame| serde_json::to_string(frame).ok()).collect();
        let report = pusher.post_frames(connection_ids, &frames).await;
        if !report.is_working() {
            tracing::warn!(
                connections = connection_ids.len(),
                failed = report.failed,
                "Live updates unavailable: frames could not be posted"
            );
        }
        if !report.gone.is_empty() {
            match database.remove_connections(&report.gone).await {
                Ok(removed) => removed.iter().for_each(|connection_id| events::disconnected(connection_id)),
                Err(error) => {
                    tracing::warn!(error = telemetry::chain(&error), "Closed connections could not be removed");
                }
            }
        }
        Some(report.is_working())
    }
}

/// Begins a publication; why that failed is logged.
async fn begin(database: &Database) -> Option<Begun> {
    match database.begin_publication().await {
        Ok(begun) => Some(begun),
        Err(error) => {
            tracing::warn!(error = telemetry::chain(&error), "A publication could not be begun");
            None
        }
    }
}

/// For so long after its end a run is told again, if its frames reached nobody.
const TOLD_WITHIN: SignedDuration = SignedDuration::from_secs(60);

fn ended_lately(run: &Run) -> bool {
    run.ended_at.is_some_and(|ended_at| run.now.duration_since(ended_at) < TOLD_WITHIN)
}

/// A publication that wasn't made or isn't confirmed; why is logged.
#[derive(Debug)]
struct NotPublished;

/// Whether nobody was told of a run's end when this was read of it.
fn tells_end(run: &Run) -> bool {
    run.state != RunState::Syncing && !run.end_was_announced()
}

/// Logs how a run came out, and records its duration and whether it failed: for `ended`, the one publication that has told its end.
fn tell_end(run: &Run, ended: bool) {
    let state = match run.state {
        RunState::Delay | RunState::Completed => RunState::Completed,
        state => state,
    };
    let (true, Some(ended_at), true) = (ended, run.ended_at, state.is_final()) else { return };
    let duration = ended_at.duration_since(run.started_at);
    metrics::value_by(Metric::RunSeconds, &[run.kind.as_str(), state.as_str()], duration.as_secs_f64());
    metrics::count(Metric::FailuresRecorded, usize::from(state == RunState::Error));
    let told = RunEnded {
        run_id: run.run_id.as_str(),
        kind: run.kind.as_str(),
        synced: run.synced,
        failed: run.failed,
        skipped: run.skipped,
        unchanged: run.unchanged,
        not_attempted: run.not_attempted,
        tickets: run.tickets_total,
        tickets_added: run.tickets_added,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(0),
    };
    match state {
        RunState::Completed => events::run_succeeded(told),
        RunState::Error => {
            let (code, message) = (run.error_code.as_deref(), run.error_message.as_deref());
            events::run_failed(told, code.unwrap_or_default(), message.unwrap_or_default());
        }
        // Whoever cancelled it has said so.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use aws_config::timeout::TimeoutConfig;
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
    use queues::Queue;
    use serde_json::{Value, json};
    use settings::Env;
    use wiremock::matchers::{body_partial_json, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    fn run(state: &str, announced: Option<&str>) -> Run {
        serde_json::from_value(run_json(state, announced)).unwrap()
    }

    fn run_json(state: &str, announced: Option<&str>) -> Value {
        let ended_at = (state != "Syncing").then_some("2026-05-01T10:01:15Z");
        json!({
            "run_id": "r1", "location_id": "loc", "kind": "full", "state": state, "started_at": "2026-05-01T10:00:00Z",
            "ended_at": ended_at, "listing": {}, "listing_complete": true, "listed": 0, "synced": 0, "failed": 0,
            "skipped": 0, "unchanged": 0, "tickets_total": 0, "tickets_checked": 0, "ticket_types": 0,
            "tickets_added": 0, "tickets_cancelled": 0, "pulse": 1, "announced_state": announced,
            "now": "2026-05-01T10:01:16Z",
        })
    }

    /// The database, the bucket, the WebSocket API and the queue, all of them one server.
    struct Stage {
        server: MockServer,
        database: Database,
        announcements: Announcements,
        publisher: Publisher,
    }

    impl Stage {
        async fn new() -> Self {
            let server = MockServer::start().await;
            for (verb, place) in [("GET", "/status/sync_status.json"), ("PUT", "/status/sync_status.json")] {
                let nothing = "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>";
                let answer = match verb {
                    "GET" => ResponseTemplate::new(404).set_body_string(nothing),
                    _ => ResponseTemplate::new(200),
                };
                Mock::given(method(verb)).and(path(place)).respond_with(answer).with_priority(9).mount(&server).await;
            }
            let (posted, asked) = (path("/live/@connections/c1"), path("/"));
            Mock::given(method("POST")).and(posted).respond_with(ResponseTemplate::new(200)).mount(&server).await;
            let taken = ResponseTemplate::new(200).set_body_json(json!({"Successful": []}));
            Mock::given(method("POST")).and(asked).respond_with(taken).mount(&server).await;
            let (database, announcements, publisher) = connect(&server.uri());
            Self { server, database, announcements, publisher }
        }

        /// How the database answers a call that says this.
        async fn answers(&self, function: &str, says: Value, answer: Value) {
            Mock::given(path(format!("/rest/v1/rpc/{function}")))
                .and(body_partial_json(json!({ "request": says })))
                .respond_with(ResponseTemplate::new(200).set_body_json(answer))
                .mount(&self.server)
                .await;
        }

        async fn publish(&self) {
            self.publisher.publish(&self.database, &self.announcements).await;
        }

        /// The last parts of the paths that were called, in order, without reading the document.
        async fn called(&self) -> Vec<String> {
            let requests = self.server.received_requests().await.unwrap();
            let changing = requests.iter().filter(|request| request.method.as_str() != "GET");
            changing.map(|request| request.url.path().rsplit('/').next().unwrap().to_owned()).collect()
        }
    }

    fn connect(url: &str) -> (Database, Announcements, Publisher) {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build())
            .endpoint_url(url)
            .build();
        let publisher_config = PublisherConfig { bucket: "status".to_owned(), endpoint: Some(format!("{url}/live")) };
        let queue = Queue::new(queues::client(&config), format!("{url}/000000000000/runs"));
        let announcements = Announcements::new(queue);
        let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
        let env = Env::of([("SUPABASE_URL", url), key, ("GHL_LOCATION_ID", "loc")]);
        let database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
        (database, announcements, Publisher::connect(&config, &publisher_config))
    }

    fn begun(seq_first: u64, wait_ms: u64) -> Value {
        let run = run_json("Syncing", None);
        json!({
            "publication": {"location_id": "loc", "seq_first": seq_first, "run": run},
            "wait_ms": wait_ms, "connection_ids": ["c1"],
        })
    }

    fn nothing() -> Value {
        json!({"publication": null, "wait_ms": 0, "connection_ids": []})
    }

    /// The numbers of a publication whose first is this: a run that has begun has three frames.
    fn says(seq: u64, next: bool) -> Value {
        if next { json!({"seq": seq, "next": true}) } else { json!({"seq": seq}) }
    }

    #[tokio::test]
    async fn a_publication_that_follows_another_takes_one_call_and_waits_for_its_time() {
        let stage = Stage::new().await;
        stage.answers("begin_publication", json!({}), begun(1, 0)).await;
        stage.answers("confirm_publication", says(3, true), begun(5, 150)).await;
        stage.answers("confirm_publication", says(7, true), nothing()).await;
        let started = Instant::now();
        stage.publish().await;
        assert!(started.elapsed() >= Duration::from_millis(150), "{:?}", started.elapsed());
        let called = stage.called().await;
        let to = |name: &str| called.iter().filter(|called| *called == name).count();
        assert_eq!(to("begin_publication") + to("confirm_publication"), 3, "{called:?}");
        assert_eq!((to("c1"), to("sync_status.json"), to("give_up_publication")), (6, 2, 0), "{called:?}");
    }

    #[tokio::test]
    async fn after_its_time_it_leaves_the_rest_to_a_new_message() {
        let mut stage = Stage::new().await;
        stage.publisher.go_on_for = Duration::ZERO;
        stage.answers("begin_publication", json!({}), begun(1, 0)).await;
        stage.answers("confirm_publication", says(3, false), json!({"publication_due": true})).await;
        stage.publish().await;
        let requests = stage.server.received_requests().await.unwrap();
        let last: Value = serde_json::from_slice(&requests.last().unwrap().body).unwrap();
        let message: Value = serde_json::from_str(last["Entries"][0]["MessageBody"].as_str().unwrap()).unwrap();
        assert_eq!(message, json!({"location_id": "loc", "publish": true}));
    }

    #[tokio::test]
    async fn nothing_is_published_while_another_is_at_it() {
        let stage = Stage::new().await;
        stage.answers("begin_publication", json!({}), nothing()).await;
        stage.publish().await;
        assert_eq!(stage.called().await, ["begin_publication"]);
    }

    #[tokio::test]
    async fn the_first_words_of_a_run_wait_for_its_count_as_long_as_the_database_says() {
        let stage = Stage::new().await;
        let not_yet = json!({"publication": null, "wait_ms": 60, "connection_ids": []});
        let twice = Mock::given(path("/rest/v1/rpc/begin_publication"))
            .respond_with(ResponseTemplate::new(200).set_body_json(not_yet))
            .up_to_n_times(2)
            .with_priority(1);
        twice.mount(&stage.server).await;
        stage.answers("begin_publication", json!({"count_within_ms": 1500}), begun(1, 0)).await;
        let confirms = json!({"seq": 3, "counted": true, "next": true, "count_within_ms": 1500});
        stage.answers("confirm_publication", confirms, nothing()).await;
        let started = Instant::now();
        stage.publish().await;
        assert!(started.elapsed() >= Duration::from_millis(120), "{:?}", started.elapsed());
        let called = stage.called().await;
        let to = |name: &str| called.iter().filter(|called| *called == name).count();
        assert_eq!((to("begin_publication"), to("confirm_publication"), to("c1")), (3, 1, 3), "{called:?}");
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_given_up_and_not_confirmed() {
        let stage = Stage::new().await;
        stage.answers("begin_publication", json!({}), begun(1, 0)).await;
        stage.answers("give_up_publication", json!({"seq_first": 1}), json!({})).await;
        let refused = ResponseTemplate::new(403);
        Mock::given(method("PUT")).respond_with(refused).with_priority(1).mount(&stage.server).await;
        stage.publish().await;
        let called = stage.called().await;
        assert!(!called.contains(&"confirm_publication".to_owned()), "{called:?}");
        assert_eq!(called.last().unwrap(), "give_up_publication");
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_holds_a_publication_up_for_ten_seconds() {
        // Takes connections, as the system does for it, and never answers: as the bucket, the WebSocket API and the database.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let (database, announcements, publisher) = connect(&format!("http://{}", silent.local_addr().unwrap()));
        let begun: Begun = serde_json::from_value(begun(1, 0)).unwrap();
        let publication = begun.publication.clone().unwrap();
        let started = tokio::time::Instant::now();
        publisher.publish_in_time(&database, &announcements, &begun, &publication, true).await.unwrap_err();
        assert_eq!(started.elapsed().as_secs(), PUBLISH_WITHIN.as_secs());
    }

    /// How often a run in this state is measured as `Completed`, as `Error`, and as a failure.
    async fn measured(state: &str, ended: bool) -> (u64, u64, u64) {
        let counted = metrics::Collector::default();
        counted.scope(async { tell_end(&run(state, None), ended) }).await;
        let of = |state: &str| counted.counted(Metric::RunSeconds, &["full", state]);
        (of("Completed"), of("Error"), counted.counted(Metric::FailuresRecorded, &[]))
    }

    #[tokio::test]
    async fn a_run_is_measured_when_its_end_is_first_told() {
        assert_eq!(measured("Syncing", true).await, (0, 0, 0));
        assert_eq!(measured("Delay", true).await, (1, 0, 0));
        assert_eq!(measured("Completed", false).await, (0, 0, 0));
        assert_eq!(measured("Completed", true).await, (1, 0, 0), "a cool-down that nobody was told of");
        assert_eq!(measured("Error", true).await, (0, 1, 1));
        assert_eq!(measured("Error", false).await, (0, 0, 0));
    }

    /// How often a publication of an ended run measures it, by what the database answers to its confirmation and to giving it up.
    async fn told(announced: Option<&str>, confirmation: ResponseTemplate, confirmed: bool) -> u64 {
        let stage = Stage::new().await;
        let begun = json!({
            "publication": {"location_id": "loc", "seq_first": 1, "run": run_json("Delay", announced)},
            "wait_ms": 0, "connection_ids": [],
        });
        stage.answers("begin_publication", json!({}), begun).await;
        let confirming = Mock::given(path("/rest/v1/rpc/confirm_publication"));
        confirming.respond_with(confirmation).mount(&stage.server).await;
        stage.answers("give_up_publication", json!({"seq_first": 1}), json!({"confirmed": confirmed})).await;
        let counted = metrics::Collector::default();
        counted.scope(stage.publish()).await;
        counted.counted(Metric::RunSeconds, &["full", "Completed"])
    }

    #[tokio::test]
    async fn the_end_is_told_by_the_publication_that_the_database_names() {
        let answered = |ended: bool| {
            let next = json!({"publication": null, "wait_ms": 0, "connection_ids": [], "ended": ended});
            ResponseTemplate::new(200).set_body_json(next)
        };
        let lost = || ResponseTemplate::new(503);
        assert_eq!(told(Some("Syncing"), answered(true), false).await, 1);
        assert_eq!(told(Some("Syncing"), answered(false), false).await, 0, "another has told it meanwhile");
        assert_eq!(told(Some("Syncing"), lost(), true).await, 1, "it was confirmed, and nobody heard");
        assert_eq!(told(Some("Syncing"), lost(), false).await, 0, "the next one will tell it");
        assert_eq!(told(Some("Delay"), lost(), true).await, 0, "it was told before");
    }
}
