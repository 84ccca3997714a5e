//! The keys of this device: kept in a store of their own, unlocked, and lent to sealed channels.
//!
//! ```text
//! KeyStore ── one block, the newest: a KeyRecord ──► Store (settee-vault)
//!    │ unlock: passphrase's key, device's key or recovery code
//!    ▼
//! Unlocked ── KeySource ──► Database::unlock ── pins ──► back into the record
//! ```
//!
//! Several tabs share the record. Each change is made to the newest one, in the transaction that stores it, so
//! that a tab that saw more of a channel does not bring back a passphrase that another one has changed.
//!
//! A channel is begun where somebody asks for a new one, and its log is kept beside the database (record
//! `channel`) until it is in there: the first one stays, so two tabs, or a crash in between, leave one channel.
//! Any other sealed database has no channel of its own and waits for one to arrive.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    database::{CHANNEL, Database, KeySource, Keys, OpenOptions},
    error::{Error, Kind, Result},
    platform::Platform,
    seal::{
        Cost, Entropy, Entry, Hash, Key, KeyRecord, Locked, PassphraseLock, Pin, RecoveryCode, Refusal,
        Unlocked, Vault,
    },
    store::{Batch, Block, BlockNo, Store},
};

/// Records looked through at a time; there is one, and for a moment several.
const SCAN_RECORDS: u32 = 64;

/// What unlocks.
pub enum Secret<'a> {
    /// The key that [`passphrase_key`](crate::seal::passphrase_key) makes with
    /// [`KeyStore::passphrase_lock`].
    Passphrase(&'a Key),
    /// The key that [`KeyStore::stay_unlocked`] gave.
    Device(&'a Key),
    /// The recovery code, as it was typed.
    Code(&'a str),
}

/// A passphrase that is to unlock it: how its key is made, and that key.
pub type Passphrase<'a> = Option<(&'a PassphraseLock, &'a Key)>;

/// How the keys of this device stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether there are any.
    pub exists: bool,
    /// Whether they are locked here.
    pub locked: bool,
    /// Whether a passphrase unlocks them.
    pub passphrase: bool,
    /// Whether a key of the device's does.
    pub device: bool,
}

/// See the module's page. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct KeyStore {
    inner: Rc<Inner>,
}

struct Inner {
    store: Rc<dyn Store>,
    platform: Rc<dyn Platform>,
    /// The newest record that was read, and the number after it.
    record: RefCell<Option<KeyRecord>>,
    next: Cell<BlockNo>,
    unlocked: RefCell<Option<Unlocked>>,
    /// What was seen of channels and is not stored yet.
    seen: RefCell<Vec<(Vec<Entry>, Pin)>>,
    /// Called when there is something to [`KeyStore::save`].
    on_seen: Box<dyn Fn()>,
}

impl KeyStore {
    /// The keys that a store holds, locked. `on_seen` is called when a channel showed something new, for
    /// whoever then calls [`KeyStore::save`]. Nothing is read yet, so that damaged ones can be forgotten
    /// ([`KeyStore::destroy`]); whatever reads them may fail with `malformed_keys` or `unknown_version`.
    pub fn new(store: Rc<dyn Store>, platform: Rc<dyn Platform>, on_seen: Box<dyn Fn()>) -> Self {
        let inner = Inner {
            store,
            platform,
            record: RefCell::default(),
            next: Cell::new(1),
            unlocked: RefCell::default(),
            seen: RefCell::default(),
            on_seen,
        };
        Self { inner: Rc::new(inner) }
    }

    /// How they stand now.
    pub async fn status(&self) -> Result<Status> {
        self.read().await?;
        let record = self.inner.record.borrow();
        Ok(Status {
            exists: record.is_some(),
            locked: self.is_locked(),
            passphrase: record.as_ref().is_some_and(KeyRecord::has_passphrase),
            device: record.as_ref().is_some_and(KeyRecord::has_device),
        })
    }

    /// Whether the keys are not at hand.
    pub fn is_locked(&self) -> bool {
        self.inner.unlocked.borrow().is_none()
    }

    /// Makes an account with this device in it; its recovery code, which is kept nowhere.
    ///
    /// Errors: 412 `vault_exists`; nothing is overwritten, also if another tab was faster.
    pub async fn create(&self, passphrase: Passphrase<'_>) -> Result<Zeroizing<String>> {
        self.must_be_absent().await?;
        let (vault, code) = self.with_entropy(|entropy| Vault::create(entropy))?;
        self.begin(vault, &code, passphrase).await?;
        Ok(code.to_text())
    }

    /// Opens an account on this device with its recovery code and what a sealed database has of one of its
    /// channels. The database gets its keys from [`KeyStore::unlock_database`] afterwards.
    ///
    /// Errors: 412 `vault_exists`; `code_length`, `mistyped_code`; `nothing_to_recover`; 403 `foreign_channel`,
    /// `rollback`, `unknown_epoch` if the channel would not open.
    /// Atomic: nothing is kept unless the channel opens.
    pub async fn recover(&self, code: &str, database: &Database, passphrase: Passphrase<'_>) -> Result<()> {
        self.must_be_absent().await?;
        let code = RecoveryCode::parse(code).map_err(locked)?;
        // Looks at what other tabs pulled.
        database.info().await?;
        let log = database.channel_log().await?;
        let vault = self.with_entropy(|entropy| Vault::recover(&code, &log, entropy))?.map_err(locked)?;
        vault.open_channel(database.channel().await?.as_ref(), &log).map_err(refused)?;
        self.begin(vault, &code, passphrase).await
    }

    async fn must_be_absent(&self) -> Result<()> {
        self.read().await?;
        if self.inner.record.borrow().is_some() { Err(exists()) } else { Ok(()) }
    }

    async fn begin(&self, vault: Vault, code: &RecoveryCode, passphrase: Passphrase<'_>) -> Result<()> {
        let (mut record, unlocked) = self.with_entropy(|entropy| KeyRecord::new(vault, code, entropy))?;
        if let Some((lock, key)) = passphrase {
            record.set_passphrase(&unlocked, lock, key).map_err(locked)?;
        }
        let bytes = record.to_bytes();
        let mut build = |newer: &[Block], _: BlockNo| {
            if !newer.is_empty() {
                return Err(exists());
            }
            Ok(Some(Batch { blocks: vec![bytes.clone().into()], ..Batch::default() }))
        };
        let next = self.inner.store.append(self.inner.next.get(), &mut build).await?;
        self.inner.next.set(next);
        *self.inner.record.borrow_mut() = Some(record);
        *self.inner.unlocked.borrow_mut() = Some(unlocked);
        Ok(())
    }

    /// For a passphrase that is new here.
    pub fn new_passphrase_lock(&self) -> Result<PassphraseLock> {
        self.with_entropy(|entropy| PassphraseLock::new(Cost::FLOOR, entropy))
    }

    /// For the passphrase that unlocks.
    ///
    /// Errors: 404 `no_vault`; `no_such_lock`; `cost_out_of_bounds`.
    pub async fn passphrase_lock(&self) -> Result<PassphraseLock> {
        self.read().await?;
        self.inner.record.borrow().as_ref().ok_or_else(absent)?.passphrase_lock().map_err(locked)
    }

    /// Unlocks.
    ///
    /// Errors: 404 `no_vault`; `code_length`, `mistyped_code`; `no_such_lock`; `wrong_secret` for anything else.
    pub async fn unlock(&self, secret: Secret<'_>) -> Result<()> {
        let code = match secret {
            // What is mistyped is told before anything else.
            Secret::Code(text) => Some(RecoveryCode::parse(text).map_err(locked)?),
            _ => None,
        };
        self.read().await?;
        let unlocked = {
            let record = self.inner.record.borrow();
            let record = record.as_ref().ok_or_else(absent)?;
            match (secret, &code) {
                (Secret::Passphrase(key), _) => record.unlock_with_passphrase(key),
                (Secret::Device(key), _) => record.unlock_with_device(key),
                (Secret::Code(_), Some(code)) => record.unlock_with_code(code),
                (Secret::Code(_), None) => Err(Locked::Mistyped),
            }
        };
        *self.inner.unlocked.borrow_mut() = Some(unlocked.map_err(locked)?);
        Ok(())
    }

    /// Drops the keys here. Channels that have theirs are the caller's to lock.
    pub fn lock(&self) {
        *self.inner.unlocked.borrow_mut() = None;
        self.inner.seen.borrow_mut().clear();
    }

    /// Another passphrase, or a first one.
    ///
    /// Errors: `locked`.
    pub async fn set_passphrase(&self, lock: &PassphraseLock, key: &Key) -> Result<()> {
        self.update(&mut |record, unlocked| record.set_passphrase(unlocked, lock, key).map_err(locked)).await
    }

    /// Lets a key of the device's unlock it, in place of one before: this key, the caller's to keep where it
    /// cannot be read out.
    ///
    /// Errors: `locked`.
    pub async fn stay_unlocked(&self) -> Result<Key> {
        let mut made = None;
        self.update(&mut |record, unlocked| {
            made = Some(self.with_entropy(|entropy| record.set_device(unlocked, entropy))?);
            Ok(())
        })
        .await?;
        made.ok_or_else(Error::locked)
    }

    /// Ends that.
    ///
    /// Errors: `locked`.
    pub async fn end_stay(&self) -> Result<()> {
        self.update(&mut |record, unlocked| {
            record.remove_device(unlocked);
            Ok(())
        })
        .await
    }

    /// Stores what was seen of channels.
    pub async fn save(&self) -> Result<()> {
        let seen = std::mem::take(&mut *self.inner.seen.borrow_mut());
        if seen.is_empty() || self.is_locked() {
            return Ok(());
        }
        self.update(&mut |record, unlocked| {
            for (entries, pin) in &seen {
                unlocked.vault.learn(entries, None);
                unlocked.vault.remember(pin.clone());
            }
            record.store(unlocked);
            Ok(())
        })
        .await
    }

    /// Opens a sealed database, for [`KeyStore::unlock_database`]. One that is not there is made: with a channel
    /// of its own if `begins`, so that a crash leaves it with one or leaves no database, else waiting for one.
    ///
    /// Errors: `locked` if it is not there; 403 `forbidden` if it is there and not sealed.
    pub async fn open_database(
        &self,
        store: Rc<dyn Store>,
        platform: Rc<dyn Platform>,
        options: OpenOptions,
        begins: bool,
    ) -> Result<Database> {
        if !Database::exists(&*store).await? {
            if self.is_locked() {
                return Err(Error::locked());
            }
            if begins {
                self.begin_channel(&*store).await?;
            }
        }
        Database::open(store, platform, OpenOptions { sealed: true, ..options }).await
    }

    /// The channel that a database without a log begins as; the first one stays.
    async fn begin_channel(&self, store: &dyn Store) -> Result<Option<Begun>> {
        let begun = {
            let unlocked = self.inner.unlocked.borrow();
            let vault = &unlocked.as_ref().ok_or_else(Error::locked)?.vault;
            let entries = self.with_entropy(|entropy| vault.create_channel(entropy))?.map_err(refused)?;
            let ch = entries.iter().find(|entry| entry.begins_channel()).map(|entry| *entry.hash());
            Begun { ch: ch.unwrap_or_default(), entries }
        };
        Begun::read(&store.put_record(CHANNEL, begun.to_bytes().into(), true).await?).map(Some)
    }

    /// Gives a sealed database its keys. With `begins`, one that waits for a channel begins one.
    ///
    /// Shape:  `store` is the one that `database` is over.
    /// Errors: `locked`; 404 `no_channel` while nothing of it has arrived; 403 `foreign_channel`, `rollback`,
    /// `unknown_epoch`; 403 `forbidden` if it is not sealed.
    pub async fn unlock_database(&self, store: &dyn Store, database: &Database, begins: bool) -> Result<()> {
        if self.is_locked() {
            return Err(Error::locked());
        }
        if !database.is_sealed() {
            return Err(Error::not_sealed());
        }
        // Looks at what other tabs wrote.
        database.info().await?;
        let mut log = database.channel_log().await?;
        let begun = match store.records(vec![CHANNEL]).await?.pop().flatten() {
            Some(bytes) => Some(Begun::read(&bytes)?),
            None if begins && log.is_empty() => self.begin_channel(store).await?,
            None => None,
        };
        if let Some(begun) = &begun {
            let is_there = |entry: &&Entry| !log.iter().any(|own| own.hash() == entry.hash());
            let lacking: Vec<_> = begun.entries.iter().filter(is_there).cloned().collect();
            database.append_to_log(&lacking).await?;
            log.extend(lacking);
        }
        if log.is_empty() {
            return Err(Error::no_channel());
        }
        let ch = Cell::new(begun.as_ref().map(|begun| begun.ch));
        let source = Rc::new(Source { keys: self.clone(), ch, missing: RefCell::default() });
        database.unlock(source.clone()).await?;
        if let (None, Some(ch)) = (begun, source.ch.get()) {
            let bytes = Begun { ch, entries: Vec::new() }.to_bytes();
            let kept = store.put_record(CHANNEL, bytes.into(), true).await?;
            if Begun::read(&kept)?.ch != ch {
                database.lock();
                return Err(refused(Refusal::ForeignLog));
            }
        }
        let missing = source.missing.take();
        database.append_to_log(&missing).await?;
        // What is not stored now is seen again the next time.
        let _ = self.save().await;
        Ok(())
    }

    /// A new epoch for a channel that is unlocked: what is written from now on is sealed under a new key.
    ///
    /// Errors: `locked`; 403 `needs_update`, `unknown_epoch` where this device may not seal.
    pub async fn rotate(&self, database: &Database) -> Result<()> {
        // Looks at what other tabs wrote.
        database.info().await?;
        if database.is_locked() {
            return Err(Error::locked());
        }
        let (ch, log) = (database.channel().await?, database.channel_log().await?);
        let entry = {
            let unlocked = self.inner.unlocked.borrow();
            let vault = &unlocked.as_ref().ok_or_else(Error::locked)?.vault;
            let replay = vault.open_channel(ch.as_ref(), &log).map_err(refused)?;
            self.with_entropy(|entropy| vault.rotate(&replay, entropy))?.map_err(refused)?
        };
        database.append_to_log(&[entry]).await?;
        // Takes it in.
        database.info().await?;
        let _ = self.save().await;
        Ok(())
    }

    /// Forgets the keys of this device, for every tab. What is sealed stays, and opens with the recovery code
    /// alone.
    pub async fn destroy(&self) -> Result<()> {
        self.lock();
        self.inner.record.take();
        self.inner.store.destroy().await
    }

    /// Reads what other tabs stored.
    async fn read(&self) -> Result<()> {
        loop {
            let next = self.inner.next.get();
            let blocks = self.inner.store.scan(next, SCAN_RECORDS).await.map_err(unreadable)?;
            let Some(last) = blocks.last() else { return Ok(()) };
            let record = KeyRecord::from_bytes(&last.bytes).map_err(locked)?;
            // Another call may have read on meanwhile.
            if last.no >= self.inner.next.get() {
                *self.inner.record.borrow_mut() = Some(record);
                self.inner.next.set(last.no + 1);
            }
        }
    }

    /// Makes a change to the newest record, in the transaction that stores it.
    async fn update(
        &self,
        change: &mut dyn FnMut(&mut KeyRecord, &mut Unlocked) -> Result<()>,
    ) -> Result<()> {
        let inner = &self.inner;
        let mut made = None;
        let mut build = |newer: &[Block], next: BlockNo| {
            let held = inner.record.borrow().clone();
            let mut record = match newer.last() {
                Some(block) => KeyRecord::from_bytes(&block.bytes).map_err(locked)?,
                None => held.ok_or_else(absent)?,
            };
            let mut unlocked = {
                let held = inner.unlocked.borrow();
                record.reopen(held.as_ref().ok_or_else(Error::locked)?).map_err(locked)?
            };
            change(&mut record, &mut unlocked)?;
            let blocks = vec![record.to_bytes().into()];
            made = Some((record, unlocked));
            Ok(Some(Batch { blocks, drop_blocks: std::iter::once(1..next).collect(), ..Batch::default() }))
        };
        let next = inner.store.append(inner.next.get(), &mut build).await?;
        let Some((record, unlocked)) = made else { return Ok(()) };
        // Another call of this tab may have stored a newer one meanwhile.
        if next > inner.next.get() {
            inner.next.set(next);
            *inner.record.borrow_mut() = Some(record);
            let mut held = inner.unlocked.borrow_mut();
            // It may have been locked meanwhile.
            if held.is_some() {
                *held = Some(unlocked);
            }
        }
        Ok(())
    }

    /// What is made of randomness; nothing, if there was none.
    fn with_entropy<T>(&self, make: impl FnOnce(Entropy) -> T) -> Result<T> {
        let failure = RefCell::new(None);
        let made = make(&|bytes| {
            if let Err(error) = self.inner.platform.secret_bytes(bytes) {
                failure.replace(Some(error));
            }
        });
        failure.into_inner().map_or(Ok(made), Err)
    }
}

/// The keys of one channel, from the vault.
struct Source {
    keys: KeyStore,
    ch: Cell<Option<Hash>>,
    /// What the channel's log lacks of the account's.
    missing: RefCell<Vec<Entry>>,
}

impl KeySource for Source {
    fn keys(&self, log: &[Entry]) -> Result<Rc<Keys>> {
        let inner = &self.keys.inner;
        let mut unlocked = inner.unlocked.borrow_mut();
        let vault = &mut unlocked.as_mut().ok_or_else(Error::locked)?.vault;
        let ch = self.ch.get().or_else(|| known_channel(vault, log));
        let replay = vault.open_channel(ch.as_ref(), log).map_err(refused)?;
        let is_new = vault.learn(log, None) || vault.pin(&replay.pin.ch) != Some(&replay.pin);
        self.ch.set(Some(replay.pin.ch));
        self.missing.replace(replay.missing);
        let signer = vault.signer();
        if is_new {
            vault.remember(replay.pin.clone());
            inner.seen.borrow_mut().push((log.to_vec(), replay.pin));
            (inner.on_seen)();
        }
        Ok(Rc::new(Keys::new(replay.channel, signer)))
    }
}

/// The channel that was opened here before and whose log this is, be it in a database that is gone.
fn known_channel(vault: &Vault, log: &[Entry]) -> Option<Hash> {
    let mut known = vault.pins().iter().filter(|pin| log.iter().any(|entry| *entry.hash() == pin.ch));
    match (known.next(), known.next()) {
        (Some(pin), None) => Some(pin.ch),
        _ => None,
    }
}

/// What the record `channel` of a database holds.
struct Begun {
    ch: Hash,
    /// The log that it begins with, if it was made here.
    entries: Vec<Entry>,
}

impl Begun {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.ch.to_vec();
        for entry in &self.entries {
            let entry = entry.to_bytes();
            bytes.extend((entry.len() as u32).to_be_bytes());
            bytes.extend(entry);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        Self::from_bytes(bytes).ok_or_else(|| Error::corrupt("channel"))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ch, mut rest) = bytes.split_first_chunk()?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk()?;
            let (entry, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            entries.push(Entry::from_bytes(entry)?);
            rest = after;
        }
        Some(Self { ch: *ch, entries })
    }
}

/// Why keys stay locked, as a caller is told.
pub fn locked(why: Locked) -> Error {
    Error::remote(0, why.name(), why.reason())
}

/// A record that is not even bytes is a damaged one.
fn unreadable(error: Error) -> Error {
    if error.kind() == Kind::Corrupt { locked(Locked::Malformed) } else { error }
}

fn refused(refusal: Refusal) -> Error {
    Error::remote(403, refusal.name(), refusal.reason())
}

fn exists() -> Error {
    Error::remote(412, "vault_exists", "There are keys on this device already; nothing was changed.")
}

fn absent() -> Error {
    Error::remote(404, "no_vault", "There are no keys on this device yet.")
}
