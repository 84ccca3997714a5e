//! An attachment's contents: hashed, then sealed chunk by chunk; opened chunk by chunk, from any place.
//!
//! Two passes, since the stream's key is made from the hash: whoever seals other contents under a key that a
//! bad random source gave twice gets another stream key. What is in memory at a time is one chunk.

use std::ops::Range;

use md5::{Digest as _, Md5};

use super::{
    Entropy, FileEntry, Hash, Key, Refusal, STREAM_CHUNK_BYTES, TAG_BYTES,
    crypt::{first, hash, hkdf, mac, same, sha256},
    open_chunk, padded_len, seal_chunk,
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

/// The second pass: the same bytes once more, sealed.
pub struct FileSealer {
    entry: FileEntry,
    stream: Key,
    salt: Option<[u8; 16]>,
    buffer: Vec<u8>,
    index: u64,
    taken: u64,
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
        let buffer = Vec::with_capacity(STREAM_CHUNK_BYTES);
        Self { entry, stream, salt: Some(salt), buffer, index: 0, taken: 0, md5: Md5::new() }
    }

    /// How long it will be when sealed.
    pub fn sealed_length(&self) -> u64 {
        sealed_length(self.entry.length)
    }

    /// Takes the next plain bytes and appends what is sealed of them to `out`.
    ///
    /// Errors: `bad_document` if there are more than in the first pass.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.taken += bytes.len() as u64;
        if self.taken > self.entry.length {
            return Err(Refusal::BadDocument);
        }
        self.fill(bytes, out)
    }

    /// Behind the last plain bytes: fills the chunk up that they end in, or one more, and appends what is sealed of
    /// it to `out`. Whether there is another; a large file may have many of nothing but zeros.
    ///
    /// Errors: `bad_document` if there were fewer bytes than in the first pass.
    pub fn fill_up(&mut self, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        if self.taken != self.entry.length {
            return Err(Refusal::BadDocument);
        }
        let held = self.buffer.len() as u64;
        let left = padded_len(self.taken).saturating_sub(self.index.saturating_mul(CHUNK_BYTES) + held);
        let now = left.min(CHUNK_BYTES - held);
        self.buffer.resize(self.buffer.len() + usize::try_from(now).unwrap_or_default(), 0);
        if !self.buffer.is_empty() {
            self.seal_buffer(out)?;
        }
        Ok(left > now)
    }

    /// Ends it: what is not filled up yet. Gives the manifest's entry.
    ///
    /// Errors: `bad_document` if there were fewer bytes than in the first pass.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<FileEntry, Refusal> {
        while self.fill_up(out)? {}
        self.entry.sealed_digest = Digest(self.md5.finalize().into());
        Ok(self.entry)
    }

    fn fill(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            let room = STREAM_CHUNK_BYTES - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            bytes = later;
            if now.len() == STREAM_CHUNK_BYTES {
                self.seal(now, out)?;
                continue;
            }
            self.buffer.extend_from_slice(now);
            if self.buffer.len() == STREAM_CHUNK_BYTES {
                self.seal_buffer(out)?;
            }
        }
        Ok(())
    }

    fn seal_buffer(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut whole = std::mem::take(&mut self.buffer);
        self.seal(&whole, out)?;
        whole.clear();
        self.buffer = whole;
        Ok(())
    }

    fn seal(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let start = out.len();
        if let Some(salt) = self.salt.take() {
            out.extend_from_slice(&salt);
        }
        let is_last = self.index == last_chunk(self.entry.length);
        seal_chunk(&self.stream, self.index, is_last, chunk, out)?;
        self.md5.update(out.get(start..).unwrap_or_default());
        self.index += 1;
        Ok(())
    }
}

/// Opens an attachment's chunks, any of them in any order.
pub struct FileOpener {
    stream: Key,
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
        Ok(Self { stream: stream_key(&entry.key, &salt), length: entry.length })
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

    /// Opens a chunk: its plain bytes, without what fills the last ones up.
    ///
    /// Errors: `not_opened`.
    pub fn open(&self, index: u64, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let range = self.sealed_range(index);
        if sealed.len() as u64 != range.end - range.start {
            return Err(Refusal::NotOpened);
        }
        let mut text = open_chunk(&self.stream, index, index == last_chunk(self.length), sealed)?;
        let own = self.length.saturating_sub(index.saturating_mul(CHUNK_BYTES)).min(text.len() as u64);
        let own = usize::try_from(own).unwrap_or(text.len());
        if text.get(own..).unwrap_or_default().iter().any(|byte| *byte != 0) {
            return Err(Refusal::NotOpened);
        }
        text.truncate(own);
        Ok(text)
    }
}

/// Opens an attachment from its beginning to its end, as its bytes come.
pub struct FileReader {
    begin: Option<(Hash, String)>,
    entry: FileEntry,
    opener: Option<FileOpener>,
    buffer: Vec<u8>,
    index: u64,
}

impl FileReader {
    /// Begins.
    pub fn new(ch: &Hash, remote_id: &str, entry: &FileEntry) -> Self {
        Self {
            begin: Some((*ch, remote_id.to_owned())),
            entry: entry.clone(),
            opener: None,
            buffer: Vec::new(),
            index: 0,
        }
    }

    /// Takes the next sealed bytes and appends what could be opened to `out`. Every chunk is authentic; that
    /// all of them came is known only after [`FileReader::finish`].
    ///
    /// Errors: `not_opened`, also for bytes past the end.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            let want = match &self.opener {
                None => FileOpener::HEAD_BYTES,
                Some(opener) => {
                    let range = opener.sealed_range(self.index);
                    usize::try_from(range.end - range.start).unwrap_or(0)
                }
            };
            if want == 0 {
                return Err(Refusal::NotOpened);
            }
            let (now, later) = bytes.split_at((want - self.buffer.len()).min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == want {
                self.take(out)?;
                self.buffer.clear();
            }
        }
        Ok(())
    }

    fn take(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Some(opener) = &self.opener {
            out.extend_from_slice(&opener.open(self.index, &self.buffer)?);
            self.index += 1;
        } else if let Some((ch, remote_id)) = self.begin.take() {
            self.opener = Some(FileOpener::new(&ch, &remote_id, &self.entry, &self.buffer)?);
        }
        Ok(())
    }

    /// Ends it. `chunks` are the hashes of what came out, as for [`contents_hash`].
    ///
    /// Errors: `not_opened` if bytes are missing, or the whole is not what was sealed.
    pub fn finish(self, chunks: &[Hash]) -> Result<(), Refusal> {
        let is_whole = self.opener.is_some_and(|opener| opener.chunks() == self.index);
        if is_whole && self.buffer.is_empty() && contents_hash(chunks) == self.entry.hash {
            Ok(())
        } else {
            Err(Refusal::NotOpened)
        }
    }
}
