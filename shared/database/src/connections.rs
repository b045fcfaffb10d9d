//! The dashboards' WebSocket connections.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
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

/// A connection to register. All of its fields are those of the request.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NewConnection<'a> {
    /// The gateway's id.
    pub connection_id: &'a str,
    /// The ticket that opens it; `None` for one that is open.
    pub ticket_id: Option<&'a str>,
    /// Whose it is.
    pub user_id: &'a str,
    /// In which role.
    pub role: &'a str,
    /// When the user's session ends.
    pub expires_at: Timestamp,
    /// How many connections the user may have.
    pub max_per_user: u32,
    /// How many there may be in all.
    pub max_total: u32,
}

impl Database {
    /// Registers a connection, within the limits per user and in all, and once for each ticket.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_connection(&self, connection: &NewConnection<'_>) -> Result<Registration, Error> {
        self.call("add_connection", connection).await
    }

    /// Forgets connections.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove_connections(&self, connection_ids: &[String]) -> Result<(), Error> {
        self.call::<Value>("remove_connections", json!({ "connection_ids": connection_ids })).await.map(drop)
    }
}
