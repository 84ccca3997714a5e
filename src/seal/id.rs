//! What documents are called on a server, and which names a sealed channel has at all.

use super::{
    Hash, Refusal,
    crypt::{MacKey, first},
    text::{base32, unbase32},
};

/// A local id longer than this is refused: it has to fit beside the contents.
pub const MAX_LOCAL_ID_BYTES: usize = 64 * 1024;

/// What kind of document an id names. There is no other kind in a sealed channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `e-` and 32 letters: a sealed document.
    Sealed,
    /// `k-` and 52 letters: an entry of the channel's log, named by its own hash.
    Log(Hash),
    /// `_design/guard`: the net against accidents, see [`super::guard_document`].
    Guard,
}

impl Class {
    /// The class of an id; [`Refusal::ForeignId`] for anything that has none, whatever it claims to be.
    pub fn of(id: &str) -> Result<Self, Refusal> {
        let class = if let Some(name) = id.strip_prefix("e-") {
            unbase32(name).filter(|bytes| bytes.len() == 20).map(|_| Self::Sealed)
        } else if let Some(name) = id.strip_prefix("k-") {
            unbase32(name).and_then(|bytes| Some(Self::Log(bytes.try_into().ok()?)))
        } else {
            (id == super::GUARD_ID).then_some(Self::Guard)
        };
        class.ok_or(Refusal::ForeignId)
    }
}

/// The name that a document has on a server: `e-` and a keyed MAC of the id that its writer gave it.
pub(super) fn remote_id(ids: &MacKey, local: &str) -> String {
    let name: [u8; 20] = first(&ids.mac(&[b"id", local.as_bytes()]));
    format!("e-{}", base32(&name))
}

/// The name of a log entry: `k-` and its hash.
pub(super) fn log_id(hash: &Hash) -> String {
    format!("k-{}", base32(hash))
}
