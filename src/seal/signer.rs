//! Ed25519: who wrote it.

use std::{cell::RefCell, collections::VecDeque};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::{
    Hash, Key,
    tree::{Position, Proven},
};

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

/// Trees remembered at most: those of some 16,000 documents that were written many at once, in 3 MB.
const MOST_VERIFIED: usize = 64;

/// Trees whose signatures were found good, so that what was signed together is verified once. The newest last.
#[derive(Default)]
pub(super) struct Verified(RefCell<VecDeque<Signed>>);

struct Signed {
    author: PublicKey,
    signature: [u8; 64],
    tree: Proven,
}

impl Verified {
    /// Whether this key signed a tree in which this leaf stands. `message` is what was signed of a tree of this
    /// size and root.
    pub(super) fn verify(
        &self,
        author: &PublicKey,
        signature: &[u8; 64],
        (place, leaf, way): (Position, Hash, &[Hash]),
        message: &dyn Fn(u16, &Hash) -> Vec<u8>,
    ) -> bool {
        let mut known = self.0.borrow_mut();
        let is_it = |signed: &&mut Signed| signed.signature == *signature && signed.author == *author;
        if known.iter_mut().find(is_it).is_some_and(|signed| signed.tree.holds(place, leaf, way)) {
            return true;
        }
        let Some(root) = place.root(leaf, way) else { return false };
        if !verify(author, &message(place.size, &root), signature) {
            return false;
        }
        let mut tree = Proven::new(place.size, root);
        if known.len() >= MOST_VERIFIED {
            known.pop_front();
        }
        let holds = tree.holds(place, leaf, way);
        known.push_back(Signed { author: *author, signature: *signature, tree });
        holds
    }
}
