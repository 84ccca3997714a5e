//! A revision, sealed and opened. Sealing is a function: the same edit of the same parent gives the same
//! revision on every device, and the same bytes on the same device.

use super::{
    Channel, Class, Envelope, Epoch, FileEntry, Hash, Lineage, PublicKey, Refusal, Signer, Stub,
    content::{self, Content},
    crypt::{TAG_BYTES, decrypt, encrypt, first, hash, same, sha256},
    envelope::SUITE,
    first_line, line, manifest, next_line, padded_len,
    parts::{enc, enc_list, write_part},
    text::unbase32,
    tree::{self, MOST_STEPS, MOST_TOGETHER, Position, Tree},
};
use crate::model::{Body, Rev, RevId, sort_by};

#[cfg(not(target_arch = "wasm32"))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;

/// What stands around a core inside the ciphertext at least: its length, author, log head, signature, and its
/// place in the tree that was signed. The way to the root comes after it.
const TRAILER_BYTES: usize = 4 + 32 + 32 + 64 + 2 + 2;

/// Who seals.
pub struct Author<'a> {
    /// The device's key.
    pub signer: &'a Signer,
    /// Its public half, so that it is not computed for every document.
    pub public: PublicKey,
}

/// A revision to seal.
pub struct NewRevision<'a> {
    /// The document's id, as its writer knows it.
    pub id: &'a str,
    /// What it is based on, with that revision's line.
    pub parent: Option<(&'a Rev, &'a Hash)>,
    /// Whether it deletes the document. A deletion has a body too; `{}` as a rule.
    pub deleted: bool,
    /// The body: a JSON object as text, without special members. Comes back as it is.
    pub body: &'a str,
    /// Its attachments in the order of their names.
    pub files: &'a [FileEntry],
}

/// A sealed revision: all that is stored and all that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The document's id on a server.
    pub id: String,
    /// The revision.
    pub rev: Rev,
    /// Its line, for its children.
    pub line: Hash,
    /// The body that a server gets: `{"x":{…}}`.
    pub body: Body,
    /// Its attachments as a server shows them, in the order of their names there.
    pub stubs: Vec<Stub>,
}

/// A revision as it came.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    /// `_id`.
    pub id: &'a str,
    /// `_revisions`: the revision, then its ancestors.
    pub path: &'a [Rev],
    /// `_deleted`.
    pub deleted: bool,
    /// `_attachments`, in any order.
    pub stubs: &'a [Stub],
    /// The other members.
    pub body: &'a str,
}

/// A revision that was opened.
pub struct Opened {
    /// The document's true id.
    pub id: String,
    /// The body as its author wrote it.
    pub body: String,
    /// Its attachments in the order of their names.
    pub files: Vec<FileEntry>,
    /// The device that wrote it.
    pub author: PublicKey,
    /// What the author knew of the channel's log.
    pub log_head: Hash,
    /// The revision's line, for its children.
    pub line: Hash,
    /// How far back its history was proved.
    pub lineage: Lineage,
    /// What of its history may be believed: the revision, then its ancestors. What a tree takes; whatever was
    /// claimed beyond it is dropped. Of [`read_revision`], the revision alone.
    pub path: Vec<Rev>,
}

/// A revision that is sealed but for its author's signature, which is made for many at once.
pub struct Prepared {
    epoch: [u8; 16],
    ctx: Hash,
    /// What will be encrypted, as far as it is known: the core after its length.
    text: Vec<u8>,
    leaf: Hash,
    parent: Option<Rev>,
    deleted: bool,
    sealed: Sealed,
}

/// Seals a revision under the channel's current epoch, with a signature of its own.
///
/// Errors: as [`prepare_revision`].
pub fn seal_revision(channel: &Channel, author: &Author, new: &NewRevision) -> Result<Sealed, Refusal> {
    let prepared = prepare_revision(channel, new)?;
    seal_revisions(channel, author, vec![prepared])?.pop().ok_or(Refusal::TooLarge)
}

/// All of sealing that can be done before the signature.
///
/// Errors: `bad_document` (the database could not store it), `unknown_epoch` (no current epoch),
/// `too_large`.
pub fn prepare_revision(channel: &Channel, new: &NewRevision) -> Result<Prepared, Refusal> {
    let form = content::check(new.id, new.body)?;
    prepare(channel, new, channel.remote_id(new.id), &form)
}

/// The same for a body that is known to be one ([`check_body`](crate::model::check_body)) and whose canonical
/// form was made before, as was the id that the channel has for the document.
pub fn prepare_checked(
    channel: &Channel,
    new: &NewRevision,
    remote_id: &str,
    form: &[u8],
) -> Result<Prepared, Refusal> {
    content::check_id(new.id)?;
    prepare(channel, new, remote_id.to_owned(), form)
}

fn prepare(channel: &Channel, new: &NewRevision, id: String, form: &[u8]) -> Result<Prepared, Refusal> {
    let epoch = channel.current()?;
    let manifest = manifest::encode(new.files)?;
    let text = core_text(&[new.id.as_bytes(), new.body.as_bytes(), &manifest]).ok_or(Refusal::TooLarge)?;
    let core = text.get(4..).unwrap_or_default();
    let parent = new.parent.map(|(rev, _)| rev);
    let line = match new.parent {
        None => first_line(channel.ch(), &id),
        Some((rev, line)) => next_line(line, rev),
    };
    let place = Place { id: &id, parent, line: &line, deleted: new.deleted };
    let ctx = place.ctx(channel, epoch);
    let rev = place.rev(epoch, &ctx, new.id, form, &manifest);
    let leaf = leaf(&ctx, &rev.to_string(), core, channel.log_head());
    let (parent, deleted) = (parent.cloned(), new.deleted);
    let stubs = manifest::stubs(new.files);
    let sealed = Sealed { id, rev, line, body: String::new().into(), stubs };
    Ok(Prepared { epoch: epoch.id(), ctx, text, leaf, parent, deleted, sealed })
}

/// A core (`enc` of these parts) after its length, with room for what comes after it. `None` if it is too long.
fn core_text(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let length = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.len())?.checked_add(4))?;
    let most = padded_len(length.checked_add(TRAILER_BYTES + 32 * MOST_STEPS)? as u64);
    let mut text = Vec::with_capacity(usize::try_from(most).ok()?.checked_add(TAG_BYTES)?);
    text.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    write_part(parts, &mut |bytes| text.extend_from_slice(bytes));
    Some(text)
}

/// Signs revisions of one channel together and seals them, in their order.
///
/// Errors: `unknown_epoch` if they were prepared in another channel; `too_large`.
pub fn seal_revisions(
    channel: &Channel,
    author: &Author,
    prepared: Vec<Prepared>,
) -> Result<Vec<Sealed>, Refusal> {
    let mut all = Vec::with_capacity(prepared.len());
    let mut prepared = prepared.into_iter().peekable();
    while prepared.peek().is_some() {
        let together: Vec<Prepared> = prepared.by_ref().take(MOST_TOGETHER).collect();
        let tree = Tree::new(together.iter().map(|one| one.leaf).collect());
        let size = together.len() as u16;
        let root = tree.root().ok_or(Refusal::TooLarge)?;
        let signature = author.signer.sign(&signed(channel, size, &root));
        for (index, one) in (0..size).zip(together) {
            let place = Position { index, size };
            all.push(one.finish(channel, author, &signature, place, &tree)?);
        }
    }
    Ok(all)
}

impl Prepared {
    /// Whether it deletes the document.
    pub fn deleted(&self) -> bool {
        self.deleted
    }

    fn finish(
        self,
        channel: &Channel,
        author: &Author,
        signature: &[u8; 64],
        place: Position,
        tree: &Tree,
    ) -> Result<Sealed, Refusal> {
        let Self { mut text, leaf, mut sealed, .. } = self;
        let epoch = channel.epoch(&self.epoch)?;
        text.extend_from_slice(&author.public);
        text.extend_from_slice(channel.log_head());
        text.extend_from_slice(signature);
        text.extend_from_slice(&place.index.to_be_bytes());
        text.extend_from_slice(&place.size.to_be_bytes());
        tree.way(place.index.into()).for_each(|hash| text.extend_from_slice(hash));
        let whole = usize::try_from(padded_len(text.len() as u64)).map_err(|_| Refusal::TooLarge)?;
        text.resize(whole, 0);

        let nonce = nonce(epoch, &leaf, &author.public, signature, place);
        let aad = aad(&self.ctx, &sealed.rev.to_string(), &sorted(&sealed.stubs));
        encrypt(&epoch.enc, &nonce, &aad, &mut text).ok_or(Refusal::TooLarge)?;
        let (parent, line) = (self.parent, sealed.line);
        sealed.body = Envelope { epoch: self.epoch, parent, line, nonce, ciphertext: text }.into_body();
        Ok(sealed)
    }
}

/// Opens a revision from elsewhere and proves all that can be proved of it, for the pull gate.
///
/// Shape:  `known` gives the line of a revision of this document that was opened here before.
/// Errors: see [`Refusal`]. One for which [`Refusal::may_pass`] holds is worth another try later.
pub fn open_revision(
    channel: &Channel,
    received: &Received,
    known: &dyn Fn(&Rev) -> Option<Hash>,
) -> Result<Opened, Refusal> {
    let Proved { mut opened, parent, leaf, place, way, signature } = prove(channel, received)?;
    let first = first_line(channel.ch(), received.id);
    (opened.lineage, opened.path) = line::check(first, received.path, parent.as_ref(), &opened.line, known)?;
    let message = |size: u16, root: &Hash| signed(channel, size, root);
    if !channel.verified().verify(&opened.author, &signature, (place, leaf, &way), &message) {
        return Err(Refusal::Signature);
    }
    if !channel.authors().contains(&opened.author) {
        return Err(Refusal::UnknownAuthor);
    }
    Ok(opened)
}

/// The push gate: whether this may leave a sealed channel. Opens it as a reader would, except for what only
/// others' revisions need. Without the channel's keys (it is locked) its class and form alone are looked at.
pub fn check_push(channel: Option<&Channel>, received: &Received) -> Result<(), Refusal> {
    match channel {
        Some(channel) => prove(channel, received).map(|_| ()),
        None => {
            sealed_class(received.id)?;
            let envelope = Envelope::parse(received.body)?;
            let sealed = |stub: &Stub| stub.content_type == manifest::SEALED_TYPE && is_opaque(&stub.name);
            if envelope.ciphertext.len() < TRAILER_BYTES || !received.stubs.iter().all(sealed) {
                return Err(Refusal::Malformed);
            }
            Ok(())
        }
    }
}

/// Opens a revision that lies in this device's own database, where it came through [`open_revision`] or
/// [`seal_revision`]: its seal is checked, not once more its history and signature.
pub fn read_revision(channel: &Channel, received: &Received) -> Result<Opened, Refusal> {
    read_envelope(channel, received, Envelope::parse(received.body)?)
}

/// The same where the envelope of its body was taken apart.
pub fn read_envelope(channel: &Channel, received: &Received, envelope: Envelope) -> Result<Opened, Refusal> {
    let rev = received.path.first().ok_or(Refusal::Malformed)?;
    let epoch = channel.epoch(&envelope.epoch)?;
    let ctx = Place::of(received.id, &envelope, received.deleted).ctx(channel, epoch);
    let (rev_text, text) = (rev.to_string(), envelope.ciphertext);
    let text = decrypted(epoch, &ctx, &rev_text, received.stubs, &envelope.nonce, text)?;
    let trailer = Trailer::read(&text)?;
    Ok(trailer.opened(content::split(trailer.core)?, envelope.line, rev))
}

/// What was opened, its parent, and where its leaf stands in the tree that this signature has to be of.
struct Proved {
    opened: Opened,
    parent: Option<Rev>,
    leaf: Hash,
    place: Position,
    way: Vec<Hash>,
    signature: [u8; 64],
}

/// All that can be proved without the document's tree and the channel's log.
fn prove(channel: &Channel, received: &Received) -> Result<Proved, Refusal> {
    sealed_class(received.id)?;
    let mut envelope = Envelope::parse(received.body)?;
    let rev = received.path.first().ok_or(Refusal::Malformed)?;
    if envelope.generation() != rev.generation {
        return Err(Refusal::History);
    }
    let epoch = channel.epoch(&envelope.epoch)?;
    let place = Place::of(received.id, &envelope, received.deleted);
    let ctx = place.ctx(channel, epoch);
    let rev_text = rev.to_string();
    let text = std::mem::take(&mut envelope.ciphertext);
    let text = decrypted(epoch, &ctx, &rev_text, received.stubs, &envelope.nonce, text)?;
    let trailer = Trailer::read(&text)?;
    let leaf = leaf(&ctx, &rev_text, trailer.core, &trailer.log_head);
    // Poly1305 opens under more than one key for somebody who chose the keys; this MAC does not.
    let nonce = nonce(epoch, &leaf, &trailer.author, &trailer.signature, trailer.place);
    if !same(&nonce, &envelope.nonce) {
        return Err(Refusal::NotOpened);
    }
    let (content, body_form, manifest) = content::decode(trailer.core)?;
    let place = Place::of(received.id, &envelope, received.deleted);
    if place.rev(epoch, &ctx, &content.id, &body_form, &manifest) != *rev {
        return Err(Refusal::Revision);
    }
    if channel.remote_id(&content.id) != received.id {
        return Err(Refusal::Id);
    }
    let is_later = |file: &FileEntry| file.revpos > rev.generation;
    if !manifest::fits(&content.files, &sorted(received.stubs)) || content.files.iter().any(is_later) {
        return Err(Refusal::Attachments);
    }
    let opened = trailer.opened(content, envelope.line, rev);
    let Trailer { place, way, signature, .. } = trailer;
    Ok(Proved { opened, parent: envelope.parent, leaf, place, way, signature })
}

fn sealed_class(id: &str) -> Result<(), Refusal> {
    if Class::of(id)? == Class::Sealed { Ok(()) } else { Err(Refusal::ForeignId) }
}

fn is_opaque(name: &str) -> bool {
    unbase32(name).is_some_and(|bytes| bytes.len() == 16)
}

/// Where a revision stands: all that a server sees of it, apart from times and lengths.
struct Place<'a> {
    id: &'a str,
    parent: Option<&'a Rev>,
    line: &'a Hash,
    deleted: bool,
}

impl<'a> Place<'a> {
    fn of(id: &'a str, envelope: &'a Envelope, deleted: bool) -> Self {
        Self { id, parent: envelope.parent.as_ref(), line: &envelope.line, deleted }
    }

    fn generation(&self) -> u64 {
        self.parent.map_or(0, |parent| parent.generation) + 1
    }

    fn ctx(&self, channel: &Channel, epoch: &Epoch) -> Hash {
        hash(&[
            b"ctx",
            channel.ch(),
            &[SUITE],
            &epoch.id(),
            self.id.as_bytes(),
            &self.generation().to_be_bytes(),
            self.parent.map(Rev::to_string).unwrap_or_default().as_bytes(),
            self.line,
            &[u8::from(self.deleted)],
        ])
    }

    /// Made of the place and of what was meant, not of who wrote it or how: two devices that make the same
    /// edit make the same revision.
    fn rev(&self, epoch: &Epoch, ctx: &Hash, id: &str, body_form: &[u8], manifest: &[u8]) -> Rev {
        let id = epoch.rev.mac(&[b"rev", ctx, id.as_bytes(), body_form, manifest]);
        Rev { generation: self.generation(), id: RevId::Hash(first(&id)) }
    }
}

/// What is signed of a revision: everything of it.
fn leaf(ctx: &Hash, rev: &str, core: &[u8], log_head: &Hash) -> Hash {
    tree::leaf(&enc(&[b"doc", ctx, rev.as_bytes(), &sha256(core), log_head]))
}

/// The message that the author signs for all leaves of a tree.
fn signed(channel: &Channel, size: u16, root: &Hash) -> Vec<u8> {
    enc(&[b"docs", channel.ch(), &size.to_be_bytes(), root])
}

/// Made of all that is encrypted: the leaf stands for the core, the signature for the way.
fn nonce(epoch: &Epoch, leaf: &Hash, author: &PublicKey, signature: &[u8; 64], place: Position) -> [u8; 24] {
    let (index, size) = (place.index.to_be_bytes(), place.size.to_be_bytes());
    first(&epoch.nonce.mac(&[b"nonce", leaf, author, signature, &index, &size]))
}

fn aad(ctx: &Hash, rev: &str, stubs: &[&Stub]) -> Vec<u8> {
    let names: Vec<&str> = stubs.iter().map(|stub| stub.name.as_str()).collect();
    enc(&[ctx, rev.as_bytes(), &enc_list(&names)])
}

fn sorted(stubs: &[Stub]) -> Vec<&Stub> {
    let mut stubs: Vec<&Stub> = stubs.iter().collect();
    sort_by(&mut stubs, |a, b| a.name.cmp(&b.name));
    stubs
}

/// Opens a ciphertext in place.
fn decrypted(
    epoch: &Epoch,
    ctx: &Hash,
    rev: &str,
    stubs: &[Stub],
    nonce: &[u8; 24],
    mut text: Vec<u8>,
) -> Result<Vec<u8>, Refusal> {
    let aad = aad(ctx, rev, &sorted(stubs));
    decrypt(&epoch.enc, nonce, &aad, &mut text).ok_or(Refusal::NotOpened)?;
    Ok(text)
}

/// What was decrypted, in its parts.
struct Trailer<'a> {
    core: &'a [u8],
    author: PublicKey,
    log_head: Hash,
    signature: [u8; 64],
    place: Position,
    way: Vec<Hash>,
}

impl<'a> Trailer<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Refusal> {
        let read = || {
            let (length, rest) = text.split_first_chunk::<4>()?;
            let (core, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            let (author, rest) = rest.split_first_chunk::<32>()?;
            let (log_head, rest) = rest.split_first_chunk::<32>()?;
            let (signature, rest) = rest.split_first_chunk::<64>()?;
            let (index, rest) = rest.split_first_chunk::<2>()?;
            let (size, rest) = rest.split_first_chunk::<2>()?;
            let place = Position::new(u16::from_be_bytes(*index), u16::from_be_bytes(*size))?;
            let (way, rest) = rest.split_at_checked(32 * place.steps())?;
            let (way, _) = way.as_chunks::<32>();
            let is_filled = rest.iter().all(|byte| *byte == 0);
            let length = core.len() + TRAILER_BYTES + 32 * way.len();
            let fits = padded_len(length as u64) == text.len() as u64;
            let (author, log_head, signature) = (*author, *log_head, *signature);
            let parts = Self { core, author, log_head, signature, place, way: way.to_vec() };
            (is_filled && fits).then_some(parts)
        };
        read().ok_or(Refusal::Malformed)
    }

    fn opened(&self, content: Content, line: Hash, rev: &Rev) -> Opened {
        Opened {
            id: content.id,
            body: content.body,
            files: content.files,
            author: self.author,
            log_head: self.log_head,
            line,
            lineage: Lineage::Proved,
            path: vec![rev.clone()],
        }
    }
}
