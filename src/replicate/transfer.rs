//! Stores a batch: fills in the attachments that the target needs and writes the documents, in groups
//! that fit into memory. The next group's attachments are on their way while one is being written.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use futures::{Stream, StreamExt, future::join, stream};

use super::{
    control::Handle,
    feed::Batch,
    report::{DocRev, Failure, MAX_FAILURES_KEPT},
};
use crate::{
    error::{Error, Kind, Result},
    model::Rev,
    peer::{Fetched, MissingRevs, Peer, ReplicatedDoc},
    platform::Platform,
};

/// How many documents' attachments are fetched at once. A browser gives one server six connections over
/// HTTP/1.1; the page and a waiting line need some.
const FETCHES_AT_ONCE: usize = 4;

/// A group is written when it has this many bytes of contents…
const GROUP_CONTENT_BYTES: u64 = 8 << 20;
/// …or of documents…
const GROUP_BODY_BYTES: usize = 4 << 20;
/// …or this many documents.
const GROUP_DOCS: usize = 500;

/// A revision that the source named and cannot give may be on its way between the server's own nodes:
/// it is asked for once more after this pause.
const MISSING_PAUSE_MS: u32 = 1_000;

/// What a batch does to the summary, as it happens.
pub struct Transfer<'a> {
    /// Where from.
    pub source: &'a dyn Peer,
    /// Where to.
    pub target: &'a dyn Peer,
    /// For pauses.
    pub platform: &'a dyn Platform,
    /// Told when documents were stored and more of the batch follows.
    pub on_stored: &'a dyn Fn(Vec<DocRev>),
    /// Told when a document was refused.
    pub on_refused: &'a dyn Fn(Failure),
    /// Holds the summary.
    pub handle: &'a Handle,
}

/// A document ready to be written, or why it never will be.
type Filled = std::result::Result<ReplicatedDoc, Failure>;

impl Transfer<'_> {
    /// Stores what can be stored. Gives the last documents stored, which [`Transfer::on_stored`] was not
    /// told of, so that the caller can tell together with the batch's end.
    ///
    /// Errors: what concerns more than one document. Documents stored before it happened are counted
    /// and told; none is lost, since the whole batch comes again.
    pub async fn store(&self, batch: Batch) -> Result<Vec<DocRev>> {
        let Batch { fetched, ancestors, .. } = batch;
        let docs = self.readable(fetched).await?;
        let read = docs.len() as u64;
        self.handle.update(|state| state.summary.docs_read += read);

        let fills = docs.into_iter().map(|doc| self.fill(doc, &ancestors));
        let filled = stream::iter(fills).buffered(FETCHES_AT_ONCE);
        futures::pin_mut!(filled);
        let mut stored = Vec::new();
        let mut group = self.gather(&mut filled).await?;
        while let Some(docs) = group {
            if !stored.is_empty() {
                (self.on_stored)(std::mem::take(&mut stored));
            }
            let written = RefCell::new(Vec::new());
            let (outcome, next) = join(self.write(docs, &written), self.gather(&mut filled)).await;
            stored = written.into_inner();
            let failed = outcome.err();
            match (failed, next) {
                (None, Ok(next)) => group = next,
                (Some(error), _) | (None, Err(error)) => {
                    if !stored.is_empty() {
                        (self.on_stored)(stored);
                    }
                    return Err(error);
                }
            }
        }
        Ok(stored)
    }

    /// The revisions that came, each once: several that were asked for may have one leaf.
    async fn readable(&self, fetched: Vec<Fetched>) -> Result<Vec<ReplicatedDoc>> {
        let mut docs = Vec::with_capacity(fetched.len());
        let mut missing: Vec<MissingRevs> = Vec::new();
        for Fetched { id, rev, doc } in fetched {
            match (doc, rev) {
                (Ok(doc), _) => docs.push(doc),
                (Err(error), Some(rev)) if error.kind() == Kind::NotFound => {
                    missing.push(MissingRevs { id, revs: vec![rev], possible_ancestors: Vec::new() });
                }
                (Err(error), rev) => self.refuse_or_fail(&id, rev.as_ref(), error, true)?,
            }
        }
        if !missing.is_empty() {
            self.platform.sleep(MISSING_PAUSE_MS).await;
            for Fetched { id, rev, doc } in self.source.bulk_get(missing).await? {
                match doc {
                    Ok(doc) => docs.push(doc),
                    Err(error) => self.refuse_or_fail(&id, rev.as_ref(), error, true)?,
                }
            }
        }
        let mut seen: HashSet<(String, Rev)> = HashSet::with_capacity(docs.len());
        docs.retain(|doc| seen.insert((doc.id.clone(), doc.rev().clone())));
        Ok(docs)
    }

    /// Gets the contents that the target needs.
    async fn fill(&self, mut doc: ReplicatedDoc, ancestors: &HashMap<String, Vec<Rev>>) -> Result<Filled> {
        if doc.attachments.iter().all(|attachment| attachment.content.is_some()) {
            return Ok(Ok(doc));
        }
        let ancestors = ancestors.get(&doc.id).map_or(&[][..], Vec::as_slice);
        let wanted = self.target.wanted_attachments(&doc, ancestors).await?;
        self.fetch(&mut doc, wanted).await.map(|failure| failure.map_or(Ok(doc), Err))
    }

    /// Gets the contents of some attachments; a failure if the document cannot be had whole.
    async fn fetch(&self, doc: &mut ReplicatedDoc, wanted: Vec<usize>) -> Result<Option<Failure>> {
        for index in wanted {
            if doc.attachments[index].content.is_some() {
                continue;
            }
            match self.source.attachment(doc, &doc.attachments[index]).await {
                Ok(content) => doc.attachments[index].content = Some(content),
                Err(error) if concerns_all(&error, true) => return Err(error),
                // Who gave the document gives its attachment too, unless the login ran out in between.
                Err(error) if error.kind() == Kind::Unauthorized => return Err(error),
                Err(error) => return Ok(Some(Failure::new(&doc.id, Some(doc.rev()), &error))),
            }
        }
        Ok(None)
    }

    /// The next documents to write together; `None` when there are no more.
    async fn gather(
        &self,
        filled: &mut (impl Stream<Item = Result<Filled>> + Unpin),
    ) -> Result<Option<Vec<ReplicatedDoc>>> {
        let (mut group, mut content_bytes, mut body_bytes) = (Vec::new(), 0, 0);
        while group.len() < GROUP_DOCS && content_bytes < GROUP_CONTENT_BYTES && body_bytes < GROUP_BODY_BYTES
        {
            match filled.next().await {
                None => break,
                Some(doc) => match doc? {
                    Ok(doc) => {
                        let contents =
                            doc.attachments.iter().filter_map(|attachment| attachment.content.as_ref());
                        content_bytes += contents.map(|content| content.size_bytes()).sum::<u64>();
                        body_bytes += doc.body.len();
                        group.push(doc);
                    }
                    Err(failure) => self.refuse(failure),
                },
            }
        }
        Ok(if group.is_empty() { None } else { Some(group) })
    }

    /// Writes a group; a document whose stubs the target cannot fill goes again with everything.
    async fn write(&self, docs: Vec<ReplicatedDoc>, stored: &RefCell<Vec<DocRev>>) -> Result<()> {
        let has_stub =
            |doc: &ReplicatedDoc| doc.attachments.iter().any(|attachment| attachment.content.is_none());
        let stubbed: HashMap<usize, ReplicatedDoc> = docs
            .iter()
            .enumerate()
            .filter(|(_, doc)| has_stub(doc))
            .map(|(index, doc)| (index, doc.clone()))
            .collect();
        let mut again = self.write_once(docs, stored, Some(stubbed)).await?;
        let mut whole = Vec::with_capacity(again.len());
        for mut doc in again.drain(..) {
            let all = (0..doc.attachments.len()).collect();
            match self.fetch(&mut doc, all).await? {
                None => whole.push(doc),
                Some(failure) => self.refuse(failure),
            }
        }
        if !whole.is_empty() {
            self.write_once(whole, stored, None).await?;
        }
        Ok(())
    }

    /// Gives those of `stubbed` whose stubs the target could not fill.
    async fn write_once(
        &self,
        docs: Vec<ReplicatedDoc>,
        stored: &RefCell<Vec<DocRev>>,
        mut stubbed: Option<HashMap<usize, ReplicatedDoc>>,
    ) -> Result<Vec<ReplicatedDoc>> {
        let names: Vec<DocRev> = docs
            .iter()
            .map(|doc| DocRev { id: doc.id.clone(), rev: doc.rev().clone(), deleted: doc.deleted })
            .collect();
        let outcomes = self.target.write_replicated(docs).await?;
        let (mut again, mut written, mut failed) = (Vec::new(), 0, None);
        for (index, (name, outcome)) in names.into_iter().zip(outcomes).enumerate() {
            match outcome {
                Ok(()) => {
                    stored.borrow_mut().push(name);
                    written += 1;
                }
                Err(error) if error.kind() == Kind::MissingStub => {
                    match stubbed.as_mut().and_then(|stubbed| stubbed.remove(&index)) {
                        Some(doc) => again.push(doc),
                        None => self.refuse(Failure::new(&name.id, Some(&name.rev), &error)),
                    }
                }
                // The others of this group are counted first.
                Err(error) if concerns_all(&error, false) => failed = Some(error),
                Err(error) => self.refuse(Failure::new(&name.id, Some(&name.rev), &error)),
            }
        }
        self.handle.update(|state| state.summary.docs_written += written);
        failed.map_or(Ok(again), Err)
    }

    fn refuse_or_fail(&self, id: &str, rev: Option<&Rev>, error: Error, is_read: bool) -> Result<()> {
        if concerns_all(&error, is_read) {
            return Err(error);
        }
        self.refuse(Failure::new(id, rev, &error));
        Ok(())
    }

    fn refuse(&self, failure: Failure) {
        self.handle.update(|state| {
            let summary = &mut state.summary;
            summary.doc_write_failures += 1;
            if summary.errors.len() >= MAX_FAILURES_KEPT {
                summary.errors.remove(0);
            }
            summary.errors.push(failure.clone());
        });
        (self.on_refused)(failure);
    }
}

/// Whether one document's error is everybody's: what may pass by itself, and what is the device's. The
/// batch stops there; anything else is the document's own and the rest goes on without it.
fn concerns_all(error: &Error, is_read: bool) -> bool {
    match error.kind() {
        // A damaged document here must not keep the others from being saved elsewhere.
        Kind::Corrupt => !is_read,
        Kind::InsufficientStorage
        | Kind::StoreClosed
        | Kind::StorageUnavailable
        | Kind::SchemaTooNew
        | Kind::Cancelled
        | Kind::Unknown => true,
        _ => error.is_retryable(),
    }
}
