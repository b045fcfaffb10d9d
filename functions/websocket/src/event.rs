//! The WebSocket API's events, as far as they are used here.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event of a connection's life.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) request_context: Context,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Whose connection it is, and what happened to it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Context {
    /// `$connect`, `$disconnect`, or `$default` for every message.
    pub(crate) route_key: String,
    pub(crate) connection_id: String,
    /// The gateway's id of this event, for the log.
    #[serde(default)]
    pub(crate) request_id: String,
    /// What the authorizer said at `$connect`; the gateway repeats it with every message.
    #[serde(default)]
    pub(crate) authorizer: Value,
}

/// The longest message that is read, in bytes. The known ones are a tenth as long.
const LONGEST_MESSAGE: usize = 1024;

/// What a client may ask for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(crate) enum Message {
    /// The current snapshot.
    Status,
    /// A sign of life, which also keeps the gateway from closing an idle connection.
    Ping,
}

/// The answer to the gateway. Without a body: the emulator would send it to the client, AWS would not.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) status_code: u16,
}

impl Event {
    /// The client's message, if it is a known one.
    pub(crate) fn message(&self) -> Option<Message> {
        let body = self.body.as_deref().filter(|body| body.len() <= LONGEST_MESSAGE)?;
        if self.is_base64_encoded {
            return serde_json::from_slice(&STANDARD.decode(body).ok()?).ok();
        }
        serde_json::from_str(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages() {
        let message = |body: &str, encoded: bool| {
            let context = json!({"routeKey": "$default", "connectionId": "c"});
            let event = json!({"requestContext": context, "body": body, "isBase64Encoded": encoded});
            serde_json::from_value::<Event>(event).unwrap().message()
        };
        assert_eq!(message(r#"{"action": "status"}"#, false), Some(Message::Status));
        assert_eq!(message(r#"{"action": "ping", "more": 1}"#, false), Some(Message::Ping));
        assert_eq!(message(&STANDARD.encode(r#"{"action":"ping"}"#), true), Some(Message::Ping));
        let long = format!(r#"{{"action": "ping", "more": "{}"}}"#, "x".repeat(LONGEST_MESSAGE));
        for rubbish in [&long, "", "hello", "[]", "{}", r#"{"action":"drop"}"#, r#"{"action":5}"#] {
            assert_eq!(message(rubbish, false), None, "{rubbish}");
            assert_eq!(message(rubbish, true), None, "{rubbish}");
        }
    }

    /// Whatever a client sends: it is one of the two messages we know, or nothing.
    #[test]
    fn fuzz_messages() {
        let examples: [&[u8]; 4] =
            [br#"{"action":"status"}"#, br#"{"action":"ping"}"#, b"eyJhY3Rpb24iOiJwaW5nIn0=", b"[]"];
        fuzz::fuzz(&examples, |input| {
            for encoded in [false, true] {
                let context = json!({"routeKey": "$default", "connectionId": "c"});
                let body = String::from_utf8_lossy(input);
                let event = json!({"requestContext": context, "body": body, "isBase64Encoded": encoded});
                let message = serde_json::from_value::<Event>(event).unwrap().message();
                assert!(message.is_none() || body.len() <= LONGEST_MESSAGE);
                let text = if encoded {
                    STANDARD.decode(body.as_bytes()).unwrap_or_default()
                } else {
                    body.as_bytes().to_vec()
                };
                let said: Value = serde_json::from_slice(&text).unwrap_or_default();
                let action = said.get("action").and_then(Value::as_str);
                assert!(message.is_none() || matches!(action, Some("status" | "ping")), "{said}");
            }
        });
    }
}
