//! For the fuzz target of what is decrypted: any text as that of a document. Not in the wasm build.
#![allow(clippy::expect_used)]

use super::*;

/// A document of this channel whose text is this one, named, signed and numbered as it has to be, where it says
/// enough for that: then also whether it has to open.
pub(in super::super) fn sealed_text(channel: &Channel, signer: &Signer, text: &[u8]) -> (Sealed, bool) {
    let epoch = channel.current().expect("a channel that seals");
    let read = Trailer::read(text).and_then(|trailer| Ok((content::decode(trailer.core)?, trailer)));
    let (id, files) = match &read {
        Ok(((content, ..), _)) => (content.id.as_str(), &content.files[..]),
        Err(_) => ("", &[][..]),
    };
    let (remote_id, stubs) = (channel.remote_id(id), manifest::stubs(files));
    let line = first_line(channel.ch(), &remote_id);
    let place = Place { id: &remote_id, parent: None, line: &line, deleted: false };
    let ctx = place.ctx(channel, epoch);
    let is_open = read.is_ok() && files.iter().all(|file| file.revpos == 1);
    let mut rev = Rev { generation: 1, id: RevId::Hash([0; 16]) };
    let (mut text, mut own) = (text.to_vec(), [0; 24]);
    if let Ok(((_, body_form, manifest), trailer)) = &read {
        rev = place.rev(epoch, &ctx, id, body_form, manifest);
        let leaf = leaf(&ctx, &rev.to_string(), trailer.core, &trailer.log_head);
        let root = trailer.place.root(leaf, &trailer.way).expect("as many steps as its place has");
        let (author, signature) = (signer.public(), signer.sign(&signed(channel, trailer.place.size, &root)));
        own = nonce(epoch, &leaf, &author, &signature, trailer.place);
        assert_eq!(written(trailer, &trailer.author, &trailer.signature), text);
        text = written(trailer, &author, &signature);
    }
    let aad = aad(&ctx, &rev.to_string(), &sorted(&stubs));
    encrypt(&epoch.enc, &own, &aad, &mut text).expect("it is short");
    let body = Envelope { epoch: epoch.id(), parent: None, line, nonce: own, ciphertext: text }.into_body();
    (Sealed { id: remote_id, rev, line, body, stubs }, is_open)
}

/// A text as `Prepared::finish` would write it.
fn written(trailer: &Trailer, author: &PublicKey, signature: &[u8; 64]) -> Vec<u8> {
    let Trailer { core, log_head, place: Position { index, size }, way, .. } = trailer;
    let length = u32::try_from(core.len()).expect("it is short").to_be_bytes();
    let (index, size, way) = (index.to_be_bytes(), size.to_be_bytes(), way.concat());
    let mut text = [&length[..], core, author, log_head, signature, &index, &size, &way].concat();
    text.resize(padded_len(text.len() as u64) as usize, 0);
    text
}

/// What was encrypted of a document.
pub(in super::super) fn text_of(channel: &Channel, sealed: &Sealed) -> Vec<u8> {
    let envelope = Envelope::parse(&sealed.body).expect("it was sealed");
    let epoch = channel.epoch(&envelope.epoch).expect("a channel that seals");
    let ctx = Place::of(&sealed.id, &envelope, false).ctx(channel, epoch);
    let (rev, text) = (sealed.rev.to_string(), envelope.ciphertext);
    decrypted(epoch, &ctx, &rev, &sealed.stubs, &envelope.nonce, text).expect("it was sealed")
}
