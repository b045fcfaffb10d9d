//! Signatures and shared secrets. Fails closed: without a configured key or secret nothing is accepted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use ed25519_dalek::{Signature, VerifyingKey};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// Why a webhook couldn't be verified. For the log only; the sender isn't told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Neither a signature nor a secret was sent.
    #[error("neither signed nor carrying the shared secret")]
    Unsigned,
    /// The signature is no base64 of 64 bytes.
    #[error("the signature is malformed")]
    Malformed,
    /// No key verifies it.
    #[error("no configured key verifies the signature")]
    WrongSignature,
    /// Not the secret.
    #[error("the shared secret is wrong")]
    WrongSecret,
    /// Signed, but no key is configured; or a secret, but none is configured.
    #[error("no key or secret is configured to verify it with")]
    NotConfigured,
}

/// What webhooks are verified with.
#[derive(Debug, Clone, Default)]
pub struct WebhookKeys {
    public_keys: Vec<VerifyingKey>,
    secret: Option<SecretString>,
}

impl WebhookKeys {
    /// Keys from a comma-separated list of SPKI public keys in base64, and the shared secret of workflow webhooks.
    ///
    /// # Errors
    /// A text naming which entry of the list is no Ed25519 public key.
    pub fn new(public_keys: &str, secret: Option<SecretString>) -> Result<Self, String> {
        let entries = public_keys.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let public_keys = entries
            .enumerate()
            .map(|(position, entry)| {
                let der = STANDARD.decode(entry).ok();
                der.and_then(|der| VerifyingKey::from_public_key_der(&der).ok())
                    .ok_or_else(|| format!("entry {} is not an Ed25519 public key (SPKI, base64)", position + 1))
            })
            .collect::<Result<_, _>>()?;
        let secret = secret.filter(|secret| !secret.expose_secret().is_empty());
        Ok(Self { public_keys, secret })
    }

    /// Verifies the raw body against the `X-GHL-Signature` header or the shared secret's header.
    ///
    /// A signature that was sent must be right, whatever secret comes with it. The literal `N/A` is no signature.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, body: &[u8], signature: Option<&str>, secret: Option<&str>) -> Result<(), VerifyError> {
        let signature = signature.map(str::trim).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("N/A"));
        match (signature, secret) {
            (Some(signature), _) => self.verify_signature(body, signature),
            (None, Some(secret)) => self.verify_secret(secret),
            (None, None) => Err(VerifyError::Unsigned),
        }
    }

    fn verify_signature(&self, body: &[u8], signature: &str) -> Result<(), VerifyError> {
        if self.public_keys.is_empty() {
            return Err(VerifyError::NotConfigured);
        }
        let bytes = STANDARD.decode(signature).map_err(|_| VerifyError::Malformed)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| VerifyError::Malformed)?;
        let verified = self.public_keys.iter().any(|key| key.verify_strict(body, &signature).is_ok());
        if verified { Ok(()) } else { Err(VerifyError::WrongSignature) }
    }

    fn verify_secret(&self, sent: &str) -> Result<(), VerifyError> {
        let secret = self.secret.as_ref().ok_or(VerifyError::NotConfigured)?;
        let same: bool = secret.expose_secret().as_bytes().ct_eq(sent.as_bytes()).into();
        if same { Ok(()) } else { Err(VerifyError::WrongSecret) }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::EncodePublicKey as _;
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn spki(key: &SigningKey) -> String {
        STANDARD.encode(key.verifying_key().to_public_key_der().unwrap())
    }

    fn sign(key: &SigningKey, body: &[u8]) -> String {
        STANDARD.encode(key.sign(body).to_bytes())
    }

    #[test]
    fn any_configured_key_verifies_the_very_bytes() {
        let (old, new, other) =
            (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]), SigningKey::from_bytes(&[3; 32]));
        let keys = WebhookKeys::new(&format!("{}, {}", spki(&old), spki(&new)), None).unwrap();
        let body = br#"{"a": 1}"#;
        for key in [&old, &new] {
            assert_eq!(keys.verify(body, Some(&sign(key, body)), None), Ok(()));
        }
        assert_eq!(keys.verify(body, Some(&sign(&other, body)), None), Err(VerifyError::WrongSignature));
        assert_eq!(keys.verify(br#"{"a":1}"#, Some(&sign(&new, body)), None), Err(VerifyError::WrongSignature));
        assert_eq!(keys.verify(body, Some("@@"), None), Err(VerifyError::Malformed));
        for unsigned in [None, Some("N/A"), Some("n/a"), Some(" ")] {
            assert_eq!(keys.verify(body, unsigned, None), Err(VerifyError::Unsigned));
        }
    }

    #[test]
    fn a_secret_counts_only_without_a_signature() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let keys = WebhookKeys::new(&spki(&key), Some("open sesame".into())).unwrap();
        assert_eq!(keys.verify(b"{}", None, Some("open sesame")), Ok(()));
        assert_eq!(keys.verify(b"{}", Some("N/A"), Some("open sesame")), Ok(()));
        assert_eq!(keys.verify(b"{}", None, Some("open")), Err(VerifyError::WrongSecret));
        assert_eq!(keys.verify(b"{}", Some(&sign(&key, b"x")), Some("open sesame")), Err(VerifyError::WrongSignature));
    }

    #[test]
    fn nothing_configured_accepts_nothing() {
        for keys in [WebhookKeys::default(), WebhookKeys::new("", Some("".into())).unwrap()] {
            let signature = sign(&SigningKey::from_bytes(&[1; 32]), b"{}");
            assert_eq!(keys.verify(b"{}", Some(&signature), None), Err(VerifyError::NotConfigured));
            assert_eq!(keys.verify(b"{}", None, Some("")), Err(VerifyError::NotConfigured));
        }
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let error = WebhookKeys::new(&format!("{},AAAA", spki(&SigningKey::from_bytes(&[1; 32]))), None).unwrap_err();
        assert!(error.contains("entry 2"));
    }
}
