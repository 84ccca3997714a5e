//! Conflicts: which documents have one, and how one is settled.
//!
//! # What counts as a conflict
//!
//! Two leaves that are not deleted, as in CouchDB; and a document that was *edited here while it was
//! deleted elsewhere*, which CouchDB does not list because one leaf is alive. Its rule here: a tombstone
//! counts against the live leaves as long as it stands **directly on a revision that one of them descends
//! from**. Somebody deleted the very revision that somebody else went on from, and neither knew:
//!
//! ```text
//!   1-a ─┬─ 2-b ── 3-c          edited          2-x† stands on 1-a, which 3-c descends from: a conflict
//!        └─ 2-x†                deleted
//!
//!   1-a ─┬─ 2-b ── 3-y†         settled         3-y† stands on 2-b, which 2-c does not descend from:
//!        └─ 2-c                                 a losing branch that was ended, no conflict
//!
//!   1-a ─┬─ 2-b ── 3-c          looked at       3-y† stands on 2-x†: no conflict any more
//!        └─ 2-x† ── 3-y†
//! ```
//!
//! So what everybody does in CouchDB to settle a conflict, to delete the losing leaves, is not listed;
//! and [`Database::resolve`] ends a deleted branch that lost with a second tombstone, by the same rule.
//! The tree alone decides: it needs no record of who has looked at what, replicates, and is the same on
//! every device. Generations would not do: an offline device may have edited any number of times.
//!
//! What the tree cannot tell: a device that edits *and then* deletes, offline, leaves the second picture.
//! It is taken for a settled conflict. A tombstone whose parent was stemmed away is not listed either.
//!
//! # What a resolution writes
//!
//! One entry of the log: the chosen content on top of the winning leaf (nothing where it is the winner's
//! already), and a tombstone on every other live leaf. Not a tombstone on the winner with the chosen leaf
//! left alone: two devices that choose differently would delete each other's choice, and the document with
//! it. This way they make two edits of one revision, a conflict that can be seen. Devices that choose the
//! same write the same revisions.

use std::{borrow::Cow, collections::HashMap};

use super::{
    Changes, Database, Written,
    edit::{Change, Edit, resolution},
    options::{ChangesOptions, ResolveOptions},
    render::{Rendered, content_gone},
    view::{NewLeaf, View},
    write::How,
};
use crate::{
    error::{Error, Kind, Result},
    log::{DocState, Found, SeqEntry, StoredLeaf, read_at},
    model::{Content, Draft, DraftAttachment, Rev, check_doc_id},
};

/// What stands against a document's winner.
#[derive(Default)]
pub(super) struct Contest {
    /// The other leaves that are not deleted, best first.
    pub(super) conflicts: Vec<Rev>,
    /// The tombstones that count, best first.
    pub(super) deleted: Vec<Rev>,
}

impl Contest {
    pub(super) fn of(doc: &DocState) -> Self {
        let mut contest = Self::default();
        let live: Vec<usize> = doc
            .leaves
            .iter()
            .filter(|leaf| !leaf.deleted)
            .filter_map(|leaf| doc.tree.find(&leaf.rev))
            .collect();
        for leaf in doc.leaves.iter().skip(1) {
            if !leaf.deleted {
                contest.conflicts.push(leaf.rev.clone());
            } else if let Some(parent) = doc.tree.find(&leaf.rev).and_then(|at| doc.tree.nodes()[at].parent)
                && live.iter().any(|&live| doc.tree.is_ancestor(parent, live))
            {
                contest.deleted.push(leaf.rev.clone());
            }
        }
        contest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.conflicts.is_empty() && self.deleted.is_empty()
    }

    /// The leaves concerned, the winner first; the winner alone where there is no conflict.
    pub(super) fn leaves(&self, doc: &DocState) -> Vec<Rev> {
        let winner = doc.leaves.iter().take(1).map(|leaf| &leaf.rev);
        winner.chain(&self.conflicts).chain(&self.deleted).cloned().collect()
    }
}

/// Whether only the tree can tell what stands against the winner: a tombstone that may stand on an
/// ancestor of a live leaf, so one of no higher generation.
fn is_unclear(found: &Found<'_>) -> bool {
    let others = found.others();
    let highest = others.iter().filter(|(_, deleted)| !deleted).map(|(rev, _)| rev.generation).max();
    let highest = highest.unwrap_or(0).max(found.rev().generation);
    !found.deleted() && others.iter().any(|(rev, deleted)| *deleted && rev.generation <= highest)
}

/// What a feed of conflicts remembers of documents with several leaves.
pub(super) struct Told {
    /// Whether it began after the start, so that a document may have been in conflict before.
    is_resumed: bool,
    /// By number: whether it was in conflict when it was last told of, or passed over.
    pub(super) docs: HashMap<u32, bool>,
}

impl Told {
    /// Whether there is something to tell of a document.
    fn wants(&self, found: &Found<'_>, contest: &Contest) -> bool {
        let before = self.docs.get(&found.number()).copied();
        !contest.is_empty() || before.unwrap_or(self.is_resumed && !found.others().is_empty())
    }
}

impl Database {
    /// The documents in conflict, as a changes feed: those that are, in the order of their last change;
    /// then, with waiting, those that get into a conflict or out of it. What counts is on this module's
    /// page.
    ///
    /// Shape:  rows `{"seq","id","rev","conflicts":["rev",…],"deletedConflicts":["rev",…],"doc"?}`: the
    /// winner, the other leaves that are not deleted, and the tombstones of deletions that the live leaves'
    /// authors did not know. A document that is out of its conflict is told with both empty (and
    /// `"deleted":true` if that deleted it): one that this feed told of, or, where `since` is given, one
    /// with more than one leaf. `options` are those of `changes` without `style`.
    /// Errors: as [`Database::changes`]; 400 `query_parse_error` for `style`.
    pub fn conflicts(&self, options: ChangesOptions) -> Result<Changes> {
        if options.style.is_some() {
            return Err(Error::new(Kind::QueryParse, "Option `style`: a row of conflicts names every leaf."));
        }
        let is_resumed = options.since.as_ref().is_some_and(|since| *since != 0.into());
        let mut changes = self.changes(options)?;
        changes.told = Some(Told { is_resumed, docs: HashMap::new() });
        Ok(changes)
    }

    /// The entries among these that a feed of conflicts tells, at most `limit`, what of them, and what it
    /// has to remember once it has.
    pub(super) async fn contested(
        &self,
        told: &Told,
        entries: Vec<SeqEntry>,
        limit: u64,
    ) -> Result<(Vec<SeqEntry>, Vec<Contest>, Vec<(u32, bool)>)> {
        let unclear: Vec<u32> = {
            let state = self.inner.state.borrow();
            let numbers = entries.iter().map(|entry| entry.number);
            numbers.filter(|&number| is_unclear(&state.directory.doc(number))).collect()
        };
        let blocks = self.blocks_of(&unclear).await?;
        let state = self.inner.state.borrow();
        let (mut kept, mut contests, mut noted) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let found = state.directory.doc(entry.number);
            let contest = if is_unclear(&found) {
                // Without its block it has just become so, and has a later place in the feed.
                let Some(block) = blocks.get(&found.at().block) else { continue };
                Contest::of(&read_at(block, found.at().offset)?.doc()?)
            } else {
                let others = found.others().iter().filter(|(_, deleted)| !deleted);
                Contest { conflicts: others.map(|(rev, _)| rev.clone()).collect(), ..Contest::default() }
            };
            if kept.len() as u64 == limit {
                break;
            }
            if !found.others().is_empty() || told.docs.contains_key(&entry.number) {
                noted.push((entry.number, !contest.is_empty()));
            }
            if told.wants(&found, &contest) {
                kept.push(entry);
                contests.push(contest);
            }
        }
        Ok((kept, contests, noted))
    }

    /// The leaves that stand against each other, for a person or a function to choose from.
    ///
    /// Shape:  a JSON array of documents, the winner first, with `_rev`, tombstones with `_deleted`,
    /// attachments as stubs. The winner alone where there is no conflict.
    /// Errors: 404 `not_found` (`missing`).
    pub async fn contested_docs(&self, id: &str) -> Result<Rendered> {
        check_doc_id(id)?;
        let view = self.view()?;
        let doc = self.doc(&view, id).await?.ok_or_else(Error::missing)?;
        let mut out = Rendered::default();
        out.push("[");
        for rev in Contest::of(&doc).leaves(&doc) {
            if let Some(leaf) = doc.leaves.iter().find(|leaf| leaf.rev == rev) {
                out.push(if out.json.len() > 1 { "," } else { "" });
                out.push_leaf(id, leaf);
            }
        }
        out.push("]");
        Ok(out)
    }

    /// Settles a document's conflict, so that one leaf is left, in one transaction.
    ///
    /// `how` is a revision out of [`Database::contested_docs`] whose content is to stand (that of a
    /// tombstone deletes the document); or a whole document as JSON text, with `contents` as in
    /// [`Database::put`], its stubs taken from any of the leaves; or `keep-both` for the winner with
    /// [`ResolveOptions::keep_both`]. A document without a conflict stays as it is.
    ///
    /// Shape:  the winner's revision after it.
    /// Errors: 404 `not_found` if there never was such a document; 409 `conflict` if `how` is none of the
    /// revisions, the leaves are no longer those of [`ResolveOptions::revs`], or a copy's id is taken; for a
    /// document those of [`Database::put`].
    /// Atomic: the document and the copies, or nothing.
    pub async fn resolve(
        &self,
        id: &str,
        how: &str,
        contents: &[Content],
        options: &ResolveOptions,
    ) -> Result<Written> {
        check_doc_id(id)?;
        if id.starts_with("_local/") {
            return Err(Error::bad_request("_local documents have no conflicts."));
        }
        loop {
            let before = self.last_seq();
            match self.resolve_now(id, how, contents, options).await {
                Err(error) if self.may_read_again(&error, before).await => {}
                done => return done,
            }
        }
    }

    async fn resolve_now(
        &self,
        id: &str,
        how: &str,
        contents: &[Content],
        options: &ResolveOptions,
    ) -> Result<Written> {
        // What another tab wrote a moment ago counts.
        self.refresh().await?;
        let view = self.view()?;
        let stored = self.doc(&View::AsStored, &view.key(id)).await?.ok_or_else(Error::missing)?;
        let doc = view.doc(stored.clone())?;
        let contest = Contest::of(&doc);
        let leaves = contest.leaves(&doc);
        let winner = leaves.first().ok_or_else(Error::missing)?;
        if let Some(revs) = &options.revs {
            let revs = revs.iter().map(|rev| rev.parse()).collect::<Result<Vec<Rev>>>()?;
            if revs.len() != leaves.len() || !leaves.iter().all(|rev| revs.contains(rev)) {
                return Err(Error::conflict());
            }
        }
        let (mut merged, mut chosen) = (Vec::new(), winner.clone());
        let content = if how.starts_with('{') {
            let draft = Draft::parse(how, contents)?;
            if draft.id.as_deref().is_some_and(|named| named != id) {
                return Err(Error::bad_request("The merged document has another _id."));
            }
            let draft = Draft { id: Some(id.to_owned()), rev: None, ..draft };
            let how_to = How { view: view.clone(), new_edits: true, force: false };
            let Change::New { deleted, body, attachments, .. } =
                self.check(draft, &how_to, false).await?.change
            else {
                return Err(Error::conflict());
            };
            let taken = attachments.iter().map(|one| one.merged_from(id, &doc.leaves));
            let taken = taken.collect::<Result<_>>()?;
            merged = attachments;
            StoredLeaf { rev: winner.clone(), deleted, body: body.into(), attachments: taken }
        } else {
            if how != "keep-both" {
                chosen = how.parse()?;
            }
            let leaf = doc.leaves.iter().find(|leaf| leaf.rev == chosen && leaves.contains(&chosen));
            leaf.ok_or_else(Error::conflict)?.clone()
        };
        if contest.is_empty() {
            return Ok(Written { ok: true, id: id.to_owned(), rev: winner.to_string() });
        }
        let mut edits = Vec::new();
        if options.keep_both || how == "keep-both" {
            for leaf in doc.leaves.iter().filter(|leaf| !leaf.deleted && leaf.rev != chosen) {
                let copy = options.ids.get(&leaf.rev.to_string()).cloned();
                let copy = copy.unwrap_or_else(|| format!("{id}~{}", leaf.rev));
                check_doc_id(&copy)?;
                if copy.starts_with("_local/")
                    || copy == id
                    || edits.iter().any(|edit: &Edit| edit.name() == copy)
                {
                    return Err(Error::bad_request("Each document that is kept needs an id of its own."));
                }
                let (mut contents, mut attachments) = (Vec::new(), leaf.attachments.clone());
                for stored in &mut attachments {
                    let content = self.content(&view, id, stored).await?.ok_or_else(content_gone)?;
                    let (name, content_type) = (stored.name.clone(), stored.content_type.clone());
                    let draft = DraftAttachment::new(name, content_type, content);
                    let copied = stored.sealed.as_deref();
                    let content = view.attachment(&*self.inner.platform, &copy, draft, copied).await?;
                    stored.sealed = content.sealed.as_ref().map(|(_, file)| file.clone());
                    contents.push(content);
                    stored.revpos = 1;
                }
                let meaning = view.meaning(&leaf.body)?;
                let (body, meaning) = (Cow::Borrowed(&*leaf.body), Cow::Owned(meaning));
                let new = NewLeaf { deleted: false, body, meaning, attachments };
                let leaf = view.new_leaf((&view.key(&copy), &copy), None, None, new)?;
                let change = Change::Leaves { seen: Vec::new(), leaves: vec![(None, leaf)], contents };
                edits.push(Edit::new(&view, copy, change));
            }
        }
        let made = resolution(&view, id, &stored, &doc, &contest, content)?;
        let change = Change::Leaves { leaves: made, seen: leaves, contents: merged };
        edits.push(Edit::new(&view, id.to_owned(), change));
        self.write_edits(edits).await?.pop().unwrap_or_else(|| Err(Error::closed()))
    }
}
