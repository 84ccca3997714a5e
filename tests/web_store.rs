//! The promises of the store port in a real browser, and IndexedDB as it is: connections that die,
//! databases that others upgrade, delete and make anew, room that runs out, storage that is forbidden.
#![cfg(target_arch = "wasm32")]

use std::rc::Rc;

use futures::future::{join, join_all};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Array, Promise, Uint8Array};
use settee::{
    error::{Error, Kind, Result},
    model::{Bytes, Content, Digest},
    platform::Platform,
    store::{Batch, MemoryStore, Store, conformance},
    web::{IndexedDbStore, WebPlatform, content_from_js, content_to_blob, content_to_uint8array},
};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen(inline_js = r#"
const promised = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
});
export const openRaw = (name, version) => promised(indexedDB.open(name, version));
export const deleteRaw = (name) => promised(indexedDB.deleteDatabase(name));
export const names = async () => (await indexedDB.databases()).map((database) => database.name);

// Replaces a method until the function returned is called.
const replace = (prototype, method, make) => {
    const original = prototype[method];
    prototype[method] = make(original);
    return () => { prototype[method] = original; };
};
export const recordConnections = (into) => replace(IDBFactory.prototype, 'open', (original) => function (...args) {
    const request = original.apply(this, args);
    request.addEventListener('success', () => into.push(request.result));
    return request;
});
export const recordTransactions = (into) => replace(IDBDatabase.prototype, 'transaction', (original) => function (...args) {
    const transaction = original.apply(this, args);
    into.push(`${args[1]} ${[].concat(args[0])}`);
    return transaction;
});
export const throwing = (method, value) => replace(IDBObjectStore.prototype, method, () => () => { throw value; });
// Ends the next transaction as the browser does, and gives this as its reason.
export const abortingNext = (reason) => {
    let done = false;
    return replace(IDBTransaction.prototype, 'commit', (original) => function () {
        if (done) return original.call(this);
        done = true;
        if (reason) Object.defineProperty(this, 'error', { get: () => reason });
        this.abort();
    });
};
export const withoutIndexedDb = (get) => {
    const original = Object.getOwnPropertyDescriptor(globalThis, 'indexedDB');
    Object.defineProperty(globalThis, 'indexedDB', { configurable: true, get });
    return () => { delete globalThis.indexedDB; if (original) Object.defineProperty(globalThis, 'indexedDB', original); };
};
export const openThrowing = (value) => replace(IDBFactory.prototype, 'open', () => () => { throw value; });
export const exception = (name) => new DOMException('made by a test', name);
"#)]
extern "C" {
    #[wasm_bindgen(js_name = openRaw)]
    fn open_raw(name: &str, version: u32) -> Promise;
    #[wasm_bindgen(js_name = deleteRaw)]
    fn delete_raw(name: &str) -> Promise;
    fn names() -> Promise;
    #[wasm_bindgen(js_name = recordConnections)]
    fn record_connections(into: &Array) -> js_sys::Function;
    #[wasm_bindgen(js_name = recordTransactions)]
    fn record_transactions(into: &Array) -> js_sys::Function;
    fn throwing(method: &str, value: &JsValue) -> js_sys::Function;
    #[wasm_bindgen(js_name = abortingNext)]
    fn aborting_next(reason: &JsValue) -> js_sys::Function;
    #[wasm_bindgen(js_name = withoutIndexedDb)]
    fn without_indexed_db(get: &js_sys::Function) -> js_sys::Function;
    #[wasm_bindgen(js_name = openThrowing)]
    fn open_throwing(value: &JsValue) -> js_sys::Function;
    fn exception(name: &str) -> JsValue;
}

/// Undoes a replacement when dropped. A failing test does not unwind, so it may fail the next ones too.
struct Undo(js_sys::Function);

impl Drop for Undo {
    fn drop(&mut self) {
        self.0.call0(&JsValue::UNDEFINED).unwrap();
    }
}

fn new_name(what: &str) -> String {
    let mut random = [0; 8];
    WebPlatform.random_bytes(&mut random);
    format!("{what} {:016x}", u64::from_le_bytes(random))
}

async fn open(name: &str) -> IndexedDbStore {
    IndexedDbStore::open(name).await.unwrap()
}

fn batch(text: &str) -> Batch {
    Batch { blocks: vec![text.as_bytes().into()], ..Batch::default() }
}

async fn put(store: &IndexedDbStore, next: u32, batch: Batch) -> Result<u32> {
    store.append(next, &mut |_, _| Ok(Some(batch.clone()))).await
}

async fn log(store: &IndexedDbStore) -> Result<Vec<String>> {
    let blocks = store.scan(1, 1_000).await?;
    Ok(blocks.iter().map(|block| String::from_utf8_lossy(&block.bytes).into_owned()).collect())
}

fn kind<T>(result: Result<T>) -> Option<Kind> {
    result.err().map(|error| error.kind())
}

async fn exists(name: &str) -> bool {
    let names: Array = JsFuture::from(names()).await.unwrap().unchecked_into();
    names.includes(&format!("settee:{name}").into(), 0)
}

struct IndexedDb;

impl conformance::Fixture for IndexedDb {
    type Store = IndexedDbStore;

    async fn pair() -> (IndexedDbStore, IndexedDbStore) {
        let name = new_name("conformance");
        join(open(&name), open(&name)).await
    }

    async fn pause() {
        TimeoutFuture::new(10).await;
    }
}

struct Memory;

impl conformance::Fixture for Memory {
    type Store = MemoryStore;

    async fn pair() -> (MemoryStore, MemoryStore) {
        let store = MemoryStore::new();
        let other = store.handle();
        (store, other)
    }

    async fn pause() {
        WebPlatform.sleep(0).await;
    }
}

mod indexed_db {
    use super::*;

    macro_rules! on_indexed_db {
        ($($promise:ident,)*) => {
            $(#[wasm_bindgen_test]
            async fn $promise() {
                conformance::$promise::<IndexedDb>().await;
            })*
        };
    }
    settee::for_each_store_promise!(on_indexed_db);
}

mod memory {
    use super::*;

    macro_rules! on_memory {
        ($($promise:ident,)*) => {
            $(#[wasm_bindgen_test]
            async fn $promise() {
                conformance::$promise::<Memory>().await;
            })*
        };
    }
    settee::for_each_store_promise!(on_memory);
}

#[wasm_bindgen_test]
async fn what_was_written_is_there_when_opened_again() {
    let name = new_name("again");
    let store = open(&name).await;
    put(&store, 1, batch("a")).await.unwrap();
    store.put_record("header", b"h"[..].into(), false).await.unwrap();
    drop(store);
    let store = open(&name).await;
    assert_eq!(log(&store).await.unwrap(), ["a"]);
    assert_eq!(store.records(vec!["header"]).await.unwrap(), [Some(Bytes::from(&b"h"[..]))]);
}

#[wasm_bindgen_test]
async fn a_destroyed_store_starts_empty_when_opened_again() {
    let name = new_name("destroyed");
    let store = open(&name).await;
    put(&store, 1, batch("a")).await.unwrap();
    store.destroy().await.unwrap();
    assert!(!exists(&name).await);
    let store = open(&name).await;
    assert_eq!(log(&store).await.unwrap(), [""; 0]);
    assert_eq!(put(&store, 1, batch("b")).await.unwrap(), 2);
}

#[wasm_bindgen_test]
async fn an_uncontended_append_is_one_transaction_on_the_log_alone() {
    let store = open(&new_name("one")).await;
    let transactions = Array::new();
    let undo = Undo(record_transactions(&transactions));
    put(&store, 1, batch("a")).await.unwrap();
    drop(undo);
    assert_eq!(transactions.join(", "), "readwrite log");
}

#[wasm_bindgen_test]
async fn a_dead_connection_is_reopened_once() {
    let name = new_name("dead");
    let connections = Array::new();
    let undo = Undo(record_connections(&connections));
    let store = open(&name).await;
    put(&store, 1, batch("a")).await.unwrap();
    let kill = || {
        for connection in connections.iter() {
            connection.unchecked_into::<web_sys::IdbDatabase>().close();
        }
    };
    kill();
    assert_eq!(log(&store).await.unwrap(), ["a"]);
    kill();
    assert_eq!(put(&store, 2, batch("b")).await.unwrap(), 3);
    kill();
    let all = join_all((0..5).map(|_| log(&store))).await;
    assert!(all.into_iter().all(|log| log.unwrap() == ["a", "b"]));
    drop(undo);
}

#[wasm_bindgen_test]
async fn a_transaction_ended_by_the_browser_is_tried_again() {
    let store = open(&new_name("ended")).await;
    let undo = Undo(aborting_next(&JsValue::UNDEFINED));
    assert_eq!(put(&store, 1, batch("a")).await.unwrap(), 2);
    drop(undo);
    assert_eq!(log(&store).await.unwrap(), ["a"]);
}

#[wasm_bindgen_test]
async fn another_tabs_upgrade_is_let_through_and_then_refused() {
    let name = new_name("newer");
    let store = open(&name).await;
    put(&store, 1, batch("a")).await.unwrap();
    let newer = JsFuture::from(open_raw(&format!("settee:{name}"), 2)).await.unwrap();
    assert_eq!(kind(log(&store).await), Some(Kind::SchemaTooNew));
    assert_eq!(kind(put(&store, 2, batch("b")).await), Some(Kind::SchemaTooNew));
    assert_eq!(kind(IndexedDbStore::open(&name).await), Some(Kind::SchemaTooNew));
    newer.unchecked_into::<web_sys::IdbDatabase>().close();
}

#[wasm_bindgen_test]
async fn a_database_deleted_behind_our_back_is_not_made_anew() {
    let name = new_name("deleted");
    let store = open(&name).await;
    put(&store, 1, batch("a")).await.unwrap();
    JsFuture::from(delete_raw(&format!("settee:{name}"))).await.unwrap();
    let error = put(&store, 2, batch("b")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::StoreClosed);
    assert!(error.reason().contains("destroyed"), "{error}");
    assert_eq!(kind(log(&store).await), Some(Kind::StoreClosed));
    assert!(!exists(&name).await);
}

#[wasm_bindgen_test]
async fn a_database_deleted_and_made_anew_is_not_taken_for_the_old_one() {
    let name = new_name("anew");
    let store = open(&name).await;
    put(&store, 1, batch("old")).await.unwrap();
    JsFuture::from(delete_raw(&format!("settee:{name}"))).await.unwrap();
    let fresh = open(&name).await;
    put(&fresh, 1, batch("new")).await.unwrap();
    assert_eq!(kind(put(&store, 2, batch("lost")).await), Some(Kind::StoreClosed));
    assert_eq!(log(&fresh).await.unwrap(), ["new"]);
}

#[wasm_bindgen_test]
async fn a_full_disk_is_told_as_such_and_the_store_lives_on() {
    let store = open(&new_name("full")).await;
    put(&store, 1, batch("a")).await.unwrap();
    let digest = Digest::of(b"x");
    let with_content = || Batch { put_contents: vec![(digest, b"x".to_vec().into())], ..batch("b") };

    // While a request is made; when the transaction is to commit; at the second of two requests.
    let quota = || exception("QuotaExceededError");
    let fail: [&dyn Fn() -> js_sys::Function; 3] =
        [&|| throwing("add", &quota()), &|| aborting_next(&quota()), &|| throwing("put", &quota())];
    for fail in fail {
        let undo = Undo(fail());
        let error = put(&store, 2, with_content()).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (Kind::InsufficientStorage, 507), "{error}");
        drop(undo);
        assert_eq!(log(&store).await.unwrap(), ["a"]);
        assert!(store.content(digest).await.unwrap().is_none());
    }
    assert_eq!(put(&store, 2, with_content()).await.unwrap(), 3);
}

#[wasm_bindgen_test]
async fn whatever_a_request_throws_is_an_error() {
    let store = open(&new_name("throws")).await;
    let plain = js_sys::Object::new();
    for (thrown, words) in [
        (exception("NobodyHeardOfError"), "NobodyHeardOfError: made by a test"),
        (JsValue::from("just text"), "just text"),
        (JsValue::UNDEFINED, "undefined"),
        (JsValue::from(7), "7"),
        (plain.into(), ""),
    ] {
        let undo = Undo(throwing("add", &thrown));
        let error = put(&store, 1, batch("a")).await.unwrap_err();
        drop(undo);
        assert_eq!(error.kind(), Kind::Unknown);
        assert!(error.reason().contains(words), "{error}");
    }
    assert_eq!(log(&store).await.unwrap(), [""; 0]);
}

#[wasm_bindgen_test]
async fn forbidden_storage_is_told_as_such() {
    let get = |body: &str| js_sys::Function::new_no_args(body);
    for missing in ["return undefined", "return null", "throw new DOMException('no', 'SecurityError')"] {
        let undo = Undo(without_indexed_db(&get(missing)));
        assert_eq!(kind(IndexedDbStore::open("x").await), Some(Kind::StorageUnavailable), "{missing}");
        drop(undo);
    }
    for (name, expected) in [
        ("SecurityError", Kind::StorageUnavailable),
        ("InvalidStateError", Kind::StorageUnavailable),
        ("QuotaExceededError", Kind::InsufficientStorage),
        ("NobodyHeardOfError", Kind::Unknown),
    ] {
        let undo = Undo(open_throwing(&exception(name)));
        assert_eq!(kind(IndexedDbStore::open("x").await), Some(expected), "{name}");
        drop(undo);
    }
    let undo = Undo(open_throwing(&"just text".into()));
    assert_eq!(kind(IndexedDbStore::open("x").await), Some(Kind::Unknown));
    drop(undo);
}

#[wasm_bindgen_test]
async fn contention_between_connections_loses_nothing() {
    const EACH: usize = 10;
    let name = new_name("contention");
    let (a, b) = join(open(&name), open(&name)).await;
    let append = async |store: &IndexedDbStore, who: &str| {
        // Each knows its own tail only, as two tabs that hear nothing of each other.
        let mut next = 1;
        for i in 0..EACH {
            next = put(store, next, batch(&format!("{who}{i}"))).await.unwrap();
        }
    };
    join(append(&a, "a"), append(&b, "b")).await;
    let log = log(&a).await.unwrap();
    assert_eq!(log.len(), 2 * EACH);
    for who in ["a", "b"] {
        let own: Vec<_> = log.iter().filter(|text| text.starts_with(who)).cloned().collect();
        assert_eq!(own, (0..EACH).map(|i| format!("{who}{i}")).collect::<Vec<_>>());
    }
}

#[wasm_bindgen_test]
async fn an_append_nobody_waits_for_breaks_nothing() {
    let store = open(&new_name("dropped")).await;
    for _ in 0..2 {
        // Polled once: the request is made, and its events find nobody.
        let mut build = |_: &[settee::store::Block], _| Ok(Some(batch("maybe")));
        let mut append = store.append(1, &mut build);
        assert!(futures::poll!(&mut append).is_pending());
        drop(append);
    }
    TimeoutFuture::new(50).await;
    let there = log(&store).await.unwrap().len() as u32;
    assert_eq!(put(&store, there + 1, batch("surely")).await.unwrap(), there + 2);
}

fn blob(bytes: &[u8], media_type: &str) -> web_sys::Blob {
    let options = web_sys::BlobPropertyBag::new();
    options.set_type(media_type);
    let parts = Array::of1(&Uint8Array::new_from_slice(bytes));
    web_sys::Blob::new_with_u8_array_sequence_and_options(&parts, &options).unwrap()
}

async fn round_trip(store: &IndexedDbStore, next: u32, content: Content) -> (Digest, Content) {
    let digest = content.digest().await.unwrap();
    put(store, next, Batch { put_contents: vec![(digest, content)], ..batch("c") }).await.unwrap();
    (digest, store.content(digest).await.unwrap().unwrap())
}

#[wasm_bindgen_test]
async fn blobs_and_arrays_come_back_as_they_went() {
    let store = open(&new_name("blobs")).await;
    let photo: Vec<u8> = (0..500_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let array = Uint8Array::new_from_slice(&photo);
    for (next, value) in (1..).zip([JsValue::from(blob(&photo, "image/jpeg")), array.clone().into()]) {
        let content = content_from_js(&value).unwrap();
        assert!(matches!(content, Content::External(_)));
        let (digest, found) = round_trip(&store, next, content).await;
        assert_eq!(digest, Digest::of(&photo));
        assert!(matches!(found, Content::External(_)));
        assert_eq!(&*found.bytes().await.unwrap(), &photo[..]);
        let blob = content_to_blob(&found, "image/png").unwrap();
        assert_eq!((blob.type_().as_str(), blob.size()), ("image/png", 500_000.0));
        assert_eq!(content_to_uint8array(&found).await.unwrap().to_vec(), photo);
    }
    for small in [&b""[..], b"small"] {
        let (digest, found) = round_trip(&store, 3, content_from_js(&blob(small, "").into()).unwrap()).await;
        assert_eq!(digest, Digest::of(small));
        assert_eq!(&*found.bytes().await.unwrap(), small);
    }
}

#[wasm_bindgen_test]
async fn twenty_megabytes_go_in_and_out_outside_our_memory() {
    let store = open(&new_name("big")).await;
    let piece: Vec<u8> = (0..1_000_003u32).map(|i| (i * 31 % 255) as u8).collect();
    let piece = Uint8Array::new_from_slice(&piece);
    let parts = Array::new();
    for _ in 0..20 {
        parts.push(&piece);
    }
    let big = web_sys::Blob::new_with_u8_array_sequence(&parts).unwrap();
    let array = JsFuture::from(big.array_buffer()).await.unwrap();
    let pages =
        || wasm_bindgen::memory().unchecked_into::<js_sys::WebAssembly::Memory>().buffer().byte_length_of();
    let mut digests = Vec::new();
    for (next, value) in (1..).zip([big.into(), array]) {
        let content = content_from_js(&value).unwrap();
        let before = pages();
        let (digest, found) = round_trip(&store, next, content).await;
        assert_eq!(found.size_bytes(), 20_000_060);
        assert_eq!(found.digest().await.unwrap(), digest);
        digests.push(digest);
        assert!(pages() - before < 4e6, "our memory grew by {}", pages() - before);
    }
    assert_eq!(digests[0], digests[1]);
}

trait ByteLength {
    fn byte_length_of(&self) -> f64;
}

impl ByteLength for JsValue {
    fn byte_length_of(&self) -> f64 {
        js_sys::Reflect::get(self, &"byteLength".into()).unwrap().as_f64().unwrap()
    }
}

#[wasm_bindgen_test]
fn bytes_are_taken_in_every_form_and_nothing_else() {
    let taken = |code: &str| {
        let value = js_sys::Function::new_no_args(&format!("return {code}")).call0(&JsValue::UNDEFINED);
        content_from_js(&value.unwrap())
    };
    let bytes = |code: &str| match taken(code).unwrap() {
        Content::Bytes(bytes) => bytes.to_vec(),
        Content::External(_) => panic!("{code} stayed outside"),
    };
    assert_eq!(bytes("new Uint8Array([1, 2, 3])"), [1, 2, 3]);
    assert_eq!(bytes("new Uint8Array([1, 2, 3, 4]).subarray(1, 3)"), [2, 3]);
    assert_eq!(bytes("new Uint8Array([1, 2]).buffer"), [1, 2]);
    assert_eq!(bytes("new DataView(new Uint8Array([1, 2, 3]).buffer, 1)"), [2, 3]);
    assert_eq!(bytes("new Uint16Array([258])"), [2, 1]);
    assert_eq!(taken("new File(['abc'], 'a.txt')").unwrap().size_bytes(), 3);
    for bad in ["undefined", "null", "'text'", "7", "[1, 2]", "{ length: 1, 0: 1 }", "() => 1", "Symbol()"] {
        assert_eq!(kind(taken(&format!("({bad})"))), Some(Kind::BadRequest), "{bad}");
    }
    let detached =
        "(() => { const b = new ArrayBuffer(8); structuredClone(b, { transfer: [b] }); return b; })()";
    // Some browsers see an empty buffer, some throw; neither may trap.
    let _: Result<Content, Error> = taken(detached);

    // The page's later writes to its array are not ours.
    let own = Uint8Array::new_with_length(100_000);
    let content = content_from_js(&own).unwrap();
    own.fill(9, 0, 100_000);
    let Content::External(external) = content else { panic!("a large array came inside") };
    let external = Rc::clone(&external);
    wasm_bindgen_futures::spawn_local(async move {
        assert_eq!(external.read(0, 3).await.unwrap(), [0, 0, 0]);
    });
}
