//! Port: where a database's bytes are kept.
//!
//! A store is an append-only log of numbered blocks, a bag of attachment contents by digest, and a
//! few named records. It understands none of them. The database above does all its work between
//! these calls, so memory, IndexedDB and a store that fails on purpose run the same engine.
//!
//! Several databases (tabs, workers) may use one store at once. [`Store::append`] is where they meet.

use std::ops::Range;

use crate::{
    error::{Pending, Result},
    model::{Bytes, Content, Digest},
};

#[doc(hidden)]
pub mod conformance;
mod memory;

pub use memory::MemoryStore;

/// A block's place in the log, from 1. Numbers are never used again, so a missing one was compacted.
pub type BlockNo = u32;

/// One record of the log.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its place.
    pub no: BlockNo,
    /// What the database wrote there.
    pub bytes: Bytes,
}

/// What one commit changes: all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// New blocks; they take the numbers from the end of the log on.
    pub blocks: Vec<Bytes>,
    /// Blocks that compaction has emptied; start inclusive, end exclusive. Absent ones are no error.
    pub drop_blocks: Vec<Range<BlockNo>>,
    /// Contents to keep. Putting one that is there changes nothing.
    pub put_contents: Vec<(Digest, Content)>,
    /// Contents nobody refers to any more.
    pub drop_contents: Vec<Digest>,
}

/// Builds a commit for the end of the log.
///
/// Gets the blocks that others appended after the end that the caller of [`Store::append`] named, in
/// order (none the first time, most of the time), and the number that the first new block will take.
/// May run twice, and must not count on its first result having been written. `None` writes nothing.
pub type Builder<'a> = dyn FnMut(&[Block], BlockNo) -> Result<Option<Batch>> + 'a;

/// What other users of the same store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Somebody appended to the log.
    Committed,
    /// Somebody destroyed the store; it must not be made anew by whoever still holds it.
    Destroyed,
}

/// Durable records, one database's worth. See the module's page for the idea.
///
/// Errors, for every call: 507 `insufficient_storage` when the room ran out (nothing written);
/// `store_closed` after [`Store::close`] or [`Store::destroy`]; `storage_unavailable` when the
/// platform gives no storage; 500 `unknown_error` with the platform's words otherwise.
pub trait Store {
    /// Appends to the log what `build` makes, if the log still ends before `next`; otherwise shows
    /// `build` the newer blocks first, in the same transaction.
    ///
    /// Returns the number after the last block, as far as this call knows.
    /// Atomic: a crash leaves all of the batch or nothing; the promise resolves once it is as durable
    /// as the platform's default makes it. Others are told ([`Store::watch`]) after that.
    fn append<'a>(&'a self, next: BlockNo, build: &'a mut Builder<'_>) -> Pending<'a, BlockNo>;

    /// The blocks of these numbers, in the order asked for; `None` for one that is not there.
    fn read(&self, numbers: Vec<BlockNo>) -> Pending<'_, Vec<Option<Bytes>>>;

    /// At most `limit` blocks numbered `from` or more, in order.
    fn scan(&self, from: BlockNo, limit: u32) -> Pending<'_, Vec<Block>>;

    /// The content of a digest.
    fn content(&self, digest: Digest) -> Pending<'_, Option<Content>>;

    /// Every digest there is a content for.
    fn content_digests(&self) -> Pending<'_, Vec<Digest>>;

    /// The named records, in the order asked for; `None` for one that is not there.
    fn records(&self, names: Vec<&'static str>) -> Pending<'_, Vec<Option<Bytes>>>;

    /// Writes one named record. With `only_if_absent`, an existing one stays, and is returned.
    fn put_record(&self, name: &'static str, bytes: Bytes, only_if_absent: bool) -> Pending<'_, Bytes>;

    /// Calls `listener` for what other users of the same store do. Replaces the listener before.
    fn watch(&self, listener: Box<dyn Fn(Signal)>);

    /// Lets go of the storage. Calls after it fail with `store_closed`.
    fn close(&self);

    /// Deletes everything and closes. Other users are told.
    fn destroy(&self) -> Pending<'_, ()>;
}
