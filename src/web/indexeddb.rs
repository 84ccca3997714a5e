//! The store over IndexedDB.
//!
//! IndexedDB's cost is per request and per transaction, not per byte, so an append that nobody
//! contends for is one transaction with one request. It builds its blocks first, and then *adds* them
//! at the number where it believes the log to end: if another tab has put a block there, the browser
//! refuses (`ConstraintError`) and takes everything back. Only then does a second transaction read what
//! the others wrote, build again, and write, all under the log's lock.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use futures::FutureExt;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

use super::{
    blob::{content_of_stored, unblob_if_small},
    channel::Channel,
    connection::{self, CONTENTS, Connection, LOG, RECORDS, Scope},
    requests::{
        Appended, add, append_after_others, blocks_from, blocks_of, ends_before, get_each, stored_bytes,
        touches_contents,
    },
    transaction::Failure,
};
use crate::{
    error::{Error, Kind, Pending, Result},
    model::{Bytes, Content, Digest},
    store::{Block, BlockNo, Builder, Signal, Store},
};

/// One handle of a store in IndexedDB. Every tab, worker and handle of a name shares the store.
pub struct IndexedDbStore {
    shared: Rc<Shared>,
}

type Listener = Rc<dyn Fn(Signal)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Destroyed,
}

/// How often a connection may die in the same piece of work: several tabs may each try to upgrade the database.
const MOST_DEATHS: u32 = 5;

struct Shared {
    /// The IndexedDB database's name, and the channel's.
    name: String,
    identity: String,
    state: Cell<State>,
    connection: RefCell<Option<Rc<Connection>>>,
    channel: RefCell<Option<Channel>>,
    listener: RefCell<Option<Listener>>,
    /// Whether others committed when nobody listened yet.
    missed_commit: Cell<bool>,
}

impl IndexedDbStore {
    /// Opens the store of a name, and makes it if there is none.
    ///
    /// Errors: 0 `storage_unavailable` where the browser stores nothing (blocked, a private window, or
    /// Node); 0 `schema_too_new` where a newer page has written it.
    pub async fn open(name: &str) -> Result<IndexedDbStore> {
        Self::open_named(&format!("settee:{name}")).await
    }

    /// The same, under the name that IndexedDB has for it: one without `settee:` is no database's.
    pub async fn open_named(name: &str) -> Result<IndexedDbStore> {
        let name = name.to_owned();
        let connection = connection::open_or_make(&name).await?;
        let shared = Rc::new(Shared {
            identity: connection.identity().into(),
            state: Cell::new(State::Open),
            connection: RefCell::new(Some(Rc::new(connection))),
            channel: RefCell::default(),
            listener: RefCell::default(),
            missed_commit: Cell::new(false),
            name,
        });
        let weak = Rc::downgrade(&shared);
        let heard = move |signal| Weak::upgrade(&weak).into_iter().for_each(|shared| shared.heard(signal));
        *shared.channel.borrow_mut() = Channel::join(&shared.name, &shared.identity, heard);
        Ok(Self { shared })
    }
}

impl Drop for IndexedDbStore {
    fn drop(&mut self) {
        self.shared.end(State::Closed);
    }
}

impl Shared {
    fn check(&self) -> Result<()> {
        match self.state.get() {
            State::Open => Ok(()),
            State::Closed => Err(Error::closed()),
            State::Destroyed => Err(Error::new(
                Kind::StoreClosed,
                "The database was destroyed, here or in another tab; open it again to start an empty one.",
            )),
        }
    }

    fn end(&self, state: State) {
        if self.state.get() == State::Open {
            self.state.set(state);
        }
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
        self.listener.take();
        // Not dropped on the spot: its own listener may be what brought us here.
        let channel = self.channel.take();
        wasm_bindgen_futures::spawn_local(async move { drop(channel) });
    }

    fn heard(&self, signal: Signal) {
        if self.state.get() != State::Open {
            return;
        }
        let listener = self.listener.borrow().clone();
        if signal == Signal::Destroyed {
            self.end(State::Destroyed);
        }
        match listener {
            Some(listener) => listener(signal),
            None => self.missed_commit.set(true),
        }
    }

    fn watch(self: &Rc<Self>, listener: Box<dyn Fn(Signal)>) {
        if self.state.get() != State::Open {
            return;
        }
        *self.listener.borrow_mut() = Some(Rc::from(listener));
        if self.missed_commit.take() {
            // Later, so that a listener never runs inside its owner's call.
            let shared = self.clone();
            wasm_bindgen_futures::spawn_local(async move { shared.heard(Signal::Committed) });
        }
    }

    /// The connection, made anew if the browser or another tab has closed it.
    async fn connection(&self) -> Result<Rc<Connection>> {
        self.check()?;
        if let Some(connection) = self.connection.borrow().as_ref().filter(|it| it.is_alive()) {
            return Ok(connection.clone());
        }
        let found = connection::reopen(&self.name, &self.identity).await?;
        self.check()?;
        let Some(found) = found else {
            self.heard(Signal::Destroyed);
            self.check()?;
            return Err(Error::closed());
        };
        let connection = Rc::new(found);
        *self.connection.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    /// Does work in a transaction, and anew if the connection turns out to be dead.
    async fn attempt<T>(&self, mut work: impl AsyncFnMut(&Connection) -> Result<T, Failure>) -> Result<T> {
        let mut left = MOST_DEATHS;
        loop {
            let connection = self.connection().await?;
            match work(&connection).await {
                // What the browser closed it would answer the same for ever.
                Err(Failure::Dead(_)) if left > 0 => connection.close(),
                done => return Ok(done?),
            }
            left -= 1;
        }
    }

    async fn append(&self, next: BlockNo, build: &mut Builder<'_>) -> Result<BlockNo> {
        self.check()?;
        let first = build(&[], next);
        let with_contents = matches!(&first, Ok(Some(batch)) if touches_contents(batch));
        let after = match first {
            // The add at `next` is the question whether anybody else was there.
            Ok(Some(mut batch)) if !batch.blocks.is_empty() => {
                for (_, content) in &mut batch.put_contents {
                    unblob_if_small(content).await?;
                }
                let added = self.attempt(async |it| add(it, next, &batch).await).await?;
                drop(batch);
                added
            }
            Ok(Some(_)) => None,
            // It may have declined, or failed, for not having seen what others wrote.
            declined => {
                if self.attempt(async |connection| ends_before(connection, next).await).await? {
                    return declined.map(|_| next);
                }
                None
            }
        };
        let after = match after {
            Some(after) => after,
            None => match self.append_slowly(next, build, with_contents).await? {
                (after, true) => after,
                (after, false) => return Ok(after),
            },
        };
        if let Some(channel) = self.channel.borrow().as_ref() {
            channel.post_committed();
        }
        Ok(after)
    }

    /// The number after the last block, and whether anything was written.
    async fn append_slowly(
        &self,
        next: BlockNo,
        build: &mut Builder<'_>,
        mut with_contents: bool,
    ) -> Result<(BlockNo, bool)> {
        loop {
            let outcome = self.attempt(async |connection| {
                append_after_others(connection, next, build, with_contents).await
            });
            match outcome.await? {
                Appended::Written(after) => return Ok((after, true)),
                Appended::Nothing(after) => return Ok((after, false)),
                Appended::NeedsContents => with_contents = true,
            }
        }
    }

    async fn read(&self, numbers: Vec<BlockNo>) -> Result<Vec<Option<Bytes>>> {
        if numbers.is_empty() {
            return self.check().map(|()| Vec::new());
        }
        self.attempt(async |connection| {
            let transaction = connection.read(Scope::Log)?;
            match numbers.as_slice() {
                &[number] => {
                    let key = std::iter::once(number.into());
                    get_each(&transaction, &transaction.store(LOG)?, key, "block").await
                }
                numbers => blocks_of(&transaction, numbers).await,
            }
        })
        .await
    }

    async fn scan(&self, from: BlockNo, limit: u32) -> Result<Vec<Block>> {
        if limit == 0 {
            // IndexedDB takes 0 for no limit.
            return self.check().map(|()| Vec::new());
        }
        self.attempt(async |connection| {
            let transaction = connection.read(Scope::Log)?;
            blocks_from(&transaction, from, Some(limit)).await
        })
        .await
    }

    async fn content(&self, digest: Digest) -> Result<Option<Content>> {
        let key = JsValue::from(digest.to_string());
        let value = self
            .attempt(async |connection| {
                let transaction = connection.read(Scope::Contents)?;
                let request = transaction.store(CONTENTS)?.get(&key)?;
                transaction.result(&request).await
            })
            .await?;
        if value.is_undefined() { Ok(None) } else { content_of_stored(value).map(Some) }
    }

    async fn content_digests(&self) -> Result<Vec<Digest>> {
        let keys = self
            .attempt(async |connection| {
                let transaction = connection.read(Scope::Contents)?;
                let request = transaction.store(CONTENTS)?.get_all_keys()?;
                transaction.result(&request).await
            })
            .await?;
        let keys: Array = keys.unchecked_into();
        let digest = |key: JsValue| key.as_string().and_then(|key| key.parse().ok());
        keys.iter().map(|key| digest(key).ok_or_else(|| Error::corrupt("attachment digest"))).collect()
    }

    async fn records(&self, names: Vec<&'static str>) -> Result<Vec<Option<Bytes>>> {
        if names.is_empty() {
            return self.check().map(|()| Vec::new());
        }
        self.attempt(async |connection| {
            let transaction = connection.read(Scope::Records)?;
            let records = transaction.store(RECORDS)?;
            let keys = names.iter().map(|name| JsValue::from(*name));
            get_each(&transaction, &records, keys, "record").await
        })
        .await
    }

    async fn put_record(&self, name: &'static str, bytes: Bytes, only_if_absent: bool) -> Result<Bytes> {
        self.attempt(async |connection| {
            let transaction = connection.write(Scope::Records)?;
            let records = transaction.store(RECORDS)?;
            let key = JsValue::from(name);
            if only_if_absent {
                let request = records.get(&key)?;
                let there = transaction.result(&request).await?;
                if let Some(there) = stored_bytes(there, "record")? {
                    return Ok(there);
                }
            }
            records.put_with_key(&Uint8Array::new_from_slice(&bytes), &key)?;
            transaction.committed().await?;
            Ok(bytes.clone())
        })
        .await
    }

    async fn destroy(&self) -> Result<()> {
        self.check()?;
        let channel = self.channel.take();
        self.end(State::Destroyed);
        connection::delete(&self.name).await?;
        if let Some(channel) = channel {
            channel.post_destroyed();
        }
        Ok(())
    }
}

impl Store for IndexedDbStore {
    fn append<'a>(&'a self, next: BlockNo, build: &'a mut Builder<'_>) -> Pending<'a, BlockNo> {
        self.shared.append(next, build).boxed_local()
    }

    fn read(&self, numbers: Vec<BlockNo>) -> Pending<'_, Vec<Option<Bytes>>> {
        self.shared.read(numbers).boxed_local()
    }

    fn scan(&self, from: BlockNo, limit: u32) -> Pending<'_, Vec<Block>> {
        self.shared.scan(from, limit).boxed_local()
    }

    fn content(&self, digest: Digest) -> Pending<'_, Option<Content>> {
        self.shared.content(digest).boxed_local()
    }

    fn content_digests(&self) -> Pending<'_, Vec<Digest>> {
        self.shared.content_digests().boxed_local()
    }

    fn records(&self, names: Vec<&'static str>) -> Pending<'_, Vec<Option<Bytes>>> {
        self.shared.records(names).boxed_local()
    }

    fn put_record(&self, name: &'static str, bytes: Bytes, only_if_absent: bool) -> Pending<'_, Bytes> {
        self.shared.put_record(name, bytes, only_if_absent).boxed_local()
    }

    fn watch(&self, listener: Box<dyn Fn(Signal)>) {
        self.shared.watch(listener);
    }

    fn close(&self) {
        self.shared.end(State::Closed);
    }

    fn destroy(&self) -> Pending<'_, ()> {
        self.shared.destroy().boxed_local()
    }
}
