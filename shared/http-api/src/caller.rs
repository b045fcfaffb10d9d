use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use lambda_http::{Request, RequestExt, request::RequestContext};
use serde_json::{Value, json};
use thiserror::Error;

use crate::ApiError;

/// Clocks may differ by this many seconds; the authorizer allows a token the same.
const LEEWAY_SECONDS: i64 = 60;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads, and validates tickets at the gate.
    Member,
    /// Everything.
    Admin,
}

/// A role that isn't `admin` or `member`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the role is neither admin nor member")]
pub struct UnknownRole;

/// Who asks, as the authorizer has found out. Only the gateway can say this: a client can't set the context it is in.
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
    /// The caller of a request.
    ///
    /// # Errors
    /// 403 `not_authorised` if the request came without the authorizer's context, or with one that isn't whole or has
    /// expired.
    pub fn from_request(request: &Request) -> Result<Self, ApiError> {
        let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
            return Err(ApiError::not_authorised());
        };
        let fields = context.authorizer.as_ref().map(|authorizer| &authorizer.fields);
        let caller = Self::from_fields(|name| fields?.get(name));
        // The gateway may use an authorizer's answer for a while after it was made.
        caller.filter(|caller| !caller.has_ended(LEEWAY_SECONDS)).ok_or_else(ApiError::not_authorised)
    }

    /// The caller in the context that a WebSocket API repeats with every message, or `None` if it isn't whole. The session
    /// may have ended since: see [`Self::session_has_ended`].
    pub fn from_context(context: &Value) -> Option<Self> {
        Self::from_fields(|name| context.get(name))
    }

    /// Whether the user's session has ended, to the second: from then on frames aren't sent any more.
    pub fn session_has_ended(&self) -> bool {
        self.has_ended(0)
    }

    /// The caller, if it has at least this role.
    ///
    /// # Errors
    /// 403 `admin_required` if it hasn't.
    pub fn require(&self, role: Role) -> Result<(), ApiError> {
        if self.role >= role { Ok(()) } else { Err(ApiError::admin_required()) }
    }

    /// What the authorizer hands to the gateway: `{"userId", "role", "expiresAt"}`.
    pub fn to_context(&self) -> Value {
        json!({"userId": self.user_id, "role": self.role.as_str(), "expiresAt": self.expires_at})
    }

    fn from_fields<'a>(field: impl Fn(&str) -> Option<&'a Value>) -> Option<Self> {
        let user_id = field("userId")?.as_str().filter(|id| !id.is_empty())?.to_owned();
        let role = field("role")?.as_str()?.parse().ok()?;
        // A WebSocket API hands each value over as a string.
        let expires_at = field("expiresAt")?;
        let expires_at = expires_at.as_i64().or_else(|| expires_at.as_str()?.parse().ok())?;
        Some(Self { user_id, role, expires_at })
    }

    /// A clock that can't be read proves nothing: then it has.
    fn has_ended(&self, leeway_seconds: i64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let now = now.and_then(|now| i64::try_from(now.as_secs()).ok());
        now.is_none_or(|now| self.expires_at.saturating_add(leeway_seconds) <= now)
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
    use crate::request::tests::request_with_context;

    const FAR: i64 = 4_102_444_800;

    #[test]
    fn a_whole_context_is_a_caller() {
        let context = json!({"userId": "u1", "role": "member", "expiresAt": FAR});
        let caller = Caller::from_request(&request_with_context("/x", context.clone())).unwrap();
        assert_eq!(caller, Caller { user_id: "u1".to_owned(), role: Role::Member, expires_at: FAR });
        assert_eq!(caller.to_context(), context);
        assert_eq!(
            Caller::from_context(&json!({"userId": "u1", "role": "member", "expiresAt": "4102444800"})),
            Some(caller)
        );
    }

    #[test]
    fn anything_less_is_nobody() {
        for context in [
            json!(null),
            json!({}),
            json!({"userId": "u1", "role": "owner", "expiresAt": FAR}),
            json!({"userId": "", "role": "admin", "expiresAt": FAR}),
            json!({"userId": "u1", "role": "admin"}),
            json!({"userId": "u1", "role": "admin", "expiresAt": 1}),
            json!({"userId": 5, "role": "admin", "expiresAt": FAR}),
        ] {
            let error = Caller::from_request(&request_with_context("/x", context.clone())).unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (403, "not_authorised"), "{context}");
        }
        assert!(Caller::from_request(&Request::default()).is_err(), "no context at all");
    }

    #[test]
    fn a_session_ends_to_the_second_and_requests_have_a_leeway() {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        for (expires_at, has_ended, may_ask) in
            [(now + 60, false, true), (now, true, true), (now - 30, true, true), (now - 61, true, false)]
        {
            let context = json!({"userId": "u1", "role": "admin", "expiresAt": expires_at});
            assert_eq!(Caller::from_context(&context).unwrap().session_has_ended(), has_ended, "{}", expires_at - now);
            let request = request_with_context("/x", context);
            assert_eq!(Caller::from_request(&request).is_ok(), may_ask, "{}", expires_at - now);
        }
        assert_eq!(Caller::from_context(&json!({"userId": "u1", "role": "admin"})), None);
    }

    #[test]
    fn roles() {
        let caller = |role| Caller { user_id: "u".to_owned(), role, expires_at: FAR };
        assert!(caller(Role::Admin).require(Role::Member).is_ok());
        assert!(caller(Role::Admin).require(Role::Admin).is_ok());
        assert!(caller(Role::Member).require(Role::Member).is_ok());
        assert_eq!(caller(Role::Member).require(Role::Admin).unwrap_err().code(), "admin_required");
    }
}
