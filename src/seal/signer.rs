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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::seal::{
        Author, NewRevision, Received, Vault, open_revision, prepare_revision, seal_revisions,
    };

    #[test]
    fn what_was_signed_together_is_verified_once() {
        let entropy = |bytes: &mut [u8]| bytes.fill(3);
        let (vault, _) = Vault::create(&entropy);
        let channel = vault.open_channel(None, &vault.create_channel(&entropy).unwrap()).unwrap().channel;
        let author: Author = vault.author();
        let prepared = |id| {
            let new = NewRevision { id, parent: None, deleted: false, body: "{}", files: &[] };
            prepare_revision(&channel, &new).unwrap()
        };
        let all = seal_revisions(&channel, &author, vec![prepared("a"), prepared("b")]).unwrap();
        let known = &channel.verified().0;
        assert_eq!(known.borrow().len(), 0);
        for sealed in all {
            let path = [sealed.rev];
            let (id, body) = (&sealed.id, &sealed.body);
            let received = Received { id, path: &path, deleted: false, stubs: &[], body };
            open_revision(&channel, &received, &|_| None).unwrap();
            assert_eq!(known.borrow().len(), 1);
        }
    }

    #[test]
    fn so_many_are_remembered_and_the_bad_ones_never() {
        let signer = Signer::new(&Key::new([3; 32]));
        let (public, place) = (signer.public(), Position::new(0, 1).unwrap());
        let message = |_: u16, root: &Hash| root.to_vec();
        let verified = Verified::default();
        let is_good =
            |leaf: Hash, signature| verified.verify(&public, &signature, (place, leaf, &[]), &message);
        for n in 0..MOST_VERIFIED as u8 + 3 {
            assert!(!is_good([n; 32], signer.sign(b"other")));
            assert_eq!(verified.0.borrow().len(), MOST_VERIFIED.min(n.into()));
            let signature = signer.sign(&[n; 32]);
            assert!(is_good([n; 32], signature) && is_good([n; 32], signature));
            assert!(!is_good([200; 32], signature));
            let newest = verified.0.borrow().back().map(|signed| signed.signature);
            assert_eq!(newest, Some(signature));
        }
    }
}
