//! `stack.json`: what a client of the running stack needs to know.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::place::Place;

/// Addresses, names and keys. Queues and functions by their spoken names: `orders-bulk`, `webhook`.
#[derive(Serialize, Deserialize)]
pub(crate) struct StackFile {
    pub(crate) http_url: String,
    pub(crate) websocket_url: String,
    pub(crate) dashboard_url: String,
    pub(crate) ghl_url: String,
    pub(crate) postgrest_url: String,
    pub(crate) database_url: String,
    pub(crate) aws_endpoint_url: String,
    pub(crate) location_id: String,
    pub(crate) bucket: String,
    pub(crate) admin_token: String,
    pub(crate) member_token: String,
    pub(crate) service_key: String,
    pub(crate) webhook_secret: String,
    pub(crate) webhook_signing_key: String,
    pub(crate) queues: BTreeMap<String, String>,
    pub(crate) functions: BTreeMap<String, String>,
}

impl StackFile {
    /// The file of the stack that runs at `place`.
    pub(crate) fn read(place: &Place) -> Result<Self> {
        let text = fs::read_to_string(place.stack_file()).context("no local stack is running: start it with up")?;
        serde_json::from_str(&text).context("stack.json is damaged")
    }

    /// The file holds keys: only its owner may read it.
    pub(crate) fn write(&self, place: &Place) -> Result<()> {
        let path = place.stack_file();
        let draft = path.with_extension("json.new");
        fs::write(&draft, serde_json::to_string_pretty(self)?)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
        fs::rename(&draft, &path).with_context(|| format!("can't write {}", path.display()))
    }
}
