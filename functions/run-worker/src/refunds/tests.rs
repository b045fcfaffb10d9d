use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use database::RunSettings;
use queues::Queue;
use runs::Announcements;
use serde_json::{Value, json};
use settings::Env;
use wiremock::matchers::{path, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;
use crate::publish::{Publisher, PublisherConfig};
use crate::worker::Bulk;

/// GHL and the database, both of them one server: whatever is asked of the limiter is granted.
struct Stage {
    server: MockServer,
    worker: RunWorker,
    kind: &'static str,
}

/// Rows of the list, as many as there are: the transaction and its order have the row's number, and 5 of it was refunded.
fn rows(range: std::ops::Range<u64>) -> Vec<Value> {
    let row = |number| json!({ "_id": format!("t{number}"), "entityId": format!("order-{number}"), "amount": 10, "amountRefunded": 5 });
    range.map(row).collect()
}

fn asked(request: &Request) -> BTreeMap<String, String> {
    request.url.query_pairs().into_owned().collect()
}

impl Stage {
    /// GHL gives these pages; the sums of these orders have changed.
    async fn new(
        kind: &'static str,
        pages: impl Fn(u64, u64) -> ResponseTemplate + Send + Sync + 'static,
        changed: &'static [&'static str],
    ) -> Self {
        let server = MockServer::start().await;
        let list = move |request: &Request| {
            let query = asked(request);
            match query.get("entityId") {
                // What the order itself says differs from what the list shows.
                Some(id) => ResponseTemplate::new(200).set_body_json(json!({
                    "data": [
                        { "_id": "t7", "entityId": id, "status": "succeeded", "amount": 10, "amountRefunded": "5.25" },
                        { "_id": "another", "entityId": id, "status": "failed", "amount": 10 },
                    ],
                    "totalCount": 2,
                })),
                None => pages(query["offset"].parse().unwrap(), query["limit"].parse().unwrap()),
            }
        };
        Mock::given(path("/payments/transactions")).respond_with(list).mount(&server).await;
        let database = move |request: &Request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let answer = match request.url.path().rsplit('/').next().unwrap() {
                "acquire_slots" => json!({
                    "granted": body["request"]["wanted"], "granted_at": "2026-05-01T10:00:00Z", "wait_ms": 0,
                    "daily_remaining": null, "run_state": null,
                }),
                "changed_refunds" => json!({ "order_ids": changed }),
                "record_refunds" => json!({ "run": run_json(kind), "publication_due": false }),
                "dispatch_orders" => json!({ "order_ids": [], "outstanding": 0 }),
                other => panic!("{other} isn't called"),
            };
            ResponseTemplate::new(200).set_body_json(answer)
        };
        Mock::given(path_regex("/rest/v1/rpc/")).respond_with(database).mount(&server).await;
        let worker = worker(&server.uri());
        Self { server, worker, kind }
    }

    /// Reads all. Returns the requests of `record_refunds`.
    async fn read(&self) -> Vec<Value> {
        let run: Run = serde_json::from_value(run_json(self.kind)).unwrap();
        let (mut transactions, mut issues) = (Transactions::of(&run), Vec::new());
        let deadline = Instant::now() + Duration::from_secs(60);
        let listed = self.worker.read_transactions(&run, &mut transactions, None, &mut issues, deadline).await.unwrap();
        assert_eq!((listed, issues), (Listed::Complete, Vec::new()));
        let recorded = self.recorded().await;
        assert_eq!(recorded.last().unwrap()["transactions"]["done"], true);
        recorded
    }

    async fn recorded(&self) -> Vec<Value> {
        let requests = self.server.received_requests().await.unwrap();
        let recorded = requests.iter().filter(|request| request.url.path().ends_with("/record_refunds"));
        let request = |request: &Request| serde_json::from_slice::<Value>(&request.body).unwrap()["request"].clone();
        recorded.map(request).collect()
    }

    /// The queries of the calls to GHL.
    async fn calls(&self) -> Vec<BTreeMap<String, String>> {
        let requests = self.server.received_requests().await.unwrap();
        requests.iter().filter(|request| request.url.path() == "/payments/transactions").map(asked).collect()
    }

    /// Where the list's pages started.
    async fn offsets(&self) -> Vec<u64> {
        let calls = self.calls().await;
        let of_the_list = calls.iter().filter(|query| !query.contains_key("entityId"));
        of_the_list.map(|query| query["offset"].parse().unwrap()).collect()
    }

    /// The transactions that the database was asked about.
    async fn looked_into(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let asked = requests.iter().filter(|request| request.url.path().ends_with("/changed_refunds"));
        let mut ids = Vec::new();
        for request in asked {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let transactions = body["request"]["transactions"].as_array().unwrap().iter();
            ids.extend(transactions.map(|row| row["transaction_id"].as_str().unwrap().to_owned()));
        }
        ids
    }
}

fn run_json(kind: &str) -> Value {
    json!({
        "run_id": "r1", "location_id": "loc", "kind": kind, "state": "Syncing", "started_at": "2026-05-01T10:00:00Z",
        "ended_at": null, "listing": {}, "listing_complete": false, "listed": 0, "synced": 0, "failed": 0, "skipped": 0,
        "unchanged": 0, "tickets_total": 0, "tickets_checked": 0, "ticket_types": 0, "tickets_added": 0,
        "tickets_cancelled": 0, "pulse": 1, "announced_state": null, "now": "2026-05-01T10:01:16Z",
    })
}

fn worker(url: &str) -> RunWorker {
    let env = Env::of([
        ("SUPABASE_URL", url),
        ("SUPABASE_SERVICE_ROLE_KEY", "invented"),
        ("GHL_API_BASE_URL", url),
        ("GHL_ACCESS_TOKEN", "invented"),
        ("GHL_LOCATION_ID", "loc"),
        ("STATUS_BUCKET", "status"),
        ("WAITS_PERCENT", "1"),
    ]);
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client::for_aws())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .endpoint_url(url)
        .build();
    let (http, sqs) = (wiring::HttpClient::new().unwrap(), queues::client(&config));
    let place = |name: &str| format!("{url}/000000000000/{name}");
    RunWorker {
        database: wiring::database(&env, http.clone()).unwrap(),
        fetcher: orders::setup::fetcher(&env, http).unwrap(),
        settings: RunSettings::DEFAULT,
        interval: Duration::from_secs(2),
        pace: wiring::pace(&env).unwrap(),
        pulses: runs::setup::pulses(&env, Queue::new(sqs.clone(), place("runs"))).unwrap(),
        bulk: Bulk { one: Queue::new(sqs.clone(), place("bulk")), several: Queue::new(sqs.clone(), place("bulk")) },
        tickets: Queue::new(sqs.clone(), place("tickets")),
        announcements: Announcements::new(Queue::new(sqs, place("runs"))),
        publisher: Publisher::connect(&config, &PublisherConfig::from_env(&env).unwrap()),
    }
}

fn page(rows: Vec<Value>, total: u64) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "data": rows, "totalCount": total }))
}

fn all(total: u64) -> Vec<String> {
    (0..total).map(|number| format!("t{number}")).collect()
}

#[tokio::test]
async fn a_full_run_reads_all_and_adds_up_what_an_order_itself_says() {
    let pages = |offset: u64, limit: u64| page(rows(offset..(offset + limit).min(350)), 350);
    let stage = Stage::new("full", pages, &["order-7"]).await;
    let recorded = stage.read().await;
    assert_eq!((stage.offsets().await, stage.looked_into().await), (vec![0, 100, 200, 300], all(350)));
    assert!(!stage.calls().await[0].contains_key("startAt"));
    assert_eq!(recorded.len(), 2, "the first page alone, the others together");
    // 5 is what the list shows, and is remembered; 5.25 is the sum.
    let refund = json!({
        "order_id": "order-7", "refunded": "5.25", "received": "10", "transactions": { "another": "0", "t7": "5" },
    });
    assert_eq!(recorded[0]["refunds"], json!([refund]));
}

#[tokio::test]
async fn an_incremental_run_reads_what_is_young() {
    let stage = Stage::new("incremental", |_, _| page(rows(0..3), 3), &[]).await;
    assert_eq!(stage.read().await[0]["refunds"], json!([]));
    let calls = stage.calls().await;
    assert_eq!((calls.len(), calls[0]["startAt"].as_str()), (1, "2026-04-28"));
}

#[tokio::test]
async fn pages_that_are_shorter_than_others_skip_nothing() {
    // From row 100 on, a page has 30 rows.
    let pages = |offset: u64, _| page(rows(offset..(offset + if offset < 100 { 100 } else { 30 }).min(250)), 250);
    let stage = Stage::new("full", pages, &[]).await;
    stage.read().await;
    assert_eq!(stage.looked_into().await, all(250));
    assert!(stage.offsets().await.len() < 20, "{:?}", stage.offsets().await);
}

#[tokio::test]
async fn smaller_pages_are_asked_for_where_they_must_be() {
    let pages = |offset: u64, limit: u64| match limit {
        100 => ResponseTemplate::new(422),
        limit => page(rows(offset..(offset + limit).min(70)), 70),
    };
    let stage = Stage::new("full", pages, &[]).await;
    stage.read().await;
    assert_eq!((stage.offsets().await, stage.looked_into().await), (vec![0, 0, 50], all(70)));
}

#[tokio::test]
async fn what_cannot_be_read_is_an_issue_and_the_run_goes_on() {
    for (status, code, calls) in
        [(403, "transactions_refused", 1), (401, "transactions_refused", 1), (500, "transactions_unreadable", 5)]
    {
        let stage = Stage::new("incremental", move |_, _| ResponseTemplate::new(status), &[]).await;
        let recorded = stage.read().await;
        assert_eq!((recorded.len(), &recorded[0]["issues"][0]["code"]), (1, &json!(code)), "{status}");
        assert_eq!(stage.calls().await.len(), calls, "{status}");
    }
}

#[test]
fn a_missing_scope_is_told_from_a_failure() {
    let answered = |status| {
        let call = "list transactions";
        not_read(&ghl_client::Error::Status { call, status, not_found: false, timed_out: false, trace_id: None })
    };
    let refused = answered(403);
    assert!(refused.message.contains("payments/transactions.readonly"), "{}", refused.message);
    assert!(answered(500).message.contains("GHL answered 500"));
}

#[test]
fn whatever_was_begun_goes_on_and_what_came_too_late_is_left() {
    let of = |kind: &str, listing: Value, transactions: Value| {
        let mut run = run_json(kind);
        (run["listing"], run["transactions"]) = (listing, transactions);
        let run: Run = serde_json::from_value(run).unwrap();
        let transactions = Transactions::of(&run);
        (transactions.0.is_some(), transactions.come_first(&run))
    };
    let listing = serde_json::to_value(domain::listing::Listing::start(false, 0)).unwrap();
    let begun = json!({ "from": null, "offset": 100, "page_size": 100, "done": false });
    assert_eq!(of("incremental", json!({}), Value::Null), (true, true));
    assert_eq!(of("incremental", json!({}), begun.clone()), (true, true));
    assert_eq!(of("incremental", listing.clone(), Value::Null), (false, false), "of the version before");
    assert_eq!(of("full", json!({}), Value::Null), (true, false), "while the orders are fetched");
    assert_eq!(of("full", listing, begun), (true, true));
    assert_eq!(of("valid_list", json!({}), Value::Null), (false, false));
    assert_eq!(of("retry", json!({}), Value::Null), (false, false));
}
