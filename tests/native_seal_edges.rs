//! The edges of sealing: where a change of the code was noticed by no other test (`tools/mutants.sh`).
#![cfg(not(target_arch = "wasm32"))]
#![allow(unsafe_code, reason = "what is left of a key can be seen in no other way")]

#[path = "support/seal.rs"]
mod seal;

use std::mem::ManuallyDrop;

use hmac::{Hmac, KeyInit as _, Mac as _};
use seal::*;
use settee::seal::*;

/// What stands where a value was, once it was dropped.
fn left_of<const N: usize, T>(value: T) -> [u8; N] {
    assert_eq!(size_of::<T>(), N);
    let mut value = ManuallyDrop::new(value);
    // SAFETY: it is dropped once and not used again; its memory stays this function's, and any bytes are bytes.
    unsafe {
        ManuallyDrop::drop(&mut value);
        std::ptr::from_ref(&value).cast::<[u8; N]>().read_volatile()
    }
}

#[test]
fn keys_and_codes_are_wiped() {
    assert_eq!(left_of(Key::new([7; 32])), [0; 32]);
    assert_eq!(left_of(RecoveryCode::new([7; 16])), [0; 16]);
    assert_eq!(left_of([7u8; 16]), [7; 16], "what is not wiped is seen");
}

#[test]
fn keys_are_compared() {
    let mut other = [1; 32];
    other[31] = 2;
    assert!(Key::new([1; 32]) == Key::new([1; 32]) && Key::new([1; 32]) != Key::new(other));
}

#[test]
fn the_longest_id_is_sealed() {
    let home = home(&Chance::new(1));
    let id = "x".repeat(64 * 1024);
    assert_eq!(Wire::new(&home.seal(&id, "{}"), &[], false).open(home.channel()).unwrap().id, id);
}

/// pouchdb-server counts anew in which generation an attachment came.
#[test]
fn of_what_generation_an_attachment_is_the_manifest_says() {
    let home = home(&Chance::new(1));
    let (file, _) = home.attach("n", "f", b"1", &Chance::new(2));
    let mut wire = Wire::new(&home.seal_on("n", None, false, "{}", &[file]), &[], false);
    wire.stubs[0].revpos = 7;
    assert_eq!(wire.open(home.channel()).unwrap().files[0].revpos, 1);
    wire.stubs[0].length += 1;
    assert!(wire.open(home.channel()).is_err());
}

fn text_bytes(sealed: &Sealed) -> usize {
    Envelope::parse(&sealed.body).unwrap().ciphertext.len() - 16
}

/// What stands around a document's body is counted, so a body that fills a step does not go on to the next one.
#[test]
fn a_step_is_filled_to_its_last_byte() {
    let home = home(&Chance::new(1));
    let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    // Lengths of four bytes, "n", the body, no attachments; author, log head, signature and place.
    let around = 4 + (4 + 1) + 4 + 4 + 32 + 32 + 64 + 4;
    for way in [0, 32] {
        for (length, expected) in [(1024, 1024), (1025, 2048)] {
            let body = body(length - around - way);
            let new = |id| NewRevision { id, parent: None, deleted: false, body: &body, files: &[] };
            let together = &["n", "m"][..1 + way / 32];
            let prepared = together.iter().map(|id| prepare_revision(home.channel(), &new(id)).unwrap());
            let all = seal_revisions(home.channel(), &home.vault.author(), prepared.collect()).unwrap();
            for sealed in &all {
                assert_eq!(text_bytes(sealed), expected);
                assert!(Wire::new(sealed, &[], false).open(home.channel()).is_ok());
            }
        }
    }
}

#[test]
fn what_was_prepared_says_whether_it_deletes() {
    let home = home(&Chance::new(1));
    for deleted in [false, true] {
        let new = NewRevision { id: "n", parent: None, deleted, body: "{}", files: &[] };
        assert_eq!(prepare_revision(home.channel(), &new).unwrap().deleted(), deleted);
    }
}

/// The push gate of a locked channel sees form alone, and that exactly.
#[test]
fn a_locked_channel_lets_out_what_has_the_form() {
    let home = home(&Chance::new(1));
    let (file, _) = home.attach("n", "f", b"1", &Chance::new(2));
    let sealed = home.seal_on("n", None, false, "{}", &[file]);
    let wire = Wire::new(&sealed, &[], false);
    let push = |wire: &Wire| check_push(None, &wire.received());
    assert_eq!(push(&wire), Ok(()));
    let envelope = Envelope::parse(&sealed.body).unwrap();
    let with_length = |length: usize| {
        let ciphertext = vec![0; length];
        Wire { body: Envelope { ciphertext, ..envelope.clone() }.into_body().into_text(), ..wire.clone() }
    };
    assert_eq!(push(&with_length(136)), Ok(()));
    assert_eq!(push(&with_length(135)), Err(Refusal::Malformed));
    assert_eq!(push(&Wire { stubs: vec![], ..wire.clone() }), Ok(()));
    assert_eq!(push(&Wire { id: "n".into(), ..wire.clone() }), Err(Refusal::ForeignId));
    let stub = |change: &dyn Fn(&mut Stub)| {
        let mut stubs = [wire.stubs.clone(), wire.stubs.clone()].concat();
        change(&mut stubs[1]);
        push(&Wire { stubs, ..wire.clone() })
    };
    assert_eq!(stub(&|_| {}), Ok(()));
    assert_eq!(stub(&|stub| stub.content_type = "image/jpeg".into()), Err(Refusal::Malformed));
    assert_eq!(stub(&|stub| stub.name = "holiday.jpg".into()), Err(Refusal::Malformed));
    assert_eq!(stub(&|stub| stub.name.truncate(25)), Err(Refusal::Malformed));
    assert_eq!(stub(&|stub| stub.name = "aaaaaaaaaaaaaaaaaaaaaaaa".into()), Err(Refusal::Malformed));
}

#[test]
fn an_attachment_comes_from_no_later_revision() {
    let home = home(&Chance::new(1));
    let (file, _) = home.attach("n", "f", b"1", &Chance::new(2));
    let first = home.seal("n", "{}");
    let seal = |revpos| {
        let sealed = home.seal_on("n", Some(&first), false, "{}", &[FileEntry { revpos, ..file.clone() }]);
        Wire::new(&sealed, &[&first], false).open(home.channel()).map(|opened| opened.files[0].revpos)
    };
    assert_eq!((seal(1), seal(2), seal(3)), (Ok(1), Ok(2), Err(Refusal::Attachments)));
    // None, and more bytes than any device holds, cannot even be written.
    for (revpos, length, is_sealed) in [
        (0, 1, false),
        (1, 1 << 50, false),
        (1, (1 << 50) + 1, false),
        (1, (1 << 50) - 1, true),
        (1, 0, true),
    ] {
        let files = [FileEntry { revpos, length, ..file.clone() }];
        let new = NewRevision { id: "n", parent: None, deleted: false, body: "{}", files: &files };
        assert_eq!(prepare_revision(home.channel(), &new).is_ok(), is_sealed, "{revpos} {length}");
    }
}

#[test]
fn a_file_is_its_opaque_name_and_its_sealed_bytes() {
    let home = home(&Chance::new(1));
    let (file, _) = home.attach("n", "secret name", b"1", &Chance::new(2));
    let mut other = file.clone();
    other.sealed_digest.0[0] ^= 1;
    assert!(file != other && file == FileEntry { name: "g".into(), ..file.clone() });
    assert_ne!(file, FileEntry { opaque: [0; 16], ..file.clone() });
    assert_eq!(format!("{file:?}"), format!("FileEntry({})", file.stub().name));
    // The key of a copy: a function of where it goes, and of what is copied.
    let key = |file: &FileEntry, id: &str, name: &str| *file.copy_key(id, name).expose();
    let here = key(&file, "e-a", "f");
    assert_eq!(here, key(&file, "e-a", "f"));
    let (opaque, own) = ([0; 16], Key::new([1; 32]));
    let others = [
        *file.key.expose(),
        key(&file, "e-b", "f"),
        key(&file, "e-a", "g"),
        key(&FileEntry { opaque, ..file.clone() }, "e-a", "f"),
        key(&FileEntry { key: own, ..file.clone() }, "e-a", "f"),
    ];
    assert!(others.iter().all(|other| *other != here));
}

/// A server may show attachments in any order.
#[test]
fn attachments_come_in_any_order() {
    let home = home(&Chance::new(1));
    let chance = Chance::new(2);
    let files = ["a", "b", "c"].map(|name| home.attach("n", name, b"1", &chance).0);
    let mut wire = Wire::new(&home.seal_on("n", None, false, "{}", &files), &[], false);
    for _ in 0..3 {
        wire.stubs.rotate_left(1);
        assert_eq!(wire.open(home.channel()).unwrap().files, files);
    }
    wire.stubs.reverse();
    assert_eq!(wire.open(home.channel()).unwrap().files, files);
}

/// An opaque name stands for one attachment, wherever the names of the two come in their order.
#[test]
fn no_two_attachments_have_one_opaque_name() {
    let home = home(&Chance::new(1));
    let file = |name: &str, opaque: u8| {
        let (file, _) = home.attach("n", name, b"1", &Chance::new(2));
        FileEntry { opaque: [opaque; 16], ..file }
    };
    for (names, is_sealed) in [([1, 2, 3], true), ([1, 2, 1], false), ([3, 1, 3], false), ([1, 1, 2], false)]
    {
        let files = [file("a", names[0]), file("b", names[1]), file("c", names[2])];
        let new = NewRevision { id: "n", parent: None, deleted: false, body: "{}", files: &files };
        assert_eq!(prepare_revision(home.channel(), &new).is_ok(), is_sealed, "{names:?}");
    }
}

/// A body that was checked elsewhere comes with an id that was not.
#[test]
fn a_checked_body_has_an_id_that_can_be_stored() {
    let home = home(&Chance::new(1));
    let prepare = |id: &str| {
        let new = NewRevision { id, parent: None, deleted: false, body: "{}", files: &[] };
        prepare_checked(home.channel(), &new, &home.channel().remote_id(id), b"{}").err()
    };
    assert_eq!((prepare("n"), prepare("_design/n")), (None, None));
    assert_eq!(prepare(""), Some(Refusal::BadDocument));
    assert_eq!(prepare("_n"), Some(Refusal::BadDocument));
    assert_eq!(prepare(&"x".repeat(64 * 1024 + 1)), Some(Refusal::BadDocument));
}

/// What the vectors do not have: all devices make the same key of a copy, and this one opens tomorrow what it
/// sealed today.
#[test]
fn what_is_in_no_vector_stays_what_it_was() {
    let home = home(&Chance::new(1));
    let (file, _) = home.attach("n", "f", b"1", &Chance::new(2));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(file.key.expose()).unwrap();
    mac.update(&enc(&[b"copy", b"e-a", b"g", &file.opaque]));
    assert_eq!(file.copy_key("e-a", "g").expose()[..], mac.finalize().into_bytes()[..]);
    let channel = home.channel();
    assert_eq!(channel.local_id("a"), "v-tavlz4edhodzclyftzwcyqtihe63yj7i");
    assert_eq!(
        channel.seal_local("a", 3, "{}"),
        r#"{"x":"LUxw6P4aBcvSet6_ZKtBRtNiztmvHUdp34egJRey_1gKMjcaoojnsyJk"}"#
    );
}

#[test]
fn a_local_document_opens_in_its_place_alone() {
    let (here, there) = (home(&Chance::new(1)), home(&Chance::new(2)));
    let (channel, body) = (here.channel(), r#"{"a":"checkpoint"}"#);
    let sealed = channel.seal_local("a", 3, body);
    assert_eq!(channel.open_local("a", 3, &sealed), Ok(body.to_owned()));
    assert!(!sealed.contains("checkpoint"));
    assert_eq!(channel.open_local("b", 3, &sealed), Err(Refusal::NotOpened));
    assert_eq!(channel.open_local("a", 4, &sealed), Err(Refusal::NotOpened));
    assert_eq!(there.channel().open_local("a", 3, &sealed), Err(Refusal::NotOpened));
    for bad in [body, "{}", r#"{"x":1}"#, &sealed.replace("}", r#","y":1}"#)] {
        assert_eq!(channel.open_local("a", 3, bad), Err(Refusal::Malformed), "{bad}");
    }
    let id = channel.local_id("a");
    assert!(id.starts_with("v-") && id.len() == 34 && id == channel.local_id("a"));
    assert!(id != channel.local_id("b") && id != there.channel().local_id("a"));
    assert_ne!(id[2..], channel.remote_id("a")[2..]);
}

#[test]
fn a_records_locks_are_told_and_kept_apart() {
    let chance = Chance::new(3);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let (vault, code) = Vault::create(&entropy);
    let account = *vault.account();
    let (mut record, unlocked) = KeyRecord::new(vault, &code, &entropy);
    assert_eq!((record.has_passphrase(), record.has_device()), (false, false));
    assert_eq!(record.passphrase_lock().err(), Some(Locked::NoSuchLock));
    let (first, device) = (record.clone(), record.set_device(&unlocked, &entropy));
    assert_eq!((record.has_passphrase(), record.has_device()), (false, true));
    let lock = PassphraseLock::new(Cost::CEILING, &entropy);
    record.set_passphrase(&unlocked, &lock, &Key::new([5; 32])).unwrap();
    assert_eq!((record.has_passphrase(), record.passphrase_lock()), (true, Ok(lock)));
    assert_eq!((Cost::CEILING.memory_kib, Cost::CEILING.passes), (1 << 20, 16));
    // Who has it open sees later states of it, and of no other record.
    assert_eq!(*record.reopen(&unlocked).ok().unwrap().vault.account(), account);
    let opened = record.unlock_with_device(&device).ok().unwrap();
    assert!(first.reopen(&opened).is_ok());
    let (other, code) = Vault::create(&entropy);
    let (_, stranger) = KeyRecord::new(other, &code, &entropy);
    assert_eq!(record.reopen(&stranger).err(), Some(Locked::Wrong));
    // Two locks of one kind are nobody's.
    let bytes = first.to_bytes();
    let (head, rest) = bytes.split_at(4 + 11 + 4 + 1);
    let (length, rest) = rest.split_first_chunk::<4>().unwrap();
    let (locks, sealed) = rest.split_at(u32::from_be_bytes(*length) as usize);
    let twice = (2 * locks.len() as u32).to_be_bytes();
    let doubled = [head, &twice, locks, locks, sealed].concat();
    assert_eq!(KeyRecord::from_bytes(&doubled).err(), Some(Locked::Malformed));
    assert!(KeyRecord::from_bytes(&[head, length, locks, sealed].concat()).is_ok());
    let none = [head, &[0; 4], sealed].concat();
    assert_eq!(
        KeyRecord::from_bytes(&none).unwrap().unlock_with_device(&device).err(),
        Some(Locked::NoSuchLock)
    );
}

#[test]
fn every_reason_has_a_name_and_a_sentence() {
    use Locked::{
        CostOutOfBounds, EmptyPassphrase, Mistyped, NoSuchLock, NothingToRecover, Wrong, WrongLength,
    };
    use Refusal::*;
    let refusals = [
        NotSealed,
        ForeignId,
        Malformed,
        UnknownVersion,
        UnknownEpoch,
        UnknownAuthor,
        NotOpened,
        Revision,
        History,
        Id,
        Attachments,
        Signature,
        TooLarge,
        Rollback,
        ForeignLog,
        NeedsUpdate,
        BadDocument,
    ];
    let locked = [
        Wrong,
        Mistyped,
        WrongLength,
        Locked::Malformed,
        Locked::UnknownVersion,
        CostOutOfBounds,
        NoSuchLock,
        EmptyPassphrase,
        NothingToRecover,
    ];
    let check = |all: Vec<(&str, &str, String)>| {
        for (name, reason, shown) in &all {
            assert!(name.len() > 1 && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()));
            assert!(reason.len() > 10 && reason.ends_with('.'), "{reason}");
            assert_eq!(*shown, format!("{name}: {reason}"));
            assert_eq!(all.iter().filter(|other| other.0 == *name || other.1 == *reason).count(), 1);
        }
    };
    check(refusals.map(|one| (one.name(), one.reason(), one.to_string())).into());
    check(locked.map(|one| (one.name(), one.reason(), one.to_string())).into());
    let later: Vec<_> = refusals.into_iter().filter(|one| one.may_pass()).collect();
    assert_eq!(later, [UnknownEpoch, UnknownAuthor]);
}

/// A member has the key of a stream, and may seal in it what the format does not have.
#[test]
fn a_chunk_is_as_long_as_its_file_says_and_filled_with_zeros() {
    let home = home(&Chance::new(1));
    let (file, sealed) = home.attach("n", "f", &plain(1000), &Chance::new(2));
    let (head, _) = sealed.split_at(FileOpener::HEAD_BYTES);
    let mut key = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(head), file.key.expose()).expand(b"payload", &mut key).unwrap();
    let remote = home.channel().remote_id("n");
    let opener = FileOpener::new(home.channel().ch(), &remote, &file, head).unwrap();
    let open = |chunk: &[u8]| {
        let mut out = Vec::new();
        seal_chunk(&Key::new(key), 0, true, chunk, &mut out).unwrap();
        opener.open(0, &out)
    };
    let mut whole = [plain(1000), vec![0; 24]].concat();
    assert_eq!(open(&whole), Ok(plain(1000)));
    assert_eq!(open(&whole[..1023]), Err(Refusal::NotOpened));
    assert_eq!(open(&whole[..1000]), Err(Refusal::NotOpened));
    assert_eq!(open(&[&whole[..], &[0]].concat()), Err(Refusal::NotOpened));
    for at in [1000, 1023] {
        whole[at] = 1;
        assert_eq!(open(&whole), Err(Refusal::NotOpened));
        whole[at] = 0;
    }
}

#[test]
fn a_parent_is_named_as_sealed_revisions_are() {
    let home = home(&Chance::new(1));
    let sealed = home.seal("n", "{}");
    let parse =
        |parent: &str| Envelope::parse(&sealed.body.replace(r#""p":"""#, &format!(r#""p":"{parent}""#)));
    assert!(parse("1-0123456789abcdef0123456789abcdef").is_ok());
    for parent in
        ["1-a", "1-x", "1", "-", "0-0123456789abcdef0123456789abcdef", "1-0123456789ABCDEF0123456789abcdef"]
    {
        assert_eq!(parse(parent), Err(Refusal::Malformed), "{parent}");
    }
}

fn enc(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u32).to_be_bytes()[..], part].concat()).collect()
}

#[test]
fn a_record_has_one_form() {
    let read = |version: u8, locks: &[&[u8]], more: &[&[u8]]| {
        let locks = enc(locks);
        let own = enc(&[b"settee keys", &[version], &locks, b"sealed"]);
        KeyRecord::from_bytes(&[own, enc(more)].concat())
    };
    let params: [&[u8]; 3] = [&[1; 16], &65_536u32.to_be_bytes(), &3u32.to_be_bytes()];
    let lock =
        |parts: &[&[u8]]| read(1, &[&enc(&[&[b"passphrase", &enc(&params)[..]], parts].concat())], &[]);
    let lock_of = |record: Result<KeyRecord, Locked>| record.and_then(|record| record.passphrase_lock());
    let expected = PassphraseLock { salt: [1; 16], cost: Cost::FLOOR };
    assert_eq!(lock_of(lock(&[b"s"])), Ok(expected));
    assert_eq!(lock_of(lock(&[])), Err(Locked::Malformed));
    assert_eq!(lock_of(lock(&[b"s", b""])), Err(Locked::Malformed));
    for params in [enc(&params[..2]), enc(&[&params[..], &[b""]].concat()), Vec::new()] {
        let lock = enc(&[b"passphrase", &params, b"s"]);
        assert_eq!(lock_of(read(1, &[&lock], &[])), Err(Locked::Malformed));
    }
    let (device, code) = (enc(&[b"device", b"", b"s"]), enc(&[b"code", b"", b"s"]));
    assert!(read(1, &[&device, &code], &[]).is_ok() && read(1, &[], &[]).is_ok());
    assert_eq!(read(1, &[&enc(&[b"finger", b"", b"s"])], &[]).err(), Some(Locked::Malformed));
    assert_eq!(read(1, &[&device, &code, &device], &[]).err(), Some(Locked::Malformed));
    assert_eq!(read(1, &[&device], &[b""]).err(), Some(Locked::Malformed));
    assert_eq!(read(2, &[&device], &[]).err(), Some(Locked::UnknownVersion));
    assert_eq!(KeyRecord::from_bytes(&enc(&[b"other keys", &[1]])).err(), Some(Locked::Malformed));
}

#[test]
fn a_log_entry_has_one_form() {
    let home = home(&Chance::new(1));
    for entry in &home.entries {
        let bytes = entry.to_bytes();
        assert_eq!(Entry::from_bytes(&bytes).as_ref(), Some(entry));
        assert_eq!(Entry::from_bytes(&[&bytes[..], &enc(&[b""])].concat()), None);
        assert_eq!(Entry::from_bytes(&bytes[..bytes.len() - 1]), None);
        let doc = entry.to_doc();
        let read = |body: &str| read_log_doc(&doc.id, &doc.rev, body);
        assert_eq!(read(&doc.body).as_ref(), Ok(entry));
        assert_eq!(read(&doc.body.replace("}}", r#","y":1}}"#)), Err(Refusal::Malformed));
        assert_eq!(read(&doc.body.replace("}}", r#"},"y":1}"#)), Err(Refusal::Malformed));
    }
}

#[test]
fn chunks_are_full_but_for_the_last_one() {
    let key = Key::new([1; 32]);
    let sealed = |index: u64, is_last: bool, length: usize| {
        let mut out = Vec::new();
        seal_chunk(&key, index, is_last, &plain(length), &mut out).map(|()| out)
    };
    assert_eq!(sealed(0, true, STREAM_CHUNK_BYTES + 1), Err(Refusal::TooLarge));
    for (index, is_last, length, is_open) in [
        (0, false, STREAM_CHUNK_BYTES, true),
        (0, false, STREAM_CHUNK_BYTES - 1, false),
        (0, false, 0, false),
        (3, true, STREAM_CHUNK_BYTES, true),
        (3, true, 1, true),
        (3, true, 0, false),
        (0, true, 0, true),
    ] {
        let opened = open_chunk(&key, index, is_last, &sealed(index, is_last, length).unwrap());
        assert_eq!(opened.is_ok(), is_open, "{index} {is_last} {length}");
    }
    assert!(open_chunk(&key, 0, true, &[0; TAG_BYTES - 1]).is_err());
    // Longer than a chunk, by somebody who has the key.
    let long = |length: usize| {
        let mut text = plain(length);
        let nonce = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let tag = settee_aead::seal(key.expose(), &nonce, b"", &mut text).unwrap();
        open_chunk(&key, 0, true, &[&text[..], &tag].concat())
    };
    assert!(long(STREAM_CHUNK_BYTES).is_ok() && long(STREAM_CHUNK_BYTES + 1).is_err());
}
