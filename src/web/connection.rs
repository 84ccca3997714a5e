//! Opening, making, reopening and deleting an IndexedDB database; one open connection to it.
//!
//! The schema is stated once, to rexie ([`schema`]). The connection itself is web_sys's, because rexie
//! hides its own and with it what a database that others delete and browsers close depends on:
//!
//! - **Not making a database anew.** rexie's upgrade cannot be stopped, so reopening one that another
//!   tab has destroyed would leave an empty one in its place. Here an open that would make or upgrade
//!   the database is aborted, and only [`open_or_make`] then lets rexie do it.
//! - **`close` and `versionchange`.** The first tells that the browser cut us off; at the second we
//!   let go at once, lest we block the other tab.
//! - **Durability.** Older Chromium flushes the disk at each commit unless told `relaxed`.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use js_sys::{Array, Object, Reflect};
use rexie::{ObjectStore, Rexie, RexieBuilder};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use web_sys::{Event, IdbDatabase, IdbFactory, IdbOpenDbRequest, IdbTransaction, IdbVersionChangeEvent};

use super::{
    platform::{WebPlatform, global},
    thrown::{Thrown, storage_unavailable},
    transaction::{Failure, Transaction},
};
use crate::{
    error::{Error, Kind, Result},
    platform::Platform,
};

/// The log: block number to `Uint8Array`.
pub(super) const LOG: &str = "log";
/// Attachments: digest as `md5-…` to `Blob` or `Uint8Array`.
pub(super) const CONTENTS: &str = "contents";
/// Named records: name to `Uint8Array`; and [`IDENTITY`].
pub(super) const RECORDS: &str = "records";

/// Raised only when a page of before could not read what is stored now: it is then refused.
const SCHEMA_VERSION: u32 = 1;

/// The record that tells this database from another that once had its name: random, as text.
const IDENTITY: &str = "identity";

/// Everything that is in the database. rexie deletes an object store that is not named here.
fn schema(name: &str) -> RexieBuilder {
    Rexie::builder(name)
        .version(SCHEMA_VERSION)
        .add_object_store(ObjectStore::new(LOG))
        .add_object_store(ObjectStore::new(CONTENTS))
        .add_object_store(ObjectStore::new(RECORDS))
}

/// The object stores that a transaction takes: no more than it needs, since writers of one wait for
/// each other.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    Log,
    Contents,
    LogAndContents,
    Records,
}

#[wasm_bindgen]
extern "C" {
    /// web_sys has this call with its third argument behind an "unstable" build flag only.
    #[wasm_bindgen(js_name = IDBDatabase)]
    type Database;
    #[wasm_bindgen(method, catch)]
    fn transaction(
        this: &Database,
        stores: &JsValue,
        mode: &JsValue,
        options: &JsValue,
    ) -> Result<IdbTransaction, JsValue>;
}

/// A connection. Closed when dropped.
pub(super) struct Connection {
    database: IdbDatabase,
    alive: Rc<Cell<bool>>,
    scopes: [JsValue; 4],
    modes: [JsValue; 2],
    relaxed: JsValue,
    identity: String,
    _listener: Closure<dyn FnMut(Event)>,
}

impl Connection {
    fn new(database: IdbDatabase) -> Self {
        let alive = Rc::new(Cell::new(true));
        let (still, held) = (alive.clone(), database.clone());
        // For `close`, which the browser sends when it has cut us off, and `versionchange`.
        let listener = Closure::new(move |_: Event| {
            still.set(false);
            held.close();
        });
        database.set_onclose(Some(listener.as_ref().unchecked_ref()));
        database.set_onversionchange(Some(listener.as_ref().unchecked_ref()));

        let stores = |names: &[&str]| -> JsValue {
            names.iter().copied().map(JsValue::from).collect::<Array>().into()
        };
        let options = Object::new();
        // Cannot fail on an object of our own.
        let _ = Reflect::set(&options, &"durability".into(), &"relaxed".into());
        Self {
            database,
            alive,
            scopes: [stores(&[LOG]), stores(&[CONTENTS]), stores(&[LOG, CONTENTS]), stores(&[RECORDS])],
            modes: ["readonly".into(), "readwrite".into()],
            relaxed: options.into(),
            identity: String::new(),
            _listener: listener,
        }
    }

    /// Whether nobody has closed it, as far as we were told.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    /// Lets go of the database once its transactions have ended.
    pub(super) fn close(&self) {
        self.alive.set(false);
        self.database.close();
    }

    /// Which database of this name it is.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// A transaction that only reads.
    pub(super) fn read(&self, scope: Scope) -> Result<Transaction, Failure> {
        self.begin(scope, 0)
    }

    /// A transaction that writes.
    pub(super) fn write(&self, scope: Scope) -> Result<Transaction, Failure> {
        self.begin(scope, 1)
    }

    fn begin(&self, scope: Scope, mode: usize) -> Result<Transaction, Failure> {
        let database: &Database = self.database.unchecked_ref();
        match database.transaction(&self.scopes[scope as usize], &self.modes[mode], &self.relaxed) {
            Ok(transaction) => Ok(Transaction::new(transaction)),
            Err(error) => {
                let thrown = Thrown::from(&error);
                // The connection is closing or closed, whether or not we were told.
                Err(if thrown.is("InvalidStateError") {
                    self.alive.set(false);
                    Failure::Dead(thrown)
                } else {
                    Failure::Thrown(thrown)
                })
            }
        }
    }

    /// Learns the database's identity; gives it one first if `make`.
    async fn identify(&mut self, make: bool) -> Result<(), Failure> {
        let found = {
            let transaction = self.read(Scope::Records)?;
            let request = transaction.store(RECORDS)?.get(&IDENTITY.into())?;
            transaction.result(&request).await?.as_string()
        };
        self.identity = match found {
            Some(identity) => identity,
            None if make => {
                let transaction = self.write(Scope::Records)?;
                let records = transaction.store(RECORDS)?;
                // Another tab that opens it at the same time may have been first.
                let request = records.get(&IDENTITY.into())?;
                match transaction.result(&request).await?.as_string() {
                    Some(identity) => identity,
                    None => {
                        let identity = new_identity();
                        records.put_with_key(&identity.as_str().into(), &IDENTITY.into())?;
                        transaction.committed().await?;
                        identity
                    }
                }
            }
            None => String::new(),
        };
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.database.set_onclose(None);
        self.database.set_onversionchange(None);
        self.database.close();
    }
}

fn new_identity() -> String {
    let mut random = [0; 16];
    WebPlatform.random_bytes(&mut random);
    crate::model::hex(&random)
}

/// Opens a database, and makes it first if there is none.
pub(super) async fn open_or_make(name: &str) -> Result<Connection> {
    // Others may destroy it between two of our steps; not for ever.
    for _ in 0..5 {
        let Opened::Connection(mut connection) = open(name).await? else {
            let made = schema(name).build().await;
            made.map_err(|error| Thrown::of_rexie(&error).into_open_error())?.close();
            continue;
        };
        match connection.identify(true).await {
            Ok(()) => return Ok(connection),
            Err(Failure::Dead(_)) => continue,
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(Error::new(Kind::Unknown, "The database is destroyed over and over while it is opened."))
}

/// Opens the database of this name and identity; `None` if it is gone.
pub(super) async fn reopen(name: &str, identity: &str) -> Result<Option<Connection>> {
    let Opened::Connection(mut connection) = open(name).await? else { return Ok(None) };
    connection.identify(false).await?;
    Ok((connection.identity == identity).then_some(connection))
}

/// Deletes a database. Waits for other tabs to let go of it, which ours do when they are told to.
pub(super) async fn delete(name: &str) -> Result<()> {
    Rexie::delete(name).await.map_err(|error| Thrown::of_rexie(&error).into_storage_error())
}

/// What came of an open request.
enum Opened {
    Connection(Connection),
    /// There is none, or one with an older schema. It was left as it was.
    NotAsWeNeedIt,
}

/// Opens a database that is there, with the schema of now; changes nothing otherwise.
async fn open(name: &str) -> Result<Opened> {
    let factory: IdbFactory = global("indexedDB").ok_or_else(storage_unavailable)?.unchecked_into();
    let thrown = |error: JsValue| Thrown::from(&error).into_open_error();
    let request = OpenRequest::new(factory.open_with_u32(name, SCHEMA_VERSION).map_err(thrown)?);
    request.settled().await;
    if request.state.borrow().refused {
        return Ok(Opened::NotAsWeNeedIt);
    }
    if let Ok(Some(error)) = request.inner.error() {
        return Err(thrown(error.into()));
    }
    let database = request.inner.result().map_err(thrown)?;
    Ok(Opened::Connection(Connection::new(database.unchecked_into())))
}

#[derive(Default)]
struct OpenState {
    refused: bool,
    settled: bool,
    waker: Option<Waker>,
}

struct OpenRequest {
    inner: IdbOpenDbRequest,
    state: Rc<RefCell<OpenState>>,
    _listener: Closure<dyn FnMut(Event)>,
}

impl OpenRequest {
    fn new(inner: IdbOpenDbRequest) -> Self {
        let state = Rc::<RefCell<OpenState>>::default();
        let (shared, request) = (state.clone(), inner.clone());
        let listener = Closure::new(move |event: Event| {
            if event.has_type::<IdbVersionChangeEvent>() && event.type_() == "upgradeneeded" {
                shared.borrow_mut().refused = true;
                if let Some(upgrade) = request.transaction() {
                    // Takes back the making of the database too. Cannot fail inside this event.
                    let _ = upgrade.abort();
                }
                return;
            }
            let waker = {
                let mut state = shared.borrow_mut();
                state.settled = true;
                state.waker.take()
            };
            // The abort above comes back as an error here; nobody else need see it.
            event.prevent_default();
            event.stop_propagation();
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        let function = Some(listener.as_ref().unchecked_ref());
        inner.set_onupgradeneeded(function);
        inner.set_onsuccess(function);
        inner.set_onerror(function);
        Self { inner, state, _listener: listener }
    }

    async fn settled(&self) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.settled {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.inner.set_onupgradeneeded(None);
        self.inner.set_onerror(None);
        let request = self.inner.clone();
        let close = move || {
            if let Ok(database) = request.result() {
                database.unchecked_into::<IdbDatabase>().close();
            }
        };
        let unheard = (!self.state.borrow().settled).then(|| Closure::once_into_js(close));
        // Nobody waits for it any more, and an open connection that hears nothing blocks other tabs.
        self.inner.set_onsuccess(unheard.as_ref().map(JsCast::unchecked_ref));
    }
}
