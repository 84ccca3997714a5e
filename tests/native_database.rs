//! The database's promises, over a store in memory.
#![cfg(not(target_arch = "wasm32"))]

mod support;

use futures::executor::block_on;
use serde_json::json;
use settee::{database::OpenOptions, model::Content, store::MemoryStore};
use support::*;

const FORCE: &str = "force";

#[test]
fn a_document_comes_back_as_it_was_put() {
    let db = memory();
    let rev = put(&db, json!({"_id": "a", "title": "é", "n": [1, 2.5, null]})).unwrap();
    assert_eq!(get(&db, "a").unwrap(), json!({"_id": "a", "_rev": rev, "title": "é", "n": [1, 2.5, null]}));
}

#[test]
fn json_text_survives_byte_for_byte() {
    let db = memory();
    let body = r#""big":123456789012345678901234567890,"one":1.0,"e":1E+2,"esc":"\u00e9""#;
    block_on(db.put(&format!("{{\"_id\":\"a\",{body}}}"), &[], &options(json!({})))).unwrap();
    let text = block_on(db.get("a", &options(json!({})))).unwrap().json;
    assert!(text.ends_with(&format!("{body}}}")), "{text}");
}

#[test]
fn the_same_edit_of_the_same_parent_is_the_same_revision_everywhere() {
    let (a, b) = (memory(), memory());
    let rev_a = put(&a, json!({"_id": "x", "b": 1, "a": {"d": 2, "c": 3}})).unwrap();
    let options = options(json!({}));
    let other_order = r#"{"a":{"c":3,"d":2}, "b" : 1,"_id":"x"}"#;
    assert_eq!(block_on(b.put(other_order, &[], &options)).unwrap().rev, rev_a);
    let edit = json!({"_id": "x", "_rev": rev_a, "b": 2});
    assert_eq!(put(&a, edit.clone()).unwrap(), put(&b, edit).unwrap());
}

#[test]
fn an_edit_that_is_not_based_on_a_leaf_conflicts() {
    let db = memory();
    let first = put(&db, json!({"_id": "a"})).unwrap();
    let second = put(&db, json!({"_id": "a", "_rev": first, "n": 1})).unwrap();
    for rev in [json!(first), json!("1-00000000000000000000000000000000"), json!("7-a"), json!(null)] {
        let error = put(&db, json!({"_id": "a", "_rev": rev, "n": 2})).unwrap_err();
        assert_eq!(
            (error.status(), error.name(), error.reason()),
            (409, "conflict", "Document update conflict.")
        );
    }
    assert_eq!(get(&db, "a").unwrap()["_rev"], json!(second));
    let error = put(&db, json!({"_id": "new", "_rev": first})).unwrap_err();
    assert_eq!(error.name(), "conflict");
    // Forced, it is a branch beside the others.
    let forced = block_on(db.put(
        &json!({"_id": "a", "_rev": first, "n": 3}).to_string(),
        &[],
        &options(json!({FORCE: true})),
    ))
    .unwrap();
    let doc = get_with(&db, "a", json!({"conflicts": true})).unwrap();
    let revs = [doc["_rev"].as_str().unwrap(), doc["_conflicts"][0].as_str().unwrap()];
    assert!(revs.contains(&forced.rev.as_str()) && revs.contains(&second.as_str()));
}

#[test]
fn a_deleted_document_is_missing_until_it_is_made_again_on_its_tombstone() {
    let db = memory();
    let first = put(&db, json!({"_id": "a", "n": 1})).unwrap();
    let removed = block_on(db.remove("a", &first)).unwrap();
    let error = get(&db, "a").unwrap_err();
    assert_eq!((error.status(), error.reason()), (404, "deleted"));
    let tombstone = get_with(&db, "a", json!({"rev": removed.rev})).unwrap();
    assert_eq!(tombstone, json!({"_id": "a", "_rev": removed.rev, "_deleted": true}));
    assert_eq!(put(&db, json!({"_id": "a", "_deleted": true})).unwrap_err().name(), "conflict");
    let again = put(&db, json!({"_id": "a", "n": 2})).unwrap();
    assert!(again.starts_with("3-"), "{again}");
    let info = block_on(db.info()).unwrap();
    assert_eq!((info.doc_count, info.doc_del_count, info.update_seq), (1, 0, 3));
}

#[test]
fn a_tombstone_keeps_its_body() {
    let db = memory();
    let first = put(&db, json!({"_id": "a", "n": 1})).unwrap();
    let rev = put(&db, json!({"_id": "a", "_rev": first, "_deleted": true, "why": "old"})).unwrap();
    assert_eq!(get_with(&db, "a", json!({"rev": rev})).unwrap()["why"], "old");
}

#[test]
fn replicated_revisions_make_branches_with_one_winner() {
    if SEALED {
        // A sealed channel takes no revisions from its caller, see native_sealed_channel.rs.
        return;
    }
    let db = memory();
    let doc = |rev: &str, ids: &[&str], n: u32| json!({"_id": "a", "_rev": rev, "_revisions": {"start": ids.len(), "ids": ids}, "n": n});
    let written = bulk(
        &db,
        json!([doc("2-b", &["b", "a"], 1), doc("2-c", &["c", "a"], 2), doc("1-a", &["a"], 0)]),
        false,
    );
    assert_eq!(written.len(), 3);
    assert!(written.iter().all(Result::is_ok));
    let winner = get_with(&db, "a", json!({"conflicts": true, "revs": true})).unwrap();
    assert_eq!(
        winner,
        json!({"_id": "a", "_rev": "2-c", "n": 2, "_conflicts": ["2-b"],
        "_revisions": {"start": 2, "ids": ["c", "a"]}})
    );
    let all = get_with(&db, "a", json!({"open_revs": "all"})).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let some = get_with(&db, "a", json!({"open_revs": ["2-b", "9-x"]})).unwrap();
    assert_eq!(some, json!([{"ok": {"_id": "a", "_rev": "2-b", "n": 1}}, {"missing": "9-x"}]));
    let latest = get_with(&db, "a", json!({"open_revs": ["1-a"], "latest": true})).unwrap();
    assert_eq!(latest.as_array().unwrap().len(), 2);
    // Written once more, nothing changes.
    let before = block_on(db.info()).unwrap().update_seq;
    bulk(&db, json!([doc("2-b", &["b", "a"], 1)]), false);
    assert_eq!(block_on(db.info()).unwrap().update_seq, before);
    // The winner deleted, the other one wins.
    bulk(
        &db,
        json!([{"_id": "a", "_rev": "3-d", "_revisions": {"start": 3, "ids": ["d", "c", "a"]}, "_deleted": true}]),
        false,
    );
    assert_eq!(get(&db, "a").unwrap()["_rev"], "2-b");
}

#[test]
fn a_batch_fails_item_by_item_but_malformed_ones_fail_it_whole() {
    let db = memory();
    let rows = bulk(&db, json!([{"_id": "a"}, {"_id": "a"}, {"n": 1}, {"_id": "c", "_rev": "1-a"}]), true);
    let errors: Vec<_> = rows.iter().map(|row| row.as_ref().err().map(String::as_str)).collect();
    assert_eq!(errors, [None, Some("conflict"), None, Some("conflict")]);
    let before = block_on(db.info()).unwrap();
    assert_eq!(before.doc_count, 2);
    for bad in [json!({"_id": "_bad"}), json!({"_id": "b", "_foo": 1}), json!(7), json!({"_rev": "x"})] {
        let docs = json!([{"_id": "good"}, bad]).to_string();
        assert_eq!(
            block_on(db.bulk_docs(&docs, &[], &options(json!({})))).unwrap_err().status(),
            400,
            "{docs}"
        );
    }
    assert_eq!(block_on(db.info()).unwrap(), before);
}

#[test]
fn removing_what_is_not_there_is_not_found() {
    let db = memory();
    let rev = put(&db, json!({"_id": "a"})).unwrap();
    assert_eq!(block_on(db.remove("nope", "1-a")).unwrap_err().reason(), "missing");
    assert_eq!(block_on(db.remove("a", "1-a")).unwrap_err().name(), "conflict");
    block_on(db.remove("a", &rev)).unwrap();
    assert_eq!(block_on(db.remove("a", &rev)).unwrap_err().reason(), "deleted");
}

#[test]
fn all_docs_follows_raw_collation_and_its_options() {
    let db = memory();
    for id in ["b", "a", "B", "é", "aa", "_design/x", "~"] {
        put(&db, json!({"_id": id, "v": id})).unwrap();
    }
    let rev = get(&db, "aa").unwrap()["_rev"].as_str().unwrap().to_owned();
    block_on(db.remove("aa", &rev)).unwrap();
    let rows = |options| ids(&all_docs(&db, options)).into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rows(json!({})), ["B", "_design/x", "a", "b", "~", "é"]);
    assert_eq!(rows(json!({"descending": true, "limit": 2})), ["é", "~"]);
    assert_eq!(rows(json!({"startkey": "a", "endkey": "b"})), ["a", "b"]);
    assert_eq!(rows(json!({"startkey": "a", "endkey": "b", "inclusive_end": false})), ["a"]);
    assert_eq!(rows(json!({"startkey": "b", "endkey": "a", "descending": true})), ["b", "a"]);
    assert_eq!(rows(json!({"start_key": "a", "skip": 1, "limit": 1})), ["b"]);
    assert_eq!(rows(json!({"key": "b"})), ["b"]);
    let keyed = all_docs(&db, json!({"keys": ["b", "nope", "aa"], "include_docs": true}));
    let both: settee::database::options::AllDocsOptions = options(json!({"keys": ["b"], "startkey": "a"}));
    assert_eq!(db.all_docs(both).err().unwrap().name(), "query_parse_error");
    assert_eq!(keyed[0]["doc"]["v"], "b");
    assert_eq!(keyed[1], json!({"key": "nope", "error": "not_found"}));
    assert_eq!((&keyed[2]["value"]["deleted"], &keyed[2]["doc"]), (&json!(true), &json!(null)));
}

#[test]
fn changes_tell_each_document_once_at_its_last_place() {
    let db = memory();
    let a = put(&db, json!({"_id": "a"})).unwrap();
    put(&db, json!({"_id": "b", "kind": "x"})).unwrap();
    let a2 = put(&db, json!({"_id": "a", "_rev": a})).unwrap();
    assert_eq!(
        changes(&db, json!({})),
        [
            json!({"seq": 2, "id": "b", "changes": [{"rev": get(&db, "b").unwrap()["_rev"]}]}),
            json!({"seq": 3, "id": "a", "changes": [{"rev": a2}]})
        ]
    );
    assert_eq!(ids(&changes(&db, json!({"since": 2}))), ["a"]);
    assert_eq!(ids(&changes(&db, json!({"descending": true}))), ["a", "b"]);
    assert_eq!(ids(&changes(&db, json!({"limit": 1}))), ["b"]);
    assert_eq!(ids(&changes(&db, json!({"doc_ids": ["a", "z"]}))), ["a"]);
    assert_eq!(ids(&changes(&db, json!({"selector": {"kind": "x"}}))), ["b"]);
    assert!(changes(&db, json!({"since": "now"})).is_empty());
    let removed = block_on(db.remove("a", &a2)).unwrap();
    let last = changes(&db, json!({"since": 3, "include_docs": true}));
    assert_eq!(last[0]["deleted"], true);
    assert_eq!(last[0]["doc"], json!({"_id": "a", "_rev": removed.rev, "_deleted": true}));
}

#[test]
fn attachments_are_shared_kept_and_freed() {
    let store = MemoryStore::new();
    let db = open(store.handle());
    let put_att = |id: &str, rev: Option<&str>, bytes: &[u8]| {
        block_on(db.put_attachment(id, "f", rev, Content::from(bytes.to_vec()), "text/plain")).unwrap().rev
    };
    let a = put_att("a", None, b"hello");
    put_att("b", None, b"hello");
    let doc = get(&db, "a").unwrap();
    assert_eq!(
        doc["_attachments"]["f"],
        json!({"content_type": "text/plain", "revpos": 1,
        "digest": "md5-XUFAKrxLKna5cZ2REBfFkg==", "length": 5, "stub": true})
    );
    // A stub keeps it through an edit; so does the other document.
    let a2 = put(&db, json!({"_id": "a", "_rev": a, "n": 1, "_attachments": {"f": {"stub": true}}})).unwrap();
    assert_eq!(
        get_with(&db, "a", json!({"attachments": true})).unwrap()["_attachments"]["f"]["data"],
        "aGVsbG8="
    );
    let a3 = block_on(db.remove_attachment("a", "f", &a2)).unwrap().rev;
    assert!(get(&db, "a").unwrap().get("_attachments").is_none());
    block_on(db.compact()).unwrap();
    let read = |id: &str| block_on(db.get_attachment(id, "f", &options(json!({}))));
    assert_eq!(&*block_on(read("b").unwrap().0.bytes()).unwrap(), b"hello");
    assert_eq!(read("a").unwrap_err().status(), 404);
    let b = get(&db, "b").unwrap()["_rev"].as_str().unwrap().to_owned();
    block_on(db.remove("b", &b)).unwrap();
    block_on(db.compact()).unwrap();
    use settee::store::Store;
    assert!(block_on(store.content_digests()).unwrap().is_empty());
    let error = put(&db, json!({"_id": "a", "_rev": a3, "_attachments": {"g": {"stub": true}}})).unwrap_err();
    assert_eq!(
        (error.status(), error.name(), error.reason()),
        (412, "missing_stub", "Invalid attachment stub in a for g")
    );
}

/// The same bytes put once more, as another type: a replicated stub says so, and what it says counts.
#[test]
fn a_replicated_stub_brings_its_own_type_and_revpos() {
    if SEALED {
        // A sealed channel takes no revisions from its caller, see native_sealed_channel.rs.
        return;
    }
    let db = memory();
    let first =
        json!({"_id": "a", "_attachments": {"f": {"content_type": "text/plain", "data": "aGVsbG8="}}});
    let parent = put(&db, first).unwrap();
    let stub = json!({"content_type": "image/png", "revpos": 2, "length": 5, "stub": true,
        "digest": "md5-XUFAKrxLKna5cZ2REBfFkg=="});
    let start = parent.split_once('-').unwrap().1;
    let second = json!({"_id": "a", "_rev": "2-b", "_revisions": {"start": 2, "ids": ["b", start]},
        "_attachments": {"f": stub}});
    bulk(&db, json!([second]), false);
    assert_eq!(get(&db, "a").unwrap()["_attachments"]["f"], stub);
}

#[test]
fn local_documents_are_counted_and_not_told() {
    let db = memory();
    assert_eq!(put(&db, json!({"_id": "_local/x", "n": 1})).unwrap(), "0-1");
    assert_eq!(put(&db, json!({"_id": "_local/x", "n": 2})).unwrap_err().name(), "conflict");
    assert_eq!(put(&db, json!({"_id": "_local/x", "_rev": "0-1", "n": 2})).unwrap(), "0-2");
    assert_eq!(get(&db, "_local/x").unwrap(), json!({"_id": "_local/x", "_rev": "0-2", "n": 2}));
    assert!(changes(&db, json!({})).is_empty() && all_docs(&db, json!({})).is_empty());
    block_on(db.remove("_local/x", "0-2")).unwrap();
    assert_eq!(get(&db, "_local/x").unwrap_err().status(), 404);
    block_on(db.compact()).unwrap();
    assert_eq!(put(&db, json!({"_id": "_local/x"})).unwrap(), "0-1");
}

#[test]
fn histories_are_stemmed_and_old_bodies_last_until_compaction() {
    let db = open_with(
        MemoryStore::new(),
        OpenOptions { revs_limit: 5, auto_compaction: false, ..OpenOptions::new("t") },
    );
    let mut revs = vec![put(&db, json!({"_id": "a", "n": 0})).unwrap()];
    for n in 1..10 {
        revs.push(put(&db, json!({"_id": "a", "_rev": revs[n - 1], "n": n})).unwrap());
    }
    let doc = get_with(&db, "a", json!({"revs": true, "revs_info": true})).unwrap();
    assert_eq!(doc["_revisions"]["ids"].as_array().unwrap().len(), 5);
    assert_eq!(doc["_revs_info"][4]["status"], "available");
    assert_eq!(get_with(&db, "a", json!({"rev": revs[6]})).unwrap()["n"], 6);
    assert_eq!(get_with(&db, "a", json!({"rev": revs[1]})).unwrap_err().status(), 404);
    block_on(db.compact()).unwrap();
    assert_eq!(get_with(&db, "a", json!({"rev": revs[6]})).unwrap_err().status(), 404);
    let doc = get_with(&db, "a", json!({"revs_info": true})).unwrap();
    assert_eq!((doc["n"].clone(), doc["_revs_info"][1]["status"].clone()), (json!(9), json!("missing")));
}

#[test]
fn two_tabs_see_each_others_writes_and_lose_none() {
    let store = MemoryStore::new();
    let (a, b) = (open(store.handle()), open(store.handle()));
    let rev = put(&a, json!({"_id": "x", "n": 1})).unwrap();
    assert_eq!(get(&b, "x").unwrap()["n"], 1);
    let rev = put(&b, json!({"_id": "x", "_rev": rev, "n": 2})).unwrap();
    assert_eq!(put(&a, json!({"_id": "x", "_rev": "1-0000", "n": 3})).unwrap_err().name(), "conflict");
    put(&a, json!({"_id": "x", "_rev": rev, "n": 3})).unwrap();
    block_on(a.compact()).unwrap();
    assert_eq!(get(&b, "x").unwrap()["n"], 3);
    let c = open(store.handle());
    assert_eq!(get(&c, "x").unwrap()["n"], 3);
    assert_eq!(block_on(c.info()).unwrap().uuid, block_on(a.info()).unwrap().uuid);
    block_on(a.destroy()).unwrap();
    assert_eq!(get(&b, "x").unwrap_err().name(), "store_closed");
}

/// A tab that has not looked at the log for a while knows no better than that others committed.
#[test]
fn now_is_after_what_other_tabs_committed_and_before_what_is_written_next() {
    let store = MemoryStore::new();
    let (a, b) = (open(store.handle()), open(store.handle()));
    put(&a, json!({"_id": "old"})).unwrap();
    let mut feed = b.changes(options(json!({"since": "now"}))).unwrap();
    put(&b, json!({"_id": "new"})).unwrap();
    put(&a, json!({"_id": "newer"})).unwrap();
    let told: Vec<serde_json::Value> =
        serde_json::from_str(&block_on(feed.next(false)).unwrap().unwrap().json).unwrap();
    assert_eq!(ids(&told), ["new", "newer"]);
    assert_eq!(feed.last_seq(), 3);
}

#[test]
fn writes_that_wait_together_share_a_commit() {
    let store = MemoryStore::new();
    let db = open(store.handle());
    let none = options(json!({}));
    let texts: Vec<String> = (0..200).map(|n| json!({"_id": format!("d{n}")}).to_string()).collect();
    let writes = texts.iter().map(|text| db.put(text, &[], &none));
    let written = block_on(futures::future::join_all(writes));
    assert!(written.iter().all(Result::is_ok));
    use settee::store::Store;
    let blocks = block_on(store.scan(1, 1000)).unwrap();
    let full = blocks.iter().map(|block| block.bytes.len()).sum::<usize>() / (15 << 10);
    let blocks = blocks.len();
    assert!(blocks <= full + 3, "{blocks} blocks for 200 writes that started together");
    assert_eq!(all_docs(&db, json!({})).len(), 200);
}

#[test]
fn a_live_feed_misses_nothing_between_backlog_and_now() {
    let store = MemoryStore::new();
    let (a, b) = (open(store.handle()), open(store.handle()));
    put(&a, json!({"_id": "before"})).unwrap();
    let mut feed = b.changes(options(json!({}))).unwrap();
    let mut pool = futures::executor::LocalPool::new();
    use futures::task::LocalSpawnExt;
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = seen.clone();
    pool.spawner()
        .spawn_local(async move {
            while let Some(rendered) = feed.next(true).await.unwrap() {
                let rows: Vec<serde_json::Value> = serde_json::from_str(&rendered.json).unwrap();
                log.borrow_mut().extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            }
            log.borrow_mut().push("end".to_owned());
        })
        .unwrap();
    for n in 0..20 {
        let db = if n % 2 == 0 { a.clone() } else { b.clone() };
        pool.run_until(async move {
            db.put(&format!("{{\"_id\":\"{n:02}\"}}"), &[], &Default::default()).await.unwrap();
        });
        pool.run_until_stalled();
    }
    let mut expected: Vec<String> = (0..20).map(|n| format!("{n:02}")).collect();
    expected.insert(0, "before".to_owned());
    assert_eq!(*seen.borrow(), expected);
    b.close();
    pool.run_until_stalled();
    assert_eq!(seen.borrow().last().unwrap(), "end");
}
