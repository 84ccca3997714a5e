//! Indexes: which documents have which values in some fields, in memory.
//!
//! An index takes in the changes feed when it is used, from where it was. So it knows whatever a `get` at that
//! moment would see, of this tab, of others and of replications, and costs nothing before. It is never stored: in a
//! sealed channel it would be the one thing at rest that is not sealed, and one less thing to keep up in a
//! clear one. Locking drops all of it but the names of its fields.
//!
//! What an entry costs is counted in `tests/native_memory.rs`: a [`Value`] a field, its texts, and some 30 bytes beside.

use std::{cmp::Ordering, ops::Bound, rc::Rc};

use futures::lock::{Mutex, MutexGuard};
use serde_json::Value;

use super::{
    super::{Database, view::View},
    DOCS_AT_ONCE, Seen,
    request::{IndexName, Sort, index_name, nothing_else, object, refused, required, take},
};
use crate::{
    error::{Error, Result},
    log::Order,
    model::{Digest, hex, push_json_string},
    selector::{Selector, Span, compare},
};

/// The most ranges that an index is looked up in for one `find`: beyond that it is read in one.
const MOST_RANGES: usize = 1_000;

/// Those that were made since the database was opened.
#[derive(Default)]
pub(in crate::database) struct Indexes(Vec<Rc<Index>>);

pub(super) struct Index {
    definition: Rc<Definition>,
    built: Mutex<Built>,
}

/// What was declared.
struct Definition {
    ddoc: String,
    name: String,
    fields: Sort,
}

/// The documents that have all the fields, by what they have there and then by id.
#[derive(Default)]
pub(super) struct Built {
    /// Up to which sequence number it knows the database.
    seq: u64,
    /// By the documents' numbers.
    keys: Vec<Option<Box<[Value]>>>,
    order: Order,
}

/// Where in an index the documents are that may match: in order, nothing twice.
pub(super) struct Ranges(Vec<Range>);

/// What begins with some values and goes on within a span.
struct Range {
    begin: Vec<Value>,
    span: Span,
}

impl Indexes {
    /// Drops what was taken in. Who is reading it keeps what there was until the end.
    pub(in crate::database) fn forget(&mut self) {
        for index in &mut self.0 {
            *index = Index::of(index.definition.clone());
        }
    }

    /// How many documents are in them; one that is taken in just now counts as empty.
    pub(super) fn entries(&self) -> usize {
        let entries = |index: &Rc<Index>| index.built.try_lock().map_or(0, |built| built.numbers().len());
        self.0.iter().map(entries).sum()
    }

    /// Where the index of a name is, or would be: they are in the order of their names.
    fn place(&self, ddoc: &str, name: &str) -> std::result::Result<usize, usize> {
        self.0.binary_search_by(|index| {
            let Definition { ddoc: other, name: own, .. } = &*index.definition;
            (**other).cmp(ddoc).then_with(|| (**own).cmp(name))
        })
    }

    pub(super) fn create(&mut self, asked: &str) -> Result<String> {
        let mut given = object(asked)?;
        let index = required(&mut given, "index")?;
        let Value::Object(mut index) = index else {
            return Err(refused("invalid_index", format!("JSON indexes must be an object, not: {index}")));
        };
        // CouchDB has them beside the definition, PouchDB within.
        let mut named =
            |key: &str| take(&mut given, key).or_else(|| take(&mut index, key)).map(index_name).transpose();
        let (kind, name, ddoc) = (named("type")?, named("name")?, named("ddoc")?);
        if let Some(kind) = kind.filter(|kind| kind != "json") {
            return Err(refused("invalid_index", format!("Invalid type for index: {kind}")));
        }
        nothing_else(&given)?;
        let fields = Sort::parse(Some(required(&mut index, "fields")?))?;
        nothing_else(&index)?;
        if fields.names.is_empty() {
            return Err(refused("invalid_index", "An index has at least one field."));
        }
        let mut definition = String::new();
        push_fields(&mut definition, &fields);
        let name = name.unwrap_or_else(|| format!("idx-{}", hex(&Digest::of(definition.as_bytes()).0)));
        let ddoc = ddoc.unwrap_or_else(|| name.clone());
        let at = self.place(&ddoc, &name);
        let is_there = at.is_ok_and(|at| {
            let other = &self.0[at].definition.fields;
            other.names == fields.names && other.descending == fields.descending
        });
        let mut told = format!("{{\"result\":\"{}\",\"id\":", if is_there { "exists" } else { "created" });
        push_json_string(&mut told, &format!("_design/{ddoc}"));
        told.push_str(",\"name\":");
        push_json_string(&mut told, &name);
        told.push('}');
        if !is_there {
            if let Ok(at) = at {
                self.0.remove(at);
            }
            let at = at.unwrap_or_else(|at| at);
            self.0.insert(at, Index::of(Rc::new(Definition { ddoc, name, fields })));
        }
        Ok(told)
    }

    pub(super) fn listed(&self) -> String {
        let mut told = format!("{{\"total_rows\":{},\"indexes\":[", self.0.len() + 1);
        told.push_str(
            r#"{"ddoc":null,"name":"_all_docs","type":"special","def":{"fields":[{"_id":"asc"}]}}"#,
        );
        for index in &self.0 {
            told.push_str(",{\"ddoc\":");
            let Definition { ddoc, name, fields } = &*index.definition;
            push_json_string(&mut told, &format!("_design/{ddoc}"));
            told.push_str(",\"name\":");
            push_json_string(&mut told, name);
            told.push_str(",\"type\":\"json\",\"def\":{\"fields\":");
            push_fields(&mut told, fields);
            told.push_str("}}");
        }
        told.push_str("]}");
        told
    }

    pub(super) fn delete(&mut self, asked: &str) -> Result<String> {
        let mut given = object(asked)?;
        let ddoc = index_name(required(&mut given, "ddoc")?)?;
        let name = index_name(required(&mut given, "name")?)?;
        let at = self.place(&ddoc, &name).map_err(|_| Error::missing())?;
        self.0.remove(at);
        Ok("{\"ok\":true}".to_owned())
    }

    /// The index to use, if there is one, and whether it is that which was asked for.
    pub(super) fn best(
        &self,
        selector: &Selector,
        sort: &Sort,
        asked: Option<&IndexName>,
    ) -> (Option<Rc<Index>>, bool) {
        let is_asked = |index: &Index| {
            let Definition { ddoc, name, .. } = &*index.definition;
            let is_name = |asked: &IndexName| asked.name.as_ref().is_none_or(|asked| asked == name);
            asked.is_some_and(|asked| asked.ddoc == *ddoc && is_name(asked))
        };
        let usable = self.0.iter().filter(|index| index.is_usable(selector, sort));
        // The one asked for, else one that sorts, else that with the most fields narrowed, the fewest fields, the
        // first name.
        let best = usable.min_by_key(|index| {
            let narrowed = Ranges::narrowed(index, selector);
            let fields = index.definition.fields.paths.len();
            (!is_asked(index), !index.serves(selector, sort), usize::MAX - narrowed, fields)
        });
        (best.cloned(), best.is_some_and(|index| is_asked(index)))
    }
}

fn push_fields(told: &mut String, fields: &Sort) {
    for (index, name) in fields.names.iter().enumerate() {
        told.push_str(if index > 0 { ",{" } else { "[{" });
        push_json_string(told, name);
        told.push_str(if fields.descending { ":\"desc\"}" } else { ":\"asc\"}" });
    }
    told.push(']');
}

fn is_in_every_document(path: &[String]) -> bool {
    matches!(path, [name] if name == "_id" || name == "_rev")
}

impl Index {
    fn of(definition: Rc<Definition>) -> Rc<Self> {
        Rc::new(Self { definition, built: Mutex::default() })
    }

    /// Whether every document that is to be found is in it.
    fn is_usable(&self, selector: &Selector, sort: &Sort) -> bool {
        let is_there = |path: &Vec<String>| {
            sort.paths.contains(path) || is_in_every_document(path) || selector.requires(path)
        };
        self.definition.fields.paths.iter().all(is_there)
    }

    /// Whether its order is the one asked for: that of its fields, but for those before that are constant.
    pub(super) fn serves(&self, selector: &Selector, sort: &Sort) -> bool {
        let Some(first) = sort.paths.first() else { return true };
        let paths = &self.definition.fields.paths;
        let at = paths.iter().position(|path| path == first || !selector.is_constant(path));
        at.is_some_and(|at| paths[at..].starts_with(&sort.paths))
    }
}

impl Built {
    fn key(&self, number: u32) -> &[Value] {
        self.keys.get(number as usize).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Puts a document where it belongs, or takes it out. `by_name` orders those of one key.
    pub(super) fn set(
        &mut self,
        number: u32,
        key: Option<Box<[Value]>>,
        by_name: &dyn Fn(u32, u32) -> Ordering,
    ) {
        let at = number as usize;
        if self.keys.len() <= at {
            self.keys.resize(at + 1, None);
        }
        if self.keys[at].is_some() {
            let mut order = std::mem::take(&mut self.order);
            order.remove(|other| self.compare(other, number, by_name));
            self.order = order;
        }
        self.keys[at] = key;
        if self.keys[at].is_some()
            && let Err(place) = self.order.find(|other| self.compare(other, number, by_name))
        {
            self.order.insert(place, number);
        }
    }

    fn compare(&self, a: u32, b: u32, by_name: &dyn Fn(u32, u32) -> Ordering) -> Ordering {
        compare_all(self.key(a), self.key(b)).then_with(|| by_name(a, b))
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        self.order.iter().collect()
    }
}

fn compare_all(a: &[Value], b: &[Value]) -> Ordering {
    let different = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    different.unwrap_or(Ordering::Equal)
}

impl Ranges {
    pub(super) fn of(index: &Index, selector: &Selector) -> Self {
        let mut ranges = Vec::new();
        add_ranges(&mut ranges, &index.definition.fields.paths, selector, Vec::new(), 1);
        Self(ranges)
    }

    /// How many fields of an index, from the first, a selector says something of.
    fn narrowed(index: &Index, selector: &Selector) -> usize {
        let is_narrowed = |path: &&Vec<String>| spans_of(selector, path) != [Span::ALL];
        index.definition.fields.paths.iter().take_while(is_narrowed).count()
    }

    /// The documents there, in the index's order.
    pub(super) fn numbers(&self, built: &Built) -> Vec<u32> {
        let mut numbers = Vec::new();
        for range in &self.0 {
            let from = built.order.from(|number| range.is_after(built.key(number)));
            numbers.extend(from.take_while(|&number| range.reaches(built.key(number))));
        }
        numbers
    }
}

/// The spans of a field in an index's order, each once. Those of ids are by their bytes, which is another order.
fn spans_of(selector: &Selector, path: &[String]) -> Vec<Span> {
    let spans = selector.spans(path);
    let is_id = matches!(path, [name] if name == "_id");
    if spans.len() > MOST_RANGES || is_id && spans.iter().any(|span| span.only().is_none()) {
        return vec![Span::ALL];
    }
    let mut sorted: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        // Of several each has a beginning.
        let place = sorted.binary_search_by(|other| match (&other.from, &span.from) {
            (Bound::Included(other), Bound::Included(from)) => compare(other, from),
            _ => Ordering::Equal,
        });
        if let Err(at) = place {
            sorted.insert(at, span);
        }
    }
    sorted
}

/// Where a field has one value, the next one narrows further. `count` is how many ranges there are beside.
fn add_ranges(
    ranges: &mut Vec<Range>,
    paths: &[Vec<String>],
    selector: &Selector,
    begin: Vec<Value>,
    count: usize,
) {
    let [path, below @ ..] = paths else { return ranges.push(Range { begin, span: Span::ALL }) };
    let spans = spans_of(selector, path);
    let count = count.saturating_mul(spans.len());
    if count > MOST_RANGES {
        return ranges.push(Range { begin, span: Span::ALL });
    }
    for span in spans {
        let mut begin = begin.clone();
        match span.only() {
            Some(value) => {
                begin.push(value.clone());
                add_ranges(ranges, below, selector, begin, count);
            }
            None => ranges.push(Range { begin, span }),
        }
    }
}

impl Range {
    /// Whether it begins after a key.
    fn is_after(&self, key: &[Value]) -> bool {
        self.stands(key).then_with(|| match (&self.span.from, key.get(self.begin.len())) {
            (Bound::Included(from), Some(value)) => compare(value, from),
            (Bound::Excluded(from), Some(value)) => compare(value, from).then(Ordering::Less),
            _ => Ordering::Equal,
        }) == Ordering::Less
    }

    /// Whether it does not end before a key.
    fn reaches(&self, key: &[Value]) -> bool {
        self.stands(key).then_with(|| match (&self.span.to, key.get(self.begin.len())) {
            (Bound::Included(to), Some(value)) => compare(value, to),
            (Bound::Excluded(to), Some(value)) => compare(value, to).then(Ordering::Greater),
            _ => Ordering::Equal,
        }) != Ordering::Greater
    }

    /// How a key's first values stand to those that it begins with.
    fn stands(&self, key: &[Value]) -> Ordering {
        compare_all(key, &self.begin)
    }
}

impl Database {
    /// An index, once it knows of everything that there is now. One at a time takes in, the others wait.
    pub(super) async fn take_in<'a>(&self, view: &View, index: &'a Index) -> Result<MutexGuard<'a, Built>> {
        let mut built = index.built.lock().await;
        loop {
            let entries = self.inner.state.borrow().directory.changes(built.seq, DOCS_AT_ONCE);
            let Some(last) = entries.last() else { return Ok(built) };
            let seq = last.seq;
            let numbers: Vec<u32> = entries.iter().map(|entry| entry.number).collect();
            let mut seen = self.seen(view, &numbers).await?.into_iter().peekable();
            {
                let state = self.inner.state.borrow();
                for number in numbers {
                    let seen = seen.next_if(|seen| seen.number == number);
                    let key = seen.and_then(|Seen { doc, .. }| index.definition.fields.key(&doc));
                    built.set(number, key, &|a, b| view.by_name(&state.directory, a, b));
                }
            }
            built.seq = seq;
            self.inner.platform.sleep(0).await;
            self.view()?;
        }
    }
}
