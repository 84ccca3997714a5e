//! The directory as bytes, so that opening a database need not read its whole log.
//!
//! A snapshot is only a short cut: it says what the blocks before `next` said, and the blocks from there
//! on are folded in as ever. An old one is as good as a new one, only slower: whatever compaction moved
//! since stands behind `next` too. One that does not decode is passed over.
//!
//! ```text
//! snapshot = format (u8), next, block count, block*, document count, document*, local count, local*
//! block    = number, bytes, entries
//! document = flags (1 deleted, 2 more), length shared with the id before, rest of id, seq, winner (rev),
//!            place, [others: count, (rev, deleted u8)*; digests: count, 16 bytes*]   in id order
//! local    = id, rev number, place
//! place    = block, offset, length
//! ```

use super::{
    super::{
        FORMAT,
        codec::{Input, put_rev, put_str, put_varint},
        entry::{Location, Summary},
    },
    Directory,
};
use crate::{
    error::{Error, Result},
    store::BlockNo,
};

const DELETED: u8 = 1;
const MORE: u8 = 2;

fn put_place(out: &mut Vec<u8>, at: Location, length: u32) {
    put_varint(out, at.block.into());
    put_varint(out, at.offset.into());
    put_varint(out, length.into());
}

fn place(input: &mut Input<'_>) -> Result<(Location, u32)> {
    Ok((Location { block: input.u32()?, offset: input.u32()? }, input.u32()?))
}

impl Directory {
    /// What the blocks before `next` said.
    pub fn snapshot(&self, next: BlockNo) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * self.slots.len() + 64);
        out.push(FORMAT);
        put_varint(&mut out, next.into());
        put_varint(&mut out, self.blocks.len() as u64);
        for (no, usage) in &self.blocks {
            put_varint(&mut out, (*no).into());
            put_varint(&mut out, usage.total_bytes.into());
            put_varint(&mut out, usage.total_entries.into());
        }
        put_varint(&mut out, self.slots.len() as u64);
        let mut before = "";
        for number in self.order.iter() {
            let found = self.doc(number);
            let id = found.id();
            let more = !found.others().is_empty() || !found.digests().is_empty();
            out.push(if found.deleted() { DELETED } else { 0 } | if more { MORE } else { 0 });
            let shared = before.bytes().zip(id.bytes()).take_while(|(a, b)| a == b).count();
            // A text cannot be cut inside a character.
            let shared = (0..=shared).rev().find(|&at| id.is_char_boundary(at)).unwrap_or(0);
            put_varint(&mut out, shared as u64);
            put_str(&mut out, &id[shared..]);
            before = id;
            put_varint(&mut out, found.seq());
            put_rev(&mut out, &found.rev());
            put_place(&mut out, found.at(), found.slot.length);
            if more {
                put_varint(&mut out, found.others().len() as u64);
                for (rev, deleted) in found.others() {
                    put_rev(&mut out, rev);
                    out.push((*deleted).into());
                }
                put_varint(&mut out, found.digests().len() as u64);
                for digest in found.digests() {
                    out.extend_from_slice(&digest.0);
                }
            }
        }
        put_varint(&mut out, self.locals.len() as u64);
        for (id, local) in &self.locals {
            put_str(&mut out, id);
            put_varint(&mut out, local.rev);
            put_place(&mut out, local.at, local.length);
        }
        out
    }

    /// A directory from its snapshot, and the number of the first block it does not know.
    ///
    /// Errors: `corrupt`, also for another format: the log itself is to be read then.
    pub fn from_snapshot(bytes: &[u8]) -> Result<(Self, BlockNo)> {
        let mut input = Input::new(bytes, 0);
        if input.byte()? != FORMAT {
            return Err(Error::corrupt("snapshot"));
        }
        let mut directory = Self::default();
        let next = input.u32()?;
        for _ in 0..input.length()? {
            let usage = directory.blocks.entry(input.u32()?).or_default();
            (usage.total_bytes, usage.total_entries) = (input.u32()?, input.u32()?);
        }
        let mut id = String::new();
        for _ in 0..input.length()? {
            let flags = input.byte()?;
            let shared = input.length()?;
            if !id.is_char_boundary(shared) {
                return Err(Error::corrupt("snapshot"));
            }
            id.truncate(shared);
            id.push_str(input.str()?);
            let (seq, winner) = (input.varint()?, input.rev()?);
            let (at, length) = place(&mut input)?;
            let (mut others, mut digests) = (Vec::new(), Vec::new());
            if flags & MORE != 0 {
                for _ in 0..input.length()? {
                    others.push((input.rev()?, input.byte()? != 0));
                }
                for _ in 0..input.length()? {
                    digests.push(input.digest()?);
                }
            }
            let deleted = flags & DELETED != 0;
            directory.take(Summary::Doc { seq, id: &id, winner, deleted, others, digests }, at, length);
        }
        for _ in 0..input.length()? {
            let (id, rev) = (input.str()?, input.varint()?);
            let (at, length) = place(&mut input)?;
            directory.take(Summary::Local { id, rev }, at, length);
        }
        if !input.is_at_end() {
            return Err(Error::corrupt("snapshot"));
        }
        directory.settle();
        Ok((directory, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::{BlockBuilder, DocState, StoredAttachment, StoredLeaf},
        model::{Digest, Rev},
        revtree::RevTree,
    };

    fn directory() -> Directory {
        let rev = |text: &str| text.parse::<Rev>().unwrap();
        let mut builder = BlockBuilder::new(3);
        for (seq, (id, revs)) in [
            ("é", vec!["1-a"]),
            ("éa", vec!["2-b", "2-a"]),
            ("a", vec!["1-917fa2381192822767f010b95b45325b"]),
        ]
        .into_iter()
        .enumerate()
        {
            let mut tree = RevTree::new();
            for text in &revs {
                tree.merge(&[rev(text)], false).unwrap();
            }
            let attachment = StoredAttachment {
                name: "f".to_owned(),
                content_type: "x/y".to_owned(),
                length: 1,
                revpos: 1,
                digest: Digest::of(id.as_bytes()),
                sealed: None,
            };
            let leaf = |text: &&str| StoredLeaf {
                rev: rev(text),
                deleted: false,
                body: "{}".to_owned().into(),
                attachments: vec![attachment.clone()],
            };
            let leaves = revs.iter().map(leaf).collect();
            builder.push_doc(&DocState { seq: seq as u64 + 1, id: id.to_owned(), tree, leaves, prev: None });
        }
        builder.push_local("x", 2, "{}");
        let mut directory = Directory::default();
        for (bytes, no) in builder.finish().iter().zip(3..) {
            directory.fold(no, bytes).unwrap();
        }
        directory
    }

    #[test]
    fn a_snapshot_comes_back_whole() {
        let directory = directory();
        let bytes = directory.snapshot(4);
        let (back, next) = Directory::from_snapshot(&bytes).unwrap();
        assert_eq!(next, 4);
        // What it says it says again, which covers every field.
        assert_eq!(back.snapshot(4), bytes);
        assert_eq!(back.blocks().collect::<Vec<_>>(), directory.blocks().collect::<Vec<_>>());
        assert_eq!((back.last_seq(), back.doc_count()), (3, 3));
        assert!(back.refers_to(&Digest::of("éa".as_bytes())));
        assert_eq!(back.local("x").map(|(rev, _)| rev), Some(2));
        assert_eq!(
            back.changes(0, 9),
            directory
                .changes(0, 9)
                .iter()
                .map(|entry| {
                    let id = directory.doc(entry.number).id();
                    super::super::SeqEntry { seq: entry.seq, number: back.find(id).unwrap().number() }
                })
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_and_never_a_panic() {
        let bytes = directory().snapshot(4);
        for end in 0..bytes.len() {
            assert!(Directory::from_snapshot(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let _ = Directory::from_snapshot(&damaged);
        }
    }
}
