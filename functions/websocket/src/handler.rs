//! What happens at `$connect`, `$disconnect` and for each message.

use std::time::Duration;

use caller::Caller;
use database::Database;
use domain::frames;
use jiff::Timestamp;
use push::Pusher;
use runs::Pulses;
use serde_json::{Value, json};
use settings::{Env, SettingsError};
use telemetry::events;
use tokio::time::timeout;

use crate::event::{Answer, Event, Message};

/// Longest wait until the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Longest wait for telling the client that there is none.
const REFUSE_WITHIN: Duration = Duration::from_secs(5);

/// How many dashboards may be open.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Of one user: many tabs and devices, but no flood.
    pub(crate) per_user: u32,
    /// In all. Each frame is posted to every one of them, 16 at a time.
    pub(crate) total: u32,
}

impl ConnectionLimits {
    /// `MAX_CONNECTIONS_PER_USER` (20) and `MAX_CONNECTIONS` (500).
    pub(crate) fn from_env(env: &Env) -> Result<Self, SettingsError> {
        Ok(Self { per_user: env.parsed("MAX_CONNECTIONS_PER_USER", 20)?, total: env.parsed("MAX_CONNECTIONS", 500)? })
    }
}

pub(crate) struct Socket {
    pub(crate) limits: ConnectionLimits,
    pub(crate) database: Database,
    pub(crate) pusher: Pusher,
    /// Resends a lost pulse.
    pub(crate) pulses: Pulses,
}

/// Why a connection isn't served: a stable word, words for a person, and the status at `$connect`.
struct Refusal {
    code: &'static str,
    error: &'static str,
    status: u16,
}

const SIGNED_OUT: Refusal =
    Refusal { code: "not_authorised", error: "You are not signed in, or your session has ended", status: 403 };
const SESSION_ENDED: Refusal =
    Refusal { code: "session_ended", error: "Your session has ended: renew it, then connect again", status: 403 };
const TOO_MANY: Refusal = Refusal { code: "too_many_connections", error: "Too many dashboards are open", status: 429 };
const NO_DATABASE: Refusal = Refusal {
    code: "database_unavailable",
    error: "Database connection error: live updates may be missing for a while",
    status: 503,
};
const TOO_SLOW: Refusal = Refusal {
    code: "timed_out",
    error: "The answer takes too long: live updates may be missing for a while",
    status: 503,
};
const UNKNOWN_ACTION: Refusal =
    Refusal { code: "unknown_action", error: "Send {\"action\":\"status\"} or {\"action\":\"ping\"}", status: 400 };

impl Socket {
    /// Never fails: the client learns of problems from an error frame, and a failed invocation would have no effect.
    pub(crate) async fn handle(&self, event: Event) -> Result<Answer, lambda_runtime::Error> {
        let connection_id = &event.request_context.connection_id;
        let status_code = match event.request_context.route_key.as_str() {
            "$connect" => match in_time(self.connect(&event)).await {
                Ok(()) => 200,
                Err(refusal) => refusal.status,
            },
            "$disconnect" => {
                self.forget(connection_id).await;
                200
            }
            _ => {
                if let Err(refusal) = in_time(self.answer(&event)).await
                    && timeout(REFUSE_WITHIN, self.refuse(connection_id, &refusal)).await.is_err()
                {
                    tracing::warn!(code = refusal.code, "A refusal took too long and was given up");
                }
                200
            }
        };
        Ok(Answer { status_code })
    }

    async fn connect(&self, event: &Event) -> Result<(), Refusal> {
        self.register(&event.request_context.connection_id, &caller(event)?).await
    }

    async fn answer(&self, event: &Event) -> Result<(), Refusal> {
        let connection_id = &event.request_context.connection_id;
        // Checked first: a client whose session has ended gets no more frames, and would not notice without an answer.
        let caller = caller(event)?;
        match event.message() {
            Some(Message::Ping) => {
                self.post(connection_id, &json!({"event": "pong"})).await;
                Ok(())
            }
            Some(Message::Status) => self.answer_status(connection_id, &caller).await,
            None => Err(UNKNOWN_ACTION),
        }
    }

    /// Registers the connection for frames. Doing it again changes nothing.
    async fn register(&self, connection_id: &str, caller: &Caller) -> Result<(), Refusal> {
        let expires_at = Timestamp::from_second(caller.expires_at).map_err(|_| SIGNED_OUT)?;
        let registration = self
            .database
            .add_connection(
                connection_id,
                &caller.user_id,
                caller.role.as_str(),
                expires_at,
                self.limits.per_user,
                self.limits.total,
            )
            .await
            .map_err(|error| no_database(&error))?;
        if registration.accepted {
            if registration.added {
                events::connected(connection_id);
            }
            return Ok(());
        }
        let reason = registration.reason.unwrap_or_default();
        tracing::warn!(reason, "A dashboard's connection was refused");
        Err(TOO_MANY)
    }

    /// Posts the snapshot. Registers the connection once more first: a frame that was posted while the gateway was still
    /// connecting was answered with 410, and then the connection was removed.
    async fn answer_status(&self, connection_id: &str, caller: &Caller) -> Result<(), Refusal> {
        self.register(connection_id, caller).await?;
        let snapshot = self.pulses.snapshot(&self.database, true).await.map_err(|error| no_database(&error))?;
        let frame = frames::snapshot(snapshot.run.as_ref(), snapshot.seq, &snapshot.problems());
        match serde_json::to_value(&frame) {
            Ok(frame) => self.post(connection_id, &frame).await,
            Err(error) => tracing::error!(error = telemetry::chain(&error), "A snapshot could not be written as JSON"),
        }
        Ok(())
    }

    /// Sends the reason as a frame, since the gateway's API can't close a connection with a reason, and then closes it. The
    /// connection stays open only if the database can't be reached, which isn't the client's fault.
    async fn refuse(&self, connection_id: &str, refusal: &Refusal) {
        let data = json!({"error": refusal.error, "code": refusal.code});
        self.post(connection_id, &json!({"event": "error", "data": data})).await;
        if refusal.status != NO_DATABASE.status {
            self.pusher.close(connection_id).await;
            // The gateway may not report that it is closed, and a connection whose session has ended gets no frame that
            // would show it.
            self.forget(connection_id).await;
        }
    }

    async fn post(&self, connection_id: &str, frame: &Value) {
        let report = self.pusher.post_all(&[connection_id.to_owned()], &frame.to_string()).await;
        if !report.gone.is_empty() {
            self.forget(connection_id).await;
        } else if !report.is_working() {
            tracing::warn!("Live updates unavailable: a frame could not be posted");
        }
    }

    /// A connection that stays registered by mistake is found closed when the next frame is posted.
    async fn forget(&self, connection_id: &str) {
        match self.database.remove_connections(&[connection_id.to_owned()]).await {
            Ok(removed) => removed.iter().for_each(|connection_id| events::disconnected(connection_id)),
            Err(error) => {
                tracing::warn!(error = telemetry::chain(&error), "A closed connection could not be removed");
            }
        }
    }
}

/// The client learns that its request can't be served while there is still time to tell it.
async fn in_time(work: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
    timeout(ANSWER_WITHIN, work).await.unwrap_or_else(|_elapsed| {
        tracing::error!("A dashboard's request took too long and was given up");
        Err(TOO_SLOW)
    })
}

/// The caller, unless the session has ended. The gateway repeats what the authorizer said at `$connect`.
fn caller(event: &Event) -> Result<Caller, Refusal> {
    let caller = Caller::from_context(&event.request_context.authorizer).ok_or(SIGNED_OUT)?;
    if caller.session_has_ended() { Err(SESSION_ENDED) } else { Ok(caller) }
}

fn no_database(error: &database::Error) -> Refusal {
    tracing::error!(error = telemetry::chain(error), "Database connection error: a dashboard's request failed");
    NO_DATABASE
}

#[cfg(test)]
mod tests;
