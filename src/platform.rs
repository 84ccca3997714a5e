//! Port: time, randomness and sleep.
//!
//! Nothing else in the core asks the machine for these, so a seeded platform replays a whole
//! two-database story.

use std::future::ready;

use futures::future::LocalBoxFuture;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Pending, Result},
    model::Content,
};

/// What the core needs to know of the machine it runs on.
pub trait Platform {
    /// Milliseconds since 1970, for timestamps that people read. May jump.
    fn now_ms(&self) -> f64;
    /// Fills `bytes` from a source fit for naming things (ids), not only for games.
    fn random_bytes(&self, bytes: &mut [u8]);
    /// Fills `bytes` from a source fit for keys, or fails; what is in them then must not be used.
    fn secret_bytes(&self, bytes: &mut [u8]) -> Result<()> {
        self.random_bytes(bytes);
        Ok(())
    }
    /// Resolves after `ms` milliseconds, or after the event loop had one turn when 0.
    fn sleep(&self, ms: u32) -> LocalBoxFuture<'static, ()>;
    /// The SHA-256 of some bytes, begun at once; beside our own work if the machine can.
    fn sha256(&self, bytes: &[u8]) -> Pending<'static, [u8; 32]> {
        Box::pin(ready(Ok(sha256(bytes))))
    }
    /// Where a large content is put together, outside our memory if the machine can.
    fn collector(&self) -> Box<dyn Collector> {
        Box::new(Vec::new())
    }
}

/// The SHA-256 of some bytes, here and now.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A content that is being put together.
pub trait Collector {
    /// The next bytes.
    fn push(&mut self, piece: Vec<u8>) -> Result<()>;
    /// All of them.
    fn finish(self: Box<Self>) -> Result<Content>;
}

impl Collector for Vec<u8> {
    fn push(&mut self, piece: Vec<u8>) -> Result<()> {
        self.extend_from_slice(&piece);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Content> {
        Ok((*self).into())
    }
}
