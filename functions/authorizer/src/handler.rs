//! The events of the two gateways and the answers they understand.

use caller::{Caller, TICKET_ID};
use http_client::HttpClient;
use serde_json::{Value, json};
use settings::{Env, Secret, SettingsError};
use ws_ticket::{Holder, SocketTicketError};

use crate::tokens::{AuthError, Tokens};

/// Authenticates callers for both gateways. What can't be proven is denied.
pub(crate) struct Authorizer {
    tokens: Tokens,
    ws_ticket_secret: Secret,
    location_id: String,
    /// Pages that may open a WebSocket; empty: the check is off.
    allowed_origins: Vec<String>,
}

impl Authorizer {
    pub(crate) fn from_env(env: &Env, http: HttpClient) -> Result<Self, SettingsError> {
        Ok(Self {
            tokens: Tokens::from_env(env, http)?,
            ws_ticket_secret: Secret::required(env, "WS_TICKET_SECRET")?,
            location_id: env.required("GHL_LOCATION_ID")?,
            allowed_origins: env.list("ALLOWED_ORIGINS").iter().map(|origin| normalised(origin)).collect(),
        })
    }

    /// The answer to an event of either gateway. A WebSocket API's has a `methodArn` (format 1.0), an HTTP API's a
    /// `routeArn` (format 2.0).
    ///
    /// # Errors
    /// When the caller can't be authenticated because Supabase's keys or our secret can't be read: the gateway then
    /// answers 500, so that an outage doesn't look like a wrong password.
    pub(crate) async fn answer(&self, event: Value) -> Result<Value, lambda_runtime::Error> {
        Ok(match event.get("methodArn").and_then(Value::as_str) {
            Some(method_arn) => policy(authenticated(self.websocket_caller(&event).await)?, method_arn),
            None => simple(authenticated(self.http_caller(&event).await)?),
        })
    }

    async fn http_caller(&self, event: &Value) -> Result<Caller, AuthError> {
        let header = header(event, "authorization").ok_or(AuthError::Denied("no Authorization header"))?;
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(AuthError::Denied("not a bearer token")),
        };
        self.tokens.caller(token).await
    }

    async fn websocket_caller(&self, event: &Value) -> Result<Holder, AuthError> {
        if !self.allowed_origins.is_empty() {
            let origin = header(event, "origin").map(normalised).ok_or(AuthError::Denied("no Origin header"))?;
            if !self.allowed_origins.contains(&origin) {
                return Err(AuthError::Denied("the origin is not allowed"));
            }
        }
        let ticket = event.pointer("/queryStringParameters/ticket").and_then(Value::as_str);
        let ticket = ticket.ok_or(AuthError::Denied("no WebSocket ticket"))?;
        let secret = self.ws_ticket_secret.get().await.map_err(AuthError::unavailable)?;
        let verified = match ws_ticket::verify(&secret, ticket, &self.location_id) {
            // The secret may just have been changed, and the ticket was made with the new one.
            Err(SocketTicketError::WrongSignature) => {
                let secret = self.ws_ticket_secret.refresh().await.map_err(AuthError::unavailable)?;
                ws_ticket::verify(&secret, ticket, &self.location_id)
            }
            verified => verified,
        };
        verified.map_err(|error| match error {
            SocketTicketError::Expired => AuthError::Denied("the WebSocket ticket has expired"),
            SocketTicketError::WrongSignature | SocketTicketError::NotForUs => {
                AuthError::Denied("not a WebSocket ticket of this location")
            }
            error @ (SocketTicketError::SecretTooShort | SocketTicketError::Signing(_)) => {
                AuthError::unavailable(error)
            }
        })
    }
}

/// Who was authenticated; `None` is nobody.
///
/// # Errors
/// When that can't be told.
fn authenticated<T>(found: Result<T, AuthError>) -> Result<Option<T>, lambda_runtime::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(AuthError::Unavailable(error)) => {
            tracing::error!(
                error = telemetry::chain(error.as_ref()),
                "Callers cannot be authenticated: a signing key or secret can't be read"
            );
            Err(error)
        }
        Err(AuthError::Denied(reason)) => {
            tracing::info!(reason, "A caller was refused");
            Ok(None)
        }
    }
}

/// The simple answer of format 2.0.
fn simple(caller: Option<Caller>) -> Value {
    match caller {
        Some(caller) => json!({"isAuthorized": true, "context": caller.to_context()}),
        None => json!({"isAuthorized": false}),
    }
}

/// The IAM policy that a WebSocket API expects, for the requested route only; the context names the ticket, which is good once.
fn policy(holder: Option<Holder>, method_arn: &str) -> Value {
    let effect = if holder.is_some() { "Allow" } else { "Deny" };
    let statement = json!({"Action": "execute-api:Invoke", "Effect": effect, "Resource": method_arn});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    match holder {
        Some(Holder { caller, ticket_id }) => {
            let mut context = caller.to_context();
            if let Some(context) = context.as_object_mut() {
                context.insert(TICKET_ID.to_owned(), json!(ticket_id));
            }
            json!({"principalId": caller.user_id, "policyDocument": document, "context": context})
        }
        None => json!({"principalId": "nobody", "policyDocument": document}),
    }
}

/// A header, whatever the case of its name: an HTTP API lowers it, a WebSocket API keeps it.
fn header<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    let headers = event.get("headers")?.as_object()?;
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_str()
}

/// Scheme and host of an origin don't depend on case; a slash at the end is a common slip in configuration.
fn normalised(origin: &str) -> String {
    origin.trim_end_matches('/').to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
