//! What is handed in from outside, taken by every parser here: functions of bytes that panic if one of them
//! does, or if what it accepts is not what it would write. Not in the wasm build. The short run is
//! `tests/native_fuzz.rs`, the long one `fuzz/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{
    Author, Channel, Class, Cost, Entry, Envelope, Epoch, FileEntry, FileOpener, FileSealer, Key, KeyRecord,
    NewRevision, PassphraseLock, PlainFile, Received, RecoveryCode, Signer, Vault, content, file,
    json::Members,
    log::{reencoded, signed_entry},
    manifest, open_revision,
    parts::{Parts, enc},
    prepare_revision, read_log_doc, read_revision,
    revision::fuzz::{sealed_text, text_of},
    seal_revisions,
    text::{base32, base64url, unbase32, unbase64url},
};
use crate::model::{BINARY_END, Body, Digest, Rev};

/// A parser, what is known to be good for it, and its function.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Inputs that get past its checks.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// All parsers of this module.
pub const TARGETS: &[Target] = &[
    Target { name: "envelope", seeds: envelopes, run: envelope },
    Target { name: "json", seeds: envelopes, run: json },
    Target { name: "text", seeds: texts, run: text },
    Target { name: "class", seeds: ids, run: class },
    Target { name: "revision", seeds: revisions, run: revision },
    Target { name: "entry", seeds: entries, run: entry },
    Target { name: "log-doc", seeds: log_docs, run: log_doc },
    Target { name: "key-record", seeds: key_records, run: key_record },
    Target { name: "vault", seeds: vaults, run: vault },
    Target { name: "code", seeds: codes, run: code },
    Target { name: "manifest", seeds: manifests, run: manifest_ },
    Target { name: "core", seeds: cores, run: core },
    Target { name: "opened", seeds: opened_texts, run: opened },
    Target { name: "stream", seeds: streams, run: stream },
    Target { name: "ranges", seeds: ranges_seeds, run: ranges },
    Target { name: "local", seeds: locals, run: local },
];

const CH: [u8; 32] = [5; 32];

fn entropy(bytes: &mut [u8]) {
    bytes.fill(3);
}

fn channel() -> Channel {
    let epoch = Epoch::new(&CH, 1, Key::new([1; 32]));
    let current = Some(epoch.id());
    Channel::new(CH, Key::new([2; 32]), vec![epoch], current, [0; 32], vec![signer().public()])
}

fn signer() -> Signer {
    Signer::new(&Key::new([3; 32]))
}

fn str_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn envelopes() -> Vec<Vec<u8>> {
    let one = |parent: Option<&str>, length: usize| {
        let parent = parent.map(|rev| rev.parse().unwrap());
        let envelope = Envelope {
            epoch: [9; 16],
            parent,
            line: [8; 32],
            nonce: [7; 24],
            ciphertext: vec![0xa5; length],
        };
        envelope.into_body().into_text().into_bytes()
    };
    vec![
        one(None, 200),
        one(Some("12-0123456789abcdef0123456789abcdef"), 40),
        br#" { "x" : {"c":"" ,"p":"", "v":1,"s":1} , "y":{} } "#.to_vec(),
    ]
}

fn envelope(bytes: &[u8]) {
    // However it was taken apart to be stored, it is what its text is.
    let parts = str_of(bytes).and_then(|text| text.strip_suffix(BINARY_END)?.rsplit_once('"'));
    if let Some((head, code)) = parts.and_then(|(head, code)| Some((head, unbase64url(code)?))) {
        let body = Body::binary(format!("{head}\""), code);
        assert_eq!(Envelope::of_stored(&body), Envelope::parse(&body));
    }
    let Some(Ok(envelope)) = str_of(bytes).map(Envelope::parse) else { return };
    assert!(envelope.generation() > 0 && envelope.ciphertext.len() <= bytes.len());
    let body = envelope.clone().into_body();
    assert_eq!(Envelope::of_stored(&body).as_ref(), Ok(&envelope));
    assert_eq!(Envelope::parse(&body).as_ref(), Ok(&envelope));
}

fn json(bytes: &[u8]) {
    let Some(text) = str_of(bytes) else { return };
    if let Ok(mut members) = Members::parse(text) {
        // Whoever else reads it reads the same.
        let other: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        for (name, value) in &other {
            assert!(members.has(name));
            match value {
                serde_json::Value::String(text) => assert_eq!(members.text(name), Ok(text.as_str())),
                serde_json::Value::Number(number) => assert_eq!(members.number(name).ok(), number.as_u64()),
                serde_json::Value::Object(_) => assert!(members.object(name).is_ok()),
                _ => panic!("{name}"),
            }
        }
        assert_eq!(members.end(), Ok(()));
    }
}

fn texts() -> Vec<Vec<u8>> {
    [base32(&[7; 16]), base32(&[1, 2, 3]), base64url(&[9; 24]), base64url(&[1])]
        .map(String::into_bytes)
        .into()
}

fn text(bytes: &[u8]) {
    let Some(text) = str_of(bytes) else { return };
    if let Some(read) = unbase32(text) {
        assert_eq!(base32(&read), text);
    }
    if let Some(read) = unbase64url(text) {
        assert_eq!(base64url(&read), text);
    }
}

fn ids() -> Vec<Vec<u8>> {
    vec![
        channel().remote_id("a").into_bytes(),
        format!("k-{}", base32(&CH)).into_bytes(),
        b"_design/guard".to_vec(),
    ]
}

fn class(bytes: &[u8]) {
    let Some(Ok(class)) = str_of(bytes).map(Class::of) else { return };
    let written = match class {
        Class::Sealed => format!("e-{}", base32(&unbase32(&str_of(bytes).unwrap()[2..]).unwrap())),
        Class::Log(hash) => super::id::log_id(&hash),
        Class::Guard => super::GUARD_ID.to_owned(),
    };
    assert_eq!(written.as_bytes(), bytes);
}

fn revisions() -> Vec<Vec<u8>> {
    ["1-0123456789abcdef0123456789abcdef", "999999999999999-x y", "0-1", "7-"].map(|text| text.into()).into()
}

fn revision(bytes: &[u8]) {
    let Some(Ok(rev)) = str_of(bytes).map(str::parse::<Rev>) else { return };
    assert!(rev.generation > 0 && rev.generation < 1_000_000_000_000_000);
    assert_eq!(rev.to_string().parse::<Rev>().unwrap(), rev);
}

fn entries() -> Vec<Vec<u8>> {
    let (vault, _) = Vault::create(&entropy);
    let log = vault.create_channel(&entropy).unwrap();
    let replay = vault.open_channel(None, &log).unwrap();
    let epoch = vault.rotate(&replay, &entropy).unwrap();
    log.iter().chain([&epoch]).map(|entry| Parts(&entry.to_bytes()).next().unwrap().to_vec()).collect()
}

/// An entry's bytes, signed by whoever it names if that is the one whose key is known here.
fn entry(bytes: &[u8]) {
    let Some(entry) = signed_entry(bytes, &signer()) else { return };
    assert_eq!(Entry::from_bytes(&entry.to_bytes()).as_ref(), Some(&entry));
    let doc = entry.to_doc();
    assert_eq!(read_log_doc(&doc.id, &doc.rev, &doc.body), Ok(entry.clone()));
    if let Some((op, payload)) = reencoded(&entry) {
        let mut parts = Parts(bytes);
        let read: Vec<&[u8]> = std::iter::from_fn(|| parts.next()).collect();
        assert_eq!(read.last_chunk(), Some(&[op.as_bytes(), &payload]));
    }
}

fn log_docs() -> Vec<Vec<u8>> {
    let (vault, _) = Vault::create(&entropy);
    let log = vault.create_channel(&entropy).unwrap();
    let doc = |entry: &Entry| entry.to_doc();
    log.iter().map(doc).map(|doc| format!("{}\n{}\n{}", doc.id, doc.rev, doc.body).into_bytes()).collect()
}

fn log_doc(bytes: &[u8]) {
    let mut lines = str_of(bytes).unwrap_or_default().splitn(3, '\n');
    let (Some(id), Some(rev), Some(body)) = (lines.next(), lines.next(), lines.next()) else { return };
    let Ok(rev) = rev.parse::<Rev>() else { return };
    if let Ok(entry) = read_log_doc(id, &rev, body) {
        let doc = entry.to_doc();
        assert_eq!((doc.id.as_str(), &doc.rev), (id, &rev));
        assert_eq!(read_log_doc(id, &rev, &doc.body), Ok(entry));
    }
}

fn key_records() -> Vec<Vec<u8>> {
    let (vault, code) = Vault::create(&entropy);
    let (mut record, unlocked) = KeyRecord::new(vault, &code, &entropy);
    let first = record.to_bytes();
    record.set_device(&unlocked, &entropy);
    let lock = PassphraseLock { salt: [1; 16], cost: Cost::FLOOR };
    record.set_passphrase(&unlocked, &lock, &Key::new([4; 32])).unwrap();
    vec![first, record.to_bytes()]
}

fn key_record(bytes: &[u8]) {
    let Ok(record) = KeyRecord::from_bytes(bytes) else { return };
    assert_eq!(record.to_bytes(), bytes);
    if let Ok(lock) = record.passphrase_lock() {
        assert!(lock.cost.memory_kib >= 64 * 1024 && lock.cost.passes >= 3);
        assert!(lock.cost.memory_kib <= 1024 * 1024 && lock.cost.passes <= 16);
    }
    let _ = record.unlock_with_passphrase(&Key::new([4; 32]));
    let _ = record.unlock_with_device(&Key::new([3; 32]));
}

fn vaults() -> Vec<Vec<u8>> {
    let (mut vault, code) = Vault::create(&entropy);
    let first = vault.to_bytes().to_vec();
    let log = vault.create_channel(&entropy).unwrap();
    let pin = vault.open_channel(None, &log).unwrap().pin;
    vault.remember(pin);
    let _ = vault.rotate_user_key(&code, &entropy);
    vec![first, vault.to_bytes().to_vec()]
}

fn vault(bytes: &[u8]) {
    let Some(vault) = Vault::from_bytes(bytes) else { return };
    // What does not count is left out, so the first writing may differ; the next one may not.
    let written = vault.to_bytes();
    let again = Vault::from_bytes(&written).expect("what was written is read");
    assert_eq!(again.to_bytes(), written);
    assert_eq!((again.account(), again.pins().len()), (vault.account(), vault.pins().len()));
}

fn codes() -> Vec<Vec<u8>> {
    [[0; 16], [0xff; 16], *b"0123456789abcdef"]
        .map(|bits| RecoveryCode::new(bits).to_text().as_bytes().to_vec())
        .into()
}

fn code(bytes: &[u8]) {
    let Some(Ok(code)) = str_of(bytes).map(RecoveryCode::parse) else { return };
    let text = code.to_text();
    assert_eq!(RecoveryCode::parse(&text).ok().unwrap().to_text(), text);
    let letters = |text: &str| -> Vec<char> {
        let one = |c: char| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        text.chars().map(one).filter(char::is_ascii_alphanumeric).collect()
    };
    assert_eq!(letters(str_of(bytes).unwrap()), letters(&text));
}

fn file_entry(name: &str, length: u64) -> FileEntry {
    FileEntry {
        name: name.to_owned(),
        content_type: "image/jpeg".to_owned(),
        opaque: [name.len() as u8; 16],
        key: Key::new([6; 32]),
        hash: [7; 32],
        digest: Digest([8; 16]),
        sealed_digest: Digest([9; 16]),
        length,
        revpos: 2,
    }
}

fn manifests() -> Vec<Vec<u8>> {
    let of = |files: &[FileEntry]| manifest::encode(files).unwrap();
    vec![of(&[]), of(&[file_entry("a", 0)]), of(&[file_entry("a", 5), file_entry("b é", (1 << 50) - 1)])]
}

fn manifest_(bytes: &[u8]) {
    let Ok(files) = manifest::decode(bytes) else { return };
    assert_eq!(manifest::encode(&files).unwrap(), bytes);
    for stub in manifest::stubs(&files) {
        assert!(stub.length > 0 && stub.revpos > 0);
    }
}

fn cores() -> Vec<Vec<u8>> {
    let body = r#"{"a":[1,-2.5e3,1e400,"x\u00e9\"",null,true],"b":{"c":{}}}"#;
    let of = |id: &str, files: &[FileEntry]| {
        enc(&[id.as_bytes(), body.as_bytes(), &manifest::encode(files).unwrap()])
    };
    vec![of("a", &[]), of("note é", &[file_entry("a", 5), file_entry("bb", 6)])]
}

fn core(bytes: &[u8]) {
    let Ok((read, form, manifest)) = content::decode(bytes) else { return };
    assert_eq!(enc(&[read.id.as_bytes(), read.body.as_bytes(), &manifest]), bytes);
    assert_eq!(content::check(&read.id, &read.body).unwrap(), form);
    assert_eq!(manifest::encode(&read.files).unwrap(), manifest);
    assert!(serde_json::from_str::<HashMap<String, Box<RawValue>>>(&read.body).is_ok());
}

/// What is encrypted of documents: alone, with files, and together, at both ends and in between.
fn opened_texts() -> Vec<Vec<u8>> {
    let (channel, signer) = (channel(), signer());
    let author = Author { signer: &signer, public: signer.public() };
    let sealed = |count: usize, files: &[FileEntry]| {
        let one = |n: usize| {
            let id = format!("note {n}");
            let new = NewRevision { id: &id, parent: None, deleted: false, body: r#"{"a":[1.0]}"#, files };
            prepare_revision(&channel, &new).unwrap()
        };
        seal_revisions(&channel, &author, (0..count).map(one).collect()).unwrap()
    };
    let file = |name: &str| FileEntry { revpos: 1, ..file_entry(name, 5) };
    let (alone, together) = (sealed(1, &[file("a"), file("bb")]), sealed(11, &[]));
    [&alone[0], &together[0], &together[6], &together[10]].map(|sealed| text_of(&channel, sealed)).into()
}

thread_local! {
    static OPENING: (Channel, Signer) = (channel(), signer());
}

fn opened(bytes: &[u8]) {
    OPENING.with(|(channel, signer)| {
        let (sealed, is_open) = sealed_text(channel, signer, bytes);
        let path = [sealed.rev];
        let (id, stubs, body) = (&sealed.id[..], &sealed.stubs[..], &sealed.body[..]);
        let received = Received { id, path: &path, deleted: false, stubs, body };
        let opened = open_revision(channel, &received, &|_| None);
        assert_eq!(opened.is_ok(), is_open);
        let read = read_revision(channel, &received);
        if let Ok(opened) = opened {
            let read = read.unwrap_or_else(|refusal| panic!("{refusal}"));
            assert_eq!((&opened.id, &opened.body, opened.path), (&read.id, &read.body, read.path));
            assert_eq!(channel.remote_id(&opened.id), id);
        }
    });
}

fn sealed(length: usize) -> (FileEntry, Vec<u8>) {
    let plain: Vec<u8> = (0..length).map(|at| (at * 31) as u8).collect();
    let sealer = FileSealer::new(&CH, "e-x", "f", "t", PlainFile::of(&plain), 1, &entropy);
    let mut out = Vec::new();
    (sealer.seal_all(&plain, &mut out).unwrap(), out)
}

thread_local! {
    static SEALED: [(FileEntry, Vec<u8>); 3] = [0, 900, 66_000].map(sealed);
}

/// Which of these was sealed, and that.
fn streams() -> Vec<Vec<u8>> {
    SEALED.with(|all| (0u8..).zip(all).map(|(at, (_, sealed))| [&[at][..], sealed].concat()).collect())
}

fn stream(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    SEALED.with(|all| {
        let (entry, whole) = &all[usize::from(*which) % all.len()];
        let opened = FileOpener::open_all(&CH, "e-x", entry, bytes);
        assert_eq!(opened.is_ok(), bytes == whole);
    });
}

/// A manifest has no longer file.
const MOST_BYTES: u64 = 1 << 50;

/// A length, a chunk's number, and bytes for it.
fn ranges_seeds() -> Vec<Vec<u8>> {
    let of = |length: u64, index: u64| [&length.to_be_bytes()[..], &index.to_be_bytes(), &[0; 40]].concat();
    vec![of(0, 0), of(65_536, 1), of((1 << 50) - 1, 1 << 33), of(u64::MAX, u64::MAX), of(16_384, 0)]
}

fn ranges(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return };
    let Some((index, rest)) = rest.split_first_chunk::<8>() else { return };
    let (entry, index) =
        (file_entry("a", u64::from_be_bytes(*length) % MOST_BYTES), u64::from_be_bytes(*index));
    let opener = FileOpener::new(&CH, "e-x", &entry, &file::salt_of(&CH, "e-x", &entry)).unwrap();
    let (range, chunks) = (opener.sealed_range(index), opener.chunks());
    assert!(range.start <= range.end && range.end - range.start <= 65_552);
    assert_eq!(range.is_empty(), index >= chunks);
    assert!(opener.open(index, rest).is_err());
    assert_eq!(opener.sealed_range(chunks - 1).end, opener.sealed_range(chunks).start);
}

fn locals() -> Vec<Vec<u8>> {
    let body = r#"{"last_seq":"12-abc","history":[]}"#;
    vec![channel().seal_local("checkpoint", 3, body).into_bytes(), br#"{"x":"AAAA"}"#.to_vec()]
}

fn local(bytes: &[u8]) {
    let Some(Ok(body)) = str_of(bytes).map(|body| channel().open_local("checkpoint", 3, body)) else {
        return;
    };
    let sealed = channel().seal_local("checkpoint", 3, &body);
    let mut members = Members::parse(str_of(bytes).unwrap()).unwrap();
    assert_eq!(Members::parse(&sealed).unwrap().text("x"), members.text("x"));
}
