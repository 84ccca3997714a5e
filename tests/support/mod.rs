//! What the native tests share: a seeded platform and short ways to call a database.
#![allow(dead_code)]

use std::{cell::Cell, rc::Rc};

use futures::{FutureExt, executor::block_on, future::LocalBoxFuture};
use serde_json::Value;
use settee::{
    database::{
        Database, KeySource, Keys, OpenOptions,
        options::{AllDocsOptions, BulkDocsOptions, ChangesOptions, GetOptions, PutOptions, parse},
    },
    error::Result,
    platform::Platform,
    seal::{Channel, Entry, Epoch, Key, Signer, sha256},
    store::{MemoryStore, Store},
};

/// A platform with no clock and a seeded source of "random" bytes (splitmix64).
pub struct SeededPlatform {
    state: Cell<u64>,
}

impl SeededPlatform {
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self { state: Cell::new(seed) })
    }

    pub fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Platform for SeededPlatform {
    fn now_ms(&self) -> f64 {
        0.0
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }

    fn sleep(&self, _ms: u32) -> LocalBoxFuture<'static, ()> {
        let mut slept = false;
        futures::future::poll_fn(move |context| {
            if std::mem::replace(&mut slept, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .boxed_local()
    }
}

pub fn open(store: impl Store + 'static) -> Database {
    open_with(store, OpenOptions::new("test"))
}

pub fn open_with(store: impl Store + 'static, options: OpenOptions) -> Database {
    open_channel(store, options, SEALED)
}

/// Whether the tests of this binary run on sealed channels.
pub const SEALED: bool =
    matches!(env!("CARGO_CRATE_NAME").as_bytes(), [.., b'_', b's', b'e', b'a', b'l', b'e', b'd']);

pub fn open_channel(store: impl Store + 'static, options: OpenOptions, sealed: bool) -> Database {
    open_seeded(store, options, sealed, 1)
}

pub fn open_seeded(store: impl Store + 'static, options: OpenOptions, sealed: bool, seed: u64) -> Database {
    let options = OpenOptions { sealed, ..options };
    let db = block_on(Database::open(Rc::new(store), SeededPlatform::new(seed), options)).unwrap();
    if sealed {
        block_on(db.unlock(Rc::new(Fixed(keys())))).unwrap();
    }
    db
}

/// Keys that no log changes.
pub struct Fixed(pub Rc<Keys>);

impl KeySource for Fixed {
    fn keys(&self, _log: &[Entry]) -> Result<Rc<Keys>> {
        Ok(self.0.clone())
    }
}

/// The keys of the tests' one channel.
pub fn keys() -> Rc<Keys> {
    let signer = Rc::new(Signer::new(&Key::new([3; 32])));
    let ch = sha256(b"channel");
    let epoch = Epoch::new(&ch, 1, Key::new([1; 32]));
    let (current, authors) = (epoch.id(), vec![signer.public()]);
    let channel = Channel::new(ch, Key::new([2; 32]), vec![epoch], Some(current), sha256(b"log"), authors);
    Rc::new(Keys::new(channel, signer))
}

pub fn memory() -> Database {
    open(MemoryStore::new())
}

pub fn options<T: serde::de::DeserializeOwned>(json: Value) -> T {
    parse(json).unwrap()
}

/// Puts a document; its new revision.
pub fn put(db: &Database, doc: Value) -> Result<String> {
    block_on(db.put(&doc.to_string(), &[], &PutOptions::default())).map(|written| written.rev)
}

pub fn get(db: &Database, id: &str) -> Result<Value> {
    get_with(db, id, serde_json::json!({}))
}

pub fn get_with(db: &Database, id: &str, options: Value) -> Result<Value> {
    let options: GetOptions = parse(options)?;
    let rendered = block_on(db.get(id, &options))?;
    Ok(serde_json::from_str(&rendered.json).unwrap())
}

/// Writes documents; for each its revision or the name of its error.
pub fn bulk(db: &Database, docs: Value, new_edits: bool) -> Vec<Result<String, String>> {
    let options = BulkDocsOptions { new_edits: Some(new_edits) };
    let rows = block_on(db.bulk_docs(&docs.to_string(), &[], &options)).unwrap();
    rows.into_iter().map(|(_, row)| row.map(|written| written.rev).map_err(|e| e.name().to_owned())).collect()
}

pub fn all_docs(db: &Database, options: Value) -> Vec<Value> {
    let options: AllDocsOptions = parse(options).unwrap();
    let mut rows = db.all_docs(options).unwrap();
    let mut out = Vec::new();
    while let Some(rendered) = block_on(rows.next()).unwrap() {
        out.extend(serde_json::from_str::<Vec<Value>>(&rendered.json).unwrap());
    }
    out
}

pub fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().unwrap_or("-")).collect()
}

pub fn changes(db: &Database, options: Value) -> Vec<Value> {
    let options: ChangesOptions = parse(options).unwrap();
    let mut feed = db.changes(options).unwrap();
    let mut out = Vec::new();
    while let Some(rendered) = block_on(feed.next(false)).unwrap() {
        out.extend(serde_json::from_str::<Vec<Value>>(&rendered.json).unwrap());
    }
    out
}
