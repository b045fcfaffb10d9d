//! Each function's role: it was refused nothing, and it used everything it may.

use std::collections::BTreeMap;

use serde::Deserialize;
use tests::stack::Stack;

/// An action on a resource.
type Permission = (String, String);

#[derive(Debug, Deserialize)]
struct Role {
    granted: Vec<Permission>,
    used: Vec<Permission>,
    refused: Vec<Permission>,
}

/// What Lambda itself does with a function's role. The local cloud does it without asking.
const DONE_BY_LAMBDA: [&str; 7] = [
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
];

/// Decides whether S3 answers 404 or 403 for an object that isn't there; no call of its own.
const DECIDES_AN_ANSWER: &str = "s3:ListBucket";

/// A second stack in the account, made to stand beside the first for a while and not to do everything.
const NEIGHBOUR: &str = "ghl-sync-neighbour-";

async fn roles() -> BTreeMap<String, Role> {
    let url = format!("{}/_local/grants", Stack::running().aws_endpoint_url);
    let roles: BTreeMap<String, Role> = reqwest::get(url).await.expect("it answers").json().await.expect("roles");
    let roles: BTreeMap<_, _> = roles.into_iter().filter(|(_, role)| !role.granted.is_empty()).collect();
    assert!(roles.len() >= 12, "{:?}", roles.keys());
    roles
}

/// Whether a resource is the one a permission names, or one of those with its `*` at the end.
fn covers(granted: &Permission, used: &Permission) -> bool {
    let resource = match granted.1.strip_suffix('*') {
        Some(start) => used.1.starts_with(start),
        None => granted.1 == used.1,
    };
    granted.0 == used.0 && resource
}

#[tokio::test]
async fn no_function_asks_for_what_it_may_not() {
    for (name, role) in roles().await {
        assert!(role.refused.is_empty(), "{name} was refused {:?}", role.refused);
    }
}

#[tokio::test]
async fn no_function_may_do_what_it_never_does() {
    let mut unused = Vec::new();
    let of_this_stack = |(name, _): &(String, Role)| !name.starts_with(NEIGHBOUR);
    for (name, role) in roles().await.into_iter().filter(of_this_stack) {
        for granted in &role.granted {
            let by_others = DONE_BY_LAMBDA.contains(&granted.0.as_str()) || granted.0 == DECIDES_AN_ANSWER;
            let by_a_schedule = granted.0 == "lambda:InvokeFunction";
            if !by_others && !by_a_schedule && !role.used.iter().any(|used| covers(granted, used)) {
                unused.push(format!("{name}: {} on {}", granted.0, granted.1));
            }
        }
    }
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
}
