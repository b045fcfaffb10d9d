//! Supabase user tokens: signature, issuer, audience, time, role.

use caller::{Caller, Role};
use http_client::HttpClient;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use secrecy::ExposeSecret;
use serde_json::Value;
use settings::{Env, Secret, SettingsError};

use crate::keys::{KeyError, SigningKeys};

/// Supabase's clock and ours may differ by this many seconds.
const LEEWAY_SECONDS: u64 = 60;

/// Why a caller isn't authenticated.
#[derive(Debug)]
pub(crate) enum AuthError {
    /// The caller has no valid token or ticket. The text is for the log, and holds nothing of the token.
    Denied(&'static str),
    /// A dependency of ours fails, so the caller can't be checked.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

impl AuthError {
    pub(crate) fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Reads and checks Supabase user tokens.
pub(crate) struct Tokens {
    keys: SigningKeys,
    /// For HS256 tokens of older projects; without it they are refused.
    shared_secret: Option<Secret>,
    issuer: String,
    audience: String,
    /// Where in the claims the role stands.
    role_claim: Vec<String>,
}

impl Tokens {
    pub(crate) fn from_env(env: &Env, http: HttpClient) -> Result<Self, SettingsError> {
        let supabase_url = env.https_url("SUPABASE_URL")?;
        let role_claim: Vec<String> =
            env.parsed("ROLE_CLAIM", "app_metadata.role".to_owned())?.split('.').map(str::to_owned).collect();
        if role_claim.iter().any(|part| part == "user_metadata") {
            return Err(SettingsError::malformed("ROLE_CLAIM", "users can change their own user_metadata"));
        }
        Ok(Self {
            keys: SigningKeys::new(format!("{supabase_url}/auth/v1/.well-known/jwks.json"), http),
            shared_secret: Secret::optional(env, "SUPABASE_JWT_SECRET"),
            issuer: env.parsed("SUPABASE_JWT_ISSUER", format!("{supabase_url}/auth/v1"))?,
            audience: env.parsed("SUPABASE_JWT_AUDIENCE", "authenticated".to_owned())?,
            role_claim,
        })
    }

    /// Who holds this token.
    pub(crate) async fn caller(&self, token: &str) -> Result<Caller, AuthError> {
        let header = decode_header(token).map_err(|_| AuthError::Denied("not a JWT"))?;
        let claims = match header.alg {
            Algorithm::HS256 => self.claims_by_secret(token).await?,
            // The key says by which algorithm it verifies; the header only has to agree.
            Algorithm::ES256 | Algorithm::RS256 => {
                let kid = header.kid.as_deref().ok_or(AuthError::Denied("the token has no key id"))?;
                let key = self.keys.get(kid).await.map_err(|error| match error {
                    KeyError::Unknown => AuthError::Denied("signed with a key that isn't Supabase's"),
                    error => AuthError::unavailable(error),
                })?;
                self.claims(token, &key.key, key.algorithm).map_err(denied)?
            }
            _ => return Err(AuthError::Denied("signed with an algorithm that isn't accepted")),
        };
        self.caller_of(&claims)
    }

    async fn claims_by_secret(&self, token: &str) -> Result<Value, AuthError> {
        let refuse = AuthError::Denied("HS256 tokens are not accepted here");
        let Some(secret) = &self.shared_secret else { return Err(refuse) };
        let by = |secret: &settings::SecretString| {
            self.claims(token, &DecodingKey::from_secret(secret.expose_secret().as_bytes()), Algorithm::HS256)
        };
        match by(&secret.get().await.map_err(AuthError::unavailable)?) {
            // The secret may just have been changed.
            Err(ErrorKind::InvalidSignature) => by(&secret.refresh().await.map_err(AuthError::unavailable)?),
            claims => claims,
        }
        .map_err(denied)
    }

    fn claims(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Value, ErrorKind> {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(decode::<Value>(token, key, &validation).map_err(|error| error.into_kind())?.claims)
    }

    fn caller_of(&self, claims: &Value) -> Result<Caller, AuthError> {
        let user_id = claims.get("sub").and_then(Value::as_str).filter(|id| !id.is_empty());
        let role = self.role_claim.iter().try_fold(claims, |claims, part| claims.get(part)).and_then(Value::as_str);
        let role: Option<Role> = role.and_then(|role| role.parse().ok());
        // `exp` has been checked; JWT allows a fraction.
        #[allow(clippy::cast_possible_truncation, reason = "a time in seconds fits, and a huge one saturates")]
        let expires_at = claims.get("exp").and_then(Value::as_f64).map(|seconds| seconds as i64);
        match (user_id, role, expires_at) {
            (Some(user_id), Some(role), Some(expires_at)) => {
                Ok(Caller { user_id: user_id.to_owned(), role, expires_at })
            }
            (_, None, _) => Err(AuthError::Denied("the user has no role here")),
            _ => Err(AuthError::Denied("the token has no user or no expiry")),
        }
    }
}

fn denied(kind: ErrorKind) -> AuthError {
    AuthError::Denied(match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token isn't valid yet",
        ErrorKind::InvalidSignature => "the signature is wrong",
        ErrorKind::InvalidIssuer => "the token is from another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidAlgorithm => "the algorithm isn't the key's",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks a claim",
        _ => "the token is malformed",
    })
}
