//! The options of every call, under PouchDB's names, with unknown ones refused by name.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    error::{Error, Kind, Result},
    model::{Member, Rev, Seq, options},
};

/// How a database is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOptions {
    /// The database's name, for [`super::Info`] only; the store knows where the bytes are.
    pub name: String,
    /// How many revisions a branch keeps before its oldest are stemmed. CouchDB's default.
    pub revs_limit: usize,
    /// Compact by itself when more than half of the log is dead.
    pub auto_compaction: bool,
    /// Whether it is to be a sealed channel if it is made now; one that is there must be sealed then.
    pub sealed: bool,
    /// The largest document body, in bytes of JSON; CouchDB's `max_document_size` default.
    pub max_document_bytes: usize,
    /// What revisions may take, in a sealed channel, that came in and did not prove themselves.
    pub quarantine_bytes: u64,
}

impl OpenOptions {
    /// CouchDB's defaults for a database of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            revs_limit: 1000,
            auto_compaction: true,
            sealed: false,
            max_document_bytes: 8_000_000,
            quarantine_bytes: 256 << 20,
        }
    }
}

/// Options of `put`, `post` and `remove`.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// Make this edit a new branch where it is not based on a leaf, instead of a conflict error.
    pub force: bool,
    /// `Some(false)`: the document brings its own `_rev` (and `_revisions`), stored as they are.
    pub new_edits: Option<bool>,
}
options!(PutOptions: force, new_edits);

/// Options of `resolve`.
#[derive(Clone, Debug, Default)]
pub struct ResolveOptions {
    /// The leaves that the decision was made on, in any order: 409 `conflict` if there are others by now.
    /// Those at the time of the call if absent.
    pub revs: Option<Vec<String>>,
    /// Keeps what lost as documents of their own, attachments included. The same leaf becomes the same
    /// document on every device.
    pub keep_both: bool,
    /// The ids of those documents, by the leaf's revision; `id~rev` where none is given.
    pub ids: BTreeMap<String, String>,
}
options!(ResolveOptions: revs, keep_both = "keepBoth", ids);

/// Options of `bulkDocs`.
#[derive(Clone, Debug, Default)]
pub struct BulkDocsOptions {
    /// `Some(false)`: the documents bring their own revisions.
    pub new_edits: Option<bool>,
}
options!(BulkDocsOptions: new_edits);

/// Options of `get`; `bulkGet` takes some of them.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// This revision instead of the winner.
    pub rev: Option<String>,
    /// With `_revisions`.
    pub revs: bool,
    /// With `_revs_info`.
    pub revs_info: bool,
    /// These leaves, or `"all"`: the result is an array.
    pub open_revs: Option<Value>,
    /// With `_conflicts`.
    pub conflicts: bool,
    /// With `_deleted_conflicts`.
    pub deleted_conflicts: bool,
    /// The leaves that followed the revisions asked for.
    pub latest: bool,
    /// With `_local_seq`.
    pub local_seq: bool,
    /// With the attachments' bytes.
    pub attachments: bool,
    /// Those bytes as `Blob` instead of base64.
    pub binary: bool,
    /// Attachments since these revisions only, the older ones as stubs.
    pub atts_since: Option<Vec<String>>,
}
options!(
    GetOptions: rev, revs, revs_info, open_revs, conflicts, deleted_conflicts, latest, local_seq, attachments,
    binary, atts_since
);

/// Options of `bulkGet`, beside its `docs`.
#[derive(Clone, Debug, Default)]
pub struct BulkGetOptions {
    /// What to get.
    pub docs: Vec<BulkGetItem>,
    /// With `_revisions`.
    pub revs: bool,
    /// The leaves that followed the revisions asked for.
    pub latest: bool,
    /// With the attachments' bytes.
    pub attachments: bool,
    /// Those bytes as `Blob` instead of base64.
    pub binary: bool,
}
options!(BulkGetOptions: docs, revs, latest, attachments, binary);

/// One of `bulkGet`'s documents.
#[derive(Clone, Debug, Default)]
pub struct BulkGetItem {
    /// The document.
    pub id: String,
    /// The revision; the winner if absent.
    pub rev: Option<String>,
    /// Attachments since these revisions only.
    pub atts_since: Option<Vec<String>>,
}
options!(BulkGetItem: id, rev, atts_since);

impl Member for BulkGetItem {
    const WHAT: &'static str = "an object";

    fn of(value: Value) -> Option<Self> {
        Self::of_given(value).ok()
    }
}

/// Options of `allDocs`.
#[derive(Clone, Debug, Default)]
pub struct AllDocsOptions {
    /// With each document in `doc`.
    pub include_docs: bool,
    /// With `_conflicts` in each document.
    pub conflicts: bool,
    /// With the attachments' bytes in each document.
    pub attachments: bool,
    /// Those bytes as `Blob` instead of base64.
    pub binary: bool,
    /// The first id.
    pub startkey: Option<Value>,
    /// The last id.
    pub endkey: Option<Value>,
    /// Whether `endkey` itself belongs to the result; it does unless this says otherwise.
    pub inclusive_end: Option<bool>,
    /// Just this id.
    pub key: Option<Value>,
    /// Just these ids, in this order; absent ones as errors.
    pub keys: Option<Vec<Value>>,
    /// From the last id to the first.
    pub descending: bool,
    /// At most so many rows.
    pub limit: Option<u64>,
    /// Leave out so many rows first.
    pub skip: Option<u64>,
    /// With `update_seq`.
    pub update_seq: bool,
}
options!(
    AllDocsOptions: include_docs, conflicts, attachments, binary, startkey = "start_key" | "startkey",
    endkey = "end_key" | "endkey", inclusive_end, key, keys, descending, limit, skip, update_seq
);

/// Options of `changes`. `live`, `filter` functions and the like are the binding's own business.
#[derive(Clone, Debug, Default)]
pub struct ChangesOptions {
    /// After this place; `"now"` for the end of the feed.
    pub since: Option<Seq>,
    /// At most so many entries.
    pub limit: Option<u64>,
    /// Newest first.
    pub descending: bool,
    /// With each document in `doc`.
    pub include_docs: bool,
    /// With `_conflicts` in each document.
    pub conflicts: bool,
    /// With the attachments' bytes in each document.
    pub attachments: bool,
    /// Those bytes as `Blob` instead of base64.
    pub binary: bool,
    /// `main_only` (the winner) or `all_docs` (every leaf).
    pub style: Option<Style>,
    /// Only these documents.
    pub doc_ids: Option<Vec<String>>,
    /// Only documents that match this Mango selector.
    pub selector: Option<Value>,
}
options!(
    ChangesOptions: since, limit, descending, include_docs, conflicts, attachments, binary, style, doc_ids,
    selector
);

/// Which revisions a changes entry names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// The winner.
    #[default]
    MainOnly,
    /// Every leaf.
    AllDocs,
}

impl Member for Style {
    const WHAT: &'static str = "`main_only` or `all_docs`";

    fn of(value: Value) -> Option<Self> {
        match value.as_str()? {
            "main_only" => Some(Self::MainOnly),
            "all_docs" => Some(Self::AllDocs),
            _ => None,
        }
    }
}

/// Options of `getAttachment`.
#[derive(Clone, Debug, Default)]
pub struct AttachmentOptions {
    /// The revision whose attachment it is; the winner's if absent.
    pub rev: Option<String>,
}
options!(AttachmentOptions: rev);

/// Reads options, naming the one that is unknown or has a bad value: 400 `query_parse_error`.
pub fn parse<T: DeserializeOwned>(options: Value) -> Result<T> {
    serde_json::from_value(options).map_err(|error| Error::new(Kind::QueryParse, error.to_string()))
}

/// A revision in an option: 400 `bad_request` as CouchDB has it.
pub(crate) fn rev(text: &str) -> Result<Rev> {
    text.parse()
}
