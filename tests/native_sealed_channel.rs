//! A sealed channel: what is stored and what replicates, who can read it, and what a server that lies gets in.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/faulty_store.rs"]
mod faulty_store;
#[path = "support/rng.rs"]
mod rng;
#[path = "support/seal.rs"]
mod seal;
mod support;

use std::{cell::RefCell, rc::Rc};

use faulty_store::{Fault, FaultyStore, Weather, turn};
use futures::{
    FutureExt,
    executor::{LocalPool, block_on},
    future::{join, join_all, join3},
};
use serde_json::{Value, json};
use settee::{
    database::{
        Database, KeySource, Keys, OpenOptions, Quarantined,
        options::{BulkDocsOptions, PutOptions},
    },
    error::{Error, Kind, Result},
    model::{Content, Digest, Seq},
    peer::{Change, ChangesQuery, MissingRevs, Peer, ReplicatedDoc},
    replicate::replicate,
    seal::{Entry, Vault},
    store::{Batch, MemoryStore, Store},
};
use support::*;

/// A device's vault as the source of a channel's keys.
struct FromVault(RefCell<Vault>);

impl KeySource for FromVault {
    fn keys(&self, log: &[Entry]) -> Result<Rc<Keys>> {
        let mut vault = self.0.borrow_mut();
        let ch = vault.pins().first().map(|pin| pin.ch);
        let replay =
            vault.open_channel(ch.as_ref(), log).map_err(|refusal| Error::remote(403, refusal.name(), ""))?;
        vault.remember(replay.pin.clone());
        Ok(Rc::new(Keys::new(replay.channel, vault.signer())))
    }
}

/// A device with a channel of its own: opened, and its log written.
struct Device {
    db: Database,
    store: MemoryStore,
    source: Rc<FromVault>,
}

fn channel(store: &MemoryStore, seed: u64) -> Database {
    let options = OpenOptions { sealed: true, ..OpenOptions::new("test") };
    block_on(Database::open(Rc::new(store.handle()), SeededPlatform::new(seed), options)).unwrap()
}

/// The first device of an account, and another one that was given the recovery code and a copy of the log.
fn devices() -> (Device, Device) {
    let home = seal::home(&seal::Chance::new(1));
    let entropy = |bytes: &mut [u8]| seal::Chance::new(2).fill(bytes);
    let second = Vault::recover(&home.code, &home.entries, &entropy).unwrap();
    let device = |vault: Vault, entries: &[Entry], seed| {
        let store = MemoryStore::new();
        let db = channel(&store, seed);
        block_on(db.append_to_log(entries)).unwrap();
        let source = Rc::new(FromVault(RefCell::new(vault)));
        block_on(db.unlock(source.clone())).unwrap();
        Device { db, store, source }
    };
    let missing = second.open_channel(None, &home.entries).unwrap().missing;
    let entries = [&home.entries[..], &missing].concat();
    (device(home.vault, &entries, 11), device(second, &entries, 12))
}

fn server() -> Database {
    open_seeded(MemoryStore::new(), OpenOptions::new("server"), false, 20)
}

/// Replicates from one to the other.
fn copy(source: &Database, target: &Database) -> Value {
    let peers = (Rc::new(source.clone()), Rc::new(target.clone()));
    let (_handle, run) =
        replicate(peers.0, peers.1, SeededPlatform::new(9), options(json!({})), Rc::new(|_| {}));
    serde_json::to_value(LocalPool::new().run_until(run).unwrap()).unwrap()
}

fn quarantine(db: &Database) -> Vec<Quarantined> {
    block_on(db.quarantine()).unwrap()
}

/// What a server gives of a document: its winner as replication sees it.
fn stored(db: &Database, id: &str, rev: &str) -> ReplicatedDoc {
    let revs = vec![rev.parse().unwrap()];
    let wanted = vec![MissingRevs { id: id.to_owned(), revs, possible_ancestors: Vec::new() }];
    block_on(Peer::bulk_get(db, wanted)).unwrap().remove(0).doc.unwrap()
}

/// The ids and revisions on a server that begin so.
fn listed(db: &Database, prefix: &str) -> Vec<(String, String)> {
    let rows = all_docs(db, json!({"startkey": prefix, "endkey": format!("{prefix}~")}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["id"]), text(&row["value"]["rev"]))).collect()
}

/// All that a store holds, as bytes.
fn dump(store: &MemoryStore) -> Vec<u8> {
    let mut all = Vec::new();
    for block in block_on(store.scan(1, 10_000)).unwrap() {
        all.extend_from_slice(&block.bytes);
    }
    for digest in block_on(store.content_digests()).unwrap() {
        all.extend_from_slice(&block_on(block_on(store.content(digest)).unwrap().unwrap().bytes()).unwrap());
    }
    for record in block_on(store.records(vec!["header", "snapshot"])).unwrap().into_iter().flatten() {
        all.extend_from_slice(&record);
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn attach(db: &Database, id: &str, name: &str, bytes: &[u8]) -> String {
    let rev = get(db, id).ok().map(|doc| doc["_rev"].as_str().unwrap().to_owned());
    let content = Content::from(bytes.to_vec());
    block_on(db.put_attachment(id, name, rev.as_deref(), content, "image/x-canary")).unwrap().rev
}

fn bytes_of(db: &Database, id: &str, name: &str) -> Vec<u8> {
    let (content, content_type) = block_on(db.get_attachment(id, name, &options(json!({})))).unwrap();
    assert_eq!(content_type, "image/x-canary");
    block_on(content.bytes()).unwrap().to_vec()
}

const CANARIES: [&str; 7] = [
    "canary-id",
    "canaryField",
    "canary value",
    "canary.jpg",
    "image/x-canary",
    "canary bytes",
    "canary-local",
];

fn plant(db: &Database) {
    put(db, json!({"_id": "canary-id", "canaryField": "canary value"})).unwrap();
    attach(db, "canary-id", "canary.jpg", "canary bytes ".repeat(10_000).as_bytes());
    put(db, json!({"_id": "_local/canary-local", "canaryField": "canary value"})).unwrap();
}

#[test]
fn what_a_channel_holds_and_sends_tells_nothing_and_the_same_search_finds_all_in_a_clear_one() {
    let (a, _) = devices();
    plant(&a.db);
    block_on(a.db.save()).unwrap();
    let (server_store, clear_store) = (MemoryStore::new(), MemoryStore::new());
    let server = open_seeded(server_store.handle(), OpenOptions::new("server"), false, 20);
    copy(&a.db, &server);
    let clear = open_seeded(clear_store.handle(), OpenOptions::new("clear"), false, 21);
    plant(&clear);
    for canary in CANARIES {
        assert!(contains(&dump(&clear_store), canary), "the search does not find {canary}");
        assert!(!contains(&dump(&a.store), canary), "{canary} lies on the device");
        assert!(!contains(&dump(&server_store), canary), "{canary} lies on the server");
    }
    assert_eq!(get(&a.db, "_local/canary-local").unwrap()["canaryField"], "canary value");
}

#[test]
fn two_devices_share_documents_attachments_deletions_and_conflicts_over_a_server_that_reads_nothing() {
    let (a, b) = devices();
    let server = server();
    let sync = || {
        for device in [&a, &b, &a] {
            copy(&device.db, &server);
            copy(&server, &device.db);
        }
    };
    plant(&a.db);
    let rev = put(&a.db, json!({"_id": "gone"})).unwrap();
    put(&a.db, json!({"_id": "both", "n": 0})).unwrap();
    sync();
    assert_eq!(bytes_of(&b.db, "canary-id", "canary.jpg"), "canary bytes ".repeat(10_000).as_bytes());
    assert_eq!(ids(&all_docs(&b.db, json!({}))), ["both", "canary-id", "gone"]);
    let base = get(&b.db, "both").unwrap()["_rev"].clone();
    block_on(b.db.remove("gone", &rev)).unwrap();
    let edit = |n: u32| json!({"_id": "both", "_rev": base, "n": n});
    // The same edit on both sides is the same revision; two different ones are a conflict.
    assert_eq!(put(&a.db, edit(7)).unwrap(), put(&b.db, edit(7)).unwrap());
    sync();
    assert!(get_with(&a.db, "both", json!({"conflicts": true})).unwrap().get("_conflicts").is_none());
    let base = get(&b.db, "both").unwrap()["_rev"].clone();
    let edit = |n: u32| json!({"_id": "both", "_rev": base, "n": n});
    let (mine, yours) = (put(&a.db, edit(1)).unwrap(), put(&b.db, edit(2)).unwrap());
    sync();
    assert_eq!(get(&a.db, "gone").unwrap_err().reason(), "deleted");
    for device in [&a, &b] {
        let doc = get_with(&device.db, "both", json!({"conflicts": true})).unwrap();
        let winner = mine.clone().max(yours.clone());
        assert_eq!(doc["_rev"], json!(winner));
        assert_eq!(doc["_conflicts"], json!([mine.clone().min(yours.clone())]));
        assert_eq!(quarantine(&device.db), []);
        assert_eq!(block_on(device.db.info()).unwrap().doc_count, 2);
    }
    // Both settle it alike and meet.
    for device in [&a, &b] {
        let rev = block_on(device.db.resolve("both", &mine, &[], &options(json!({})))).unwrap().rev;
        assert_eq!(get(&device.db, "both").unwrap()["_rev"], json!(rev));
    }
    sync();
    for device in [&a, &b] {
        let doc = get_with(&device.db, "both", json!({"conflicts": true})).unwrap();
        assert_eq!((&doc["n"], doc.get("_conflicts")), (&json!(1), None));
    }
}

#[test]
fn a_locked_channel_replicates_and_says_that_it_is_locked() {
    let (a, b) = devices();
    let server = server();
    put(&a.db, json!({"_id": "before"})).unwrap();
    copy(&a.db, &server);
    copy(&server, &b.db);
    b.db.lock();
    a.db.lock();
    assert_eq!(get(&b.db, "before").unwrap_err().kind(), Kind::Locked);
    assert_eq!(put(&b.db, json!({"_id": "x"})).unwrap_err().name(), "locked");
    assert_eq!(b.db.all_docs(options(json!({}))).err().unwrap().name(), "locked");
    block_on(a.db.unlock(a.source.clone())).unwrap();
    put(&a.db, json!({"_id": "while-locked", "n": 1})).unwrap();
    attach(&a.db, "while-locked", "f", b"bytes");
    a.db.lock();
    copy(&a.db, &server);
    copy(&server, &b.db);
    let held = quarantine(&b.db);
    assert_eq!(held.iter().map(|held| &*held.error).collect::<Vec<_>>(), ["locked"]);
    // Held counts as known, and does not go on from here.
    assert_eq!(copy(&server, &b.db)["docs_read"], 0);
    copy(&b.db, &server);
    assert!(listed(&server, "h-").is_empty());
    block_on(b.db.unlock(b.source.clone())).unwrap();
    assert_eq!(quarantine(&b.db), []);
    assert_eq!(ids(&all_docs(&b.db, json!({}))), ["before", "while-locked"]);
    assert_eq!(bytes_of(&b.db, "while-locked", "f"), b"bytes");
    // An old tab's feed ends with the reason.
    let mut feed = b.db.changes(options(json!({}))).unwrap();
    b.db.lock();
    assert_eq!(block_on(feed.next(true)).unwrap_err().name(), "locked");
}

/// What a hostile server sends, made of what it has; and why it must be kept out.
type Attack = (&'static str, fn(&Scene) -> ReplicatedDoc);

struct Scene {
    server: Database,
    /// Two documents of one revision each, by their stored ids.
    one: (String, String),
    two: (String, String),
    /// A document with two leaves: the stored id, and the leaves.
    forked: (String, [String; 2]),
    /// A revision on top of the second leaf.
    above: String,
    /// One with an attachment.
    photo: (String, String),
}

fn swapped(mut doc: ReplicatedDoc, with: &ReplicatedDoc) -> ReplicatedDoc {
    doc.body = with.body.clone();
    doc
}

const ATTACKS: [Attack; 9] = [
    ("not_opened", |scene| swapped(scene.get(&scene.one), &scene.get(&scene.two))),
    ("not_opened", |scene| {
        let mut doc = scene.get(&scene.one);
        doc.id = scene.two.0.clone();
        doc
    }),
    ("not_opened", |scene| {
        let mut doc = scene.get(&scene.one);
        doc.deleted = true;
        doc
    }),
    ("not_sealed", |scene| {
        let mut doc = scene.get(&scene.one);
        let rev = doc.path[0].clone();
        doc.path = vec![format!("2-{}", "0".repeat(32)).parse().unwrap(), rev];
        (doc.deleted, doc.body) = (true, "{}".to_owned());
        doc
    }),
    ("not_sealed", |scene| {
        let mut doc = scene.get(&scene.one);
        doc.body = r#"{"title":"clear"}"#.to_owned();
        doc
    }),
    ("foreign_id", |scene| {
        let mut doc = scene.get(&scene.one);
        doc.id = "note".to_owned();
        doc
    }),
    // The edit of one leaf, hung below the other: that one would not be a leaf any more.
    ("wrong_history", |scene| {
        let mut doc = stored(&scene.server, &scene.forked.0, &scene.above);
        let other = if doc.path[1].to_string() == scene.forked.1[0] { 1 } else { 0 };
        doc.path[1] = scene.forked.1[other].parse().unwrap();
        doc
    }),
    ("wrong_attachments", |scene| {
        let mut doc = scene.get(&scene.photo);
        doc.attachments[0].length += 1;
        doc
    }),
    ("not_opened", |scene| {
        let mut doc = scene.get(&scene.photo);
        doc.attachments.clear();
        doc
    }),
];

impl Scene {
    fn new(a: &Device) -> Self {
        let server = server();
        put(&a.db, json!({"_id": "one"})).unwrap();
        put(&a.db, json!({"_id": "two"})).unwrap();
        put(&a.db, json!({"_id": "photo"})).unwrap();
        attach(&a.db, "photo", "p.jpg", &[7; 5000]);
        let base = put(&a.db, json!({"_id": "forked"})).unwrap();
        let force = |n: u32| {
            let doc = json!({"_id": "forked", "_rev": base, "n": n}).to_string();
            block_on(a.db.put(&doc, &[], &options(json!({"force": true})))).unwrap().rev
        };
        let leaves = [force(1), force(2)];
        let above = put(&a.db, json!({"_id": "forked", "_rev": leaves[1], "n": 3})).unwrap();
        copy(&a.db, &server);
        let find = |name: &str| {
            let rev = get(&a.db, name).unwrap()["_rev"].as_str().unwrap().to_owned();
            let rows = listed(&server, "e-");
            (rows.into_iter().find(|(_, own)| *own == rev).unwrap().0, rev)
        };
        let forked = (find("forked").0, leaves);
        Self { one: find("one"), two: find("two"), photo: find("photo"), forked, above, server }
    }

    fn get(&self, (id, rev): &(String, String)) -> ReplicatedDoc {
        stored(&self.server, id, rev)
    }
}

#[test]
fn what_a_lying_server_sends_changes_nothing_is_kept_aside_and_does_not_stop_the_rest() {
    for (index, (reason, attack)) in ATTACKS.iter().enumerate() {
        let (a, b) = devices();
        let scene = Scene::new(&a);
        // The device knows the forked document's leaves and one of the others.
        copy(&scene.server, &b.db);
        block_on(b.db.discard_quarantine(None)).unwrap();
        let before = changes(&b.db, json!({"style": "all_docs", "include_docs": true, "conflicts": true}));
        let lie = attack(&scene);
        let (id, rev) = (lie.id.clone(), lie.path[0].to_string());
        put(&a.db, json!({"_id": "true"})).unwrap();
        copy(&a.db, &scene.server);
        let honest = listed(&scene.server, "e-")
            .into_iter()
            .find(|(id, _)| ![&scene.one.0, &scene.two.0, &scene.photo.0, &scene.forked.0].contains(&id));
        let outcomes = block_on(b.db.write_replicated(vec![lie, scene.get(&honest.unwrap())])).unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{index}");
        let mut after = changes(&b.db, json!({"style": "all_docs", "include_docs": true, "conflicts": true}));
        assert_eq!(after.pop().unwrap()["id"], "true", "{index}");
        assert_eq!(after, before, "{index}");
        let held = quarantine(&b.db);
        assert_eq!(held.len(), 1, "{index}");
        assert_eq!((&*held[0].error, &held[0].id, &held[0].rev), (*reason, &id, &rev), "{index}");
        // Looking again changes nothing; what is discarded is forgotten.
        assert_eq!(block_on(b.db.retry_quarantine()).unwrap(), 0, "{index}");
        assert_eq!(block_on(b.db.discard_quarantine(Some((&id, &rev)))).unwrap(), 1, "{index}");
        assert_eq!(quarantine(&b.db), [], "{index}");
    }
}

/// PouchDB's server numbers an attachment by the revision that it was sent with again.
#[test]
fn where_an_attachment_came_from_is_believed_of_its_author_alone() {
    let (a, b) = devices();
    let scene = Scene::new(&a);
    copy(&scene.server, &b.db);
    let (id, _) = scene.photo.clone();
    let revpos = scene.get(&scene.photo).attachments[0].revpos;
    for told in [revpos + 1, 1 << 40, 0] {
        let mut edited = get(&a.db, "photo").unwrap();
        edited["caption"] = json!(told);
        let rev = put(&a.db, edited).unwrap();
        copy(&a.db, &scene.server);
        let mut doc = stored(&scene.server, &id, &rev);
        doc.attachments[0].revpos = told;
        let outcomes = block_on(b.db.write_replicated(vec![doc])).unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{told}: {outcomes:?}");
        assert_eq!(quarantine(&b.db), [], "{told}");
        assert_eq!(get(&b.db, "photo").unwrap()["caption"], told, "{told}");
        assert_eq!(stored(&b.db, &id, &rev).attachments[0].revpos, revpos, "{told}");
    }
}

#[test]
fn what_was_refused_of_one_server_is_taken_from_another_that_does_not_lie() {
    let (a, b) = devices();
    let server = server();
    put(&a.db, json!({"_id": "one"})).unwrap();
    copy(&a.db, &server);
    let (id, rev) = listed(&server, "e-").remove(0);
    let mut lie = stored(&server, &id, &rev);
    lie.deleted = true;
    block_on(b.db.write_replicated(vec![lie.clone()])).unwrap();
    assert_eq!(quarantine(&b.db)[0].error, "not_opened");
    // The same lie again is the same.
    block_on(b.db.write_replicated(vec![lie.clone()])).unwrap();
    assert_eq!(quarantine(&b.db).len(), 1);
    copy(&server, &b.db);
    assert!(get(&b.db, "one").is_ok());
    assert_eq!(quarantine(&b.db), []);
    // What came while it was locked waits and is not asked for again; then it is known what is wrong with it.
    put(&a.db, json!({"_id": "two"})).unwrap();
    copy(&a.db, &server);
    let (id, rev) = listed(&server, "e-").into_iter().find(|(own, _)| *own != id).unwrap();
    let mut lie = stored(&server, &id, &rev);
    lie.body = r#"{"x":{}}"#.to_owned();
    b.db.lock();
    block_on(b.db.write_replicated(vec![lie])).unwrap();
    assert_eq!(copy(&server, &b.db)["docs_read"], 0);
    assert_eq!(quarantine(&b.db)[0].error, "locked");
    block_on(b.db.unlock(b.source.clone())).unwrap();
    assert_eq!(quarantine(&b.db)[0].error, "malformed");
    assert_eq!(block_on(b.db.retry_quarantine()).unwrap(), 0);
    copy(&server, &b.db);
    assert_eq!(quarantine(&b.db).len(), 1, "the checkpoint is past it");
    copy(&a.db, &b.db);
    assert!(get(&b.db, "two").is_ok());
    assert_eq!(quarantine(&b.db), []);
}

/// A page that is left before the checkpoint is written asks for the same once more.
#[test]
fn what_was_discarded_stays_so_when_the_same_comes_again_and_nothing_else_is_kept_out_for_it() {
    let (a, b) = devices();
    let server = server();
    put(&a.db, json!({"_id": "one"})).unwrap();
    copy(&a.db, &server);
    let (id, rev) = listed(&server, "e-").remove(0);
    let honest = stored(&server, &id, &rev);
    let lie = ReplicatedDoc { deleted: true, ..honest.clone() };
    let other = ReplicatedDoc { body: r#"{"x":{}}"#.to_owned(), ..honest.clone() };
    let write = |db: &Database, doc: &ReplicatedDoc| {
        let outcomes = block_on(db.write_replicated(vec![doc.clone()])).unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        quarantine(db).len()
    };
    assert_eq!(write(&b.db, &lie), 1);
    assert_eq!(block_on(b.db.discard_quarantine(None)).unwrap(), 1);
    assert_eq!(write(&b.db, &lie), 0);
    // Also to another tab, and after compaction.
    block_on(b.db.compact()).unwrap();
    let again = channel(&b.store, 13);
    block_on(again.unlock(b.source.clone())).unwrap();
    assert_eq!(write(&again, &lie), 0);
    let asked = json!({ (id.as_str()): [rev] }).to_string();
    assert!(block_on(again.revs_diff(&asked)).unwrap().contains(&rev), "it does not count as known");
    // Another lie about the same revision is told; when that is discarded too, both stay so.
    assert_eq!(write(&again, &other), 1);
    assert_eq!(quarantine(&again)[0].error, "malformed");
    assert_eq!(block_on(again.discard_quarantine(Some((&id, &rev)))).unwrap(), 1);
    assert_eq!((write(&again, &other), write(&again, &lie)), (0, 0));
    // The true one is taken.
    copy(&server, &again);
    assert!(get(&again, "one").is_ok());
    assert_eq!(quarantine(&again), []);
}

/// Padding and base64 make it longer: what CouchDB's `max_document_size` is held against is the sealed form.
#[test]
fn no_document_is_taken_that_is_too_large_for_everybody_once_it_is_sealed() {
    let (a, _) = devices();
    let limited = |sealed| OpenOptions { sealed, max_document_bytes: 100_000, ..OpenOptions::new("limited") };
    let store = Rc::new(a.store.handle());
    let db = block_on(Database::open(store, SeededPlatform::new(14), limited(true))).unwrap();
    block_on(db.unlock(a.source.clone())).unwrap();
    let mut taken = Vec::new();
    for size in (60_000..101_000).step_by(500) {
        let doc = json!({"_id": format!("of {size}"), "text": "x".repeat(size), "_attachments": {"f": {"data": ""}}});
        match put(&db, doc) {
            Ok(_) => taken.push(size),
            Err(error) => assert_eq!((error.status(), error.name()), (413, "document_too_large"), "{size}"),
        }
    }
    let largest = *taken.last().unwrap();
    assert!(taken.len() as u64 == (largest - 60_000) as u64 / 500 + 1, "up to a size, and none beyond it");
    assert!((68_000..74_000).contains(&largest), "{largest}");
    let server = open_seeded(MemoryStore::new(), limited(false), false, 21);
    assert_eq!(copy(&db, &server)["doc_write_failures"], 0);
    // What stays here is not sealed anew.
    let local = json!({"_id": "_local/x", "text": "x".repeat(90_000)});
    assert!(put(&db, local).is_ok());
}

#[test]
fn nothing_clear_leaves_a_sealed_channel_and_no_revision_is_brought_along() {
    let (a, _) = devices();
    let doc = json!({"_id": "x", "_rev": "1-abc"}).to_string();
    let error = block_on(a.db.put(&doc, &[], &options(json!({"new_edits": false})))).unwrap_err();
    assert_eq!((error.status(), error.name()), (403, "forbidden"));
    // A clear database does not become a sealed one.
    let store = MemoryStore::new();
    drop(open(store.handle()));
    let options = OpenOptions { sealed: true, ..OpenOptions::new("test") };
    let error = block_on(Database::open(Rc::new(store), SeededPlatform::new(1), options)).err().unwrap();
    assert_eq!(error.name(), "forbidden");
    // And a sealed one is opened as what it is, whoever asks.
    let again = open(a.store.handle());
    assert!(again.is_sealed());
    assert_eq!(get(&again, "x").unwrap_err().name(), "locked");
}

#[test]
fn what_is_sealed_under_a_key_that_is_still_to_come_waits_for_it() {
    let (a, b) = devices();
    let server = server();
    put(&a.db, json!({"_id": "old"})).unwrap();
    let entry = {
        let vault = a.source.0.borrow();
        let log = block_on(a.db.channel_log()).unwrap();
        let ch = vault.pins()[0].ch;
        vault.rotate(&vault.open_channel(Some(&ch), &log).unwrap(), &|bytes| bytes.fill(9)).unwrap()
    };
    block_on(a.db.append_to_log(std::slice::from_ref(&entry))).unwrap();
    put(&a.db, json!({"_id": "new"})).unwrap();
    copy(&a.db, &server);
    // A server that holds the log back.
    let new = get(&a.db, "new").unwrap()["_rev"].as_str().unwrap().to_owned();
    let (id, rev) = listed(&server, "e-").into_iter().find(|(_, rev)| *rev == new).unwrap();
    block_on(b.db.write_replicated(vec![stored(&server, &id, &rev)])).unwrap();
    assert_eq!(quarantine(&b.db)[0].error, "unknown_epoch");
    copy(&server, &b.db);
    assert_eq!(ids(&all_docs(&b.db, json!({}))), ["new", "old"]);
    assert_eq!(quarantine(&b.db), []);
}

#[test]
fn what_a_new_device_wrote_is_let_in_once_the_log_tells_of_it() {
    let home = seal::home(&seal::Chance::new(1));
    let entropy = |bytes: &mut [u8]| seal::Chance::new(2).fill(bytes);
    let second = Vault::recover(&home.code, &home.entries, &entropy).unwrap();
    let missing = second.open_channel(None, &home.entries).unwrap().missing;
    for together in [false, true] {
        let store = MemoryStore::new();
        let a = channel(&store, 11);
        block_on(a.append_to_log(&home.entries)).unwrap();
        let bytes = home.code.to_text();
        let code = settee::seal::RecoveryCode::parse(&bytes).unwrap();
        let own = Vault::recover(&code, &home.entries, &|bytes| seal::Chance::new(4).fill(bytes)).unwrap();
        block_on(a.unlock(Rc::new(FromVault(RefCell::new(own))))).unwrap();
        let b = channel(&MemoryStore::new(), 12);
        block_on(b.append_to_log(&[&home.entries[..], &missing].concat())).unwrap();
        let vault = Vault::recover(&code, &home.entries, &entropy).unwrap();
        block_on(b.unlock(Rc::new(FromVault(RefCell::new(vault))))).unwrap();
        put(&b, json!({"_id": "hello"})).unwrap();
        let (id, rev) = {
            let server = server();
            copy(&b, &server);
            listed(&server, "e-").remove(0)
        };
        let doc = stored(&b, &id, &rev);
        let entry = missing[0].to_doc();
        let entry = stored(&b, &entry.id, &entry.rev.to_string());
        // The document comes before the entry that says who wrote it, in one batch or two.
        if together {
            block_on(a.write_replicated(vec![doc, entry])).unwrap();
        } else {
            block_on(a.write_replicated(vec![doc])).unwrap();
            assert_eq!(quarantine(&a)[0].error, "unknown_author");
            block_on(a.write_replicated(vec![entry])).unwrap();
        }
        assert!(get(&a, "hello").is_ok());
        assert_eq!(quarantine(&a), []);
    }
}

#[test]
fn what_a_locked_tab_held_is_let_in_by_one_that_is_unlocked() {
    let (a, b) = devices();
    let server = server();
    put(&a.db, json!({"_id": "hello"})).unwrap();
    copy(&a.db, &server);
    // Another tab of the second device, locked, replicates.
    let locked = channel(&b.store, 13);
    let feed = b.db.changes(options(json!({"since": "now"}))).unwrap();
    copy(&server, &locked);
    assert!(get(&b.db, "hello").is_ok());
    assert_eq!(quarantine(&b.db), []);
    drop(feed);
}

/// PouchDB Server gives every attachment the generation of the document's last edit. What the author wrote counts.
#[test]
fn a_server_that_counts_attachments_anew_keeps_nothing_back() {
    let (a, b) = devices();
    let server = server();
    attach(&a.db, "photo", "photo.jpg", b"bytes");
    let rev = attach(&a.db, "photo", "small.jpg", b"less");
    copy(&a.db, &server);
    copy(&server, &b.db);
    let doc = get(&a.db, "photo").unwrap();
    let (id, _) = listed(&server, "e-").remove(0);
    let rev = put(&a.db, json!({"_id": "photo", "_rev": rev, "_attachments": doc["_attachments"], "n": 2}))
        .unwrap();
    let mut edited = stored(&a.db, &id, &rev);
    edited.attachments.iter_mut().for_each(|attachment| attachment.revpos = 3);
    block_on(b.db.write_replicated(vec![edited])).unwrap().remove(0).unwrap();
    assert_eq!(quarantine(&b.db), []);
    assert_eq!(get(&b.db, "photo").unwrap(), get(&a.db, "photo").unwrap());
    assert_eq!(bytes_of(&b.db, "photo", "photo.jpg"), b"bytes");
}

#[test]
fn chosen_documents_go_over_by_their_stored_names_and_the_log_with_them() {
    let (a, _) = devices();
    for id in ["a", "b"] {
        put(&a.db, json!({"_id": id})).unwrap();
    }
    let names = ["a", "nobody"].map(str::to_owned);
    let ids = a.db.stored_ids(&names).unwrap();
    let asked = settee::replicate::Options {
        beside: Some(Database::LOG),
        ..options(json!({"doc_ids": ids, "batch_size": 1}))
    };
    let server = server();
    let peers = (Rc::new(a.db.clone()), Rc::new(server.clone()));
    let (_handle, run) = replicate(peers.0, peers.1, SeededPlatform::new(9), asked, Rc::new(|_| {}));
    LocalPool::new().run_until(run).unwrap();
    let there = |prefix| listed(&server, prefix).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let log = there("k-");
    assert_eq!(there("e-"), ids[..1]);
    assert_eq!(block_on(a.db.channel_log()).unwrap().len(), log.len());
    let told = block_on(a.db.names(&[ids[0].clone(), ids[1].clone(), log[0].clone()])).unwrap();
    assert_eq!(told, [Some("a".to_owned()), None, Some(String::new())]);
    a.db.lock();
    assert_eq!(a.db.stored_ids(&names).unwrap_err().kind(), Kind::Locked);
    assert_eq!(a.db.stored_ids(&[]).unwrap(), Vec::<String>::new());
    assert_eq!(block_on(a.db.names(&ids)).unwrap_err().kind(), Kind::Locked);
}

#[test]
fn a_replication_tells_how_many_revisions_are_held_and_when_that_changes() {
    let (a, b) = devices();
    let server = server();
    put(&a.db, json!({"_id": "one"})).unwrap();
    copy(&a.db, &server);
    put(&server, json!({"_id": "by-hand"})).unwrap();
    put(&server, json!({"_id": "e-by-hand"})).unwrap();
    let count = |db: &Database| block_on(db.info()).unwrap().quarantined;
    assert_eq!((count(&b.db), count(&server)), (Some(0), None));
    let (from, to) = (Rc::new(server.clone()), Rc::new(b.db.clone()));
    let live = options(json!({"live": true}));
    let (handle, run) = replicate(from, to, SeededPlatform::new(9), live, Rc::new(|_| {}));
    let told = Rc::new(RefCell::new(Vec::new()));
    let (telling, again) = (told.clone(), handle.clone());
    handle.on_change(move || telling.borrow_mut().push(again.state().quarantined));
    let mut run = run.boxed_local();
    // Its timers are due at once, so it never rests.
    let mut turns = || assert!((0..2_000).all(|_| (&mut run).now_or_never().is_none()));
    turns();
    assert_eq!((handle.state().quarantined, count(&b.db)), (2, Some(2)));
    // Of what was held one is forgotten here, and one more comes.
    assert_eq!(block_on(b.db.discard_quarantine(Some(("by-hand", &quarantine(&b.db)[0].rev)))).unwrap(), 1);
    turns();
    assert_eq!(handle.state().quarantined, 1);
    put(&server, json!({"_id": "another"})).unwrap();
    turns();
    assert_eq!((handle.state().quarantined, count(&b.db)), (2, Some(2)));
    assert!(told.borrow().contains(&1));
    // One that ends at once counts what came last, and another tab's is the channel's own.
    put(&server, json!({"_id": "a-third"})).unwrap();
    let (from, to) = (Rc::new(server.clone()), Rc::new(channel(&b.store, 14)));
    let (handle, run) = replicate(from, to, SeededPlatform::new(9), options(json!({})), Rc::new(|_| {}));
    LocalPool::new().run_until(run).unwrap();
    assert_eq!(handle.state().quarantined, 3);
}

#[test]
fn the_bytes_of_an_attachment_are_those_that_its_stub_says() {
    let (a, b) = devices();
    let server = server();
    put(&a.db, json!({"_id": "photo"})).unwrap();
    attach(&a.db, "photo", "p.jpg", &[7; 5000]);
    copy(&a.db, &server);
    let (id, rev) = listed(&server, "e-").remove(0);
    let honest = stored(&server, &id, &rev);
    let digest = honest.attachments[0].digest.parse().unwrap();
    let sealed = block_on(Peer::attachment(&server, &honest, &honest.attachments[0])).unwrap();
    let mut bytes = block_on(sealed.bytes()).unwrap().to_vec();
    assert_eq!(settee::model::Digest::of(&bytes), digest);
    bytes[100] ^= 1;
    let mut lie = honest.clone();
    lie.attachments[0].content = Some(Content::from(bytes));
    assert!(block_on(b.db.write_replicated(vec![lie])).unwrap()[0].is_ok());
    assert_eq!(quarantine(&b.db)[0].error, "wrong_attachments");
    assert_eq!(get(&b.db, "photo").unwrap_err().status(), 404);
    copy(&server, &b.db);
    assert_eq!(bytes_of(&b.db, "photo", "p.jpg"), [7; 5000]);
    assert_eq!(quarantine(&b.db), []);
}

/// A large one is sealed and opened chunk by chunk, several at once, by whoever has hands for it.
#[test]
fn large_attachments_come_back_whole_and_a_damaged_one_is_told() {
    let (a, _) = devices();
    let digests = |store: &MemoryStore| block_on(store.content_digests()).unwrap();
    for length in [65_535, 65_536, 65_537, 131_072, 700_001, 1_500_000] {
        let plain: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        let (id, before) = (format!("of {length}"), digests(&a.store));
        attach(&a.db, &id, "f", &plain);
        assert!(bytes_of(&a.db, &id, "f") == plain, "{length}");
        let digest = digests(&a.store).into_iter().find(|digest| !before.contains(digest)).unwrap();
        let sealed = block_on(block_on(a.store.content(digest)).unwrap().unwrap().bytes()).unwrap();
        assert_eq!(Digest::of(&sealed), digest);
        let swapped = |one: usize, other: usize| {
            let mut all = sealed.to_vec();
            let at = |n: usize| 16 + n * 65_552..16 + (n + 1) * 65_552;
            if sealed.len() > at(other).end {
                all.copy_within(at(one), at(other).start);
                all[at(one)].copy_from_slice(&sealed[at(other)]);
            }
            all
        };
        let mut damaged = vec![swapped(0, 1), swapped(1, 3), sealed[..sealed.len() - 1].to_vec(), Vec::new()];
        damaged.push([&sealed[..], &[0]].concat());
        for at in [0, 15, 16, 65_551, 65_567, sealed.len() - 17, sealed.len() - 1] {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            damaged.push(changed);
        }
        for bytes in damaged.into_iter().filter(|bytes| bytes[..] != sealed[..]) {
            let store = a.store.fork();
            let device = channel(&store, 5);
            let next = block_on(store.scan(1, 10_000)).unwrap().last().unwrap().no + 1;
            for batch in [
                Batch { drop_contents: vec![digest], ..Batch::default() },
                Batch { put_contents: vec![(digest, Content::from(bytes))], ..Batch::default() },
            ] {
                block_on(store.append(next, &mut |_, _| Ok(Some(batch.clone())))).unwrap();
            }
            block_on(device.unlock(a.source.clone())).unwrap();
            let read = block_on(device.get_attachment(&id, "f", &options(json!({}))));
            assert_eq!(read.err().map(|error| error.kind()), Some(Kind::Corrupt), "{length}");
        }
    }
}

/// Two tabs write much at once, each sealing what waits while something else is being stored; a new epoch begins in the
/// middle, and the storage may fail once. What was told is what is there, and nothing is sealed under the old epoch
/// behind the new one's beginning.
#[test]
fn what_is_sealed_while_something_else_is_stored_is_as_if_it_had_waited() {
    rng::cases("what_is_sealed_while_something_else_is_stored_is_as_if_it_had_waited", 10, |mut rng| {
        let (a, _) = devices();
        let weather = Weather::new(rng::Rng(rng.next()));
        let tab = |seed| {
            let options = OpenOptions { sealed: true, ..OpenOptions::new("test") };
            let store = Rc::new(FaultyStore::new(a.store.handle(), &weather));
            let db = block_on(Database::open(store, SeededPlatform::new(seed), options)).unwrap();
            block_on(db.unlock(a.source.clone())).unwrap();
            db
        };
        let (one, two) = (tab(1), tab(2));
        let olds = bulk(
            &one,
            json!((0..50).map(|n| json!({"_id": format!("old{n:02}")})).collect::<Vec<_>>()),
            true,
        );
        let olds: Vec<String> = olds.into_iter().map(Result::unwrap).collect();
        let entry = {
            let vault = a.source.0.borrow();
            let log = block_on(a.db.channel_log()).unwrap();
            let ch = vault.pins()[0].ch;
            vault.rotate(&vault.open_channel(Some(&ch), &log).unwrap(), &|bytes| bytes.fill(9)).unwrap()
        };

        weather.is_slow.set(true);
        let has_fault = rng.percent(50);
        if has_fault {
            weather.fault.set(Some((rng.below(8) as u32, Fault::Before(Kind::InsufficientStorage))));
        }
        let docs = |tab: &str, count: usize| {
            let edits = olds
                .iter()
                .enumerate()
                .map(|(n, rev)| json!({"_id": format!("old{n:02}"), "_rev": rev, "by": tab}));
            let news = (0..count).map(|n| json!({"_id": format!("{tab}{n:04}"), "n": n}));
            // The same id a second time, far from the first.
            news.chain(edits).chain([json!({"_id": format!("{tab}0000"), "n": "again"})]).collect::<Vec<_>>()
        };
        let lists = [docs("one", 257 + rng.below(700)), docs("two", 100 + rng.below(700))];
        let texts = lists.each_ref().map(|docs| json!(docs).to_string());
        let options = BulkDocsOptions::default();
        let writes = join(one.bulk_docs(&texts[0], &[], &options), two.bulk_docs(&texts[1], &[], &options));
        let singles = (0..300).map(|n| {
            let text = json!({"_id": format!("single{n:03}")}).to_string();
            let one = one.clone();
            async move { one.put(&text, &[], &PutOptions::default()).await }
        });
        let pause = rng.below(60);
        let rotation = async {
            for _ in 0..pause {
                turn().await;
            }
            a.db.append_to_log(std::slice::from_ref(&entry)).await
        };
        let ((first, second), singles, rotated) = block_on(join3(writes, join_all(singles), rotation));
        weather.is_slow.set(false);
        rotated.unwrap();
        weather.tell(true);

        let fresh = tab(3);
        let mut told: Vec<(Value, std::result::Result<String, String>)> = Vec::new();
        for (docs, outcomes) in lists.into_iter().zip([first, second]) {
            let failed = outcomes.as_ref().err().map(|error| error.name().to_owned());
            let outcomes = outcomes.unwrap_or_default();
            assert_eq!(outcomes.len(), if failed.is_some() { 0 } else { docs.len() });
            let mut outcomes = outcomes.into_iter();
            for doc in docs {
                let outcome = outcomes.next().map(|(_, outcome)| outcome.map(|written| written.rev));
                let outcome = outcome.map(|outcome| outcome.map_err(|error| error.name().to_owned()));
                told.push((doc, outcome.unwrap_or_else(|| Err(failed.clone().unwrap()))));
            }
        }
        for (n, outcome) in singles.into_iter().enumerate() {
            let outcome = outcome.map(|written| written.rev).map_err(|error| error.name().to_owned());
            told.push((json!({"_id": format!("single{n:03}")}), outcome));
        }
        let mut edited = 0;
        for (mut doc, outcome) in told {
            let id = doc["_id"].as_str().unwrap().to_owned();
            let before = doc.as_object_mut().unwrap().remove("_rev").is_some();
            match outcome {
                Ok(rev) => {
                    doc["_rev"] = json!(rev);
                    assert_eq!(get(&fresh, &id), Ok(doc));
                    edited += usize::from(before);
                }
                Err(name) if name == "insufficient_storage" => assert!(has_fault),
                Err(name) => {
                    assert_eq!(name, "conflict", "{doc}");
                    assert!(before || doc["n"] == "again", "{doc}");
                }
            }
        }
        assert!(edited == 50 || has_fault, "{edited} of 50");
        assert_eq!(weather.faults.get(), u32::from(has_fault));

        let page =
            block_on(Peer::changes(&fresh, &ChangesQuery::default(), &Seq::zero(), 10_000, None)).unwrap();
        let ids: Vec<&str> = page.results.iter().map(|change| &*change.id).collect();
        let begun = ids.iter().rposition(|id| id.starts_with("k-")).unwrap();
        let epoch = |change: &Change| {
            let doc = stored(&fresh, &change.id, &change.leaves[0].to_string());
            serde_json::from_str::<Value>(&doc.body).unwrap()["x"]["e"].as_str().unwrap().to_owned()
        };
        let epochs: Vec<String> = page.results[begun + 1..].iter().map(epoch).collect();
        let old = page.results[..begun].iter().find(|change| change.id.starts_with("e-")).map(epoch);
        assert!(epochs.iter().all(|own| Some(own) != old.as_ref() && *own == epochs[0]), "at {begun}");
    });
}

/// Locked in the middle of a large write: what is not written by then is refused, and told so. Unlocked again in the
/// middle, it goes on with the keys of now.
#[test]
fn what_waits_when_a_channel_is_locked_is_refused() {
    for (pause, unlocks) in [(0, false), (3, false), (12, false), (3, true), (12, true), (40, true)] {
        let (a, _) = devices();
        let weather = Weather::new(rng::Rng(7));
        let options = OpenOptions { sealed: true, ..OpenOptions::new("test") };
        let store = Rc::new(FaultyStore::new(a.store.handle(), &weather));
        let db = block_on(Database::open(store, SeededPlatform::new(4), options)).unwrap();
        block_on(db.unlock(a.source.clone())).unwrap();
        weather.is_slow.set(true);
        let docs: Vec<Value> = (0..1_000).map(|n| json!({"_id": format!("d{n:04}")})).collect();
        let (text, options) = (json!(docs).to_string(), BulkDocsOptions::default());
        let lock = async {
            for _ in 0..pause {
                turn().await;
            }
            db.lock();
            if unlocks {
                turn().await;
                db.unlock(a.source.clone()).await.unwrap();
            }
        };
        let (outcomes, ()) = block_on(join(db.bulk_docs(&text, &[], &options), lock));
        weather.is_slow.set(false);
        block_on(db.unlock(a.source.clone())).unwrap();
        let rows = all_docs(&db, json!({}));
        let written: Vec<String> = match outcomes {
            Ok(outcomes) => {
                let mut failed = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
                assert!(failed.all(|error| error.name() == "locked"));
                outcomes.into_iter().filter_map(|(id, outcome)| outcome.ok().and(id)).collect()
            }
            Err(error) => {
                assert_eq!(error.name(), "locked");
                Vec::new()
            }
        };
        assert_eq!(ids(&rows), written, "{pause} {unlocks}");
    }
}
