//! What only somebody with an account's own keys can do to its log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::{Draft, Entry, Op, Replay, Scope, UserKey, Wrap, entry::signed_entry, make_entry, read_log_doc};
use crate::seal::{
    Channel, Epoch, Hash, Key, Locked, NewRevision, RecoveryCode, Refusal, Signer, Vault, crypt, parts::enc,
    seal_revision,
};

fn entropy(bytes: &mut [u8]) {
    bytes.fill(3);
}

fn account() -> (Vault, Vec<Entry>) {
    let (vault, _) = Vault::create(&entropy);
    let entries = vault.create_channel(&entropy).unwrap();
    (vault, entries)
}

/// An entry by the vault's device, after the last of these.
fn added(vault: &Vault, entries: &[Entry], change: impl FnOnce(&mut Op), scope: Option<Scope>) -> Vec<Entry> {
    let last = entries.last().unwrap();
    let mut op = last.op.clone();
    change(&mut op);
    let author = vault.author();
    let scope = scope.unwrap_or(last.scope);
    let prev = if matches!(scope, Scope::Account(_)) { vec![] } else { vec![last.hash] };
    let entry = make_entry(author.signer, &author.public, Draft { scope, prev: &prev, seen: &[], op });
    [entries, &[entry]].concat()
}

#[test]
fn words_that_are_not_known_stop_all_sealing_and_no_reading() {
    let (vault, entries) = account();
    for scope in [None, Some(Scope::Account(*vault.account()))] {
        let newer = added(&vault, &entries, |op| *op = Op::Unknown, scope);
        let replay = vault.open_channel(None, &newer).unwrap();
        assert!(replay.needs_update);
        assert_eq!(replay.channel.epochs().len(), 1);
        let new = NewRevision { id: "a", parent: None, deleted: false, body: "{}", files: &[] };
        let sealed = seal_revision(&replay.channel, &vault.author(), &new);
        assert_eq!(sealed.err(), Some(Refusal::NeedsUpdate));
        assert_eq!(vault.rotate(&replay, &entropy).err(), Some(Refusal::NeedsUpdate));
    }
    // From a stranger they are nothing.
    let stranger = Signer::new(&Key::new([9; 32]));
    let last = entries.last().unwrap();
    let draft = Draft { scope: last.scope, prev: &[last.hash], seen: &[], op: Op::Unknown };
    let entry = make_entry(&stranger, &stranger.public(), draft);
    let replay = vault.open_channel(None, &[&entries[..], std::slice::from_ref(&entry)].concat()).unwrap();
    assert!(!replay.needs_update);
    assert_eq!(replay.refused, [(entry.hash, Refusal::UnknownAuthor)]);
}

/// Changes an epoch's id, commitment, members and sealed keys.
type Change = dyn Fn(&mut [u8], &mut [u8], &mut [u8], &mut Vec<u8>);

#[test]
fn an_epoch_that_does_not_fit_is_not_sealed_under() {
    let (vault, entries) = account();
    let epoch = |change: &dyn Fn(&mut Op)| {
        let newer = added(&vault, &entries, |op| change(op), None);
        let replay = vault.open_channel(None, &newer).unwrap();
        assert_eq!(replay.channel.current().map(|epoch| epoch.number), Ok(1));
        replay.refused.iter().map(|(_, refusal)| *refusal).collect::<Vec<_>>()
    };
    // The first one's number again, and its keys under another number or name.
    assert_eq!(epoch(&|_| {}), [Refusal::Malformed]);
    let second = |change: &Change| {
        epoch(&|op| {
            if let Op::Epoch { number, id, commitment, members, wraps, .. } = op {
                *number = 2;
                change(id, commitment, members, &mut wraps[0].sealed);
            }
        })
    };
    assert_eq!(second(&|id, _, _, _| id[0] ^= 1), [Refusal::NotOpened]);
    assert_eq!(second(&|_, commitment, _, _| commitment[0] ^= 1), [Refusal::NotOpened]);
    assert_eq!(second(&|_, _, members, _| members[0] ^= 1), [Refusal::NotOpened]);
    assert_eq!(second(&|_, _, _, sealed| sealed[30] ^= 1), [Refusal::NotOpened]);
    assert_eq!(second(&|_, _, _, sealed| sealed.truncate(20)), [Refusal::NotOpened]);
    // An epoch whose key is sealed for a user key that is not here: nothing is sealed under an older one.
    let newer = added(
        &vault,
        &entries,
        |op| {
            if let Op::Epoch { number, id, wraps, .. } = op {
                (*number, id[0], wraps[0].key) = (2, id[0] ^ 1, [9; 16]);
            }
        },
        None,
    );
    let replay = vault.open_channel(None, &newer).unwrap();
    assert_eq!(replay.channel.current().err(), Some(Refusal::UnknownEpoch));
    assert_eq!(vault.rotate(&replay, &entropy).err(), Some(Refusal::UnknownEpoch));
}

#[test]
fn a_device_alone_brings_no_user_key() {
    let (vault, entries) = account();
    let key = entries.iter().find(|entry| matches!(entry.op, Op::UserKey(_))).unwrap();
    let op = key.op.clone();
    let newer = added(&vault, &entries, |own| *own = op, Some(key.scope));
    let replay = vault.open_channel(None, &newer).unwrap();
    assert_eq!(replay.refused.iter().map(|(_, refusal)| *refusal).collect::<Vec<_>>(), [Refusal::Signature]);
}

#[test]
fn of_two_epochs_of_one_number_the_smaller_hash_is_current() {
    let (vault, entries) = account();
    let replay = vault.open_channel(None, &entries).unwrap();
    for seed in 10..70 {
        let rotated = |seed: u8| vault.rotate(&replay, &|bytes: &mut [u8]| bytes.fill(seed)).unwrap();
        let (a, b) = (rotated(seed), rotated(seed + 100));
        let smaller = if a.hash < b.hash { &a } else { &b };
        let Op::Epoch { id, .. } = &smaller.op else { panic!() };
        let both = vault.open_channel(None, &[&entries[..], &[a.clone(), b.clone()]].concat()).unwrap();
        assert_eq!(both.channel.current().unwrap().id(), *id);
        assert!(both.heads.len() == 2 && both.heads.is_sorted() && both.pin.seen.is_sorted());
        // A higher number goes before either.
        let after = vault.open_channel(None, &[&entries[..], std::slice::from_ref(&a)].concat()).unwrap();
        let third = vault.rotate(&after, &|bytes: &mut [u8]| bytes.fill(1)).unwrap();
        let all = vault.open_channel(None, &[&entries[..], &[a, b, third]].concat()).unwrap();
        assert_eq!(all.channel.current().unwrap().number, 3);
    }
}

/// An epoch that is accepted late, since its hash is small, does not take the place of a newer one.
#[test]
fn the_highest_number_is_current_whenever_it_is_found() {
    let mut late = 0;
    for seed in 10..110 {
        let of = |seed: u8| move |bytes: &mut [u8]| bytes.fill(seed);
        let (vault, _) = Vault::create(&of(seed));
        let entries = vault.create_channel(&of(seed)).unwrap();
        let replay = vault.open_channel(None, &entries).unwrap();
        let (a, b) = (vault.rotate(&replay, &of(1)).unwrap(), vault.rotate(&replay, &of(2)).unwrap());
        let after = vault.open_channel(None, &[&entries[..], std::slice::from_ref(&a)].concat()).unwrap();
        let third = vault.rotate(&after, &of(4)).unwrap();
        let first = entries.last().unwrap().hash;
        late += usize::from(b.hash < first && first < a.hash && a.hash < third.hash);
        let all = vault.open_channel(None, &[&entries[..], &[a, b, third]].concat()).unwrap();
        assert_eq!(all.channel.current().unwrap().number, 3);
    }
    assert!(late > 0);
}

/// Whoever makes a key at the same time as another device: both go on with the same one.
#[test]
fn of_two_user_keys_made_at_once_all_devices_use_one() {
    let of = |seed: u8| move |bytes: &mut [u8]| bytes.fill(seed);
    let (mut one, code) = Vault::create(&entropy);
    let log = one.create_channel(&entropy).unwrap();
    let mut other = Vault::recover(&code, &log, &of(4)).unwrap();
    one.rotate_user_key(&code, &of(5)).unwrap();
    other.rotate_user_key(&code, &of(6)).unwrap();
    let [a, b] = [&one, &other].map(|vault| vault.open_channel(None, &log).unwrap().missing);
    assert!(one.learn(&b, Some(&code)) && other.learn(&a, Some(&code)));
    let used = |vault: &Vault| {
        let replay = vault.open_channel(None, &log).unwrap();
        let Op::Epoch { wraps, .. } = vault.rotate(&replay, &entropy).unwrap().op else { panic!() };
        wraps[0].key
    };
    assert_eq!(used(&one), used(&other));
}

#[test]
fn what_is_sealed_for_others_is_passed_over() {
    let (vault, entries) = account();
    let replay = vault.open_channel(None, &entries).unwrap();
    let epoch = vault.rotate(&replay, &|bytes: &mut [u8]| bytes.fill(9)).unwrap();
    let opened = |change: &dyn Fn(&Wrap) -> Vec<Wrap>| {
        let mut op = epoch.op.clone();
        let Op::Epoch { wraps, .. } = &mut op else { panic!() };
        *wraps = change(&wraps[0]);
        let newer = added(&vault, &entries, |own| *own = op, None);
        let replay = vault.open_channel(None, &newer).unwrap();
        assert!(replay.refused.is_empty());
        replay.channel.current().map(|epoch| epoch.number)
    };
    let other_kind = |own: &Wrap| Wrap { kind: "mk1".to_owned(), sealed: vec![0; 40], ..own.clone() };
    let other_account = |own: &Wrap| Wrap { account: [9; 32], sealed: vec![0; 40], ..own.clone() };
    let other_key = |own: &Wrap| Wrap { key: [9; 16], sealed: vec![0; 40], ..own.clone() };
    assert_eq!(opened(&|own| vec![other_kind(own), other_account(own), other_key(own), own.clone()]), Ok(2));
    for nobodys in [other_kind, other_account, other_key] {
        assert_eq!(opened(&|own| vec![nobodys(own)]), Err(Refusal::UnknownEpoch));
    }
}

#[test]
fn a_user_key_is_the_one_that_its_name_says() {
    let code = RecoveryCode::new([3; 16]);
    let (root, lock) = (code.signer(), code.user_key_lock());
    let account = *Vault::create(&entropy).0.account();
    let key = Key::new([6; 32]);
    let name = crypt::first(crypt::kdf(key.expose(), &account, "user-key-id").expose());
    let recovered = |id: [u8; 16], change: &dyn Fn(&mut Wrap)| {
        let aad = enc(&[b"user-key", &account, &1u64.to_be_bytes(), &id]);
        let sealed = crypt::wrap(&lock, "rc1", &aad, key.expose());
        let mut wrap = Wrap { kind: "rc1".to_owned(), account, key: [0; 16], sealed };
        change(&mut wrap);
        let op = Op::UserKey(UserKey { number: 1, id, wraps: vec![wrap] });
        let draft = Draft { scope: Scope::Account(account), prev: &[], seen: &[], op };
        Vault::recover(&code, &[make_entry(&root, &root.public(), draft)], &entropy).map(|_| ())
    };
    assert_eq!(recovered(name, &|_| {}), Ok(()));
    assert_eq!(recovered([9; 16], &|_| {}), Err(Locked::NothingToRecover));
    assert_eq!(recovered(name, &|wrap| wrap.kind = "rc2".to_owned()), Err(Locked::NothingToRecover));
    assert_eq!(recovered(name, &|wrap| wrap.account = [9; 32]), Err(Locked::NothingToRecover));
}

#[test]
fn a_channel_of_another_account_is_none_of_ours() {
    let (vault, entries) = account();
    let op = Op::Genesis { account: [9; 32], random: [1; 16], id_commitment: [2; 32] };
    let author = vault.author();
    let draft = Draft { scope: Scope::NewChannel, prev: &[], seen: &[], op };
    let genesis = make_entry(author.signer, &author.public, draft);
    let replay = vault.open_channel(None, &[&entries[..], std::slice::from_ref(&genesis)].concat()).unwrap();
    assert_eq!(replay.refused, [(genesis.hash, Refusal::ForeignLog)]);
    assert_eq!(genesis.channel(), Some(genesis.hash));
    assert!(genesis.begins_channel());
    let (device, epoch) = (&entries[0], entries.last().unwrap());
    assert_eq!((device.channel(), epoch.channel()), (None, Some(*replay.channel.ch())));
    assert!(!device.begins_channel() && !epoch.begins_channel());
}

/// What the vault keeps of the account's log, and whether it was new.
#[test]
fn what_is_learned_is_new_once() {
    let (mut vault, code) = Vault::create(&entropy);
    let log = vault.create_channel(&entropy).unwrap();
    let mut other = Vault::recover(&code, &log, &|bytes: &mut [u8]| bytes.fill(4)).unwrap();
    other.certify(&[8; 32]);
    let devices = other.open_channel(None, &log).unwrap().missing;
    assert_eq!(devices.len(), 2);
    // What stands on an entry that is not there does not count.
    assert!(!vault.learn(&devices[1..], None));
    assert!(vault.learn(&devices, None) && !vault.learn(&devices, None));
    let key = vault.rotate_user_key(&code, &|bytes: &mut [u8]| bytes.fill(5)).unwrap();
    let Op::UserKey(UserKey { number, .. }) = &key.op else { panic!() };
    assert_eq!(*number, 2);
    let news = [key];
    assert!(other.learn(&news, None));
    // Without the code it is known and closed; with a strange one too.
    assert!(!other.learn(&news, None));
    assert!(!other.learn(&news, Some(&RecoveryCode::new([1; 16]))));
    assert!(other.learn(&news, Some(&code)));
    assert!(!other.learn(&news, Some(&code)));
}

/// A scope, what it comes after, and what it does have to fit.
#[test]
fn an_entry_has_one_form() {
    let (vault, entries) = account();
    let author = vault.author();
    let op = |at: usize| entries[at].op.clone();
    let (device, user_key, genesis, epoch) = (op(0), op(1), op(2), op(3));
    assert!(matches!((&device, &user_key), (Op::Device(_), Op::UserKey(_))));
    assert!(matches!((&genesis, &epoch), (Op::Genesis { .. }, Op::Epoch { .. })));
    let is_read = |scope: Scope, prev: &[Hash], op: &Op| {
        let draft = Draft { scope, prev, seen: &[], op: op.clone() };
        Entry::from_bytes(&make_entry(author.signer, &author.public, draft).to_bytes()).is_some()
    };
    let (ours, none): (&[Hash], &[Hash]) = (&[[1; 32]], &[]);
    for prev in [ours, none] {
        for (scope, is_account, is_new) in [
            (Scope::Account([4; 32]), true, false),
            (Scope::NewChannel, false, true),
            (Scope::Channel([4; 32]), false, false),
        ] {
            assert_eq!(is_read(scope, prev, &device), is_account);
            assert_eq!(is_read(scope, prev, &user_key), is_account);
            assert_eq!(is_read(scope, prev, &genesis), is_new && prev.is_empty());
            assert_eq!(is_read(scope, prev, &epoch), !is_account && !is_new && !prev.is_empty());
            assert!(is_read(scope, prev, &Op::Unknown));
        }
    }
    // They come in any order, and are written in theirs.
    let (a, b) = ([1; 32], [2; 32]);
    assert!(is_read(Scope::Channel([4; 32]), &[b, a, b], &epoch));
    // Nothing follows where something ends.
    let signer = Signer::new(&Key::new([1; 32]));
    let public = signer.public();
    let of = |kind: &[u8], scope: &[u8], prev: &[u8], op: &[u8], payload: &[&[u8]], more: &[u8]| {
        let fields: [&[u8]; 8] = [b"log1", kind, scope, prev, b"", &public, op, &enc(payload)];
        signed_entry(&[&enc(&fields), more].concat(), &signer).is_some()
    };
    let device = |payload: &[&[u8]], more: &[u8]| of(b"account", &[4; 32], b"", b"device", payload, more);
    assert!(device(&[&public], b""));
    assert!(!device(&[&public, b""], b"") && !device(&[&public], &[0; 4]) && !device(&[], b""));
    let key = |number: &[u8], wrap: &[&[u8]]| {
        let wraps = enc(&[&enc(wrap)]);
        of(b"account", &[4; 32], b"", b"user-key", &[number, &[5; 16], &wraps], b"")
    };
    let wrap: [&[u8]; 5] = [b"rc1", &[4; 32], &[0; 16], b"s", b""];
    assert!(key(&[0; 8], &wrap[..4]));
    assert!(!key(&[0; 8], &wrap) && !key(&[0; 8], &wrap[..3]) && !key(&[0; 7], &wrap[..4]));
    let epoch = |back: &[&[u8]]| {
        let back = enc(&[&enc(back)]);
        let payload: [&[u8]; 6] = [&[0; 8], &[5; 16], &[6; 32], &[7; 32], &back, b""];
        of(b"channel", &[4; 32], &[1; 32], b"epoch", &payload, b"")
    };
    let back: [&[u8]; 3] = [&[5; 16], b"s", b""];
    assert!(epoch(&back[..2]) && !epoch(&back) && !epoch(&back[..1]));
    assert!(!of(b"other", &[4; 32], b"", b"device", &[&public], b""));
    // Hashes ascend, each stands there once, and nothing is left over.
    let with = |prev: &[u8], seen: &[u8]| {
        let payload = enc(&[&[8; 32]]);
        let fields: [&[u8]; 8] =
            [b"log1", b"account", &[4; 32], prev, seen, &signer.public(), b"device", &payload];
        signed_entry(&enc(&fields), &signer).is_some()
    };
    let (up, down, same) = ([[1; 32], [2; 32]].concat(), [[2; 32], [1; 32]].concat(), [1; 64]);
    assert!(with(&up, &up));
    for bad in [&down[..], &same, &up[..63], &up[..33]] {
        assert!(!with(bad, &up) && !with(&up, bad));
    }
}

#[test]
fn an_entry_is_so_long_at_most() {
    const MOST: usize = 64 * 1024;
    let (vault, entries) = account();
    let author = vault.author();
    let of = |length: usize| {
        let mut op = entries[3].op.clone();
        let Op::Epoch { wraps, .. } = &mut op else { panic!() };
        wraps[0].sealed.resize(length, 0);
        let draft = Draft { scope: entries[3].scope, prev: &[entries[2].hash], seen: &[], op };
        make_entry(author.signer, &author.public, draft)
    };
    // What it has beside the wrap; `to_bytes` adds two lengths and the signature.
    let beside = of(0).to_bytes().len() - 72;
    for (length, is_read) in [(MOST, true), (MOST + 1, false)] {
        let entry = of(length - beside);
        assert_eq!(entry.to_bytes().len() - 72, length);
        let expected = if is_read { Ok(entry.clone()) } else { Err(Refusal::TooLarge) };
        let doc = entry.to_doc();
        assert_eq!(read_log_doc(&doc.id, &doc.rev, &doc.body), expected);
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), expected.ok());
    }
    let doc = entries[3].to_doc();
    for (length, expected) in [(2 * MOST, Ok(entries[3].clone())), (2 * MOST + 1, Err(Refusal::TooLarge))] {
        assert_eq!(
            read_log_doc(&doc.id, &doc.rev, &(doc.body.clone() + &" ".repeat(length - doc.body.len()))),
            expected
        );
    }
}

/// A server has an author's key like anybody, and can name our account and our channel.
#[test]
fn what_a_stranger_signs_counts_for_nothing() {
    let (vault, entries) = account();
    let before = vault.open_channel(None, &entries).unwrap();
    let (account, ch) = (*vault.account(), *before.channel.ch());
    let stranger = Signer::new(&Key::new([9; 32]));
    let by = stranger.public();
    let epoch = vault.rotate(&before, &|bytes: &mut [u8]| bytes.fill(7)).unwrap();
    let last = entries.last().unwrap();
    let genesis = Op::Genesis { account, random: [1; 16], id_commitment: [2; 32] };
    for (scope, op, refusal) in [
        (Scope::Account(account), Op::Device(by), Refusal::UnknownAuthor),
        (Scope::Account(account), entries[1].op.clone(), Refusal::UnknownAuthor),
        (Scope::Account(account), Op::Unknown, Refusal::UnknownAuthor),
        (Scope::Channel(ch), epoch.op.clone(), Refusal::UnknownAuthor),
        (Scope::Channel(ch), Op::Unknown, Refusal::UnknownAuthor),
        (Scope::NewChannel, genesis, Refusal::ForeignLog),
    ] {
        for is_after in [false, true] {
            let prev = match scope {
                Scope::Channel(_) => vec![last.hash],
                Scope::NewChannel => vec![],
                Scope::Account(_) if is_after => vec![entries[1].hash],
                Scope::Account(_) => vec![],
            };
            let draft = Draft { scope, prev: &prev, seen: &[], op: op.clone() };
            let entry = make_entry(&stranger, &by, draft);
            let replay =
                vault.open_channel(None, &[&entries[..], std::slice::from_ref(&entry)].concat()).unwrap();
            assert_eq!(replay.refused, [(entry.hash, refusal)]);
            assert_eq!(replay.channel.authors(), before.channel.authors());
            assert_eq!((&replay.pin, replay.needs_update), (&before.pin, false));
            assert_eq!(replay.channel.current().unwrap().id(), before.channel.current().unwrap().id());
        }
    }
}

/// The key of the ids is what the first entry says, for life.
#[test]
fn an_epoch_brings_no_other_key_of_ids() {
    let (vault, entries) = account();
    let mut replay = vault.open_channel(None, &entries).unwrap();
    let rotated = |replay: &Replay| {
        let epoch = vault.rotate(replay, &|bytes: &mut [u8]| bytes.fill(7)).unwrap();
        let newer = vault.open_channel(None, &[&entries[..], &[epoch]].concat()).unwrap();
        (newer.channel.current().unwrap().number, newer.refused.len(), newer.channel.remote_id("a"))
    };
    let (number, refused, id) = rotated(&replay);
    assert_eq!((number, refused), (2, 0));
    let channel = &replay.channel;
    let (ch, head) = (*channel.ch(), *channel.log_head());
    let first = Epoch::new(&ch, 1, channel.epochs()[0].key.clone());
    let current = Some(first.id());
    replay.channel = Channel::new(ch, Key::new([8; 32]), vec![first], current, head, Vec::new());
    assert_eq!(rotated(&replay), (1, 1, id));
}
