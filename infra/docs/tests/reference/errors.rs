use std::collections::BTreeSet;

use docs::{Row, table};

use crate::source::{Source, arguments, deployed};

/// A stable word and a status.
type Errors = BTreeSet<(String, u16)>;

/// How an error is made, and its status.
const MAKERS: [(&str, Option<u16>); 4] =
    [("new(", None), ("bad_request(", Some(400)), ("not_found(", Some(404)), ("conflict(", Some(409))];

fn status(name: &str) -> u16 {
    match name.trim_start_matches("StatusCode::") {
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "METHOD_NOT_ALLOWED" => 405,
        "TOO_MANY_REQUESTS" => 429,
        "INTERNAL_SERVER_ERROR" => 500,
        "BAD_GATEWAY" => 502,
        "SERVICE_UNAVAILABLE" => 503,
        other => panic!("which number is {other}? Say it here"),
    }
}

fn documented(rows: &[Row]) -> Errors {
    let errors: Errors =
        rows.iter().map(|row| (row.value(0).to_owned(), row.cell(1).parse().expect("a status"))).collect();
    assert_eq!(errors.len(), rows.len(), "an error stands there twice");
    errors
}

/// The errors that a file makes: `ApiError::conflict("cooling_down", ...)`, in its own module `Self::conflict(...)`.
fn made_by(source: &Source) -> Errors {
    let mut errors = Errors::new();
    let own = source.text.contains("impl ApiError {").then_some("Self::");
    for (maker, fixed) in MAKERS {
        for of in ["ApiError::"].into_iter().chain(own) {
            let call = format!("{of}{maker}");
            for (at, _) in source.text.match_indices(&call) {
                let (before, behind) = (&source.text[..at], &source.text[at + call.len()..]);
                let given = arguments(behind);
                let (code, status) = match fixed {
                    Some(status) => (given[0], status),
                    None if given[0].starts_with("StatusCode::") && given[0] != "StatusCode::BAD_REQUEST" => {
                        match given[0] {
                            // The makers themselves.
                            "StatusCode::NOT_FOUND" | "StatusCode::CONFLICT" => continue,
                            name => (given[1], status(name)),
                        }
                    }
                    None => continue,
                };
                errors.extend(words(source, before, code).into_iter().map(|code| (code, status)));
            }
        }
    }
    errors
}

/// The words that an argument can be: the literal, or those of the `let` that it is bound by.
fn words(source: &Source, before: &str, code: &str) -> Vec<String> {
    if let Some(literal) = code.strip_prefix('"') {
        return vec![literal.trim_end_matches('"').to_owned()];
    }
    let function = &before[before.rfind("fn ").unwrap_or(0)..];
    let bound = function.rfind("let code").or_else(|| function.rfind("let (code"));
    let binding = &function[bound.unwrap_or_else(|| panic!("{}: which words can `{code}` be?", source.path))..];
    let binding = Source { path: String::new(), text: binding.to_owned() };
    let plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let words: Vec<_> = binding
        .literals()
        .into_iter()
        // Not the patterns that a word depends on, nor what is returned at once.
        .filter(|literal| plain(literal.value) && !literal.before.ends_with("Some(") && !is_made(literal.before))
        .map(|literal| literal.value.to_owned())
        .collect();
    assert!(!words.is_empty(), "{}: no word for `{code}`", source.path);
    words
}

fn is_made(before: &str) -> bool {
    MAKERS.iter().any(|(maker, _)| before.ends_with(&format!("ApiError::{maker}")))
}

#[test]
fn the_page_has_the_errors_of_the_http_api() {
    let made: Errors = deployed().iter().flat_map(made_by).collect();
    assert_eq!(documented(&table("http-api.md", "Errors")), made);
}

/// `Refusal { code: "...", ..., status: 403 }`
#[test]
fn the_page_has_the_errors_of_the_web_socket() {
    let mut made = Errors::new();
    for source in deployed().iter().filter(|source| source.path.contains("functions/websocket/")) {
        for literal in source.literals().iter().filter(|literal| literal.before.ends_with("code: ")) {
            let status = literal.after.split_once("status: ").expect("a status").1;
            let digits: String = status.chars().take_while(char::is_ascii_digit).collect();
            made.insert((literal.value.to_owned(), digits.parse().unwrap()));
        }
    }
    assert_eq!(documented(&table("websocket-api.md", "Errors")), made);
}
