//! Between the database and [`crate::seal`]: stored leaves of a sealed channel made and opened.

use std::{collections::VecDeque, rc::Rc};

use super::{
    render::path,
    view::{Meaning, NewLeaf},
};
use crate::{
    error::{Error, Kind, Pending, Result},
    log::{DocState, StoredAttachment, StoredLeaf},
    model::{Content, Digester, Pieces, Rev},
    peer::{ReplicatedAttachment, ReplicatedDoc},
    platform::Platform,
    seal::{
        Author, CHUNK_BYTES, Channel, Entry, Envelope, FileEntry, FileOpener, FileSealer, Hash, Key,
        NewRevision, Opened, PlainFile, Prepared, PublicKey, Received, Refusal, Sealed, Signer, Stub,
        check_push, contents_hash, first_line, next_line, open_revision, prepare_checked, prepare_revision,
        read_envelope, seal_revisions,
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

    /// All of sealing a leaf but the signature. `id` is what the document is stored under, `current` its state as
    /// it is stored.
    ///
    /// Errors: 409 `conflict` where nothing is known that its line follows from; 413 `document_too_large`; 400
    /// `bad_request` for what cannot be sealed, or not now.
    pub(super) fn prepare(
        &self,
        (id, name): (&str, &str),
        current: Option<&DocState>,
        parent: Option<&Rev>,
        new: NewLeaf,
    ) -> Result<Prepared> {
        let line = parent.map(|parent| self.line_of(id, current, parent)).transpose()?;
        let files: Vec<FileEntry> = new.attachments.iter().filter_map(entry).collect();
        let new_revision = NewRevision {
            id: name,
            parent: parent.zip(line.as_ref()),
            deleted: new.deleted,
            body: &new.body,
            files: &files,
        };
        let prepared = match &*new.meaning {
            Meaning::Form(form) => prepare_checked(&self.channel, &new_revision, id, form),
            Meaning::Digest(_) => prepare_revision(&self.channel, &new_revision),
        };
        prepared.map_err(refused)
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
    fn line_of(&self, id: &str, current: Option<&DocState>, rev: &Rev) -> Result<Hash> {
        let doc = current.ok_or_else(Error::conflict)?;
        if let Some(line) = doc.leaves.iter().find(|leaf| leaf.rev == *rev).and_then(line) {
            return Ok(line);
        }
        let ancestors = path(&doc.tree, rev);
        let is_whole = ancestors.last().is_some_and(|oldest| oldest.generation == 1);
        let ([_, before @ ..], true) = (&ancestors[..], is_whole) else { return Err(Error::conflict()) };
        let first = first_line(self.channel.ch(), id);
        Ok(before.iter().rev().fold(first, |line, rev| next_line(&line, rev)))
    }

    /// What a stored leaf holds: the document's name, and the leaf as its writer meant it.
    ///
    /// Errors: `corrupt` where it does not open: nothing gets here that did not pass the gate.
    pub(super) fn open(&self, id: &str, leaf: &StoredLeaf) -> Result<(String, StoredLeaf)> {
        let stubs: Vec<Stub> = leaf.attachments.iter().map(stub).collect();
        let path = std::slice::from_ref(&leaf.rev);
        let received = Received { id, path, deleted: leaf.deleted, stubs: &stubs, body: "" };
        let opened = Envelope::of_stored(&leaf.body)
            .and_then(|envelope| read_envelope(&self.channel, &received, envelope))
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
        Ok((
            name,
            StoredLeaf { rev: leaf.rev.clone(), deleted: leaf.deleted, body: body.into(), attachments },
        ))
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
        let (mut pieces, mut hashes) = (Pieced::of(content, platform), Hashes::new(platform));
        let mut md5 = Digester::default();
        loop {
            let chunk = pieces.next(CHUNK_BYTES as usize).await?;
            if chunk.is_empty() {
                break;
            }
            hashes.add(chunk).await?;
            md5.update(chunk);
        }
        let (hash, length) = (contents_hash(&hashes.finish().await?), content.size_bytes());
        let plain = PlainFile { hash, digest: md5.finish(), length };
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
        let mut sealer = FileSealer::new(ch, &id, file_name, content_type, plain, 1, &entropy);
        let mut collector = platform.collector();
        if length <= CHUNK_BYTES {
            let mut sealed = Vec::new();
            let entry = sealer.seal_all(&content.bytes().await?, &mut sealed).map_err(refused)?;
            collector.push(sealed.into())?;
            return Ok((collector.finish()?, entry));
        }
        let cipher = platform.cipher(sealer.key().expose()).await?;
        let (mut pieces, mut under_way) = (Pieced::of(content, platform), InOrder::default());
        let mut bytes = sealer.head().to_vec();
        collector.push(bytes.clone().into())?;
        loop {
            let next = sealer.chunk(pieces.next(CHUNK_BYTES as usize).await?).map_err(refused)?;
            let next = next.map(|(nonce, text)| cipher.seal(&nonce, &text));
            let is_end = next.is_none();
            match under_way.turn(next).await? {
                Some(chunk) => {
                    bytes.clear();
                    chunk.pieces().next(&mut bytes).await?;
                    sealer.sealed(&bytes);
                    collector.push(chunk)?;
                }
                None if is_end => break,
                None => {}
            }
        }
        Ok((collector.finish()?, sealer.finish().map_err(refused)?))
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
        let (ch, id) = (self.channel.ch(), self.channel.remote_id(name));
        if sealed.size_bytes() != file.stub().length {
            return Err(damaged(Refusal::NotOpened));
        }
        let mut collector = platform.collector();
        if file.length <= CHUNK_BYTES {
            let plain = FileOpener::open_all(ch, &id, file, &sealed.bytes().await?).map_err(damaged)?;
            collector.push(plain.into())?;
            return collector.finish();
        }
        let mut pieces = Pieced::of(sealed, platform);
        let head = pieces.next(FileOpener::HEAD_BYTES).await?;
        let opener = FileOpener::new(ch, &id, file, head).map_err(damaged)?;
        let cipher = platform.cipher(opener.key().expose()).await?;
        let (mut under_way, mut hashes) = (InOrder::default(), Hashes::new(platform));
        let (mut begun, mut opened) = (0, 0);
        while opened < opener.chunks() {
            let mut next = None;
            if begun < opener.chunks() {
                let range = opener.sealed_range(begun);
                let chunk = pieces.next((range.end - range.start) as usize).await?;
                next = Some(cipher.open(&opener.nonce(begun), chunk));
                begun += 1;
            }
            let Some(text) = under_way.turn(next).await? else { continue };
            let text = text.ok_or(Refusal::NotOpened).and_then(|text| opener.trim(opened, text));
            let text = text.map_err(damaged)?;
            opened += 1;
            if !text.is_empty() {
                hashes.add(&text).await?;
                collector.push(text.into())?;
            }
        }
        opener.check(&hashes.finish().await?).map_err(damaged)?;
        collector.finish()
    }
}

/// The push gate, see [`check_push`].
pub(super) fn may_leave(keys: Option<&Keys>, doc: &ReplicatedDoc) -> Result<(), Refusal> {
    check_push(keys.map(|keys| &keys.channel), &received(doc, &stubs(&doc.attachments)?))
}

/// The line of a stored leaf: what a revision on top of it follows from.
pub(super) fn line(leaf: &StoredLeaf) -> Option<Hash> {
    Some(Envelope::of_stored(&leaf.body).ok()?.line)
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

/// A content in pieces of the lengths that are asked for.
struct Pieced<'a> {
    pieces: Box<dyn Pieces + 'a>,
    platform: &'a dyn Platform,
    /// Read and not handed out yet, from `at` on.
    held: Vec<u8>,
    at: usize,
    given: u32,
}

/// After how many pieces the page gets its turn: some 4 ms of work on such as are chunks.
const PIECES_IN_A_TURN: u32 = 8;

impl<'a> Pieced<'a> {
    fn of(content: &'a Content, platform: &'a dyn Platform) -> Self {
        Self { pieces: content.pieces(), platform, held: Vec::new(), at: 0, given: 0 }
    }

    /// The next `length` bytes; fewer, or none, at the end.
    async fn next(&mut self, length: usize) -> Result<&[u8]> {
        while self.held.len() - self.at < length {
            self.held.drain(..std::mem::take(&mut self.at));
            let before = self.held.len();
            self.pieces.next(&mut self.held).await?;
            if self.held.len() == before {
                break;
            }
        }
        self.given += 1;
        // A read that need not wait gives the page no turn.
        if self.given.is_multiple_of(PIECES_IN_A_TURN) {
            self.platform.sleep(0).await;
        }
        let start = self.at;
        self.at = self.held.len().min(start + length);
        Ok(&self.held[start..self.at])
    }
}

/// Work of the machine's, several pieces of it under way at once, whose results come in the order in which they
/// were begun.
struct InOrder<T>(VecDeque<Pending<'static, T>>);

/// Each has its chunk in the machine's memory.
const AT_ONCE: usize = 8;

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> InOrder<T> {
    /// Takes one more that was begun. Gives the first one's result if enough are under way or no more come.
    async fn turn(&mut self, next: Option<Pending<'static, T>>) -> Result<Option<T>> {
        let waits = next.is_none();
        self.0.extend(next);
        if !waits && self.0.len() < AT_ONCE {
            return Ok(None);
        }
        match self.0.pop_front() {
            Some(first) => first.await.map(Some),
            None => Ok(None),
        }
    }
}

/// The hashes of chunks.
struct Hashes<'a> {
    platform: &'a dyn Platform,
    under_way: InOrder<Hash>,
    made: Vec<Hash>,
}

impl<'a> Hashes<'a> {
    fn new(platform: &'a dyn Platform) -> Self {
        Self { platform, under_way: InOrder::default(), made: Vec::new() }
    }

    async fn add(&mut self, chunk: &[u8]) -> Result<()> {
        let begun = self.platform.sha256(chunk);
        self.made.extend(self.under_way.turn(Some(begun)).await?);
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Hash>> {
        while let Some(hash) = self.under_way.turn(None).await? {
            self.made.push(hash);
        }
        Ok(self.made)
    }
}
