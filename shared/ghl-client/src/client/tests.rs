use domain::FailureClass::{self, Auth, Permanent, Transient};
use serde_json::json;
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

async fn server(answer: ResponseTemplate) -> (MockServer, Client) {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(answer).mount(&server).await;
    let client = client(&server.uri());
    (server, client)
}

fn client(base_url: &str) -> Client {
    let config = Config {
        base_url: base_url.to_owned(),
        version: "2021-07-28".to_owned(),
        location_id: LocationId::try_new("loc").unwrap(),
        timeout: Duration::from_millis(500),
    };
    Client::new(config, HttpClient::new().unwrap()).unwrap()
}

fn token() -> SecretString {
    "pit-invented".into()
}

fn id() -> OrderId {
    OrderId::try_new("660000000000000000000001").unwrap()
}

#[tokio::test]
async fn calls_carry_what_ghl_asks_for() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/payments/orders"))
        .and(query_param("altId", "loc"))
        .and(query_param("altType", "location"))
        .and(query_param("limit", "100"))
        .and(query_param("offset", "90"))
        .and(query_param("paymentStatus", "refunded"))
        .and(header("authorization", "Bearer pit-invented"))
        .and(header("version", "2021-07-28"))
        .and(header("accept", "application/json"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"data": [], "totalCount": 0}))
                .insert_header("x-ratelimit-max", "25")
                .insert_header("x-ratelimit-remaining", "24"),
        )
        .mount(&server)
        .await;
    let client = client(&server.uri());
    let page = client.list_orders(&token(), 90, 100, Some("refunded")).await.unwrap();
    assert_eq!(page.total, 0);
    assert_eq!(client.take_observed().rate.max, Some(25));
    assert_eq!(client.take_observed(), ObservedRate::default());
}

#[tokio::test]
async fn transactions_are_those_since_a_day_or_of_an_order() {
    let server = MockServer::start().await;
    let row = |id: &str| json!({"data": [{"_id": id, "entityId": "660000000000000000000001"}], "totalCount": 1});
    for (key, value, answer) in
        [("startAt", "2026-03-07", row("since")), ("entityId", id().as_str(), row("of the order"))]
    {
        Mock::given(method("GET"))
            .and(path("/payments/transactions"))
            .and(query_param("altId", "loc"))
            .and(query_param("altType", "location"))
            .and(query_param("limit", "100"))
            .and(query_param("offset", "0"))
            .and(query_param(key, value))
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .mount(&server)
            .await;
    }
    let (client, day) = (client(&server.uri()), jiff::civil::date(2026, 3, 7));
    for (of, expected) in [(TransactionsOf::Since(day), "since"), (TransactionsOf::Order(&id()), "of the order")] {
        let page = client.list_transactions(&token(), 0, 100, &of).await.unwrap();
        assert_eq!((page.first.as_deref(), page.transactions[0].order_id.clone()), (Some(expected), Some(id())));
    }
}

#[tokio::test]
async fn failures_are_classed_by_status_and_message() {
    let message = |text: &str| json!({"statusCode": 400, "message": text, "traceId": "abc-1"});
    let table: Vec<(u16, serde_json::Value, FailureClass, &str)> = vec![
        (401, json!({"message": "Invalid token"}), Auth, "ghl_unauthorized"),
        (403, json!({}), Auth, "ghl_unauthorized"),
        (404, json!({}), Permanent, "order_not_found"),
        (400, message("Order not found"), Permanent, "order_not_found"),
        (400, message("Request Timeout after 30000ms"), Transient, "ghl_unavailable"),
        (400, message("altId must be a string"), Permanent, "ghl_refused"),
        (422, json!({"message": ["limit must not be greater than 50"]}), Permanent, "ghl_refused"),
        (408, json!({}), Transient, "ghl_unavailable"),
        (429, json!({}), Transient, "ghl_rate_limited"),
        (500, json!({}), Transient, "ghl_unavailable"),
        (502, json!("<html>"), Transient, "ghl_unavailable"),
        (302, json!({}), Permanent, "ghl_refused"),
        (200, json!({"statusCode": 500, "message": "error"}), Transient, "ghl_answer_not_usable"),
    ];
    for (status, body, class, code) in table {
        let (_server, client) = server(ResponseTemplate::new(status).set_body_json(&body)).await;
        let error = client.order(&token(), &id()).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (class, code), "{status} {body}");
    }
}

#[tokio::test]
async fn html_nothing_and_silence_are_transient() {
    let answers = [
        ResponseTemplate::new(502).set_body_string("<html>Bad gateway</html>"),
        ResponseTemplate::new(204),
        ResponseTemplate::new(200).set_body_string("{\"_id\": \"66"),
        ResponseTemplate::new(200).set_delay(Duration::from_secs(5)),
    ];
    for answer in answers {
        let (_server, client) = server(answer).await;
        assert_eq!(client.order(&token(), &id()).await.unwrap_err().class(), Transient);
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_never_gets_the_token() {
    let (elsewhere, _) = server(ResponseTemplate::new(200)).await;
    let (_server, client) = server(ResponseTemplate::new(302).insert_header("location", elsewhere.uri())).await;
    client.order(&token(), &id()).await.unwrap_err();
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_call_is_counted_by_its_answer() {
    let counted = metrics::Collector::default();
    for status in [200, 404, 429, 429] {
        let (_server, client) = server(ResponseTemplate::new(status)).await;
        counted.scope(client.order(&token(), &id())).await.unwrap_err();
    }
    counted.scope(client("http://127.0.0.1:1").order(&token(), &id())).await.unwrap_err();
    for (status, calls) in [("200", 1), ("404", 1), ("429", 2), ("no_answer", 1)] {
        assert_eq!(counted.counted(Metric::GhlCalls, &[status]), calls, "{status}");
    }
    assert_eq!(counted.counted(Metric::GhlThrottled, &[]), 2);
}

#[tokio::test]
async fn a_refused_list_of_orders_or_products_counts_against_the_token_and_nothing_else_does() {
    for (status, refusals) in [(401, 2), (403, 2), (404, 0), (429, 0), (500, 0)] {
        let (counted, (_server, client)) = (metrics::Collector::default(), server(ResponseTemplate::new(status)).await);
        let (token, id) = (token(), id());
        let calls = async {
            client.list_orders(&token, 0, 1, None).await.unwrap_err();
            client.list_products(&token, 0, 1).await.unwrap_err();
            client.order(&token, &id).await.unwrap_err();
            client.list_transactions(&token, 0, 1, &TransactionsOf::All).await.unwrap_err();
        };
        counted.scope(calls).await;
        assert_eq!(counted.counted(Metric::GhlTokenRefused, &[]), refusals, "{status}");
        assert_eq!(counted.counted(Metric::GhlCalls, &[&status.to_string()]), 4, "{status}");
    }
}

#[test]
fn only_https_hosts_are_accepted() {
    let http = HttpClient::new().unwrap();
    for bad in ["", "services.example.org", "http://services.example.org", "ftp://127.0.0.1", "mailto:a@example.org"] {
        let config = Config {
            base_url: bad.to_owned(),
            version: String::new(),
            location_id: LocationId::try_new("loc").unwrap(),
            timeout: Duration::from_secs(1),
        };
        assert!(Client::new(config, http.clone()).err().unwrap().starts_with("GHL_API_BASE_URL"), "{bad}");
    }
}

/// A slow call that was sent before others is answered after them, with what was left then.
#[test]
fn what_the_youngest_call_says_remains_counts_however_the_answers_come() {
    let begun = Instant::now();
    let at = |seconds| begun + Duration::from_secs(seconds);
    let rate = |remaining, closed_for| RateLimit { remaining: Some(remaining), closed_for, ..RateLimit::default() };
    let mut observed = Observations::default();
    observed.add(rate(50, None), at(1), at(2));
    observed.add(rate(60, Some(Duration::from_secs(9))), at(0), at(3));
    assert_eq!((observed.rate, observed.last), (rate(50, Some(Duration::from_secs(9))), Some((at(1), at(2)))));
    observed.add(rate(40, None), at(4), at(5));
    assert_eq!((observed.rate.remaining, observed.last), (Some(40), Some((at(4), at(5)))));
}
