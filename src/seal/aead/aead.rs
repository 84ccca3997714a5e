//! ChaCha20-Poly1305, as RustCrypto has it. A crate of its own because generic code is compiled where it is
//! used, and all that uses it is compiled for size, in which this takes three times as long.

use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _, XChaCha20Poly1305};

/// What is appended to a sealed text.
pub type Tag = [u8; 16];

/// ChaCha20-Poly1305 in place. `None` beyond 256 GB.
#[inline(never)]
pub fn seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Option<Tag> {
    let cipher = ChaCha20Poly1305::new(key.into());
    Some(cipher.encrypt_inout_detached(nonce.into(), aad, text.into()).ok()?.into())
}

/// Opens what [`seal`] sealed, in place. `None` if anything is not as it was.
#[inline(never)]
pub fn open(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &Tag) -> Option<()> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into()).ok()
}

/// XChaCha20-Poly1305 in place. `None` beyond 256 GB.
#[inline(never)]
pub fn seal_x(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], text: &mut [u8]) -> Option<Tag> {
    let cipher = XChaCha20Poly1305::new(key.into());
    Some(cipher.encrypt_inout_detached(nonce.into(), aad, text.into()).ok()?.into())
}

/// Opens what [`seal_x`] sealed, in place. `None` if anything is not as it was.
#[inline(never)]
pub fn open_x(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], text: &mut [u8], tag: &Tag) -> Option<()> {
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into()).ok()
}
