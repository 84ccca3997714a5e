//! Sealed channels: what leaves the device is sealed here and opened here. The format is written down in
//! `docs/sealed-format.md`; the reasons are in ARCHITECTURE.md, "Sealing".
//!
//! Pure: no I/O, no clock, nothing waits. Randomness is handed in as [`Entropy`]. The database calls
//! [`seal_revision`] when it commits and [`open_revision`] before anything from elsewhere touches a revision
//! tree; it never sees a key. Names of this module's parts:
//!
//! - [`Vault`]: the secrets of one account on one device, kept in a [`KeyRecord`] under locks.
//! - [`Channel`]: the keys of one channel and who may write there, got by replaying its log.
//! - a *revision* is sealed whole; an attachment's bytes are sealed on their own, with [`FileSealer`].
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod channel;
mod code;
mod content;
mod crypt;
mod envelope;
mod file;
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod id;
mod json;
mod line;
mod local;
mod lock;
mod log;
mod manifest;
mod pad;
mod parts;
mod refusal;
mod revision;
mod signer;
mod stream;
mod text;
mod tree;
mod vault;

pub use channel::{Channel, Epoch};
pub use code::RecoveryCode;
pub use crypt::{Entropy, Hash, Key, sha256};
pub use envelope::Envelope;
pub use file::{CHUNK_BYTES, Chunk, FileOpener, FileSealer, PlainFile, contents_hash};
pub use guard::{GUARD_ID, guard_document};
pub use id::{Class, MAX_LOCAL_ID_BYTES};
pub use line::{Lineage, first_line, next_line};
pub use lock::{Cost, KeyRecord, PassphraseLock, Unlocked, passphrase_key};
pub use log::{Entry, LogDoc, Pin, Replay, log_doc_name, read_log_doc};
pub use manifest::{FileEntry, SEALED_TYPE, Stub};
pub use pad::padded_len;
pub use refusal::{Locked, Refusal};
pub use revision::{
    Author, NewRevision, Opened, Prepared, Received, Sealed, check_push, open_revision, prepare_checked,
    prepare_revision, read_envelope, read_revision, seal_revision, seal_revisions,
};
pub use signer::{PublicKey, Signer};
pub use stream::{Nonce, STREAM_CHUNK_BYTES, TAG_BYTES, open_chunk, seal_chunk};
pub use vault::Vault;

#[cfg(test)]
mod answers;
