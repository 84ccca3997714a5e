//! `allDocs`: every document in the order of its id, in CouchDB's raw collation (bytes of UTF-8).

use std::{collections::VecDeque, ops::Bound};

use serde_json::Value;

use super::{
    Database,
    options::AllDocsOptions,
    render::{Members, Rendered},
    view::View,
};
use crate::{
    error::{Error, Kind, Result},
    log::read_at,
};

/// Rows made between two turns of the event loop: a few milliseconds' worth.
const ROWS_AT_ONCE: usize = 500;

/// What a row is about.
enum Row {
    /// A document, by its number in the directory.
    Doc(u32),
    /// A key that was asked for and is not there.
    Missing(String),
}

/// The rows of an `allDocs`, piece by piece. Which documents they are is fixed by the first piece.
pub struct AllDocs {
    database: Database,
    options: AllDocsOptions,
    rows: Option<VecDeque<Row>>,
    head: String,
}

impl Database {
    /// The documents with ids in a range, or those of a list: PouchDB's `allDocs`.
    ///
    /// Errors: 400 `query_parse_error` for keys that are no strings.
    pub fn all_docs(&self, options: AllDocsOptions) -> Result<AllDocs> {
        self.view()?;
        let keys = [&options.startkey, &options.endkey, &options.key];
        for key in keys.iter().copied().flatten().chain(options.keys.iter().flatten()) {
            if !key.is_string() && !key.is_null() {
                return Err(Error::new(
                    Kind::QueryParse,
                    format!("A key of allDocs is a document id, not {key}."),
                ));
            }
        }
        if options.keys.is_some() && keys.iter().any(|key| key.is_some()) {
            return Err(Error::new(
                Kind::QueryParse,
                "`keys` is incompatible with `key`, `start_key` and `end_key`",
            ));
        }
        Ok(AllDocs { database: self.clone(), options, rows: None, head: String::new() })
    }
}

impl AllDocs {
    /// `{"total_rows":…,"offset":…}` with `update_seq` where it was asked for: what goes before the rows.
    pub async fn head(&mut self) -> Result<&str> {
        self.prepare().await?;
        Ok(&self.head)
    }

    /// The numbers of the documents, without those that are not there.
    pub(super) async fn numbers(mut self) -> Result<Vec<u32>> {
        self.prepare().await?;
        let number = |row| if let Row::Doc(number) = row { Some(number) } else { None };
        Ok(self.rows.into_iter().flatten().filter_map(number).collect())
    }

    async fn prepare(&mut self) -> Result<()> {
        if self.rows.is_some() {
            return Ok(());
        }
        self.database.fresh().await?;
        let view = self.database.view()?;
        if let Some(keys) = &self.options.keys {
            let has_gaps = {
                let state = self.database.inner.state.borrow();
                let is_gap = |id: &str| state.directory.find(&view.key(id)).is_none();
                keys.iter().any(|key| key.as_str().is_some_and(is_gap))
            };
            if has_gaps {
                self.database.refresh().await?;
            }
        }
        if self.options.keys.is_none() {
            self.database.learn_all(&view).await?;
        }
        let state = self.database.inner.state.borrow();
        let directory = &state.directory;
        let options = &self.options;
        let skip = usize::try_from(options.skip.unwrap_or(0)).unwrap_or(usize::MAX);
        let limit = usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut offset = 0;
        let rows: VecDeque<Row> = if let Some(keys) = &options.keys {
            let row = |key: &Value| {
                let id = key.as_str().unwrap_or_default();
                directory
                    .find(&view.key(id))
                    .map_or_else(|| Row::Missing(id.to_owned()), |found| Row::Doc(found.number()))
            };
            let rows: Box<dyn Iterator<Item = &Value>> =
                if options.descending { Box::new(keys.iter().rev()) } else { Box::new(keys.iter()) };
            rows.map(row).skip(skip).take(limit).collect()
        } else {
            let text = |value: &'_ Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
            let (mut start, mut end) = (text(&options.startkey), text(&options.endkey));
            let mut inclusive_end = options.inclusive_end != Some(false);
            if let Some(key) = text(&options.key) {
                (start, end, inclusive_end) = (Some(key.clone()), Some(key), true);
            }
            let first = start.as_deref().map_or(Bound::Unbounded, Bound::Included);
            let last = match end.as_deref() {
                None => Bound::Unbounded,
                Some(end) if inclusive_end => Bound::Included(end),
                Some(end) => Bound::Excluded(end),
            };
            let (lower, upper) = if options.descending { (last, first) } else { (first, last) };
            let mut numbers = view.range(directory, lower, upper);
            numbers.retain(|&number| !directory.doc(number).deleted());
            if options.descending {
                numbers.reverse();
            }
            if start.is_some()
                && let Some(&number) = numbers.first()
            {
                let first = view.name(&directory.doc(number)).unwrap_or_default();
                let before = if options.descending {
                    view.range(directory, Bound::Excluded(&first), Bound::Unbounded)
                } else {
                    view.range(directory, Bound::Unbounded, Bound::Excluded(&first))
                };
                offset = before.iter().filter(|&&number| !directory.doc(number).deleted()).count();
            }
            offset += skip.min(numbers.len());
            numbers.into_iter().map(Row::Doc).skip(skip).take(limit).collect()
        };
        self.head = format!("{{\"total_rows\":{},\"offset\":{offset}", view.doc_count(directory));
        if options.update_seq {
            self.head.push_str(&format!(",\"update_seq\":{}", directory.last_seq()));
        }
        self.head.push('}');
        drop(state);
        self.rows = Some(rows);
        Ok(())
    }

    /// The next rows: a JSON array of at most some hundreds; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Rendered>> {
        self.prepare().await?;
        let view = self.database.view()?;
        let Some(rows) = &mut self.rows else { return Ok(None) };
        if rows.is_empty() {
            return Ok(None);
        }
        let rows: Vec<Row> = rows.drain(..rows.len().min(ROWS_AT_ONCE)).collect();
        loop {
            let before = self.database.last_seq();
            match self.render(&view, &rows).await {
                Err(error) if self.database.may_read_again(&error, before).await => {}
                done => return done.map(Some),
            }
        }
    }

    async fn render(&self, view: &View, rows: &[Row]) -> Result<Rendered> {
        let numbers: Vec<u32> = rows
            .iter()
            .filter_map(|row| if let Row::Doc(number) = row { Some(*number) } else { None })
            .collect();
        self.database.learn(view, numbers.clone()).await?;
        let mut out = Rendered::default();
        out.push("[");
        if self.options.include_docs {
            let blocks = self.database.blocks_of(&numbers).await?;
            let members = Members {
                conflicts: self.options.conflicts,
                attachments: self.options.attachments,
                binary: self.options.binary,
                ..Members::default()
            };
            for row in rows {
                let leaf = match row {
                    Row::Missing(_) => None,
                    Row::Doc(number) => {
                        let (key, name, at) = {
                            let state = self.database.inner.state.borrow();
                            let found = state.directory.doc(*number);
                            (found.id().to_owned(), view.name(&found), found.at())
                        };
                        match (blocks.get(&at.block), name) {
                            (Some(block), _) if members.conflicts => {
                                Some((None, Some(view.doc(read_at(block, at.offset)?.doc()?)?)))
                            }
                            (Some(block), _) => {
                                Some((Some(view.leaf(&key, read_at(block, at.offset)?.winner()?)?), None))
                            }
                            // Written between the reading of the blocks and now: rare, and read alone.
                            (None, Some(name)) => Some((None, self.database.doc(view, &name).await?)),
                            (None, None) => None,
                        }
                    }
                };
                if !self.begin_row(&mut out, view, row) {
                    continue;
                }
                let Row::Doc(number) = row else { continue };
                let (id, deleted) = {
                    let state = self.database.inner.state.borrow();
                    let found = state.directory.doc(*number);
                    (view.name(&found).unwrap_or_default(), found.deleted())
                };
                let (leaf, doc) = leaf.unwrap_or((None, None));
                let leaf = leaf.or_else(|| doc.as_ref().and_then(|doc| doc.leaves.first().cloned()));
                out.push(",\"doc\":");
                match leaf {
                    Some(leaf) if !deleted => {
                        self.database.render(&mut out, view, &id, &leaf, doc.as_ref(), &members).await?;
                    }
                    _ => out.push("null"),
                }
                out.push("}");
            }
        } else {
            for row in rows {
                if self.begin_row(&mut out, view, row) {
                    out.push("}");
                }
            }
        }
        out.push("]");
        Ok(out)
    }

    /// Writes a row up to its document; false where the row is an error and already whole.
    fn begin_row(&self, out: &mut Rendered, view: &View, row: &Row) -> bool {
        if out.json.len() > 1 {
            out.push(",");
        }
        match row {
            Row::Missing(key) => {
                out.push("{\"key\":");
                out.push_str(key);
                out.push(",\"error\":\"not_found\"}");
                false
            }
            Row::Doc(number) => {
                let state = self.database.inner.state.borrow();
                let found = state.directory.doc(*number);
                let name = view.name(&found).unwrap_or_default();
                out.push("{\"id\":");
                out.push_str(&name);
                out.push(",\"key\":");
                out.push_str(&name);
                out.push(",\"value\":{\"rev\":");
                out.push_rev(&found.rev());
                out.push(if found.deleted() { ",\"deleted\":true}" } else { "}" });
                true
            }
        }
    }
}
