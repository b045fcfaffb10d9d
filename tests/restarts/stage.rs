//! How far a start has come.

use std::{fs, net::TcpStream};

use crate::start::Local;

/// Seen from outside, once the start has said [`Self::BEGUN`] (but for what it says itself).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// It has printed this.
    Says(&'static str),
    /// This is there, in the stack's directory.
    Path(&'static str),
    /// Somebody listens on this one of its ports.
    Listens(u16),
    /// A first migration stands.
    Migrated,
}

impl Stage {
    /// What was left by an earlier start has ended by then.
    const BEGUN: &'static str = "Starting the local stack";

    /// Whether it has come so far.
    pub(crate) async fn is_reached(self, local: &Local) -> bool {
        let said = fs::read_to_string(local.output()).unwrap_or_default();
        if let Self::Says(words) = self {
            return said.contains(words);
        }
        said.contains(Self::BEGUN)
            && match self {
                Self::Says(_) => false,
                Self::Path(path) => local.directory().join(path).exists(),
                Self::Listens(port) => TcpStream::connect(("127.0.0.1", local.port(port))).is_ok(),
                Self::Migrated => match local.database().await {
                    Some(database) => database
                        .query("select from supabase_migrations.schema_migrations limit 1", &[])
                        .await
                        .is_ok_and(|rows| !rows.is_empty()),
                    None => false,
                },
            }
    }
}
