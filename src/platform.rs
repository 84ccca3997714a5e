//! Port: time, randomness and sleep.
//!
//! Nothing else in the core asks the machine for these, so a seeded platform replays a whole
//! two-database story.

use futures::future::LocalBoxFuture;

use crate::{error::Result, model::Content};

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
    /// Where a large content is put together, outside our memory if the machine can.
    fn collector(&self) -> Box<dyn Collector> {
        Box::new(Vec::new())
    }
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
