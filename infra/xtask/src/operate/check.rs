//! Looks at a deployed stack from outside, as everybody and as a member of the staff: what must be refused is, what must answer does.
//!
//! Changes nothing: the scan that it tries names no session and is refused before any function of ours is called.

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::http::{Answer, Http, Page, text};
use crate::operate::aws::Aws;
use crate::operate::report::{Report, Verdict};
use crate::operate::secret::Secret;
use crate::place::Place;
use crate::stack_file::StackFile;

pub(crate) const EXAMPLES: &str = "\
Examples:
  CHECK_EMAIL=... CHECK_PASSWORD=... cargo xtask check --stack ghl-sync
  cargo xtask check                                the local stack that runs

Tries a scan without a session and an unsigned webhook, which must be refused, the page with its content security policy, and the status as a
member. It signs in by CHECK_EMAIL and CHECK_PASSWORD, a user of its own with the role `member`, or takes the session's token in CHECK_TOKEN.
With --stack it needs cloudformation:DescribeStacks and ListStackResources. Status 1 if anything is wrong.";

#[derive(Args)]
pub(crate) struct CheckOptions {
    /// The CloudFormation stack; else the local stack
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    stack: Option<String>,
    /// Instead of a stack's name its output HttpUrl: needs no access to AWS
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// AWS region; else AWS_REGION, else the profile's
    #[arg(long, requires = "stack")]
    region: Option<String>,
}

/// No ticket has this number, should it ever be admitted.
const SCAN: &str = "/api/qrapp/tickets/2147483647/validate";
const WEBHOOK: &str = "/api/ghl/webhook-qr";
const STATUS: &str = "/api/qrapp/sync-status";
const CONFIG: &str = "/assets/config.json";

pub(crate) fn run(options: &CheckOptions) -> Result<ExitCode> {
    let place = Place::local()?;
    let mut token = given("CHECK_TOKEN").map(Secret::new);
    let url = match (&options.url, &options.stack) {
        (Some(url), _) => url.clone(),
        (None, Some(stack)) => {
            let aws = Aws::of_the_user(&place, options.region.as_deref())?;
            aws.deployment(stack)?.output("HttpUrl")?.to_owned()
        }
        (None, None) => {
            let file = StackFile::read(&place).context("give --stack NAME for a stack in AWS")?;
            token = token.or_else(|| Some(Secret::new(file.member_token.clone())));
            file.http_url
        }
    };
    println!("Checking {url}");
    let mut report = Report::default();
    let everybody = Http::new(&url, None);
    let asked = |answer: Result<Answer>, judge: &dyn Fn(&Answer) -> Verdict| match answer {
        Ok(answer) => judge(&answer),
        Err(error) => Err(format!("{url} doesn't answer ({})", error.root_cause())),
    };
    report.add("gate", asked(everybody.post(SCAN), &|answer| refused(answer, "a scan without a session")));
    let unsigned = everybody.send(Method::POST, WEBHOOK, &[], r#"{"type": "OrderCreate"}"#);
    report.add("webhooks", asked(unsigned, &|answer| refused(answer, "a webhook that nobody signed")));
    report.add(
        "page",
        everybody
            .page("/")
            .map_err(|error| format!("{url} doesn't answer ({})", error.root_cause()))
            .and_then(|found| page(&found)),
    );
    let config = everybody.get(CONFIG);
    let settings = config.as_ref().map(|answer| answer.body.clone()).unwrap_or_default();
    report.add("page", asked(config, &configured));
    let session = token.map_or_else(|| sign_in(&settings), Ok);
    let verdict = session
        .map_err(|error| format!("{error:#}"))
        .and_then(|token| asked(Http::new(&url, Some(token.expose())).get(STATUS), &status));
    report.add("status", verdict);
    Ok(if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn given(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Signs in as the page does, where the page says.
fn sign_in(settings: &Value) -> Result<Secret> {
    let (Some(email), Some(password)) = (given("CHECK_EMAIL"), given("CHECK_PASSWORD")) else {
        bail!("nobody to sign in as: set CHECK_EMAIL and CHECK_PASSWORD (a user with the role member), or CHECK_TOKEN");
    };
    let (url, key) = (text(settings, "supabaseUrl"), text(settings, "supabaseAnonKey"));
    if url.is_empty() || key.is_empty() {
        bail!("the page has no sign-in (SupabaseAnonKey is empty): set CHECK_TOKEN");
    }
    let body = json!({ "email": email, "password": password }).to_string();
    let answer =
        Http::new(url, None).send(Method::POST, "/auth/v1/token?grant_type=password", &[("apikey", key)], &body)?;
    match text(&answer.body, "access_token") {
        token if answer.ok() && !token.is_empty() => Ok(Secret::new(token)),
        _ => bail!(
            "{url} doesn't sign CHECK_EMAIL in (status {}): is the password right, and the e-mail confirmed?",
            answer.status
        ),
    }
}

fn refused(answer: &Answer, what: &str) -> Verdict {
    match answer.status {
        401 | 403 => Ok(format!("{what} is refused ({})", answer.status)),
        429 => Err(format!("{what} was answered with 429, too many requests: try again")),
        status @ 500.. => Err(format!("{what} was answered with {status}: see the function's log lines")),
        status => Err(format!("{what} isn't refused (status {status})")),
    }
}

fn page(found: &Page) -> Verdict {
    if found.status != 200 || !found.text.to_lowercase().contains("<!doctype html") {
        return Err(format!("it isn't served (status {}): see the log lines of dashboard", found.status));
    }
    for needed in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        if !found.policy.contains(needed) {
            return Err(format!("its content security policy lacks {needed}"));
        }
    }
    Ok("it is served, with its content security policy".to_owned())
}

fn configured(answer: &Answer) -> Verdict {
    let socket = text(&answer.body, "websocketUrl");
    if !answer.ok() || !(socket.starts_with("wss://") || socket.starts_with("ws://127.0.0.1")) {
        return Err(format!("it isn't told where live progress is (status {})", answer.status));
    }
    Ok(format!("location {}, live progress at {socket}", text(&answer.body, "locationId")))
}

fn status(answer: &Answer) -> Verdict {
    let state = text(&answer.body, "status");
    match answer.status {
        200 if !state.is_empty() => Ok(format!("{state}, told to a member")),
        401 | 403 => {
            Err(format!("the session isn't accepted ({}): has the user a role in app_metadata?", answer.status))
        }
        200 => Err("the answer isn't a status".to_owned()),
        _ => Err(answer.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, retry_after: None, body }
    }

    #[test]
    fn an_open_door_is_wrong_and_so_is_a_broken_one() {
        for (status, right) in [
            (401, true),
            (403, true),
            (200, false),
            (202, false),
            (404, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            assert_eq!(refused(&answer(status, json!({})), "a scan").is_ok(), right, "{status}");
        }
    }

    #[test]
    fn a_page_needs_its_policy() {
        let policy = "default-src 'none'; script-src 'self'; frame-ancestors 'none'";
        let found =
            |status, policy: &str, text: &str| page(&Page { status, policy: policy.to_owned(), text: text.to_owned() });
        assert!(found(200, policy, "<!DOCTYPE html><html>").is_ok());
        assert!(found(200, "", "<!doctype html>").unwrap_err().contains("default-src"));
        assert!(found(200, policy, "{}").is_err());
        assert!(found(500, policy, "<!doctype html>").is_err());
    }

    #[test]
    fn the_page_and_the_status_say_something() {
        let settings = |url: &str| configured(&answer(200, json!({ "websocketUrl": url, "locationId": "loc" })));
        assert!(settings("wss://live.example.com/live").unwrap().contains("loc"));
        assert!(settings("").is_err() && settings("ws://example.com").is_err());
        assert!(status(&answer(200, json!({ "status": "Idle" }))).unwrap().starts_with("Idle"));
        assert!(status(&answer(200, json!({}))).is_err());
        assert!(status(&answer(403, json!({}))).unwrap_err().contains("app_metadata"));
        assert!(
            status(&answer(503, json!({ "error": "The database doesn't answer" }))).unwrap_err().contains("database")
        );
    }
}
