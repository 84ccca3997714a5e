//! Ed25519: who wrote it.

use std::{cell::RefCell, collections::HashSet};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::{Hash, Key, crypt::hash};

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

/// Signatures remembered at most.
const MOST_VERIFIED: usize = 4096;

/// Signatures that were found good, so that what was signed together is verified once.
#[derive(Default)]
pub(super) struct Verified(RefCell<HashSet<Hash>>);

impl Verified {
    /// As [`verify`].
    pub(super) fn verify(&self, public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let name = hash(&[public, message, signature]);
        if self.0.borrow().contains(&name) {
            return true;
        }
        let is_good = verify(public, message, signature);
        if is_good {
            let mut known = self.0.borrow_mut();
            if known.len() >= MOST_VERIFIED {
                known.clear();
            }
            known.insert(name);
        }
        is_good
    }
}
