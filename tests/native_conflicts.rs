//! Conflicts: what is listed as one, how it is settled, and that devices which settle it agree.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/rng.rs"]
mod rng;
mod support;

use std::{cell::RefCell, rc::Rc};

use futures::{
    executor::{LocalPool, block_on},
    task::LocalSpawnExt,
};
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions, options::GetOptions},
    error::{Error, Result},
    model::Content,
    replicate::replicate,
    store::MemoryStore,
};
use support::*;

/// A database of its own, with a uuid of its own.
fn device(seed: u64) -> Database {
    open_seeded(MemoryStore::new(), OpenOptions::new("test"), SEALED, seed)
}

/// Replicates both ways.
fn sync(a: &Database, b: &Database) {
    for (source, target) in [(a, b), (b, a)] {
        let platform = SeededPlatform::new(9);
        let peers = (Rc::new(source.clone()), Rc::new(target.clone()));
        let (_handle, run) = replicate(peers.0, peers.1, platform, options(json!({})), Rc::new(|_| {}));
        LocalPool::new().run_until(run).unwrap();
    }
}

/// Two devices that both have `x` in its first revision.
fn pair() -> (Database, Database, String) {
    let (a, b) = (device(1), device(2));
    let first = put(&a, json!({"_id": "x", "n": 0})).unwrap();
    sync(&a, &b);
    (a, b, first)
}

fn edit(db: &Database, rev: &str, n: u32) -> String {
    put(db, json!({"_id": "x", "_rev": rev, "n": n})).unwrap()
}

fn remove(db: &Database, rev: &str) -> String {
    block_on(db.remove("x", rev)).unwrap().rev
}

fn conflicts_with(db: &Database, with: Value) -> Vec<Value> {
    let mut feed = db.conflicts(options(with)).unwrap();
    let mut rows = Vec::new();
    while let Some(page) = block_on(feed.next(false)).unwrap() {
        rows.extend(serde_json::from_str::<Vec<Value>>(&page.json).unwrap());
    }
    rows
}

/// `[id, rev, conflicts, deletedConflicts]` of each document in conflict.
fn conflicts(db: &Database) -> Vec<Value> {
    conflicts_with(db, json!({})).iter().map(lists).collect()
}

fn lists(row: &Value) -> Value {
    json!([row["id"], row["rev"], row["conflicts"], row["deletedConflicts"]])
}

fn contested(db: &Database) -> Value {
    serde_json::from_str(&block_on(db.contested_docs("x")).unwrap().json).unwrap()
}

fn resolve_with(db: &Database, how: &str, with: Value) -> Result<String> {
    block_on(db.resolve("x", how, &[], &options(with))).map(|written| written.rev)
}

fn resolve(db: &Database, how: &str) -> Result<String> {
    resolve_with(db, how, json!({}))
}

/// Every leaf of `x` with its body, the winner first.
fn leaves(db: &Database) -> Value {
    get_with(db, "x", json!({"open_revs": "all"})).unwrap()
}

fn live(db: &Database) -> Vec<Value> {
    let leaves = leaves(db);
    let docs = leaves.as_array().unwrap().iter().map(|leaf| leaf["ok"].clone());
    docs.filter(|doc| doc.get("_deleted").is_none()).collect()
}

fn seq(db: &Database) -> u64 {
    block_on(db.info()).unwrap().update_seq
}

fn is_conflict(error: &Error) -> bool {
    (error.status(), error.name()) == (409, "conflict")
}

#[test]
fn leaves_that_live_side_by_side_are_listed_until_one_is_left() {
    let (a, b, first) = pair();
    put(&a, json!({"_id": "other"})).unwrap();
    let (mine, theirs) = (edit(&a, &first, 1), edit(&b, &first, 2));
    assert!(conflicts(&a).is_empty() && conflicts(&b).is_empty());
    sync(&a, &b);
    let (winner, loser) = if mine > theirs { (&mine, &theirs) } else { (&theirs, &mine) };
    for db in [&a, &b] {
        assert_eq!(conflicts(db), [json!(["x", winner, [loser], []])]);
    }
    assert_eq!(resolve(&a, winner).unwrap(), *winner);
    sync(&a, &b);
    for db in [&a, &b] {
        assert!(conflicts(db).is_empty());
        assert_eq!(live(db).len(), 1);
    }
    assert_eq!(leaves(&a), leaves(&b));
}

#[test]
fn what_was_edited_here_while_it_was_deleted_elsewhere_is_listed_until_it_was_looked_at() {
    // However often it was edited: an offline device does not count.
    for edits in 1..5 {
        let (a, b, first) = pair();
        let mut mine = first.clone();
        for n in 1..=edits {
            mine = edit(&a, &mine, n);
        }
        let tombstone = remove(&b, &first);
        sync(&a, &b);
        for db in [&a, &b] {
            assert_eq!(conflicts(db), [json!(["x", mine, [], [tombstone]])], "{edits} edits");
        }
        // Going on with it is not a look at the conflict.
        let mine = edit(&b, &mine, 9);
        assert_eq!(conflicts(&b), [json!(["x", mine, [], [tombstone]])]);
        assert_eq!(contested(&b).as_array().unwrap().len(), 2);
        assert_eq!(contested(&b)[1], json!({"_id": "x", "_rev": tombstone, "_deleted": true}));
        assert_eq!(resolve(&b, &mine).unwrap(), mine);
        sync(&a, &b);
        for db in [&a, &b] {
            assert!(conflicts(db).is_empty());
            assert_eq!(get(db, "x").unwrap(), json!({"_id": "x", "_rev": mine, "n": 9}));
            // And it stays so.
            edit(db, &mine, 10);
            assert!(conflicts(db).is_empty());
        }
    }
}

#[test]
fn a_deletion_can_be_the_one_that_stands() {
    let (a, b, first) = pair();
    edit(&a, &first, 1);
    let tombstone = put(&b, json!({"_id": "x", "_rev": first, "_deleted": true, "why": "old"})).unwrap();
    sync(&a, &b);
    let rev = resolve(&a, &tombstone).unwrap();
    sync(&a, &b);
    for db in [&a, &b] {
        assert_eq!(get(db, "x").unwrap_err().reason(), "deleted");
        let there = get_with(db, "x", json!({"rev": rev})).unwrap();
        assert_eq!(there, json!({"_id": "x", "_rev": rev, "_deleted": true, "why": "old"}));
        assert!(conflicts(db).is_empty() && live(db).is_empty());
    }
}

#[test]
fn losing_leaves_that_somebody_deleted_as_everybody_does_are_not_listed() {
    for deletes_the_winner in [false, true] {
        let (a, b, first) = pair();
        edit(&a, &first, 1);
        edit(&b, &first, 2);
        sync(&a, &b);
        let row = &conflicts(&a)[0];
        let (winner, loser) = (row[1].as_str().unwrap(), row[2][0].as_str().unwrap());
        let (gone, left) = if deletes_the_winner { (winner, loser) } else { (loser, winner) };
        remove(&a, gone);
        sync(&a, &b);
        let mut left = left.to_owned();
        for n in 0..4 {
            assert!(conflicts(&b).is_empty());
            left = edit(&b, &left, n);
        }
    }
}

#[test]
fn an_edit_of_a_branch_that_was_ended_elsewhere_is_a_conflict_again() {
    let (a, b, first) = pair();
    edit(&a, &first, 1);
    edit(&b, &first, 2);
    sync(&a, &b);
    let row = &conflicts(&a)[0];
    let (winner, loser) = (row[1].as_str().unwrap().to_owned(), row[2][0].as_str().unwrap().to_owned());
    resolve(&a, &winner).unwrap();
    let again = edit(&b, &loser, 3);
    sync(&a, &b);
    let row = &conflicts(&b)[0];
    assert_eq!(row, &conflicts(&a)[0]);
    assert_eq!((&row[1], &row[2]), (&json!(again), &json!([winner])));
    assert_eq!(row[3].as_array().unwrap().len(), 1);
    resolve(&a, &again).unwrap();
    sync(&a, &b);
    assert!(conflicts(&a).is_empty() && conflicts(&b).is_empty());
    assert_eq!(live(&b), [json!({"_id": "x", "_rev": again, "n": 3})]);
}

#[test]
fn a_feed_tells_who_gets_into_a_conflict_and_who_gets_out() {
    let (a, b, first) = pair();
    let rows: Rc<RefCell<Vec<Value>>> = Rc::default();
    let log = rows.clone();
    let mut feed = a.conflicts(options(json!({"since": 0}))).unwrap();
    let mut pool = LocalPool::new();
    pool.spawner()
        .spawn_local(async move {
            while let Some(page) = feed.next(true).await.unwrap() {
                log.borrow_mut().extend(serde_json::from_str::<Vec<Value>>(&page.json).unwrap());
            }
            log.borrow_mut().push(json!("end"));
        })
        .unwrap();
    let mut heard = || {
        pool.run_until_stalled();
        rows.borrow_mut()
            .drain(..)
            .map(|row| if row == "end" { row } else { lists(&row) })
            .collect::<Vec<_>>()
    };
    assert!(heard().is_empty());
    let (mine, theirs) = (edit(&a, &first, 1), edit(&b, &first, 2));
    assert!(heard().is_empty());
    let before = seq(&a);
    sync(&a, &b);
    let (winner, loser) = if mine > theirs { (mine, theirs) } else { (theirs, mine) };
    assert_eq!(heard(), [json!(["x", winner, [loser], []])]);
    resolve(&b, &winner).unwrap();
    sync(&a, &b);
    assert_eq!(heard(), [json!(["x", winner, [], []])]);
    // Told once; a later edit is nobody's news, and a new conflict is.
    let next = edit(&a, &winner, 5);
    assert!(heard().is_empty());
    let tombstone = remove(&b, &winner);
    sync(&a, &b);
    assert_eq!(heard(), [json!(["x", next, [], [tombstone]])]);
    // Who asks again later hears how it stands now, even that it is over.
    let since = json!({"since": before});
    assert_eq!(conflicts_with(&a, since.clone()).len(), 1);
    let rev = remove(&a, &next);
    assert_eq!(heard(), [json!(["x", rev, [], []])]);
    let late = conflicts_with(&a, since);
    assert_eq!(late.iter().map(lists).collect::<Vec<_>>(), [json!(["x", rev, [], []])]);
    assert_eq!(late[0]["deleted"], json!(true));
    assert!(conflicts(&a).is_empty());
    a.close();
    assert_eq!(heard(), [json!("end")]);
}

#[test]
fn a_feed_of_conflicts_takes_the_options_of_changes() {
    let (a, b) = (device(1), device(2));
    for db in [&a, &b] {
        for n in 0..4 {
            let device = if n == 1 { json!("same") } else { json!(std::ptr::from_ref(db) as usize) };
            put(db, json!({"_id": format!("d{n}"), "device": device, "n": n})).unwrap();
        }
    }
    sync(&a, &b);
    let ids_with = |with: Value| -> Vec<String> {
        conflicts_with(&a, with).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = ids_with(json!({}));
    all.sort();
    assert_eq!(all, ["d0", "d2", "d3"]);
    assert_eq!(ids_with(json!({"limit": 2})).len(), 2);
    assert_eq!(ids_with(json!({"doc_ids": ["d1", "d2"]})), ["d2"]);
    assert_eq!(ids_with(json!({"selector": {"n": 3}})), ["d3"]);
    let row = &conflicts_with(&a, json!({"include_docs": true, "limit": 1}))[0];
    assert_eq!(row["doc"]["_rev"], row["rev"]);
    assert!(row["seq"].is_u64());
    // A limit goes on where it ended.
    let first = conflicts_with(&a, json!({"limit": 1}));
    let rest = conflicts_with(&a, json!({"since": first[0]["seq"]}));
    assert_eq!(first.len() + rest.len(), 3);
    let error = a.conflicts(options(json!({"style": "all_docs"}))).err().unwrap();
    assert_eq!((error.status(), error.name()), (400, "query_parse_error"));
}

#[test]
fn a_leaf_that_lost_gets_its_content_onto_the_winning_branch() {
    let (a, b, first) = pair();
    edit(&a, &first, 1);
    edit(&b, &first, 2);
    sync(&a, &b);
    let docs = contested(&a);
    let (winner, loser) = (docs[0].clone(), docs[1].clone());
    let rev = resolve(&a, loser["_rev"].as_str().unwrap()).unwrap();
    assert!(rev.starts_with("3-"), "{rev}");
    sync(&a, &b);
    assert_eq!(live(&b), [json!({"_id": "x", "_rev": rev, "n": loser["n"]})]);
    let revs = get_with(&b, "x", json!({"revs": true})).unwrap();
    let parent = winner["_rev"].as_str().unwrap().split_once('-').unwrap().1;
    assert_eq!(revs["_revisions"]["ids"][1], parent);
}

#[test]
fn devices_that_decide_alike_write_the_same_and_others_lose_nothing() {
    for (how_a, how_b) in [(0, 0), (1, 1), (0, 1), (1, 2), (2, 2)] {
        let (a, b, first) = pair();
        edit(&a, &first, 1);
        edit(&b, &first, 2);
        sync(&a, &b);
        let docs = contested(&a);
        assert_eq!(docs, contested(&b));
        let decide = |db: &Database, how: usize| match how {
            2 => resolve(db, &json!({"_id": "x", "n": 12}).to_string()).unwrap(),
            leaf => resolve(db, docs[leaf]["_rev"].as_str().unwrap()).unwrap(),
        };
        let revs = (decide(&a, how_a), decide(&b, how_b));
        if how_a == how_b {
            assert_eq!(revs.0, revs.1);
            assert_eq!(leaves(&a), leaves(&b));
        }
        sync(&a, &b);
        assert_eq!(leaves(&a), leaves(&b));
        let contents: Vec<Value> = live(&a).iter().map(|doc| doc["n"].clone()).collect();
        match (how_a, how_b) {
            // An edit of the winner stands over leaving it as it was.
            (0, 1) => assert_eq!(contents, [docs[1]["n"].clone()]),
            (1, 2) => {
                assert_eq!((contents.len(), conflicts(&b).len()), (2, 1));
                assert!(contents.contains(&docs[1]["n"]) && contents.contains(&json!(12)));
            }
            _ => assert_eq!((contents.len(), conflicts(&b).len()), (1, 0)),
        }
    }
}

#[test]
fn leaves_that_changed_meanwhile_are_a_conflict_and_nothing_is_written() {
    let (a, b, first) = pair();
    let c = device(3);
    sync(&b, &c);
    edit(&a, &first, 1);
    edit(&b, &first, 2);
    sync(&a, &b);
    let docs = contested(&a);
    let revs: Vec<&str> = docs.as_array().unwrap().iter().map(|doc| doc["_rev"].as_str().unwrap()).collect();
    edit(&c, &first, 3);
    sync(&a, &c);
    let (before, there) = (seq(&a), leaves(&a));
    for (how, with) in [
        (revs[0], json!({"revs": revs})),
        (r#"{"n":9}"#, json!({"revs": revs})),
        (r#"{"n":9}"#, json!({"revs": revs, "keepBoth": true})),
        (&*first, json!({})),
        ("7-unknown", json!({"keepBoth": true})),
    ] {
        let error = resolve_with(&a, how, with).unwrap_err();
        assert!(is_conflict(&error), "{how}: {error}");
    }
    assert_eq!((seq(&a), leaves(&a)), (before, there));
    // In any order, once they are all named.
    let docs = contested(&a);
    let mut revs: Vec<&str> =
        docs.as_array().unwrap().iter().map(|doc| doc["_rev"].as_str().unwrap()).collect();
    revs.reverse();
    assert_eq!(resolve_with(&a, revs[2], json!({"revs": revs})).unwrap(), revs[2]);
}

#[test]
fn another_tabs_leaf_is_seen_before_anything_is_written() {
    if SEALED {
        // A sealed channel takes no revisions from its caller, see native_sealed_channel.rs.
        return;
    }
    let store = MemoryStore::new();
    let (a, tab) = (open(store.handle()), open(store.handle()));
    bulk(&a, json!([{"_id": "x", "_rev": "1-a"}, {"_id": "x", "_rev": "1-b"}]), false);
    bulk(&tab, json!([{"_id": "x", "_rev": "1-c", "n": 3}]), false);
    let error = resolve_with(&a, "1-b", json!({"revs": ["1-a", "1-b"]})).unwrap_err();
    assert!(is_conflict(&error));
    assert_eq!(live(&tab).len(), 3);
    resolve_with(&a, "1-b", json!({"revs": ["1-a", "1-c", "1-b"]})).unwrap();
    assert_eq!(live(&tab).len(), 1);
}

#[test]
fn what_is_in_no_conflict_stays_as_it_is() {
    let (a, b, first) = pair();
    let before = seq(&a);
    assert_eq!(resolve(&a, &first).unwrap(), first);
    assert_eq!(resolve(&a, "keep-both").unwrap(), first);
    assert_eq!(contested(&a), json!([{"_id": "x", "_rev": first, "n": 0}]));
    let gone = remove(&b, &first);
    assert_eq!(resolve(&b, &gone).unwrap(), gone);
    assert_eq!(seq(&a), before);
    let refused = |id: &str, how: &str| block_on(a.resolve(id, how, &[], &options(json!({})))).unwrap_err();
    assert_eq!(refused("nobody", &first).status(), 404);
    assert_eq!(refused("_local/x", &first).name(), "bad_request");
    assert_eq!(refused("x", "no revision").name(), "bad_request");
    assert_eq!(refused("x", r#"{"_id":"y"}"#).name(), "bad_request");
    assert_eq!(refused("x", r#"{"_nothing":1}"#).name(), "doc_validation");
    assert_eq!(block_on(a.contested_docs("nobody")).unwrap_err().status(), 404);
}

fn attach(db: &Database, name: &str, rev: &str, bytes: &[u8]) -> String {
    let content = Content::from(bytes.to_vec());
    block_on(db.put_attachment("x", name, Some(rev), content, "image/jpeg")).unwrap().rev
}

fn attachment(db: &Database, id: &str, name: &str) -> Vec<u8> {
    let (content, _) = block_on(db.get_attachment(id, name, &options(json!({})))).unwrap();
    block_on(content.bytes()).unwrap().to_vec()
}

#[test]
fn a_merged_document_takes_attachments_from_any_of_the_leaves() {
    let (a, b, first) = pair();
    attach(&a, "mine", &first, b"mine");
    attach(&b, "theirs", &first, b"theirs");
    sync(&a, &b);
    let docs = contested(&a);
    let mut attachments = docs[0]["_attachments"].clone();
    let (name, loser) = docs[1]["_attachments"].as_object().unwrap().iter().next().unwrap();
    attachments[name] = loser.clone();
    let fresh = json!({"content_type": "text/plain", "data": 0});
    attachments["new"] = fresh;
    let merged = json!({"_id": "x", "_rev": docs[1]["_rev"], "n": 3, "_attachments": attachments});
    let contents = [Content::from(b"new".to_vec())];
    block_on(a.resolve("x", &merged.to_string(), &contents, &options(json!({})))).unwrap();
    sync(&a, &b);
    for db in [&a, &b] {
        assert_eq!(live(db).len(), 1);
        for name in ["mine", "theirs", "new"] {
            assert_eq!(attachment(db, "x", name), name.as_bytes());
        }
    }
    let stubs = get(&b, "x").unwrap()["_attachments"].clone();
    let winners = docs[0]["_attachments"].as_object().unwrap().keys().next().unwrap();
    assert_eq!((&stubs[winners]["revpos"], &stubs[name]["revpos"]), (&json!(2), &json!(3)));

    // A stub that none of them has.
    let (a, b, first) = pair();
    edit(&a, &first, 1);
    edit(&b, &first, 2);
    sync(&a, &b);
    let error = resolve(&a, r#"{"_attachments":{"none":{"stub":true}}}"#).unwrap_err();
    assert_eq!((error.status(), error.name()), (412, "missing_stub"));
    assert_eq!(live(&a).len(), 2);
}

#[test]
fn both_are_kept_as_documents_of_their_own_and_the_same_on_every_device() {
    let (a, b, first) = pair();
    let mine = attach(&a, "photo", &first, b"mine");
    let theirs = attach(&b, "photo", &first, b"theirs");
    sync(&a, &b);
    let (winner, loser) = if mine > theirs { (mine, theirs) } else { (theirs, mine) };
    let lost = attachment_of(&a, &loser);
    assert_eq!(resolve(&a, "keep-both").unwrap(), winner);
    let copy = format!("x~{loser}");
    // Somebody goes on with the copy before the other device decides the same.
    let rev = get(&a, &copy).unwrap()["_rev"].clone();
    put(&a, json!({"_id": copy, "_rev": rev, "n": 7, "_attachments": {"photo": {"stub": true}}})).unwrap();
    resolve_with(&b, &winner, json!({"keepBoth": true})).unwrap();
    assert_eq!(get(&b, &copy).unwrap()["_rev"], rev);
    sync(&a, &b);
    for db in [&a, &b] {
        assert!(conflicts(db).is_empty());
        assert_eq!((live(db).len(), get(db, &copy).unwrap()["n"].clone()), (1, json!(7)));
        assert_eq!(attachment(db, &copy, "photo"), lost);
        let compacted = block_on(db.compact());
        assert!(compacted.is_ok());
        assert_eq!(attachment(db, &copy, "photo"), lost);
    }
    assert_eq!(all_docs(&a, json!({})).len(), 2);
}

fn attachment_of(db: &Database, rev: &str) -> Vec<u8> {
    let (content, _) = block_on(db.get_attachment("x", "photo", &options(json!({"rev": rev})))).unwrap();
    block_on(content.bytes()).unwrap().to_vec()
}

#[test]
fn copies_are_written_together_with_the_resolution_or_not_at_all() {
    let (a, b, first) = pair();
    edit(&a, &first, 1);
    edit(&b, &first, 2);
    sync(&a, &b);
    let docs = contested(&a);
    let loser = docs[1]["_rev"].as_str().unwrap();
    put(&a, json!({"_id": "taken", "n": "mine"})).unwrap();
    let before = seq(&a);
    for (id, status) in [("taken", 409), ("x", 400), ("_local/x", 400), ("_x", 400)] {
        let error = resolve_with(&a, "keep-both", json!({"ids": {loser: id}})).unwrap_err();
        assert_eq!(error.status(), status, "{id}");
    }
    assert_eq!((seq(&a), live(&a).len()), (before, 2));
    resolve_with(&a, "keep-both", json!({"ids": {loser: "copy"}})).unwrap();
    assert_eq!(get(&a, "copy").unwrap()["n"], docs[1]["n"]);
    // The chosen leaf is no loser, whichever it was.
    let (a, b, first) = pair();
    edit(&a, &first, 1);
    edit(&b, &first, 2);
    sync(&a, &b);
    resolve_with(&a, loser, json!({"keepBoth": true})).unwrap();
    assert_eq!(get(&a, "x").unwrap()["n"], docs[1]["n"]);
    let winner = docs[0]["_rev"].as_str().unwrap();
    assert_eq!(get(&a, &format!("x~{winner}")).unwrap()["n"], docs[0]["n"]);
    assert_eq!(all_docs(&a, json!({})).len(), 2);
}

/// Devices that edit, delete, replicate and settle at random. In the end all list the same conflicts, and
/// when one device has settled them none is left anywhere.
#[test]
fn devices_agree_on_what_is_a_conflict_and_that_it_is_settled() {
    let (mut listed, mut deletions) = (0, 0);
    for seed in 0..100u64 {
        let mut rng = rng::Rng(seed);
        let devices: Vec<Database> = (0..3).map(|n| device(100 + n)).collect();
        let mut pick = |n: usize| rng.below(n);
        for step in 0..30 {
            let db = &devices[pick(3)];
            let doc = block_on(db.get("x", &GetOptions::default())).ok();
            let doc: Option<Value> = doc.map(|doc| serde_json::from_str(&doc.json).unwrap());
            let rev: Option<String> = doc.map(|doc| doc["_rev"].as_str().unwrap().to_owned());
            match (pick(8), rev) {
                (0..=2, Some(rev)) => drop(edit(db, &rev, step)),
                (3, Some(rev)) => drop(remove(db, &rev)),
                (4, Some(_)) => {
                    let docs = contested(db);
                    let docs = docs.as_array().unwrap();
                    let how = docs[pick(docs.len())]["_rev"].as_str().unwrap().to_owned();
                    resolve(db, &how).unwrap();
                    assert!(conflicts(db).is_empty(), "seed {seed}, step {step}");
                }
                (0..=4, None) => drop(put(db, json!({"_id": "x", "n": step})).unwrap()),
                _ => sync(db, &devices[pick(3)]),
            }
        }
        for _ in 0..2 {
            sync(&devices[0], &devices[1]);
            sync(&devices[1], &devices[2]);
            sync(&devices[2], &devices[0]);
        }
        let there = conflicts(&devices[0]);
        listed += there.len();
        deletions += there.iter().filter(|row| row[3] != json!([])).count();
        for db in &devices {
            assert_eq!(conflicts(db), there, "seed {seed}");
        }
        if !there.is_empty() {
            resolve(&devices[2], "keep-both").unwrap();
        }
        sync(&devices[2], &devices[0]);
        sync(&devices[2], &devices[1]);
        for db in &devices {
            assert!(conflicts(db).is_empty(), "seed {seed}");
            assert_eq!(leaves_or_none(db), leaves_or_none(&devices[0]), "seed {seed}");
        }
    }
    assert!(listed > 30 && deletions > 5, "{listed} conflicts, {deletions} with deletions");
}

fn leaves_or_none(db: &Database) -> Option<Value> {
    get_with(db, "x", json!({"open_revs": "all"})).ok()
}
