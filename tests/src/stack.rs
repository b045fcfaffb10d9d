//! `stack.json`: where the stack under test is.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Addresses, names and keys that tests need of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Stack {
    /// The HTTP API.
    pub http_url: String,
    /// The WebSocket API.
    pub websocket_url: String,
    /// The dashboard's page, with an admin's session in its fragment.
    pub dashboard_url: String,
    /// The fake GHL.
    pub ghl_url: String,
    /// PostgREST, under the path that Supabase gives it.
    pub postgrest_url: String,
    /// Postgres, as the owner of the schema.
    pub database_url: String,
    /// The local cloud.
    pub aws_endpoint_url: String,
    /// The one location.
    pub location_id: String,
    /// The bucket of the published documents.
    pub bucket: String,
    /// An admin's access token.
    pub admin_token: String,
    /// A member's access token.
    pub member_token: String,
    /// Supabase's service key.
    pub service_key: String,
    /// The shared secret of workflow webhooks.
    pub webhook_secret: String,
    /// URLs by spoken names: `orders-bulk`.
    pub queues: BTreeMap<String, String>,
    /// Names in AWS by spoken names: `order-worker`.
    pub functions: BTreeMap<String, String>,
}

impl Stack {
    /// The stack under test.
    pub fn running() -> Self {
        Self::at(&described_by())
    }

    /// The stack that a file describes.
    pub fn at(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| {
            panic!("{} can't be read ({error}): start a stack first (cargo xtask up)", path.display())
        });
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} is no stack.json: {error}", path.display()))
    }

    /// The origin that the deployment allows dashboards to come from.
    pub fn origin(&self) -> &str {
        &self.aws_endpoint_url
    }

    /// The Supabase project's address.
    pub fn supabase_url(&self) -> &str {
        self.postgrest_url.trim_end_matches("/rest/v1")
    }
}

/// The file that `STACK_JSON` names. None is guessed: tests forget the orders of the stack that they are given.
pub fn described_by() -> PathBuf {
    env::var_os("STACK_JSON").map(PathBuf::from).unwrap_or_else(|| {
        panic!("STACK_JSON is not set: start a stack (cargo xtask up) and set it to target/local/stack.json")
    })
}

/// What stands beside that file: `keys.json`, `logs`.
pub fn beside(name: &str) -> PathBuf {
    described_by().with_file_name(name)
}
