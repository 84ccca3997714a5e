//! The promises of `native_database.rs`, once more in a sealed channel.
#![cfg(not(target_arch = "wasm32"))]

#[path = "native_database.rs"]
mod clear;
