//! Edits: from JSON text to one commit.
//!
//! What takes time or may wait (parsing, digests of attachments, reading old states) is done before
//! the commit. What must see the log's end (is the parent still a leaf?) is done in the commit's
//! builder, which is synchronous and may run twice.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    rc::Rc,
    task::Poll,
};

use futures::poll;
use serde::Serialize;

use super::{
    Database, Inner, Job, State,
    ahead::{SEAL_AT_ONCE, SealedAhead, Write},
    edit::{Change, Edit, EditAttachment, apply},
    gate::Room,
    options::{BulkDocsOptions, PutOptions},
    view::{LOG, View},
};
use crate::{
    error::{Error, Kind, Result},
    log::{BlockBuilder, DocState, Location, read_at},
    model::{Bytes, Content, Digest, Draft, hex, split_array},
    peer::ReplicatedDoc,
    seal::padded_len,
    store::{Batch, Block, BlockNo},
};

/// Documents parsed between two turns of the event loop: a few milliseconds' worth.
const PARSE_AT_ONCE: usize = 250;

/// What a write that succeeded tells: `{"ok":true,"id":…,"rev":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// True.
    pub ok: bool,
    /// The document.
    pub id: String,
    /// Its new revision; `0-N` for a `_local/` document.
    pub rev: String,
}

/// How a caller's documents are written.
pub(super) struct How {
    pub(super) view: View,
    pub(super) new_edits: bool,
    pub(super) force: bool,
}

impl Database {
    /// Writes a document: PouchDB's `put`.
    ///
    /// Shape:  `json` is a document; an attachment's `data` is base64, or a number n for `contents[n]`.
    /// Errors: those of [`Draft::parse`]; 400 `bad_request` without an id; 409 `conflict`; 412
    /// `missing_stub`; 413 `document_too_large`; 507 `insufficient_storage`.
    /// Atomic: the whole document with its attachments, or nothing.
    pub async fn put(&self, json: &str, contents: &[Content], options: &PutOptions) -> Result<Written> {
        self.put_as(self.view()?, json, contents, options).await
    }

    pub(super) async fn put_as(
        &self,
        view: View,
        json: &str,
        contents: &[Content],
        options: &PutOptions,
    ) -> Result<Written> {
        let how = How { view, new_edits: options.new_edits != Some(false), force: options.force };
        let edit = self.check(Draft::parse(json, contents)?, &how, false).await?;
        self.write_one(edit).await
    }

    /// Writes a document, making an id for one that has none: PouchDB's `post`.
    pub async fn post(&self, json: &str, contents: &[Content], options: &PutOptions) -> Result<Written> {
        let how =
            How { view: self.view()?, new_edits: options.new_edits != Some(false), force: options.force };
        let edit = self.check(Draft::parse(json, contents)?, &how, true).await?;
        self.write_one(edit).await
    }

    /// Writes documents; a conflicting one fails alone.
    ///
    /// Shape:  a JSON array of documents in; for each, its id and what became of it.
    /// Errors: as CouchDB, the whole call fails with the first document that is malformed (those of
    /// [`Draft::parse`], 413 `document_too_large`), and nothing is written; 400 `bad_request` if it is no
    /// array; what the store says.
    /// Atomic: all that succeeded are there together, or none. In a sealed channel, each 256 of them; if the store
    /// fails at some, they fail with what it says.
    pub async fn bulk_docs(
        &self,
        json: &str,
        contents: &[Content],
        options: &BulkDocsOptions,
    ) -> Result<Vec<(Option<String>, Result<Written>)>> {
        let how = How { view: self.view()?, new_edits: options.new_edits != Some(false), force: false };
        let mut edits = Vec::new();
        for (index, text) in split_array(json)?.into_iter().enumerate() {
            if index % PARSE_AT_ONCE == PARSE_AT_ONCE - 1 {
                self.inner.platform.sleep(0).await;
            }
            edits.push(self.check(Draft::parse(text.get(), contents)?, &how, true).await?);
        }
        let ids: Vec<String> = edits.iter().map(Edit::full_id).collect();
        let written = self.write_many(edits).await?;
        Ok(ids.into_iter().map(Some).zip(written).collect())
    }

    /// Deletes a document: a tombstone with an empty body.
    pub async fn remove(&self, id: &str, rev: &str) -> Result<Written> {
        let draft = Draft {
            id: Some(id.to_owned()),
            rev: Some(rev.to_owned()),
            deleted: true,
            body: "{}".to_owned(),
            ..Draft::default()
        };
        crate::model::check_doc_id(id)?;
        let how = How { view: self.view()?, new_edits: true, force: false };
        if !id.starts_with("_local/") && self.winner(&how.view, id).await?.ok_or_else(Error::missing)?.deleted
        {
            return Err(Error::deleted());
        }
        let edit = self.check(draft, &how, false).await?;
        self.write_one(edit).await
    }

    /// How long a body is where it replicates to, at most: sealed, it is padded and in base64.
    fn replicated_len(&self, id: &str, draft: &Draft) -> u64 {
        let len = draft.body.len() as u64;
        if !self.inner.is_sealed || id.starts_with("_local/") {
            return len;
        }
        // Beside it lie the id, a line for each attachment, the author, the signature and the way to it.
        let mut size = len + id.len() as u64 + 1_000;
        for file in &draft.attachments {
            size += (file.name.len() + file.content_type.as_ref().map_or(0, String::len) + 300) as u64;
        }
        padded_len(size) / 3 * 4 + 1_000
    }

    pub(super) async fn check(&self, draft: Draft, how: &How, make_id: bool) -> Result<Edit> {
        let id = match &draft.id {
            Some(id) => id.clone(),
            None if make_id => self.new_id(),
            None => return Err(Error::bad_request("_id is required for puts")),
        };
        if self.replicated_len(&id, &draft) > self.inner.options.max_document_bytes as u64 {
            return Err(Error::new(Kind::DocumentTooLarge, id));
        }
        if let Some(id) = id.strip_prefix("_local/") {
            // What may not be read back may not be written either.
            draft.body_digest()?;
            let parent = draft.rev.as_deref().map(local_rev).transpose()?;
            let change = Change::Local { parent, deleted: draft.deleted, body: draft.body };
            return Ok(Edit::local(&how.view, id.to_owned(), change));
        }
        let mut attachments = Vec::with_capacity(draft.attachments.len());
        let meaning = how.view.meaning(&draft.body)?;
        let parent = draft.parent()?;
        for attachment in draft.attachments {
            attachments.push(how.view.attachment(&*self.inner.platform, &id, attachment, None).await?);
        }
        let change = if how.new_edits {
            Change::New {
                parent,
                force: how.force,
                deleted: draft.deleted,
                body: draft.body,
                meaning,
                attachments,
            }
        } else {
            how.view.takes_revisions()?;
            let path = match (draft.path, parent) {
                (Some(path), _) => path,
                (None, Some(rev)) => vec![rev],
                (None, None) => {
                    return Err(Error::bad_request("A document with new_edits: false needs its _rev."));
                }
            };
            Change::Replicated { path, deleted: draft.deleted, body: draft.body, attachments }
        };
        Ok(Edit::new(&how.view, id, change))
    }

    /// An id as CouchDB makes them for `POST`: 32 hexadecimal digits.
    fn new_id(&self) -> String {
        let mut id = [0; 16];
        self.inner.platform.random_bytes(&mut id);
        hex(&id)
    }

    pub(super) async fn write_one(&self, edit: Edit) -> Result<Written> {
        self.write_edits(vec![edit]).await?.pop().unwrap_or_else(|| Err(Error::closed()))
    }

    pub(super) async fn write_edits(&self, edits: Vec<Edit>) -> Result<Vec<Result<Written>>> {
        if edits.is_empty() {
            self.inner.open()?;
            return Ok(Vec::new());
        }
        // What is sealed now is sealed under the newest key that the channel's log tells of.
        self.renew().await?;
        let written = self.submit(|reply| Job::Write(Write::new(edits, reply))).await?;
        self.compact_if_worth_it().await;
        Ok(written)
    }

    /// The same where they need not be there together: in a sealed channel some are sealed while others, which are,
    /// are being stored.
    async fn write_many(&self, edits: Vec<Edit>) -> Result<Vec<Result<Written>>> {
        if !self.inner.is_sealed || edits.len() <= SEAL_AT_ONCE {
            return self.write_edits(edits).await;
        }
        self.renew().await?;
        let (mut answers, mut written) = (Vec::new(), Vec::with_capacity(edits.len()));
        let mut edits = edits.into_iter();
        while !edits.as_slice().is_empty() {
            let now: Vec<Edit> = edits.by_ref().take(SEAL_AT_ONCE).collect();
            answers.push((now.len(), self.leave(|reply| Job::Write(Write::new(now, reply)))?));
        }
        let mut failed = None;
        for (count, mut answer) in answers {
            match self.answer(&mut answer).await {
                Ok(outcomes) => written.extend(outcomes),
                Err(error) => {
                    written.extend(std::iter::repeat_n(Err(error.clone()), count));
                    failed = failed.or(Some(error));
                }
            }
        }
        self.compact_if_worth_it().await;
        match failed {
            Some(error) if written.iter().all(Result::is_err) => Err(error),
            _ => Ok(written),
        }
    }

    pub(super) async fn write_replicas(&self, docs: Vec<ReplicatedDoc>) -> Result<Vec<Result<()>>> {
        let mut edits = Vec::with_capacity(docs.len());
        let mut outcomes = Vec::with_capacity(docs.len());
        let mut waiting = Room::default();
        let brings_log = docs.iter().any(|doc| doc.id.starts_with(LOG));
        let (holds, mut releases) = (self.held_count() > 0, Vec::new());
        for (index, doc) in docs.into_iter().enumerate() {
            if index % PARSE_AT_ONCE == PARSE_AT_ONCE - 1 {
                self.inner.platform.sleep(0).await;
            }
            let release = if holds { self.release(&doc.id, doc.rev()) } else { None };
            match self.admit(doc, &mut waiting).await {
                Ok(edit) => {
                    if !matches!(edit.change, Change::Aside { .. }) {
                        releases.extend(release);
                    }
                    edits.push(edit);
                    outcomes.push(Ok(()));
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        edits.append(&mut releases);
        let mut written = self.write_edits(edits).await?.into_iter();
        for outcome in &mut outcomes {
            if outcome.is_ok() {
                *outcome = written.next().unwrap_or_else(|| Err(Error::closed())).map(|_| ());
            }
        }
        if brings_log && self.inner.is_sealed && !self.held_numbers().is_empty() {
            // It may have been held for want of that. What cannot be looked at now is looked at later.
            let _ = self.retry_held(0).await;
        }
        Ok(outcomes)
    }

    pub(super) async fn check_replica(&self, doc: ReplicatedDoc) -> Result<Edit> {
        crate::model::check_doc_id(&doc.id)?;
        if doc.body.len() > self.inner.options.max_document_bytes {
            return Err(Error::new(Kind::DocumentTooLarge, doc.id));
        }
        let mut attachments = Vec::with_capacity(doc.attachments.len());
        for attachment in doc.attachments {
            attachments.push(EditAttachment::of_replicated(attachment).await?);
        }
        let change = Change::Replicated { path: doc.path, deleted: doc.deleted, body: doc.body, attachments };
        Ok(Edit::new(&View::AsStored, doc.id, change))
    }
}

/// N of a `_local/` document's `0-N`: 400 `bad_request` for anything else.
fn local_rev(rev: &str) -> Result<u64> {
    rev.strip_prefix("0-")
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| Error::bad_request("Invalid rev format"))
}

/// What a builder made, and what it could not know.
#[derive(Default)]
struct Built {
    first: BlockNo,
    blocks: Vec<Bytes>,
    contents: Vec<(Digest, Content)>,
    outcomes: Vec<Vec<Result<Written>>>,
    /// A block with an old state in it was not at hand.
    lacks_block: bool,
    /// Something failed that may only look wrong because our end of the log is old.
    is_doubtful: bool,
    /// The channel's log tells of keys that are not taken in yet.
    lacks_keys: bool,
    /// Nothing was written for one of these reasons.
    waits: bool,
}

impl Inner {
    /// Writes what is waiting, in one commit, and answers everybody.
    pub(super) async fn write(&self, mut writes: Vec<Write>) {
        let before = self.state.borrow().directory.last_seq();
        match self.commit(&mut writes).await {
            Ok(outcomes) => {
                // A checkpoint is no change: a feed that waits would look in vain, each at each.
                if self.state.borrow().directory.last_seq() != before {
                    self.wake();
                }
                for (write, outcomes) in writes.into_iter().zip(outcomes) {
                    let _ = write.reply.send(Ok(outcomes));
                }
            }
            Err(error) => {
                self.doubt();
                for write in writes {
                    let _ = write.reply.send(Err(error.clone()));
                }
            }
        }
    }

    async fn commit(&self, writes: &mut [Write]) -> Result<Vec<Vec<Result<Written>>>> {
        let mut sealed = SealedAhead::new();
        for (number, write) in writes.iter_mut().enumerate() {
            sealed.extend(write.ahead.drain(..).map(|(place, leaf)| ((number, place), leaf)));
        }
        // What is sealed after a new epoch is sealed under it, whichever tab began it.
        let seals = writes.iter().any(|write| write.to_seal() > 0);
        let mut is_checked = self.is_stale();
        if is_checked {
            self.catch_up().await?;
        }
        let mut is_sealed = false;
        loop {
            self.look_anew(writes);
            let writes = &*writes;
            let have = self.old_states(writes).await?;
            if !std::mem::replace(&mut is_sealed, true) {
                self.seal_ahead(&have, writes, &mut sealed).await?;
            }
            let ready = &sealed;
            let next = self.state.borrow().next;
            let mut built: Option<Built> = None;
            let mut build = |newer: &[Block], first| {
                let mut state = self.state.borrow_mut();
                state.fold(newer.to_vec())?;
                state.next = first;
                let mut result = match seals && (self.lacks_keys(&state.directory) || self.is_another(writes))
                {
                    true => Built { first, lacks_keys: true, ..Built::default() },
                    false => state.build(&have, writes, ready, first, &self.options, self.is_locked())?,
                };
                result.waits = result.lacks_keys
                    || result.lacks_block
                    || (result.is_doubtful && !is_checked && newer.is_empty());
                let batch = (!result.waits && !result.blocks.is_empty()).then(|| Batch {
                    blocks: result.blocks.clone(),
                    put_contents: std::mem::take(&mut result.contents),
                    ..Batch::default()
                });
                built = Some(result);
                Ok(batch)
            };
            {
                let mut append = self.store.append(next, &mut build);
                match poll!(&mut append) {
                    Poll::Ready(appended) => appended?,
                    Poll::Pending => {
                        self.seal_waiting();
                        append.await?
                    }
                };
            }
            let built = built.ok_or_else(|| Error::new(Kind::Unknown, "The store built no commit."))?;
            if built.waits {
                self.catch_up().await?;
                if built.lacks_keys {
                    self.renew_keys().await?;
                    is_sealed = false;
                    continue;
                }
                if built.lacks_block && self.state.borrow().next == next {
                    // Nobody moved it: it is gone.
                    return Err(Error::corrupt("log"));
                }
                is_checked = true;
                continue;
            }
            let mut state = self.state.borrow_mut();
            let numbered = built.blocks.into_iter().zip(built.first..);
            state.fold(numbered.map(|(bytes, no)| Block { no, bytes }).collect())?;
            return Ok(built.outcomes);
        }
    }

    /// The blocks in which the documents to be edited stand.
    async fn old_states(&self, writes: &[Write]) -> Result<HashMap<BlockNo, Bytes>> {
        let numbers: Vec<BlockNo> = {
            let state = self.state.borrow();
            let edits = writes.iter().flat_map(|write| &write.edits);
            let found = edits.filter_map(|edit| match edit.change {
                Change::Local { .. } => None,
                _ => state.directory.find(&edit.id),
            });
            found.map(|found| found.at().block).collect()
        };
        self.blocks(numbers).await
    }
}

impl State {
    fn build(
        &mut self,
        have: &HashMap<BlockNo, Bytes>,
        writes: &[Write],
        ready: &SealedAhead,
        first: BlockNo,
        options: &super::OpenOptions,
        is_locked: bool,
    ) -> Result<Built> {
        let mut built = Built { first, outcomes: Vec::with_capacity(writes.len()), ..Built::default() };
        let mut builder = BlockBuilder::new(first);
        let mut docs: HashMap<&str, (DocState, Location)> = HashMap::new();
        let mut locals: HashMap<&str, u64> = HashMap::new();
        let mut put: HashSet<Digest> = HashSet::new();
        let mut seq = self.directory.last_seq();
        for (number, Write { edits, .. }) in writes.iter().enumerate() {
            let mut outcomes = Vec::with_capacity(edits.len());
            // A resolution with its copies is written whole or not at all, so it is tried first.
            let is_whole =
                edits.len() > 1 && edits.iter().all(|edit| matches!(edit.change, Change::Leaves { .. }));
            let each = || edits.iter().enumerate();
            let trial = each().filter(|_| is_whole).map(|edit| (true, edit));
            let mut refused: Option<Error> = None;
            for (is_trial, (place, edit)) in trial.chain(each().map(|edit| (false, edit))) {
                if is_locked && !edit.view.is_stored() {
                    // Since it was called; whatever epoch began meanwhile, its keys are not at hand.
                    if !is_trial {
                        outcomes.push(Err(Error::locked()));
                    }
                    continue;
                }
                if let Change::Local { parent, deleted, body } = &edit.change {
                    let current =
                        locals.get(&*edit.id).copied().or(self.directory.local(&edit.id).map(|(rev, _)| rev));
                    let current = current.unwrap_or(0);
                    if parent.unwrap_or(0) != current || (*deleted && current == 0) {
                        built.is_doubtful = true;
                        outcomes.push(Err(Error::conflict()));
                        continue;
                    }
                    let rev = if *deleted { 0 } else { current + 1 };
                    let sealed = if *deleted {
                        Ok(Cow::Borrowed("{}"))
                    } else {
                        edit.view.sealed_local(edit.name(), rev, body)
                    };
                    match sealed {
                        Ok(body) => builder.push_local(&edit.id, rev, &body),
                        Err(error) => {
                            outcomes.push(Err(error));
                            continue;
                        }
                    };
                    locals.insert(&edit.id, rev);
                    outcomes.push(Ok(Written { ok: true, id: edit.full_id(), rev: format!("0-{rev}") }));
                    continue;
                }
                let current = match docs.remove(&*edit.id) {
                    Some(current) => Some(current),
                    None => match self.current(have, &edit.id)? {
                        Current::Absent => None,
                        Current::At(doc, at) => Some((*doc, at)),
                        Current::Elsewhere => {
                            built.lacks_block = true;
                            return Ok(built);
                        }
                    },
                };
                let known = |digest: &Digest| self.directory.refers_to(digest) || put.contains(digest);
                let result = match &refused {
                    Some(error) => Err(error.clone()),
                    None => {
                        let doc = current.as_ref().map(|(doc, _)| doc);
                        let ready = ready.get(&(number, place)).filter(|leaf| leaf.counts(edit));
                        apply(edit, doc, ready.map(|leaf| &leaf.ready), options.revs_limit, &known)
                    }
                };
                match result {
                    Ok((rev, Some(mut doc))) if !is_trial => {
                        seq += 1;
                        doc.seq = seq;
                        doc.prev = current.map(|(_, at)| at);
                        let at = builder.push_doc(&doc);
                        for attachment in edit.attachments() {
                            if let Some((content, digest)) = attachment.stored()
                                && !self.directory.refers_to(&digest)
                                && put.insert(digest)
                            {
                                built.contents.push((digest, content.clone()));
                            }
                        }
                        docs.insert(&edit.id, (doc, at));
                        outcomes.push(Ok(edit.written(&rev)));
                    }
                    unchanged => {
                        if let Some(current) = current {
                            docs.insert(&edit.id, current);
                        }
                        if let Err(error) = &unchanged {
                            built.is_doubtful |=
                                matches!(error.kind(), Kind::Conflict | Kind::MissingStub | Kind::NotFound);
                        }
                        if is_trial {
                            refused = unchanged.err();
                        } else {
                            outcomes.push(unchanged.map(|(rev, _)| edit.written(&rev)));
                        }
                    }
                }
            }
            built.outcomes.push(outcomes);
        }
        built.blocks = builder.finish().into_iter().map(Rc::from).collect();
        Ok(built)
    }

    /// A document's newest state, from blocks at hand.
    pub(super) fn current(&mut self, have: &HashMap<BlockNo, Bytes>, id: &str) -> Result<Current> {
        let Some(found) = self.directory.find(id) else { return Ok(Current::Absent) };
        let at = found.at();
        let block = match have.get(&at.block) {
            Some(block) => Some(block.clone()),
            None => self.cache.get(at.block),
        };
        match block {
            Some(block) => Ok(Current::At(Box::new(read_at(&block, at.offset)?.doc()?), at)),
            None => Ok(Current::Elsewhere),
        }
    }
}

pub(super) enum Current {
    Absent,
    At(Box<DocState>, Location),
    /// In a block that has to be read first.
    Elsewhere,
}
