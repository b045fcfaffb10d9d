//! `stack.json`: where the stack under test is.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde::Deserialize;

/// What these tests need of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Stack {
    pub(crate) http_url: String,
    pub(crate) websocket_url: String,
    pub(crate) ghl_url: String,
    #[allow(dead_code, reason = "the fault tests order outages there")]
    pub(crate) postgrest_url: String,
    pub(crate) database_url: String,
    pub(crate) aws_endpoint_url: String,
    pub(crate) location_id: String,
    pub(crate) bucket: String,
    pub(crate) admin_token: String,
    pub(crate) member_token: String,
    #[allow(dead_code, reason = "the suite `traces` looks for it where it mustn't be")]
    pub(crate) service_key: String,
    pub(crate) webhook_secret: String,
    pub(crate) queues: BTreeMap<String, String>,
    pub(crate) functions: BTreeMap<String, String>,
}

impl Stack {
    pub(crate) fn running() -> Self {
        let path = env::var_os("STACK_JSON").map(PathBuf::from).unwrap_or_else(|| {
            panic!("STACK_JSON is not set: start a stack (cargo xtask up) and set it to target/local/stack.json")
        });
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("STACK_JSON names {}, which can't be read ({error}): start a stack first", path.display())
        });
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} is no stack.json: {error}", path.display()))
    }

    /// The origin that the deployment allows dashboards to come from.
    pub(crate) fn origin(&self) -> &str {
        &self.aws_endpoint_url
    }
}
