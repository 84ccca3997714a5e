//! Between the database and [`crate::seal`]: stored leaves of a sealed channel made and opened.

use std::rc::Rc;

use super::{
    render::path,
    view::{Meaning, NewLeaf},
};
use crate::{
    error::{Error, Kind, Result},
    log::{DocState, StoredAttachment, StoredLeaf},
    model::{CONTENT_CHUNK_BYTES, Content, Rev},
    peer::{ReplicatedAttachment, ReplicatedDoc},
    platform::Platform,
    seal::{
        Author, Channel, Entry, Envelope, FileEntry, FileHash, FileReader, FileSealer, Hash, Key,
        NewRevision, Opened, Prepared, PublicKey, Received, Refusal, Sealed, Signer, Stub, check_push,
        first_line, next_line, open_revision, prepare_checked, read_revision, seal_revisions,
    },
};

/// The keys of a channel that is unlocked, and who writes with them. Dropping the last one wipes them.
pub struct Keys {
    channel: Channel,
    signer: Rc<Signer>,
    public: PublicKey,
}

/// Port: the keys of a channel, from what its log says now.
pub trait KeySource {
    /// Errors: why this log gives no keys; those from before stay then.
    fn keys(&self, log: &[Entry]) -> Result<Rc<Keys>>;
}

impl Keys {
    /// The keys of a channel, for the device that signs with this.
    pub fn new(channel: Channel, signer: Rc<Signer>) -> Self {
        let public = signer.public();
        Self { channel, signer, public }
    }

    /// Which channel they are of.
    pub(super) fn channel(&self) -> Hash {
        *self.channel.ch()
    }

    /// The id that a document is stored under.
    pub(super) fn id(&self, name: &str) -> String {
        self.channel.remote_id(name)
    }

    /// The id that a `_local/` document is stored under (both without the prefix).
    pub(super) fn local_id(&self, name: &str) -> String {
        self.channel.local_id(name)
    }

    /// The body of a `_local/` document of revision `0-n`, as it is stored.
    pub(super) fn seal_local(&self, name: &str, n: u64, body: &str) -> String {
        self.channel.seal_local(name, n, body)
    }

    /// The same as its writer meant it.
    ///
    /// Errors: `corrupt`.
    pub(super) fn open_local(&self, name: &str, n: u64, body: &str) -> Result<String> {
        let damaged = |refusal| Error::corrupt("sealed _local document").with_source(refusal);
        self.channel.open_local(name, n, body).map_err(damaged)
    }

    /// All of sealing a leaf but the signature. `current` is the document's state as it is stored.
    ///
    /// Errors: 409 `conflict` where nothing is known that its line follows from; 413 `document_too_large`; 400
    /// `bad_request` for what cannot be sealed, or not now.
    pub(super) fn prepare(
        &self,
        name: &str,
        current: Option<&DocState>,
        parent: Option<&Rev>,
        new: NewLeaf,
    ) -> Result<Prepared> {
        let line = parent.map(|parent| self.line_of(name, current, parent)).transpose()?;
        let files: Vec<FileEntry> = new.attachments.iter().filter_map(entry).collect();
        let form = match new.meaning {
            Meaning::Form(form) => Some(form),
            Meaning::Digest(_) => None,
        };
        let new = NewRevision {
            id: name,
            parent: parent.zip(line.as_ref()),
            deleted: new.deleted,
            body: &new.body,
            files: &files,
        };
        prepare_checked(&self.channel, &new, form).map_err(refused)
    }

    /// Leaves, sealed: as they are stored and sent.
    pub(super) fn seal(&self, prepared: Vec<Prepared>) -> Result<Vec<StoredLeaf>> {
        let deleted: Vec<bool> = prepared.iter().map(Prepared::deleted).collect();
        let author = Author { signer: &self.signer, public: self.public };
        let sealed = seal_revisions(&self.channel, &author, prepared).map_err(refused)?;
        let leaf = |(sealed, deleted): (Sealed, bool)| {
            let attachments = sealed.stubs.into_iter().map(|stub| StoredAttachment {
                name: stub.name,
                content_type: stub.content_type,
                length: stub.length,
                revpos: stub.revpos,
                digest: stub.digest,
                sealed: None,
            });
            StoredLeaf { rev: sealed.rev, deleted, body: sealed.body, attachments: attachments.collect() }
        };
        Ok(sealed.into_iter().zip(deleted).map(leaf).collect())
    }

    /// The line of a revision of the document.
    ///
    /// Errors: 409 `conflict` where nothing is known that it follows from.
    fn line_of(&self, name: &str, current: Option<&DocState>, rev: &Rev) -> Result<Hash> {
        let doc = current.ok_or_else(Error::conflict)?;
        if let Some(line) = doc.leaves.iter().find(|leaf| leaf.rev == *rev).and_then(line) {
            return Ok(line);
        }
        let ancestors = path(&doc.tree, rev);
        let is_whole = ancestors.last().is_some_and(|oldest| oldest.generation == 1);
        let ([_, before @ ..], true) = (&ancestors[..], is_whole) else { return Err(Error::conflict()) };
        let first = first_line(self.channel.ch(), &self.channel.remote_id(name));
        Ok(before.iter().rev().fold(first, |line, rev| next_line(&line, rev)))
    }

    /// What a stored leaf holds: the document's name, and the leaf as its writer meant it.
    ///
    /// Errors: `corrupt` where it does not open: nothing gets here that did not pass the gate.
    pub(super) fn open(&self, id: &str, leaf: &StoredLeaf) -> Result<(String, StoredLeaf)> {
        let stubs: Vec<Stub> = leaf.attachments.iter().map(stub).collect();
        let path = std::slice::from_ref(&leaf.rev);
        let received = Received { id, path, deleted: leaf.deleted, stubs: &stubs, body: &leaf.body };
        let opened = read_revision(&self.channel, &received)
            .map_err(|refusal| Error::corrupt("sealed document").with_source(refusal))?;
        let Opened { id: name, body, files, .. } = opened;
        let attachments = files.into_iter().map(|file| StoredAttachment {
            name: file.name.clone(),
            content_type: file.content_type.clone(),
            length: file.length,
            revpos: file.revpos,
            digest: file.digest,
            sealed: Some(Rc::new(file)),
        });
        let attachments = attachments.collect();
        Ok((name, StoredLeaf { rev: leaf.rev.clone(), deleted: leaf.deleted, body, attachments }))
    }

    /// Whether a revision from elsewhere is what its author sealed, in its place. Leaves of it what is proved: of
    /// the history it came with, since the rest might hide a revision that is still to come; and where its
    /// attachments came from. `known` gives the lines of revisions that are stored here.
    pub(super) fn verify(
        &self,
        doc: &mut ReplicatedDoc,
        known: &dyn Fn(&Rev) -> Option<Hash>,
    ) -> Result<(), Refusal> {
        let stubs = stubs(&doc.attachments)?;
        let opened = open_revision(&self.channel, &received(doc, &stubs), known)?;
        doc.path = opened.path;
        for stub in opened.files.iter().map(FileEntry::stub) {
            let shown = doc.attachments.iter_mut().find(|shown| shown.name == stub.name);
            shown.into_iter().for_each(|shown| shown.revpos = stub.revpos);
        }
        Ok(())
    }

    /// Seals an attachment's bytes for a document. They are read twice, in pieces. `copied` is what they were
    /// in another document.
    pub(super) async fn seal_content(
        &self,
        name: &str,
        attachment: (&str, &str),
        content: &Content,
        copied: Option<&FileEntry>,
        platform: &dyn Platform,
    ) -> Result<(Content, FileEntry)> {
        let mut hash = FileHash::default();
        let mut pieces = Pieces::of(content);
        while let Some(piece) = pieces.next().await? {
            hash.update(&piece);
        }
        let id = self.channel.remote_id(name);
        let key = match copied {
            Some(file) => file.copy_key(&id, attachment.0),
            None => {
                let mut key = [0; 32];
                platform.secret_bytes(&mut key)?;
                Key::new(key)
            }
        };
        let entropy =
            |bytes: &mut [u8]| bytes.iter_mut().zip(key.expose()).for_each(|(byte, own)| *byte = *own);
        let (ch, (file_name, content_type)) = (self.channel.ch(), attachment);
        // The generation is known when it is committed.
        let mut sealer = FileSealer::new(ch, &id, file_name, content_type, hash.finish(), 1, &entropy);
        let mut collector = platform.collector();
        let (mut pieces, mut out) = (Pieces::of(content), Vec::new());
        while let Some(piece) = pieces.next().await? {
            sealer.push(&piece, &mut out).map_err(refused)?;
            collector.push(std::mem::take(&mut out))?;
        }
        let entry = sealer.finish(&mut out).map_err(refused)?;
        collector.push(out)?;
        Ok((collector.finish()?, entry))
    }

    /// Opens an attachment's bytes, piece by piece, and proves that they are all there.
    ///
    /// Errors: `corrupt`.
    pub(super) async fn open_content(
        &self,
        name: &str,
        file: &FileEntry,
        sealed: &Content,
        platform: &dyn Platform,
    ) -> Result<Content> {
        let damaged = |refusal| Error::corrupt("sealed attachment").with_source(refusal);
        let mut reader = FileReader::new(self.channel.ch(), &self.channel.remote_id(name), file);
        let mut collector = platform.collector();
        let mut pieces = Pieces::of(sealed);
        while let Some(piece) = pieces.next().await? {
            let mut out = Vec::with_capacity(piece.len());
            reader.push(&piece, &mut out).map_err(damaged)?;
            collector.push(out)?;
        }
        reader.finish().map_err(damaged)?;
        collector.finish()
    }
}

/// The push gate, see [`check_push`].
pub(super) fn may_leave(keys: Option<&Keys>, doc: &ReplicatedDoc) -> Result<(), Refusal> {
    check_push(keys.map(|keys| &keys.channel), &received(doc, &stubs(&doc.attachments)?))
}

/// The line of a stored leaf: what a revision on top of it follows from.
pub(super) fn line(leaf: &StoredLeaf) -> Option<Hash> {
    Some(Envelope::parse(&leaf.body).ok()?.line)
}

fn received<'a>(doc: &'a ReplicatedDoc, stubs: &'a [Stub]) -> Received<'a> {
    Received { id: &doc.id, path: &doc.path, deleted: doc.deleted, stubs, body: &doc.body }
}

fn stubs(attachments: &[ReplicatedAttachment]) -> Result<Vec<Stub>, Refusal> {
    let stub = |attachment: &ReplicatedAttachment| {
        Ok(Stub {
            name: attachment.name.clone(),
            content_type: attachment.content_type.clone(),
            revpos: attachment.revpos,
            length: attachment.length,
            // A server that compressed it did not store it as it came.
            digest: attachment.digest.parse().map_err(|_| Refusal::Attachments)?,
        })
    };
    attachments.iter().map(stub).collect()
}

fn stub(stored: &StoredAttachment) -> Stub {
    Stub {
        name: stored.name.clone(),
        content_type: stored.content_type.clone(),
        revpos: stored.revpos,
        length: stored.length,
        digest: stored.digest,
    }
}

/// An attachment's entry in the manifest, as the leaf has it now.
fn entry(stored: &StoredAttachment) -> Option<FileEntry> {
    let file = FileEntry::clone(stored.sealed.as_ref()?);
    let (name, content_type) = (stored.name.clone(), stored.content_type.clone());
    Some(FileEntry { name, content_type, revpos: stored.revpos, ..file })
}

/// What cannot be sealed: the document's own fault, or the channel's.
fn refused(refusal: Refusal) -> Error {
    let kind = match refusal {
        Refusal::TooLarge => Kind::DocumentTooLarge,
        _ => Kind::BadRequest,
    };
    Error::new(kind, refusal.reason()).with_source(refusal)
}

/// A content, piece by piece.
struct Pieces<'a> {
    content: &'a Content,
    at: u64,
}

impl<'a> Pieces<'a> {
    fn of(content: &'a Content) -> Self {
        Self { content, at: 0 }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let end = self.content.size_bytes().min(self.at + CONTENT_CHUNK_BYTES);
        if self.at >= end {
            return Ok(None);
        }
        let piece = match self.content {
            Content::Bytes(bytes) => bytes[self.at as usize..end as usize].to_vec(),
            Content::External(external) => external.read(self.at, end).await?,
        };
        self.at = end;
        Ok(Some(piece))
    }
}
