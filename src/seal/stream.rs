//! STREAM, as the age format has it (age-encryption.org/v1): ChaCha20-Poly1305 over chunks of 64 KiB. Each
//! chunk's nonce is its number (11 bytes, big-endian) and whether it is the last, so chunks can be neither
//! moved, left out, repeated nor cut off, and any one of them opens alone.

use super::{Key, Refusal};

/// Plain bytes in every chunk but the last.
pub const STREAM_CHUNK_BYTES: usize = 64 * 1024;
/// What sealing adds to a chunk.
pub const TAG_BYTES: usize = 16;

/// What a chunk is sealed with beside the key.
pub type Nonce = [u8; 12];

/// Of the chunk of this number.
pub(super) fn nonce(index: u64, is_last: bool) -> Nonce {
    let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
    [0, 0, 0, a, b, c, d, e, f, g, h, u8::from(is_last)]
}

/// Seals a chunk, at the end of `out`. Every chunk but the last is full; the last is empty only if there is
/// no other.
///
/// Errors: `too_large` if it is longer than a chunk.
pub fn seal_chunk(
    key: &Key,
    index: u64,
    is_last: bool,
    chunk: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    if chunk.len() > STREAM_CHUNK_BYTES {
        return Err(Refusal::TooLarge);
    }
    let start = out.len();
    out.extend_from_slice(chunk);
    let text = out.get_mut(start..).unwrap_or_default();
    let tag = settee_aead::seal(key.expose(), &nonce(index, is_last), b"", text).ok_or(Refusal::TooLarge)?;
    out.extend_from_slice(&tag);
    Ok(())
}

/// Opens a chunk.
///
/// Errors: `not_opened` if it is not this chunk of this stream, whole and unchanged, or has a length that
/// sealing would not have given it.
pub fn open_chunk(key: &Key, index: u64, is_last: bool, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Refusal::NotOpened)?;
    let fits = if is_last {
        body.len() <= STREAM_CHUNK_BYTES && (!body.is_empty() || index == 0)
    } else {
        body.len() == STREAM_CHUNK_BYTES
    };
    if !fits {
        return Err(Refusal::NotOpened);
    }
    let mut text = body.to_vec();
    settee_aead::open(key.expose(), &nonce(index, is_last), b"", &mut text, tag).ok_or(Refusal::NotOpened)?;
    Ok(text)
}
