//! The key directory: what is known of every document without reading the log.
//!
//! It answers existence, the winning revision, conflicts, `_revs_diff` for what is new and the whole
//! changes feed with no I/O. It costs about a hundred bytes a document beside its id; what few
//! documents have (conflicts, attachments, revisions that are no hash) stands in a side table.

mod snapshot;

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Bound, Range, RangeBounds},
};

use super::{
    entry::{Location, Summary, entries},
    order::Order,
};
use crate::{
    error::Result,
    model::{Digest, Rev, RevId, sort_by},
    store::BlockNo,
};

/// A leaf, as the changes feed names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The revision.
    pub rev: Rev,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

/// A document's place in the changes feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqEntry {
    /// Its sequence number.
    pub seq: u64,
    /// Its number in the directory, for [`Directory::doc`].
    pub number: u32,
}

struct Slot {
    seq: u64,
    id: Box<str>,
    hash: [u8; 16],
    generation: u32,
    at: Location,
    length: u32,
    deleted: bool,
    /// Whether [`Directory::rare`] knows more.
    is_rare: bool,
}

#[derive(Default)]
struct Rare {
    /// The winner where it does not fit into a slot.
    winner: Option<Rev>,
    others: Box<[(Rev, bool)]>,
    digests: Box<[Digest]>,
}

struct Local {
    rev: u64,
    at: Location,
    length: u32,
}

/// How much of a block is still needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockUse {
    /// The block's size.
    pub total_bytes: u32,
    /// What its live entries take.
    pub live_bytes: u32,
    /// How many entries it has.
    pub total_entries: u32,
    /// How many of them are live.
    pub live_entries: u32,
}

/// See the module's page.
#[derive(Default)]
pub struct Directory {
    slots: Vec<Slot>,
    order: Order,
    /// In sequence order; an entry whose document has moved on is stale and skipped.
    by_seq: Vec<SeqEntry>,
    rare: HashMap<u32, Rare>,
    references: HashMap<Digest, u32>,
    locals: BTreeMap<Box<str>, Local>,
    blocks: BTreeMap<BlockNo, BlockUse>,
    last_seq: u64,
    doc_count: u64,
}

/// What the directory knows of a document.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    directory: &'a Directory,
    number: u32,
    slot: &'a Slot,
}

impl<'a> Found<'a> {
    /// Its number in the directory; stays as long as the directory.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The document's id.
    pub fn id(&self) -> &'a str {
        &self.slot.id
    }

    /// Its place in the changes feed.
    pub fn seq(&self) -> u64 {
        self.slot.seq
    }

    /// Where its entry stands.
    pub fn at(&self) -> Location {
        self.slot.at
    }

    /// Whether the winner is a tombstone.
    pub fn deleted(&self) -> bool {
        self.slot.deleted
    }

    /// The winning revision.
    pub fn rev(&self) -> Rev {
        let rare = self.rare().and_then(|rare| rare.winner.clone());
        rare.unwrap_or(Rev { generation: self.slot.generation.into(), id: RevId::Hash(self.slot.hash) })
    }

    /// The leaves that do not win, best first.
    pub fn others(&self) -> &'a [(Rev, bool)] {
        self.rare().map_or(&[], |rare| &rare.others)
    }

    /// The contents its leaves refer to, each once.
    pub fn digests(&self) -> &'a [Digest] {
        self.rare().map_or(&[], |rare| &rare.digests)
    }

    /// Every leaf, the winner first.
    pub fn leaves(&self) -> Vec<Leaf> {
        let winner = Leaf { rev: self.rev(), deleted: self.deleted() };
        let others = self.others().iter().map(|(rev, deleted)| Leaf { rev: rev.clone(), deleted: *deleted });
        std::iter::once(winner).chain(others).collect()
    }

    fn rare(&self) -> Option<&'a Rare> {
        if self.slot.is_rare { self.directory.rare.get(&self.number) } else { None }
    }
}

impl Directory {
    /// Takes in a block that stands at the log's end (or anywhere, when the whole log is read).
    pub fn fold(&mut self, no: BlockNo, block: &[u8]) -> Result<()> {
        let mut count = 0;
        for entry in entries(block)? {
            let entry = entry?;
            count += 1;
            let at = Location { block: no, offset: entry.offset };
            self.take(entry.summary, at, entry.bytes.len() as u32);
        }
        let usage = self.blocks.entry(no).or_default();
        (usage.total_bytes, usage.total_entries) = (block.len() as u32, count);
        self.settle();
        Ok(())
    }

    fn take(&mut self, summary: Summary<'_>, at: Location, length: u32) {
        match summary {
            Summary::Local { id, rev } => {
                let before = self.locals.get(id).map(|local| (local.at, local.length));
                if let Some((at, length)) = before {
                    self.unuse(at, length);
                }
                self.locals.insert(id.into(), Local { rev, at, length });
                self.make_use(at, length);
            }
            Summary::Doc { seq, id, winner, deleted, others, digests } => {
                let number = match self.order.find(|number| (*self.slots[number as usize].id).cmp(id)) {
                    Ok(number) => {
                        let slot = &self.slots[number as usize];
                        if slot.seq > seq {
                            return;
                        }
                        let (before, size, was_deleted, old_seq) =
                            (slot.at, slot.length, slot.deleted, slot.seq);
                        self.unuse(before, size);
                        if !was_deleted {
                            self.doc_count -= 1;
                        }
                        self.forget_rare(number);
                        if old_seq != seq {
                            self.by_seq.push(SeqEntry { seq, number });
                        }
                        number
                    }
                    Err(place) => {
                        let number = self.slots.len() as u32;
                        reserve_gently(&mut self.slots);
                        self.slots.push(Slot {
                            seq,
                            id: id.into(),
                            hash: [0; 16],
                            generation: 0,
                            at,
                            length,
                            deleted,
                            is_rare: false,
                        });
                        self.order.insert(place, number);
                        reserve_gently(&mut self.by_seq);
                        self.by_seq.push(SeqEntry { seq, number });
                        number
                    }
                };
                let slot = &mut self.slots[number as usize];
                (slot.seq, slot.at, slot.length, slot.deleted) = (seq, at, length, deleted);
                let fits = match (&winner.id, u32::try_from(winner.generation)) {
                    (RevId::Hash(hash), Ok(generation)) => {
                        (slot.hash, slot.generation) = (*hash, generation);
                        true
                    }
                    _ => false,
                };
                slot.is_rare = !fits || !others.is_empty() || !digests.is_empty();
                if slot.is_rare {
                    for digest in &digests {
                        *self.references.entry(*digest).or_default() += 1;
                    }
                    let rare = Rare {
                        winner: (!fits).then_some(winner),
                        others: others.into(),
                        digests: digests.into(),
                    };
                    self.rare.insert(number, rare);
                }
                self.make_use(at, length);
                self.last_seq = self.last_seq.max(seq);
                if !deleted {
                    self.doc_count += 1;
                }
            }
        }
    }

    fn forget_rare(&mut self, number: u32) {
        let Some(rare) = self.rare.remove(&number) else { return };
        for digest in rare.digests {
            if let Some(count) = self.references.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    self.references.remove(&digest);
                }
            }
        }
    }

    fn make_use(&mut self, at: Location, length: u32) {
        let block = self.blocks.entry(at.block).or_default();
        block.live_bytes += length;
        block.live_entries += 1;
    }

    fn unuse(&mut self, at: Location, length: u32) {
        if let Some(block) = self.blocks.get_mut(&at.block) {
            block.live_bytes = block.live_bytes.saturating_sub(length);
            block.live_entries = block.live_entries.saturating_sub(1);
        }
    }

    /// Puts `by_seq` in order and drops its stale entries when they are the greater part.
    fn settle(&mut self) {
        sort_by(&mut self.by_seq, |a, b| a.seq.cmp(&b.seq));
        if self.by_seq.len() > 2 * self.slots.len() + 64 {
            let slots = &self.slots;
            self.by_seq.retain(|entry| slots[entry.number as usize].seq == entry.seq);
        }
    }

    /// Forgets blocks that compaction dropped.
    pub fn drop_blocks(&mut self, range: &Range<BlockNo>) {
        let gone: Vec<_> = self.blocks.range(range.clone()).map(|(&no, _)| no).collect();
        for no in gone {
            self.blocks.remove(&no);
        }
    }

    /// The document of this id.
    pub fn find(&self, id: &str) -> Option<Found<'_>> {
        let number = self.order.find(|number| (*self.slots[number as usize].id).cmp(id)).ok()?;
        Some(self.doc(number))
    }

    /// The document of this number, as [`Found::number`] or [`SeqEntry::number`] gave it.
    pub fn doc(&self, number: u32) -> Found<'_> {
        Found { directory: self, number, slot: &self.slots[number as usize] }
    }

    /// The `_local/` document of this id (without the prefix): N of its revision, and its place.
    pub fn local(&self, id: &str) -> Option<(u64, Location)> {
        self.locals.get(id).filter(|local| local.rev > 0).map(|local| (local.rev, local.at))
    }

    /// The numbers of the documents with ids in a range, upwards.
    pub fn ids(&self, start: Bound<&str>, end: Bound<&str>) -> Vec<u32> {
        let id = |number: u32| -> &str { &self.slots[number as usize].id };
        let before_start = |number: u32| !(start, Bound::Unbounded).contains(id(number));
        let within_end = |number: &u32| (Bound::Unbounded, end).contains(id(*number));
        self.order.from(before_start).take_while(within_end).collect()
    }

    /// The numbers of all documents, in id order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.order.iter()
    }

    /// At most `limit` entries of the changes feed after `since`, in order.
    pub fn changes(&self, since: u64, limit: usize) -> Vec<SeqEntry> {
        let start = self.by_seq.partition_point(|entry| entry.seq <= since);
        self.by_seq[start..].iter().filter(|entry| self.is_current(entry)).take(limit).copied().collect()
    }

    /// At most `limit` entries before `before`, newest first.
    pub fn changes_before(&self, before: u64, limit: usize) -> Vec<SeqEntry> {
        let end = self.by_seq.partition_point(|entry| entry.seq < before);
        self.by_seq[..end].iter().rev().filter(|entry| self.is_current(entry)).take(limit).copied().collect()
    }

    /// How many entries the changes feed has after `since`.
    pub fn pending(&self, since: u64) -> u64 {
        let start = self.by_seq.partition_point(|entry| entry.seq <= since);
        self.by_seq[start..].iter().filter(|entry| self.is_current(entry)).count() as u64
    }

    fn is_current(&self, entry: &SeqEntry) -> bool {
        self.slots[entry.number as usize].seq == entry.seq
    }

    /// The last sequence number given.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Documents whose winner is not a tombstone.
    pub fn doc_count(&self) -> u64 {
        self.doc_count
    }

    /// Documents, tombstones included.
    pub fn total_count(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Whether a leaf of any document refers to this content.
    pub fn refers_to(&self, digest: &Digest) -> bool {
        self.references.contains_key(digest)
    }

    /// Every block and how much of it is needed, in order.
    pub fn blocks(&self) -> impl Iterator<Item = (BlockNo, BlockUse)> + '_ {
        self.blocks.iter().map(|(&no, &usage)| (no, usage))
    }

    /// The bytes of all blocks, and what of them is live.
    pub fn log_bytes(&self) -> (u64, u64) {
        self.blocks.values().fold((0, 0), |(total, live), usage| {
            (total + u64::from(usage.total_bytes), live + u64::from(usage.live_bytes))
        })
    }

    /// Whether the entry that stands at `at` is the newest of its document.
    pub fn is_live(&self, summary: &Summary<'_>, at: Location) -> bool {
        match summary {
            Summary::Doc { id, .. } => self.find(id).is_some_and(|found| found.at() == at),
            // A removed one stays: without it an older entry in another block would come back.
            Summary::Local { id, .. } => self.locals.get(*id).is_some_and(|local| local.at == at),
        }
    }

    /// The bytes that the directory takes, as far as it can tell: its tables and the ids in them.
    pub fn size_bytes(&self) -> usize {
        // An allocation has a header and is rounded up; 8 bytes is what the wasm allocator takes.
        let ids: usize = self.slots.iter().map(|slot| slot.id.len().next_multiple_of(8) + 8).sum();
        self.slots.capacity() * size_of::<Slot>()
            + ids
            + self.by_seq.capacity() * size_of::<SeqEntry>()
            + self.order.size_bytes()
            + self.rare.capacity() * (size_of::<Rare>() + 8)
            + self.references.capacity() * (size_of::<Digest>() + 8)
    }
}

/// Grows a vector by a quarter where the standard library would double it: with 100,000 documents the
/// slack of doubling is worth more than the copying.
fn reserve_gently<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(64 + items.len() / 4);
    }
}
