//! The dashboards' WebSocket connections.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{Database, Error};

/// Whether a connection may stay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Registration {
    /// Whether it was registered.
    pub accepted: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Whether it wasn't known.
    #[serde(default)]
    pub added: bool,
}

impl Database {
    /// Registers a connection, within the limits per user and in all.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_connection(
        &self,
        connection_id: &str,
        user_id: &str,
        role: &str,
        expires_at: Timestamp,
        max_per_user: u32,
        max_total: u32,
    ) -> Result<Registration, Error> {
        let request = json!({
            "connection_id": connection_id, "user_id": user_id, "role": role, "expires_at": expires_at,
            "max_per_user": max_per_user, "max_total": max_total,
        });
        self.call("add_connection", request).await
    }

    /// Forgets connections. Those that were known.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove_connections(&self, connection_ids: &[String]) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            removed: Vec<String>,
        }
        let request = json!({ "connection_ids": connection_ids });
        Ok(self.call::<Answer>("remove_connections", request).await?.removed)
    }
}
