//! Port: time, randomness and sleep.
//!
//! Nothing else in the core asks the machine for these, so a seeded platform replays a whole
//! two-database story.

use futures::future::LocalBoxFuture;

/// What the core needs to know of the machine it runs on.
pub trait Platform {
    /// Milliseconds since 1970, for timestamps that people read. May jump.
    fn now_ms(&self) -> f64;
    /// Fills `bytes` from a source fit for naming things (ids), not only for games.
    fn random_bytes(&self, bytes: &mut [u8]);
    /// Resolves after `ms` milliseconds, or after the event loop had one turn when 0.
    fn sleep(&self, ms: u32) -> LocalBoxFuture<'static, ()>;
}
