//! The channel's log: who may write, and the keys of each epoch, sealed. It lies in the channel itself, as
//! documents that are signed but readable, so that a device with nothing but the recovery code finds there
//! what it needs.
//!
//! Two logs in one place. The *account's* begins with a root key that follows from the recovery code and
//! says which devices are its own; it is the same in all channels. The *channel's* begins with a genesis
//! entry, whose hash is the channel's name, and brings epochs. An entry names the ones that it was written
//! after, so any number of devices may add to a log at once.

mod entry;
mod replay;
// What they sign by hand is there with the fuzz targets, natively.
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

pub(super) use entry::{Draft, Op, Scope, UserKey, Wrap, make_entry};
pub use entry::{Entry, LogDoc, log_doc_name, read_log_doc};
#[cfg(not(target_arch = "wasm32"))]
pub(super) use entry::{reencoded, signed_entry};
pub(super) use replay::{Account, replay, replay_account, seal_back, single_owner, wrap_aad};
pub use replay::{Pin, Replay};
