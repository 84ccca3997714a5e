//! The gates of a sealed channel: what comes in from elsewhere, and what may leave.
//!
//! A server can claim anything: another parent, a tombstone of its own, an envelope that belongs to another
//! document. The revision tree believes what it is told, so nothing reaches it that did not prove itself
//! ([`open_revision`](crate::seal::open_revision)). What fails, or cannot be told (the channel is locked, the key of a new epoch has not
//! come), is *held*: kept as it came, with the reason, under an id of its own that no caller sees and that
//! does not replicate.
//!
//! ```text
//! h-<id>~<rev>   body {"reason":…, "error":…, "path":[…], "deleted":…, "doc":{…}}, attachments as they came
//! ```
//!
//! While the channel is locked a revision that is held counts as known, so that it is not fetched again and again.
//! Else it does not: a source that does not lie may bring it as it was written, and then it is held no longer. It is
//! tried once more when the channel is unlocked, when a document of the channel's own arrives, when a tab that is
//! unlocked finds what another one (that may be locked) held, or when somebody asks; then it goes where it belongs.
//! Discarded, it is let go of for good: the same revision that comes in the same bytes and fails in the same way is not
//! held again (a page may be left before its checkpoint is written). In every other respect it is as if it had never come.
//!
//! Going out, a document must be of a class that the channel knows and, if the channel is open, pass the same
//! check as one that comes in.

use std::{collections::HashMap, ops::Bound};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Database,
    channel::{log_entry, other_channel},
    edit::{Change, Edit, EditAttachment},
    render::content_gone,
    sealing::{line, may_leave},
    view::{Meaning, View},
};
use crate::{
    error::{Error, Kind, Result},
    log::{StoredLeaf, read_at},
    model::{Content, Digest, Rev, canonical},
    peer::ReplicatedDoc,
    seal::{Class, GUARD_ID, Hash, Refusal},
};

/// How the ids of held revisions begin, and what comes after all of them.
const HELD: &str = "h-";
const HELD_END: &str = "h.";

/// Revisions held at most: a server must not fill the device with what nobody here can open, so what they take with
/// their attachments is limited too. More are refused one by one, and the replication tells of them; while the
/// channel is locked, and nothing can be judged, the replication waits instead, as if there were no room.
const MOST_HELD: usize = 10_000;

/// What is held, as far as it was counted.
#[derive(Clone, Copy, Default)]
pub(super) struct Room {
    bytes: u64,
    revisions: usize,
    /// Up to which number of the directory.
    until: u32,
}

/// Why a revision is held, and what it came as.
#[derive(Serialize, Deserialize)]
struct Held {
    error: String,
    reason: String,
    id: String,
    /// The revision and its ancestors as the source told them, newest first.
    path: Vec<String>,
    deleted: bool,
    doc: Box<RawValue>,
}

/// A revision that did not pass the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The document, as it is stored on the server.
    pub id: String,
    /// Which revision of it.
    pub rev: String,
    /// What kind of failure: `locked` and `unknown_epoch` may pass by themselves.
    pub error: String,
    /// In words.
    pub reason: String,
}

impl Database {
    /// Whether this is a sealed channel. Fixed when the database was made.
    pub fn is_sealed(&self) -> bool {
        self.inner.is_sealed
    }

    /// Whether it is a sealed channel without its keys.
    pub fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// Looks at what comes in: gives what may be stored, as the edit that stores it. In a channel that is not
    /// sealed everything may.
    ///
    /// Shape:  `waiting` is how much is held already with edits that are not written yet.
    pub(super) async fn admit(&self, doc: ReplicatedDoc, waiting: &mut Room) -> Result<Edit> {
        if !self.inner.is_sealed {
            return self.check_replica(doc).await;
        }
        match self.proven(doc).await? {
            Ok(doc) => self.check_replica(doc).await,
            Err((doc, error)) => self.held(doc, error, waiting).await,
        }
    }

    /// A revision that proved itself, with as much of its history as did; or why not.
    async fn proven(
        &self,
        mut doc: ReplicatedDoc,
    ) -> Result<std::result::Result<ReplicatedDoc, (ReplicatedDoc, Error)>> {
        match Class::of(&doc.id) {
            Ok(Class::Sealed) => {}
            Ok(Class::Log(_)) => {
                return Ok(match log_entry(&doc) {
                    Ok(entry) if self.takes_entry(&entry).await? => Ok(doc),
                    Ok(_) => Err((doc, other_channel())),
                    Err(refusal) => Err((doc, kept_out(refusal))),
                });
            }
            // The net against accidents is in clear and the server's own.
            Ok(Class::Guard) => return Ok(Err((doc, kept_out(Refusal::NotSealed)))),
            Err(refusal) => return Ok(Err((doc, kept_out(refusal)))),
        }
        self.fresh().await?;
        let keys = match self.view() {
            Ok(View::Opened(opened)) => opened.keys(),
            _ => return Ok(Err((doc, Error::locked()))),
        };
        for attachment in &doc.attachments {
            // What is proved below is what is said of it.
            if let Some(content) = &attachment.content
                && (content.size_bytes() != attachment.length
                    || content.digest().await?.to_string() != attachment.digest)
            {
                return Ok(Err((doc, kept_out(Refusal::Attachments))));
            }
        }
        let lines = self.lines(&doc).await?;
        Ok(match keys.verify(&mut doc, &|rev| lines.get(rev).copied()) {
            Ok(()) => Ok(doc),
            Err(refusal) => Err((doc, kept_out(refusal))),
        })
    }

    /// The lines of the ancestors a revision came with, as far as it takes: those of the leaves that are here,
    /// and where the history was stemmed, that of the newest one that is still stored.
    async fn lines(&self, doc: &ReplicatedDoc) -> Result<HashMap<Rev, Hash>> {
        let mut lines = HashMap::new();
        let ancestors = doc.path.get(1..).unwrap_or_default();
        if ancestors.is_empty() {
            return Ok(lines);
        }
        let Some(current) = self.doc(&View::AsStored, &doc.id).await? else { return Ok(lines) };
        let is_whole = ancestors.last().is_some_and(|oldest| oldest.generation == 1);
        for ancestor in ancestors {
            let leaf = if is_whole {
                current.leaves.iter().find(|leaf| leaf.rev == *ancestor).cloned()
            } else {
                self.leaf_of(&View::AsStored, &current, ancestor).await?
            };
            if let Some(line) = leaf.as_ref().and_then(line) {
                lines.insert(ancestor.clone(), line);
                break;
            }
        }
        Ok(lines)
    }

    /// The edit that keeps a revision aside.
    async fn held(&self, doc: ReplicatedDoc, error: Error, waiting: &mut Room) -> Result<Edit> {
        if self.release(&doc.id, doc.path.first().ok_or_else(Error::missing)?).is_some() {
            // It is held already, and takes no more room.
            return self.aside(doc, &error).await;
        }
        let contents = doc.attachments.iter().filter_map(|attachment| attachment.content.as_ref());
        let bytes = waiting.bytes + doc.body.len() as u64 + contents.map(Content::size_bytes).sum::<u64>();
        let room = self.held_room().await?;
        if room.revisions + waiting.revisions >= MOST_HELD
            || room.bytes.saturating_add(bytes) > self.inner.options.quarantine_bytes
        {
            return Err(match error.kind() {
                Kind::Locked => Error::new(
                    Kind::InsufficientStorage,
                    "As much as fits waits for this channel to be unlocked. Unlock it, and the rest comes.",
                ),
                _ => error,
            });
        }
        (waiting.bytes, waiting.revisions) = (bytes, waiting.revisions + 1);
        self.aside(doc, &error).await
    }

    async fn aside(&self, doc: ReplicatedDoc, error: &Error) -> Result<Edit> {
        let rev = doc.path.first().ok_or_else(Error::missing)?;
        let id = held_id(&doc.id, rev);
        let held = Held {
            error: error.name().to_owned(),
            reason: error.reason().to_owned(),
            id: doc.id,
            path: doc.path.iter().map(Rev::to_string).collect(),
            deleted: doc.deleted,
            doc: RawValue::from_string(doc.body).map_err(|_| Error::corrupt("document"))?,
        };
        let body = serde_json::to_string(&held).map_err(|_| Error::corrupt("document"))?;
        let body_digest = canonical::digest(&body)?;
        let mut attachments = Vec::with_capacity(doc.attachments.len());
        for attachment in doc.attachments {
            attachments.push(EditAttachment::of_replicated(attachment).await?);
        }
        let change = Change::Aside { body, body_digest, attachments };
        Ok(Edit::new(&View::AsStored, id, change))
    }

    /// The revisions that are held, by their numbers in the directory.
    pub(super) fn held_numbers(&self) -> Vec<u32> {
        let state = self.inner.state.borrow();
        let mut numbers = state.directory.ids(Bound::Included(HELD), Bound::Excluded(HELD_END));
        numbers.retain(|&number| !state.directory.doc(number).deleted());
        numbers
    }

    /// How much is held. Other tabs hold and let go too.
    async fn held_room(&self) -> Result<Room> {
        let mut numbers = self.held_numbers();
        let until = self.inner.state.borrow().directory.total_count() as u32;
        let mut room = self.inner.held.get();
        let revisions = numbers.len();
        if numbers.iter().filter(|&&number| number < room.until).count() != room.revisions {
            room = Room::default();
        }
        numbers.retain(|&number| number >= room.until);
        let blocks = self.blocks_of(&numbers).await?;
        let state = self.inner.state.borrow();
        for number in numbers {
            let at = state.directory.doc(number).at();
            let Some(block) = blocks.get(&at.block) else { continue };
            let leaf = read_at(block, at.offset)?.winner()?;
            // Of one that is only named the server says how long it is.
            let lengths = leaf.attachments.iter().map(|stored| stored.length);
            room.bytes = lengths.fold(room.bytes.saturating_add(leaf.body.len() as u64), u64::saturating_add);
        }
        let room = Room { revisions, until, ..room };
        self.inner.held.set(room);
        Ok(room)
    }

    /// Whether a revision counts as known because it is held, or is of no use here.
    pub(super) fn is_held(&self, id: &str, rev: &Rev) -> bool {
        // What only the server has a use for is not fetched either.
        self.inner.is_sealed && (id == GUARD_ID || (self.is_locked() && self.release(id, rev).is_some()))
    }

    /// The edit after which a revision is held no longer, if it is.
    pub(super) fn release(&self, id: &str, rev: &Rev) -> Option<Edit> {
        let key = held_id(id, rev);
        let state = self.inner.state.borrow();
        let found = state.directory.find(&key).filter(|found| !found.deleted())?;
        let leaf = found.leaves().into_iter().next()?;
        Some(released(key, leaf.rev))
    }

    /// Whether what is stored under an id replicates.
    pub(super) fn replicates(&self, id: &str) -> bool {
        !self.inner.is_sealed || !(id.starts_with(HELD) || id == GUARD_ID)
    }

    /// Looks at what goes out of a sealed channel.
    ///
    /// Errors: 403 `forbidden` for anything that is not sealed as it has to be.
    pub(super) fn may_leave(&self, doc: ReplicatedDoc) -> Result<ReplicatedDoc> {
        if !self.inner.is_sealed {
            return Ok(doc);
        }
        let is_of_channel = match Class::of(&doc.id) {
            Ok(Class::Log(_)) => log_entry(&doc).is_ok(),
            _ => false,
        };
        if is_of_channel {
            return Ok(doc);
        }
        let view = self.inner.view.borrow();
        let keys = if let Some(View::Opened(opened)) = &*view { Some(opened.keys()) } else { None };
        may_leave(keys.as_deref(), &doc).map_err(|refusal| {
            Error::new(Kind::Forbidden, "Nothing leaves a sealed channel that is not sealed.")
                .with_source(refusal)
        })?;
        Ok(doc)
    }

    /// The revisions that did not pass the gate.
    pub async fn quarantine(&self) -> Result<Vec<Quarantined>> {
        let held = self.all_held(0).await?;
        let told = held.into_iter().map(|(_, held, _)| {
            let rev = held.path.into_iter().next().unwrap_or_default();
            Quarantined { id: held.id, rev, error: held.error, reason: held.reason }
        });
        Ok(told.collect())
    }

    /// How many there are, once that is another number than `seen`.
    pub(super) async fn quarantined_but(&self, seen: u64) -> Result<u64> {
        self.once(|| Some(self.held_count()).filter(|&count| count != seen)).await
    }

    pub(super) fn held_count(&self) -> u64 {
        if self.inner.is_sealed { self.held_numbers().len() as u64 } else { 0 }
    }

    /// Looks at what is held once more; says how many revisions passed.
    ///
    /// Errors: `locked`; what the store says.
    /// Atomic: each revision goes from one place to the other in one commit.
    pub async fn retry_quarantine(&self) -> Result<u64> {
        self.retry_held(0).await
    }

    /// The same for what has a number from this one on in the directory.
    pub(super) async fn retry_held(&self, first: u32) -> Result<u64> {
        self.view()?;
        let mut passed = 0;
        for (key, held, leaf) in self.all_held(first).await? {
            let mut doc = held.replicated()?;
            for stored in &leaf.attachments {
                let content = self.inner.store.content(stored.digest).await?.ok_or_else(content_gone)?;
                doc.attachments.push(Self::replicated_attachment(stored, Some(content)));
            }
            let is_fine = match self.proven(doc).await? {
                Ok(doc) => {
                    let edits = vec![self.check_replica(doc).await?, released(key, leaf.rev)];
                    self.write_edits(edits).await?.iter().all(Result::is_ok)
                }
                Err((doc, error)) if error.name() != held.error => {
                    // It waited, and now it is known what is wrong with it.
                    let edits = vec![released(key, leaf.rev), self.aside(doc, &error).await?];
                    self.write_edits(edits).await?;
                    false
                }
                Err(_) => false,
            };
            passed += u64::from(is_fine);
        }
        Ok(passed)
    }

    /// Lets go of what is held, or of one revision of it. It is fetched again when a replication starts anew, and then
    /// taken if it proves itself; the same once more is not held again.
    ///
    /// Errors: 404 `not_found` if the revision named is not held.
    pub async fn discard_quarantine(&self, only: Option<(&str, &str)>) -> Result<u64> {
        let mut edits = Vec::new();
        for (key, held, leaf) in self.all_held(0).await? {
            let is_meant =
                |(id, rev): (&str, &str)| held.id == id && held.path.first().is_some_and(|own| own == rev);
            if only.is_none_or(is_meant) {
                edits.push(released(key, leaf.rev));
            }
        }
        if edits.is_empty() && only.is_some() {
            return Err(Error::missing());
        }
        let outcomes = self.write_edits(edits).await?;
        Ok(outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64)
    }

    async fn all_held(&self, first: u32) -> Result<Vec<(String, Held, StoredLeaf)>> {
        self.fresh().await?;
        let mut numbers = self.held_numbers();
        numbers.retain(|&number| number >= first);
        let blocks = self.blocks_of(&numbers).await?;
        let state = self.inner.state.borrow();
        let mut all = Vec::with_capacity(numbers.len());
        for number in numbers {
            let found = state.directory.doc(number);
            let Some(block) = blocks.get(&found.at().block) else { continue };
            let leaf = read_at(block, found.at().offset)?.winner()?;
            let held = serde_json::from_str(&leaf.body).map_err(|_| Error::corrupt("quarantine"))?;
            all.push((found.id().to_owned(), held, leaf));
        }
        Ok(all)
    }
}

impl Held {
    /// As it came, without attachments.
    fn replicated(&self) -> Result<ReplicatedDoc> {
        let path = self.path.iter().map(|rev| rev.parse()).collect::<Result<Vec<Rev>>>()?;
        if path.is_empty() {
            return Err(Error::corrupt("quarantine"));
        }
        let (id, body) = (self.id.clone(), self.doc.get().to_owned());
        Ok(ReplicatedDoc { id, path, deleted: self.deleted, body, attachments: Vec::new() })
    }
}

/// As the quarantine tells it.
fn kept_out(refusal: Refusal) -> Error {
    Error::remote(403, refusal.name(), refusal.reason())
}

fn held_id(id: &str, rev: &Rev) -> String {
    format!("{HELD}{id}~{rev}")
}

/// The edit after which a revision is not held any more.
fn released(key: String, rev: Rev) -> Edit {
    let change = Change::New {
        parent: Some(rev),
        force: false,
        deleted: true,
        body: "{}".to_owned(),
        meaning: Meaning::Digest(Digest::of(b"{}")),
        attachments: Vec::new(),
    };
    Edit::new(&View::AsStored, key, change)
}
