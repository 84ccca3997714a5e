//! What a sealed document says of its attachments: their true names and types, the keys of their contents,
//! and what a server must show of each.

use super::{
    Hash, Key, Refusal,
    crypt::mac,
    file,
    parts::{Parts, enc, enc_list},
    text::base32,
};
use crate::model::{Digest, check_attachment_name, sort_by};

/// The one type that every sealed attachment has: a server stores it as it is, uncompressed.
pub const SEALED_TYPE: &str = "application/octet-stream";

/// An attachment of a sealed document.
#[derive(Clone)]
pub struct FileEntry {
    /// Its name in the document.
    pub name: String,
    /// Its type.
    pub content_type: String,
    /// What it is called on a server: 16 bytes.
    pub opaque: [u8; 16],
    /// The key of its contents.
    pub key: Key,
    /// Of the plain contents, see [`super::contents_hash`].
    pub hash: Hash,
    /// MD5 of the plain contents: the digest that a caller of the database sees.
    pub digest: Digest,
    /// MD5 of the sealed contents: the digest that a server tells.
    pub sealed_digest: Digest,
    /// Length of the plain contents in bytes.
    pub length: u64,
    /// The generation of the revision that it came with.
    pub revpos: u64,
}

/// Two entries of one opaque name and one sealed content are the same file.
impl PartialEq for FileEntry {
    fn eq(&self, other: &Self) -> bool {
        (self.opaque, self.sealed_digest) == (other.opaque, other.sealed_digest)
    }
}

impl Eq for FileEntry {}

impl std::fmt::Debug for FileEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileEntry({})", base32(&self.opaque))
    }
}

impl FileEntry {
    /// The key that a copy of it gets in another document: the same on every device, so that devices which
    /// copy a document alike make the same revision.
    pub fn copy_key(&self, remote_id: &str, name: &str) -> Key {
        Key::new(mac(&self.key, &[b"copy", remote_id.as_bytes(), name.as_bytes(), &self.opaque]))
    }

    /// What a server must say of it.
    pub fn stub(&self) -> Stub {
        Stub {
            name: base32(&self.opaque),
            content_type: SEALED_TYPE.to_owned(),
            revpos: self.revpos,
            length: file::sealed_length(self.length),
            digest: self.sealed_digest,
        }
    }

    fn encode(&self) -> Vec<u8> {
        enc(&[
            self.name.as_bytes(),
            self.content_type.as_bytes(),
            &self.opaque,
            self.key.expose(),
            &self.hash,
            &self.digest.0,
            &self.sealed_digest.0,
            &self.length.to_be_bytes(),
            &self.revpos.to_be_bytes(),
        ])
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let entry = Self {
            name: parts.text()?.to_owned(),
            content_type: parts.text()?.to_owned(),
            opaque: parts.array()?,
            key: Key::from_slice(parts.next()?)?,
            hash: parts.array()?,
            digest: Digest(parts.array()?),
            sealed_digest: Digest(parts.array()?),
            length: parts.number()?,
            revpos: parts.number()?,
        };
        parts.end()?;
        Some(entry)
    }
}

/// An attachment as a server shows it, in a stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    /// Its opaque name.
    pub name: String,
    /// Its type there: always [`SEALED_TYPE`].
    pub content_type: String,
    /// The generation of the revision that it came with.
    pub revpos: u64,
    /// Length of the sealed contents in bytes.
    pub length: u64,
    /// MD5 of the sealed contents.
    pub digest: Digest,
}

/// The manifest in bytes: entries in the order of their names, each name once.
pub(super) fn encode(files: &[FileEntry]) -> Result<Vec<u8>, Refusal> {
    check(files)?;
    Ok(enc_list(&files.iter().map(FileEntry::encode).collect::<Vec<_>>()))
}

/// Reads a manifest back.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<FileEntry>, Refusal> {
    let entries = Parts(bytes).rest().ok_or(Refusal::Malformed)?;
    let files: Option<Vec<_>> = entries.into_iter().map(FileEntry::decode).collect();
    let files = files.ok_or(Refusal::Malformed)?;
    check(&files)?;
    Ok(files)
}

fn check(files: &[FileEntry]) -> Result<(), Refusal> {
    let mut opaque: Vec<_> = files.iter().map(|file| file.opaque).collect();
    sort_by(&mut opaque, Ord::cmp);
    opaque.dedup();
    let in_order = files.windows(2).all(|pair| matches!(pair, [a, b] if a.name < b.name));
    // A name that the database would refuse, or a length that no device holds.
    let sane = |file: &FileEntry| {
        check_attachment_name(&file.name).is_ok() && file.revpos > 0 && file.length < 1 << 50
    };
    let fits = in_order && opaque.len() == files.len() && files.iter().all(sane);
    if fits { Ok(()) } else { Err(Refusal::BadDocument) }
}

/// What a server must show, in the order of the opaque names.
pub(super) fn stubs(files: &[FileEntry]) -> Vec<Stub> {
    let mut stubs: Vec<Stub> = files.iter().map(FileEntry::stub).collect();
    sort_by(&mut stubs, |a, b| a.name.cmp(&b.name));
    stubs
}
