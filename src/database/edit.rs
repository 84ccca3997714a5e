//! One edit of one document's state: who may edit what, which revision comes of it, what the new state
//! is. Pure decisions; the commit in `write.rs` feeds them.

use std::{borrow::Cow, rc::Rc};

use md5::{Digest as _, Md5};

use super::{
    Written,
    conflicts::Contest,
    view::{Meaning, NewLeaf, View},
};
use crate::{
    error::{Error, Kind, Result},
    log::{DocState, StoredAttachment, StoredLeaf},
    model::{Content, Digest, DraftAttachment, Rev, RevId, canonical, sort_by},
    peer::ReplicatedAttachment,
    revtree::RevTree,
    seal::FileEntry,
};

/// One document to write, checked as far as that goes without the database.
pub(super) struct Edit {
    /// Under which the document is stored.
    pub(super) id: String,
    /// How the caller calls it, where that is something else.
    pub(super) name: Option<String>,
    pub(super) view: View,
    pub(super) change: Change,
}

pub(super) enum Change {
    /// An edit by the caller.
    New {
        parent: Option<Rev>,
        force: bool,
        deleted: bool,
        body: String,
        meaning: Meaning,
        attachments: Vec<EditAttachment>,
    },
    /// A revision from elsewhere, stored as it is.
    Replicated { path: Vec<Rev>, deleted: bool, body: String, attachments: Vec<EditAttachment> },
    /// A `_local/` document (`id` without the prefix). `parent` is N of its `0-N`.
    Local { parent: Option<u64>, deleted: bool, body: String },
    /// Keeps a revision from elsewhere aside, as it came; nothing changes if it is there already.
    Aside { body: String, body_digest: Digest, attachments: Vec<EditAttachment> },
    /// Changes one attachment of a revision and nothing else.
    Attachment { parent: Option<Rev>, name: String, with: Option<EditAttachment> },
    /// New leaves, each on its parent, of a document whose leaves that stand against each other are still
    /// `seen` (in order). Of one that is not there if `seen` is empty: then it may as well have been made
    /// before, here or elsewhere. `contents` are those of the leaves' attachments that may be new.
    Leaves { seen: Vec<Rev>, leaves: Vec<(Option<Rev>, StoredLeaf)>, contents: Vec<EditAttachment> },
}

/// An attachment to write.
#[derive(Clone)]
pub(super) struct EditAttachment {
    pub(super) name: String,
    pub(super) content_type: Option<String>,
    pub(super) revpos: Option<u64>,
    /// How many bytes a stub says it has.
    pub(super) length: Option<u64>,
    /// The bytes and their digest; `None` for a stub.
    pub(super) data: Option<(Content, Digest)>,
    /// The digest that a stub names.
    pub(super) stub_digest: Option<Digest>,
    /// In a sealed channel, what is stored of `data`.
    pub(super) sealed: Option<(Content, Rc<FileEntry>)>,
}

impl EditAttachment {
    pub(super) async fn from_draft(mut draft: DraftAttachment) -> Result<Self> {
        let data = match draft.content.take() {
            Some(content) => {
                let digest = content.digest().await?;
                Some((content, digest))
            }
            None => None,
        };
        Ok(Self::of(draft, data))
    }

    /// Of a draft whose content was looked at.
    pub(super) fn of(draft: DraftAttachment, data: Option<(Content, Digest)>) -> Self {
        // The digest of compressed bytes names no content of ours.
        let named = if draft.is_encoded { None } else { draft.digest.as_deref() };
        Self {
            name: draft.name,
            content_type: draft.content_type,
            revpos: draft.revpos,
            length: draft.length,
            data,
            stub_digest: named.and_then(|digest| digest.parse().ok()),
            sealed: None,
        }
    }

    pub(super) async fn of_replicated(attachment: ReplicatedAttachment) -> Result<Self> {
        let draft = DraftAttachment {
            name: attachment.name,
            content_type: Some(attachment.content_type),
            revpos: Some(attachment.revpos),
            length: Some(attachment.length),
            digest: Some(attachment.digest),
            is_encoded: attachment.is_encoded,
            content: attachment.content,
        };
        Self::from_draft(draft).await
    }

    /// The bytes to be stored and their digest; `None` for a stub.
    pub(super) fn stored(&self) -> Option<(&Content, Digest)> {
        match (&self.sealed, &self.data) {
            (Some((content, file)), _) => Some((content, file.sealed_digest)),
            (None, Some((content, digest))) => Some((content, *digest)),
            (None, None) => None,
        }
    }
}

impl Edit {
    /// An edit of the document that is seen as `name`.
    pub(super) fn new(view: &View, name: String, change: Change) -> Self {
        let id = view.key(&name).into_owned();
        Self::stored(view, id, name, change)
    }

    /// The same for a `_local/` document (without the prefix).
    pub(super) fn local(view: &View, name: String, change: Change) -> Self {
        let id = view.local_key(&name).into_owned();
        Self::stored(view, id, name, change)
    }

    fn stored(view: &View, id: String, name: String, change: Change) -> Self {
        let name = (name != id).then_some(name);
        Self { id, name, view: view.clone(), change }
    }

    /// What is told of it once it is written.
    pub(super) fn written(&self, rev: &Rev) -> Written {
        Written { ok: true, id: self.name().to_owned(), rev: rev.to_string() }
    }

    /// The document's id as the caller knows it.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// The same, with the prefix of a `_local/` document.
    pub(super) fn full_id(&self) -> String {
        match self.change {
            Change::Local { .. } => format!("_local/{}", self.name()),
            _ => self.name().to_owned(),
        }
    }

    pub(super) fn attachments(&self) -> &[EditAttachment] {
        match &self.change {
            Change::New { attachments, .. }
            | Change::Replicated { attachments, .. }
            | Change::Aside { attachments, .. }
            | Change::Leaves { contents: attachments, .. } => attachments,
            Change::Attachment { with, .. } => with.as_slice(),
            Change::Local { .. } => &[],
        }
    }

    /// The revision that an edit of the caller's is made on.
    ///
    /// Errors: 409 `conflict`.
    pub(super) fn parent(&self, current: Option<&DocState>) -> Result<Option<Rev>> {
        match &self.change {
            Change::New { parent: Some(parent), force: true, .. } => Ok(Some(parent.clone())),
            Change::New { parent, deleted, .. } => parent_of_edit(current, parent.as_ref(), *deleted),
            Change::Attachment { parent, .. } => parent_of_edit(current, parent.as_ref(), false),
            _ => Ok(None),
        }
    }

    /// What an edit of the caller's makes of the document, on this parent.
    ///
    /// Errors: 412 `missing_stub`; 404 `not_found` for an attachment to be removed that is not there.
    pub(super) fn new_leaf(&self, current: Option<&DocState>, parent: Option<&Rev>) -> Result<NewLeaf<'_>> {
        let generation = parent.map_or(0, |parent| parent.generation) + 1;
        let leaf = || {
            let mut leaves = current.into_iter().flat_map(|doc| &doc.leaves);
            let leaf = leaves.find(|leaf| Some(&leaf.rev) == parent);
            leaf.map(|leaf| self.view.seen(&self.id, leaf)).transpose()
        };
        match &self.change {
            Change::New { deleted, body, meaning, attachments, .. } => {
                // Only a stub has to know what was there.
                let leaf = if attachments.is_empty() { None } else { leaf()? };
                let mut stored = Vec::with_capacity(attachments.len());
                for attachment in attachments {
                    stored.push(attachment.resolve(self.name(), generation, leaf.as_deref(), None)?);
                }
                let (body, meaning) = (Cow::Borrowed(&**body), Cow::Borrowed(meaning));
                Ok(NewLeaf { deleted: *deleted, body, meaning, attachments: stored })
            }
            Change::Attachment { name, with, .. } => {
                let leaf = leaf()?;
                let leaf = leaf.as_deref();
                let live = leaf.filter(|leaf| !leaf.deleted);
                let mut stored = live.map_or_else(Vec::new, |leaf| leaf.attachments.clone());
                let before = stored.len();
                stored.retain(|attachment| attachment.name != *name);
                match with {
                    Some(attachment) => {
                        stored.push(attachment.resolve(self.name(), generation, leaf, None)?);
                    }
                    None if stored.len() == before => {
                        return Err(Error::new(Kind::NotFound, "Document is missing attachment"));
                    }
                    None => {}
                }
                sort_by(&mut stored, |a, b| a.name.cmp(&b.name));
                let body = live.map_or("{}", |leaf| &leaf.body).to_owned();
                let meaning = self.view.meaning(&body)?;
                let (body, meaning) = (Cow::Owned(body), Cow::Owned(meaning));
                Ok(NewLeaf { deleted: false, body, meaning, attachments: stored })
            }
            _ => Err(Error::new(Kind::Unknown, "Only an edit of the caller's makes a leaf.")),
        }
    }
}

/// The leaf that an edit of the caller's makes, sealed before the commit, and the revision it was sealed on.
pub(super) type Ready = (Option<Rev>, StoredLeaf);

/// One edit of a document's state: the revision it made (or named), and the new state unless nothing
/// changed. `ready` is the edit's leaf if it was sealed already.
pub(super) fn apply(
    edit: &Edit,
    current: Option<&DocState>,
    ready: Option<&Ready>,
    revs_limit: usize,
    is_known: &dyn Fn(&Digest) -> bool,
) -> Result<(Rev, Option<DocState>)> {
    match &edit.change {
        Change::New { .. } | Change::Attachment { .. } => {
            let parent = edit.parent(current)?;
            let leaf = match ready {
                // The same edit of the same revision is the same leaf.
                Some((on, leaf)) if *on == parent => leaf.clone(),
                _ => {
                    let new = edit.new_leaf(current, parent.as_ref())?;
                    edit.view.new_leaf((&edit.id, edit.name()), current, parent.as_ref(), new)?
                }
            };
            let path: Vec<Rev> = std::iter::once(leaf.rev.clone()).chain(parent).collect();
            merged(edit, current, &path, leaf, revs_limit)
        }
        Change::Replicated { path, deleted, body, attachments } => {
            let Some(rev) = path.first() else {
                return Err(Error::doc_validation("_revisions.ids isn't a array."));
            };
            // Told once more, with no more of its history than is known.
            if let Some(doc) = current
                && doc.leaves.iter().any(|leaf| leaf.rev == *rev)
                && doc.tree.find(rev).is_some_and(|at| doc.tree.ancestry(at).len() >= path.len())
            {
                return Ok((rev.clone(), None));
            }
            let ancestor = current.and_then(|doc| doc.leaves.iter().find(|leaf| path.contains(&leaf.rev)));
            let mut stored = Vec::with_capacity(attachments.len());
            for attachment in attachments {
                stored.push(attachment.resolve(&edit.id, rev.generation, ancestor, Some(is_known))?);
            }
            let leaf = StoredLeaf {
                rev: rev.clone(),
                deleted: *deleted,
                body: body.clone().into(),
                attachments: stored,
            };
            merged(edit, current, path, leaf, revs_limit)
        }
        Change::Aside { body, body_digest, attachments } => {
            let winner = current.and_then(|doc| doc.leaves.first());
            if let Some(winner) = winner.filter(|winner| !winner.deleted) {
                return Ok((winner.rev.clone(), None));
            }
            let mut stored = Vec::with_capacity(attachments.len());
            for attachment in attachments {
                stored.push(attachment.resolve(&edit.id, 1, None, Some(is_known))?);
            }
            let parent = winner.map(|winner| winner.rev.clone());
            let meaning = Meaning::Digest(*body_digest);
            let aside = |parent, stored| new_leaf(parent, false, body.clone(), &meaning, stored);
            // What was held so before was looked at and let go of: the same, once more.
            if let (Some(doc), Some(parent)) = (current, &parent) {
                let ancestry = doc.tree.find(parent).map_or_else(Vec::new, |at| doc.tree.ancestry(at));
                let mut before: Vec<_> = ancestry.iter().map(|&at| Some(&doc.tree.nodes()[at].rev)).collect();
                before.push(None);
                if before.windows(2).any(|pair| pair[0] == Some(&aside(pair[1], stored.clone()).rev)) {
                    return Ok((parent.clone(), None));
                }
            }
            let leaf = aside(parent.as_ref(), stored);
            let path: Vec<Rev> = std::iter::once(leaf.rev.clone()).chain(parent).collect();
            merged(edit, current, &path, leaf, revs_limit)
        }
        Change::Leaves { seen, leaves, .. } => {
            let knows = |rev: &Rev| current.is_some_and(|doc| doc.tree.find(rev).is_some());
            if let [(None, leaf)] = &leaves[..]
                && knows(&leaf.rev)
            {
                return Ok((leaf.rev.clone(), None));
            }
            if current.map_or_else(Vec::new, |doc| Contest::of(doc).leaves(doc)) != *seen {
                return Err(Error::conflict());
            }
            let mut made: Option<DocState> = None;
            for (parent, leaf) in leaves {
                let path: Vec<Rev> = std::iter::once(&leaf.rev).chain(parent).cloned().collect();
                let (_, next) = merged(edit, made.as_ref().or(current), &path, leaf.clone(), revs_limit)?;
                made = next.or(made);
            }
            let winner = made.as_ref().or(current).and_then(|doc| doc.leaves.first());
            Ok((winner.ok_or_else(Error::missing)?.rev.clone(), made))
        }
        Change::Local { .. } => Err(Error::new(Kind::Unknown, "A _local document has no revision tree.")),
    }
}

/// The leaves that settle a conflict, see [`super::conflicts`]: `content` on top of the winner, unless it is
/// the winner's, and an end to every other leaf that stands against it. `stored` is the document as it is
/// stored, `doc` as it is seen.
pub(super) fn resolution(
    view: &View,
    name: &str,
    stored: &DocState,
    doc: &DocState,
    contest: &Contest,
    mut content: StoredLeaf,
) -> Result<Vec<(Option<Rev>, StoredLeaf)>> {
    let winner = doc.leaves.first().ok_or_else(Error::missing)?;
    let mut is_kept =
        winner.deleted == content.deleted && winner.attachments.len() == content.attachments.len();
    for attachment in &mut content.attachments {
        // To the winner's branch it is new, unless the winner had it.
        let is_same = |own: &&StoredAttachment| {
            (&own.name, &own.content_type, own.digest)
                == (&attachment.name, &attachment.content_type, attachment.digest)
        };
        let before = winner.attachments.iter().find(is_same);
        is_kept &= before.is_some();
        attachment.revpos = before.map_or(winner.rev.generation + 1, |before| before.revpos);
    }
    let meaning = view.meaning(&content.body)?;
    // A tombstone needs an end only where something is left for it to stand against.
    let losers = contest.conflicts.iter().chain(if content.deleted { &[] } else { &*contest.deleted });
    let nothing = view.meaning("{}")?;
    let id = (&*stored.id, name);
    let end = |rev: &Rev| {
        let (body, meaning) = (Cow::Borrowed("{}"), Cow::Borrowed(&nothing));
        let new = NewLeaf { deleted: true, body, meaning, attachments: Vec::new() };
        Ok((Some(rev.clone()), view.new_leaf(id, Some(stored), Some(rev), new)?))
    };
    let mut leaves: Vec<_> = losers.map(end).collect::<Result<_>>()?;
    if !is_kept || canonical::digest(&winner.body)? != meaning.digest() {
        let rev = Some(winner.rev.clone());
        let StoredLeaf { deleted, body, attachments, .. } = content;
        let (body, meaning) = (Cow::Owned(body.into_text()), Cow::Owned(meaning));
        let new = NewLeaf { deleted, body, meaning, attachments };
        let leaf = view.new_leaf(id, Some(stored), rev.as_ref(), new)?;
        leaves.push((rev, leaf));
    }
    Ok(leaves)
}

/// Which revision an edit of the caller's is based on, or why it may not be.
///
/// Source: `couch_db.erl`, `prep_and_validate_update/5`, and `couch_db_updater.erl`, `merge_rev_tree/4`:
/// a deleted document can be made again without a revision, on top of its tombstone, and only so.
fn parent_of_edit(current: Option<&DocState>, parent: Option<&Rev>, deleted: bool) -> Result<Option<Rev>> {
    let winner = current.and_then(|doc| doc.leaves.first());
    match (winner, parent) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Error::conflict()),
        (Some(winner), None) if winner.deleted && !deleted => Ok(Some(winner.rev.clone())),
        (Some(_), None) => Err(Error::conflict()),
        (Some(winner), Some(_)) if winner.deleted => Err(Error::conflict()),
        (Some(_), Some(parent)) => {
            let is_leaf = current.is_some_and(|doc| doc.leaves.iter().any(|leaf| leaf.rev == *parent));
            if is_leaf { Ok(Some(parent.clone())) } else { Err(Error::conflict()) }
        }
    }
}

/// The revision that an edit makes: the same edit of the same parent, the same revision, everywhere.
pub(super) fn new_leaf(
    parent: Option<&Rev>,
    deleted: bool,
    body: String,
    meaning: &Meaning,
    attachments: Vec<StoredAttachment>,
) -> StoredLeaf {
    let mut md5 = Md5::new();
    md5.update(b"settee 1\0");
    md5.update([u8::from(deleted)]);
    if let Some(parent) = parent {
        md5.update(parent.to_string());
    }
    md5.update([0]);
    md5.update(meaning.digest().0);
    for attachment in &attachments {
        for text in [&attachment.name, &attachment.content_type] {
            md5.update((text.len() as u64).to_le_bytes());
            md5.update(text);
        }
        md5.update(attachment.digest.0);
    }
    let generation = parent.map_or(0, |parent| parent.generation) + 1;
    let rev = Rev { generation, id: RevId::Hash(md5.finalize().into()) };
    StoredLeaf { rev, deleted, body: body.into(), attachments }
}

/// Adds a leaf to a document's tree.
fn merged(
    edit: &Edit,
    current: Option<&DocState>,
    path: &[Rev],
    leaf: StoredLeaf,
    revs_limit: usize,
) -> Result<(Rev, Option<DocState>)> {
    let mut tree = current.map_or_else(RevTree::new, |doc| doc.tree.clone());
    let rev = leaf.rev.clone();
    tree.merge(path, leaf.deleted)?;
    tree.stem(revs_limit);
    // The best last, so that each is found where it is looked for first: there may be thousands.
    let own = current.map_or(&[][..], |doc| &doc.leaves);
    let mut bodies: Vec<StoredLeaf> = own.iter().rev().cloned().collect();
    if !bodies.iter().any(|body| body.rev == leaf.rev) {
        bodies.push(leaf);
    }
    // Only leaves keep their bodies here; older ones are found through `prev` until compaction.
    let mut leaves = Vec::with_capacity(bodies.len());
    for index in tree.leaves() {
        if let Some(at) = bodies.iter().rposition(|body| body.rev == tree.nodes()[index].rev) {
            leaves.push(bodies.remove(at));
        }
    }
    let is_same = current.is_some_and(|doc| {
        doc.leaves.len() == leaves.len()
            && doc.leaves.iter().zip(&leaves).all(|(a, b)| a.rev == b.rev)
            && is_same_history(&doc.tree, &tree)
    });
    if is_same {
        return Ok((rev, None));
    }
    let doc = DocState { seq: 0, id: edit.id.clone(), tree, leaves, prev: None };
    Ok((rev, Some(doc)))
}

/// Whether two trees have the same revisions with the same parents, in whatever order they stand. A path
/// may join two branches and add nothing else.
fn is_same_history(a: &RevTree, b: &RevTree) -> bool {
    let parent = |tree: &RevTree, at: usize| tree.nodes()[at].parent.map(|at| tree.nodes()[at].rev.clone());
    let is_in_a = |at: usize| a.find(&b.nodes()[at].rev).is_some_and(|in_a| parent(a, in_a) == parent(b, at));
    a.nodes().len() == b.nodes().len() && (0..b.nodes().len()).all(is_in_a)
}

impl EditAttachment {
    /// As an attachment of a document merged of these leaves: a stub means what one of them has under its
    /// name, with the digest it names.
    pub(super) fn merged_from(&self, id: &str, leaves: &[StoredLeaf]) -> Result<StoredAttachment> {
        let is_meant = |own: &StoredAttachment| {
            own.name == self.name && self.stub_digest.is_none_or(|digest| digest == own.digest)
        };
        let leaf = leaves.iter().find(|leaf| leaf.attachments.iter().any(is_meant));
        self.resolve(id, 1, leaf, None)
    }

    /// Whether a stub from elsewhere means what an ancestor has under the same name.
    fn is_same_as(&self, before: &StoredAttachment) -> bool {
        is_same_attachment(before, self.stub_digest, self.revpos, self.length)
    }

    /// What the leaf will refer to. A stub takes over what `parent` has under its name, or any content
    /// that `is_known` knows by its digest: 412 `missing_stub` otherwise.
    fn resolve(
        &self,
        id: &str,
        generation: u64,
        parent: Option<&StoredLeaf>,
        is_known: Option<&dyn Fn(&Digest) -> bool>,
    ) -> Result<StoredAttachment> {
        if let Some((content, digest)) = &self.data {
            let content_type = self.content_type.clone();
            return Ok(StoredAttachment {
                name: self.name.clone(),
                content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
                length: content.size_bytes(),
                sealed: self.sealed.as_ref().map(|(_, file)| file.clone()),
                // Who replicates says when it came to be; who edits makes it now.
                revpos: if is_known.is_some() { self.revpos.unwrap_or(generation) } else { generation },
                digest: *digest,
            });
        }
        let before = parent.and_then(|leaf| leaf.attachments.iter().find(|before| before.name == self.name));
        if let Some(before) = before
            && (is_known.is_none() || self.is_same_as(before))
        {
            // Who replicates says what it is now: the same bytes may have been put as another type.
            let told = is_known.map(|_| self);
            return Ok(StoredAttachment {
                content_type: told
                    .and_then(|told| told.content_type.clone())
                    .unwrap_or_else(|| before.content_type.clone()),
                revpos: told.and_then(|told| told.revpos).unwrap_or(before.revpos),
                ..before.clone()
            });
        }
        if let (Some(is_known), Some(digest), Some(length)) = (is_known, self.stub_digest, self.length)
            && is_known(&digest)
        {
            let content_type = self.content_type.clone();
            return Ok(StoredAttachment {
                name: self.name.clone(),
                content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
                length,
                revpos: self.revpos.unwrap_or(generation),
                digest,
                sealed: None,
            });
        }
        Err(Error::new(Kind::MissingStub, format!("Invalid attachment stub in {id} for {}", self.name)))
    }
}

/// Whether an attachment of an ancestor is the one that a replicated stub describes: the same bytes, or,
/// where the source keeps it compressed and its digest says nothing, of the same edit and length.
pub(super) fn is_same_attachment(
    before: &StoredAttachment,
    digest: Option<Digest>,
    revpos: Option<u64>,
    length: Option<u64>,
) -> bool {
    match digest {
        Some(digest) => digest == before.digest,
        None => revpos == Some(before.revpos) && length == Some(before.length),
    }
}
