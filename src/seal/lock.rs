//! The vault at rest: sealed under a local master key, which is sealed once for each way of unlocking it.
//!
//! A wrong secret and a damaged record look the same from outside. What can be seen without a secret (form,
//! version, cost) is checked first.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::{
    Entropy, Key, Locked, RecoveryCode, Vault,
    crypt::{unwrap, wrap},
    parts::{Parts, enc, enc_list},
};

/// What guessing a passphrase costs: Argon2id with one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// The least that is ever written or accepted: 64 MiB, three passes.
    pub const FLOOR: Self = Self { memory_kib: 64 * 1024, passes: 3 };
    /// The most that is accepted: a record that somebody changed shall not hang the page.
    pub const CEILING: Self = Self { memory_kib: 1024 * 1024, passes: 16 };

    fn check(self) -> Result<(), Locked> {
        let memory = Self::FLOOR.memory_kib..=Self::CEILING.memory_kib;
        let passes = Self::FLOOR.passes..=Self::CEILING.passes;
        if memory.contains(&self.memory_kib) && passes.contains(&self.passes) {
            Ok(())
        } else {
            Err(Locked::CostOutOfBounds)
        }
    }
}

/// How a passphrase becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassphraseLock {
    /// Random.
    pub salt: [u8; 16],
    /// What it costs.
    pub cost: Cost,
}

impl PassphraseLock {
    /// A new one.
    pub fn new(cost: Cost, entropy: Entropy) -> Self {
        let mut salt = [0; 16];
        entropy(&mut salt);
        Self { salt, cost }
    }

    fn to_bytes(&self) -> Vec<u8> {
        enc(&[&self.salt, &self.cost.memory_kib.to_be_bytes(), &self.cost.passes.to_be_bytes()])
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let salt = parts.array()?;
        let (memory_kib, passes) = (u32::from_be_bytes(parts.array()?), u32::from_be_bytes(parts.array()?));
        parts.end()?;
        Some(Self { salt, cost: Cost { memory_kib, passes } })
    }
}

/// The key of a passphrase. Takes a while and its memory: call it in a worker that ends afterwards.
///
/// Shape:  `passphrase` as the caller normalised it (NFKC).
/// Errors: `empty_passphrase`; `cost_out_of_bounds`, without having begun.
pub fn passphrase_key(passphrase: &str, lock: &PassphraseLock) -> Result<Key, Locked> {
    lock.cost.check()?;
    if passphrase.is_empty() {
        return Err(Locked::EmptyPassphrase);
    }
    let params = Params::new(lock.cost.memory_kib, lock.cost.passes, 1, Some(32))
        .map_err(|_| Locked::CostOutOfBounds)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &lock.salt, &mut *key)
        .map_err(|_| Locked::CostOutOfBounds)?;
    Ok(Key::new(*key))
}

/// A way of unlocking.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passphrase,
    Device,
    Code,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Passphrase, Self::Device, Self::Code];

    fn name(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::Device => "device",
            Self::Code => "code",
        }
    }
}

#[derive(Clone)]
struct Lock {
    kind: Kind,
    params: Vec<u8>,
    sealed: Vec<u8>,
}

/// A vault at rest. Made of bytes, and nothing in it is readable.
#[derive(Clone)]
pub struct KeyRecord {
    locks: Vec<Lock>,
    sealed: Vec<u8>,
}

/// A vault that was unlocked, with what it takes to store it again.
pub struct Unlocked {
    /// The secrets.
    pub vault: Vault,
    master: Key,
}

const HEAD: &[u8] = b"settee keys";
const VERSION: u8 = 1;

impl KeyRecord {
    /// A record for a vault that is new on this device. Its first lock is the recovery code.
    pub fn new(vault: Vault, code: &RecoveryCode, entropy: Entropy) -> (Self, Unlocked) {
        let unlocked = Unlocked { vault, master: Key::random(entropy) };
        let mut record = Self { locks: Vec::new(), sealed: Vec::new() };
        record.put(&unlocked, Kind::Code, Vec::new(), &code.local_lock());
        (record, unlocked)
    }

    /// The lock of a passphrase, or that of another one in place of it. The old passphrase opens older copies
    /// of the record still: it changes what is asked for here, not what was copied.
    pub fn set_passphrase(
        &mut self,
        unlocked: &Unlocked,
        lock: &PassphraseLock,
        key: &Key,
    ) -> Result<(), Locked> {
        lock.cost.check()?;
        self.put(unlocked, Kind::Passphrase, lock.to_bytes(), key);
        Ok(())
    }

    /// A lock for "stay unlocked on this device". The key it gives is the caller's to keep: sealed by a
    /// WebCrypto key that cannot be read out, and nowhere in clear.
    pub fn set_device(&mut self, unlocked: &Unlocked, entropy: Entropy) -> Key {
        let key = Key::random(entropy);
        self.put(unlocked, Kind::Device, Vec::new(), &key);
        key
    }

    /// Ends "stay unlocked on this device".
    pub fn remove_device(&mut self, unlocked: &Unlocked) {
        self.locks.retain(|lock| lock.kind != Kind::Device);
        self.store(unlocked);
    }

    /// Puts the vault as it is now into the record.
    pub fn store(&mut self, unlocked: &Unlocked) {
        self.sealed = wrap(&unlocked.master, "vault", &self.locks_bytes(), &unlocked.vault.to_bytes());
    }

    /// How the passphrase's key is made: for [`passphrase_key`].
    ///
    /// Errors: `no_such_lock`; `cost_out_of_bounds` if it was changed to less than is ever written, or far more.
    pub fn passphrase_lock(&self) -> Result<PassphraseLock, Locked> {
        let lock = self.lock(Kind::Passphrase)?;
        let lock = PassphraseLock::from_bytes(&lock.params).ok_or(Locked::Malformed)?;
        lock.cost.check()?;
        Ok(lock)
    }

    /// Whether a passphrase unlocks it.
    pub fn has_passphrase(&self) -> bool {
        self.lock(Kind::Passphrase).is_ok()
    }

    /// Whether the device stays unlocked.
    pub fn has_device(&self) -> bool {
        self.lock(Kind::Device).is_ok()
    }

    /// Unlocks with a passphrase's key.
    ///
    /// Errors, here and below: `no_such_lock`; `wrong_secret` for anything else.
    pub fn unlock_with_passphrase(&self, key: &Key) -> Result<Unlocked, Locked> {
        self.unlock(Kind::Passphrase, key)
    }

    /// Unlocks with the key that [`KeyRecord::set_device`] gave.
    pub fn unlock_with_device(&self, key: &Key) -> Result<Unlocked, Locked> {
        self.unlock(Kind::Device, key)
    }

    /// Unlocks with the recovery code.
    pub fn unlock_with_code(&self, code: &RecoveryCode) -> Result<Unlocked, Locked> {
        self.unlock(Kind::Code, &code.local_lock())
    }

    fn lock(&self, kind: Kind) -> Result<&Lock, Locked> {
        self.locks.iter().find(|lock| lock.kind == kind).ok_or(Locked::NoSuchLock)
    }

    fn put(&mut self, unlocked: &Unlocked, kind: Kind, params: Vec<u8>, key: &Key) {
        let sealed = wrap(key, "master", &lock_aad(kind, &params), unlocked.master.expose());
        self.locks.retain(|lock| lock.kind != kind);
        self.locks.push(Lock { kind, params, sealed });
        self.store(unlocked);
    }

    fn unlock(&self, kind: Kind, key: &Key) -> Result<Unlocked, Locked> {
        let lock = self.lock(kind)?;
        let open = || {
            let master = unwrap(key, "master", &lock_aad(kind, &lock.params), &lock.sealed)?;
            self.open(Key::from_slice(&master)?)
        };
        open().ok_or(Locked::Wrong)
    }

    /// What this record holds now, for who has unlocked an earlier state of it.
    ///
    /// Errors: `wrong_secret`, if it is another record or was changed.
    pub fn reopen(&self, unlocked: &Unlocked) -> Result<Unlocked, Locked> {
        self.open(unlocked.master.clone()).ok_or(Locked::Wrong)
    }

    fn open(&self, master: Key) -> Option<Unlocked> {
        let vault = unwrap(&master, "vault", &self.locks_bytes(), &self.sealed)?;
        Some(Unlocked { vault: Vault::from_bytes(&vault)?, master })
    }

    fn locks_bytes(&self) -> Vec<u8> {
        let one = |lock: &Lock| enc(&[lock.kind.name().as_bytes(), &lock.params, &lock.sealed]);
        enc_list(&self.locks.iter().map(one).collect::<Vec<_>>())
    }

    /// For storing it.
    pub fn to_bytes(&self) -> Vec<u8> {
        enc(&[HEAD, &[VERSION], &self.locks_bytes(), &self.sealed])
    }

    /// Reads back what [`KeyRecord::to_bytes`] gave.
    ///
    /// Errors: `malformed_keys`, `unknown_version`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Locked> {
        let mut parts = Parts(bytes);
        let version = (parts.next() == Some(HEAD)).then(|| parts.array::<1>()).flatten();
        match version {
            Some([VERSION]) => {}
            Some(_) => return Err(Locked::UnknownVersion),
            None => return Err(Locked::Malformed),
        }
        let mut read = || {
            let (locks, sealed) = (Parts(parts.next()?).rest()?, parts.next()?.to_vec());
            parts.end()?;
            let one = |bytes: &[u8]| {
                let mut parts = Parts(bytes);
                let name = parts.text()?;
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
                let lock = Lock { kind, params: parts.next()?.to_vec(), sealed: parts.next()?.to_vec() };
                parts.end()?;
                Some(lock)
            };
            let locks: Option<Vec<Lock>> = locks.into_iter().map(one).collect();
            Some(Self { locks: locks?, sealed })
        };
        let record = read().ok_or(Locked::Malformed)?;
        let twice = |kind: &Kind| record.locks.iter().filter(|lock| lock.kind == *kind).count() > 1;
        if Kind::ALL.iter().any(twice) { Err(Locked::Malformed) } else { Ok(record) }
    }
}

fn lock_aad(kind: Kind, params: &[u8]) -> Vec<u8> {
    enc(&[b"lock", kind.name().as_bytes(), params])
}
