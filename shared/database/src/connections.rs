//! The dashboards' WebSocket connections.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Database, Error};

/// Whether a connection may stay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Registration {
    /// Whether it was registered.
    pub accepted: bool,
    /// Why not.
    pub reason: Option<String>,
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

    /// Forgets connections.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove_connections(&self, connection_ids: &[String]) -> Result<(), Error> {
        self.call::<Value>("remove_connections", json!({ "connection_ids": connection_ids })).await.map(drop)
    }
}
