//! A log, replayed: what of it counts, which keys it gives, who may write. The same entries give the same
//! answer in any order and on every device.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        Channel, Epoch, Hash, Key, PublicKey, Refusal,
        channel::id_commitment,
        crypt::{hash, same, unwrap},
        parts::enc,
    },
    Entry, Op, Scope, UserKey, Wrap,
};
use crate::model::sort_by;

/// What this device has seen of a channel and will not un-see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The channel's name.
    pub ch: Hash,
    /// The newest entries of both logs, in order. All of them must be there the next time.
    pub seen: Vec<Hash>,
}

/// What a replay gave.
pub struct Replay {
    /// The channel, unlocked.
    pub channel: Channel,
    /// What to remember: hand it over the next time.
    pub pin: Pin,
    /// Entries that do not count, and why. None of them changes anything.
    pub refused: Vec<(Hash, Refusal)>,
    /// Entries of this account's log that the channel does not hold yet and should.
    pub missing: Vec<Entry>,
    /// One of this account's own devices wrote in words that are not known here: what is known stays
    /// readable, and nothing may be sealed.
    pub needs_update: bool,
    pub(in super::super) heads: Vec<Hash>,
    pub(in super::super) newest_epoch: u64,
}

/// An account's log, replayed.
#[derive(Default)]
pub(in super::super) struct Account {
    pub(in super::super) devices: Vec<PublicKey>,
    pub(in super::super) user_keys: Vec<UserKey>,
    /// What counts, each after what it was written after.
    pub(in super::super) entries: Vec<Entry>,
    pub(in super::super) heads: Vec<Hash>,
    pub(in super::super) needs_update: bool,
}

/// The entries of one log that count: those of authors it knows by then, after entries that count.
///
/// `judge` says what an entry does, with what it comes after already done.
fn accept<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    judge: &mut dyn FnMut(&'a Entry) -> Result<(), Refusal>,
    refused: &mut Vec<(Hash, Refusal)>,
) -> Vec<&'a Entry> {
    // By hash: the same order on every device, each once.
    let mut waiting: Vec<&Entry> = entries.collect();
    sort_by(&mut waiting, |a, b| a.hash.cmp(&b.hash));
    waiting.dedup_by(|a, b| a.hash == b.hash);
    let (mut done, mut out) = (HashSet::new(), Vec::new());
    loop {
        let mut grew = false;
        let mut later = Vec::new();
        for entry in waiting {
            let is_ready = entry.prev.iter().all(|prev| done.contains(prev));
            match if is_ready { judge(entry) } else { Err(Refusal::UnknownAuthor) } {
                Ok(()) => {
                    done.insert(entry.hash);
                    out.push(entry);
                    grew = true;
                }
                // Another entry may bring the author, or what comes before.
                Err(Refusal::UnknownAuthor) => later.push(entry),
                Err(refusal) => refused.push((entry.hash, refusal)),
            }
        }
        waiting = later;
        if !grew {
            refused.extend(waiting.into_iter().map(|entry| (entry.hash, Refusal::UnknownAuthor)));
            return out;
        }
    }
}

/// The entries that no other one comes after, in order.
fn heads(entries: &[&Entry]) -> Vec<Hash> {
    let before: HashSet<Hash> = entries.iter().flat_map(|entry| entry.prev.iter().copied()).collect();
    let mut heads: Vec<Hash> = entries.iter().map(|entry| entry.hash).collect();
    heads.retain(|hash| !before.contains(hash));
    sort_by(&mut heads, Ord::cmp);
    heads
}

/// Replays the log of the account whose root is `root`.
pub(in super::super) fn replay_account<'a>(
    root: &PublicKey,
    name: &Hash,
    entries: impl Iterator<Item = &'a Entry>,
    refused: &mut Vec<(Hash, Refusal)>,
) -> Account {
    let mut account = Account::default();
    let own = entries.filter(|entry| entry.scope == Scope::Account(*name));
    let mut judge = |entry: &'a Entry| {
        if entry.by != *root && !account.devices.contains(&entry.by) {
            return Err(Refusal::UnknownAuthor);
        }
        match &entry.op {
            Op::Device(public) if account.devices.contains(public) => {}
            Op::Device(public) => account.devices.push(*public),
            // Only who knows the recovery code brings a key that all channels will be sealed with.
            Op::UserKey(key) if entry.by == *root => account.user_keys.push(key.clone()),
            Op::UserKey(_) => return Err(Refusal::Signature),
            _ => account.needs_update = true,
        }
        Ok(())
    };
    let accepted = accept(own, &mut judge, refused);
    account.heads = heads(&accepted);
    account.entries = accepted.into_iter().cloned().collect();
    account
}

/// What is bound to a wrap of a channel's keys.
pub(in super::super) fn wrap_aad(
    ch: &Hash,
    epoch: &[u8; 16],
    members: &Hash,
    account: &Hash,
    key: &[u8; 16],
) -> Vec<u8> {
    enc(&[b"wrap", ch, epoch, members, account, key])
}

/// What is bound to an epoch's key that is sealed under a later one.
fn back_aad(ch: &Hash, later: &[u8; 16], earlier: &[u8; 16]) -> Vec<u8> {
    enc(&[b"back", ch, later, earlier])
}

/// Seals an epoch's key under a later one.
pub(in super::super) fn seal_back(ch: &Hash, later: &Epoch, earlier: &Epoch) -> ([u8; 16], Vec<u8>) {
    let aad = back_aad(ch, &later.id(), &earlier.id());
    (earlier.id(), super::super::crypt::wrap(&later.back, "back", &aad, earlier.key.expose()))
}

/// Replays a channel's log with an account's keys.
///
/// Shape:  `entries` in any order, of both logs. `user_keys` by their names. `own` are the account's entries
/// that this device holds. `pin` is what it saw before.
/// Errors: `rollback`, `foreign_channel` (no channel of this account, or more than one), `unknown_epoch`
/// (no epoch of it opens with these keys).
pub(in super::super) fn replay(
    root: &PublicKey,
    name: &Hash,
    user_keys: &[([u8; 16], Key)],
    own: &[Entry],
    entries: &[Entry],
    pin: Option<&Pin>,
) -> Result<Replay, Refusal> {
    let mut refused = Vec::new();
    let account = replay_account(root, name, entries.iter().chain(own), &mut refused);
    let present: HashSet<Hash> = entries.iter().map(|entry| entry.hash).collect();
    let missing = account.entries.iter().filter(|entry| !present.contains(&entry.hash)).cloned().collect();

    let (ch, id_commitment) = genesis(name, &account, entries, pin)?;
    // How many epochs an entry's past has, with itself.
    let mut epochs_until: HashMap<Hash, u64> = HashMap::new();
    let mut needs_update = account.needs_update;
    let of_channel = |entry: &&Entry| entry.hash == ch || entry.scope == Scope::Channel(ch);
    let mut judge = |entry: &Entry| {
        if !account.devices.contains(&entry.by) {
            return Err(Refusal::UnknownAuthor);
        }
        let before = entry.prev.iter().filter_map(|prev| epochs_until.get(prev)).max().copied();
        let mut until = before.unwrap_or(0);
        match &entry.op {
            Op::Epoch { number, .. } if *number == until + 1 => until += 1,
            Op::Epoch { .. } => return Err(Refusal::Malformed),
            Op::Genesis { .. } => {}
            _ => needs_update = true,
        }
        epochs_until.insert(entry.hash, until);
        Ok(())
    };
    let accepted = accept(entries.iter().filter(of_channel), &mut judge, &mut refused);
    for entry in entries {
        let is_ours = entry.scope == Scope::Account(*name) || of_channel(&entry);
        if !is_ours {
            refused.push((entry.hash, Refusal::ForeignLog));
        }
    }

    let heads = heads(&accepted);
    let known = |hash: &Hash| {
        accepted.iter().any(|entry| entry.hash == *hash)
            || account.entries.iter().any(|entry| entry.hash == *hash)
    };
    if pin.is_some_and(|pin| !pin.seen.iter().all(known)) {
        return Err(Refusal::Rollback);
    }
    let (epochs, id_key, current, newest_epoch) =
        keys(&ch, &id_commitment, name, user_keys, &accepted, &mut refused)?;
    let mut seen = [heads.clone(), account.heads.clone()].concat();
    sort_by(&mut seen, Ord::cmp);
    let log_head = hash(&[b"heads", &heads.concat()]);
    let authors = account.devices.clone();
    let current = (!needs_update).then_some(current);
    Ok(Replay {
        channel: Channel::new(ch, id_key, epochs, current, log_head, authors),
        pin: Pin { ch, seen },
        refused,
        missing,
        needs_update,
        heads,
        newest_epoch,
    })
}

/// The channel's first entry: the pinned one, or else the only one that a device of this account signed.
fn genesis(
    name: &Hash,
    account: &Account,
    entries: &[Entry],
    pin: Option<&Pin>,
) -> Result<(Hash, Hash), Refusal> {
    let mut found: Vec<(Hash, Hash)> = entries
        .iter()
        .filter(|entry| account.devices.contains(&entry.by))
        .filter_map(|entry| match &entry.op {
            Op::Genesis { account, id_commitment, .. } if account == name => {
                Some((entry.hash, *id_commitment))
            }
            _ => None,
        })
        .filter(|(hash, _)| pin.is_none_or(|pin| pin.ch == *hash))
        .collect();
    sort_by(&mut found, Ord::cmp);
    found.dedup();
    match &found[..] {
        [one] => Ok(*one),
        // Where nothing is left of what was pinned, an old or another state is shown.
        [] if pin.is_some() => Err(Refusal::Rollback),
        _ => Err(Refusal::ForeignLog),
    }
}

type Keys = (Vec<Epoch>, Key, [u8; 16], u64);

/// The epochs' keys: those sealed for this account, and then back along the chain.
fn keys(
    ch: &Hash,
    committed: &Hash,
    name: &Hash,
    user_keys: &[([u8; 16], Key)],
    accepted: &[&Entry],
    refused: &mut Vec<(Hash, Refusal)>,
) -> Result<Keys, Refusal> {
    let mut opened: Vec<Epoch> = Vec::new();
    let mut id_key: Option<Key> = None;
    let mut current: Option<(u64, Hash, [u8; 16])> = None;
    for entry in accepted {
        let Op::Epoch { number, id, commitment, members, wraps, .. } = &entry.op else { continue };
        let own = |wrap: &&Wrap| wrap.kind == "uk1" && wrap.account == *name;
        let key_of = |wrap: &Wrap| user_keys.iter().find(|(id, _)| *id == wrap.key).map(|(_, key)| key);
        if let Some((wrap, key)) = wraps.iter().filter(own).find_map(|wrap| Some((wrap, key_of(wrap)?))) {
            let aad = wrap_aad(ch, id, members, name, &wrap.key);
            let secrets = unwrap(key, "channel", &aad, &wrap.sealed).and_then(|text| {
                let (epoch, id_key) = text.split_at_checked(32)?;
                let epoch = Epoch::new(ch, *number, Key::from_slice(epoch)?);
                let id_key = Key::from_slice(id_key)?;
                let fits = epoch.id() == *id
                    && same(epoch.commitment(), commitment)
                    && same(&id_commitment(&id_key), committed)
                    && *members == single_owner(name);
                fits.then_some((epoch, id_key))
            });
            match secrets {
                Some((epoch, key)) => {
                    opened.push(epoch);
                    id_key = Some(key);
                }
                // A device of this account signed what does not fit: it does not become current.
                None => {
                    refused.push((entry.hash, Refusal::NotOpened));
                    continue;
                }
            }
        }
        // The highest number; of two of one number, the smaller hash.
        let later = current
            .as_ref()
            .is_none_or(|(top, hash, _)| number > top || (number == top && entry.hash < *hash));
        if later {
            current = Some((*number, entry.hash, *id));
        }
    }
    // From the newest back: accepted entries stand behind those they were written after.
    for entry in accepted.iter().rev() {
        let Op::Epoch { id, back, .. } = &entry.op else { continue };
        for (earlier, sealed) in back {
            if opened.iter().any(|epoch| epoch.id() == *earlier) {
                continue;
            }
            let Some(later) = opened.iter().find(|epoch| epoch.id() == *id) else { break };
            let number = accepted.iter().find_map(|entry| match &entry.op {
                Op::Epoch { number, id, .. } if id == earlier => Some(*number),
                _ => None,
            });
            let key = unwrap(&later.back, "back", &back_aad(ch, id, earlier), sealed);
            let key = key.and_then(|key| Key::from_slice(&key));
            if let (Some(number), Some(key)) = (number, key) {
                let epoch = Epoch::new(ch, number, key);
                if epoch.id() == *earlier {
                    opened.push(epoch);
                }
            }
        }
    }
    let (number, _, current) = current.ok_or(Refusal::UnknownEpoch)?;
    sort_by(&mut opened, |a, b| (a.number, a.id()).cmp(&(b.number, b.id())));
    Ok((opened, id_key.ok_or(Refusal::UnknownEpoch)?, current, number))
}

/// The hash of the members of a channel that has its owner alone.
pub(in super::super) fn single_owner(account: &Hash) -> Hash {
    hash(&[b"members", account])
}
