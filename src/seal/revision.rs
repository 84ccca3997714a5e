//! A revision, sealed and opened. Sealing is a function: the same edit of the same parent gives the same
//! revision on every device, and the same bytes on the same device.

use super::{
    Channel, Class, Envelope, Epoch, FileEntry, Hash, Lineage, PublicKey, Refusal, Signer, Stub,
    content::{self, Content},
    crypt::{decrypt, encrypt, first, mac, same, sha256},
    envelope::SUITE,
    first_line, line, manifest, next_line, padded_len,
    parts::{enc, enc_list},
    signer::verify,
    text::unbase32,
};
use crate::model::{Rev, RevId, sort_by};

/// What stands around a core inside the ciphertext: its length, author, log head, signature.
const TRAILER_BYTES: usize = 4 + 32 + 32 + 64;

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
    pub body: String,
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

/// Seals a revision under the channel's current epoch.
///
/// Errors: `bad_document` (the database could not store it), `unknown_epoch` (no current epoch),
/// `too_large`.
pub fn seal_revision(channel: &Channel, author: &Author, new: &NewRevision) -> Result<Sealed, Refusal> {
    let epoch = channel.current()?;
    let id = channel.remote_id(new.id);
    let forms = content::encode(new.id, new.body, new.files)?;
    let parent = new.parent.map(|(rev, _)| rev);
    let line = match new.parent {
        None => first_line(channel.ch(), &id),
        Some((rev, line)) => next_line(line, rev),
    };
    let place = Place { id: &id, parent, line: &line, deleted: new.deleted };
    let ctx = place.ctx(channel, epoch);
    let rev = place.rev(epoch, &ctx, new.id, &forms.body_form, &forms.manifest);
    let rev_text = rev.to_string();
    let signature = author.signer.sign(&signed(&ctx, &rev_text, &forms.core, channel.log_head()));

    let core_length = u32::try_from(forms.core.len()).map_err(|_| Refusal::TooLarge)?;
    let whole = padded_len((forms.core.len() + TRAILER_BYTES) as u64);
    let whole = usize::try_from(whole).map_err(|_| Refusal::TooLarge)?;
    let mut text = Vec::with_capacity(whole + 16);
    text.extend_from_slice(&core_length.to_be_bytes());
    text.extend_from_slice(&forms.core);
    text.extend_from_slice(&author.public);
    text.extend_from_slice(channel.log_head());
    text.extend_from_slice(&signature);
    text.resize(whole, 0);

    let stubs = manifest::stubs(new.files);
    let nonce = nonce(epoch, &ctx, &rev_text, &text);
    let aad = aad(&ctx, &rev_text, &sorted(&stubs));
    encrypt(&epoch.enc, &nonce, &aad, &mut text).ok_or(Refusal::TooLarge)?;
    let envelope = Envelope { epoch: epoch.id(), parent: parent.cloned(), line, nonce, ciphertext: text };
    Ok(Sealed { body: envelope.to_json(), id, rev, line, stubs })
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
    let (mut opened, envelope, message, signature) = prove(channel, received)?;
    let first = first_line(channel.ch(), received.id);
    let parent = envelope.parent.as_ref();
    (opened.lineage, opened.path) = line::check(first, received.path, parent, &envelope.line, known)?;
    if !verify(&opened.author, &message, &signature) {
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
    let envelope = Envelope::parse(received.body)?;
    let rev = received.path.first().ok_or(Refusal::Malformed)?;
    let epoch = channel.epoch(&envelope.epoch)?;
    let ctx = Place::of(received.id, &envelope, received.deleted).ctx(channel, epoch);
    let (line, text) = (envelope.line, decrypted(epoch, &ctx, rev, received.stubs, envelope)?);
    let trailer = Trailer::read(&text)?;
    Ok(trailer.opened(content::split(trailer.core)?, line, rev))
}

type Proved = (Opened, Envelope, Vec<u8>, [u8; 64]);

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
    let ciphertext = std::mem::take(&mut envelope.ciphertext);
    let text = decrypted(epoch, &ctx, rev, received.stubs, Envelope { ciphertext, ..envelope.clone() })?;
    let rev_text = rev.to_string();
    // Poly1305 opens under more than one key for somebody who chose the keys; this MAC does not.
    if !same(&nonce(epoch, &ctx, &rev_text, &text), &envelope.nonce) {
        return Err(Refusal::NotOpened);
    }
    let trailer = Trailer::read(&text)?;
    let (content, body_form, manifest) = content::decode(trailer.core)?;
    let place = Place::of(received.id, &envelope, received.deleted);
    if place.rev(epoch, &ctx, &content.id, &body_form, &manifest) != *rev {
        return Err(Refusal::Revision);
    }
    if channel.remote_id(&content.id) != received.id {
        return Err(Refusal::Id);
    }
    let shown = sorted(received.stubs);
    let is_later = |file: &FileEntry| file.revpos > rev.generation;
    if !shown.into_iter().eq(&manifest::stubs(&content.files)) || content.files.iter().any(is_later) {
        return Err(Refusal::Attachments);
    }
    let message = signed(&ctx, &rev_text, trailer.core, &trailer.log_head);
    let signature = trailer.signature;
    Ok((trailer.opened(content, envelope.line, rev), envelope, message, signature))
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

    fn ctx(&self, channel: &Channel, epoch: &Epoch) -> Vec<u8> {
        enc(&[
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
    fn rev(&self, epoch: &Epoch, ctx: &[u8], id: &str, body_form: &[u8], manifest: &[u8]) -> Rev {
        let id = mac(&epoch.rev, &[b"rev", ctx, id.as_bytes(), body_form, manifest]);
        Rev { generation: self.generation(), id: RevId::Hash(first(&id)) }
    }
}

fn nonce(epoch: &Epoch, ctx: &[u8], rev: &str, text: &[u8]) -> [u8; 24] {
    first(&mac(&epoch.nonce, &[b"nonce", ctx, rev.as_bytes(), text]))
}

fn aad(ctx: &[u8], rev: &str, stubs: &[&Stub]) -> Vec<u8> {
    let names: Vec<&str> = stubs.iter().map(|stub| stub.name.as_str()).collect();
    enc(&[ctx, rev.as_bytes(), &enc_list(&names)])
}

fn signed(ctx: &[u8], rev: &str, core: &[u8], log_head: &Hash) -> Vec<u8> {
    enc(&[b"doc", ctx, rev.as_bytes(), &sha256(core), log_head])
}

fn sorted(stubs: &[Stub]) -> Vec<&Stub> {
    let mut stubs: Vec<&Stub> = stubs.iter().collect();
    sort_by(&mut stubs, |a, b| a.name.cmp(&b.name));
    stubs
}

/// Opens the ciphertext in place.
fn decrypted(
    epoch: &Epoch,
    ctx: &[u8],
    rev: &Rev,
    stubs: &[Stub],
    envelope: Envelope,
) -> Result<Vec<u8>, Refusal> {
    let aad = aad(ctx, &rev.to_string(), &sorted(stubs));
    let mut text = envelope.ciphertext;
    decrypt(&epoch.enc, &envelope.nonce, &aad, &mut text).ok_or(Refusal::NotOpened)?;
    Ok(text)
}

/// What was decrypted, in its parts.
struct Trailer<'a> {
    core: &'a [u8],
    author: PublicKey,
    log_head: Hash,
    signature: [u8; 64],
}

impl<'a> Trailer<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Refusal> {
        let read = || {
            let (length, rest) = text.split_first_chunk::<4>()?;
            let (core, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            let (author, rest) = rest.split_first_chunk::<32>()?;
            let (log_head, rest) = rest.split_first_chunk::<32>()?;
            let (signature, rest) = rest.split_first_chunk::<64>()?;
            let is_filled = rest.iter().all(|byte| *byte == 0);
            let fits = padded_len((core.len() + TRAILER_BYTES) as u64) == text.len() as u64;
            let parts = Self { core, author: *author, log_head: *log_head, signature: *signature };
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
