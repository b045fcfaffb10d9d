//! The faults, one by one. Those marked quick also run where not all do.

use serde_json::{Value, json};

use crate::scene::{Case, Harm, Moment};

const COMPLETED: (&str, Option<&str>) = ("Completed", None);
const UNAUTHORIZED: (&str, Option<&str>) = ("Error", Some("ghl_unauthorized"));

fn case(name: &'static str) -> Case {
    Case {
        name,
        quick: false,
        ghl: Vec::new(),
        cloud: Vec::new(),
        lost: &[],
        at: Moment::Start,
        harm: Harm::Nothing,
        ends: COMPLETED,
        failed: Some(0),
    }
}

/// A fault of one order's detail, so many times or always.
fn of_one(name: &'static str, fault: Value, times: Option<u64>, failed: u64) -> Case {
    let mut rule = json!({ "endpoint": "detail", "orderId": "one", "fault": fault });
    if let Some(times) = times {
        rule["times"] = json!(times);
    }
    Case { ghl: vec![rule], failed: Some(failed), ..case(name) }
}

/// A fault of lists that ends the run.
fn of_the_list(name: &'static str, fault: Value, ends: (&'static str, Option<&'static str>)) -> Case {
    Case { ghl: vec![json!({ "endpoint": "list", "fault": fault })], ends, failed: None, ..case(name) }
}

fn quick(case: Case) -> Case {
    Case { quick: true, ..case }
}

fn status(status: u16) -> Value {
    json!({ "kind": "status", "status": status })
}

fn message(code: u16, message: &Value) -> Value {
    json!({ "kind": "status", "status": code, "body": { "statusCode": code, "message": message, "traceId": "t-1" } })
}

pub(crate) fn all() -> Vec<Case> {
    [ghl(), listing(), database(), lost_answers(), cloud(), hanging(), workers(), messages()]
        .into_iter()
        .flatten()
        .collect()
}

fn ghl() -> Vec<Case> {
    let stopped = |case: Case| Case { ends: UNAUTHORIZED, failed: None, ..case };
    let wait = json!({ "kind": "status", "status": 429, "headers": { "Retry-After": "2" } });
    let slow = json!({ "kind": "delay", "ms": 35_000 });
    let refused = |endpoint: &str, skip: u64| json!({ "endpoint": endpoint, "skip": skip, "fault": status(401) });
    let of_transactions = |fault: Value| json!({ "endpoint": "transactions", "fault": fault });
    vec![
        of_one("GHL 401 for an order", status(401), None, 1),
        quick(of_one("GHL 403 for an order", status(403), None, 1)),
        quick(stopped(Case {
            // After the two pages of the listing.
            ghl: vec![refused("detail", 0), refused("list", 2)],
            ..case("GHL 401 for orders, and for lists since")
        })),
        Case { ghl: vec![of_transactions(status(403))], ..case("GHL 403 for transactions") },
        Case { ghl: vec![of_transactions(status(500))], ..case("GHL 500 for transactions, for good") },
        quick(of_one("GHL 404 for an order", status(404), None, 1)),
        of_one("GHL 400 'order not found'", message(400, &json!("Order not found")), None, 1),
        of_one("GHL 400 'Request Timeout' twice", message(400, &json!("Request Timeout after 30000ms")), Some(2), 0),
        of_one("GHL 422 with a list of messages", message(422, &json!(["altId must be a string"])), None, 1),
        of_one("GHL 429 without Retry-After, three times", status(429), Some(3), 0),
        of_one("GHL 429 with Retry-After, three times", wait, Some(3), 0),
        of_one("GHL 500 twice", status(500), Some(2), 0),
        of_one("GHL 500 for good", status(500), None, 1),
        of_one("GHL 502 with a page of HTML, twice", json!({ "kind": "html", "status": 502 }), Some(2), 0),
        of_one("GHL resets the connection twice", json!({ "kind": "reset" }), Some(2), 0),
        of_one("GHL is silent for 35 s, once", slow, Some(1), 0),
        quick(of_one("GHL cuts the JSON short twice", json!({ "kind": "truncate" }), Some(2), 0)),
        of_one("GHL 204 without a body, twice", json!({ "kind": "empty", "status": 204 }), Some(2), 0),
        of_one("GHL 200 with an error in its body, twice", json!({ "kind": "error_body" }), Some(2), 0),
        of_one("GHL redirects elsewhere", json!({ "kind": "redirect", "location": "http://127.0.0.1:9/" }), None, 1),
    ]
}

fn listing() -> Vec<Case> {
    vec![
        of_the_list("GHL 401 for a list", status(401), UNAUTHORIZED),
        of_the_list("GHL 500 for lists, for good", status(500), ("Error", Some("ghl_unavailable"))),
        Case {
            ghl: vec![json!({ "endpoint": "list", "times": 2, "fault": { "kind": "html", "status": 502 } })],
            ..case("GHL 502 for a list, twice")
        },
    ]
}

fn database() -> Vec<Case> {
    let down = |name, ms, at| Case { at, harm: Harm::Outage { ms }, ..case(name) };
    vec![
        quick(down("PostgREST is away for 5 s while orders are fetched", 5_000, Moment::Fetching)),
        down("PostgREST is away for 60 s from the start", 60_000, Moment::Start),
        Case { at: Moment::Written, harm: Harm::CrashPostgres, ..case("Postgres crashes and recovers") },
    ]
}

/// The database has done what it was asked, and the answer doesn't come back: once for each SQL function. Those of a case are called by
/// different functions, or one after the other, so that most of their waits coincide.
fn lost_answers() -> Vec<Case> {
    let lost = |name, lost| Case { lost, ..case(name) };
    vec![
        lost(
            "Answers are lost of begin_pulse, due_orders, upsert_orders, sync_snapshot",
            &["begin_pulse", "due_orders", "upsert_orders", "sync_snapshot"],
        ),
        lost(
            "Answers are lost of record_page, reconcile_tickets, begin_publication",
            &["record_page", "reconcile_tickets", "begin_publication"],
        ),
        lost("Answers are lost of changed_refunds, record_refunds", &["changed_refunds", "record_refunds"]),
        lost(
            "Answers are lost of dispatch_orders, acquire_slots, confirm_publication, keep_valid_list",
            &["dispatch_orders", "acquire_slots", "confirm_publication", "keep_valid_list"],
        ),
        Case {
            cloud: vec![json!({ "service": "s3", "kind": "refuse", "method": "PUT", "times": 4 })],
            ..lost("S3 refuses, and the answer of give_up_publication is lost", &["give_up_publication"])
        },
        Case {
            lost: &["start_run", "replace_products", "record_failures", "valid_orders"],
            ..of_one(
                "Answers are lost of start_run, replace_products, record_failures, valid_orders",
                status(404),
                None,
                1,
            )
        },
        Case {
            lost: &["end_run"],
            ..of_the_list("GHL 401 for a list, and the answer of end_run is lost", status(401), UNAUTHORIZED)
        },
    ]
}

/// What takes calls and doesn't answer them, for 20 s from the first one on.
fn hanging() -> Vec<Case> {
    let hang = |service: &str| json!({ "service": service, "kind": "hang", "seconds": 20 });
    let ghl = |endpoint: &str| json!({ "endpoint": endpoint, "fault": { "kind": "hang", "ms": 20_000 } });
    vec![
        Case { ghl: vec![ghl("list"), ghl("detail"), ghl("products")], ..case("GHL hangs for 20 s") },
        Case { at: Moment::Fetching, harm: Harm::Hang { ms: 20_000 }, ..case("PostgREST hangs for 20 s") },
        Case { cloud: vec![hang("sqs")], ..case("SQS hangs for 20 s") },
        Case { at: Moment::Fetching, harm: Harm::NoSecrets("order-worker"), ..case("SSM hangs for 20 s") },
        Case { cloud: vec![hang("s3")], ..case("S3 hangs for 20 s") },
        Case { cloud: vec![hang("connections")], ..case("The WebSocket's door hangs for 20 s") },
    ]
}

fn cloud() -> Vec<Case> {
    let refusing =
        |queue: &str, times: u64| json!({ "service": "sqs", "kind": "refuse", "queue": queue, "times": times });
    let s3 = || json!({ "service": "s3", "kind": "refuse" });
    vec![
        quick(Case { cloud: vec![s3()], at: Moment::Recorded, harm: Harm::Heal, ..case("S3 refuses for 5 s") }),
        Case { cloud: vec![refusing("orders-bulk", 12)], ..case("SQS doesn't take orders for a while") },
        Case { cloud: vec![refusing("tickets", 12)], ..case("SQS doesn't take tickets for a while") },
        Case { cloud: vec![refusing("runs", 6)], ..case("SQS doesn't take the first pulses") },
        Case {
            cloud: vec![json!({ "service": "connections", "kind": "refuse", "times": 5 })],
            ..case("Frames can't be posted for a while")
        },
    ]
}

fn workers() -> Vec<Case> {
    let slow = json!({ "endpoint": "detail", "times": 20, "fault": { "kind": "delay", "ms": 1500 } });
    let hold = |service: &str, queue: Option<&str>, kind: &str| {
        let mut fault = json!({ "service": service, "kind": kind, "seconds": 1.5, "times": 6 });
        if let Some(queue) = queue {
            fault["queue"] = json!(queue);
        }
        fault
    };
    let killed = |name, at, function| Case { at, harm: Harm::Kill(function), ..case(name) };
    vec![
        quick(Case {
            ghl: vec![slow],
            ..killed("order-worker is killed before it writes", Moment::Fetching, "order-worker")
        }),
        Case {
            cloud: vec![hold("sqs", Some("tickets"), "hold")],
            ..killed("order-worker is killed between writing and handing over", Moment::Written, "order-worker")
        },
        Case {
            cloud: vec![hold("sqs", Some("tickets"), "delay")],
            ..killed("order-worker is killed after handing over", Moment::Written, "order-worker")
        },
        Case {
            cloud: vec![hold("s3", None, "hold")],
            ..killed("tickets is killed after its outcome, while publishing", Moment::Recorded, "tickets")
        },
        Case {
            ghl: vec![json!({ "endpoint": "list", "times": 1, "fault": { "kind": "delay", "ms": 2000 } })],
            ..killed("run-worker is killed while listing", Moment::Start, "run-worker")
        },
        Case {
            cloud: vec![hold("sqs", Some("runs"), "hold")],
            ..killed("run-worker is killed before its next pulse is sent", Moment::Recorded, "run-worker")
        },
    ]
}

fn messages() -> Vec<Case> {
    let twice = |queue: &str| json!({ "service": "sqs", "kind": "duplicate", "queue": queue });
    let lost = |queue: &str| json!({ "service": "sqs", "kind": "drop_once", "queue": queue });
    // Longer than a pulse waits for a silent order (24 s here): what comes so late has been done meanwhile.
    let late = |queue: &str| json!({ "service": "sqs", "kind": "late", "queue": queue, "seconds": 30, "times": 1 });
    let with = |name, fault| Case { cloud: vec![fault], ..case(name) };
    vec![
        quick(with("Every order message is delivered twice", twice("orders-bulk"))),
        with("Every ticket message is delivered twice", twice("tickets")),
        with("Every pulse is delivered twice", twice("runs")),
        with("Every order message is lost once", lost("orders-bulk")),
        with("Every ticket message is lost once", lost("tickets")),
        with("Every pulse is lost once", lost("runs")),
        with("Some order messages come half a minute late", late("orders-bulk")),
        with("Some ticket messages come half a minute late", late("tickets")),
        Case { at: Moment::Over, harm: Harm::Again("orders-bulk"), ..case("Order messages come again after the run") },
        Case { at: Moment::Over, harm: Harm::Again("tickets"), ..case("Ticket messages come again after the run") },
        Case { harm: Harm::Poison(&["orders-bulk", "tickets", "runs"]), ..case("Poison in every queue") },
    ]
}
