//! The key webhooks are signed with.

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{
    Signer as _, SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, KeypairBytes},
};

use crate::random::Seed;

/// An Ed25519 key in the forms others need.
#[derive(Debug, Clone)]
pub struct WebhookKey(SigningKey);

impl WebhookKey {
    /// Reads base64 of PKCS#8.
    ///
    /// # Errors
    /// Where the text is no such key.
    pub fn from_base64(text: &str) -> anyhow::Result<Self> {
        let der = STANDARD.decode(text.trim()).context("the webhook signing key isn't base64")?;
        let key = SigningKey::from_pkcs8_der(&der).context("the webhook signing key isn't an Ed25519 key in PKCS#8")?;
        Ok(Self(key))
    }

    /// A key for tests, always the same for a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut bytes = [0; 32];
        for (place, part) in bytes.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&Seed(seed).number("webhook key", place as u64).to_be_bytes());
        }
        Self(SigningKey::from_bytes(&bytes))
    }

    /// The private key: base64 of PKCS#8.
    ///
    /// # Errors
    /// Where the key can't be encoded.
    pub fn private_base64(&self) -> anyhow::Result<String> {
        // With the public key in it, it would be of version 2, which OpenSSL, Node and Python don't read.
        let key = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        Ok(STANDARD.encode(key.to_pkcs8_der()?.as_bytes()))
    }

    /// The public key: base64 of SPKI, the form GHL publishes its own in.
    ///
    /// # Errors
    /// Where the key can't be encoded.
    pub fn public_base64(&self) -> anyhow::Result<String> {
        Ok(STANDARD.encode(self.0.verifying_key().to_public_key_der()?.as_bytes()))
    }

    /// `X-GHL-Signature` for a body.
    pub(crate) fn sign(&self, body: &[u8]) -> String {
        STANDARD.encode(self.0.sign(body).to_bytes())
    }
}
