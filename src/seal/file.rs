//! An attachment's contents: hashed, then sealed chunk by chunk; opened chunk by chunk, from any place.
//!
//! Two passes, since the stream's key is made from the hash: whoever seals other contents under a key that a
//! bad random source gave twice gets another stream key. What is in memory at a time is one chunk, or a few that are
//! sealed side by side.

use std::{borrow::Cow, ops::Range};

use md5::{Digest as _, Md5};

use super::{
    Entropy, FileEntry, Hash, Key, Nonce, Refusal, STREAM_CHUNK_BYTES, TAG_BYTES,
    crypt::{first, hash, hkdf, mac, same, sha256},
    open_chunk, padded_len, seal_chunk,
    stream::nonce,
};
use crate::model::Digest;

/// Plain bytes in a chunk.
pub const CHUNK_BYTES: u64 = STREAM_CHUNK_BYTES as u64;
const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES as u64;
/// What stands before the first chunk.
const SALT_BYTES: u64 = 16;

/// What a content of this many bytes is long when sealed.
pub(super) fn sealed_length(length: u64) -> u64 {
    let padded = padded_len(length);
    SALT_BYTES + padded + padded.div_ceil(CHUNK_BYTES) * TAG_BYTES as u64
}

fn last_chunk(length: u64) -> u64 {
    padded_len(length).div_ceil(CHUNK_BYTES).saturating_sub(1)
}

/// Of plain contents: what sealing needs to know beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainFile {
    /// See [`contents_hash`].
    pub hash: Hash,
    /// MD5, as a caller of the database knows it.
    pub digest: Digest,
    /// Length in bytes.
    pub length: u64,
}

impl PlainFile {
    /// Of contents in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let hashes: Vec<Hash> = bytes.chunks(STREAM_CHUNK_BYTES).map(sha256).collect();
        Self { hash: contents_hash(&hashes), digest: Digest::of(bytes), length: bytes.len() as u64 }
    }
}

/// What stands for plain contents: a hash of the SHA-256 of each [`CHUNK_BYTES`] of them (the last may be
/// shorter, empty ones have none), so that whoever has hands for it makes several at a time.
pub fn contents_hash(chunks: &[Hash]) -> Hash {
    hash(&[b"contents", &chunks.concat()])
}

/// The stream's salt: it names channel, document and attachment, and commits to the contents.
pub(super) fn salt_of(ch: &Hash, remote_id: &str, entry: &FileEntry) -> [u8; 16] {
    let length = entry.length.to_be_bytes();
    first(&mac(&entry.key, &[b"file", ch, remote_id.as_bytes(), &entry.opaque, &entry.hash, &length]))
}

fn stream_key(key: &Key, salt: &[u8; 16]) -> Key {
    hkdf(key.expose(), salt, b"payload")
}

/// What of a content is sealed at once, and with which nonce.
pub type Chunk<'a> = (Nonce, Cow<'a, [u8]>);

/// The second pass: the same bytes once more, a chunk at a time. It says what is sealed and takes what came of
/// it; the sealing itself is [`seal_chunk`]'s or that of whoever has hands for it.
pub struct FileSealer {
    entry: FileEntry,
    stream: Key,
    salt: [u8; 16],
    index: u64,
    md5: Md5,
}

impl FileSealer {
    /// Begins to seal one attachment.
    ///
    /// Shape:  `remote_id` is the document's id on a server, `plain` is of the first pass.
    pub fn new(
        ch: &Hash,
        remote_id: &str,
        name: &str,
        content_type: &str,
        plain: PlainFile,
        revpos: u64,
        entropy: Entropy,
    ) -> Self {
        let key = Key::random(entropy);
        // Made from the key, so that two attachments never meet under one name, even with a bad source.
        let name_mac = mac(&key, &[b"name", ch, remote_id.as_bytes(), name.as_bytes(), &plain.hash]);
        let opaque: [u8; 16] = first(&name_mac);
        let entry = FileEntry {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            opaque,
            hash: plain.hash,
            digest: plain.digest,
            sealed_digest: Digest([0; 16]),
            length: plain.length,
            revpos,
            key,
        };
        let salt = salt_of(ch, remote_id, &entry);
        let stream = stream_key(&entry.key, &salt);
        Self { entry, stream, salt, index: 0, md5: Md5::new() }
    }

    /// What its chunks are sealed with, and nothing else.
    pub fn key(&self) -> &Key {
        &self.stream
    }

    /// The next chunk to be sealed, and its nonce: these bytes, which are the next [`CHUNK_BYTES`] of the contents
    /// or what is left of them, and the zeros that fill it up. Behind the contents there may be many chunks of
    /// zeros alone, for which there are no bytes; `None` behind the last one.
    ///
    /// Errors: `bad_document` if there are more or fewer bytes than in the first pass.
    pub fn chunk<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Chunk<'a>>, Refusal> {
        let start = self.index.saturating_mul(CHUNK_BYTES);
        let own = self.entry.length.saturating_sub(start).min(CHUNK_BYTES);
        let whole = padded_len(self.entry.length).saturating_sub(start).min(CHUNK_BYTES);
        if bytes.len() as u64 != own {
            return Err(Refusal::BadDocument);
        }
        if whole == 0 {
            return Ok(None);
        }
        let mut text = Cow::Borrowed(bytes);
        if own < whole {
            text.to_mut().resize(usize::try_from(whole).map_err(|_| Refusal::TooLarge)?, 0);
        }
        let nonce = nonce(self.index, self.index == last_chunk(self.entry.length));
        self.index += 1;
        Ok(Some((nonce, text)))
    }

    /// What stands before the first chunk.
    pub fn head(&mut self) -> [u8; FileOpener::HEAD_BYTES] {
        self.md5.update(self.salt);
        self.salt
    }

    /// Takes a chunk as it was sealed: each once, in their order, and the head before them.
    pub fn sealed(&mut self, chunk: &[u8]) {
        self.md5.update(chunk);
    }

    /// Ends it. Gives the manifest's entry.
    ///
    /// Errors: `bad_document` if there were fewer bytes than in the first pass.
    pub fn finish(mut self) -> Result<FileEntry, Refusal> {
        if self.index <= last_chunk(self.entry.length) {
            return Err(Refusal::BadDocument);
        }
        self.entry.sealed_digest = Digest(self.md5.finalize().into());
        Ok(self.entry)
    }

    /// All of it at once, for contents in memory: appends what is sealed of them to `out`.
    ///
    /// Errors: as [`FileSealer::chunk`].
    pub fn seal_all(mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<FileEntry, Refusal> {
        out.extend_from_slice(&self.head());
        let mut chunks = plain.chunks(STREAM_CHUNK_BYTES);
        for index in 0.. {
            let Some((_, text)) = self.chunk(chunks.next().unwrap_or_default())? else { break };
            let start = out.len();
            let is_last = index == last_chunk(self.entry.length);
            seal_chunk(&self.stream, index, is_last, &text, out)?;
            self.md5.update(out.get(start..).unwrap_or_default());
        }
        if chunks.next().is_some() { Err(Refusal::BadDocument) } else { self.finish() }
    }
}

/// Opens an attachment's chunks, any of them in any order.
pub struct FileOpener {
    stream: Key,
    hash: Hash,
    length: u64,
}

impl FileOpener {
    /// Begins with the first [`FileOpener::HEAD_BYTES`] bytes of the sealed contents.
    ///
    /// Errors: `not_opened` if these are not the contents of this attachment of this document.
    pub fn new(ch: &Hash, remote_id: &str, entry: &FileEntry, head: &[u8]) -> Result<Self, Refusal> {
        let salt = salt_of(ch, remote_id, entry);
        if !same(head, &salt) {
            return Err(Refusal::NotOpened);
        }
        Ok(Self { stream: stream_key(&entry.key, &salt), hash: entry.hash, length: entry.length })
    }

    /// How many bytes [`FileOpener::new`] takes.
    pub const HEAD_BYTES: usize = SALT_BYTES as usize;

    /// How many chunks there are.
    pub fn chunks(&self) -> u64 {
        last_chunk(self.length) + 1
    }

    /// Where a chunk lies in the sealed contents. Plain byte n is in chunk n / [`CHUNK_BYTES`].
    pub fn sealed_range(&self, index: u64) -> Range<u64> {
        let start = |index: u64| index.saturating_mul(SEALED_CHUNK_BYTES).saturating_add(SALT_BYTES);
        let end = sealed_length(self.length);
        start(index).min(end)..start(index.saturating_add(1)).min(end)
    }

    /// What its chunks are opened with, and nothing else.
    pub fn key(&self) -> &Key {
        &self.stream
    }

    /// A chunk's nonce.
    pub fn nonce(&self, index: u64) -> Nonce {
        nonce(index, index == last_chunk(self.length))
    }

    /// Opens a chunk: its plain bytes, without what fills the last ones up.
    ///
    /// Errors: `not_opened`.
    pub fn open(&self, index: u64, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let range = self.sealed_range(index);
        if sealed.len() as u64 != range.end - range.start {
            return Err(Refusal::NotOpened);
        }
        self.trim(index, open_chunk(&self.stream, index, index == last_chunk(self.length), sealed)?)
    }

    /// The same of a chunk that somebody else opened, with this key and nonce: what is in it.
    ///
    /// Errors: `not_opened` if it is filled up with anything but zeros.
    pub fn trim(&self, index: u64, mut text: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let own = self.length.saturating_sub(index.saturating_mul(CHUNK_BYTES)).min(text.len() as u64);
        let own = usize::try_from(own).unwrap_or(text.len());
        if text.get(own..).unwrap_or_default().iter().any(|byte| *byte != 0) {
            return Err(Refusal::NotOpened);
        }
        text.truncate(own);
        Ok(text)
    }

    /// Whether these are the hashes of what was in all its chunks, as for [`contents_hash`].
    ///
    /// Errors: `not_opened`.
    pub fn check(&self, chunks: &[Hash]) -> Result<(), Refusal> {
        if contents_hash(chunks) == self.hash { Ok(()) } else { Err(Refusal::NotOpened) }
    }

    /// All of it at once, for contents in memory.
    ///
    /// Errors: `not_opened`, also for bytes past the end.
    pub fn open_all(
        ch: &Hash,
        remote_id: &str,
        entry: &FileEntry,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let (head, mut rest) = sealed.split_at_checked(Self::HEAD_BYTES).ok_or(Refusal::NotOpened)?;
        let opener = Self::new(ch, remote_id, entry, head)?;
        let (mut plain, mut hashes) = (Vec::new(), Vec::new());
        for index in 0..opener.chunks() {
            let range = opener.sealed_range(index);
            let length = usize::try_from(range.end - range.start).map_err(|_| Refusal::NotOpened)?;
            let (chunk, behind) = rest.split_at_checked(length).ok_or(Refusal::NotOpened)?;
            rest = behind;
            let chunk = opener.open(index, chunk)?;
            hashes.extend((!chunk.is_empty()).then(|| sha256(&chunk)));
            plain.extend_from_slice(&chunk);
        }
        if !rest.is_empty() {
            return Err(Refusal::NotOpened);
        }
        opener.check(&hashes).map(|()| plain)
    }
}
