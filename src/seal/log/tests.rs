//! What only somebody with an account's own keys can do to its log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::{Draft, Entry, Op, Scope, make_entry};
use crate::seal::{Key, NewRevision, Refusal, Signer, Vault, seal_revision};

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
