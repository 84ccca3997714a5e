//! The promises of `native_find.rs`, once more in a sealed channel.
#![cfg(not(target_arch = "wasm32"))]

#[path = "native_find.rs"]
mod clear;
