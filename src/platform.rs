//! Port: time, randomness and sleep.
//!
//! Nothing else in the core asks the machine for these, so a seeded platform replays a whole
//! two-database story.

use std::future::ready;

use futures::future::LocalBoxFuture;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind, Pending, Result},
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
    /// ChaCha20-Poly1305 under a key, for many texts; beside our own work if the machine can.
    fn cipher(&self, key: &[u8; 32]) -> Pending<'static, Box<dyn Cipher>> {
        let here: Box<dyn Cipher> = Box::new(CipherHere::new(key));
        Box::pin(ready(Ok(here)))
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

/// ChaCha20-Poly1305 under one key, without associated data. What is to be sealed or opened is read before the call
/// returns, and the work begun.
pub trait Cipher {
    /// The sealed text and its tag, left where the machine made it.
    fn seal(&self, nonce: &[u8; 12], text: &[u8]) -> Pending<'static, Content>;
    /// The text; `None` if anything is not as it was sealed.
    fn open(&self, nonce: &[u8; 12], sealed: &[u8]) -> Pending<'static, Option<Vec<u8>>>;
}

/// Here and now.
pub struct CipherHere(Zeroizing<[u8; 32]>);

impl CipherHere {
    /// Under this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*key))
    }

    /// See [`Cipher::seal`].
    pub fn seal_now(&self, nonce: &[u8; 12], text: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(text.len() + TAG_BYTES);
        sealed.extend_from_slice(text);
        let too_large = || Error::new(Kind::DocumentTooLarge, "A text is longer than a key stream.");
        let tag = settee_aead::seal(&self.0, nonce, b"", &mut sealed).ok_or_else(too_large)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// See [`Cipher::open`].
    pub fn open_now(&self, nonce: &[u8; 12], sealed: &[u8]) -> Option<Vec<u8>> {
        let (text, tag) = sealed.split_last_chunk()?;
        let mut text = text.to_vec();
        settee_aead::open(&self.0, nonce, b"", &mut text, tag)?;
        Some(text)
    }
}

const TAG_BYTES: usize = size_of::<settee_aead::Tag>();

impl Cipher for CipherHere {
    fn seal(&self, nonce: &[u8; 12], text: &[u8]) -> Pending<'static, Content> {
        Box::pin(ready(self.seal_now(nonce, text).map(Content::from)))
    }

    fn open(&self, nonce: &[u8; 12], sealed: &[u8]) -> Pending<'static, Option<Vec<u8>>> {
        Box::pin(ready(Ok(self.open_now(nonce, sealed))))
    }
}

/// A content that is being put together.
pub trait Collector {
    /// The next bytes: a piece that is well held in memory.
    fn push(&mut self, piece: Content) -> Result<()>;
    /// All of them.
    fn finish(self: Box<Self>) -> Result<Content>;
}

impl Collector for Vec<u8> {
    fn push(&mut self, piece: Content) -> Result<()> {
        let Content::Bytes(bytes) = piece else { return Err(Error::new(Kind::Unknown, FOREIGN)) };
        self.extend_from_slice(&bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Content> {
        Ok((*self).into())
    }
}

/// A machine that holds contents itself also has a collector of them.
const FOREIGN: &str = "The piece is held by something other than our memory.";
