//! Which channel a sealed database is, and whether another end may hold the same one.
//!
//! A channel is named by the first entry of its log. Until a log has come, or was begun, the database *waits*:
//! it is no channel yet and becomes whichever arrives. From then on it is that one (record `channel`), and
//! nothing of another one's may mix with it: two channels in one place cannot be told apart by who comes
//! next. So both ends of a replication are compared before anything is sent or taken, and an entry of another
//! channel's log that comes all the same is kept aside.

use std::{collections::HashMap, ops::Bound};

use super::{
    Database,
    view::{LOG, View},
};
use crate::{
    error::{Error, Result},
    log::{Directory, read_at},
    model::{Bytes, Seq},
    peer::{ChangesQuery, MissingRevs, Peer, ReplicatedDoc},
    seal::{Entry, Hash, LogDoc, Refusal, log_doc_name, read_log_doc},
    store::BlockNo,
};

/// The record of a sealed database that says which channel it is: its name, and what [`crate::keys`] puts
/// behind that.
pub const CHANNEL: &str = "channel";

/// Changes looked through at a time for another channel's log.
const LOOK_AT_ONCE: usize = 1_000;

impl Database {
    /// Whether this is a sealed database that has no channel yet: nothing of one has arrived, and none was begun.
    pub fn is_waiting(&self) -> bool {
        self.inner.is_sealed && self.is_locked() && self.log_numbers().is_empty()
    }

    /// The name of the channel that this is; `None` while that is not settled.
    pub async fn channel(&self) -> Result<Option<Hash>> {
        let view = self.inner.view.borrow().clone();
        if let Some(View::Opened(opened)) = view {
            return Ok(Some(opened.keys().channel()));
        }
        let record = self.inner.store.records(vec![CHANNEL]).await?.pop().flatten();
        if let Some(ch) = record.as_deref().and_then(|record| record.first_chunk()) {
            return Ok(Some(*ch));
        }
        // Without keys it is known if there is but one.
        let mut begun = self.channel_log().await?.into_iter().filter(Entry::begins_channel);
        Ok(begun.next().filter(|_| begun.next().is_none()).map(|entry| *entry.hash()))
    }

    /// The entries of the channel's log, from its documents.
    pub async fn channel_log(&self) -> Result<Vec<Entry>> {
        let numbers = self.log_numbers();
        let blocks = self.blocks_of(&numbers).await?;
        entries(&self.inner.state.borrow().directory, &numbers, &blocks)
    }

    /// Writes entries into the channel's log. One that is there already changes nothing.
    pub async fn append_to_log(&self, entries: &[Entry]) -> Result<()> {
        let docs = entries.iter().map(|entry| {
            let LogDoc { id, rev, body } = entry.to_doc();
            ReplicatedDoc { id, path: vec![rev], deleted: false, body, attachments: Vec::new() }
        });
        self.write_replicas(docs.collect()).await?.into_iter().collect()
    }

    /// Waits until the channel's log has more entries than were seen; how many it has.
    pub async fn log_grew(&self, seen: usize) -> Result<usize> {
        self.once(|| Some(self.log_numbers().len()).filter(|&count| count > seen)).await
    }

    /// Waits until something can be told: looks now and after each commit.
    pub(super) async fn once<T>(&self, look: impl Fn() -> Option<T>) -> Result<T> {
        loop {
            let change = self.inner.next_change();
            self.fresh().await?;
            if let Some(told) = look() {
                return Ok(told);
            }
            // Nobody to wake it means that somebody else will.
            let _ = change.await;
        }
    }

    pub(super) fn log_numbers(&self) -> Vec<u32> {
        log_numbers(&self.inner.state.borrow().directory)
    }

    /// Whether an entry may stand in this channel's log.
    pub(super) async fn takes_entry(&self, entry: &Entry) -> Result<bool> {
        let Some(of) = entry.channel() else { return Ok(true) };
        Ok(self.channel().await?.is_none_or(|ch| ch == of))
    }

    /// Whether the other end of a replication may be a copy of this one, as far as it can be told before
    /// anything goes over.
    ///
    /// Errors: 403 `other_channel` if it holds another channel and not this one.
    pub(super) async fn may_meet(&self, other: &dyn Peer) -> Result<()> {
        let own = if self.inner.is_sealed { self.channel().await? } else { None };
        let Some(own) = own else { return Ok(()) };
        let (id, rev) = log_doc_name(&own);
        if other.revs_diff(vec![(id.clone(), vec![rev])]).await?.is_empty() {
            return Ok(());
        }
        let mut since = Seq::zero();
        loop {
            let page = other.changes(&ChangesQuery::default(), &since, LOOK_AT_ONCE, None).await?;
            if page.results.is_empty() || page.last_seq == since {
                return Ok(());
            }
            since = page.last_seq;
            if page.results.iter().any(|change| change.id == id) {
                // It has come meanwhile: the other direction, or another device, has brought it.
                return Ok(());
            }
            let of_log = page.results.into_iter().filter(|change| change.id.starts_with(LOG));
            let of_log: Vec<_> = of_log
                .map(|change| MissingRevs {
                    id: change.id,
                    revs: change.leaves,
                    possible_ancestors: Vec::new(),
                })
                .collect();
            if of_log.is_empty() {
                continue;
            }
            for fetched in other.bulk_get(of_log).await? {
                let entry = fetched.doc.ok().and_then(|doc| log_entry(&doc).ok());
                if entry.is_some_and(|entry| entry.begins_channel()) {
                    return Err(other_channel());
                }
            }
        }
    }
}

pub(super) fn log_numbers(directory: &Directory) -> Vec<u32> {
    directory.ids(Bound::Included(LOG), Bound::Excluded("k."))
}

/// The log's entries at these numbers, as far as their blocks are at hand.
pub(super) fn entries(
    directory: &Directory,
    numbers: &[u32],
    blocks: &HashMap<BlockNo, Bytes>,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let found = directory.doc(number);
        let Some(block) = blocks.get(&found.at().block) else { continue };
        let leaf = read_at(block, found.at().offset)?.winner()?;
        // What is no entry did not come through the gate.
        entries.extend(read_log_doc(found.id(), &leaf.rev, &leaf.body).ok());
    }
    Ok(entries)
}

/// An entry of the channel's log, as a document: with one revision and nothing beside it.
pub(super) fn log_entry(doc: &ReplicatedDoc) -> Result<Entry, Refusal> {
    let is_bare = !doc.deleted && doc.path.len() == 1 && doc.attachments.is_empty();
    if is_bare { read_log_doc(&doc.id, doc.rev(), &doc.body) } else { Err(Refusal::Malformed) }
}

/// 403 `other_channel`.
pub(super) fn other_channel() -> Error {
    Error::remote(
        403,
        "other_channel",
        "This is not a copy of the same channel: the other side was begun by itself, perhaps on another device. \
         Nothing was mixed. To join it, open a new database with the vault, replicate, and copy over what is here.",
    )
}
