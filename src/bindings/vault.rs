//! The keys of this device, for `pkg/lib/vault.js`.
//!
//! Key bytes cross here as arrays that the caller wipes; they are in no error and no result but these.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use zeroize::Zeroizing;

use super::{
    convert::{object, options, promise},
    engine::{Engine, Opening, opened, store_of},
    failure,
};
use crate::{
    error::{Error, Result},
    keys::{KeyStore, Secret, locked},
    seal::{Cost, Key, Locked, PassphraseLock, passphrase_key},
    store::{MemoryStore, Store},
    web,
};

/// The keys of this device.
#[wasm_bindgen(js_name = Vault)]
pub struct VaultHandle {
    keys: KeyStore,
    /// How the store finds itself when a channel showed something new.
    _held: Rc<RefCell<Option<KeyStore>>>,
}

#[wasm_bindgen(js_class = Vault)]
impl VaultHandle {
    /// The keys kept in `indexeddb` or `memory`, locked; a promise of this.
    #[wasm_bindgen(js_name = open)]
    pub fn open(storage: String) -> Promise {
        promise(async move {
            let store: Rc<dyn Store> = match storage.as_str() {
                "memory" => Rc::new(MemoryStore::new()),
                _ => Rc::new(web::IndexedDbStore::open_named("settee-vault").await?),
            };
            let held: Rc<RefCell<Option<KeyStore>>> = Rc::default();
            let own = Rc::downgrade(&held);
            let save = move || {
                let keys = own.upgrade().and_then(|keys| keys.borrow().clone());
                wasm_bindgen_futures::spawn_local(async move {
                    if let Some(keys) = keys {
                        // What is not stored now is seen again the next time.
                        let _ = keys.save().await;
                    }
                });
            };
            let keys = KeyStore::new(store, Rc::new(web::WebPlatform), Box::new(save));
            *held.borrow_mut() = Some(keys.clone());
            Ok(Self { keys, _held: held }.into())
        })
    }

    /// A promise of `{exists, locked, passphrase, device}`.
    #[wasm_bindgen(js_name = status)]
    pub fn status(&self) -> Promise {
        let keys = self.keys.clone();
        promise(async move { object(&keys.status().await?) })
    }

    /// Whether the keys are not at hand.
    #[wasm_bindgen(js_name = isLocked, getter)]
    pub fn is_locked(&self) -> bool {
        self.keys.is_locked()
    }

    /// How a new passphrase's key is to be made, for [`passphrase_key_of`].
    #[wasm_bindgen(js_name = newLock)]
    pub fn new_lock(&self) -> std::result::Result<Uint8Array, JsValue> {
        self.keys.new_passphrase_lock().map(|lock| lock_to_js(&lock)).map_err(|error| failure::to_js(&error))
    }

    /// A promise of how the key of the passphrase that unlocks is made.
    #[wasm_bindgen(js_name = passphraseLock)]
    pub fn passphrase_lock(&self) -> Promise {
        let keys = self.keys.clone();
        promise(async move { Ok(lock_to_js(&keys.passphrase_lock().await?).into()) })
    }

    /// Makes an account; a promise of its recovery code. With a passphrase's lock and key if one is to unlock it.
    #[wasm_bindgen(js_name = create)]
    pub fn create(&self, lock: Option<Vec<u8>>, key: Option<Vec<u8>>) -> Promise {
        let keys = self.keys.clone();
        promise(async move {
            let passphrase = passphrase(lock, key)?;
            let passphrase = passphrase.as_ref().map(|(lock, key)| (lock, key));
            Ok(JsValue::from_str(&keys.create(passphrase).await?))
        })
    }

    /// Opens an account with its recovery code and what a database has of its log.
    #[wasm_bindgen(js_name = recover)]
    pub fn recover(
        &self,
        code: String,
        engine: &Engine,
        lock: Option<Vec<u8>>,
        key: Option<Vec<u8>>,
    ) -> Promise {
        let (keys, database, code) = (self.keys.clone(), engine.database.clone(), Zeroizing::new(code));
        promise(async move {
            let passphrase = passphrase(lock, key)?;
            let passphrase = passphrase.as_ref().map(|(lock, key)| (lock, key));
            keys.recover(&code, &database, passphrase).await?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Unlocks with a `passphrase`'s or the `device`'s key.
    #[wasm_bindgen(js_name = unlock)]
    pub fn unlock(&self, with: String, key: Vec<u8>) -> Promise {
        let keys = self.keys.clone();
        promise(async move {
            let key = key_of(key)?;
            let secret = if with == "device" { Secret::Device(&key) } else { Secret::Passphrase(&key) };
            keys.unlock(secret).await.map(|()| JsValue::UNDEFINED)
        })
    }

    /// Unlocks with the recovery code.
    #[wasm_bindgen(js_name = unlockWithCode)]
    pub fn unlock_with_code(&self, code: String) -> Promise {
        let (keys, code) = (self.keys.clone(), Zeroizing::new(code));
        promise(async move { keys.unlock(Secret::Code(&code)).await.map(|()| JsValue::UNDEFINED) })
    }

    /// Sets the passphrase.
    #[wasm_bindgen(js_name = setPassphrase)]
    pub fn set_passphrase(&self, lock: Vec<u8>, key: Vec<u8>) -> Promise {
        let keys = self.keys.clone();
        promise(async move {
            if let Some((lock, key)) = passphrase(Some(lock), Some(key))? {
                keys.set_passphrase(&lock, &key).await?;
            }
            Ok(JsValue::UNDEFINED)
        })
    }

    /// A promise of the key that unlocks it on this device from now on, the one before does no more.
    #[wasm_bindgen(js_name = stayUnlocked)]
    pub fn stay_unlocked(&self) -> Promise {
        let keys = self.keys.clone();
        promise(async move {
            let key = keys.stay_unlocked().await?;
            Ok(Uint8Array::new_from_slice(key.expose()).into())
        })
    }

    /// Ends that.
    #[wasm_bindgen(js_name = endStay)]
    pub fn end_stay(&self) -> Promise {
        let keys = self.keys.clone();
        promise(async move { keys.end_stay().await.map(|()| JsValue::UNDEFINED) })
    }

    /// Drops the keys here.
    #[wasm_bindgen(js_name = lock)]
    pub fn lock(&self) {
        self.keys.lock();
    }

    /// Opens a sealed database; one that is not there is made, with a channel of its own if it `begins`. A promise
    /// of an engine.
    #[wasm_bindgen(js_name = openDatabase)]
    pub fn open_database(&self, name: String, storage: String, given: JsValue, begins: bool) -> Promise {
        let keys = self.keys.clone();
        promise(async move {
            let opening = options::<Opening>(given)?.of(&name)?;
            let store = store_of(&name, &storage).await?;
            let database =
                keys.open_database(store.clone(), Rc::new(web::WebPlatform), opening, begins).await?;
            Ok(opened(store, database, &storage).into())
        })
    }

    /// Gives a sealed database its keys.
    #[wasm_bindgen(js_name = unlockDatabase)]
    pub fn unlock_database(&self, engine: &Engine, begins: bool) -> Promise {
        let (keys, store, database) = (self.keys.clone(), engine.store.clone(), engine.database.clone());
        promise(
            async move { keys.unlock_database(&*store, &database, begins).await.map(|()| JsValue::UNDEFINED) },
        )
    }

    /// Begins a new epoch.
    #[wasm_bindgen(js_name = rotate)]
    pub fn rotate(&self, engine: &Engine) -> Promise {
        let (keys, database) = (self.keys.clone(), engine.database.clone());
        promise(async move { keys.rotate(&database).await.map(|()| JsValue::UNDEFINED) })
    }

    /// Forgets the keys of this device.
    #[wasm_bindgen(js_name = destroy)]
    pub fn destroy(&self) -> Promise {
        let keys = self.keys.clone();
        promise(async move { keys.destroy().await.map(|()| JsValue::UNDEFINED) })
    }
}

/// The key of a passphrase (NFKC). Takes a while and its memory: call it in a worker that ends afterwards.
#[wasm_bindgen(js_name = passphraseKey)]
pub fn passphrase_key_of(passphrase: String, lock: Vec<u8>) -> std::result::Result<Uint8Array, JsValue> {
    let passphrase = Zeroizing::new(passphrase);
    let key = lock_of(&lock).and_then(|lock| passphrase_key(&passphrase, &lock).map_err(locked));
    key.map(|key| Uint8Array::new_from_slice(key.expose())).map_err(|error| failure::to_js(&error))
}

fn passphrase(lock: Option<Vec<u8>>, key: Option<Vec<u8>>) -> Result<Option<(PassphraseLock, Key)>> {
    match (lock, key) {
        (Some(lock), Some(key)) => Ok(Some((lock_of(&lock)?, key_of(key)?))),
        _ => Ok(None),
    }
}

fn key_of(bytes: Vec<u8>) -> Result<Key> {
    let bytes = Zeroizing::new(bytes);
    let key = <[u8; 32]>::try_from(bytes.as_slice());
    key.map(Key::new).map_err(|_| Error::bad_request("A key has 32 bytes"))
}

/// 16 bytes of salt, 4 each of memory in KiB and of passes.
fn lock_to_js(lock: &PassphraseLock) -> Uint8Array {
    let cost = [lock.cost.memory_kib.to_be_bytes(), lock.cost.passes.to_be_bytes()].concat();
    Uint8Array::new_from_slice(&[&lock.salt[..], &cost].concat())
}

fn lock_of(bytes: &[u8]) -> Result<PassphraseLock> {
    let read = || {
        let (salt, rest) = bytes.split_first_chunk()?;
        let (memory, rest) = rest.split_first_chunk()?;
        let passes = rest.try_into().ok()?;
        let cost = Cost { memory_kib: u32::from_be_bytes(*memory), passes: u32::from_be_bytes(passes) };
        Some(PassphraseLock { salt: *salt, cost })
    };
    read().ok_or_else(|| locked(Locked::Malformed))
}
