//! The promises of the store port in a dedicated worker, where there is no `window`.
#![cfg(target_arch = "wasm32")]

use std::cell::Cell;

use futures::future::join;
use settee::{
    platform::Platform,
    store::conformance,
    web::{IndexedDbStore, WebPlatform, on_wake},
};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

thread_local! {
    static MADE: Cell<u32> = const { Cell::new(0) };
}

struct IndexedDb;

impl conformance::Fixture for IndexedDb {
    type Store = IndexedDbStore;

    async fn pair() -> (IndexedDbStore, IndexedDbStore) {
        MADE.set(MADE.get() + 1);
        let name = format!("worker {} {}", MADE.get(), WebPlatform.now_ms());
        let (a, b) = join(IndexedDbStore::open(&name), IndexedDbStore::open(&name)).await;
        (a.unwrap(), b.unwrap())
    }

    async fn pause() {
        WebPlatform.sleep(10).await;
    }
}

macro_rules! on_indexed_db {
    ($($promise:ident,)*) => {
        $(#[wasm_bindgen_test]
        async fn $promise() {
            conformance::$promise::<IndexedDb>().await;
        })*
    };
}

settee::for_each_store_promise!(on_indexed_db);

#[wasm_bindgen_test]
async fn a_worker_yields_and_listens_without_a_window() {
    WebPlatform.sleep(0).await;
    drop(on_wake(|| ()));
}
