//! Which channel a database is: begun, waited for, begun twice; its keys renewed; what a device recovers from.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/shaky.rs"]
mod shaky;
mod support;

use std::rc::Rc;

use futures::{
    FutureExt,
    executor::{LocalPool, block_on},
    future::join,
};
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions},
    error::Result,
    keys::{KeyStore, Secret},
    model::Content,
    peer::{MissingRevs, Peer, ReplicatedDoc},
    replicate::replicate,
    seal::{Cost, Key, PassphraseLock},
    store::{Batch, MemoryStore, Store},
};
use support::*;

/// A device: its key store and, by name, the stores of its databases.
struct Device {
    keys: KeyStore,
    store: MemoryStore,
    seed: u64,
}

/// A database of a device, with the store it is over.
struct Album {
    db: Database,
    handle: Rc<dyn Store>,
    store: MemoryStore,
}

impl Device {
    fn new(seed: u64) -> Self {
        Self::over(MemoryStore::new(), seed)
    }

    fn over(store: MemoryStore, seed: u64) -> Self {
        let platform = SeededPlatform::new(seed);
        Self { keys: KeyStore::new(Rc::new(store.handle()), platform, Box::new(|| ())), store, seed }
    }

    /// A device with an account of its own; the recovery code.
    fn first(seed: u64) -> (Self, String) {
        let device = Self::new(seed);
        let code = block_on(device.keys.create(None)).unwrap();
        (device, String::from(&**code))
    }

    /// Another device of the account, which has the first channel too.
    fn second(seed: u64, code: &str, album: &Album) -> (Self, Album) {
        let device = Self::new(seed);
        let own = device.locked(MemoryStore::new(), OpenOptions::new("test"));
        copy(&album.db, &own.db).unwrap();
        block_on(device.keys.recover(code, &own.db, None)).unwrap();
        device.unlock(&own).unwrap();
        (device, own)
    }

    fn locked(&self, store: MemoryStore, options: OpenOptions) -> Album {
        let handle: Rc<dyn Store> = Rc::new(store.handle());
        let options = OpenOptions { sealed: true, ..options };
        let db =
            block_on(Database::open(handle.clone(), SeededPlatform::new(self.seed + 50), options)).unwrap();
        Album { db, handle, store }
    }

    fn unlock(&self, album: &Album) -> Result<()> {
        block_on(self.keys.unlock_database(&*album.handle, &album.db, false))
    }

    /// Opens with the vault, as `Database.open` does it; the error that it would tell.
    fn open(&self, store: MemoryStore, begins: bool) -> (Album, Result<()>) {
        let handle: Rc<dyn Store> = Rc::new(store.handle());
        let platform = SeededPlatform::new(self.seed + 100 + handle_number(&store));
        let opening = self.keys.open_database(handle.clone(), platform, OpenOptions::new("test"), begins);
        let db = block_on(opening).unwrap();
        let told = block_on(self.keys.unlock_database(&*handle, &db, begins));
        (Album { db, handle, store }, told)
    }

    fn begun(&self) -> Album {
        let (album, told) = self.open(MemoryStore::new(), true);
        told.unwrap();
        album
    }

    fn waiting(&self) -> Album {
        let (album, told) = self.open(MemoryStore::new(), false);
        assert_eq!(name(told), "no_channel");
        assert!(album.db.is_waiting());
        album
    }

    fn status(&self) -> (bool, bool) {
        let status = block_on(self.keys.status()).unwrap();
        (status.exists, status.locked)
    }
}

/// Another randomness for each database.
fn handle_number(_: &MemoryStore) -> u64 {
    thread_local!(static NUMBER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
    NUMBER.with(|number| number.replace(number.get() + 1))
}

fn name<T>(result: Result<T>) -> String {
    result.err().map_or("ok".to_owned(), |error| error.name().to_owned())
}

fn server() -> Database {
    open_seeded(
        MemoryStore::new(),
        OpenOptions::new("server"),
        false,
        20 + handle_number(&MemoryStore::new()),
    )
}

fn copy(source: &Database, target: &Database) -> Result<Value> {
    let peers = (Rc::new(source.clone()), Rc::new(target.clone()));
    let (_handle, run) =
        replicate(peers.0, peers.1, SeededPlatform::new(9), options(json!({})), Rc::new(|_| {}));
    LocalPool::new().run_until(run).map(|summary| serde_json::to_value(summary).unwrap())
}

fn sync(album: &Album, server: &Database) {
    copy(&album.db, server).unwrap();
    copy(server, &album.db).unwrap();
}

fn names(db: &Database) -> Vec<String> {
    ids(&all_docs(db, json!({}))).into_iter().map(str::to_owned).collect()
}

fn held(db: &Database) -> Vec<String> {
    let mut held: Vec<_> = block_on(db.quarantine()).unwrap().into_iter().map(|held| held.error).collect();
    held.sort();
    held
}

/// All that a database on a server says it has.
fn listed(server: &Database) -> Vec<String> {
    names(server)
}

fn log_of(ids: &[String]) -> usize {
    ids.iter().filter(|id| id.starts_with("k-")).count()
}

/// The documents as they go over.
fn stored(db: &Database) -> Vec<ReplicatedDoc> {
    let all = changes(db, json!({"style": "all_docs"}));
    let wanted = all.iter().map(|row| MissingRevs {
        id: row["id"].as_str().unwrap().to_owned(),
        revs: vec![row["changes"][0]["rev"].as_str().unwrap().parse().unwrap()],
        possible_ancestors: Vec::new(),
    });
    block_on(Peer::bulk_get(db, wanted.collect()))
        .unwrap()
        .into_iter()
        .map(|fetched| fetched.doc.unwrap())
        .collect()
}

/// The epoch that a document is sealed under, by its revision.
fn epoch(server: &Database, rev: &str) -> String {
    let doc = stored(server).into_iter().find(|doc| doc.path[0].to_string() == rev).unwrap();
    serde_json::from_str::<Value>(&doc.body).unwrap()["x"]["e"].as_str().unwrap().to_owned()
}

fn attach(db: &Database, id: &str, bytes: usize) {
    let content = Content::from(vec![id.as_bytes()[0]; bytes]);
    block_on(db.put_attachment(id, "f", None, content, "image/x")).unwrap();
}

#[test]
fn a_database_that_is_not_here_waits_for_its_channel_and_becomes_it() {
    let (here, code) = Device::first(1);
    let album = here.begun();
    let (there, _) = Device::second(2, &code, &album);
    let (trip, server) = (here.begun(), server());
    put(&trip.db, json!({"_id": "a"})).unwrap();
    sync(&trip, &server);

    let copied = there.waiting();
    assert_eq!(name(put(&copied.db, json!({"_id": "early"}))), "no_channel");
    assert_eq!(name(get(&copied.db, "a")), "no_channel");
    // What it waits for may be empty still: nothing is begun by that, and nothing sent.
    let empty = self::server();
    sync(&copied, &empty);
    assert_eq!((copied.db.is_waiting(), listed(&empty).len()), (true, 0));
    let mut grown = copied.db.log_grew(0).boxed_local();
    assert!((&mut grown).now_or_never().is_none());
    sync(&copied, &server);
    assert_eq!(block_on(grown).unwrap(), 4);
    assert_eq!((copied.db.is_waiting(), name(get(&copied.db, "a"))), (false, "locked".to_owned()));
    there.unlock(&copied).unwrap();
    assert_eq!((names(&copied.db), held(&copied.db)), (vec!["a".to_owned()], Vec::new()));
    // Opened again, and asked to begin one: it is what it is.
    let (again, told) = there.open(copied.store.handle(), true);
    told.unwrap();
    assert_eq!(names(&again.db), ["a"]);
    put(&again.db, json!({"_id": "b"})).unwrap();
    sync(&again, &server);
    sync(&trip, &server);
    assert_eq!(names(&trip.db), ["a", "b"]);

    // One that waits may be told to begin after all.
    let late = there.waiting();
    let (late, told) = there.open(late.store.handle(), true);
    told.unwrap();
    put(&late.db, json!({"_id": "begun"})).unwrap();
    // A vault that is locked makes nothing.
    there.keys.lock();
    let store = MemoryStore::new();
    let opening = there.keys.open_database(
        Rc::new(store.handle()),
        SeededPlatform::new(1),
        OpenOptions::new("x"),
        false,
    );
    assert_eq!(name(block_on(opening)), "locked");
    assert!(!block_on(Database::exists(&store)).unwrap());
}

/// A first sync goes both ways at once: what looks whether the server has another channel may find its own there,
/// which it had not a moment before.
#[test]
fn its_own_beginning_that_comes_meanwhile_is_no_other_channel() {
    let (here, _) = Device::first(1);
    let (album, server) = (here.begun(), server());
    put(&album.db, json!({"_id": "a"})).unwrap();
    let later = self::server();
    copy(&album.db, &later).unwrap();
    let line = shaky::Shaky::new(&server, "server");
    let (meanwhile, over) = (later.clone(), line.clone());
    line.failing(move |call, count| {
        if (call, count) == ("changes", 0) {
            over.inner.replace(meanwhile.clone());
        }
        None
    });
    let peers = (Rc::new(album.db.clone()), line.clone());
    let (_handle, run) =
        replicate(peers.0, peers.1, SeededPlatform::new(9), options(json!({})), Rc::new(|_| {}));
    LocalPool::new().run_until(run).unwrap();
    assert!(line.count("changes") > 0);
    assert_eq!(listed(&later).iter().filter(|id| id.starts_with("e-")).count(), 1);
}

#[test]
fn two_that_were_begun_apart_do_not_mix_and_the_later_one_joins() {
    let (here, code) = Device::first(1);
    let album = here.begun();
    let (there, _) = Device::second(2, &code, &album);
    let (stranger, _) = Device::first(3);
    let (mine, theirs, foreign, server) = (here.begun(), there.begun(), stranger.begun(), server());
    put(&mine.db, json!({"_id": "mine"})).unwrap();
    put(&mine.db, json!({"_id": "both", "by": 1})).unwrap();
    put(&theirs.db, json!({"_id": "theirs"})).unwrap();
    put(&theirs.db, json!({"_id": "both", "by": 2})).unwrap();
    put(&foreign.db, json!({"_id": "x"})).unwrap();
    sync(&mine, &server);

    let (before, log) = (listed(&server), block_on(theirs.db.channel_log()).unwrap().len());
    for album in [&theirs, &foreign] {
        assert_eq!(name(copy(&album.db, &server)), "other_channel");
        assert_eq!(name(copy(&server, &album.db)), "other_channel");
        // The same while it is locked.
        album.db.lock();
        assert_eq!(name(copy(&album.db, &server)), "other_channel");
        assert_eq!(name(copy(&server, &album.db)), "other_channel");
    }
    assert_eq!(listed(&server), before);
    there.unlock(&theirs).unwrap();
    assert_eq!((names(&theirs.db), held(&theirs.db)), (vec!["both".to_owned(), "theirs".to_owned()], vec![]));
    assert_eq!(block_on(theirs.db.channel_log()).unwrap().len(), log);

    // On with it: a database that waits joins, and what was written apart is copied over.
    let joined = there.waiting();
    sync(&joined, &server);
    there.unlock(&joined).unwrap();
    for id in names(&theirs.db) {
        let mut doc = get(&theirs.db, &id).unwrap();
        doc.as_object_mut().unwrap().remove("_rev");
        let told = name(put(&joined.db, doc));
        assert_eq!(told, if id == "both" { "conflict" } else { "ok" });
    }
    sync(&joined, &server);
    sync(&mine, &server);
    assert_eq!(names(&mine.db), ["both", "mine", "theirs"]);
    assert_eq!(get(&mine.db, "both").unwrap()["by"], 1);
    assert_eq!((held(&mine.db), held(&joined.db)), (vec![], vec![]));
    // A third device finds one channel.
    let third = Device::new(4);
    let own = third.locked(MemoryStore::new(), OpenOptions::new("test"));
    sync(&own, &server);
    block_on(third.keys.recover(&code, &own.db, None)).unwrap();
    third.unlock(&own).unwrap();
    assert_eq!(names(&own.db), ["both", "mine", "theirs"]);
}

#[test]
fn two_that_get_into_one_database_in_the_same_second_lose_nothing() {
    let (here, code) = Device::first(1);
    let album = here.begun();
    let (there, _) = Device::second(2, &code, &album);
    let (mine, theirs) = (here.begun(), there.begun());
    put(&mine.db, json!({"_id": "mine"})).unwrap();
    put(&theirs.db, json!({"_id": "theirs"})).unwrap();
    // Both looked at a database that was empty, and then both wrote.
    let (server, aside) = (server(), self::server());
    copy(&theirs.db, &aside).unwrap();
    sync(&mine, &server);
    copy(&aside, &server).unwrap();

    sync(&mine, &server);
    sync(&theirs, &server);
    let entries = |album: &Album| block_on(album.db.channel_log()).unwrap();
    for (album, id) in [(&mine, "mine"), (&theirs, "theirs")] {
        assert_eq!(names(&album.db), [id]);
        assert_eq!(held(&album.db), ["other_channel", "other_channel", "unknown_epoch"]);
        assert_eq!(entries(album).iter().filter(|entry| entry.begins_channel()).count(), 1);
    }
    // Who comes new is not made to guess, and no vault is made.
    let third = Device::new(4);
    let own = third.locked(MemoryStore::new(), OpenOptions::new("test"));
    sync(&own, &server);
    assert_eq!(name(block_on(third.keys.recover(&code, &own.db, None))), "foreign_channel");
    assert_eq!(third.status(), (false, true));

    // On with it: the server's database is made anew by one device, the other joins there.
    let anew = self::server();
    sync(&mine, &anew);
    assert_eq!(log_of(&listed(&anew)), 5);
    let joined = there.waiting();
    sync(&joined, &anew);
    there.unlock(&joined).unwrap();
    put(&joined.db, json!({"_id": "theirs"})).unwrap();
    sync(&joined, &anew);
    sync(&mine, &anew);
    assert_eq!(names(&mine.db), ["mine", "theirs"]);
}

#[test]
fn a_new_epoch_is_everybodys_and_what_was_before_stays_readable() {
    let (here, code) = Device::first(1);
    let (album, server) = (here.begun(), server());
    let (there, other) = Device::second(2, &code, &album);
    let old = put(&album.db, json!({"_id": "old"})).unwrap();
    // Another tab of the same device, which has a write under way when the epoch begins.
    let tab = Device::over(here.store.handle(), 7);
    block_on(tab.keys.unlock(Secret::Code(&code))).unwrap();
    let (second_tab, told) = tab.open(album.store.handle(), false);
    told.unwrap();
    let pending = json!({"_id": "pending"}).to_string();
    let plain = options(json!({}));
    let write = second_tab.db.put(&pending, &[], &plain);
    let (rotated, pending) = block_on(join(here.keys.rotate(&album.db), write));
    rotated.unwrap();
    let new = put(&second_tab.db, json!({"_id": "new"})).unwrap();
    let own = put(&album.db, json!({"_id": "own"})).unwrap();
    sync(&album, &server);
    let (old, pending) = (epoch(&server, &old), epoch(&server, &pending.unwrap().rev));
    assert!(old != pending);
    assert_eq!((epoch(&server, &new), epoch(&server, &own)), (pending.clone(), pending.clone()));
    // Another device writes under it once it has come, and reads what was before; so does one that is new.
    sync(&other, &server);
    let theirs = put(&other.db, json!({"_id": "theirs"})).unwrap();
    sync(&other, &server);
    assert_eq!(epoch(&server, &theirs), pending);
    let all = ["new", "old", "own", "pending", "theirs"];
    assert_eq!((names(&other.db), held(&other.db)), (all.map(str::to_owned).to_vec(), vec![]));
    let (_, fresh) = Device::second(3, &code, &other);
    assert_eq!(names(&fresh.db), all);
    // Two at once: all agree on one of them.
    block_on(there.keys.rotate(&other.db)).unwrap();
    block_on(here.keys.rotate(&album.db)).unwrap();
    for _ in 0..2 {
        sync(&album, &server);
        sync(&other, &server);
    }
    let one = put(&album.db, json!({"_id": "one"})).unwrap();
    let two = put(&other.db, json!({"_id": "two"})).unwrap();
    sync(&album, &server);
    sync(&other, &server);
    assert_eq!(epoch(&server, &one), epoch(&server, &two));
    sync(&album, &server);
    assert_eq!((names(&album.db), held(&album.db)), (names(&other.db), vec![]));
    album.db.lock();
    assert_eq!(name(block_on(here.keys.rotate(&album.db))), "locked");
}

#[test]
fn what_is_kept_aside_takes_no_more_room_than_it_may() {
    let (here, code) = Device::first(1);
    let (album, server) = (here.begun(), server());
    let (there, _) = Device::second(2, &code, &album);
    for id in ["a", "b", "c", "d"] {
        attach(&album.db, id, 40_000);
    }
    sync(&album, &server);
    let small = || OpenOptions { quarantine_bytes: 100_000, ..OpenOptions::new("test") };

    // What nobody can judge, since the channel is locked: the replication waits as on a full device.
    let own = there.locked(MemoryStore::new(), small());
    let full = copy(&server, &own.db).unwrap_err();
    assert_eq!((full.name(), full.status()), ("insufficient_storage", 507));
    assert!(full.reason().contains("nlock"), "{}", full.reason());
    assert_eq!(held(&own.db), ["locked", "locked"]);
    there.unlock(&own).unwrap();
    assert_eq!(names(&own.db).len(), 2);
    let summary = copy(&server, &own.db).unwrap();
    assert_eq!((summary["doc_write_failures"].as_u64(), names(&own.db).len()), (Some(0), 4));

    // What is wrong is refused one by one, and told; the rest goes on.
    let mut lies: Vec<_> = stored(&server).into_iter().filter(|doc| !doc.attachments.is_empty()).collect();
    assert_eq!(lies.len(), 4);
    let bodies: Vec<_> = lies.iter().map(|doc| doc.body.clone()).collect();
    for (index, doc) in lies.iter_mut().enumerate() {
        doc.body = bodies[(index + 1) % 4].clone();
        for attachment in &mut doc.attachments {
            attachment.content = Some(
                block_on(Peer::attachment(
                    &server,
                    &ReplicatedDoc {
                        attachments: Vec::new(),
                        body: String::new(),
                        deleted: false,
                        id: doc.id.clone(),
                        path: doc.path.clone(),
                    },
                    attachment,
                ))
                .unwrap(),
            );
        }
    }
    let target = there.locked(MemoryStore::new(), small());
    block_on(target.db.append_to_log(&block_on(album.db.channel_log()).unwrap())).unwrap();
    there.unlock(&target).unwrap();
    let told = |outcomes: Vec<Result<()>>| outcomes.into_iter().map(name).collect::<Vec<_>>();
    // In one batch, in which none of them is stored yet, and one by one.
    let outcomes = told(block_on(target.db.write_replicated(lies.clone())).unwrap());
    assert_eq!(outcomes, ["ok", "ok", "not_opened", "not_opened"]);
    assert_eq!(held(&target.db).len(), 2);
    for lie in &lies[2..] {
        assert_eq!(told(block_on(target.db.write_replicated(vec![lie.clone()])).unwrap()), ["not_opened"]);
    }
    put(&album.db, json!({"_id": "true"})).unwrap();
    sync(&album, &server);
    // A source that serves them: one that is no sealed channel and believes what it is told.
    let lying = self::server();
    block_on(lying.write_replicated(lies.clone())).unwrap();
    let honest: Vec<_> = stored(&server).into_iter().filter(|doc| doc.attachments.is_empty()).collect();
    block_on(lying.write_replicated(honest)).unwrap();
    let summary = copy(&lying, &target.db).unwrap();
    assert_eq!(
        (summary["doc_write_failures"].as_u64(), names(&target.db)),
        (Some(2), vec!["true".to_owned()])
    );
    // There is room again once some is let go, in another tab too.
    let tab = there.locked(target.store.handle(), small());
    assert_eq!(block_on(tab.db.discard_quarantine(None)).unwrap(), 2);
    let outcomes = told(block_on(target.db.write_replicated(lies[2..].to_vec())).unwrap());
    assert_eq!((outcomes, held(&target.db).len()), (vec!["ok".to_owned(); 2], 2));
}

#[test]
fn ten_thousand_revisions_are_kept_aside_and_no_more() {
    let (here, _) = Device::first(1);
    let album = here.begun();
    let clear = |n: usize| ReplicatedDoc {
        id: format!("clear-{n}"),
        path: vec!["1-a".parse().unwrap()],
        deleted: false,
        body: "{}".to_owned(),
        attachments: Vec::new(),
    };
    let taken = |numbers: std::ops::Range<usize>| {
        let outcomes = block_on(album.db.write_replicated(numbers.map(clear).collect())).unwrap();
        outcomes.iter().filter(|outcome| outcome.is_ok()).count()
    };
    assert_eq!((taken(0..9_999), taken(9_999..10_100)), (9_999, 1));
    // What is held already is no more of it when it comes again.
    assert_eq!(taken(9_000..10_100), 1_000);
    assert_eq!(held(&album.db).len(), 10_000);
}

#[test]
fn a_recovery_that_is_refused_leaves_nothing_behind() {
    let (here, code) = Device::first(1);
    let (stranger, other_code) = Device::first(2);
    let (album, foreign, trip) = (here.begun(), stranger.begun(), here.begun());
    let there = Device::new(3);
    let own = there.locked(MemoryStore::new(), OpenOptions::new("test"));
    copy(&album.db, &own.db).unwrap();
    let tried = |code: &str| name(block_on(there.keys.recover(code, &own.db, None)));
    assert_eq!(tried(&other_code), "nothing_to_recover");
    assert_eq!(
        tried(&code.replacen(&code[..1], if code.starts_with('0') { "1" } else { "0" }, 1)),
        "mistyped_code"
    );
    assert_eq!(tried(&code[1..]), "code_length");
    // A database that was another channel before.
    let was = MemoryStore::new();
    let record = block_on(trip.handle.records(vec!["channel"])).unwrap().remove(0).unwrap();
    block_on(was.put_record("channel", record, true)).unwrap();
    let was = there.locked(was, OpenOptions::new("test"));
    block_on(was.db.append_to_log(&block_on(foreign.db.channel_log()).unwrap())).unwrap();
    assert_eq!(name(block_on(there.keys.recover(&other_code, &was.db, None))), "rollback");
    block_on(was.db.append_to_log(&block_on(album.db.channel_log()).unwrap())).unwrap();
    assert_eq!(name(block_on(there.keys.recover(&code, &was.db, None))), "rollback");
    assert_eq!(there.status(), (false, true));
    assert!(block_on(there.store.scan(1, 9)).unwrap().is_empty());
    assert_eq!(tried(&code), "ok");
    there.unlock(&own).unwrap();
}

#[test]
fn forgotten_keys_come_back_with_the_code_and_what_is_here() {
    let (here, code) = Device::first(1);
    let album = here.begun();
    put(&album.db, json!({"_id": "kept"})).unwrap();
    let tab = Device::over(here.store.handle(), 5);
    block_on(tab.keys.unlock(Secret::Code(&code))).unwrap();
    block_on(here.keys.destroy()).unwrap();
    assert!(here.keys.is_locked());
    // Another tab brings nothing back.
    let (lock, key) = (PassphraseLock { salt: [1; 16], cost: Cost::FLOOR }, Key::new([1; 32]));
    assert_eq!(name(block_on(tab.keys.set_passphrase(&lock, &key))), "store_closed");

    // The browser's storage is empty again where the keys were; the album and its log are there.
    let anew = Device::new(6);
    assert_eq!(anew.status(), (false, true));
    let album = anew.locked(album.store.handle(), OpenOptions::new("test"));
    assert_eq!(name(block_on(anew.keys.unlock(Secret::Code(&code)))), "no_vault");
    block_on(anew.keys.recover(&code, &album.db, Some((&lock, &key)))).unwrap();
    anew.unlock(&album).unwrap();
    assert_eq!(names(&album.db), ["kept"]);
    put(&album.db, json!({"_id": "more"})).unwrap();
    // The server's database is gone: what is here is sent again, and another device opens it.
    let server = server();
    sync(&album, &server);
    let there = Device::new(7);
    let own = there.locked(MemoryStore::new(), OpenOptions::new("test"));
    sync(&own, &server);
    block_on(there.keys.recover(&code, &own.db, None)).unwrap();
    there.unlock(&own).unwrap();
    assert_eq!((names(&own.db), held(&own.db)), (vec!["kept".to_owned(), "more".to_owned()], vec![]));
}

#[test]
fn a_key_record_that_is_damaged_is_told_and_not_overwritten() {
    let (here, code) = Device::first(1);
    let album = here.begun();
    put(&album.db, json!({"_id": "kept"})).unwrap();
    let key = Key::new([1; 32]);
    block_on(here.keys.set_passphrase(&PassphraseLock { salt: [1; 16], cost: Cost::FLOOR }, &key)).unwrap();
    let good = block_on(here.store.scan(1, 9)).unwrap().pop().unwrap().bytes;
    let mut seen = std::collections::BTreeSet::new();
    for at in (0..good.len()).step_by(3).chain(0..32) {
        for is_cut in [false, true] {
            let mut bytes = good.to_vec();
            if is_cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1;
            }
            let store = MemoryStore::new();
            let mut build =
                |_: &[_], _| Ok(Some(Batch { blocks: vec![bytes.clone().into()], ..Batch::default() }));
            block_on(store.append(1, &mut build)).unwrap();
            let device = Device::over(store, 3);
            // Neither way of unlocking says more than the other.
            let with_code = name(block_on(device.keys.unlock(Secret::Code(&code))));
            let with_passphrase = name(block_on(device.keys.unlock(Secret::Passphrase(&key))));
            assert!(with_code != "ok" && with_passphrase != "ok", "{at}");
            let lock = name(block_on(device.keys.passphrase_lock()));
            seen.extend([with_code, with_passphrase, lock]);
            assert!(name(block_on(device.keys.create(None))) != "ok");
            assert!(name(block_on(device.keys.recover(&code, &album.db, None))) != "ok");
            assert!(device.keys.is_locked());
            assert!(*block_on(device.store.scan(1, 9)).unwrap()[0].bytes == *bytes, "{at} was overwritten");
        }
    }
    // A salt that was changed is seen when it does not unlock.
    let seen: Vec<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, ["cost_out_of_bounds", "malformed_keys", "ok", "unknown_version", "wrong_secret"]);
    // It can be forgotten, and the code makes the keys anew from what is here.
    let store = MemoryStore::new();
    let mut build =
        |_: &[_], _| Ok(Some(Batch { blocks: vec![b"rubbish".to_vec().into()], ..Batch::default() }));
    block_on(store.append(1, &mut build)).unwrap();
    block_on(Device::over(store, 3).keys.destroy()).unwrap();
    let anew = Device::new(4);
    let own = anew.locked(album.store.handle(), OpenOptions::new("test"));
    block_on(anew.keys.recover(&code, &own.db, None)).unwrap();
    anew.unlock(&own).unwrap();
    assert_eq!(names(&own.db), ["kept"]);
}

#[test]
fn a_wrong_passphrase_and_a_wrong_code_have_one_answer() {
    let (here, code) = Device::first(1);
    let (_, other_code) = Device::first(2);
    let (lock, key) = (PassphraseLock { salt: [1; 16], cost: Cost::FLOOR }, Key::new([1; 32]));
    block_on(here.keys.set_passphrase(&lock, &key)).unwrap();
    let wrong = Key::new([2; 32]);
    let passphrase = block_on(here.keys.unlock(Secret::Passphrase(&wrong))).unwrap_err();
    assert_eq!(passphrase, block_on(here.keys.unlock(Secret::Code(&other_code))).unwrap_err());
    assert_eq!((passphrase.name(), passphrase.status()), ("wrong_secret", 0));
    // What was unlocked stays so: a code may be tried out at any time.
    assert!(!here.keys.is_locked());
    block_on(here.keys.unlock(Secret::Code(&code))).unwrap();
    // The code is lost: the passphrase is still changed, and opens.
    let next = Key::new([3; 32]);
    block_on(here.keys.set_passphrase(&lock, &next)).unwrap();
    here.keys.lock();
    assert_eq!(block_on(here.keys.unlock(Secret::Passphrase(&key))).unwrap_err(), passphrase);
    block_on(here.keys.unlock(Secret::Passphrase(&next))).unwrap();
}
