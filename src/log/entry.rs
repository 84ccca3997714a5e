//! One document's state as bytes.
//!
//! ```text
//! entry    = length, flags (u8),
//!            document: seq, id, winner (rev), [others], [digests], prev, tree, leaves
//!            local:    id, rev number (0 when removed), body
//! others   = count, (rev, deleted u8)*          leaves that do not win, best first     if CONFLICTED
//! digests  = count, 16 bytes*                   contents that the leaves refer to      if ATTACHED
//! prev     = block, offset                      the entry before this one; 0, 0 if none
//! tree     = byte length, count, node*          parents before children
//! node     = flags (1 deleted, 2 child of the node before, 4 root),
//!            parent index (neither 2 nor 4) or generation (4), rev id
//! leaves   = (body, attachment count, attachment*)*     in the order winner, others
//! body     = text, or if PACKED (since format 2):
//!            0, text                                    as it is
//!            text, byte length, bytes                   the text, the bytes in base64url, and "}}
//! attachment = name, type, length, revpos, digest (16 bytes)
//! ```
//! Numbers are varints, texts have their length before them.

use std::rc::Rc;

use super::{
    FORMAT,
    codec::{Input, is_packable, put_packed, put_rev, put_rev_id, put_str, put_varint},
};
use crate::{
    error::{Error, Kind, Result},
    model::{Body, Digest, Rev, sort_by},
    revtree::{Node, RevTree},
    seal::FileEntry,
    store::BlockNo,
};

pub(super) const DELETED: u8 = 1;
const CONFLICTED: u8 = 2;
const ATTACHED: u8 = 4;
const LOCAL: u8 = 8;
/// Since format 2: bodies may stand in binary.
const PACKED: u8 = 16;

/// Where an entry begins: a block and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The block.
    pub block: BlockNo,
    /// Bytes from the block's begin.
    pub offset: u32,
}

/// An attachment as a leaf refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAttachment {
    /// Its name in the document.
    pub name: String,
    /// Its MIME type.
    pub content_type: String,
    /// How many bytes.
    pub length: u64,
    /// The generation in which it came to be as it is.
    pub revpos: u64,
    /// Which content.
    pub digest: Digest,
    /// How the content is opened, where this is what a sealed document says of it; such a one is not written.
    pub sealed: Option<Rc<FileEntry>>,
}

/// A leaf's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLeaf {
    /// Which leaf.
    pub rev: Rev,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// A JSON object as text, without special members.
    pub body: Body,
    /// By name.
    pub attachments: Vec<StoredAttachment>,
}

/// One document's whole current state.
#[derive(Clone, Debug)]
pub struct DocState {
    /// Its place in the changes feed.
    pub seq: u64,
    /// The document.
    pub id: String,
    /// Its history.
    pub tree: RevTree,
    /// Every leaf of the tree, the winner first.
    pub leaves: Vec<StoredLeaf>,
    /// The entry before this one, for the bodies of older revisions; may have been compacted away.
    pub prev: Option<Location>,
}

/// What the directory keeps of an entry.
#[derive(Clone, Debug)]
pub enum Summary<'a> {
    /// A document.
    Doc {
        /// Its place in the changes feed.
        seq: u64,
        /// The document.
        id: &'a str,
        /// The winning revision.
        winner: Rev,
        /// Whether the winner is a tombstone.
        deleted: bool,
        /// The leaves that do not win, best first, and whether each is a tombstone.
        others: Vec<(Rev, bool)>,
        /// The contents its leaves refer to, each once.
        digests: Vec<Digest>,
    },
    /// A `_local/` document.
    Local {
        /// Its id without the prefix.
        id: &'a str,
        /// N of its revision `0-N`; 0 if it was removed.
        rev: u64,
    },
}

/// Collects entries into blocks.
#[derive(Default)]
pub struct BlockBuilder {
    first: BlockNo,
    done: Vec<Vec<u8>>,
    current: Vec<u8>,
    scratch: Vec<u8>,
}

impl BlockBuilder {
    /// For blocks that will be numbered from `first` on.
    pub fn new(first: BlockNo) -> Self {
        Self { first, ..Self::default() }
    }

    /// Adds a document's entry; says where it will stand.
    pub fn push_doc(&mut self, doc: &DocState) -> Location {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        write_doc(&mut scratch, doc);
        let at = self.push(&scratch);
        self.scratch = scratch;
        at
    }

    /// Adds a `_local/` document's entry.
    pub fn push_local(&mut self, id: &str, rev: u64, body: &str) -> Location {
        let mut entry = vec![LOCAL];
        put_str(&mut entry, id);
        put_varint(&mut entry, rev);
        put_str(&mut entry, body);
        self.push(&entry)
    }

    /// Adds an entry's bytes as [`entries`] gave them, unchanged.
    pub fn push(&mut self, entry: &[u8]) -> Location {
        if !self.current.is_empty() && self.current.len() + entry.len() > super::BLOCK_TARGET_BYTES {
            self.done.push(std::mem::take(&mut self.current));
        }
        if self.current.is_empty() {
            self.current.push(FORMAT);
        }
        let at =
            Location { block: self.first + self.done.len() as BlockNo, offset: self.current.len() as u32 };
        put_varint(&mut self.current, entry.len() as u64);
        self.current.extend_from_slice(entry);
        at
    }

    /// The blocks, in order.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}

fn write_doc(out: &mut Vec<u8>, doc: &DocState) {
    let mut digests: Vec<Digest> =
        doc.leaves.iter().flat_map(|leaf| leaf.attachments.iter().map(|a| a.digest)).collect();
    sort_by(&mut digests, Ord::cmp);
    digests.dedup();
    let mut flags = 0;
    if doc.leaves.first().is_some_and(|winner| winner.deleted) {
        flags |= DELETED;
    }
    if doc.leaves.len() > 1 {
        flags |= CONFLICTED;
    }
    if !digests.is_empty() {
        flags |= ATTACHED;
    }
    let is_packed = doc.leaves.iter().any(|leaf| is_packable(&leaf.body));
    if is_packed {
        flags |= PACKED;
    }
    out.push(flags);
    put_varint(out, doc.seq);
    put_str(out, &doc.id);
    if let Some((winner, others)) = doc.leaves.split_first() {
        put_rev(out, &winner.rev);
        if !others.is_empty() {
            put_varint(out, others.len() as u64);
            for leaf in others {
                put_rev(out, &leaf.rev);
                out.push(leaf.deleted.into());
            }
        }
    }
    if !digests.is_empty() {
        put_varint(out, digests.len() as u64);
        for digest in &digests {
            out.extend_from_slice(&digest.0);
        }
    }
    let prev = doc.prev.unwrap_or(Location { block: 0, offset: 0 });
    put_varint(out, prev.block.into());
    put_varint(out, prev.offset.into());
    let mut tree = Vec::with_capacity(18 * doc.tree.nodes().len() + 8);
    write_tree(&mut tree, &doc.tree);
    put_varint(out, tree.len() as u64);
    out.extend_from_slice(&tree);
    for leaf in &doc.leaves {
        if is_packed {
            put_packed(out, &leaf.body)
        } else {
            put_str(out, &leaf.body)
        }
        put_varint(out, leaf.attachments.len() as u64);
        for attachment in &leaf.attachments {
            put_str(out, &attachment.name);
            put_str(out, &attachment.content_type);
            put_varint(out, attachment.length);
            put_varint(out, attachment.revpos);
            out.extend_from_slice(&attachment.digest.0);
        }
    }
}

fn write_tree(out: &mut Vec<u8>, tree: &RevTree) {
    put_varint(out, tree.nodes().len() as u64);
    for (index, node) in tree.nodes().iter().enumerate() {
        let deleted = u8::from(node.deleted);
        match node.parent {
            None => {
                out.push(deleted | 4);
                put_varint(out, node.rev.generation);
            }
            Some(parent) if parent + 1 == index => out.push(deleted | 2),
            Some(parent) => {
                out.push(deleted);
                put_varint(out, parent as u64);
            }
        }
        put_rev_id(out, &node.rev.id);
    }
}

fn read_tree(bytes: &[u8]) -> Result<RevTree> {
    let mut input = Input::new(bytes, 0);
    let count = input.length()?;
    let mut nodes: Vec<Node> = Vec::with_capacity(count.min(bytes.len()));
    for index in 0..count {
        let flags = input.byte()?;
        let parent = match flags & 6 {
            4 => None,
            2 => Some(index.checked_sub(1).ok_or_else(|| Error::corrupt("revision tree"))?),
            _ => Some(input.length()?),
        };
        let generation = match parent {
            None => input.varint()?,
            Some(parent) => {
                let parent = nodes.get(parent).and_then(|parent| parent.rev.generation.checked_add(1));
                parent.ok_or_else(|| Error::corrupt("revision tree"))?
            }
        };
        let rev = Rev { generation, id: input.rev_id()? };
        nodes.push(Node { rev, parent, deleted: flags & 1 != 0 });
    }
    RevTree::from_nodes(nodes)
}

fn read_summary<'a>(input: &mut Input<'a>) -> Result<Summary<'a>> {
    let flags = input.byte()?;
    if flags & LOCAL != 0 {
        return Ok(Summary::Local { id: input.str()?, rev: input.varint()? });
    }
    let seq = input.varint()?;
    let id = input.str()?;
    let winner = input.rev()?;
    let mut others = Vec::new();
    if flags & CONFLICTED != 0 {
        for _ in 0..input.length()? {
            others.push((input.rev()?, input.byte()? != 0));
        }
    }
    let mut digests = Vec::new();
    if flags & ATTACHED != 0 {
        for _ in 0..input.length()? {
            digests.push(input.digest()?);
        }
    }
    Ok(Summary::Doc { seq, id, winner, deleted: flags & DELETED != 0, others, digests })
}

/// What stands in a block.
pub struct RawEntry<'a> {
    /// Where, in bytes from the block's begin.
    pub offset: u32,
    /// What the directory keeps.
    pub summary: Summary<'a>,
    /// The whole entry without its length, for [`BlockBuilder::push`].
    pub bytes: &'a [u8],
}

/// A block's entries, in order.
///
/// Errors: `schema_too_new` if a newer Settee wrote the block, `corrupt` if it does not decode.
pub fn entries(block: &[u8]) -> Result<impl Iterator<Item = Result<RawEntry<'_>>>> {
    let mut input = Input::new(block, 0);
    match input.byte()? {
        1..=FORMAT => {}
        newer if newer > FORMAT => return Err(too_new()),
        _ => return Err(Error::corrupt("log")),
    }
    Ok(std::iter::from_fn(move || {
        (!input.is_at_end()).then(|| {
            let offset = input.at() as u32;
            let length = input.length()?;
            let bytes = input.take(length)?;
            let summary = read_summary(&mut Input::new(bytes, 0))?;
            Ok(RawEntry { offset, summary, bytes })
        })
    }))
}

/// The error for what a newer Settee wrote.
pub(crate) fn too_new() -> Error {
    Error::new(
        Kind::SchemaTooNew,
        "This database was written by a newer version of Settee. Load the newer version to open it.",
    )
}

/// An entry read at a place: what the directory keeps of it, and where its rest begins.
pub struct EntryAt<'a> {
    /// What the directory keeps.
    pub summary: Summary<'a>,
    input: Input<'a>,
    is_packed: bool,
}

/// The entry that stands at `offset` in a block.
pub fn read_at(block: &[u8], offset: u32) -> Result<EntryAt<'_>> {
    let mut outer = Input::new(block, offset as usize);
    let length = outer.length()?;
    let bytes = outer.take(length)?;
    let is_packed = bytes.first().is_some_and(|flags| flags & PACKED != 0);
    let mut input = Input::new(bytes, 0);
    let summary = read_summary(&mut input)?;
    Ok(EntryAt { summary, input, is_packed })
}

impl EntryAt<'_> {
    /// The whole state of the document: `corrupt` if it is a `_local/` one.
    pub fn doc(mut self) -> Result<DocState> {
        let Summary::Doc { seq, id, .. } = &self.summary else { return Err(Error::corrupt("log")) };
        let (seq, id) = (*seq, (*id).to_owned());
        let prev = self.prev()?;
        let length = self.input.length()?;
        let tree = read_tree(self.input.take(length)?)?;
        let revs = self.leaf_revs();
        let mut leaves = Vec::with_capacity(revs.len());
        for (rev, deleted) in revs {
            leaves.push(self.leaf(rev, deleted)?);
        }
        Ok(DocState { seq, id, tree, leaves, prev })
    }

    /// Only the winning leaf; spares the tree.
    pub fn winner(mut self) -> Result<StoredLeaf> {
        self.prev()?;
        let length = self.input.length()?;
        self.input.take(length)?;
        let Some((rev, deleted)) = self.leaf_revs().into_iter().next() else {
            return Err(Error::corrupt("log"));
        };
        self.leaf(rev, deleted)
    }

    /// The body of a `_local/` document.
    pub fn local_body(mut self) -> Result<String> {
        Ok(self.input.str()?.to_owned())
    }

    fn leaf_revs(&self) -> Vec<(Rev, bool)> {
        match &self.summary {
            Summary::Doc { winner, deleted, others, .. } => {
                let mut revs = vec![(winner.clone(), *deleted)];
                revs.extend(others.iter().cloned());
                revs
            }
            Summary::Local { .. } => Vec::new(),
        }
    }

    fn prev(&mut self) -> Result<Option<Location>> {
        let prev = Location { block: self.input.u32()?, offset: self.input.u32()? };
        Ok((prev.block != 0).then_some(prev))
    }

    fn leaf(&mut self, rev: Rev, deleted: bool) -> Result<StoredLeaf> {
        let input = &mut self.input;
        let body = if self.is_packed { input.packed()? } else { input.str()?.to_owned().into() };
        let mut attachments = Vec::new();
        for _ in 0..input.length()? {
            attachments.push(StoredAttachment {
                name: input.str()?.to_owned(),
                content_type: input.str()?.to_owned(),
                length: input.varint()?,
                revpos: input.varint()?,
                digest: input.digest()?,
                sealed: None,
            });
        }
        Ok(StoredLeaf { rev, deleted, body, attachments })
    }
}
