//! What is to be done: the source's changes, page by page, each with the revisions that the target
//! lacks already fetched.
//!
//! Pages are read one after the other, since each begins where the last one ended; what a page names is
//! asked for while the next page is being read and the one before is being stored.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    task::Poll,
};

use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::{Either, select},
    stream,
};

use super::{
    Options, Style,
    ahead::Ahead,
    control::Job,
    lives::{Lives, goes_back},
};
use crate::{
    error::{Error, Result},
    model::{Rev, Seq},
    peer::{Along, Change, ChangesPage, ChangesQuery, Fetched, MissingRevs, Peer},
    platform::Platform,
};

/// How many documents the first request for revisions names: large enough that the round trip does not
/// count, small enough that its answer, which is parsed in one go, does not block a page.
pub const FETCH_DOCS: usize = 200;

/// Later requests name as many as come in an answer of about so many bytes…
const FETCH_BYTES: f64 = 1_048_576.0;
/// …and in about this time, so that little is lost when a slow line breaks…
const FETCH_MS: f64 = 5_000.0;
/// …but no fewer than this, as one large document says little of the next…
const FEWEST_FETCH_DOCS: usize = 10;
/// …and no more.
const MOST_FETCH_DOCS: usize = 500;

/// How many such requests are under way for one page; and how many a page of a source on this device is worth.
const FETCHES_AT_ONCE: usize = 2;

/// How many changes a page of a server's feed has.
const PAGE_CHANGES: usize = 500;

/// What a request and its answer weigh beside what they carry: about two kilobytes over HTTP/1.1.
const REQUEST_BYTES: i64 = 1_000;

/// Documents are asked for again when they would have spared so many requests more than not…
const WORTH_AGAIN: i64 = 8 * REQUEST_BYTES;
/// …and what they were worth is remembered up to this…
const MOST_WORTH: i64 = 16 * REQUEST_BYTES;
/// …and this.
const LEAST_WORTH: i64 = -256 * REQUEST_BYTES;

/// A live source that answers at once with nothing, or with what it told before, though it was asked to wait, is
/// asked again no sooner than this.
const MIN_WAIT_MS: u32 = 1_000;

/// What the feed gives.
pub enum Item {
    /// Revisions to store.
    Batch(Batch),
    /// There is no more, for now or at all.
    CaughtUp,
    /// Nothing came, and a checkpoint that was put off is due. Not the feed's own.
    Due,
}

/// What the target lacks of one page of changes.
pub struct Batch {
    /// Up to where the target has everything once this is stored.
    pub last_seq: Seq,
    /// How many changes come after it, if the source knows.
    pub pending: Option<u64>,
    /// The revisions, with stubs for attachments.
    pub fetched: Vec<Fetched>,
    /// For each document, the revisions the target has that may be its ancestors.
    pub ancestors: HashMap<String, Vec<Rev>>,
    /// How many revisions the page named.
    pub checked: u64,
    /// How many of them the target lacks.
    pub found: u64,
}

/// Where the batches come from.
pub struct Feed<'a> {
    /// Where from.
    pub source: &'a dyn Peer,
    /// Where to.
    pub target: &'a dyn Peer,
    /// For pauses.
    pub platform: &'a dyn Platform,
    /// What is asked.
    pub options: &'a Options,
    /// Its wake-ups make a waiting line be asked anew.
    pub job: &'a Job,
    /// What is asked of the source.
    pub query: ChangesQuery,
    /// The target had nothing at the start, so it need not be asked over a network what it lacks.
    pub is_target_empty: Cell<bool>,
    /// Whether both sides are what they were.
    pub lives: Lives<'a>,
    /// Set where the feed ends because one of them is another database now.
    pub is_lost: Cell<bool>,
    /// Changes to begin with, as if they came first in the feed.
    pub first: RefCell<Vec<Change>>,
    /// Those are dealt with, and the feed goes on.
    pub is_first_stored: Cell<bool>,
}

enum Step {
    Read,
    Hold,
    Announce,
    Wait,
    End,
}

/// What documents in the feed are worth that a live source sends along with its changes: what they spare less
/// what they cost, in bytes.
///
/// A page that tells all that the target lacks spares a request. A document costs what it weighs if the target
/// has it (this device's own changes come back) or if its history is not told (all but first revisions). While
/// that costs more than it spares they are not asked for, and then it is counted what they would have spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    bytes: i64,
    is_asked: bool,
}

impl Default for Worth {
    fn default() -> Self {
        Self { bytes: 4 * REQUEST_BYTES, is_asked: true }
    }
}

impl Worth {
    /// After a page that spared a request, or would have, and brought so many bytes in vain.
    fn after(self, spares: bool, vain_bytes: usize) -> Self {
        let cost = if self.is_asked || spares { vain_bytes as i64 } else { REQUEST_BYTES };
        let bytes = self.bytes + i64::from(spares) * REQUEST_BYTES - cost;
        let bytes = bytes.clamp(LEAST_WORTH, MOST_WORTH);
        Self { bytes, is_asked: bytes >= if self.is_asked { 0 } else { WORTH_AGAIN } }
    }
}

/// A page, and whether documents were asked for if it was waited for.
type Waited = (ChangesPage, Option<bool>);

impl<'a> Feed<'a> {
    /// Everything after `since`; ends after the first [`Item::CaughtUp`] unless live.
    pub fn items(&'a self, since: Seq) -> Ahead<'a, Result<Item>> {
        let ahead = self.options.batches_limit.clamp(1, 16);
        let pages = stream::try_unfold((since, Step::Read), move |(since, step)| self.page(since, step));
        let batches = pages.map(move |page| {
            // As it was when the page was read: what is read ahead may be the end already.
            let is_target_empty = self.is_target_empty.get();
            let batch = async move {
                Ok(match page? {
                    Some(page) => Item::Batch(self.batch(page, is_target_empty).await?),
                    None => Item::CaughtUp,
                })
            };
            batch.boxed_local()
        });
        Ahead::new(batches.boxed_local(), ahead, true)
    }

    /// The next page, or `None` to say that there is none; and how to go on.
    async fn page(&self, mut since: Seq, mut step: Step) -> Result<Option<(Option<Waited>, (Seq, Step))>> {
        let own =
            if self.source.is_here() { FETCHES_AT_ONCE * self.job.fetch_docs.get() } else { PAGE_CHANGES };
        let limit = self.options.batch_size.unwrap_or(own).max(1);
        loop {
            match step {
                Step::Read => {
                    let results = self.first.take();
                    if !results.is_empty() {
                        let last_seq = since.clone();
                        let docs = Vec::new();
                        let page = ChangesPage { results, last_seq, pending: None, docs, odd: Vec::new() };
                        return Ok(Some((Some((page, None)), (since, Step::Hold))));
                    }
                    let mut page = self.source.changes(&self.query, &since, limit, None).await?;
                    if goes_back(&since, &page.last_seq) && self.is_over(&since).await? {
                        return Ok(None);
                    }
                    let has_moved = page.last_seq != since;
                    // An empty page in the middle is one whose changes a filter passed over.
                    let is_last = match page.pending {
                        Some(pending) => pending == 0,
                        None => page.results.is_empty(),
                    };
                    // The same page once more would tell the same.
                    let is_last = is_last || !has_moved;
                    let next = if is_last { Step::Announce } else { Step::Read };
                    self.options.choose(&mut page);
                    if !page.results.is_empty() || has_moved {
                        let since = page.last_seq.clone();
                        return Ok(Some((Some((page, None)), (since, next))));
                    }
                    step = next;
                }
                // What comes in the feed as well is not to be sent twice. Whoever stores the first batch
                // polls us again when it is done.
                Step::Hold => {
                    poll_fn(|_| if self.is_first_stored.get() { Poll::Ready(()) } else { Poll::Pending })
                        .await;
                    step = Step::Read;
                }
                Step::Announce => {
                    // From now on it may have what comes: what is written there comes back from the source.
                    self.is_target_empty.set(false);
                    let next = if self.options.live { Step::Wait } else { Step::End };
                    return Ok(Some((None, (since, next))));
                }
                Step::Wait => {
                    let is_asked = self.job.worth.get().is_asked;
                    let page = self.wait(&since, limit, is_asked).await?;
                    let is_doubted = page.as_ref().is_none_or(|page| goes_back(&since, &page.last_seq));
                    if is_doubted && self.is_over(&since).await? {
                        return Ok(None);
                    }
                    let Some(mut page) = page else { continue };
                    self.options.choose(&mut page);
                    if page.results.is_empty() {
                        since = page.last_seq;
                        continue;
                    }
                    let next = if page.pending == Some(0) { Step::Announce } else { Step::Read };
                    let since = page.last_seq.clone();
                    return Ok(Some((Some((page, Some(is_asked))), (since, next))));
                }
                Step::End => return Ok(None),
            }
        }
    }

    /// `None` after a wake-up, as the line may have died while the device slept, or where it may be waiting
    /// for something that is no more.
    async fn wait(&self, since: &Seq, limit: usize, include_docs: bool) -> Result<Option<ChangesPage>> {
        let asked_ms = self.platform.now_ms();
        let query = ChangesQuery { include_docs, ..self.query.clone() };
        let waiting = self.source.changes(&query, since, limit, Some(self.options.timeout_ms));
        let (page, doubt) = match select(self.lives.doubt(), waiting).await {
            Either::Left(_) => return Ok(None),
            Either::Right((page, doubt)) => (page?, doubt),
        };
        let waited_ms = self.platform.now_ms() - asked_ms;
        let is_vain = page.results.is_empty() || page.last_seq == *since || goes_back(since, &page.last_seq);
        if is_vain && waited_ms < f64::from(MIN_WAIT_MS) {
            let pause = self.platform.sleep(MIN_WAIT_MS);
            if let Either::Left(_) = select(doubt, pause).await {
                return Ok(None);
            }
        }
        Ok(Some(page))
    }

    /// Whether what was begun is void.
    async fn is_over(&self, since: &Seq) -> Result<bool> {
        let are_others = self.lives.are_others(since).await?;
        self.is_lost.set(are_others);
        Ok(are_others)
    }

    /// Asks the target what it lacks of a page, and the source for that.
    async fn batch(&self, (mut page, waited): Waited, is_target_empty: bool) -> Result<Batch> {
        let leaves = self.leaves(&page);
        let count = |revs: usize| revs as u64;
        let checked = leaves.iter().map(|(_, revs)| count(revs.len())).sum();
        let mut missing: Vec<MissingRevs> = if leaves.is_empty() {
            Vec::new()
        } else if is_target_empty && !self.target.is_here() {
            // Others write there meanwhile, and it may have come from there.
            let all = |(id, revs)| MissingRevs { id, revs, possible_ancestors: Vec::new() };
            self.target.unknown(leaves).into_iter().map(all).collect()
        } else {
            self.target.revs_diff(leaves).await?
        };
        let found = missing.iter().map(|missing| count(missing.revs.len())).sum();
        let ancestors =
            missing.iter().map(|missing| (missing.id.clone(), missing.possible_ancestors.clone())).collect();
        let is_first = |lacking: &MissingRevs| matches!(&lacking.revs[..], [rev] if rev.generation == 1);
        let would_spare = !missing.is_empty() && missing.iter().all(is_first);
        let (mut came, vain_bytes) = came_along(&mut missing, std::mem::take(&mut page.docs));
        if let Some(is_asked) = waited {
            let spares = if is_asked { !came.is_empty() && missing.is_empty() } else { would_spare };
            self.job.worth.set(self.job.worth.get().after(spares, vain_bytes));
        }
        let fetched: Vec<Vec<Fetched>> = stream::iter(chunks(missing, self.job.fetch_docs.get()))
            .map(|missing| self.fetch(missing))
            .buffered(FETCHES_AT_ONCE)
            .try_collect()
            .await?;
        came.extend(fetched.into_iter().flatten());
        came.extend(page.odd.into_iter().map(|id| Fetched {
            id,
            rev: None,
            doc: Err(Error::bad_request("A revision of it has a name that is none.")),
        }));
        Ok(Batch { last_seq: page.last_seq, pending: page.pending, fetched: came, ancestors, checked, found })
    }

    async fn fetch(&self, missing: Vec<MissingRevs>) -> Result<Vec<Fetched>> {
        if self.source.is_here() {
            // Nobody is waited for there, so a page would be read and written in one go.
            self.platform.sleep(0).await;
        }
        let (asked, began_ms) = (missing.len(), self.platform.now_ms());
        let fetched = self.source.bulk_get(missing).await?;
        let docs = fetched.iter().filter_map(|fetched| fetched.doc.as_ref().ok());
        let bytes = docs.map(|doc| doc.body.len() + doc.path.len() * REV_BYTES).sum();
        let fetch_docs = &self.job.fetch_docs;
        fetch_docs.set(next_fetch(fetch_docs.get(), asked, bytes, self.platform.now_ms() - began_ms));
        Ok(fetched)
    }

    /// What a page names, each document once.
    fn leaves(&self, page: &ChangesPage) -> Vec<(String, Vec<Rev>)> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(page.results.len());
        let mut leaves: Vec<(String, Vec<Rev>)> = Vec::with_capacity(page.results.len());
        for change in &page.results {
            let revs = match self.options.style {
                Style::AllDocs => change.leaves.as_slice(),
                Style::MainOnly => change.leaves.get(..1).unwrap_or_default(),
            };
            if revs.is_empty() {
                continue;
            }
            let place = *places.entry(&change.id).or_insert(leaves.len());
            match leaves.get_mut(place) {
                None => leaves.push((change.id.clone(), revs.to_vec())),
                Some((_, known)) => {
                    let more: Vec<Rev> = revs.iter().filter(|rev| !known.contains(rev)).cloned().collect();
                    known.extend(more);
                }
            }
        }
        leaves
    }
}

/// Takes what came along and is missing from what is missing. The rest came in vain: so many bytes.
fn came_along(missing: &mut Vec<MissingRevs>, docs: Vec<Along>) -> (Vec<Fetched>, usize) {
    let (mut came, mut vain_bytes) = (Vec::new(), 0);
    for Along { doc, bytes } in docs {
        let wanted = doc.and_then(|doc| {
            let lacking = missing.iter_mut().find(|lacking| lacking.id == doc.id)?;
            let at = lacking.revs.iter().position(|rev| rev == doc.rev())?;
            let rev = Some(lacking.revs.swap_remove(at));
            Some(Fetched { id: doc.id.clone(), rev, doc: Ok(doc) })
        });
        match wanted {
            Some(fetched) => came.push(fetched),
            None => vain_bytes += bytes,
        }
    }
    missing.retain(|lacking| !lacking.revs.is_empty());
    (came, vain_bytes)
}

/// A revision id in a document's history.
const REV_BYTES: usize = 35;

/// How many documents the next request names, when one for `asked` gave so many bytes in that time. Fewer at
/// once; more only when as many as now went well, and twice as many at most.
fn next_fetch(now: usize, asked: usize, bytes: usize, took_ms: f64) -> usize {
    let room = (FETCH_BYTES / bytes.max(1) as f64).min(FETCH_MS / took_ms.max(1.0));
    let fits = (asked as f64 * room) as usize;
    if room < 1.0 {
        fits.max(FEWEST_FETCH_DOCS)
    } else if asked == now {
        fits.min(now * 2).min(MOST_FETCH_DOCS)
    } else {
        now
    }
}

fn chunks(mut missing: Vec<MissingRevs>, size: usize) -> Vec<Vec<MissingRevs>> {
    let mut chunks = Vec::with_capacity(missing.len() / size + 1);
    while missing.len() > size {
        let rest = missing.split_off(size);
        chunks.push(std::mem::replace(&mut missing, rest));
    }
    if !missing.is_empty() {
        chunks.push(missing);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_asked_for_while_they_spare_more_than_they_cost() {
        let spares = |worth: Worth, times: usize| (0..times).fold(worth, |worth, _| worth.after(true, 0));
        let worth = spares(Worth::default(), 100);
        assert_eq!((worth.bytes, worth.is_asked), (MOST_WORTH, true));
        // What comes in vain beside what does not counts too.
        assert_eq!(worth.after(true, 3_000).bytes, MOST_WORTH - 2_000);
        assert_eq!(worth.after(false, 0), worth);
        let worth = worth.after(false, 20_000);
        assert_eq!((worth.bytes, worth.is_asked), (-4_000, false));
        // Back only when there is something to go by.
        assert!(!spares(worth, 11).is_asked && spares(worth, 12).is_asked);
        assert_eq!(worth.after(false, 0).bytes, -5_000);
        // A very large one is remembered for long, and not for ever.
        let worth = Worth::default().after(false, 8_000_000);
        assert!(!spares(worth, 263).is_asked && spares(worth, 264).is_asked);
        assert!(!spares(Worth::default(), 1).after(false, 5_001).is_asked);
    }

    #[test]
    fn what_came_along_is_taken_once_and_only_if_it_is_missing() {
        let rev = |text: &str| text.parse::<Rev>().unwrap();
        let along = |id: &str, rev_text: &str| Along {
            doc: Some(crate::peer::ReplicatedDoc {
                id: id.to_owned(),
                path: vec![rev(rev_text)],
                deleted: false,
                body: "{}".to_owned(),
                attachments: Vec::new(),
            }),
            bytes: 10,
        };
        let lacks = |id: &str, revs: &[&str]| MissingRevs {
            id: id.to_owned(),
            revs: revs.iter().map(|text| rev(text)).collect(),
            possible_ancestors: Vec::new(),
        };
        let mut missing = vec![lacks("a", &["1-a", "1-b"]), lacks("b", &["1-a"]), lacks("c", &["2-a"])];
        let docs = vec![along("b", "1-a"), along("b", "1-a"), along("a", "1-b"), along("x", "1-a")];
        let none = Along { doc: None, bytes: 100 };
        let (came, vain_bytes) = came_along(&mut missing, docs.into_iter().chain([none]).collect());
        let names: Vec<_> = came.iter().map(|fetched| fetched.id.as_str()).collect();
        assert_eq!((names, vain_bytes), (vec!["b", "a"], 120));
        assert_eq!(missing, [lacks("a", &["1-a"]), lacks("c", &["2-a"])]);
    }

    #[test]
    fn requests_grow_and_shrink_with_what_they_bring() {
        // Small documents, fast: more of them, up to a limit.
        assert_eq!(next_fetch(200, 200, 70_000, 40.0), 400);
        assert_eq!(next_fetch(400, 400, 140_000, 80.0), MOST_FETCH_DOCS);
        // A megabyte is enough.
        assert_eq!(next_fetch(200, 200, 4 << 20, 40.0), 50);
        assert_eq!(next_fetch(50, 50, 1 << 20, 40.0), 50);
        assert_eq!(next_fetch(200, 20, 40 << 20, 40.0), FEWEST_FETCH_DOCS);
        // A slow line.
        assert_eq!(next_fetch(200, 200, 70_000, 20_000.0), 50);
        // One document says nothing of two hundred; a clock that was set back nothing at all.
        assert_eq!(next_fetch(200, 1, 300, 30.0), 200);
        assert_eq!(next_fetch(200, 1, 0, 0.0), 200);
        assert_eq!(next_fetch(200, 200, 70_000, -3_600_000.0), 400);
    }
}
