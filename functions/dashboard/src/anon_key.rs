//! The Supabase project's public key, which `assets/config.json` shows to everybody.

use jsonwebtoken::dangerous::insecure_decode_claims;
use serde::{Deserialize, Serialize};

/// A key that everybody may read: a publishable one, or one of the older form whose role is `anon`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct AnonKey(String);

/// Why a key isn't shown. Nothing of the key is in it, since it may be a secret.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum NotPublic {
    /// A key that opens more than a visitor may see.
    #[error(
        "SUPABASE_ANON_KEY (the template's SupabaseAnonKey) holds {0}, but everybody can read this value: set it to \
         the project's publishable key (sb_publishable_...) or its anon key, and replace in Supabase the one that was \
         pasted, since others may have read it"
    )]
    Secret(&'static str),
    /// No key of Supabase.
    #[error(
        "SUPABASE_ANON_KEY (the template's SupabaseAnonKey) is malformed: it should be the project's publishable key \
         (sb_publishable_...) or its anon key (eyJ...). Everybody can read this value: if a secret was pasted, replace \
         that one in Supabase"
    )]
    Malformed,
}

#[derive(Deserialize)]
struct Claims {
    role: String,
}

impl AnonKey {
    /// Reads a key by its form; the signature isn't checked.
    ///
    /// # Errors
    /// Where it isn't a key for everybody.
    pub(crate) fn parse(text: &str) -> Result<Self, NotPublic> {
        match role_of(text).as_deref() {
            _ if is_publishable(text) => Ok(Self(text.to_owned())),
            _ if text.starts_with("sb_secret_") => Err(NotPublic::Secret("a secret key")),
            Some("anon") => Ok(Self(text.to_owned())),
            Some("service_role") => Err(NotPublic::Secret("the service_role key")),
            Some(_) => Err(NotPublic::Secret("a token of another role than anon")),
            None => Err(NotPublic::Malformed),
        }
    }
}

fn is_publishable(text: &str) -> bool {
    let rest = text.strip_prefix("sb_publishable_").unwrap_or_default();
    !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// What the key's claims say it may do.
fn role_of(token: &str) -> Option<String> {
    insecure_decode_claims::<Claims>(token).ok().map(|claims| claims.role)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    fn token(claims: &serde_json::Value) -> String {
        let key = EncodingKey::from_secret(b"invented");
        jsonwebtoken::encode(&Header::default(), claims, &key).unwrap()
    }

    fn of_role(role: &str) -> String {
        token(&json!({ "iss": "supabase", "ref": "abcdefghijklmnopqrst", "role": role, "exp": 2_000_000_000 }))
    }

    #[test]
    fn takes_what_everybody_may_read() {
        for key in ["sb_publishable_AnInvented-Example_Key", &of_role("anon")] {
            assert_eq!(json!(AnonKey::parse(key).unwrap()), *key);
        }
    }

    #[test]
    fn refuses_what_opens_more_and_says_that_it_must_be_replaced() {
        for (key, found) in [
            ("sb_secret_AnInventedExampleKey".to_owned(), "a secret key"),
            (of_role("service_role"), "the service_role key"),
            (of_role("authenticated"), "a token of another role than anon"),
        ] {
            let refused = AnonKey::parse(&key).unwrap_err();
            assert_eq!(refused, NotPublic::Secret(found));
            assert_explains(&refused);
            assert!(!key.split('.').any(|part| refused.to_string().contains(part)), "the key is told: {refused}");
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        let anon = of_role("anon");
        let (two_parts, _) = anon.rsplit_once('.').unwrap();
        for key in [
            "public-key",
            "sb_publishable_",
            "sb_publishable_with space",
            "eyJhbGciOiJIUzI1NiJ9",
            "eyJhbGciOiJIUzI1NiJ9.not base64.aW52ZW50ZWQ",
            two_parts,
            &format!("{anon}.more"),
            &token(&json!({ "iss": "supabase" })),
            &token(&json!({ "role": ["anon"] })),
        ] {
            let refused = AnonKey::parse(key).unwrap_err();
            assert_eq!(refused, NotPublic::Malformed, "{key}");
            assert_explains(&refused);
        }
    }

    fn assert_explains(refused: &NotPublic) {
        let said = refused.to_string();
        for words in
            ["SUPABASE_ANON_KEY", "SupabaseAnonKey", "verybody can read", "sb_publishable_...", "anon key", "replace"]
        {
            assert!(said.contains(words), "{words:?} in {said}");
        }
    }
}
