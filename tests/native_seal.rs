//! Sealed revisions: what comes back, what is refused, and what a server can learn of them.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/rng.rs"]
mod rng;
#[path = "support/seal.rs"]
mod seal;

use std::collections::{BTreeMap, BTreeSet};

use rng::{Rng, cases};
use seal::*;
use settee::{
    model::{Digest, Rev},
    seal::{Refusal::*, *},
};

/// A JSON object with everything that JSON has.
fn any_body(rng: &mut Rng) -> String {
    fn text(rng: &mut Rng) -> String {
        let pieces = ["a", "é", "😀", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\\"", "\u{7f}", " ", "_x"];
        let inner: String = (0..rng.below(4)).map(|_| *rng.pick(&pieces)).collect();
        format!("\"{inner}\"")
    }
    fn value(rng: &mut Rng, depth: usize) -> String {
        let numbers = ["0", "-0.0", "1.0", "1e400", "123456789012345678901234567890", "-1E-7"];
        match rng.below(if depth > 3 { 5 } else { 7 }) {
            0 => "null".into(),
            1 => "true".into(),
            2 | 3 => (*rng.pick(&numbers)).into(),
            4 => text(rng),
            5 => {
                let items: Vec<_> = (0..rng.below(4)).map(|_| value(rng, depth + 1)).collect();
                format!("[{}]", items.join(", "))
            }
            _ => {
                let items: Vec<_> =
                    (0..rng.below(4)).map(|n| format!("\"{n}\" :{}", value(rng, depth + 1))).collect();
                format!("{{{}}}", items.join(","))
            }
        }
    }
    let big = "x".repeat(rng.below(3) * rng.below(30_000));
    format!("{{\"v\":{},\"big\": \"{big}\"}}", value(rng, 0))
}

#[test]
fn what_was_sealed_opens_as_it_was_written() {
    cases("what_was_sealed_opens_as_it_was_written", 30, |mut rng| {
        let home = home(&Chance::new(rng.next()));
        let id = rng.pick(&["note", "_design/x", "é😀", "x y/z?", "-"]).to_string();
        let mut line: Vec<Sealed> = Vec::new();
        for _ in 0..1 + rng.below(5) {
            let (body, deleted) = (any_body(&mut rng), rng.percent(20));
            let files: Vec<FileEntry> = (0..rng.below(3))
                .map(|n| {
                    let plain = rng.bytes(n * 700);
                    home.attach(&id, &format!("f{n}"), &plain, &Chance::new(rng.next())).0
                })
                .collect();
            let sealed = home.seal_on(&id, line.last(), deleted, &body, &files);
            assert_eq!(sealed, home.seal_on(&id, line.last(), deleted, &body, &files), "it is a function");
            let ancestors: Vec<&Sealed> = line.iter().rev().collect();
            let wire = Wire::new(&sealed, &ancestors, deleted);
            let opened = wire.open(home.channel()).unwrap();
            assert_eq!((opened.id.as_str(), opened.body.as_str()), (id.as_str(), body.as_str()));
            assert_eq!((opened.line, opened.lineage), (sealed.line, Lineage::Proved));
            assert_eq!(
                (&opened.author, &opened.log_head),
                (&home.vault.author().public, home.channel().log_head())
            );
            let names =
                |files: &[FileEntry]| files.iter().map(|f| (f.name.clone(), f.stub())).collect::<Vec<_>>();
            assert_eq!(names(&opened.files), names(&files));
            check_push(Some(home.channel()), &wire.received()).unwrap();
            check_push(None, &wire.received()).unwrap();
            let read = read_revision(home.channel(), &wire.received()).unwrap();
            assert_eq!((read.id, read.body, read.line), (id.clone(), body, sealed.line));
            line.push(sealed);
        }
    });
}

#[test]
fn order_space_and_escapes_give_the_same_revision_and_come_back_as_written() {
    let home = home(&Chance::new(1));
    let a = home.seal("n", r#"{"b":1,"a":"\u00e9"}"#);
    let b = home.seal("n", r#"{ "a": "é", "b": 1 }"#);
    assert_eq!(a.rev, b.rev);
    assert_ne!(a.body, b.body);
    assert_eq!(Wire::new(&b, &[], false).open(home.channel()).unwrap().body, r#"{ "a": "é", "b": 1 }"#);
    assert_ne!(a.rev, home.seal("n", r#"{"b":1.0,"a":"é"}"#).rev);
}

#[test]
fn two_devices_that_make_the_same_edit_make_the_same_revision() {
    let mut first = home(&Chance::new(1));
    let entropy = |bytes: &mut [u8]| Chance::new(2).fill(bytes);
    let second = Vault::recover(&first.code, &first.entries, &entropy).unwrap();
    let there = second.open_channel(None, &first.entries).unwrap();
    first.entries.extend(there.missing.clone());
    first.replay = first.vault.open_channel(None, &first.entries).unwrap();
    let new = NewRevision { id: "n", parent: None, deleted: false, body: "{}", files: &[] };
    let here = home_seal(&first, &new);
    let theirs = seal_revision(&there.channel, &second.author(), &new).unwrap();
    assert_eq!((&here.id, &here.rev, here.line), (&theirs.id, &theirs.rev, theirs.line));
    assert_ne!(here.body, theirs.body, "each is signed by its author");
    let opened = Wire::new(&theirs, &[], false).open(first.channel()).unwrap();
    assert_eq!(opened.author, second.author().public);
}

fn home_seal(home: &Home, new: &NewRevision) -> Sealed {
    seal_revision(home.channel(), &home.vault.author(), new).unwrap()
}

#[test]
fn what_the_database_could_not_store_is_neither_sealed_nor_opened() {
    let home = home(&Chance::new(1));
    let long = "x".repeat(MAX_LOCAL_ID_BYTES + 1);
    let cases = [
        ("", "{}"),
        ("_x", "{}"),
        ("_local/x", "{}"),
        (long.as_str(), "{}"),
        ("a", "[]"),
        ("a", "{"),
        ("a", ""),
        ("a", r#"{"_id":"b"}"#),
        ("a", r#"{"_conflicts":[]}"#),
        ("a", r#"{"x":1,"x":2}"#),
        ("a", "{} {}"),
        ("a", r#"{"x":"\ud800"}"#),
    ];
    for (id, body) in cases {
        let new = NewRevision { id, parent: None, deleted: false, body, files: &[] };
        let refusal = seal_revision(home.channel(), &home.vault.author(), &new).unwrap_err();
        assert_eq!(refusal, BadDocument, "{id} {body}");
    }
    let (file, _) = home.attach("a", "f", b"1", &Chance::new(9));
    let named = |name: &str| FileEntry { name: name.into(), ..file.clone() };
    for files in
        [vec![named("_f")], vec![named("")], vec![named("b"), named("a")], vec![file.clone(), named("g")]]
    {
        let new = NewRevision { id: "a", parent: None, deleted: false, body: "{}", files: &files };
        assert_eq!(seal_revision(home.channel(), &home.vault.author(), &new).unwrap_err(), BadDocument);
    }
}

/// Every field of a document that a server can change, one bit at a time.
#[test]
fn every_single_bit_counts() {
    let home = home(&Chance::new(3));
    let (file, _) = home.attach("n", "f", b"photo", &Chance::new(4));
    let first = home.seal("n", "{}");
    let sealed = home.seal_on("n", Some(&first), false, r#"{"a":1}"#, &[file]);
    let wire = Wire::new(&sealed, &[&first], false);
    wire.open(home.channel()).unwrap();
    let envelope = Envelope::parse(&sealed.body).unwrap();
    assert_eq!(envelope.clone().into_body(), sealed.body);

    // The text as it stands: no change of a bit of it leaves it valid.
    // Of the long ciphertext a part of the letters; its every bit comes below.
    for at in (0..wire.body.len()).filter(|at| *at < 240 || at % 17 == 0 || at + 10 > wire.body.len()) {
        for bit in 0..8 {
            let mut bytes = wire.body.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(body) = String::from_utf8(bytes) else { continue };
            let changed = Wire { body, ..wire.clone() };
            assert!(changed.open(home.channel()).is_err(), "byte {at} bit {bit}");
            if !matches!(Envelope::parse(&changed.body), Err(Malformed | NotSealed | UnknownVersion)) {
                assert!(read_revision(home.channel(), &changed.received()).is_err(), "byte {at} bit {bit}");
            }
        }
    }
    // What the text stands for.
    let flip = |bytes: &[u8], n: usize| {
        let mut out = bytes.to_vec();
        out[n / 8] ^= 1 << (n % 8);
        out
    };
    let mut fields: Vec<Envelope> = Vec::new();
    for n in 0..128 {
        fields.push(Envelope { epoch: flip(&envelope.epoch, n).try_into().unwrap(), ..envelope.clone() });
    }
    for n in 0..256 {
        fields.push(Envelope { line: flip(&envelope.line, n).try_into().unwrap(), ..envelope.clone() });
    }
    for n in 0..192 {
        fields.push(Envelope { nonce: flip(&envelope.nonce, n).try_into().unwrap(), ..envelope.clone() });
    }
    for n in 0..envelope.ciphertext.len() * 8 {
        fields.push(Envelope { ciphertext: flip(&envelope.ciphertext, n), ..envelope.clone() });
    }
    for (n, changed) in fields.iter().enumerate() {
        assert_eq!(Envelope::parse(&changed.clone().into_body()).unwrap(), *changed);
        let refusal =
            Wire { body: changed.clone().into_body().into_text(), ..wire.clone() }.refusal(home.channel());
        assert_eq!(refusal, if n < 128 { UnknownEpoch } else { NotOpened }, "{n}");
    }
    // What stands beside the envelope.
    for n in 0..128 {
        let mut changed = wire.clone();
        let settee::model::RevId::Hash(id) = &changed.path[0].id else { panic!() };
        changed.path[0].id = settee::model::RevId::Hash(flip(id, n).try_into().unwrap());
        assert_eq!(changed.refusal(home.channel()), NotOpened);
        let mut changed = wire.clone();
        changed.stubs[0].digest = Digest(flip(&wire.stubs[0].digest.0, n).try_into().unwrap());
        assert_eq!(changed.refusal(home.channel()), Attachments);
    }
    for n in 0..64 {
        let mut changed = wire.clone();
        changed.stubs[0].length ^= 1 << n;
        assert_eq!(changed.refusal(home.channel()), Attachments);
    }
    let changed = Wire { deleted: true, ..wire.clone() };
    assert_eq!(changed.refusal(home.channel()), NotOpened);
}

#[test]
fn what_is_in_no_sealed_form_is_told_apart() {
    let home = home(&Chance::new(3));
    let sealed = home.seal("n", "{}");
    let wire = Wire::new(&sealed, &[], false);
    let x = sealed.body.strip_suffix("}}").unwrap();
    let cases = [
        ("{}".to_owned(), NotSealed),
        (r#"{"title":"clear"}"#.to_owned(), NotSealed),
        (r#"{"title":{"deep":{"er":[1.5,"é"]}}}"#.to_owned(), NotSealed),
        (format!("{x}}},\"title\":\"clear\"}}"), Malformed),
        (format!("{x},\"extra\":1}}}}"), Malformed),
        (format!("{x},\"v\":1}}}}"), Malformed),
        (sealed.body.replace("\"v\":1", "\"v\":2"), UnknownVersion),
        (sealed.body.replace("\"v\":1", "\"v\":01"), Malformed),
        (sealed.body.replace("\"v\":1", "\"v\":1.0"), Malformed),
        (sealed.body.replace("\"v\":1", "\"v\":\"1\""), Malformed),
        (sealed.body.replace("\"s\":1", "\"s\":0"), UnknownVersion),
        (sealed.body.replace("\"s\":1", "\"s\":18446744073709551617"), Malformed),
        (sealed.body.replace("\"p\":\"\"", "\"p\":\"0-a\""), Malformed),
        (sealed.body.replace("\"p\":\"\"", "\"p\":\"1-ABCDEF0123456789ABCDEF0123456789\""), Malformed),
        (sealed.body.replace("\"p\":\"\"", "\"p\":\"01-abcdef0123456789abcdef0123456789\""), Malformed),
        (sealed.body.replace("\"e\":\"", "\"e\":\"="), Malformed),
        (sealed.body.replace("\"n\":\"", "\"n\":\"AAAA"), Malformed),
        (sealed.body.replace("\"c\":\"", "\"c\":\"\\u0041"), Malformed),
        (r#"{"x":[]}"#.to_owned(), Malformed),
        (r#"{"x":{}}"#.to_owned(), Malformed),
        (String::new(), NotSealed),
    ];
    for (body, expected) in cases {
        assert_eq!(Wire { body: body.clone(), ..wire.clone() }.refusal(home.channel()), expected, "{body}");
        let received = Wire { body, ..wire.clone() };
        assert!(check_push(None, &received.received()).is_err(), "the push gate of a locked channel");
    }
    // Another order and white space are no damage: servers write documents anew.
    let spaced = sealed
        .body
        .replace(",\"", " ,\n\t\"")
        .replace("{\"v\":1 ,", "{ ")
        .replace("\"c\":", "\"v\":1,\"c\":");
    assert!(Wire { body: spaced, ..wire.clone() }.open(home.channel()).is_ok());
    for id in [
        "n",
        "e-",
        "e-aaa",
        "E-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "c-x",
        "_design/x",
        "",
        "e-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
    ] {
        assert_eq!(Wire { id: id.into(), ..wire.clone() }.refusal(home.channel()), ForeignId, "{id}");
    }
    assert_eq!(Wire { path: vec![], ..wire.clone() }.refusal(home.channel()), Malformed);
    // A bare tombstone, as anybody with write access can make one.
    let bare = Wire { body: "{}".into(), deleted: true, ..wire };
    assert_eq!(bare.refusal(home.channel()), NotSealed);
}

/// Everything that names a place, exchanged between revisions that are right where they are.
#[test]
fn nothing_opens_in_anothers_place() {
    let chance = Chance::new(5);
    let one = home(&chance);
    let mut wires: Vec<(usize, Wire)> = Vec::new();
    let mut homes = vec![];
    // Two channels of one account, the first with two epochs.
    let second_channel = one.vault.create_channel(&|bytes| chance.fill(bytes)).unwrap();
    let mut entries = one.entries.clone();
    entries.push(one.vault.rotate(&one.replay, &|bytes| chance.fill(bytes)).unwrap());
    homes.push(one.vault.open_channel(None, &one.entries).unwrap());
    homes.push(one.vault.open_channel(None, &entries).unwrap());
    homes.push(one.vault.open_channel(None, &second_channel).unwrap());
    for (at, replay) in homes.iter().enumerate() {
        let channel = &replay.channel;
        for id in ["a", "b"] {
            let (file_a, _) = attach(channel, id, "f", b"1", &chance);
            let (file_b, _) = attach(channel, id, "f", b"2", &chance);
            let seal = |parent: Option<&Sealed>, deleted, body: &str, files: &[FileEntry]| {
                let parent = parent.map(|parent| (&parent.rev, &parent.line));
                let new = NewRevision { id, parent, deleted, body, files };
                seal_revision(channel, &one.vault.author(), &new).unwrap()
            };
            let (r1, s1) = (seal(None, false, "{}", &[]), seal(None, false, r#"{"s":1}"#, &[]));
            let (r2, s2) = (seal(Some(&r1), false, "{}", &[]), seal(Some(&s1), false, "{}", &[]));
            let (r3, t3) = (seal(Some(&r2), true, "{}", &[]), seal(Some(&r2), false, "{}", &[]));
            let (u3, v3) = (seal(Some(&r2), false, "{}", &[file_a]), seal(Some(&s2), false, "{}", &[file_b]));
            wires.push((at, Wire::new(&r1, &[], false)));
            wires.push((at, Wire::new(&s1, &[], false)));
            wires.push((at, Wire::new(&r2, &[&r1], false)));
            wires.push((at, Wire::new(&s2, &[&s1], false)));
            wires.push((at, Wire::new(&r3, &[&r2, &r1], true)));
            wires.push((at, Wire::new(&t3, &[&r2, &r1], false)));
            wires.push((at, Wire::new(&u3, &[&r2, &r1], false)));
            wires.push((at, Wire::new(&v3, &[&s2, &s1], false)));
        }
    }
    for (at, wire) in &wires {
        wire.open(&homes[*at].channel).unwrap();
    }
    // The newer epoch's holder reads both; the older one waits for the key.
    assert_eq!(wires.iter().filter(|(at, wire)| *at == 1 && wire.open(&homes[0].channel).is_ok()).count(), 0);
    assert!(wires.iter().filter(|(at, _)| *at == 0).all(|(_, wire)| wire.open(&homes[1].channel).is_ok()));
    let mut tried = 0;
    for (at, a) in &wires {
        let channel = &homes[*at].channel;
        for (_, b) in &wires {
            let (x, y) = (Envelope::parse(&a.body).unwrap(), Envelope::parse(&b.body).unwrap());
            let with = |envelope: Envelope| envelope.into_body().into_text();
            let swaps = [
                Wire { id: b.id.clone(), ..a.clone() },
                Wire { path: b.path.clone(), ..a.clone() },
                Wire { body: b.body.clone(), ..a.clone() },
                Wire { deleted: b.deleted, ..a.clone() },
                Wire { stubs: b.stubs.clone(), ..a.clone() },
                Wire { body: with(Envelope { epoch: y.epoch, ..x.clone() }), ..a.clone() },
                Wire { body: with(Envelope { parent: y.parent.clone(), ..x.clone() }), ..a.clone() },
                Wire { body: with(Envelope { line: y.line, ..x.clone() }), ..a.clone() },
                Wire { body: with(Envelope { nonce: y.nonce, ..x.clone() }), ..a.clone() },
                Wire { body: with(Envelope { ciphertext: y.ciphertext.clone(), ..x.clone() }), ..a.clone() },
            ];
            for swapped in swaps {
                let is_same = swapped == *a;
                assert_eq!(swapped.open(channel).is_ok(), is_same, "{swapped:?}");
                tried += usize::from(!is_same);
            }
            let all = Wire { id: a.id.clone(), ..b.clone() };
            assert!(a.id == b.id || all.open(channel).is_err());
        }
    }
    assert!(tried > 12_000, "{tried}");
}

#[test]
fn a_history_is_the_one_it_was_written_on() {
    let home = home(&Chance::new(6));
    let mut line = vec![home.seal("n", "{}")];
    for n in 0..5 {
        let parent = line.last().cloned();
        line.push(home.seal_on("n", parent.as_ref(), false, &format!("{{\"n\":{n}}}"), &[]));
    }
    let other = home.seal_on("n", Some(&line[0]), false, r#"{"other":1}"#, &[]);
    let last = line.last().unwrap();
    let whole = Wire::new(last, &line[..5].iter().rev().collect::<Vec<_>>(), false);
    let open = |path: Vec<Rev>, known: &dyn Fn(&Rev) -> Option<Hash>| {
        let wire = Wire { path, ..whole.clone() };
        let opened = open_revision(home.channel(), &wire.received(), known)?;
        // Whatever was claimed, only the real history is believed.
        assert!(opened.path.iter().eq(whole.path.iter().take(opened.path.len())), "{:?}", opened.path);
        assert!(opened.path.len() >= 2);
        Ok(opened.lineage)
    };
    let nothing = |_: &Rev| None;
    let line_of = |wanted: &'static [usize]| {
        let line = &line;
        move |rev: &Rev| wanted.iter().map(|at| &line[*at]).find(|s| s.rev == *rev).map(|s| s.line)
    };
    let path = whole.path.clone();
    assert_eq!(open(path.clone(), &nothing), Ok(Lineage::Proved));
    // Cut off: proved from what is known, else the parent alone.
    assert_eq!(open(path[..3].to_vec(), &nothing), Ok(Lineage::ParentOnly));
    assert_eq!(open(path[..1].to_vec(), &nothing), Ok(Lineage::ParentOnly));
    assert_eq!(open(path[..1].to_vec(), &line_of(&[4])), Ok(Lineage::Proved));
    assert_eq!(open(path[..4].to_vec(), &line_of(&[2])), Ok(Lineage::Proved));
    assert_eq!(open(path[..4].to_vec(), &line_of(&[0])), Ok(Lineage::ParentOnly));
    // Known ancestors that are not its own.
    let wrong = |_: &Rev| Some([0; 32]);
    assert_eq!(open(path.clone(), &wrong), Err(History));
    // Grafts: another revision at every depth, one left out, one repeated, one too many.
    for at in 1..path.len() {
        let mut graft = path.clone();
        graft[at].id = other.rev.id.clone();
        assert_eq!(open(graft.clone(), &nothing), Err(History), "{at}");
        assert_eq!(open(graft, &line_of(&[0])), Err(History), "{at}");
        let mut short = path.clone();
        short.remove(at);
        // Without its oldest it is only cut off.
        let expected = if at + 1 == path.len() { Ok(Lineage::ParentOnly) } else { Err(History) };
        assert_eq!(open(short, &nothing), expected);
        if at > 1 && at + 1 < path.len() {
            let mut cut = path[..path.len() - 1].to_vec();
            cut[at].id = other.rev.id.clone();
            assert_eq!(open(cut.clone(), &nothing), Ok(Lineage::ParentOnly), "claimed, not proved");
            assert_eq!(
                open(cut, &line_of(&[1])),
                if at < 4 { Err(History) } else { Ok(Lineage::ParentOnly) }
            );
        }
        let mut long = path.clone();
        long.insert(at, path[at].clone());
        assert_eq!(open(long, &nothing), Err(History));
    }
    // Above what is known here anything may be claimed, and nothing of it is believed.
    let mut above = path[..5].to_vec();
    above[4].id = other.rev.id.clone();
    assert_eq!(open(above.clone(), &line_of(&[3])), Ok(Lineage::Proved));
    let wire = Wire { path: above, ..whole.clone() };
    let opened = open_revision(home.channel(), &wire.received(), &line_of(&[3])).ok().unwrap();
    assert_eq!(opened.path, path[..3]);
    // A first revision has no ancestors.
    let first =
        Wire { path: vec![line[0].rev.clone(), other.rev.clone()], ..Wire::new(&line[0], &[], false) };
    assert_eq!(first.refusal(home.channel()), History);
}

#[test]
fn a_stranger_and_another_channels_owner_are_kept_out() {
    let (here, there) = (home(&Chance::new(7)), home(&Chance::new(8)));
    let theirs = there.seal("n", "{}");
    assert_eq!(Wire::new(&theirs, &[], false).refusal(here.channel()), UnknownEpoch);
    // Somebody with the channel's keys whose device is not in the log.
    let new = NewRevision { id: "n", parent: None, deleted: false, body: "{}", files: &[] };
    let stranger = seal_revision(here.channel(), &there.vault.author(), &new).unwrap();
    let wire = Wire::new(&stranger, &[], false);
    assert_eq!(wire.refusal(here.channel()), UnknownAuthor);
    assert!(UnknownAuthor.may_pass() && UnknownEpoch.may_pass() && !NotOpened.may_pass());
    // A member who signs in another's name.
    let forged = Author { signer: there.vault.author().signer, public: here.vault.author().public };
    let forged = seal_revision(here.channel(), &forged, &new).unwrap();
    assert_eq!(forged.rev, stranger.rev, "the author is not in the revision");
    assert_eq!(Wire::new(&forged, &[], false).refusal(here.channel()), Signature);
}

/// Revisions that are signed together, as a commit does it.
fn together(home: &Home, author: &Author, ids: &[String], body: &str) -> Vec<Sealed> {
    let new = |id| NewRevision { id, parent: None, deleted: false, body, files: &[] };
    let prepared = ids.iter().map(|id| prepare_revision(home.channel(), &new(id)).unwrap()).collect();
    seal_revisions(home.channel(), author, prepared).unwrap()
}

#[test]
fn what_is_signed_together_opens_alone_and_in_any_order() {
    let (home, author) = (home(&Chance::new(9)), home(&Chance::new(9)));
    for count in [0, 1, 2, 3, 7, 256, 257, 600] {
        let ids: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        let mut all = together(&home, &author.vault.author(), &ids, "{}");
        assert_eq!(all.len(), count);
        let alone = home.seal("n0", "{}");
        assert!(all.first().is_none_or(|first| (&first.rev, first.line) == (&alone.rev, alone.line)));
        assert!(all.iter().zip(&ids).all(|(one, id)| one.id == home.channel().remote_id(id)));
        all.reverse();
        // Another device, that has verified nothing yet.
        let fresh = home.vault.open_channel(None, &home.entries).unwrap();
        for (one, id) in all.iter().step_by(1 + count / 100).zip(ids.iter().rev().step_by(1 + count / 100)) {
            assert_eq!(Wire::new(one, &[], false).open(&fresh.channel).unwrap().id, *id);
        }
    }
}

/// A member has the keys and can make everything but the signature of another. What is remembered of one
/// document of a tree must not help a forged one.
#[test]
fn a_member_cannot_put_a_document_into_anothers_tree() {
    let (here, there) = (home(&Chance::new(7)), home(&Chance::new(8)));
    let ids: Vec<String> = (0..3).map(|n| format!("n{n}")).collect();
    let honest = together(&here, &here.vault.author(), &ids, "{}");
    let forged = Author { signer: there.vault.author().signer, public: here.vault.author().public };
    let forged = together(&here, &forged, &ids, r#"{"forged":true}"#);
    // Same place, same shape, and the honest ones were verified just before.
    for (honest, forged) in honest.iter().zip(&forged) {
        assert!(Wire::new(honest, &[], false).open(here.channel()).is_ok());
        assert_eq!(Wire::new(forged, &[], false).refusal(here.channel()), Signature);
        assert!(Wire::new(honest, &[], false).open(here.channel()).is_ok());
    }
    // One honest document signed in the forger's own name stays a stranger's, remembered or not.
    let strange = together(&here, &there.vault.author(), &ids, "{}");
    for _ in 0..2 {
        assert!(
            strange.iter().all(|one| { Wire::new(one, &[], false).refusal(here.channel()) == UnknownAuthor })
        );
    }
}

/// Keyed nonces: however bad the source, one key never meets one nonce with two texts.
#[test]
fn no_nonce_is_used_for_two_texts() {
    let mut seen: BTreeMap<([u8; 16], [u8; 24]), Vec<u8>> = BTreeMap::new();
    let mut sealed = 0;
    cases("no_nonce_is_used_for_two_texts", 20, |mut rng| {
        let home = home(&Chance::stuck());
        let mut last: Option<Sealed> = None;
        for _ in 0..30 {
            let body = format!("{{\"a\":{}}}", rng.below(4));
            let id = format!("n{}", rng.below(3));
            let parent =
                last.as_ref().filter(|last| last.id == home.channel().remote_id(&id) && rng.percent(50));
            let deleted = rng.percent(20);
            let mut next = home.seal_on(&id, parent, deleted, &body, &[]);
            if rng.percent(50) {
                // The same once more, in company: another text.
                let parent = parent.map(|parent| (&parent.rev, &parent.line));
                let company = (0..=rng.below(4)).map(|n| {
                    let (id, body) = if n == 0 { (&*id, &*body) } else { ("other", "{}") };
                    let new = NewRevision { id, parent, deleted, body, files: &[] };
                    prepare_revision(home.channel(), &new).unwrap()
                });
                let all = seal_revisions(home.channel(), &home.vault.author(), company.collect()).unwrap();
                next = all[0].clone();
            }
            let envelope = Envelope::parse(&next.body).unwrap();
            let text =
                seen.entry((envelope.epoch, envelope.nonce)).or_insert_with(|| envelope.ciphertext.clone());
            assert_eq!(*text, envelope.ciphertext);
            sealed += 1;
            last = Some(next);
        }
    });
    assert!(seen.len() > 100 && sealed > seen.len(), "{} of {sealed}", seen.len());
}

#[test]
fn equal_content_shows_nothing_equal() {
    let chance = Chance::new(9);
    let one = home(&chance);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let body = format!("{{\"text\":\"{}\"}}", "same ".repeat(600));
    let mut texts: Vec<Sealed> = vec![one.seal("a", &body), one.seal("b", &body)];
    texts.push(one.seal_on("a", Some(&texts[0]), false, &body, &[]));
    texts.push(one.seal_on("a", Some(&texts[2]), false, &body, &[]));
    let rotated = [one.entries.clone(), vec![one.vault.rotate(&one.replay, &entropy).unwrap()]].concat();
    let other = one.vault.create_channel(&entropy).unwrap();
    for entries in [rotated, other] {
        let replay = one.vault.open_channel(None, &entries).unwrap();
        let new = NewRevision { id: "a", parent: None, deleted: false, body: &body, files: &[] };
        texts.push(seal_revision(&replay.channel, &one.vault.author(), &new).unwrap());
    }
    let mut blocks: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for sealed in &texts {
        let envelope = Envelope::parse(&sealed.body).unwrap();
        assert_eq!(envelope.ciphertext.len(), 4 * 1024 + 16);
        for block in envelope.ciphertext.windows(16) {
            assert!(blocks.insert(block.to_vec()), "a block came twice");
        }
        assert!(names.insert(sealed.rev.to_string()));
    }
    // Ids are the channel's own, for life: in both epochs the same, in another channel another.
    assert_eq!(texts[0].id, texts[4].id);
    assert_ne!(texts[0].id, texts[5].id);
}

#[test]
fn lengths_come_in_steps() {
    for (length, padded) in [
        (0, 1024),
        (1, 1024),
        (1024, 1024),
        (1025, 2048),
        (16 * 1024, 16 * 1024),
        (16 * 1024 + 1, 16 * 1024 + 512 * 2),
        (20_000, 20_480),
        (65_536, 65_536),
        (65_537, 67_584),
        (1_000_000, 1_015_808),
        (20_000_000, 20_447_232),
        (u64::MAX, u64::MAX),
    ] {
        assert_eq!(padded_len(length), padded, "{length}");
    }
    let mut steps = BTreeSet::new();
    for length in (1..300_000u64).step_by(7) {
        let padded = padded_len(length);
        assert!(padded >= length && padded_len(padded) == padded);
        assert!(length <= 16_384 || (padded - length) * 100 <= length * 7, "{length} {padded}");
        steps.insert(padded);
    }
    assert!(steps.len() < 130, "{}", steps.len());
    let home = home(&Chance::new(1));
    let lengths: BTreeSet<usize> = (0..800)
        .map(|n| Envelope::parse(&home.seal("n", &format!("{{\"a\":\"{}\"}}", "x".repeat(n))).body).unwrap())
        .map(|envelope| envelope.ciphertext.len())
        .collect();
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [1040]);
}

#[test]
fn eight_megabytes_are_sealed() {
    let home = home(&Chance::new(1));
    let body = format!("{{\"a\":\"{}\"}}", "é".repeat(4 << 20));
    let wire = Wire::new(&home.seal("n", &body), &[], false);
    assert!(wire.open(home.channel()).unwrap().body == body);
}
