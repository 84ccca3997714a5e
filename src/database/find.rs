//! `find`: the documents that a selector picks, CouchDB's `_find`.
//!
//! ```text
//! request ─► plan: ids, an index or every document ─► candidates ─► read, asked of the selector ─► pages
//! ```
//!
//! Which documents are candidates is fixed by the first page; each is read, and asked of the selector, when its page
//! is made. An index makes it fewer of them or puts them in order. It never changes which documents are found: a sort
//! that no index serves is done by one made for the call, and by either a document without a field to sort by
//! is left out.

mod fields;
mod index;
mod request;

use std::{ops::Bound, rc::Rc};

use serde_json::Value;

use super::{Database, options::AllDocsOptions, render::Rendered, view::View};
use crate::{error::Result, model::push_json_string, selector::Span};
use fields::projected;
pub(super) use index::Indexes;
use index::{Built, Index, Ranges};
use request::Request;

/// Documents read between two turns of the event loop: some milliseconds' worth.
const DOCS_AT_ONCE: usize = 250;

/// The least that is read at once, where fewer are wanted: most candidates may not match.
const FEWEST_AT_ONCE: u64 = 16;

const NO_INDEX: &str = "No matching index found, create an index to optimize query time.";
const NO_SORT_INDEX: &str = "No index exists for this sort, try indexing by the sort fields.";

/// What a [`Database::find`] gives, page by page.
pub struct Find {
    database: Database,
    request: Request,
    left: u64,
    skip: u64,
    /// The numbers of the documents to look at, once they are known.
    candidates: Option<Vec<u32>>,
    /// How many of them were looked at.
    at: usize,
    /// Lines.
    warning: String,
}

/// Where to look.
enum Source {
    /// At those that `allDocs` gives.
    Rows(AllDocsOptions),
    Index(Rc<Index>, Ranges),
}

/// A document that was read: its JSON as `get` gives it, as text and as a value.
struct Seen {
    number: u32,
    text: String,
    doc: Value,
}

impl Database {
    /// The documents that a selector picks: PouchDB's `find`.
    ///
    /// Shape:  `request` is the JSON text of `{selector, fields?, sort?, limit?, skip?, use_index?}`.
    /// Errors: 400 with CouchDB's names for a bad request; those of a locked channel or a closed database.
    pub fn find(&self, request: &str) -> Result<Find> {
        self.view()?;
        let request = Request::parse(request)?;
        let (left, skip) = (request.limit, request.skip);
        Ok(Find {
            database: self.clone(),
            request,
            left,
            skip,
            candidates: None,
            at: 0,
            warning: String::new(),
        })
    }

    /// Makes an index, or finds that it is there: PouchDB's `createIndex`. It is in memory, for as long as the
    /// database is open here, and is built when first used.
    ///
    /// Shape:  both ways JSON text: `{index: {fields}, name?, ddoc?}`, and `{result, id, name}`.
    /// Errors: 400 with CouchDB's names.
    pub fn create_index(&self, asked: &str) -> Result<String> {
        self.inner.open()?;
        self.inner.indexes.borrow_mut().create(asked)
    }

    /// The indexes there are, as the JSON text of `{total_rows, indexes}`: PouchDB's `getIndexes`.
    pub fn indexes(&self) -> Result<String> {
        self.inner.open()?;
        Ok(self.inner.indexes.borrow().listed())
    }

    /// Drops the index of a `ddoc` and `name`, JSON text both ways: PouchDB's `deleteIndex`.
    ///
    /// Errors: 404 `not_found` if there is none.
    pub fn delete_index(&self, asked: &str) -> Result<String> {
        self.inner.open()?;
        self.inner.indexes.borrow_mut().delete(asked)
    }

    /// How many entries the indexes have in memory.
    pub fn index_entries(&self) -> usize {
        self.inner.indexes.borrow().entries()
    }

    /// Those of these documents that are there, not deleted and no design documents, as they are now.
    async fn seen(&self, view: &View, numbers: &[u32]) -> Result<Vec<Seen>> {
        let blocks = self.blocks_of(numbers).await?;
        let mut seen = Vec::with_capacity(numbers.len());
        let mut names = Vec::new();
        let state = self.inner.state.borrow();
        for &number in numbers {
            let found = state.directory.doc(number);
            let (false, Some(block)) = (found.deleted(), blocks.get(&found.at().block)) else { continue };
            let Some((name, leaf)) = view.winner(&found, block)? else { continue };
            if !name.starts_with("_design/") {
                let mut out = Rendered::default();
                out.push_leaf(&name, &leaf);
                // A body too deep for a selector to look at matches nothing.
                if let Ok(doc) = serde_json::from_str(&out.json) {
                    seen.push(Seen { number, text: out.json, doc });
                }
            }
            names.push((number, name));
        }
        view.learned(names);
        Ok(seen)
    }
}

impl Find {
    /// What goes before the documents: the JSON text of `{warning?}`.
    pub async fn head(&mut self) -> Result<String> {
        self.prepare().await?;
        let mut head = "{".to_owned();
        if !self.warning.is_empty() {
            head.push_str("\"warning\":");
            push_json_string(&mut head, &self.warning);
        }
        head.push('}');
        Ok(head)
    }

    /// The next documents: a JSON array, often empty; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Rendered>> {
        self.prepare().await?;
        let view = self.database.view()?;
        let candidates =
            self.candidates.as_deref().and_then(|numbers| numbers.get(self.at..)).unwrap_or_default();
        if self.left == 0 || candidates.is_empty() {
            return Ok(None);
        }
        let wanted = self.left.saturating_add(self.skip).clamp(FEWEST_AT_ONCE, DOCS_AT_ONCE as u64);
        let numbers = &candidates[..candidates.len().min(wanted as usize)];
        self.at += numbers.len();
        let mut out = Rendered::default();
        out.push("[");
        for Seen { text, doc, .. } in self.database.seen(&view, numbers).await? {
            if self.left == 0 || !self.request.selector.matches(&doc) {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            if out.json.len() > 1 {
                out.push(",");
            }
            match &self.request.fields[..] {
                [] => out.push(&text),
                fields => projected(&mut out, &text, fields),
            }
        }
        out.push("]");
        Ok(Some(out))
    }

    /// Finds out which documents to look at.
    async fn prepare(&mut self) -> Result<()> {
        if self.candidates.is_some() {
            return Ok(());
        }
        self.database.fresh().await?;
        let view = self.database.view()?;
        if self.request.finds_nothing {
            self.candidates = Some(Vec::new());
            return Ok(());
        }
        let (source, is_sorted) = self.plan();
        let unnamed = match &source {
            Source::Rows(AllDocsOptions { keys: None, .. }) => self.database.unnamed(&view),
            _ => None,
        };
        // What has to be opened for its name is asked of the selector at once.
        let is_asked = unnamed.is_some();
        let mut numbers = match unnamed {
            Some(numbers) => numbers,
            None => self.candidates_of(&view, source).await?,
        };
        if is_asked || !is_sorted {
            numbers = self.sorted(&view, &numbers, is_sorted).await?;
        }
        if self.request.sort.descending {
            numbers.reverse();
        }
        self.candidates = Some(numbers);
        Ok(())
    }

    /// Where to look, and whether the documents come from there in the order asked for.
    fn plan(&mut self) -> (Source, bool) {
        let Request { selector, sort, use_index, .. } = &self.request;
        let id = ["_id".to_owned()];
        let spans = selector.spans(&id);
        let is_by_id = sort.paths.is_empty() || matches!(&sort.paths[..], [path] if *path == id);
        // Nothing is nearer than the documents themselves.
        if spans.iter().all(|span| span.only().is_some() || !may_be_text(span)) {
            let mut ids: Vec<Value> = Vec::new();
            for id in spans.iter().filter_map(|span| span.only()?.as_str()) {
                if let Err(at) = ids.binary_search_by(|other| other.as_str().cmp(&Some(id))) {
                    ids.insert(at, id.into());
                }
            }
            return (Source::Rows(AllDocsOptions { keys: Some(ids), ..AllDocsOptions::default() }), is_by_id);
        }
        let (index, is_named) = self.database.inner.indexes.borrow().best(selector, sort, use_index.as_ref());
        if let (Some(asked), false) = (use_index, is_named) {
            self.warning.push_str(&asked.not_used());
        }
        let (source, is_sorted) = match index {
            Some(index) => {
                let is_sorted = index.serves(selector, sort);
                let ranges = Ranges::of(&index, selector);
                (Source::Index(index, ranges), is_sorted)
            }
            None => {
                let [startkey, endkey] = match &spans[..] {
                    [span] => [text_bound(&span.from), text_bound(&span.to)],
                    _ => [None, None],
                };
                if let (None, None) = (&startkey, &endkey) {
                    self.warn(NO_INDEX);
                }
                (Source::Rows(AllDocsOptions { startkey, endkey, ..AllDocsOptions::default() }), is_by_id)
            }
        };
        if !is_sorted {
            self.warn(NO_SORT_INDEX);
        }
        (source, is_sorted)
    }

    fn warn(&mut self, line: &str) {
        if !self.warning.is_empty() {
            self.warning.push('\n');
        }
        self.warning.push_str(line);
    }

    /// The documents that may match, in the order of what they are from.
    async fn candidates_of(&self, view: &View, source: Source) -> Result<Vec<u32>> {
        let database = &self.database;
        let mut numbers = match source {
            Source::Rows(options) => database.all_docs(options)?.numbers().await?,
            Source::Index(index, ranges) => {
                let built = database.take_in(view, &index).await?;
                ranges.numbers(&built)
            }
        };
        let state = database.inner.state.borrow();
        numbers.retain(|&number| !state.directory.doc(number).deleted());
        Ok(numbers)
    }

    /// Those that match, in the order asked for or that of their ids: by an index of them alone.
    async fn sorted(&self, view: &View, numbers: &[u32], by_id: bool) -> Result<Vec<u32>> {
        let mut sorted = Built::default();
        for numbers in numbers.chunks(DOCS_AT_ONCE) {
            for Seen { number, doc, .. } in self.database.seen(view, numbers).await? {
                if self.request.selector.matches(&doc) {
                    let key = if by_id { Some(Box::default()) } else { self.request.sort.key(&doc) };
                    let state = self.database.inner.state.borrow();
                    sorted.set(number, key, &|a, b| view.by_name(&state.directory, a, b));
                }
            }
            self.database.inner.platform.sleep(0).await;
            self.database.view()?;
        }
        Ok(sorted.numbers())
    }
}

/// Whether a text lies there.
fn may_be_text(span: &Span) -> bool {
    !matches!(&span.from, Bound::Included(Value::Array(_)))
}

/// A bound of ids, itself included; what is no text is left to the selector.
fn text_bound(bound: &Bound<Value>) -> Option<Value> {
    match bound {
        Bound::Included(id) | Bound::Excluded(id) if id.is_string() => Some(id.clone()),
        _ => None,
    }
}
