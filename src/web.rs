//! The adapters of the ports over what a browser offers, and nothing else. wasm32 only.
//!
//! | port | adapter | over |
//! |---|---|---|
//! | [`Store`](crate::store::Store) | [`IndexedDbStore`] | IndexedDB and `BroadcastChannel` |
//! | [`Transport`](crate::remote::Transport) | [`FetchTransport`] | `fetch` |
//! | [`Tokens`](crate::remote::Tokens) | [`TokenFunction`] | a page's `getToken` |
//! | [`Platform`](crate::platform::Platform) | [`WebPlatform`] | `Date`, `crypto`, timers |
//! | [`External`](crate::model::External) | [`BlobContent`] | `Blob`, `Uint8Array` |
//!
//! Everything is taken from the global object, never from `window`: a page, the three kinds of
//! worker and Node 20 (which has no IndexedDB) all run this. Nothing here panics on what a browser
//! throws: it may throw anything, including what is no `Error` at all.

mod blob;
mod channel;
mod cipher;
mod connection;
mod fetch;
mod indexeddb;
mod platform;
mod requests;
mod thrown;
mod tokens;
mod transaction;
mod wake;

pub use blob::{BlobContent, content_from_js, content_to_blob, content_to_uint8array};
pub use fetch::FetchTransport;
pub use indexeddb::IndexedDbStore;
pub use platform::WebPlatform;
pub use tokens::TokenFunction;
pub use wake::{WakeGuard, on_wake};
