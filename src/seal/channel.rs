//! The keys of one channel: one for ids, for life, and one set for each epoch.

use super::{
    Hash, Key, PublicKey, Refusal,
    crypt::{MacKey, first, kdf, mac},
    id,
    signer::Verified,
};

/// The keys that follow from an epoch's key.
pub struct Epoch {
    /// Which epoch it is, the first being 1.
    pub number: u64,
    pub(super) key: Key,
    pub(super) enc: Key,
    pub(super) nonce: MacKey,
    pub(super) rev: MacKey,
    pub(super) back: Key,
    id: [u8; 16],
    commitment: Hash,
}

impl Epoch {
    /// Derives an epoch's keys.
    pub fn new(ch: &Hash, number: u64, key: Key) -> Self {
        let derive = |label: &str| kdf(key.expose(), ch, label);
        Self {
            number,
            enc: derive("enc"),
            nonce: MacKey::new(&derive("nonce")),
            rev: MacKey::new(&derive("rev")),
            back: derive("back"),
            id: first(derive("epoch-id").expose()),
            commitment: *derive("commit").expose(),
            key,
        }
    }

    /// Its public name.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// What its entry in the log must say of its key.
    pub(super) fn commitment(&self) -> &Hash {
        &self.commitment
    }
}

/// A channel that was unlocked: its keys, and who may write in it.
pub struct Channel {
    ch: Hash,
    id_key: Key,
    ids: MacKey,
    /// In the order in which they were found; the one to seal under is `current`.
    epochs: Vec<Epoch>,
    current: Option<[u8; 16]>,
    log_head: Hash,
    authors: Vec<PublicKey>,
    verified: Verified,
}

impl Channel {
    /// A channel of these keys. `current` names the epoch to seal under; none if nothing may be sealed.
    pub fn new(
        ch: Hash,
        id_key: Key,
        epochs: Vec<Epoch>,
        current: Option<[u8; 16]>,
        log_head: Hash,
        authors: Vec<PublicKey>,
    ) -> Self {
        let ids = MacKey::new(&id_key);
        Self { ch, id_key, ids, epochs, current, log_head, authors, verified: Verified::default() }
    }

    /// The channel's own name: the hash of its first log entry.
    pub fn ch(&self) -> &Hash {
        &self.ch
    }

    /// One hash over the newest log entries known; authors sign it with what they write.
    pub fn log_head(&self) -> &Hash {
        &self.log_head
    }

    /// Who may write here.
    pub fn authors(&self) -> &[PublicKey] {
        &self.authors
    }

    /// The epochs whose keys are here.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    pub(super) fn verified(&self) -> &Verified {
        &self.verified
    }

    pub(super) fn id_key(&self) -> &Key {
        &self.id_key
    }

    /// What a document is called on a server: `e-` and 32 letters, the same on every device.
    pub fn remote_id(&self, local: &str) -> String {
        id::remote_id(&self.ids, local)
    }

    /// The epoch that is sealed under.
    ///
    /// Errors: `needs_update` if nothing may be sealed; `unknown_epoch` if its key has not arrived.
    pub fn current(&self) -> Result<&Epoch, Refusal> {
        self.epoch(self.current.as_ref().ok_or(Refusal::NeedsUpdate)?)
    }

    /// An epoch by its name.
    pub(super) fn epoch(&self, id: &[u8; 16]) -> Result<&Epoch, Refusal> {
        self.epochs.iter().find(|epoch| epoch.id == *id).ok_or(Refusal::UnknownEpoch)
    }
}

/// What the first log entry says of the id key, so that no later one brings another.
pub(super) fn id_commitment(id_key: &Key) -> Hash {
    mac(id_key, &[b"id-commit"])
}
