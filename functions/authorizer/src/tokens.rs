//! Supabase user tokens: signature, issuer, audience, time, role.

use caller::{Caller, Role};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use secrecy::ExposeSecret;
use serde_json::Value;
use settings::{Env, Secret, SettingsError};

use crate::keys::{KeyError, Keys};

/// Supabase's clock and ours may differ by this many seconds.
const LEEWAY_SECONDS: u64 = 60;

/// Why a caller isn't let in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The caller's fault; the words are for the log, and hold nothing of the token.
    Because(&'static str),
    /// It can't be known: our dependencies fail.
    Unknowable(Box<dyn std::error::Error + Send + Sync>),
}

impl Refused {
    pub(crate) fn unknowable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unknowable(error.into())
    }
}

/// Reads and checks Supabase user tokens.
pub(crate) struct Tokens {
    keys: Keys,
    /// For HS256 tokens of older projects; without it they are refused.
    shared_secret: Option<Secret>,
    issuer: String,
    audience: String,
    /// Where in the claims the role stands.
    role_claim: Vec<String>,
}

impl Tokens {
    pub(crate) fn from_env(env: &Env) -> Result<Self, SettingsError> {
        let supabase_url = env.url("SUPABASE_URL")?;
        let role_claim: Vec<String> =
            env.parsed("ROLE_CLAIM", "app_metadata.role".to_owned())?.split('.').map(str::to_owned).collect();
        if role_claim.iter().any(|part| part == "user_metadata") {
            return Err(SettingsError::malformed("ROLE_CLAIM", "users can change their own user_metadata"));
        }
        Ok(Self {
            keys: Keys::new(format!("{supabase_url}/auth/v1/.well-known/jwks.json"))
                .map_err(|_| SettingsError::malformed("SUPABASE_URL", "no HTTP client can be made for it"))?,
            shared_secret: Secret::optional(env, "SUPABASE_JWT_SECRET"),
            issuer: env.parsed("SUPABASE_JWT_ISSUER", format!("{supabase_url}/auth/v1"))?,
            audience: env.parsed("SUPABASE_JWT_AUDIENCE", "authenticated".to_owned())?,
            role_claim,
        })
    }

    /// Who holds this token.
    pub(crate) async fn caller(&self, token: &str) -> Result<Caller, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Because("not a JWT"))?;
        let claims = match header.alg {
            Algorithm::HS256 => self.claims_by_secret(token).await?,
            // The key says by which algorithm it verifies; the header only has to agree.
            Algorithm::ES256 | Algorithm::RS256 => {
                let kid = header.kid.as_deref().ok_or(Refused::Because("a token without a key id"))?;
                let key = self.keys.get(kid).await.map_err(|error| match error {
                    KeyError::Unknown => Refused::Because("signed with a key that isn't Supabase's"),
                    error => Refused::unknowable(error),
                })?;
                self.claims(token, &key.key, key.algorithm).map_err(refused)?
            }
            _ => return Err(Refused::Because("signed by an algorithm that isn't accepted")),
        };
        self.caller_of(&claims)
    }

    async fn claims_by_secret(&self, token: &str) -> Result<Value, Refused> {
        let refuse = Refused::Because("HS256 tokens are not accepted here");
        let Some(secret) = &self.shared_secret else { return Err(refuse) };
        let by = |secret: &settings::SecretString| {
            self.claims(token, &DecodingKey::from_secret(secret.expose_secret().as_bytes()), Algorithm::HS256)
        };
        match by(&secret.get().await.map_err(Refused::unknowable)?) {
            // Perhaps the secret has just been changed.
            Err(ErrorKind::InvalidSignature) => by(&secret.refresh().await.map_err(Refused::unknowable)?),
            claims => claims,
        }
        .map_err(refused)
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

    fn caller_of(&self, claims: &Value) -> Result<Caller, Refused> {
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
            (_, None, _) => Err(Refused::Because("a user without a role here")),
            _ => Err(Refused::Because("a token without user or expiry")),
        }
    }
}

fn refused(kind: ErrorKind) -> Refused {
    Refused::Because(match kind {
        ErrorKind::ExpiredSignature => "an expired token",
        ErrorKind::ImmatureSignature => "a token that isn't valid yet",
        ErrorKind::InvalidSignature => "a wrong signature",
        ErrorKind::InvalidIssuer => "a token of another issuer",
        ErrorKind::InvalidAudience => "a token for another audience",
        ErrorKind::InvalidAlgorithm => "an algorithm that isn't the key's",
        ErrorKind::MissingRequiredClaim(_) => "a token that lacks a claim",
        _ => "a malformed token",
    })
}
