//! The promises of `native_conflicts.rs`, once more in a sealed channel.
#![cfg(not(target_arch = "wasm32"))]

#[path = "native_conflicts.rs"]
mod clear;
