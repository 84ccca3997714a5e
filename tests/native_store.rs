//! The promises of the store port, kept by the store in memory. Its browser twin is `web_store.rs`.
#![cfg(not(target_arch = "wasm32"))]

use futures::executor::block_on;
use settee::store::{MemoryStore, conformance};

struct Memory;

impl conformance::Fixture for Memory {
    type Store = MemoryStore;

    async fn pair() -> (MemoryStore, MemoryStore) {
        let store = MemoryStore::new();
        let other = store.handle();
        (store, other)
    }

    async fn pause() {}
}

macro_rules! on_memory {
    ($($promise:ident,)*) => {
        $(#[test]
        fn $promise() {
            block_on(conformance::$promise::<Memory>());
        })*
    };
}

settee::for_each_store_promise!(on_memory);
