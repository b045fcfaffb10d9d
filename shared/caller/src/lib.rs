//! Who calls and in which role: what the authorizer passes to the other functions, in the context that a gateway hands over.
//!
//! A crate of its own, since the authorizer and the functions need it without each other's framework: the authorizer and the
//! WebSocket function make no HTTP answers, and `domain` has no clock, which the end of a session needs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

/// The field of the WebSocket's context that holds the id of the ticket by which the caller came, beside the caller's own.
pub const TICKET_ID: &str = "ticketId";

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads, and validates tickets at the gate.
    Member,
    /// Everything.
    Admin,
}

/// A role that isn't `admin` or `member`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the role is neither admin nor member")]
pub struct UnknownRole;

/// A member asks for something that only admins may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only an admin may do this")]
pub struct AdminRequired;

/// The caller, as the authorizer has authenticated it. Only the gateway sets this context; a client can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The id of the Supabase user.
    pub user_id: String,
    /// What the user may do.
    pub role: Role,
    /// When the user's session ends, in seconds since the Unix epoch.
    pub expires_at: i64,
}

impl Caller {
    /// The caller in a context that a gateway repeats with every request, or `None` if it is incomplete. The session may have
    /// ended since: see [`Self::session_has_ended`].
    pub fn from_context(context: &Value) -> Option<Self> {
        Self::from_fields(|name| context.get(name))
    }

    /// As [`Self::from_context`], from the context's fields.
    pub fn from_fields<'a>(field: impl Fn(&str) -> Option<&'a Value>) -> Option<Self> {
        let user_id = field("userId")?.as_str().filter(|id| !id.is_empty())?.to_owned();
        let role = field("role")?.as_str()?.parse().ok()?;
        // A WebSocket API hands each value over as a string.
        let expires_at = field("expiresAt")?;
        let expires_at = expires_at.as_i64().or_else(|| expires_at.as_str()?.parse().ok())?;
        Some(Self { user_id, role, expires_at })
    }

    /// What the authorizer hands to the gateway: `{"userId", "role", "expiresAt"}`.
    pub fn to_context(&self) -> Value {
        json!({"userId": self.user_id, "role": self.role.as_str(), "expiresAt": self.expires_at})
    }

    /// Whether the user's session has ended, to the second: from then on frames aren't sent any more.
    pub fn session_has_ended(&self) -> bool {
        self.session_ended_before(0)
    }

    /// Whether the user's session ended at least so many seconds ago. If the clock can't be read, the answer is yes.
    pub fn session_ended_before(&self, seconds: i64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let now = now.and_then(|now| i64::try_from(now.as_secs()).ok());
        now.is_none_or(|now| self.expires_at.saturating_add(seconds) <= now)
    }

    /// The caller, if it has at least this role; every caller is a member.
    ///
    /// # Errors
    /// [`AdminRequired`] if it hasn't.
    pub fn require(&self, role: Role) -> Result<(), AdminRequired> {
        if self.role >= role { Ok(()) } else { Err(AdminRequired) }
    }
}

impl Role {
    /// The name it has in tokens and contexts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(role: &str) -> Result<Self, UnknownRole> {
        match role {
            "admin" => Ok(Self::Admin),
            "member" => Ok(Self::Member),
            _ => Err(UnknownRole),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: i64 = 4_102_444_800;

    #[test]
    fn a_whole_context_is_a_caller() {
        let context = json!({"userId": "u1", "role": "member", "expiresAt": FAR});
        let caller = Caller::from_context(&context).unwrap();
        assert_eq!(caller, Caller { user_id: "u1".to_owned(), role: Role::Member, expires_at: FAR });
        assert_eq!(caller.to_context(), context);
        assert_eq!(
            Caller::from_context(&json!({"userId": "u1", "role": "member", "expiresAt": "4102444800"})),
            Some(caller)
        );
        assert_eq!(Caller::from_context(&json!({"userId": "u1", "role": "admin"})), None);
    }

    #[test]
    fn a_session_ends_to_the_second() {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        for (expires_at, has_ended) in [(now + 60, false), (now, true), (now - 30, true), (now - 61, true)] {
            let context = json!({"userId": "u1", "role": "admin", "expiresAt": expires_at});
            assert_eq!(Caller::from_context(&context).unwrap().session_has_ended(), has_ended, "{}", expires_at - now);
        }
    }

    #[test]
    fn roles() {
        let caller = |role| Caller { user_id: "u".to_owned(), role, expires_at: FAR };
        assert!(caller(Role::Admin).require(Role::Member).is_ok());
        assert!(caller(Role::Admin).require(Role::Admin).is_ok());
        assert!(caller(Role::Member).require(Role::Member).is_ok());
        assert_eq!(caller(Role::Member).require(Role::Admin), Err(AdminRequired));
    }
}
