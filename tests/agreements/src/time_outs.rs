//! Each function's own time-outs end before Lambda's, whose end answers nobody.

use std::time::Duration;

use crate::{Code, Template};

fn seconds(file: &str, name: &str) -> Duration {
    Code::read(file).duration(name)
}

/// The ways through a function that wait the longest, each with its waits in the order of the work, all of which hang.
fn longest_ways(function: &str) -> Vec<Vec<Duration>> {
    let aws = seconds("shared/settings/src/aws.rs", "CALL_TIMEOUT");
    let database = seconds("shared/database/src/client.rs", "CALL_TIMEOUT");
    let asking = seconds("shared/runs/src/announcements.rs", "ASK_WITHIN");
    let ghl = seconds("shared/orders/src/setup.rs", "LONGEST_CALL");
    let own = |name| seconds(&format!("functions/{function}/src/handler.rs"), name);
    match function {
        "webhook" | "gate" => vec![vec![own("ANSWER_WITHIN")]],
        "order-sync" => vec![vec![own("TIME_LIMIT"), own("ENQUEUE_WITHIN")]],
        // A start: the run's row, the first pulse, a request for its publication. A read is shorter.
        "full-sync" => vec![vec![database, aws, asking]],
        // The same for a retry; a person with many orders.
        "sync-status" => {
            let forgetting = seconds("functions/sync-status/src/forget.rs", "FORGET_WITHIN");
            vec![vec![database, aws, asking], vec![forgetting]]
        }
        // A batch that is recorded, or that waits for the database.
        "tickets" => vec![vec![database, asking], vec![database, aws]],
        // The dead letter that is begun last.
        "dead-letters" => vec![vec![database, asking]],
        // The call to GHL that is begun last. What still hangs then is given up at the deadline.
        "order-worker" => vec![vec![ghl]],
        // The same; the publication that is begun last is a case of its own, below.
        "run-worker" => vec![vec![ghl]],
        // A message that is refused; a connection that is closed.
        "websocket" => vec![vec![own("ANSWER_WITHIN"), own("REFUSE_WITHIN")], vec![database]],
        // A token; a WebSocket ticket, whose secret is old and then read once more.
        "authorizer" => vec![
            vec![seconds("functions/authorizer/src/keys.rs", "READ_WITHIN")],
            vec![seconds("shared/settings/src/secret.rs", "READ_AGAIN_WITHIN"), aws],
        ],
        "dashboard" => vec![vec![]],
        _ => panic!("{function} is new here: what does it wait for?"),
    }
}

/// The longest of them.
fn longest(function: &str) -> Duration {
    longest_ways(function).iter().map(|way| way.iter().sum()).max().unwrap_or_default()
}

/// Each function of the template: its crate, and the seconds that Lambda gives it.
fn functions(template: &Template) -> Vec<(String, Duration)> {
    let names = template.at(&["Resources"]).names("Function");
    let of = |name: &&str| {
        let binary = template.at(&["Resources", name, "Metadata"]).word("Binary: ");
        (binary.to_owned(), Duration::from_secs(template.timeout(name)))
    };
    let functions: Vec<_> = names.iter().map(of).collect();
    assert_eq!(functions.len(), 12, "{functions:?}");
    functions
}

fn main_of(function: &str) -> Code {
    Code::read(&format!("functions/{function}/src/main.rs"))
}

#[test]
fn what_a_function_waits_for_ends_before_lambda_stops_it() {
    let reserve = seconds("shared/deadline/src/lib.rs", "RESERVE");
    for (function, timeout) in functions(&Template::read()) {
        let waits = longest(&function);
        assert!(waits + reserve < timeout, "{function}: {waits:?} and {reserve:?} aren't less than {timeout:?}");
    }
}

#[test]
fn the_last_publication_of_a_message_ends_before_lambda_stops_it_and_before_it_counts_as_lost() {
    let of = |name| seconds("functions/run-worker/src/publish.rs", name);
    let database = seconds("shared/database/src/client.rs", "CALL_TIMEOUT");
    let reserve = seconds("shared/deadline/src/lib.rs", "RESERVE");
    let run_worker = Duration::from_secs(Template::read().timeout("RunWorkerFunction"));
    // The first call, those that follow each other, the last one, and that it is given up.
    assert!(database + of("GO_ON_FOR") + of("PUBLISH_WITHIN") + database + reserve < run_worker);
    assert!(of("PUBLISH_WITHIN") < Duration::from_secs(15), "publications.sql takes it for lost");
}

#[test]
fn every_function_gives_up_before_lambda_stops_it() {
    assert!(Code::read("shared/http-api/src/serve.rs").says("deadline::before(context.deadline(), deadline::RESERVE)"));
    for (function, _) in functions(&Template::read()) {
        let main = main_of(&function);
        let gives_up = main.says("deadline::in_time(") || main.says("http_api::serve(");
        assert!(gives_up, "Lambda may stop {function} in the middle of its work");
    }
}

#[test]
fn what_a_worker_begins_last_has_its_whole_time() {
    let reserve = seconds("shared/deadline/src/lib.rs", "RESERVE");
    let mut with_own: Vec<String> = Vec::new();
    for (function, timeout) in functions(&Template::read()) {
        let main = main_of(&function);
        if main.says("const RESERVE:") {
            let (kept, last) = (main.duration("RESERVE"), longest(&function));
            assert!(last + reserve < kept, "{function}: {last:?} and {reserve:?} aren't less than the kept {kept:?}");
            assert!(kept < timeout, "{function} would begin nothing");
            with_own.push(function);
        }
    }
    with_own.sort();
    assert_eq!(with_own, ["dead-letters", "order-worker", "run-worker"]);
}

#[test]
fn the_webhook_and_the_gate_answer_as_soon_as_they_promise() {
    // GHL gets its 429 within 8 s, and somebody waits at the gate.
    assert!(longest("webhook") < Duration::from_secs(8));
    assert!(longest("gate") <= Duration::from_secs(4));
}
