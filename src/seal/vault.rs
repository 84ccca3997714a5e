//! The secrets of one account on one device, unlocked: the account's user keys, the device's signing key,
//! and what this device has seen of each channel.

use std::rc::Rc;

use zeroize::Zeroizing;

use super::{
    Author, Channel, Entropy, Entry, Epoch, Hash, Key, Locked, Pin, PublicKey, RecoveryCode, Refusal, Replay,
    Signer,
    channel::id_commitment,
    crypt::{first, hash, kdf, unwrap, wrap},
    log::{
        Account, Draft, Op, Scope, UserKey, Wrap, make_entry, replay, replay_account, seal_back,
        single_owner, wrap_aad,
    },
    parts::{Parts, enc, enc_list},
};
use crate::model::sort_by;

/// An account's keys on this device. Wiped when dropped.
pub struct Vault {
    root: PublicKey,
    account: Hash,
    device_seed: Key,
    device: Rc<Signer>,
    public: PublicKey,
    /// By number, the newest last; several may have one number if two devices changed it at once.
    user_keys: Vec<(u64, [u8; 16], Key)>,
    /// The account's log, as far as it is known.
    entries: Vec<Entry>,
    heads: Vec<Hash>,
    pins: Vec<Pin>,
}

fn account_of(root: &PublicKey) -> Hash {
    hash(&[b"account", root])
}

fn user_key_id(account: &Hash, key: &Key) -> [u8; 16] {
    first(kdf(key.expose(), account, "user-key-id").expose())
}

fn user_key_aad(account: &Hash, number: u64, id: &[u8; 16]) -> Vec<u8> {
    enc(&[b"user-key", account, &number.to_be_bytes(), id])
}

impl Vault {
    /// A new account with this device in it. The code is shown once and kept nowhere.
    pub fn create(entropy: Entropy) -> (Self, RecoveryCode) {
        let code = RecoveryCode::random(entropy);
        let mut vault = Self::bare(code.signer().public(), Key::random(entropy));
        vault.add_device(&code.signer(), &vault.root.clone(), &vault.public.clone());
        vault.add_user_key(&code, entropy);
        (vault, code)
    }

    /// Opens the account of a recovery code on another device, from the log entries of any of its channels,
    /// and adds this device to it. [`Replay::missing`] of each channel that is opened then has the entry that
    /// tells the others.
    ///
    /// Errors: `nothing_to_recover` if no entry belongs to this code's account.
    pub fn recover(code: &RecoveryCode, entries: &[Entry], entropy: Entropy) -> Result<Self, Locked> {
        let mut vault = Self::bare(code.signer().public(), Key::random(entropy));
        vault.learn(entries, Some(code));
        if vault.user_keys.is_empty() {
            return Err(Locked::NothingToRecover);
        }
        vault.add_device(&code.signer(), &vault.root.clone(), &vault.public.clone());
        Ok(vault)
    }

    fn bare(root: PublicKey, device_seed: Key) -> Self {
        let device = Signer::new(&device_seed);
        Self {
            root,
            account: account_of(&root),
            public: device.public(),
            device: Rc::new(device),
            device_seed,
            user_keys: Vec::new(),
            entries: Vec::new(),
            heads: Vec::new(),
            pins: Vec::new(),
        }
    }

    /// The account's name: a hash of its root key, which follows from the recovery code.
    pub fn account(&self) -> &Hash {
        &self.account
    }

    /// Who writes on this device.
    pub fn author(&self) -> Author<'_> {
        Author { signer: &self.device, public: self.public }
    }

    /// The device's signing key.
    pub fn signer(&self) -> Rc<Signer> {
        self.device.clone()
    }

    /// What was seen of a channel.
    pub fn pin(&self, ch: &Hash) -> Option<&Pin> {
        self.pins.iter().find(|pin| pin.ch == *ch)
    }

    /// The channels that were opened here.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Keeps what was seen of a channel. Store the vault afterwards.
    pub fn remember(&mut self, pin: Pin) {
        self.pins.retain(|own| own.ch != pin.ch);
        self.pins.push(pin);
    }

    /// Makes another device one of the account's.
    pub fn certify(&mut self, device: &PublicKey) -> Entry {
        let by = self.public;
        let entry = make_entry(&self.device, &by, self.account_draft(Op::Device(*device)));
        self.keep(entry)
    }

    fn add_device(&mut self, root: &Signer, by: &PublicKey, device: &PublicKey) {
        let entry = make_entry(root, by, self.account_draft(Op::Device(*device)));
        self.keep(entry);
    }

    /// A new user key for the account, sealed for its recovery code, which has to be typed for it. Channels
    /// begin to use it with their next epoch; other devices learn it when the code is typed there.
    pub fn rotate_user_key(&mut self, code: &RecoveryCode, entropy: Entropy) -> Result<Entry, Locked> {
        if code.signer().public() != self.root {
            return Err(Locked::Wrong);
        }
        Ok(self.add_user_key(code, entropy))
    }

    fn add_user_key(&mut self, code: &RecoveryCode, entropy: Entropy) -> Entry {
        let key = Key::random(entropy);
        let id = user_key_id(&self.account, &key);
        let number = self.user_keys.iter().map(|(number, ..)| *number).max().unwrap_or(0) + 1;
        let aad = user_key_aad(&self.account, number, &id);
        let sealed = |kind: &str, by: &Key, with: [u8; 16]| Wrap {
            kind: kind.to_owned(),
            account: self.account,
            key: with,
            sealed: wrap(by, kind, &aad, key.expose()),
        };
        let wraps = vec![sealed("rc1", &code.user_key_lock(), [0; 16])];
        let op = Op::UserKey(UserKey { number, id, wraps });
        // The root's word: a device alone cannot give the account a key of its own making.
        let entry = make_entry(&code.signer(), &self.root, self.account_draft(op));
        self.user_keys.push((number, id, key));
        self.keep(entry)
    }

    fn account_draft(&self, op: Op) -> Draft<'_> {
        Draft { scope: Scope::Account(self.account), prev: &self.heads, seen: &[], op }
    }

    fn keep(&mut self, entry: Entry) -> Entry {
        self.heads = vec![entry.hash];
        self.entries.push(entry.clone());
        entry
    }

    /// Takes in what a channel holds of the account's log; with the recovery code also the user keys in it.
    /// Whether there was something new: then store the vault.
    pub fn learn(&mut self, entries: &[Entry], code: Option<&RecoveryCode>) -> bool {
        let all = entries.iter().chain(&self.entries);
        let Account { entries, heads, user_keys, .. } =
            replay_account(&self.root, &self.account, all, &mut Vec::new());
        let mut is_new = entries.len() != self.entries.len();
        (self.entries, self.heads) = (entries, heads);
        let lock = code.filter(|code| code.signer().public() == self.root).map(RecoveryCode::user_key_lock);
        for found in user_keys {
            let is_known = self.user_keys.iter().any(|(_, id, _)| *id == found.id);
            let (Some(lock), false) = (&lock, is_known) else { continue };
            let aad = user_key_aad(&self.account, found.number, &found.id);
            let own = found.wraps.iter().filter(|wrap| wrap.kind == "rc1" && wrap.account == self.account);
            let key =
                own.filter_map(|wrap| Key::from_slice(&unwrap(lock, "rc1", &aad, &wrap.sealed)?)).next();
            if let Some(key) = key.filter(|key| user_key_id(&self.account, key) == found.id) {
                self.user_keys.push((found.number, found.id, key));
                is_new = true;
            }
        }
        sort_by(&mut self.user_keys, |a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        is_new
    }

    fn newest_user_key(&self) -> Result<&(u64, [u8; 16], Key), Refusal> {
        self.user_keys.last().ok_or(Refusal::UnknownEpoch)
    }

    /// A new channel: the entries that are its log. Its first epoch is in them.
    pub fn create_channel(&self, entropy: Entropy) -> Result<Vec<Entry>, Refusal> {
        let id_key = Key::random(entropy);
        let mut random = [0; 16];
        entropy(&mut random);
        let op = Op::Genesis { account: self.account, random, id_commitment: id_commitment(&id_key) };
        let draft = Draft { scope: Scope::NewChannel, prev: &[], seen: &self.heads, op };
        let genesis = make_entry(&self.device, &self.public, draft);
        let epoch = Epoch::new(&genesis.hash, 1, Key::random(entropy));
        let first = self.epoch_entry(&genesis.hash, &[genesis.hash], &epoch, &id_key, Vec::new())?;
        Ok(self.entries.iter().cloned().chain([genesis, first]).collect())
    }

    /// The channel that a log is of, unlocked. Hand the replay's pin to [`Vault::remember`], and write what
    /// [`Replay::missing`] has into the channel.
    ///
    /// Shape:  `ch` is the channel that this is expected to be; `None` only where a database is opened for
    /// the first time with nothing but a recovery code.
    /// Errors: `rollback`, `foreign_channel`, `unknown_epoch`.
    pub fn open_channel(&self, ch: Option<&Hash>, entries: &[Entry]) -> Result<Replay, Refusal> {
        let pin = ch.map(|ch| self.pin(ch).cloned().unwrap_or(Pin { ch: *ch, seen: vec![*ch] }));
        let keys: Vec<_> = self.user_keys.iter().map(|(_, id, key)| (*id, key.clone())).collect();
        replay(&self.root, &self.account, &keys, &self.entries, entries, pin.as_ref())
    }

    /// The entry that begins a new epoch. What was sealed before stays readable to whoever could read it.
    pub fn rotate(&self, replay: &Replay, entropy: Entropy) -> Result<Entry, Refusal> {
        if replay.needs_update {
            return Err(Refusal::NeedsUpdate);
        }
        let channel: &Channel = &replay.channel;
        let epoch = Epoch::new(channel.ch(), replay.newest_epoch + 1, Key::random(entropy));
        let is_newest = |earlier: &&Epoch| earlier.number == replay.newest_epoch;
        let back: Vec<_> = channel
            .epochs()
            .iter()
            .filter(is_newest)
            .map(|earlier| seal_back(channel.ch(), &epoch, earlier))
            .collect();
        if back.is_empty() {
            return Err(Refusal::UnknownEpoch);
        }
        self.epoch_entry(channel.ch(), &replay.heads, &epoch, channel.id_key(), back)
    }

    fn epoch_entry(
        &self,
        ch: &Hash,
        prev: &[Hash],
        epoch: &Epoch,
        id_key: &Key,
        back: Vec<([u8; 16], Vec<u8>)>,
    ) -> Result<Entry, Refusal> {
        let (_, key_id, user_key) = self.newest_user_key()?;
        let members = single_owner(&self.account);
        let aad = wrap_aad(ch, &epoch.id(), &members, &self.account, key_id);
        let secret = Zeroizing::new([*epoch.key.expose(), *id_key.expose()].concat());
        let sealed = wrap(user_key, "channel", &aad, &secret);
        let wraps = vec![Wrap { kind: "uk1".to_owned(), account: self.account, key: *key_id, sealed }];
        let op = Op::Epoch {
            number: epoch.number,
            id: epoch.id(),
            commitment: *epoch.commitment(),
            members,
            back,
            wraps,
        };
        let draft = Draft { scope: Scope::Channel(*ch), prev, seen: &self.heads, op };
        Ok(make_entry(&self.device, &self.public, draft))
    }

    /// All of it as bytes, for the key record.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let keys: Vec<_> = self
            .user_keys
            .iter()
            .map(|(number, id, key)| Zeroizing::new(enc(&[&number.to_be_bytes(), id, key.expose()])))
            .collect();
        let keys = Zeroizing::new(enc(&keys.iter().map(|key| key.as_slice()).collect::<Vec<_>>()));
        let entries = enc_list(&self.entries.iter().map(Entry::to_bytes).collect::<Vec<_>>());
        let pins: Vec<_> = self.pins.iter().map(|pin| enc(&[&pin.ch, &pin.seen.concat()])).collect();
        Zeroizing::new(enc(&[
            b"vault1",
            &self.root,
            self.device_seed.expose(),
            &keys,
            &entries,
            &enc_list(&pins),
        ]))
    }

    /// Reads back what [`Vault::to_bytes`] gave.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        if parts.next()? != b"vault1" {
            return None;
        }
        let mut vault = Self::bare(parts.array()?, Key::from_slice(parts.next()?)?);
        for bytes in Parts(parts.next()?).rest()? {
            let mut key = Parts(bytes);
            vault.user_keys.push((key.number()?, key.array()?, Key::from_slice(key.next()?)?));
            key.end()?;
        }
        let entries: Option<Vec<_>> =
            Parts(parts.next()?).rest()?.into_iter().map(Entry::from_bytes).collect();
        vault.learn(&entries?, None);
        for bytes in Parts(parts.next()?).rest()? {
            let mut pin = Parts(bytes);
            let (ch, seen) = (pin.array()?, pin.next()?.as_chunks());
            pin.end()?;
            seen.1.is_empty().then_some(())?;
            vault.pins.push(Pin { ch, seen: seen.0.to_vec() });
        }
        parts.end()?;
        Some(vault)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_has_one_form() {
        let entropy = |bytes: &mut [u8]| bytes.fill(3);
        let (mut vault, _) = Vault::create(&entropy);
        let log = vault.create_channel(&entropy).unwrap();
        vault.remember(vault.open_channel(None, &log).unwrap().pin);
        let bytes = vault.to_bytes();
        let parts = Parts(&bytes).rest().unwrap();
        let [keys, pins] = [3, 5].map(|at| Parts(parts[at]).rest().unwrap()[0].to_vec());
        let with = |at: usize, part: &[u8]| {
            let mut parts = parts.clone();
            parts.resize(parts.len().max(at + 1), b"");
            parts[at] = part;
            Vault::from_bytes(&enc(&parts)).map(|vault| *vault.to_bytes() == *bytes)
        };
        assert_eq!(with(0, b"vault1"), Some(true));
        assert_eq!((with(0, b"vault2"), with(6, b"")), (None, None));
        for (at, one) in [(3, &keys), (5, &pins)] {
            assert_eq!(with(at, &enc(&[one])), Some(true));
            assert_eq!(with(at, &enc(&[&[&one[..], &[0; 4]].concat()])), None);
            assert_eq!(with(at, &enc(&[&one[..one.len() - 1]])), None);
        }
        // A channel's name and what was seen: whole hashes alone.
        assert_eq!(with(5, &enc(&[&enc(&[&[1; 32], &[2; 64]])])), Some(false));
        assert_eq!(with(5, &enc(&[&enc(&[&[1; 32], &[2; 63]])])), None);
    }

    /// Who learned the newest user key alone reads what was sealed before it, epoch by epoch.
    #[test]
    fn the_chain_leads_back_to_the_first_epoch() {
        let entropy = |bytes: &mut [u8]| bytes.fill(3);
        let (mut vault, code) = Vault::create(&entropy);
        let mut log = vault.create_channel(&entropy).unwrap();
        let rotate = |vault: &Vault, log: &mut Vec<Entry>| {
            let replay = vault.open_channel(None, log).unwrap();
            let seed = log.len() as u8;
            log.push(vault.rotate(&replay, &|bytes: &mut [u8]| bytes.fill(seed)).unwrap());
        };
        rotate(&vault, &mut log);
        rotate(&vault, &mut log);
        log.push(vault.rotate_user_key(&code, &|bytes: &mut [u8]| bytes.fill(9)).unwrap());
        rotate(&vault, &mut log);
        let epochs = |vault: &Vault| {
            let channel = vault.open_channel(None, &log).unwrap().channel;
            assert_eq!(channel.current().unwrap().number, 4);
            channel.epochs().iter().map(|epoch| (epoch.number, epoch.id())).collect::<Vec<_>>()
        };
        let all = epochs(&vault);
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let old = vault.user_keys.remove(0);
        assert_eq!(epochs(&vault), all);
        // A key in the place of another is none of the channel's epochs.
        vault.user_keys.insert(0, old);
        let Replay { channel, heads, .. } = vault.open_channel(None, &log).unwrap();
        let epoch = Epoch::new(channel.ch(), 5, Key::new([7; 32]));
        let aad = enc(&[b"back", channel.ch(), &epoch.id(), &all[0].1]);
        let back = vec![(all[0].1, wrap(&epoch.back, "back", &aad, &[8; 32]))];
        let last = vault.epoch_entry(channel.ch(), &heads, &epoch, channel.id_key(), back).unwrap();
        vault.user_keys.remove(0);
        let log = [&log[..], &[last]].concat();
        let open = vault.open_channel(None, &log).unwrap().channel;
        assert!(open.epochs().iter().all(|one| one.number == 5 || all.contains(&(one.number, one.id()))));
    }

    /// A channel of several members is not taken for one that has its owner alone, whoever of its devices says so.
    #[test]
    fn an_epoch_is_for_its_owner_alone() {
        let entropy = |bytes: &mut [u8]| bytes.fill(3);
        let (vault, _) = Vault::create(&entropy);
        let log = vault.create_channel(&entropy).unwrap();
        let Replay { channel, heads, .. } = vault.open_channel(None, &log).unwrap();
        let epoch = Epoch::new(channel.ch(), 2, Key::new([5; 32]));
        let current = |members: Hash, id: [u8; 16]| {
            let (_, key, user_key) = vault.newest_user_key().unwrap();
            let aad = wrap_aad(channel.ch(), &id, &members, &vault.account, key);
            let secret = [*epoch.key.expose(), *channel.id_key().expose()].concat();
            let sealed = wrap(user_key, "channel", &aad, &secret);
            let wraps = vec![Wrap { kind: "uk1".to_owned(), account: vault.account, key: *key, sealed }];
            let (commitment, back) = (*epoch.commitment(), Vec::new());
            let op = Op::Epoch { number: 2, id, commitment, members, back, wraps };
            let draft = Draft { scope: Scope::Channel(*channel.ch()), prev: &heads, seen: &[], op };
            let entry = make_entry(&vault.device, &vault.public, draft);
            let replay = vault.open_channel(None, &[&log[..], &[entry]].concat()).unwrap();
            let refused: Vec<_> = replay.refused.iter().map(|(_, refusal)| *refusal).collect();
            (replay.channel.current().unwrap().number, refused)
        };
        let owner = single_owner(&vault.account);
        assert_eq!(current(owner, epoch.id()), (2, vec![]));
        assert_eq!(current([9; 32], epoch.id()), (1, vec![Refusal::NotOpened]));
        assert_eq!(current(owner, [9; 16]), (1, vec![Refusal::NotOpened]));
    }
}
