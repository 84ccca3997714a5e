//! The changes feed: each document once, at the place of its last change.
//!
//! A feed keeps nothing but how far it has come, so any number of them cost nothing while they wait,
//! and none can miss a change: it asks to be woken first and looks at the directory then.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Answer, Database, Job,
    conflicts::{Contest, Told},
    options::{ChangesOptions, Style},
    render::{Members, Rendered},
    view::View,
};
use crate::{
    error::{Error, Kind, Result},
    log::{SeqEntry, read_at},
    model::Seq,
    selector::Selector,
};

/// Entries made between two turns of the event loop: a few milliseconds' worth.
const ENTRIES_AT_ONCE: usize = 500;

/// Which documents a feed is about.
#[derive(Default)]
pub(super) struct Filter {
    ids: Option<HashSet<String>>,
    selector: Option<Selector>,
    /// The selector sees `_conflicts`.
    conflicts: bool,
    /// The documents that a sealed channel needs for itself pass too.
    is_replication: bool,
}

/// A changes feed, read piece by piece.
pub struct Changes {
    database: Database,
    options: ChangesOptions,
    filter: Filter,
    /// Everything up to here has been told.
    since: u64,
    /// When descending: everything from here on has been told.
    before: u64,
    left: u64,
    /// Where "now" is, while it is still being found out.
    now: Option<Answer<u64>>,
    /// In a feed of conflicts.
    pub(super) told: Option<Told>,
}

impl Filter {
    /// `doc_ids` are ids as they are seen.
    pub(super) fn new(view: &View, doc_ids: Option<&[String]>, selector: Option<&Value>) -> Result<Self> {
        let key = |id: &String| view.key(id).into_owned();
        Ok(Self {
            ids: doc_ids.map(|ids| ids.iter().map(key).collect()),
            selector: selector.map(Selector::parse).transpose()?,
            conflicts: false,
            is_replication: false,
        })
    }

    /// `doc_ids` are ids as they are stored.
    pub(super) fn of_replication(doc_ids: Option<&[String]>, selector: Option<&Value>) -> Result<Self> {
        Ok(Self { is_replication: true, ..Self::new(&View::AsStored, doc_ids, selector)? })
    }
}

impl Database {
    /// A changes feed: PouchDB's `changes`.
    ///
    /// Errors: 400 `bad_request` for a `since` that is no place in this feed, or a bad selector.
    pub fn changes(&self, options: ChangesOptions) -> Result<Changes> {
        let view = self.view()?;
        let mut now = None;
        let since = match &options.since {
            None => 0,
            Some(seq) if seq.0 == "now" => {
                // What others committed so far is not new; what is written here from now on is.
                if self.inner.is_stale() {
                    now = Some(self.leave(|reply| Job::Refresh { reply })?);
                }
                self.last_seq()
            }
            Some(seq) => seq_number(seq)?,
        };
        let mut filter = Filter::new(&view, options.doc_ids.as_deref(), options.selector.as_ref())?;
        filter.conflicts = options.conflicts && options.style != Some(Style::AllDocs);
        let left = options.limit.unwrap_or(u64::MAX);
        // CouchDB takes a limit of 0 for 1.
        Ok(Changes {
            database: self.clone(),
            filter,
            since,
            before: u64::MAX,
            left: left.max(1),
            options,
            now,
            told: None,
        })
    }

    /// The entries among these that a filter lets pass.
    pub(super) async fn matching(
        &self,
        view: &View,
        filter: &Filter,
        mut entries: Vec<SeqEntry>,
    ) -> Result<Vec<SeqEntry>> {
        if let View::Opened(_) = view {
            self.learn(view, entries.iter().map(|entry| entry.number).collect()).await?;
            let state = self.inner.state.borrow();
            let is_seen = |entry: &SeqEntry| view.name(&state.directory.doc(entry.number)).is_some();
            entries.retain(|entry| filter.is_replication || is_seen(entry));
        }
        let entries: Vec<SeqEntry> = match &filter.ids {
            None => entries,
            Some(ids) => {
                let state = self.inner.state.borrow();
                let is_named = |entry: &SeqEntry| ids.contains(state.directory.doc(entry.number).id());
                entries.into_iter().filter(is_named).collect()
            }
        };
        let Some(selector) = &filter.selector else { return Ok(entries) };
        let numbers: Vec<u32> = entries.iter().map(|entry| entry.number).collect();
        let blocks = self.blocks_of(&numbers).await?;
        let mut matching = Vec::new();
        for entry in entries {
            let (key, name, at, conflicts) = {
                let state = self.inner.state.borrow();
                let found = state.directory.doc(entry.number);
                let others = found.others().iter().filter(|(_, deleted)| filter.conflicts && !deleted);
                let conflicts: Vec<Value> = others.map(|(rev, _)| rev.to_string().into()).collect();
                (found.id().to_owned(), view.name(&found), found.at(), conflicts)
            };
            let Some(id) = name else {
                matching.push(entry);
                continue;
            };
            let Some(block) = blocks.get(&at.block) else { continue };
            let leaf = view.leaf(&key, read_at(block, at.offset)?.winner()?)?;
            let mut out = Rendered::default();
            out.push_leaf(&id, &leaf);
            // A body too deep for a selector to look at matches nothing.
            let Ok(Value::Object(mut doc)) = serde_json::from_str(&out.json) else { continue };
            if !conflicts.is_empty() {
                doc.insert("_conflicts".to_owned(), conflicts.into());
            }
            if selector.matches(&Value::Object(doc)) {
                matching.push(entry);
            }
        }
        Ok(matching)
    }
}

/// A place in a local feed: a number, or one as text.
pub(super) fn seq_number(seq: &Seq) -> Result<u64> {
    let number = match &seq.0 {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null => Some(0),
        _ => None,
    };
    number.ok_or_else(|| Error::new(Kind::BadRequest, format!("`since` is no sequence number: {}", seq.0)))
}

impl Changes {
    /// The next entries: a JSON array, never empty. `None` after the last; with `wait`, only when the
    /// limit is reached or the database was closed.
    pub async fn next(&mut self, wait: bool) -> Result<Option<Rendered>> {
        if let Some(now) = &mut self.now {
            self.since = self.database.answer(now).await?;
            self.now = None;
        }
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if wait && self.database.inner.open().is_err() {
                return Ok(None);
            }
            let view = self.database.view()?;
            // In this order: a commit after the look wakes us.
            let change = self.database.inner.next_change();
            self.database.fresh().await?;
            let entries = {
                let state = self.database.inner.state.borrow();
                if self.options.descending {
                    let mut entries = state.directory.changes_before(self.before, ENTRIES_AT_ONCE);
                    entries.retain(|entry| entry.seq > self.since);
                    entries
                } else {
                    state.directory.changes(self.since, ENTRIES_AT_ONCE)
                }
            };
            if entries.is_empty() {
                if !wait || self.options.descending {
                    return Ok(None);
                }
                // Cancelled only with the database.
                let _ = change.await;
                continue;
            }
            let told_to = entries.last().map(|entry| entry.seq);
            let mut entries = self.database.matching(&view, &self.filter, entries).await?;
            let (mut contests, mut noted) = (Vec::new(), Vec::new());
            if let Some(told) = &self.told {
                (entries, contests, noted) = self.database.contested(told, entries, self.left).await?;
            }
            let mut told_to = told_to.unwrap_or(self.since);
            if entries.len() as u64 >= self.left {
                entries.truncate(self.left as usize);
                told_to = entries.last().map_or(told_to, |entry| entry.seq);
            }
            self.left -= entries.len() as u64;
            let rendered = loop {
                let before = self.database.last_seq();
                match self.render(&view, &entries, &contests).await {
                    Err(error) if self.database.may_read_again(&error, before).await => {}
                    done => break done?,
                }
            };
            if let Some(told) = &mut self.told {
                told.docs.extend(noted);
            }
            if self.options.descending {
                self.before = told_to;
            } else {
                self.since = told_to;
            }
            if !entries.is_empty() {
                return Ok(Some(rendered));
            }
        }
    }

    /// Where to go on: everything up to here was told or passed over.
    pub fn last_seq(&self) -> u64 {
        if self.options.descending {
            self.database.inner.state.borrow().directory.last_seq()
        } else {
            self.since
        }
    }

    /// How many entries come after that.
    pub fn pending(&self) -> u64 {
        self.database.inner.state.borrow().directory.pending(self.last_seq())
    }

    async fn render(&self, view: &View, entries: &[SeqEntry], contests: &[Contest]) -> Result<Rendered> {
        let options = &self.options;
        let blocks = if options.include_docs {
            let numbers: Vec<u32> = entries.iter().map(|entry| entry.number).collect();
            self.database.blocks_of(&numbers).await?
        } else {
            Default::default()
        };
        let members = Members {
            conflicts: options.conflicts,
            attachments: options.attachments,
            binary: options.binary,
            ..Members::default()
        };
        let mut out = Rendered::default();
        out.json.reserve(entries.len() * 128);
        out.push("[");
        for (index, entry) in entries.iter().enumerate() {
            out.push(if index > 0 { ",{\"seq\":" } else { "{\"seq\":" });
            let (id, at) = {
                let state = self.database.inner.state.borrow();
                let found = state.directory.doc(entry.number);
                // The document may have moved on since the entries were picked; then this entry shows its
                // newest state at its old place, and the feed tells of it once more.
                out.push_display(entry.seq);
                out.push(",\"id\":");
                let id = view.name(&found).unwrap_or_default();
                out.push_str(&id);
                if let Some(contest) = contests.get(index) {
                    out.push(",\"rev\":");
                    out.push_rev(&found.rev());
                    out.push(",\"conflicts\":");
                    out.push_revs(&contest.conflicts);
                    out.push(",\"deletedConflicts\":");
                    out.push_revs(&contest.deleted);
                } else {
                    out.push(",\"changes\":[{\"rev\":");
                    out.push_rev(&found.rev());
                    out.push("}");
                    if options.style == Some(Style::AllDocs) {
                        for (rev, _) in found.others() {
                            out.push(",{\"rev\":");
                            out.push_rev(rev);
                            out.push("}");
                        }
                    }
                    out.push("]");
                }
                if found.deleted() {
                    out.push(",\"deleted\":true");
                }
                (id, found.at())
            };
            if options.include_docs {
                out.push(",\"doc\":");
                let doc = match blocks.get(&at.block) {
                    Some(block) => Some(view.doc(read_at(block, at.offset)?.doc()?)?),
                    None => self.database.doc(view, &id).await?,
                };
                match doc.as_ref().and_then(|doc| doc.leaves.first()) {
                    Some(leaf) => {
                        self.database.render(&mut out, view, &id, leaf, doc.as_ref(), &members).await?;
                    }
                    None => out.push("null"),
                }
            }
            out.push("}");
        }
        out.push("]");
        Ok(out)
    }
}
