//! Stores a batch: fills in the attachments that the target needs and writes the documents, in groups
//! that fit into memory. The next attachments are on their way while groups are being written.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque},
    future::poll_fn,
    task::Poll,
};

use futures::{
    FutureExt, StreamExt,
    stream::{self, FuturesUnordered},
};

use super::{
    ahead::Ahead,
    control::Job,
    feed::Batch,
    report::{DocRev, Failure, MAX_FAILURES_KEPT},
    suspects::Suspects,
};
use crate::{
    error::{Error, Kind, Result},
    model::{Content, Rev, Seq},
    peer::{Fetched, MissingRevs, ReplicatedDoc},
};

/// How many documents' attachments are fetched at once: so that there is one for each of the few connections
/// to a server while others, which have come, are checked.
const FETCHES_AT_ONCE: usize = 6;

/// How many groups of them, where several documents' come together, and how many of one group at once that
/// come by themselves after all.
const GROUPS_AT_ONCE: usize = 3;
const ALONE_AT_ONCE: usize = FETCHES_AT_ONCE / GROUPS_AT_ONCE;

/// A group that has so many bytes of contents is written as soon as the target is free: to a server, …
const SENT_CONTENT_BYTES: u64 = 256 << 10;
/// …to a database on this device, where each commit costs something, …
const STORED_CONTENT_BYTES: u64 = 1 << 20;
/// …and grows no further than this while it is not.
const MOST_CONTENT_BYTES: u64 = 8 << 20;
/// Or it has so many bytes of documents…
const GROUP_BODY_BYTES: usize = 4 << 20;
/// …or this many documents: on their way to a server, where each request costs something, and here.
const SENT_DOCS: usize = 1_000;
const STORED_DOCS: usize = 500;

/// How many groups are on their way to a server at once, each on one connection, so that none is idle between
/// two of them. A database on this device stores all that is waiting in one commit anyway.
const WRITES_AT_ONCE: usize = 4;

/// So many documents that the source fails at are passed over in one attempt, so that the others arrive; a server that
/// fails at everything is not asked for more.
const MOST_ODD: usize = 50;

/// A revision that the source named and cannot give may be on its way between the server's own nodes:
/// it is asked for once more after this pause.
const MISSING_PAUSE_MS: u32 = 1_000;

/// What a batch does to the summary, as it happens.
pub struct Transfer<'a> {
    /// Knows both sides, and holds the state.
    pub job: &'a Job,
    /// Told when documents were stored and more of the batch follows.
    pub on_stored: &'a dyn Fn(Vec<DocRev>),
    /// Told when a document was refused.
    pub on_refused: &'a dyn Fn(Failure),
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
        let mut failed = None;
        let docs = self.readable(fetched, &mut failed).await?;
        let read = docs.len() as u64;
        self.job.update(|state| state.summary.docs_read += read);

        let mut filled = self.filled(docs, &ancestors);
        let mut arrived: VecDeque<Result<Filled>> = VecDeque::new();
        let (most_writes, most_docs, worth_bytes, most_bytes) = match self.job.target.is_here() {
            true => (1, STORED_DOCS, STORED_CONTENT_BYTES, MOST_CONTENT_BYTES),
            false => (WRITES_AT_ONCE, SENT_DOCS, SENT_CONTENT_BYTES, SENT_CONTENT_BYTES),
        };
        let mut writes = FuturesUnordered::new();
        let (mut group, mut stored) = (Group::default(), Vec::new());
        let (mut has_more, mut odd) = (true, 0);
        loop {
            let is_alone = self.job.suspects.borrow().are_sought() && !group.docs.is_empty();
            let is_due = is_alone || group.is_full(worth_bytes, most_docs) || !has_more;
            if is_due && !group.docs.is_empty() && writes.len() < most_writes {
                writes.push(self.write(std::mem::take(&mut group).docs));
            }
            let takes_more = has_more && !is_alone && !group.is_full(most_bytes, most_docs);
            if writes.is_empty() && !takes_more {
                break;
            }
            let step = poll_fn(|cx| match writes.poll_next_unpin(cx) {
                Poll::Ready(Some(written)) => Poll::Ready(Step::Written(written)),
                _ if takes_more => match arrived.pop_front() {
                    Some(doc) => Poll::Ready(Step::Filled(doc)),
                    None => filled.poll_next(cx).map(Step::Arrived),
                },
                _ => {
                    filled.drive(cx);
                    Poll::Pending
                }
            });
            let outcome = match step.await {
                Step::Written((docs, outcome)) => {
                    if !stored.is_empty() {
                        (self.on_stored)(std::mem::take(&mut stored));
                    }
                    stored = docs;
                    if outcome.is_err() {
                        group = Group::default();
                    }
                    outcome
                }
                Step::Arrived(docs) => {
                    has_more = docs.is_some();
                    arrived.extend(docs.unwrap_or_default());
                    Ok(())
                }
                Step::Filled(Ok(Ok(doc))) => {
                    group.push(doc);
                    Ok(())
                }
                Step::Filled(Ok(Err(failure))) => {
                    self.refuse(failure);
                    Ok(())
                }
                // It is accused, and the batch comes again for it. The others need not wait for that.
                Step::Filled(Err(error)) if Suspects::is_odd(&error) && odd < MOST_ODD => {
                    odd += 1;
                    failed = failed.or(Some(error));
                    Ok(())
                }
                Step::Filled(Err(error)) => Err(error),
            };
            if let Err(error) = outcome {
                // What has come, or is on its way, arrives, and counts; nothing more is begun.
                failed = failed.or(Some(error));
                has_more = false;
                filled.stop();
            }
        }
        let Some(error) = failed else { return Ok(stored) };
        if !stored.is_empty() {
            (self.on_stored)(stored);
        }
        Err(error)
    }

    /// The revisions that came, each once: several that were asked for may have one leaf.
    async fn readable(
        &self,
        fetched: Vec<Fetched>,
        failed: &mut Option<Error>,
    ) -> Result<Vec<ReplicatedDoc>> {
        let mut docs = Vec::with_capacity(fetched.len());
        let mut missing: Vec<MissingRevs> = Vec::new();
        for Fetched { id, rev, doc } in fetched {
            match (doc, rev) {
                (Ok(doc), _) => docs.push(doc),
                (Err(error), Some(rev)) if error.kind() == Kind::NotFound => {
                    missing.push(MissingRevs { id, revs: vec![rev], possible_ancestors: Vec::new() });
                }
                (Err(error), rev) => self.refuse_or_fail(&id, rev.as_ref(), error, failed)?,
            }
        }
        if !missing.is_empty() {
            self.job.platform.sleep(MISSING_PAUSE_MS).await;
            for Fetched { id, rev, doc } in self.job.source.bulk_get(missing).await? {
                match doc {
                    Ok(doc) => docs.push(doc),
                    Err(error) => self.refuse_or_fail(&id, rev.as_ref(), error, failed)?,
                }
            }
        }
        let mut seen: HashSet<(String, Rev)> = HashSet::with_capacity(docs.len());
        docs.retain(|doc| seen.insert((doc.id.clone(), doc.rev().clone())));
        Ok(docs)
    }

    /// Gets the contents that the target needs: group by group where they come better together.
    fn filled<'s>(
        &'s self,
        docs: Vec<ReplicatedDoc>,
        ancestors: &'s HashMap<String, Vec<Rev>>,
    ) -> Ahead<'s, Vec<Result<Filled>>> {
        let most_bytes = self.job.source.together_bytes();
        let at_once = if most_bytes > 0 { GROUPS_AT_ONCE } else { FETCHES_AT_ONCE };
        let groups = stream::unfold((docs.into_iter(), None), move |(mut docs, mut held)| async move {
            let (mut group, mut bytes) = (Vec::new(), 0);
            while bytes <= most_bytes && group.len() < STORED_DOCS {
                let next = match held.take() {
                    Some(next) => next,
                    None => {
                        let Some(doc) = docs.next() else { break };
                        let wanted = self.wanted(&doc, ancestors).await;
                        (doc, wanted)
                    }
                };
                let more = wanted_bytes(&next);
                if more > 0 && bytes + more > most_bytes && !group.is_empty() {
                    held = Some(next);
                    break;
                }
                bytes += more;
                group.push(next);
            }
            (!group.is_empty()).then_some((group, (docs, held)))
        });
        let fills = groups.map(|group| self.fill(group).boxed_local());
        Ahead::new(fills.boxed_local(), at_once, false)
    }

    async fn wanted(&self, doc: &ReplicatedDoc, ancestors: &HashMap<String, Vec<Rev>>) -> Result<Vec<usize>> {
        if doc.attachments.iter().all(|attachment| attachment.content.is_some()) {
            return Ok(Vec::new());
        }
        let ancestors = ancestors.get(&doc.id).map_or(&[][..], Vec::as_slice);
        self.job.target.wanted_attachments(doc, ancestors).await
    }

    async fn fill(&self, group: Vec<(ReplicatedDoc, Result<Vec<usize>>)>) -> Vec<Result<Filled>> {
        let (mut filled, mut lacking) = (Vec::with_capacity(group.len()), Vec::new());
        for (doc, wanted) in group {
            match wanted {
                Ok(wanted) if wanted.is_empty() => filled.push(Ok(Ok(doc))),
                Ok(wanted) => lacking.push((doc, wanted)),
                Err(error) => filled.push(Err(error)),
            }
        }
        if lacking.len() > 1 || lacking.iter().any(|(_, wanted)| wanted.len() > 1) {
            for (place, index, content) in self.job.source.attachments(&lacking).await {
                lacking[place].0.attachments[index].content = Some(content);
            }
        }
        let rest = lacking.into_iter().map(|(mut doc, wanted)| async {
            self.fetch(&mut doc, wanted).await.map(|failure| failure.map_or(Ok(doc), Err))
        });
        let mut rest = stream::iter(rest).buffer_unordered(ALONE_AT_ONCE);
        while let Some(doc) = rest.next().await {
            let is_over = doc.as_ref().is_err_and(|error| !Suspects::is_odd(error));
            filled.push(doc);
            if is_over {
                break;
            }
        }
        filled
    }

    /// Gets the contents of some attachments; a failure if the document cannot be had whole.
    async fn fetch(&self, doc: &mut ReplicatedDoc, wanted: Vec<usize>) -> Result<Option<Failure>> {
        for index in wanted {
            if doc.attachments[index].content.is_some() {
                continue;
            }
            match self.job.source.attachment(doc, &doc.attachments[index]).await {
                Ok(content) => doc.attachments[index].content = Some(content),
                // A request of its own: the login is everybody's.
                Err(error)
                    if (concerns_all(&error, true) || error.needs_login())
                        && !self.is_denied(&error, &doc.id, doc.rev(), true) =>
                {
                    return Err(error);
                }
                Err(error) => return Ok(Some(Failure::new(&doc.id, Some(doc.rev()), &error))),
            }
        }
        Ok(None)
    }

    /// Writes a group: what was stored of it, and what became of the rest.
    async fn write(&self, docs: Vec<ReplicatedDoc>) -> (Vec<DocRev>, Result<()>) {
        let stored = RefCell::default();
        let outcome = self.write_all(docs, &stored).await;
        (stored.into_inner(), outcome)
    }

    /// A document whose stubs the target cannot fill goes again with everything.
    async fn write_all(&self, docs: Vec<ReplicatedDoc>, stored: &RefCell<Vec<DocRev>>) -> Result<()> {
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
        let names: Vec<Sent> = {
            let denied = self.job.denied.borrow();
            let sent = |doc: &ReplicatedDoc| Sent {
                name: DocRev { id: doc.id.clone(), rev: doc.rev().clone(), deleted: doc.deleted },
                bytes: doc.body.len() as u64 + content_bytes(doc),
                settles: denied.settled_by(doc),
            };
            docs.iter().map(sent).collect()
        };
        let outcomes = match self.job.target.write_replicated(docs).await {
            Err(error) if Suspects::is_odd(&error) && names.len() == 1 => vec![Err(error)],
            Err(error) => {
                if Suspects::is_odd(&error) {
                    self.job.suspects.borrow_mut().accuse_several();
                }
                return Err(error);
            }
            outcomes => outcomes?,
        };
        let (mut again, mut written, mut bytes, mut failed) = (Vec::new(), 0, 0, None);
        for (index, (sent, outcome)) in names.into_iter().zip(outcomes).enumerate() {
            let Sent { name, bytes: size, settles } = sent;
            let failure = match outcome {
                Ok(()) => {
                    self.job.denied.borrow_mut().settle(&name.id, &settles);
                    stored.borrow_mut().push(name);
                    (written, bytes) = (written + 1, bytes + size);
                    continue;
                }
                Err(error) if error.kind() == Kind::MissingStub => {
                    match stubbed.as_mut().and_then(|stubbed| stubbed.remove(&index)) {
                        Some(doc) => {
                            again.push(doc);
                            continue;
                        }
                        None => error,
                    }
                }
                // The others of this group are counted first.
                Err(error)
                    if concerns_all(&error, false) && !self.is_denied(&error, &name.id, &name.rev, false) =>
                {
                    failed = Some(error);
                    continue;
                }
                Err(error) => error,
            };
            // Itself stays in the list, so that it is not told again when the batch comes again.
            let before: Vec<Rev> = settles.into_iter().filter(|rev| *rev != name.rev).collect();
            self.job.denied.borrow_mut().settle(&name.id, &before);
            self.refuse(Failure::new(&name.id, Some(&name.rev), &failure));
        }
        self.job.update(|state| {
            state.summary.docs_written += written;
            state.bytes += bytes;
            state.pending = state.pending.map(|pending| pending.saturating_sub(written));
        });
        failed.map_or(Ok(again), Err)
    }

    /// What became of a document that could not be read: refused, or what the attempt ends with when the others are
    /// stored, or at once.
    fn refuse_or_fail(
        &self,
        id: &str,
        rev: Option<&Rev>,
        error: Error,
        failed: &mut Option<Error>,
    ) -> Result<()> {
        let is_denied = || rev.is_some_and(|rev| self.is_denied(&error, id, rev, true));
        if concerns_all(&error, true) && !is_denied() {
            if !Suspects::is_odd(&error) {
                return Err(error);
            }
            failed.get_or_insert(error);
            return Ok(());
        }
        self.refuse(Failure::new(id, rev, &error));
        Ok(())
    }

    /// Whether a server's failure has come so often at this document that it is taken for the document's.
    fn is_denied(&self, error: &Error, id: &str, rev: &Rev, is_read: bool) -> bool {
        Suspects::is_odd(error) && self.job.suspects.borrow_mut().accuse(id, rev, error.status(), is_read)
    }

    fn refuse(&self, failure: Failure) {
        let place = self.job.place.borrow().clone().unwrap_or_else(Seq::zero);
        if !self.job.denied.borrow_mut().add(&failure, &place) {
            return;
        }
        self.job.update(|state| {
            state.pending = state.pending.map(|pending| pending.saturating_sub(1));
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

enum Step {
    Written((Vec<DocRev>, Result<()>)),
    Arrived(Option<Vec<Result<Filled>>>),
    Filled(Result<Filled>),
}

/// Documents to be written together.
#[derive(Default)]
struct Group {
    docs: Vec<ReplicatedDoc>,
    content_bytes: u64,
    body_bytes: usize,
}

impl Group {
    fn push(&mut self, doc: ReplicatedDoc) {
        self.content_bytes += content_bytes(&doc);
        self.body_bytes += doc.body.len();
        self.docs.push(doc);
    }

    /// Whether it is as large as a group gets, if that is so many bytes of contents.
    fn is_full(&self, most_content_bytes: u64, most_docs: usize) -> bool {
        self.content_bytes >= most_content_bytes
            || self.body_bytes >= GROUP_BODY_BYTES
            || self.docs.len() >= most_docs
    }
}

/// What is to be known of a document once the target answers.
struct Sent {
    name: DocRev,
    bytes: u64,
    /// The revisions of it that were denied and are settled by this one.
    settles: Vec<Rev>,
}

/// How many bytes of attachments a document waits for.
fn wanted_bytes((doc, wanted): &(ReplicatedDoc, Result<Vec<usize>>)) -> u64 {
    let wanted = wanted.as_deref().unwrap_or_default();
    wanted.iter().map(|&index| doc.attachments[index].length.max(1)).sum()
}

/// How many bytes of attachments a document brings along.
fn content_bytes(doc: &ReplicatedDoc) -> u64 {
    doc.attachments.iter().filter_map(|attachment| attachment.content.as_ref()).map(Content::size_bytes).sum()
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
