//! The keys of a device: made once, changed by several tabs, lent to databases that begin as one channel.
#![cfg(not(target_arch = "wasm32"))]

mod support;

use std::rc::Rc;

use futures::{executor::block_on, future::join};
use serde_json::json;
use settee::{
    database::{Database, OpenOptions},
    error::{Error, Result},
    keys::{KeyStore, Secret},
    platform::Platform,
    seal::{Cost, Key, PassphraseLock},
    store::{MemoryStore, Store},
};
use support::*;

fn keys(store: &MemoryStore, seed: u64) -> KeyStore {
    let platform = SeededPlatform::new(seed);
    KeyStore::new(Rc::new(store.handle()), platform, Box::new(|| ()))
}

async fn opened(keys: &KeyStore, store: &MemoryStore, seed: u64) -> Result<Database> {
    let handle: Rc<dyn Store> = Rc::new(store.handle());
    let platform = SeededPlatform::new(seed);
    let db = keys.open_database(handle.clone(), platform, OpenOptions::new("test"), true).await?;
    keys.unlock_database(&*handle, &db, true).await?;
    Ok(db)
}

fn sealed(store: &MemoryStore) -> (Rc<dyn Store>, Database) {
    let handle: Rc<dyn Store> = Rc::new(store.handle());
    let options = OpenOptions { sealed: true, ..OpenOptions::new("test") };
    let db = block_on(Database::open(handle.clone(), SeededPlatform::new(3), options)).unwrap();
    (handle, db)
}

fn lock(byte: u8) -> (PassphraseLock, Key) {
    (PassphraseLock { salt: [byte; 16], cost: Cost::FLOOR }, Key::new([byte; 32]))
}

fn name<T>(result: Result<T>) -> String {
    result.err().map_or("ok".to_owned(), |error| error.name().to_owned())
}

#[test]
fn keys_are_made_once_and_a_change_in_one_tab_is_not_undone_by_another() {
    let store = MemoryStore::new();
    let (a, b) = (keys(&store, 1), keys(&store, 2));
    assert_eq!(name(block_on(a.unlock(Secret::Device(&Key::new([1; 32]))))), "no_vault");
    let (first, second) = block_on(join(a.create(None), b.create(None)));
    assert!(first.is_ok() != second.is_ok());
    assert_eq!(name(first).replace("ok", "") + &name(second).replace("ok", ""), "vault_exists");
    let store = MemoryStore::new();
    let (a, b) = (keys(&store, 1), keys(&store, 2));
    let (old, new) = (lock(1), lock(2));
    let code = block_on(a.create(Some((&old.0, &old.1)))).unwrap();
    assert_eq!(name(block_on(b.create(None))), "vault_exists");
    assert_eq!(name(block_on(b.unlock(Secret::Code(&code.replace('-', "")[1..])))), "code_length");
    block_on(b.unlock(Secret::Code(&code))).unwrap();
    // One has seen a channel, the other changes the passphrase, in either order.
    let album = MemoryStore::new();
    block_on(b.set_passphrase(&new.0, &new.1)).unwrap();
    let db = block_on(opened(&a, &album, 5)).unwrap();
    let fresh = keys(&store, 4);
    assert_eq!(name(block_on(fresh.unlock(Secret::Passphrase(&old.1)))), "wrong_secret");
    let device = block_on(b.stay_unlocked()).unwrap();
    assert_eq!(name(block_on(fresh.unlock(Secret::Passphrase(&old.1)))), "wrong_secret");
    assert_eq!(block_on(fresh.passphrase_lock()).unwrap(), new.0);
    block_on(fresh.unlock(Secret::Passphrase(&new.1))).unwrap();
    fresh.lock();
    block_on(fresh.unlock(Secret::Device(&device))).unwrap();
    let status = block_on(fresh.status()).unwrap();
    assert!(status.exists && !status.locked && status.passphrase && status.device);
    block_on(a.end_stay()).unwrap();
    assert_eq!(name(block_on(fresh.unlock(Secret::Device(&device)))), "no_such_lock");
    // What was seen is still known: an older state of the channel is refused, also in another database.
    let (handle, copy) = sealed(&MemoryStore::new());
    assert_eq!(name(block_on(fresh.unlock_database(&*handle, &copy, false))), "no_channel");
    let log = block_on(db.channel_log()).unwrap();
    let is_newest = |at: &usize| {
        let rest: Vec<_> = log.iter().enumerate().filter(|(other, _)| other != at).collect();
        let (handle, copy) = sealed(&MemoryStore::new());
        block_on(copy.append_to_log(&rest.into_iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>()))
            .unwrap();
        name(block_on(fresh.unlock_database(&*handle, &copy, false))) == "rollback"
    };
    // The channel's last entry; those of the account are in the vault itself.
    assert_eq!((0..log.len()).filter(is_newest).count(), 1);
    fresh.lock();
    assert_eq!(name(block_on(fresh.set_passphrase(&old.0, &old.1))), "locked");
    assert_eq!(name(block_on(opened(&fresh, &MemoryStore::new(), 6))), "locked");
}

#[test]
fn two_tabs_and_a_crash_leave_one_channel() {
    let store = MemoryStore::new();
    let (a, b) = (keys(&store, 1), keys(&store, 2));
    let code = block_on(a.create(None)).unwrap();
    block_on(b.unlock(Secret::Code(&code))).unwrap();
    let album = MemoryStore::new();
    let (one, two) = block_on(join(opened(&a, &album, 5), opened(&b, &album, 6)));
    let (one, two) = (one.unwrap(), two.unwrap());
    put(&one, json!({"_id": "from-one"})).unwrap();
    assert!(get(&two, "from-one").is_ok());
    let log = block_on(one.channel_log()).unwrap();
    assert_eq!(log.len(), 4);

    // Power fails between the record of the channel and anything else, and between the database and its log.
    for (is_made, seed) in [(false, 7), (true, 8)] {
        let album = MemoryStore::new();
        let record = {
            let other = MemoryStore::new();
            let handle: Rc<dyn Store> = Rc::new(other.handle());
            block_on(a.open_database(handle.clone(), SeededPlatform::new(seed), OpenOptions::new("x"), true))
                .unwrap();
            block_on(handle.records(vec!["channel"])).unwrap().remove(0).unwrap()
        };
        block_on(album.put_record("channel", record.clone(), true)).unwrap();
        if is_made {
            sealed(&album);
        }
        let db = block_on(opened(&b, &album, 9)).unwrap();
        put(&db, json!({"_id": "x"})).unwrap();
        assert_eq!(block_on(db.channel_log()).unwrap().len(), 4);
        // The channel that was begun is the one.
        assert!(block_on(album.records(vec!["channel"])).unwrap().remove(0).unwrap() == record);
        assert!(get(&block_on(opened(&a, &album, 10)).unwrap(), "x").is_ok());
    }
}

#[test]
fn a_second_device_joins_the_channel_that_is_there_and_none_of_its_own() {
    let (here, there) = (keys(&MemoryStore::new(), 1), keys(&MemoryStore::new(), 2));
    let code = block_on(here.create(None)).unwrap();
    let db = block_on(opened(&here, &MemoryStore::new(), 5)).unwrap();
    let log = block_on(db.channel_log()).unwrap();
    let album = MemoryStore::new();
    let (handle, copy) = sealed(&album);
    assert_eq!(name(block_on(there.recover(&code, &copy, None))), "nothing_to_recover");
    assert_eq!(
        name(block_on(there.recover(&code.replace(['0', '1', '2', '3'], "4"), &copy, None))),
        "mistyped_code"
    );
    assert_eq!(name(get(&copy, "x").map(drop)), "no_channel");
    block_on(copy.append_to_log(&log)).unwrap();
    assert_eq!(name(get(&copy, "x").map(drop)), "locked");
    block_on(there.recover(&code, &copy, None)).unwrap();
    assert_eq!(name(block_on(there.recover(&code, &copy, None))), "vault_exists");
    let (empty, waits) = sealed(&MemoryStore::new());
    assert_eq!(name(block_on(there.unlock_database(&*empty, &waits, false))), "no_channel");
    assert!(waits.is_locked() && waits.is_waiting() && copy.is_locked() && !copy.is_waiting());
    block_on(there.unlock_database(&*handle, &copy, false)).unwrap();
    // It has told the others of itself.
    assert_eq!(block_on(copy.channel_log()).unwrap().len(), log.len() + 1);
    // From now on it is that channel: another one's log changes nothing, and without its own nothing opens.
    let other = block_on(opened(&here, &MemoryStore::new(), 6)).unwrap();
    block_on(copy.append_to_log(&block_on(other.channel_log()).unwrap())).unwrap();
    copy.lock();
    block_on(there.unlock_database(&*handle, &copy, false)).unwrap();
    let (handle, swapped) = sealed(&MemoryStore::new());
    let record = block_on(album.records(vec!["channel"])).unwrap().remove(0).unwrap();
    block_on(handle.put_record("channel", record, true)).unwrap();
    block_on(swapped.append_to_log(&block_on(other.channel_log()).unwrap())).unwrap();
    assert_eq!(name(block_on(there.unlock_database(&*handle, &swapped, false))), "rollback");
    // A clear database gets no keys.
    let clear: Rc<dyn Store> = Rc::new(MemoryStore::new());
    let db = block_on(Database::open(clear.clone(), SeededPlatform::new(1), OpenOptions::new("c"))).unwrap();
    assert_eq!(name(block_on(there.unlock_database(&*clear, &db, false))), "forbidden");
}

/// A machine without a source of keys.
struct Dull(Rc<SeededPlatform>);

impl Platform for Dull {
    fn now_ms(&self) -> f64 {
        0.0
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        self.0.random_bytes(bytes);
    }

    fn secret_bytes(&self, _: &mut [u8]) -> Result<()> {
        Err(Error::remote(0, "no_randomness", ""))
    }

    fn sleep(&self, ms: u32) -> futures::future::LocalBoxFuture<'static, ()> {
        self.0.sleep(ms)
    }
}

#[test]
fn without_randomness_there_are_no_keys() {
    let store = MemoryStore::new();
    let dull = || Rc::new(Dull(SeededPlatform::new(1)));
    let a = KeyStore::new(Rc::new(store.handle()), dull(), Box::new(|| ()));
    assert_eq!(name(block_on(a.create(None))), "no_randomness");
    assert_eq!(name(a.new_passphrase_lock()), "no_randomness");
    assert!(!block_on(a.status()).unwrap().exists);
    // Nor is there an attachment.
    let good = keys(&store, 1);
    block_on(good.create(None)).unwrap();
    let album: Rc<dyn Store> = Rc::new(MemoryStore::new());
    let db = block_on(good.open_database(album.clone(), dull(), OpenOptions::new("x"), true)).unwrap();
    block_on(good.unlock_database(&*album, &db, false)).unwrap();
    let content = b"bytes".to_vec().into();
    assert_eq!(name(block_on(db.put_attachment("a", "b", None, content, "c/d"))), "no_randomness");
}
