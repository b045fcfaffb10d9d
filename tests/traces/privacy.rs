//! No name, e-mail address, phone number, token or key in anything we write.

use std::fs;

use serde_json::Value;
use tests::{
    api::{Api, As},
    cloud::Cloud,
    stack::{Stack, beside},
};

use crate::secrets::Secrets;

/// A text and where it is from; empty ones prove nothing.
async fn assert_clean(secrets: &Secrets, what: &str, text: &str) {
    assert!(!text.trim().is_empty(), "{what} is empty");
    let found = secrets.found_in(text);
    let shown: Vec<_> = found.iter().take(5).collect();
    assert!(found.is_empty(), "{what} holds {} of what nobody may see, such as {shown:#?}", found.len());
}

#[tokio::test]
async fn no_log_of_the_functions_holds_anybodys_data() {
    let secrets = Secrets::of(&Stack::running()).await;
    let text = functions_log();
    for function in ["OrderWorkerFunction", "TicketsFunction", "RunWorkerFunction"] {
        assert!(text.contains(function), "{function} has logged nothing");
    }
    assert_clean(&secrets, "functions.log", &text).await;
}

/// Only the end-to-end tests send webhooks.
#[tokio::test]
async fn the_webhook_has_logged_too() {
    assert!(functions_log().contains("WebhookFunction"));
}

fn functions_log() -> String {
    fs::read_to_string(beside("logs").join("functions.log")).expect("the functions have logged")
}

#[tokio::test]
async fn no_log_of_the_database_and_its_doors_holds_anybodys_data() {
    let secrets = Secrets::of(&Stack::running()).await;
    for name in ["postgres", "postgrest", "local-supabase"] {
        let path = beside("logs").join(format!("{name}.log"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // They may have nothing to say.
        assert_clean(&secrets, name, &format!("{name}\n{text}")).await;
    }
}

#[tokio::test]
async fn no_published_document_holds_anybodys_data() {
    let stack = Stack::running();
    let secrets = Secrets::of(&stack).await;
    for document in ["sync_status.json", "valid_order_list.json"] {
        let text = Cloud::of(&stack).document(document).await.expect(document).to_string();
        assert_clean(&secrets, document, &text).await;
    }
}

#[tokio::test]
async fn no_report_holds_anybodys_data() {
    let stack = Stack::running();
    let (secrets, api) = (Secrets::of(&stack).await, Api::new(&stack));
    let (mut runs, mut next) = (0, None::<String>);
    loop {
        let before = next.map(|next| format!("&before={next}")).unwrap_or_default();
        let page = api.get(As::Member, &format!("/api/qrapp/runs?limit=100{before}")).await.ok();
        assert_clean(&secrets, "the list of runs", &page.to_string()).await;
        for run in page["runs"].as_array().unwrap() {
            let run_id = run["runId"].as_str().unwrap();
            let report = api.get(As::Member, &format!("/api/qrapp/runs/{run_id}?limit=1000")).await.ok();
            assert_clean(&secrets, "the report of a run", &report.to_string()).await;
            runs += 1;
        }
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    assert!(runs > 3, "{runs} runs: the suites before this one have not run");
    let failures: Value = api.get(As::Member, "/api/qrapp/failures?limit=1000").await.ok();
    assert_clean(&secrets, "the failures", &failures.to_string()).await;
}

#[tokio::test]
async fn no_refusal_holds_anybodys_data() {
    let secrets = Secrets::of(&Stack::running()).await;
    let path = std::env::var_os("ANSWERS_LOG").expect("ANSWERS_LOG is set");
    let text = fs::read_to_string(path).expect("the suites before this one have been refused something");
    assert!(text.lines().count() > 30, "{text}");
    assert_clean(&secrets, "the refusals", &text).await;
}
