//! What a caller sees of the documents that are stored: themselves or, in a sealed channel, what they hold.
//!
//! ```text
//! put, bulk_docs ─► plain edit ─► commit: parent, conflicts ─► new leaf ─► seal ─► stored, replicated
//! get, changes   ◄─ plain leaf ◄────────────── open ◄──────────────────────────── as stored
//! ```
//!
//! A sealed channel stores what it replicates, byte for byte, so replication looks at every database
//! [`View::AsStored`]. Everything else asks for [`Database::view`]: there ids are those that the caller knows,
//! and a leaf that is read is opened, one that is made is sealed. The rules of edits and conflicts need the
//! revision tree alone, which is the same both ways.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    cmp::Ordering,
    ops::{Bound, RangeBounds},
    rc::Rc,
};

use futures::FutureExt;

use super::{
    Database, Inner,
    channel::{entries, log_numbers},
    edit::{self, EditAttachment},
    sealing::{KeySource, Keys},
};
use crate::{
    error::{Error, Kind, Result},
    log::{Directory, DocState, Found, StoredAttachment, StoredLeaf, read_at},
    model::{Content, Digest, DraftAttachment, Rev, canonical, sort_by},
    platform::Platform,
    seal::{Entry, FileEntry},
    store::BlockNo,
};

/// How the stored ids of the caller's documents begin; others are the channel's own.
pub(super) const SEALED: &str = "e-";

/// How the stored ids of the channel's log begin.
pub(super) const LOG: &str = "k-";

/// Names learned between two turns of the event loop: a few milliseconds' worth.
const NAMES_AT_ONCE: usize = 250;

/// See the module's page.
#[derive(Clone)]
pub(super) enum View {
    /// The bytes that are stored, under the ids they have there.
    AsStored,
    /// What they hold.
    Opened(Rc<Opened>),
}

/// A sealed channel whose keys are at hand.
pub(super) struct Opened {
    source: Rc<dyn KeySource>,
    keys: RefCell<Rc<Keys>>,
    /// How many entries of the channel's log the keys are from.
    log_entries: Cell<usize>,
    /// Up to which number of the directory it was looked for what is held.
    looked_until: Cell<u32>,
    names: RefCell<Names>,
}

/// The plain ids of a sealed channel's documents, by their numbers in the directory. In memory alone, filled
/// when something first needs them.
#[derive(Default)]
struct Names {
    of: Vec<Name>,
    /// The numbers of the documents known, in the order of their names.
    order: Vec<u32>,
}

#[derive(Clone, Default)]
enum Name {
    #[default]
    Unknown,
    /// No document of the caller's.
    Hidden,
    Plain(Box<str>),
}

impl View {
    /// The id that a document is stored under.
    pub(super) fn key<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self {
            Self::AsStored => Cow::Borrowed(name),
            Self::Opened(opened) => Cow::Owned(opened.keys().id(name)),
        }
    }

    /// The id that a `_local/` document is stored under.
    pub(super) fn local_key<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self {
            Self::AsStored => Cow::Borrowed(name),
            Self::Opened(opened) => Cow::Owned(opened.keys().local_id(name)),
        }
    }

    /// A stored leaf of the document stored under `key`, as it is seen.
    pub(super) fn leaf(&self, key: &str, leaf: StoredLeaf) -> Result<StoredLeaf> {
        match self {
            Self::AsStored => Ok(leaf),
            Self::Opened(opened) => Ok(opened.keys().open(key, &leaf)?.1),
        }
    }

    /// The same, without a copy where there is nothing to open.
    pub(super) fn seen<'a>(&self, key: &str, leaf: &'a StoredLeaf) -> Result<Cow<'a, StoredLeaf>> {
        match self {
            Self::AsStored => Ok(Cow::Borrowed(leaf)),
            Self::Opened(opened) => Ok(Cow::Owned(opened.keys().open(key, leaf)?.1)),
        }
    }

    /// A document's whole state, as it is seen; its `id` stays that under which it is stored.
    pub(super) fn doc(&self, mut doc: DocState) -> Result<DocState> {
        if let Self::Opened(_) = self {
            for leaf in &mut doc.leaves {
                *leaf = self.seen(&doc.id, leaf)?.into_owned();
            }
        }
        Ok(doc)
    }

    /// A document's winner as it is seen, with its name; `None` for one that is no document of the caller's.
    /// `block` is that in which it stands.
    pub(super) fn winner(&self, found: &Found<'_>, block: &[u8]) -> Result<Option<(String, StoredLeaf)>> {
        let leaf = || read_at(block, found.at().offset)?.winner();
        match self {
            Self::AsStored => Ok(Some((found.id().to_owned(), leaf()?))),
            Self::Opened(_) if !found.id().starts_with(SEALED) => Ok(None),
            Self::Opened(opened) => opened.keys().open(found.id(), &leaf()?).map(Some),
        }
    }

    /// Keeps the names of documents that were read.
    pub(super) fn learned(&self, names: Vec<(u32, String)>) {
        let Self::Opened(opened) = self else { return };
        let mut new = Vec::new();
        for (number, name) in names {
            if opened.is_unknown(number) {
                opened.learn(number, Name::Plain(name.into()));
                new.push(number);
            }
        }
        opened.names.borrow_mut().settle(new);
    }

    /// How the names of two documents stand to each other. Both are known.
    pub(super) fn by_name(&self, directory: &Directory, a: u32, b: u32) -> Ordering {
        match self {
            Self::AsStored => directory.doc(a).id().cmp(directory.doc(b).id()),
            Self::Opened(opened) => {
                let names = opened.names.borrow();
                names.name(a).cmp(names.name(b))
            }
        }
    }

    /// The leaf that an edit makes, as it will be stored under this id. `current` is the document's state as it
    /// is stored.
    pub(super) fn new_leaf(
        &self,
        (id, name): (&str, &str),
        current: Option<&DocState>,
        parent: Option<&Rev>,
        new: NewLeaf,
    ) -> Result<StoredLeaf> {
        let Self::Opened(opened) = self else {
            let NewLeaf { deleted, body, meaning, attachments } = new;
            return Ok(edit::new_leaf(parent, deleted, body.into_owned(), &meaning, attachments));
        };
        let keys = opened.keys();
        let prepared = keys.prepare((id, name), current, parent, new)?;
        keys.seal(vec![prepared])?.pop().ok_or_else(Error::conflict)
    }

    /// What a body means, in the form that its leaf will need.
    ///
    /// Errors: those of [`canonical::digest`] and [`canonical::form`].
    pub(super) fn meaning(&self, body: &str) -> Result<Meaning> {
        match self {
            Self::AsStored => canonical::digest(body).map(Meaning::Digest),
            Self::Opened(_) => canonical::form(body).map(Meaning::Form),
        }
    }

    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::AsStored)
    }

    /// Whether this was the view of an unlocked channel before it was locked and unlocked; `now` is what it is since.
    pub(super) fn is_outdated(&self, now: &Self) -> bool {
        matches!((self, now), (Self::Opened(own), Self::Opened(now)) if !Rc::ptr_eq(own, now))
    }

    /// The keys that leaves are sealed with.
    pub(super) fn keys(&self) -> Option<Rc<Keys>> {
        match self {
            Self::AsStored => None,
            Self::Opened(opened) => Some(opened.keys()),
        }
    }

    /// An attachment that is to be written, with what will be stored of it; `copied` is what it was in another
    /// document.
    pub(super) async fn attachment(
        &self,
        platform: &dyn Platform,
        name: &str,
        mut draft: DraftAttachment,
        copied: Option<&FileEntry>,
    ) -> Result<EditAttachment> {
        let Self::Opened(opened) = self else { return EditAttachment::from_draft(draft).await };
        let Some(content) = draft.content.take() else { return Ok(EditAttachment::of(draft, None)) };
        let content_type = draft.content_type.as_deref().unwrap_or("application/octet-stream");
        let named = (draft.name.as_str(), content_type);
        let (sealed, file) = opened.keys().seal_content(name, named, &content, copied, platform).await?;
        let mut attachment = EditAttachment::of(draft, Some((content, file.digest)));
        attachment.sealed = Some((sealed, Rc::new(file)));
        Ok(attachment)
    }

    /// The body of a `_local/` document as it is stored.
    pub(super) fn sealed_local<'a>(&self, name: &str, n: u64, body: &'a str) -> Result<Cow<'a, str>> {
        match self {
            Self::AsStored => Ok(Cow::Borrowed(body)),
            Self::Opened(opened) => Ok(Cow::Owned(opened.keys().seal_local(name, n, body))),
        }
    }

    /// The same as it is seen.
    pub(super) fn local(&self, name: &str, n: u64, body: String) -> Result<String> {
        match self {
            Self::AsStored => Ok(body),
            Self::Opened(opened) => opened.keys().open_local(name, n, &body),
        }
    }

    /// Whether a caller may bring revisions along.
    ///
    /// Errors: 403 `forbidden` in a sealed channel, where a revision proves what it stands for and cannot be
    /// given to something else.
    pub(super) fn takes_revisions(&self) -> Result<()> {
        match self {
            Self::AsStored => Ok(()),
            Self::Opened(_) => {
                Err(Error::new(Kind::Forbidden, "The revisions of a sealed channel are its own to make."))
            }
        }
    }

    /// The name of a document in the directory; `None` for one that is no document of the caller's.
    /// [`Database::learn`] comes first.
    pub(super) fn name(&self, found: &Found<'_>) -> Option<String> {
        match self {
            Self::AsStored => Some(found.id().to_owned()),
            Self::Opened(opened) => match opened.names.borrow().of.get(found.number() as usize) {
                Some(Name::Plain(name)) => Some(String::from(&**name)),
                _ => None,
            },
        }
    }

    /// The numbers of the documents with names in a range, upwards. [`Database::learn_all`] comes first.
    pub(super) fn range(&self, directory: &Directory, start: Bound<&str>, end: Bound<&str>) -> Vec<u32> {
        let Self::Opened(opened) = self else { return directory.ids(start, end) };
        let names = opened.names.borrow();
        let before_start = |number: &u32| !(start, Bound::Unbounded).contains(names.name(*number));
        let within_end = |number: &&u32| (Bound::Unbounded, end).contains(names.name(**number));
        let from = names.order.partition_point(before_start);
        names.order.iter().skip(from).take_while(within_end).copied().collect()
    }

    /// The channel's own documents, which no caller sees.
    fn hidden<'a>(&self, directory: &'a Directory) -> impl Iterator<Item = Found<'a>> + use<'a> {
        let numbers = match self {
            Self::AsStored => Vec::new(),
            Self::Opened(opened) => opened.hidden(directory),
        };
        numbers.into_iter().map(|number| directory.doc(number))
    }

    /// How many documents are not deleted.
    pub(super) fn doc_count(&self, directory: &Directory) -> u64 {
        directory.doc_count() - self.hidden(directory).filter(|found| !found.deleted()).count() as u64
    }

    /// How many documents there are, tombstones included.
    pub(super) fn total_count(&self, directory: &Directory) -> u64 {
        directory.total_count() - self.hidden(directory).count() as u64
    }
}

/// What of a body its revision id is made from.
#[derive(Clone)]
pub(super) enum Meaning {
    /// The digest of its canonical form.
    Digest(Digest),
    /// The form itself, which a sealed revision is made from.
    Form(Vec<u8>),
}

impl Meaning {
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Digest(digest) => *digest,
            Self::Form(form) => Digest::of(form),
        }
    }
}

/// What an edit makes of a leaf.
pub(super) struct NewLeaf<'a> {
    pub(super) deleted: bool,
    pub(super) body: Cow<'a, str>,
    pub(super) meaning: Cow<'a, Meaning>,
    pub(super) attachments: Vec<StoredAttachment>,
}

impl Opened {
    /// `total` is how many numbers the directory has; the caller looks at what is held there.
    pub(super) fn new(source: Rc<dyn KeySource>, log: &[Entry], total: u32) -> Result<Self> {
        let keys = RefCell::new(source.keys(log)?);
        let (log_entries, looked_until) = (Cell::new(log.len()), Cell::new(total));
        Ok(Self { source, keys, log_entries, looked_until, names: RefCell::default() })
    }

    pub(super) fn keys(&self) -> Rc<Keys> {
        self.keys.borrow().clone()
    }

    /// The keys that the channel's log gives now.
    fn take_in(&self, count: usize, log: &[Entry]) {
        // One that is refused is not asked for again until there is more.
        self.log_entries.set(count);
        if let Ok(keys) = self.source.keys(log) {
            self.keys.replace(keys);
        }
    }

    fn hidden(&self, directory: &Directory) -> Vec<u32> {
        let first = SEALED;
        let mut numbers = directory.ids(Bound::Unbounded, Bound::Excluded(first));
        // Every id that begins so is less than this one: ids are made of letters and digits from there on.
        let last = format!("{first}~");
        numbers.extend(directory.ids(Bound::Excluded(&last), Bound::Unbounded));
        numbers
    }

    fn learn(&self, number: u32, name: Name) {
        self.names.borrow_mut().set(number, name);
    }

    fn is_unknown(&self, number: u32) -> bool {
        matches!(self.names.borrow().of.get(number as usize), None | Some(Name::Unknown))
    }
}

impl Names {
    fn name(&self, number: u32) -> &str {
        match self.of.get(number as usize) {
            Some(Name::Plain(name)) => name,
            _ => "",
        }
    }

    fn set(&mut self, number: u32, name: Name) {
        let index = number as usize;
        if self.of.len() <= index {
            self.of.resize(index + 1, Name::Unknown);
        }
        self.of[index] = name;
    }

    /// Puts new names into the order.
    fn settle(&mut self, mut new: Vec<u32>) {
        let of = &self.of;
        let name = |number: u32| match of.get(number as usize) {
            Some(Name::Plain(name)) => &**name,
            _ => "",
        };
        if let [number] = new[..] {
            let place = self.order.partition_point(|&other| name(other) < name(number));
            self.order.insert(place, number);
        } else if !new.is_empty() {
            self.order.append(&mut new);
            sort_by(&mut self.order, |&a, &b| name(a).cmp(name(b)));
        }
    }
}

impl Inner {
    /// Another view from now on, and nothing left of what was seen by the one before.
    pub(super) fn see(&self, view: Option<View>) {
        *self.view.borrow_mut() = view;
        self.indexes.borrow_mut().forget();
    }

    /// Whether the channel's log has more than its keys are from.
    pub(super) fn lacks_keys(&self, directory: &Directory) -> bool {
        match &*self.view.borrow() {
            Some(View::Opened(opened)) => opened.log_entries.get() != log_numbers(directory).len(),
            _ => false,
        }
    }

    /// Takes in the keys that the channel's log gives now, in the middle of a commit, which has just looked at
    /// the log's end.
    pub(super) async fn renew_keys(&self) -> Result<()> {
        let (numbers, places): (Vec<u32>, Vec<BlockNo>) = {
            let directory = &self.state.borrow().directory;
            log_numbers(directory)
                .into_iter()
                .map(|number| (number, directory.doc(number).at().block))
                .unzip()
        };
        let blocks = self.blocks(places.clone()).await?;
        // One that compaction has moved meanwhile is looked for again.
        if places.iter().all(|no| blocks.contains_key(no)) {
            let log = entries(&self.state.borrow().directory, &numbers, &blocks)?;
            if let Some(View::Opened(opened)) = &*self.view.borrow() {
                opened.take_in(numbers.len(), &log);
            }
        }
        Ok(())
    }
}

impl Database {
    /// How documents are seen by a caller.
    ///
    /// Errors: those of a database that is closed; for a sealed channel without its keys `locked`, and
    /// `no_channel` if it waits for one.
    pub(super) fn view(&self) -> Result<View> {
        self.inner.open()?;
        let view = self.inner.view.borrow().clone();
        view.ok_or_else(|| if self.is_waiting() { Error::no_channel() } else { Error::locked() })
    }

    /// Takes in what is new in the channel's log, as far as it gives keys; and what a tab that is locked held.
    pub(super) async fn renew(&self) -> Result<()> {
        if !self.inner.is_sealed {
            return Ok(());
        }
        let Some(View::Opened(opened)) = self.inner.view.borrow().clone() else { return Ok(()) };
        let count = self.log_numbers().len();
        if opened.log_entries.get() != count {
            opened.take_in(count, &self.channel_log().await?);
        }
        let total = self.inner.state.borrow().directory.total_count() as u32;
        let first = opened.looked_until.replace(total);
        if first < total && self.held_numbers().iter().any(|&number| number >= first) {
            // What cannot be looked at now is looked at when somebody asks.
            let _ = self.retry_held(first).boxed_local().await;
        }
        Ok(())
    }

    /// The documents that are not deleted, if the names of most of them are not known.
    pub(super) fn unnamed(&self, view: &View) -> Option<Vec<u32>> {
        let View::Opened(opened) = view else { return None };
        let state = self.inner.state.borrow();
        let total = state.directory.total_count() as u32;
        let numbers: Vec<u32> = (0..total).filter(|&number| !state.directory.doc(number).deleted()).collect();
        let unknown = numbers.iter().filter(|&&number| opened.is_unknown(number)).count();
        (unknown > numbers.len() / 2).then_some(numbers)
    }

    /// Makes sure that the names of all documents are known.
    pub(super) async fn learn_all(&self, view: &View) -> Result<()> {
        let total = self.inner.state.borrow().directory.total_count() as u32;
        self.learn(view, (0..total).collect()).await
    }

    /// Makes sure that the names of these documents (numbers of the directory) are known.
    pub(super) async fn learn(&self, view: &View, mut numbers: Vec<u32>) -> Result<()> {
        let View::Opened(opened) = view else { return Ok(()) };
        numbers.retain(|&number| opened.is_unknown(number));
        for (index, numbers) in numbers.chunks(NAMES_AT_ONCE).enumerate() {
            if index > 0 {
                self.inner.platform.sleep(0).await;
            }
            let blocks = self.blocks_of(numbers).await?;
            let state = self.inner.state.borrow();
            let mut plain = Vec::with_capacity(numbers.len());
            for &number in numbers.iter().filter(|&&number| opened.is_unknown(number)) {
                let found = state.directory.doc(number);
                let Some(block) = blocks.get(&found.at().block) else { continue };
                match view.winner(&found, block)? {
                    Some((name, _)) => plain.push((number, name)),
                    None => opened.learn(number, Name::Hidden),
                }
            }
            view.learned(plain);
        }
        Ok(())
    }

    /// The bytes of an attachment of the document `name`, as it is seen; `None` if they were compacted away.
    pub(super) async fn content(
        &self,
        view: &View,
        name: &str,
        attachment: &StoredAttachment,
    ) -> Result<Option<Content>> {
        let digest = attachment.sealed.as_ref().map_or(attachment.digest, |file| file.sealed_digest);
        let content = self.inner.store.content(digest).await?;
        match (&attachment.sealed, view, content) {
            (Some(file), View::Opened(opened), Some(content)) => {
                opened.keys().open_content(name, file, &content, &*self.inner.platform).await.map(Some)
            }
            (_, _, content) => Ok(content),
        }
    }
}
