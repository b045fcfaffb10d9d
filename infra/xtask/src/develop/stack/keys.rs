//! The secrets of the local stack: made once, kept for its owner only, and the tokens signed with them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::place::Place;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The service key and the anonymous key of a Supabase project don't run out in its lifetime.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Made at the first start, the same at each later one.
#[derive(Serialize, Deserialize)]
pub(crate) struct StackKeys {
    pub(crate) jwt_secret: String,
    pub(crate) webhook_secret: String,
    pub(crate) ws_ticket_secret: String,
    pub(crate) ghl_token: String,
    pub(crate) postgres_password: String,
    pub(crate) authenticator_password: String,
    pub(crate) admin_password: String,
    pub(crate) member_password: String,
    pub(crate) admin_id: String,
    pub(crate) member_id: String,
    webhook_seed: String,
}

impl StackKeys {
    pub(crate) fn load_or_make(place: &Place) -> Result<Self> {
        let path = place.own("keys.json");
        if let Ok(text) = fs::read_to_string(&path) {
            return serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged: delete it, and new keys are made", path.display()));
        }
        let keys = Self {
            jwt_secret: hex::encode(rand::random::<[u8; 32]>()),
            webhook_secret: hex::encode(rand::random::<[u8; 24]>()),
            ws_ticket_secret: hex::encode(rand::random::<[u8; 32]>()),
            ghl_token: format!("pit-{}", Uuid::new_v4()),
            postgres_password: hex::encode(rand::random::<[u8; 16]>()),
            authenticator_password: hex::encode(rand::random::<[u8; 16]>()),
            admin_password: hex::encode(rand::random::<[u8; 8]>()),
            member_password: hex::encode(rand::random::<[u8; 8]>()),
            admin_id: Uuid::new_v4().to_string(),
            member_id: Uuid::new_v4().to_string(),
            webhook_seed: STANDARD.encode(rand::random::<[u8; 32]>()),
        };
        let draft = path.with_extension("json.new");
        let _ = fs::remove_file(&draft);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .with_context(|| format!("can't write {}", draft.display()))?;
        file.write_all(serde_json::to_string_pretty(&keys)?.as_bytes())?;
        // As a whole or not at all, also for somebody who is killed here.
        fs::rename(&draft, &path).with_context(|| format!("can't write {}", path.display()))?;
        Ok(keys)
    }

    /// What Supabase signs in with: a user's access token, valid for a day.
    pub(crate) fn user_token(&self, supabase_url: &str, role: &str) -> Result<String> {
        let id = if role == "admin" { &self.admin_id } else { &self.member_id };
        self.sign(
            DAY,
            json!({
                "iss": format!("{supabase_url}/auth/v1"),
                "sub": id,
                "aud": "authenticated",
                "role": "authenticated",
                "email": format!("{role}@example.com"),
                "app_metadata": { "role": role },
            }),
        )
    }

    /// A Supabase API key of the older form: a token whose role is a database role.
    pub(crate) fn api_key(&self, role: &str) -> Result<String> {
        self.sign(TEN_YEARS, json!({ "iss": "supabase", "ref": "local", "role": role }))
    }

    fn sign(&self, valid_for: Duration, mut claims: serde_json::Value) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("iat".to_owned(), json!(now.as_secs()));
            claims.insert("exp".to_owned(), json!((now + valid_for).as_secs()));
        }
        let key = EncodingKey::from_secret(self.jwt_secret.as_bytes());
        encode(&Header::default(), &claims, &key).context("a token can't be signed")
    }

    /// The key with which the fake GHL signs webhooks: base64 PKCS#8.
    pub(crate) fn webhook_signing_key(&self) -> Result<String> {
        // With the public key in it, it would be of version 2, which OpenSSL, Node and Python don't read.
        let key = KeypairBytes { secret_key: self.webhook_key()?.to_bytes(), public_key: None };
        let document = key.to_pkcs8_der().context("can't encode the webhook key")?;
        Ok(STANDARD.encode(document.as_bytes()))
    }

    /// Its public half, as the functions are configured with it: base64 SPKI.
    pub(crate) fn webhook_public_key(&self) -> Result<String> {
        let document =
            self.webhook_key()?.verifying_key().to_public_key_der().context("can't encode the webhook key")?;
        Ok(STANDARD.encode(document.as_bytes()))
    }

    /// The `X-GHL-Signature` of a webhook body.
    pub(crate) fn webhook_signature(&self, body: &[u8]) -> Result<String> {
        Ok(STANDARD.encode(self.webhook_key()?.sign(body).to_bytes()))
    }

    fn webhook_key(&self) -> Result<SigningKey> {
        let seed = STANDARD.decode(&self.webhook_seed)?;
        let seed: [u8; 32] = seed.as_slice().try_into().context("the webhook key is damaged: delete keys.json")?;
        Ok(SigningKey::from_bytes(&seed))
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::VerifyingKey;
    use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};

    use super::*;

    #[test]
    fn the_webhook_key_has_the_form_that_every_library_reads() {
        let none = String::new;
        let keys = StackKeys {
            jwt_secret: none(),
            webhook_secret: none(),
            ws_ticket_secret: none(),
            ghl_token: none(),
            postgres_password: none(),
            authenticator_password: none(),
            admin_password: none(),
            member_password: none(),
            admin_id: none(),
            member_id: none(),
            webhook_seed: STANDARD.encode([7; 32]),
        };
        let der = STANDARD.decode(keys.webhook_signing_key().unwrap()).unwrap();
        // A sequence that begins with the version, whose number is one less than its name: RFC 5958.
        assert_eq!(der[..5], [0x30, 46, 0x02, 1, 0]);
        assert_eq!(der.len(), 48);
        let public = STANDARD.decode(keys.webhook_public_key().unwrap()).unwrap();
        let public = VerifyingKey::from_public_key_der(&public).unwrap();
        assert_eq!(SigningKey::from_pkcs8_der(&der).unwrap().verifying_key(), public);
    }
}
