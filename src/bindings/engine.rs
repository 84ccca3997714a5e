//! A database: one for all handles on it in this context.

use std::rc::Rc;

use js_sys::{Array, Promise};
use serde::Serialize;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::{
    convert::{contents, json, object, options, promise, rendered},
    failure,
    feed::{Feed, Reader, Rows},
    peer::PeerHandle,
};
use crate::{
    database::{Database, OpenOptions, options as opts},
    error::{Error, Kind, Result},
    model::{Content, options},
    platform::Platform,
    store::{MemoryStore, Store},
    web,
};

/// How long after opening a snapshot is stored: not while the page is busy with what it opened the
/// database for.
const IDLE_MS: u32 = 1_000;

/// A database that is open.
#[wasm_bindgen]
pub struct Engine {
    pub(super) database: Database,
    pub(super) store: Rc<dyn Store>,
}

/// `Database.open`'s options that the engine takes.
#[derive(Default)]
pub(super) struct Opening {
    revs_limit: Option<usize>,
    auto_compaction: Option<bool>,
    max_document_size: Option<usize>,
    sealed: bool,
}
options!(Opening: revs_limit, auto_compaction, max_document_size, sealed);

impl Opening {
    pub(super) fn of(self, name: &str) -> Result<OpenOptions> {
        let defaults = OpenOptions::new(name);
        let revs_limit = self.revs_limit.unwrap_or(defaults.revs_limit);
        if revs_limit == 0 {
            return Err(Error::bad_request("Option `revs_limit` must be at least 1"));
        }
        Ok(OpenOptions {
            revs_limit,
            auto_compaction: self.auto_compaction.unwrap_or(defaults.auto_compaction),
            max_document_bytes: self.max_document_size.unwrap_or(defaults.max_document_bytes),
            sealed: self.sealed,
            ..defaults
        })
    }
}

/// One row of `bulkDocs`.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Written { ok: bool, id: &'a str, rev: &'a str },
    Failed { id: Option<&'a str>, status: u16, error: &'a str, reason: &'a str },
}

#[wasm_bindgen]
impl Engine {
    /// Opens the database of a name in `indexeddb` or `memory`; a promise of an engine.
    #[wasm_bindgen(js_name = open)]
    pub fn open(name: String, storage: String, given: JsValue) -> Promise {
        promise(async move {
            let opening = options::<Opening>(given)?.of(&name)?;
            let store = store_of(&name, &storage).await?;
            let database = Database::open(store.clone(), Rc::new(web::WebPlatform), opening).await?;
            Ok(opened(store, database, &storage).into())
        })
    }

    /// Writes a document; a promise of `{ok, id, rev}`.
    #[wasm_bindgen(js_name = put)]
    pub fn put(&self, text: String, beside: &Array, given: JsValue) -> Promise {
        let (database, contents) = (self.database.clone(), contents(beside));
        promise(async move {
            let options = options::<opts::PutOptions>(given)?;
            object(&database.put(&text, &contents?, &options).await?)
        })
    }

    /// Writes a document, with a new id if it has none.
    #[wasm_bindgen(js_name = post)]
    pub fn post(&self, text: String, beside: &Array, given: JsValue) -> Promise {
        let (database, contents) = (self.database.clone(), contents(beside));
        promise(async move {
            let options = options::<opts::PutOptions>(given)?;
            object(&database.post(&text, &contents?, &options).await?)
        })
    }

    /// Writes documents; a promise of one row each, as JSON text. `text` is UTF-8: encoded by the
    /// browser it comes over several times faster than as a string.
    #[wasm_bindgen(js_name = bulkDocs)]
    pub fn bulk_docs(&self, text: Vec<u8>, beside: &Array, given: JsValue) -> Promise {
        let (database, contents) = (self.database.clone(), contents(beside));
        promise(async move {
            let text = String::from_utf8(text).map_err(|_| Error::bad_request("invalid UTF-8 JSON"))?;
            let options = options::<opts::BulkDocsOptions>(given)?;
            let outcomes = database.bulk_docs(&text, &contents?, &options).await?;
            // CouchDB does not repeat what it was told to take as it is.
            let tells_all = options.new_edits != Some(false);
            let rows: Vec<Row<'_>> = outcomes
                .iter()
                .filter(|(_, outcome)| tells_all || outcome.is_err())
                .map(|(id, outcome)| match outcome {
                    Ok(written) => Row::Written { ok: written.ok, id: &written.id, rev: &written.rev },
                    Err(error) => Row::Failed {
                        id: id.as_deref(),
                        status: error.status(),
                        error: error.name(),
                        reason: error.reason(),
                    },
                })
                .collect();
            Ok(json(&rows)?.into())
        })
    }

    /// Writes a tombstone.
    #[wasm_bindgen(js_name = remove)]
    pub fn remove(&self, id: String, rev: String) -> Promise {
        let database = self.database.clone();
        promise(async move { object(&database.remove(&id, &rev).await?) })
    }

    /// Reads a document; a promise of JSON text, or of that and its bytes.
    #[wasm_bindgen(js_name = get)]
    pub fn get(&self, id: String, given: JsValue) -> Promise {
        let database = self.database.clone();
        promise(async move {
            let options = options::<opts::GetOptions>(given)?;
            rendered(database.get(&id, &options).await?)
        })
    }

    /// Reads revisions.
    #[wasm_bindgen(js_name = bulkGet)]
    pub fn bulk_get(&self, given: JsValue) -> Promise {
        let database = self.database.clone();
        promise(async move {
            let options = options::<opts::BulkGetOptions>(given)?;
            rendered(database.bulk_get(&options).await?)
        })
    }

    /// Rows by id, page by page.
    #[wasm_bindgen(js_name = allDocs)]
    pub fn all_docs(&self, given: JsValue) -> std::result::Result<Rows, JsValue> {
        options::<opts::AllDocsOptions>(given)
            .and_then(|options| self.database.all_docs(options))
            .map(|rows| Rows::new(Reader::AllDocs(rows)))
            .map_err(|error| failure::to_js(&error))
    }

    /// The documents that a selector picks, page by page. The request is JSON text, as are those of indexes, so that
    /// a number is read in it as it is in a document.
    #[wasm_bindgen(js_name = find)]
    pub fn find(&self, request: Option<String>) -> std::result::Result<Rows, JsValue> {
        let found = self.database.find(&request.unwrap_or_default());
        found.map(|found| Rows::new(Reader::Find(found))).map_err(|error| failure::to_js(&error))
    }

    /// What `how` says of indexes: `create`, `delete` or `list`; JSON text.
    #[wasm_bindgen(js_name = indexes)]
    pub fn indexes(&self, how: &str, asked: Option<String>) -> std::result::Result<String, JsValue> {
        let asked = asked.unwrap_or_default();
        let told = match how {
            "create" => self.database.create_index(&asked),
            "delete" => self.database.delete_index(&asked),
            _ => self.database.indexes(),
        };
        told.map_err(|error| failure::to_js(&error))
    }

    /// A changes feed, page by page, of everything or of conflicts.
    #[wasm_bindgen(js_name = changes)]
    pub fn changes(&self, given: JsValue, of_conflicts: bool) -> std::result::Result<Feed, JsValue> {
        let feed = if of_conflicts { Database::conflicts } else { Database::changes };
        options::<opts::ChangesOptions>(given)
            .and_then(|options| feed(&self.database, options))
            .map(Feed::new)
            .map_err(|error| failure::to_js(&error))
    }

    /// The leaves of a document that stand against each other; a promise of a JSON array's text.
    #[wasm_bindgen(js_name = contestedDocs)]
    pub fn contested_docs(&self, id: String) -> Promise {
        let database = self.database.clone();
        promise(async move { rendered(database.contested_docs(&id).await?) })
    }

    /// Settles a document's conflict: `how` is a revision, a document's text or `keep-both`.
    #[wasm_bindgen(js_name = resolve)]
    pub fn resolve(&self, id: String, how: String, beside: &Array, given: JsValue) -> Promise {
        let (database, contents) = (self.database.clone(), contents(beside));
        promise(async move {
            let options = options::<opts::ResolveOptions>(given)?;
            object(&database.resolve(&id, &how, &contents?, &options).await?)
        })
    }

    /// Attaches bytes: a `Blob`, a `Uint8Array` or base64 text.
    #[wasm_bindgen(js_name = putAttachment)]
    pub fn put_attachment(
        &self,
        id: String,
        name: String,
        rev: Option<String>,
        bytes: &JsValue,
        content_type: String,
    ) -> Promise {
        let (database, content) = (self.database.clone(), content(bytes));
        promise(async move {
            let content = content?;
            object(&database.put_attachment(&id, &name, rev.as_deref(), content, &content_type).await?)
        })
    }

    /// An attachment's bytes; a promise of a `Blob`.
    #[wasm_bindgen(js_name = getAttachment)]
    pub fn get_attachment(&self, id: String, name: String, given: JsValue) -> Promise {
        let database = self.database.clone();
        promise(async move {
            let options = options::<opts::AttachmentOptions>(given)?;
            let (content, content_type) = database.get_attachment(&id, &name, &options).await?;
            Ok(web::content_to_blob(&content, &content_type)?.into())
        })
    }

    /// Removes an attachment.
    #[wasm_bindgen(js_name = removeAttachment)]
    pub fn remove_attachment(&self, id: String, name: String, rev: String) -> Promise {
        let database = self.database.clone();
        promise(async move { object(&database.remove_attachment(&id, &name, &rev).await?) })
    }

    /// What is missing of revisions; JSON text both ways.
    #[wasm_bindgen(js_name = revsDiff)]
    pub fn revs_diff(&self, text: String) -> Promise {
        let database = self.database.clone();
        promise(async move { Ok(database.revs_diff(&text).await?.into()) })
    }

    /// What the database says of itself.
    #[wasm_bindgen(js_name = info)]
    pub fn info(&self) -> Promise {
        let database = self.database.clone();
        promise(async move { object(&database.info().await?) })
    }

    /// Frees what nobody can read any more.
    #[wasm_bindgen(js_name = compact)]
    pub fn compact(&self) -> Promise {
        let database = self.database.clone();
        promise(async move { database.compact().await.map(|()| JsValue::UNDEFINED) })
    }

    /// Whether it is a sealed channel.
    #[wasm_bindgen(js_name = isSealed, getter)]
    pub fn is_sealed(&self) -> bool {
        self.database.is_sealed()
    }

    /// Throws 403 `forbidden` where it is not.
    #[wasm_bindgen(js_name = requireSealed)]
    pub fn require_sealed(&self) -> std::result::Result<(), JsValue> {
        let error = || failure::to_js(&Error::not_sealed());
        if self.database.is_sealed() { Ok(()) } else { Err(error()) }
    }

    /// Whether it is one without its keys.
    #[wasm_bindgen(js_name = isLocked, getter)]
    pub fn is_locked(&self) -> bool {
        self.database.is_locked()
    }

    /// Whether it is one that waits for its channel.
    #[wasm_bindgen(js_name = isWaiting, getter)]
    pub fn is_waiting(&self) -> bool {
        self.database.is_waiting()
    }

    /// A promise of how many entries the channel's log has, once there are more than were seen.
    #[wasm_bindgen(js_name = logGrew)]
    pub fn log_grew(&self, seen: usize) -> Promise {
        let database = self.database.clone();
        promise(async move { Ok(database.log_grew(seen).await?.into()) })
    }

    /// Drops the keys of a sealed channel.
    #[wasm_bindgen(js_name = lock)]
    pub fn lock(&self) {
        self.database.lock();
    }

    /// What did not pass the gate; a promise of a JSON array's text.
    #[wasm_bindgen(js_name = quarantine)]
    pub fn quarantine(&self) -> Promise {
        let database = self.database.clone();
        promise(async move { Ok(json(&database.quarantine().await?)?.into()) })
    }

    /// Looks at that once more; a promise of how many revisions passed.
    #[wasm_bindgen(js_name = retryQuarantine)]
    pub fn retry_quarantine(&self) -> Promise {
        let database = self.database.clone();
        promise(async move { Ok((database.retry_quarantine().await? as f64).into()) })
    }

    /// Forgets it, or one revision of it; a promise of how many were forgotten.
    #[wasm_bindgen(js_name = discardQuarantine)]
    pub fn discard_quarantine(&self, id: Option<String>, rev: Option<String>) -> Promise {
        let database = self.database.clone();
        promise(async move {
            let only = id.as_deref().map(|id| (id, rev.as_deref().unwrap_or_default()));
            Ok((database.discard_quarantine(only).await? as f64).into())
        })
    }

    /// What the caller calls the documents of these stored ids; a promise of a JSON array's text, with `""` for
    /// the channel's own and `null` for what cannot be told.
    #[wasm_bindgen(js_name = names)]
    pub fn names(&self, ids: Vec<String>) -> Promise {
        let database = self.database.clone();
        promise(async move { Ok(json(&database.names(&ids).await?)?.into()) })
    }

    /// One end of a replication.
    #[wasm_bindgen(js_name = peer)]
    pub fn peer(&self) -> PeerHandle {
        PeerHandle::local(self.database.clone())
    }

    /// False once it was closed, or destroyed, be it in another tab.
    #[wasm_bindgen(js_name = isOpen, getter)]
    pub fn is_open(&self) -> bool {
        let feed = self.database.changes(opts::ChangesOptions::default());
        feed.map_or_else(|error| error.kind() == Kind::Locked, |_| true)
    }

    /// Closes it; calls after it fail. A promise, for what is put in order first.
    #[wasm_bindgen(js_name = close)]
    pub fn close(&self) -> Promise {
        let database = self.database.clone();
        promise(async move {
            // What was not saved is read from the log next time.
            let _ = database.save().await;
            database.close();
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Deletes everything and closes.
    #[wasm_bindgen(js_name = destroy)]
    pub fn destroy(&self) -> Promise {
        let database = self.database.clone();
        promise(async move { database.destroy().await.map(|()| JsValue::UNDEFINED) })
    }
}

/// The store of a database of this name.
pub(super) async fn store_of(name: &str, storage: &str) -> Result<Rc<dyn Store>> {
    Ok(match storage {
        "memory" => Rc::new(MemoryStore::new()),
        _ => Rc::new(web::IndexedDbStore::open(name).await?),
    })
}

/// An engine over a database that was just opened.
pub(super) fn opened(store: Rc<dyn Store>, database: Database, storage: &str) -> Engine {
    if storage != "memory" {
        let idle = database.clone();
        wasm_bindgen_futures::spawn_local(async move {
            web::WebPlatform.sleep(IDLE_MS).await;
            // A failure costs the next opening some milliseconds.
            let _ = idle.save().await;
        });
    }
    Engine { database, store }
}

fn content(bytes: &JsValue) -> Result<Content> {
    match bytes.as_string() {
        Some(base64) => Content::from_base64(&base64)
            .ok_or_else(|| Error::bad_request("Invalid attachment data: not base64")),
        None => web::content_from_js(bytes),
    }
}
