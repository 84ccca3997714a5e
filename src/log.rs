//! What is written in a store's blocks, and the directory of it that is kept in memory.
//!
//! A Bitcask: blocks are only ever appended, an entry in a block is the whole current state of one
//! document, and the directory knows for every document where its newest entry stands. An entry that
//! is not the newest is dead, and compaction leaves it behind.
//!
//! ```text
//! block      = format version (u8), entry*
//! entry      = length (varint), summary, rest            see entry.rs
//! summary    = what the directory keeps: flags, seq, id, winning revision, other leaves, digests
//! rest       = where the previous entry stands, the revision tree, the leaves' bodies
//! ```
//!
//! The log's order and the documents' order differ once compaction has moved entries to the end: of
//! several entries of one document the one with the highest sequence number counts, and of copies of
//! that one the last.
//!
//! Everything here is synchronous and knows no store.

mod codec;
mod directory;
mod entry;
mod order;

pub use directory::{BlockUse, Directory, Found, Leaf, SeqEntry};
pub(crate) use entry::too_new;
pub use entry::{BlockBuilder, DocState, Location, StoredAttachment, StoredLeaf, Summary, entries, read_at};
pub(crate) use order::Order;

/// The version of the block and entry format that this code writes, and the newest it reads.
pub const FORMAT: u8 = 2;

/// A block is closed when it is this big. IndexedDB keeps values up to 64 KiB in line; below about
/// 32 KiB a random read costs no more than one record would.
pub const BLOCK_TARGET_BYTES: usize = 16 * 1024;
