//! What JavaScript calls: thin wrappers, one a concept, over the database and the replicator.
//!
//! The public API is written by hand in `pkg/`; what is exported here is its private other half:
//!
//! ```text
//! pkg/settee.js (shapes, events, handles) ─► Engine, Rows, Feed ─► database
//!                                         ─► Peer, Replication  ─► replicate, remote
//!                                         ─► ServerReplication  ─► remote
//! pkg/lib/vault.js                        ─► Vault ─► keys
//! ```
//!
//! Rules of the border:
//! - A method clones the inner `Rc` and returns a promise; an exported `async fn(&self)` would borrow
//!   the wrapper until it settles.
//! - Documents cross as one JSON string each way. Bytes cross beside it; an attachment's `data` is then
//!   the place of its bytes in the list. Options and small results cross as plain objects.
//! - Failures are made by the class that [`start`] was given, so that they are real `Error`s.
//! - Our borrows end before a callback of the caller's runs.

mod convert;
mod engine;
mod failure;
mod feed;
mod peer;
mod replication;
mod server;
mod vault;

use js_sys::Function;
use wasm_bindgen::prelude::wasm_bindgen;

/// Prepares the module; once, before anything else. `make_error(status, name, reason, cause)` makes
/// the errors that calls fail with.
#[wasm_bindgen(js_name = start)]
pub fn start(make_error: Function) {
    console_error_panic_hook::set_once();
    failure::use_constructor(make_error);
}

/// The commit this was built from, if the build knew: `SETTEE_COMMIT`.
#[wasm_bindgen(js_name = commit)]
pub fn commit() -> Option<String> {
    option_env!("SETTEE_COMMIT").map(str::to_owned)
}
