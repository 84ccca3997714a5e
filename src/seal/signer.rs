//! Ed25519: who wrote it.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::Key;

/// A device's name in a channel: its Ed25519 public key.
pub type PublicKey = [u8; 32];

/// A device's signing key. The key itself wipes its bytes when it is dropped.
pub struct Signer(SigningKey);

impl Signer {
    /// The signing key of a seed.
    pub fn new(seed: &Key) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Signs. The same message gives the same signature.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Whether this key signed it. Strict: weak keys and signatures of more than one form are refused.
pub(super) fn verify(public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}
