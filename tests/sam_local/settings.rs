//! `infra/local/sam/env_vars.example.json`: what each function can be told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::project;

use crate::sam::{read_json, variable};

/// What only the stack of the tests sets, to shorten waits.
const FOR_TESTS: [&str; 4] = ["WAITS_PERCENT", "GHL_TIMEOUT_SECONDS", "LEASE_SECONDS", "RATE_LIMIT_WINDOW_MS"];

fn names(settings: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let functions = settings.as_object().expect("functions").iter();
    functions
        .map(|(function, variables)| {
            let variables = variables.as_object().expect("variables").keys().map(String::as_str);
            (function.as_str(), variables.filter(|name| !FOR_TESTS.contains(name)).collect())
        })
        .collect()
}

#[test]
fn the_example_names_what_each_function_is_told_here() {
    let (example, used) =
        (read_json(project("infra/local/sam/env_vars.example.json")), read_json(variable("SAM_ENV_VARS")));
    assert_eq!(names(&example), names(&used));
}

#[test]
fn the_example_holds_no_secret_of_the_stack() {
    let (example, used) =
        (read_json(project("infra/local/sam/env_vars.example.json")), read_json(variable("SAM_ENV_VARS")));
    for (function, variables) in example.as_object().unwrap() {
        for (name, value) in variables.as_object().unwrap() {
            let secret = variables.get(format!("{name}_PARAMETER")).is_some();
            assert!(!secret || *value != used[function][name], "{function}: {name} is a real one");
        }
    }
}
