//! What only somebody with a channel's keys can make of a document: a member, faulty or hostile.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::seal::{Key, Vault};

type Change<'a> = &'a dyn Fn(&mut Forged);

/// A document as it is about to be encrypted.
struct Forged {
    /// The document's true id.
    id: String,
    core: Vec<u8>,
    rev: Option<Rev>,
    /// Behind the core, the author and so on: what fills the text up.
    more: Vec<u8>,
    nonce: u8,
    stubs: Vec<Stub>,
}

fn refusal(change: Change) -> Option<Refusal> {
    let entropy = |bytes: &mut [u8]| bytes.fill(3);
    let (vault, _) = Vault::create(&entropy);
    let channel = vault.open_channel(None, &vault.create_channel(&entropy).unwrap()).unwrap().channel;
    let (author, epoch) = (vault.author(), channel.current().unwrap());
    let mut forged = Forged {
        id: "n".to_owned(),
        core: enc(&[b"n", br#"{"a":1}"#, b""]),
        rev: None,
        more: Vec::new(),
        nonce: 0,
        stubs: Vec::new(),
    };
    change(&mut forged);
    let Forged { id, core, rev, more, nonce: other, stubs } = forged;
    let remote = channel.remote_id(&id);
    let line = first_line(channel.ch(), &remote);
    let place = Place { id: &remote, parent: None, line: &line, deleted: false };
    let ctx = place.ctx(&channel, epoch);
    let own = || {
        let (content, form, manifest) = content::decode(&core).ok()?;
        Some(place.rev(epoch, &ctx, &content.id, &form, &manifest))
    };
    let rev = rev.or_else(own).unwrap_or(Rev { generation: 1, id: RevId::Hash([1; 16]) });
    let leaf = leaf(&ctx, &rev.to_string(), &core, channel.log_head());
    let signature = author.signer.sign(&signed(&channel, 1, &leaf));
    let position = Position { index: 0, size: 1 };
    let mut nonce = nonce(epoch, &leaf, &author.public, &signature, position);
    nonce[0] ^= other;
    let length = (core.len() as u32).to_be_bytes();
    let mut text =
        [&length[..], &core, &author.public, channel.log_head(), &signature, &[0, 0, 0, 1]].concat();
    let whole = padded_len(text.len() as u64) as usize;
    text.extend_from_slice(&more);
    text.resize(whole.max(text.len()), 0);
    let aad = aad(&ctx, &rev.to_string(), &sorted(&stubs));
    encrypt(&epoch.enc, &nonce, &aad, &mut text).unwrap();
    let body = Envelope { epoch: epoch.id(), parent: None, line, nonce, ciphertext: text }.into_body();
    let path = [rev];
    let received = Received { id: &remote, path: &path, deleted: false, stubs: &stubs, body: &body };
    open_revision(&channel, &received, &|_| None).err()
}

#[test]
fn a_member_seals_nothing_that_is_not_what_it_says() {
    assert_eq!(refusal(&|_| {}), None);
    assert_eq!(refusal(&|forged| forged.nonce = 1), Some(Refusal::NotOpened));
    let other = Rev { generation: 1, id: RevId::Hash([1; 16]) };
    assert_eq!(refusal(&|forged| forged.rev = Some(other.clone())), Some(Refusal::Revision));
    assert_eq!(refusal(&|forged| forged.id = "m".to_owned()), Some(Refusal::Id));
    let later = Rev { generation: 2, ..other.clone() };
    assert_eq!(refusal(&|forged| forged.rev = Some(later.clone())), Some(Refusal::History));
    let stub = Stub {
        name: "a".repeat(26),
        content_type: manifest::SEALED_TYPE.to_owned(),
        revpos: 1,
        length: 1056,
        digest: crate::model::Digest([1; 16]),
    };
    assert_eq!(refusal(&|forged| forged.stubs.push(stub.clone())), Some(Refusal::Attachments));
}

#[test]
fn a_member_fills_up_with_zeros_and_no_further() {
    assert_eq!(refusal(&|forged| forged.more = vec![0; 500]), None);
    assert_eq!(refusal(&|forged| forged.more = vec![0, 1]), Some(Refusal::Malformed));
    assert_eq!(refusal(&|forged| forged.more = vec![0; 2000]), Some(Refusal::Malformed));
}

#[test]
fn a_member_seals_nothing_that_could_not_be_stored() {
    let core = |parts: &[&[u8]]| refusal(&|forged| forged.core = enc(parts));
    assert_eq!(core(&[b"n", b"{}", b""]), None);
    assert_eq!(core(&[b"n", b"{}", b"", b""]), Some(Refusal::Malformed));
    assert_eq!(core(&[b"n", b"{}"]), Some(Refusal::Malformed));
    assert_eq!(core(&[b"n", b"{}", b"x"]), Some(Refusal::Malformed));
    for (id, body) in
        [("n", "[]"), ("n", r#"{"_id":"n"}"#), ("n", r#"{"a":1,"a":1}"#), ("_n", "{}"), ("_local/n", "{}")]
    {
        assert_eq!(core(&[id.as_bytes(), body.as_bytes(), b""]), Some(Refusal::BadDocument), "{id} {body}");
    }
}

#[test]
fn a_member_has_one_way_of_writing_a_manifest() {
    let file = |name: &str, opaque: u8| FileEntry {
        name: name.to_owned(),
        content_type: "t".to_owned(),
        opaque: [opaque; 16],
        key: Key::new([6; 32]),
        hash: [7; 32],
        digest: crate::model::Digest([8; 16]),
        sealed_digest: crate::model::Digest([9; 16]),
        length: 5,
        revpos: 1,
    };
    let refused = |files: &[FileEntry], change: &dyn Fn(&mut Vec<u8>)| {
        let mut entries: Vec<Vec<u8>> = files
            .iter()
            .map(|file| {
                let whole = manifest::encode(std::slice::from_ref(file)).unwrap();
                whole[4..].to_vec()
            })
            .collect();
        entries.last_mut().into_iter().for_each(change);
        let core = enc(&[b"n", b"{}", &enc_list(&entries)]);
        refusal(&|forged| {
            forged.core = core.clone();
            forged.stubs = manifest::stubs(files);
        })
    };
    let (a, b) = (file("a", 1), file("b", 2));
    assert_eq!(refused(&[a.clone(), b.clone()], &|_| {}), None);
    assert_eq!(refused(&[b.clone(), a.clone()], &|_| {}), Some(Refusal::BadDocument));
    assert_eq!(refused(&[a.clone(), a.clone()], &|_| {}), Some(Refusal::BadDocument));
    assert_eq!(refused(&[a.clone(), file("b", 1)], &|_| {}), Some(Refusal::BadDocument));
    assert_eq!(
        refused(std::slice::from_ref(&a), &|entry| entry.extend_from_slice(&[0; 4])),
        Some(Refusal::Malformed)
    );
    assert_eq!(
        refused(std::slice::from_ref(&a), &|entry| entry.truncate(entry.len() - 12)),
        Some(Refusal::Malformed)
    );
    let revpos = |entry: &mut Vec<u8>| *entry.last_mut().unwrap() = 0;
    assert_eq!(refused(std::slice::from_ref(&a), &revpos), Some(Refusal::BadDocument));
    // Nine parts: the length stands before the last one.
    let long = |entry: &mut Vec<u8>| {
        let at = entry.len() - 20;
        entry[at] = 4;
    };
    assert_eq!(refused(&[a], &long), Some(Refusal::BadDocument));
}
