//! What must not be found, and how it is looked for.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use tests::stack::{Stack, beside};

/// Texts that nobody may see.
pub(crate) struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Whoever the fake GHL has shown to the system, and every key of the stack.
    pub(crate) async fn of(stack: &Stack) -> Self {
        let people = reqwest::get(format!("{}/_control/people", stack.ghl_url)).await.expect("the fake GHL answers");
        let people: BTreeSet<String> = people.json().await.expect("a list of texts");
        assert!(people.len() > 40, "hardly anybody was shown: the suites before this one have not run: {people:?}");

        let keys = beside("keys.json");
        let keys = fs::read_to_string(&keys).unwrap_or_else(|error| panic!("{}: {error}", keys.display()));
        let keys: serde_json::Map<String, Value> = serde_json::from_str(&keys).expect("keys.json is an object");
        // The users' ids are no secrets: runs name who asked for them.
        let keys = keys.into_iter().filter(|(name, _)| !name.ends_with("_id"));
        let keys = keys.map(|(name, key)| key.as_str().unwrap_or_else(|| panic!("{name}")).to_owned());

        let tokens = [&stack.admin_token, &stack.member_token, &stack.service_key].map(String::clone);
        // Names of one or two letters are in everything.
        let all = people.into_iter().filter(|text| text.chars().count() > 2).chain(keys).chain(tokens);
        Self(all.collect())
    }

    /// Those that stand in a text as words of their own, each with the line it stands in.
    pub(crate) fn found_in<'a>(&'a self, text: &'a str) -> Vec<(&'a str, &'a str)> {
        let in_line = |line: &'a str| {
            self.0.iter().filter(|secret| stands_in(line, secret)).map(move |secret| (secret.as_str(), line))
        };
        text.lines().flat_map(in_line).collect()
    }
}

fn stands_in(line: &str, secret: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    line.match_indices(secret)
        .any(|(at, _)| is_end(line[..at].chars().next_back()) && is_end(line[at + secret.len()..].chars().next()))
}

#[test]
fn words_are_found_and_parts_of_words_are_not() {
    let secrets = Secrets(["Ada", "ada@example.com", "+12025550100"].map(str::to_owned).into());
    assert_eq!(secrets.found_in("order of Ada\nAdamant\n").len(), 1);
    assert_eq!(secrets.found_in(r#"{"to": "ada@example.com", "n": "+12025550100"}"#).len(), 2);
    assert!(secrets.found_in("metadata canada").is_empty());
}
