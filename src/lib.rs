//! Settee: a CouchDB peer that lives in a web page.

#[cfg(target_arch = "wasm32")]
pub mod bindings;
pub mod database;
pub mod error;
pub mod keys;
pub mod log;
pub mod model;
pub mod peer;
pub mod platform;
pub mod remote;
pub mod replicate;
pub mod revtree;
pub mod seal;
pub mod selector;
pub mod store;
#[cfg(target_arch = "wasm32")]
pub mod web;
