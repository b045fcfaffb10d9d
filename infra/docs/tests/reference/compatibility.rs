//! `infra/docs/compatibility.md` answers every statement of the original app's documentation: kept, with tests that exist and run, or
//! changed on purpose, for an allowed reason and with what a client does instead.

use std::collections::BTreeSet;

use docs::{Row, rows, text};

const PAGE: &str = "infra/docs/compatibility.md";
const STATEMENTS: usize = 108;

/// What was allowed to differ, in bold in an answer. Whatever else differs needs a decision, which the answer links.
const ALLOWED: [&str; 8] = [
    "transport",
    "no session",
    "early answer",
    "tickets stay",
    "fewer frames",
    "public files",
    "nothing synced yet",
    "cancelled runs",
];

/// The answers, each behind its number and the statement.
fn answers() -> Vec<(usize, Row)> {
    let numbered = |row: Row| row.cell(0).parse().ok().map(|number| (number, row));
    rows(PAGE).into_iter().filter_map(numbered).collect()
}

/// Tests as answers name them, `path::function`.
fn tests(row: &Row) -> Vec<(&str, &str)> {
    row.codes(2).into_iter().filter_map(|code| code.rsplit_once("::")).collect()
}

/// Why a named test holds nothing, if it doesn't.
fn problem(path: &str, function: &str) -> Option<String> {
    let Ok(source) = std::fs::read_to_string(docs::project(path)) else { return Some(format!("{path} is no file")) };
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        let line = line.trim_start_matches("async ");
        ["fn ", "def "].iter().any(|word| {
            line.strip_prefix(word)
                .and_then(|rest| rest.strip_prefix(function))
                .is_some_and(|rest| rest.starts_with('('))
        })
    };
    let Some(at) = lines.iter().position(begins) else {
        return Some(format!("{path} has no {function}"));
    };
    if path.ends_with(".py") {
        return (!function.starts_with("test_")).then(|| format!("{path}: {function} is no test"));
    }
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    let attributes: Vec<_> = above.filter(|line| line.starts_with("#[")).collect();
    if !attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
        return Some(format!("{path}: {function} is no test"));
    }
    attributes.iter().any(|line| line.starts_with("#[ignore")).then(|| format!("{path}: {function} is ignored"))
}

/// Why an answer is none, if it isn't.
fn unanswered(row: &Row) -> Option<String> {
    let (statement, answer) = (row.cell(1), row.cell(2));
    if statement.is_empty() {
        return Some("it says nothing of what was promised".to_owned());
    }
    if let Some((path, function)) = tests(row).iter().find(|(path, function)| problem(path, function).is_some()) {
        return problem(path, function);
    }
    if answer.starts_with("*kept*") {
        return tests(row).is_empty().then(|| "kept, and no test holds it".to_owned());
    }
    let Some(change) = answer.strip_prefix("*changed on purpose*") else {
        return Some("neither *kept* nor *changed on purpose*".to_owned());
    };
    let is_allowed = ALLOWED.iter().any(|reason| change.contains(&format!("**{reason}**")));
    let is_decided = change.contains("](decisions.md#");
    if !is_allowed && !is_decided {
        return Some("changed, for a reason that is neither allowed nor decided".to_owned());
    }
    (!change.contains("*Instead*:")).then(|| "changed, and it says nothing of what to do instead".to_owned())
}

#[test]
fn every_statement_is_answered_once() {
    let numbers: Vec<_> = answers().into_iter().map(|(number, _)| number).collect();
    let all: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(all, (1..=STATEMENTS).collect(), "a number is missing, or is none of theirs");
    assert_eq!(numbers.len(), STATEMENTS, "a number stands there twice");
    assert!(numbers.is_sorted(), "they stand in their order");
}

#[test]
fn what_is_kept_is_held_by_a_test_and_what_is_changed_has_its_reason() {
    let answered: Vec<_> = answers();
    let missing = answered.iter().filter_map(|(number, row)| Some(format!("{number}: {}", unanswered(row)?)));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_page_explains_each_allowed_reason() {
    let page = text(PAGE);
    for reason in ALLOWED {
        assert!(page.contains(&format!("| **{reason}** | ")), "{reason} isn't explained");
    }
}

/// The documents that the original names beside its own, and its picture.
#[test]
fn what_stands_beside_the_documentation_is_there() {
    let page = text("infra/docs/flow.md");
    for subject in ["Event ticketing", "GHL integration", "Data flow", "Webhook integration"] {
        let (_, chapter) = page.split_once(&format!("\n## {subject}\n")).unwrap_or_else(|| panic!("no {subject}"));
        let chapter = chapter.split("\n## ").next().unwrap();
        assert!(chapter.split_whitespace().count() > 50, "{subject} says nearly nothing");
    }
    let pictured = |page: &str, parts: &[&str]| {
        let fences: String = page.split("```").skip(1).step_by(2).collect();
        parts.iter().all(|part| fences.contains(part))
    };
    assert!(pictured(
        &page,
        &["webhook", "order-worker", "ghl_qr_orders", "ghl_qr_tickets", "sync_status.json", "frames"]
    ));
    let readme = text("README.md");
    assert!(pictured(&readme, &["webhook", "run-worker", "order-worker", "tickets", "WebSocket API"]));
    for page in ["infra/docs/flow.md", PAGE] {
        assert!(readme.contains(&format!("]({page})")), "the README doesn't lead to {page}");
    }
}

#[test]
fn a_test_that_is_named_has_to_be_one() {
    let here = "infra/docs/tests/reference/compatibility.rs";
    assert_eq!(problem(here, "a_test_that_is_named_has_to_be_one"), None);
    assert!(problem(here, "unanswered").is_some_and(|problem| problem.contains("is no test")));
    assert!(problem(here, "a_test_that_is").is_some_and(|problem| problem.contains("has no")));
    assert!(problem("tests/nowhere.rs", "a").is_some_and(|problem| problem.contains("is no file")));
    assert_eq!(problem("infra/local/sam/test_template.py", "test_no_role_has_a_wildcard"), None);
}
