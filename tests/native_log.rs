//! The log's bytes: what is written can be read, for good, and what cannot be read is an error.
//!
//! `tests/vectors/log-v*.json` are a small log as it was written when each format was new, with the
//! documents that must be found in it. It may never be written anew: a change that needs that is a new
//! format, with a file of its own beside this one.
#![cfg(not(target_arch = "wasm32"))]
#![allow(unsafe_code)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    rc::Rc,
    time::Duration,
};

use futures::executor::block_on;
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions},
    error::Kind,
    log::{
        BlockBuilder, Directory, DocState, FORMAT, Location, StoredAttachment, StoredLeaf, Summary, entries,
        read_at,
    },
    model::{Bytes, Content, Digest, Rev, RevId},
    revtree::RevTree,
    store::{Batch, BlockNo, MemoryStore, Store},
};

// ---- An allocator that tells the greatest piece that was asked for.

struct Watched;

thread_local! {
    static GREATEST: Cell<usize> = const { Cell::new(0) };
}

// Sound: every call is the system allocator's.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = GREATEST.try_with(|greatest| greatest.set(greatest.get().max(layout.size())));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = GREATEST.try_with(|greatest| greatest.set(greatest.get().max(size)));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Fails instead of waiting for ever.
fn within_seconds(seconds: u64, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    match is_done.recv_timeout(Duration::from_secs(seconds)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap(),
    }
}

// ---- Any documents.

#[derive(Clone, Debug)]
enum Entry {
    Doc(DocState),
    Local { id: String, rev: u64, body: String },
}

fn rev_id() -> impl Strategy<Value = RevId> {
    prop_oneof![
        (0..4_u8).prop_map(|n| RevId::Hash([n; 16])),
        any::<[u8; 16]>().prop_map(RevId::Hash),
        "[a-zé]{1,12}".prop_map(|text| RevId::Text(text.into())),
    ]
}

fn attachment() -> impl Strategy<Value = StoredAttachment> {
    ("[a-zé.]{1,12}", "[a-z/]{0,12}", any::<u64>(), any::<u64>(), any::<[u8; 16]>()).prop_map(
        |(name, content_type, length, revpos, digest)| StoredAttachment {
            name,
            content_type,
            length,
            revpos,
            digest: Digest(digest),
            sealed: None,
        },
    )
}

fn doc() -> impl Strategy<Value = DocState> {
    let edit = (
        prop_oneof![Just(None), any::<Index>().prop_map(Some)],
        1..u64::from(u32::MAX),
        rev_id(),
        any::<bool>(),
    );
    let leaf = (".{0,40}", prop::collection::vec(attachment(), 0..3));
    (
        any::<u64>(),
        ".{1,20}",
        prop::collection::vec(edit, 1..12),
        prop::collection::vec(leaf, 12),
        prop::option::of((1..u32::MAX, any::<u32>())),
    )
        .prop_map(|(seq, id, edits, mut leaves, prev)| {
            let mut tree = RevTree::new();
            for (parent, root, id, deleted) in edits {
                let size = tree.nodes().len();
                let parent = parent.filter(|_| size > 0).map(|parent| parent.index(size));
                let generation = parent.map_or(root, |at| tree.nodes()[at].rev.generation + 1);
                let _ = tree.add_child(parent, Rev { generation, id }, deleted);
            }
            let leaves = tree.leaves().into_iter().map(|at| {
                let node = &tree.nodes()[at];
                let (body, attachments) = leaves.pop().unwrap();
                // Some as sealed documents end, in base64url, and some only nearly so.
                let body = match body.len() % 4 {
                    0 => json!({"text": body}).to_string(),
                    1 => format!("{{\"x\":{{\"c\":\"{}\"}}}}", "Qk-_".repeat(body.len() * 5)),
                    2 => format!("{{\"x\":{{\"c\":\"{}B\"}}}}", "Qk-_".repeat(body.len() * 20)),
                    _ => format!("{{\"x\":{{\"c\":\"{}Qg\"}}}}", "Qk-_".repeat(body.len() * 20)),
                };
                StoredLeaf { rev: node.rev.clone(), deleted: node.deleted, body: body.into(), attachments }
            });
            let leaves = leaves.collect();
            let prev = prev.map(|(block, offset)| Location { block, offset });
            DocState { seq, id, tree, leaves, prev }
        })
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        4 => doc().prop_map(Entry::Doc),
        1 => (".{0,20}", any::<u64>(), ".{0,40}").prop_map(|(id, rev, text)| Entry::Local {
            id,
            rev,
            body: json!({"text": text}).to_string()
        }),
    ]
}

fn build(first: BlockNo, all: &[Entry]) -> (Vec<Vec<u8>>, Vec<Location>) {
    let mut builder = BlockBuilder::new(first);
    let places = all
        .iter()
        .map(|entry| match entry {
            Entry::Doc(doc) => builder.push_doc(doc),
            Entry::Local { id, rev, body } => builder.push_local(id, *rev, body),
        })
        .collect();
    (builder.finish(), places)
}

/// Reads all there is to read in a block. True if all of it could be.
fn read_all(block: &[u8]) -> bool {
    let mut directory = Directory::default();
    let mut is_whole = directory.fold(7, block).is_ok();
    let Ok(all) = entries(block) else { return false };
    for entry in all.take(block.len() + 1) {
        let Ok(entry) = entry else { return false };
        let doc = read_at(block, entry.offset).and_then(|at| at.doc());
        let winner = read_at(block, entry.offset).and_then(|at| at.winner());
        let local = read_at(block, entry.offset).and_then(|at| at.local_body());
        is_whole &= match entry.summary {
            Summary::Doc { .. } => doc.is_ok() && winner.is_ok(),
            Summary::Local { .. } => local.is_ok(),
        };
    }
    is_whole
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(all in prop::collection::vec(entry(), 0..20), first in 1..1000_u32) {
        let (blocks, places) = build(first, &all);
        let mut seen = Vec::new();
        for (no, block) in (first..).zip(&blocks) {
            prop_assert!(read_all(block));
            for entry in entries(block).unwrap() {
                let entry = entry.unwrap();
                seen.push(Location { block: no, offset: entry.offset });
                // Moved as it is, it stays what it is.
                let mut moved = BlockBuilder::new(9);
                let at = moved.push(entry.bytes);
                let moved = moved.finish();
                prop_assert_eq!(at, Location { block: 9, offset: 1 });
                prop_assert_eq!(entries(&moved[0]).unwrap().next().unwrap().unwrap().bytes, entry.bytes);
            }
        }
        prop_assert_eq!(&seen, &places);
        for (entry, at) in all.iter().zip(&places) {
            let block = &blocks[(at.block - first) as usize];
            let read = read_at(block, at.offset).unwrap();
            match entry {
                Entry::Local { id, rev, body } => {
                    let is_same = matches!(&read.summary, Summary::Local { id: i, rev: r } if i == id && r == rev);
                    prop_assert!(is_same);
                    prop_assert_eq!(&read.local_body().unwrap(), body);
                }
                Entry::Doc(doc) => {
                    let Summary::Doc { seq, id, winner, deleted, others, digests } = read.summary.clone() else {
                        return Err(TestCaseError::fail("no document"));
                    };
                    prop_assert_eq!((seq, id), (doc.seq, &*doc.id));
                    prop_assert_eq!((&winner, deleted), (&doc.leaves[0].rev, doc.leaves[0].deleted));
                    let losers: Vec<_> =
                        doc.leaves[1..].iter().map(|leaf| (leaf.rev.clone(), leaf.deleted)).collect();
                    prop_assert_eq!(others, losers);
                    let mut contents: Vec<Digest> =
                        doc.leaves.iter().flat_map(|leaf| leaf.attachments.iter().map(|a| a.digest)).collect();
                    contents.sort();
                    contents.dedup();
                    prop_assert_eq!(digests, contents);
                    let whole = read.doc().unwrap();
                    prop_assert_eq!(&whole.tree, &doc.tree);
                    prop_assert_eq!(&whole.leaves, &doc.leaves);
                    prop_assert_eq!((whole.seq, whole.prev), (doc.seq, doc.prev));
                    prop_assert_eq!(&read_at(block, at.offset).unwrap().winner().unwrap(), &doc.leaves[0]);
                }
            }
        }
    }

    #[test]
    fn a_snapshot_says_what_the_log_said(
        mut all in prop::collection::vec(entry(), 0..30), removed in prop::collection::vec(any::<bool>(), 30),
    ) {
        for (entry, removed) in all.iter_mut().zip(removed) {
            if let (Entry::Local { rev, .. }, true) = (entry, removed) {
                *rev = 0;
            }
        }
        let (blocks, _) = build(5, &all);
        let mut directory = Directory::default();
        for (no, block) in (5..).zip(&blocks) {
            directory.fold(no, block).unwrap();
        }
        let (back, next) = Directory::from_snapshot(&directory.snapshot(77)).unwrap();
        prop_assert_eq!(next, 77);
        prop_assert_eq!(back.blocks().collect::<Vec<_>>(), directory.blocks().collect::<Vec<_>>());
        prop_assert_eq!((back.last_seq(), back.doc_count()), (directory.last_seq(), directory.doc_count()));
        prop_assert_eq!(back.total_count(), directory.total_count());
        for (no, block) in (5..).zip(&blocks) {
            for entry in entries(block).unwrap() {
                let entry = entry.unwrap();
                let at = Location { block: no, offset: entry.offset };
                prop_assert_eq!(back.is_live(&entry.summary, at), directory.is_live(&entry.summary, at));
                match entry.summary {
                    Summary::Local { id, .. } => prop_assert_eq!(back.local(id), directory.local(id)),
                    Summary::Doc { id, digests, .. } => {
                        let (a, b) = (back.find(id).unwrap(), directory.find(id).unwrap());
                        prop_assert_eq!((a.seq(), a.at(), a.leaves()), (b.seq(), b.at(), b.leaves()));
                        for digest in digests {
                            prop_assert_eq!(back.refers_to(&digest), directory.refers_to(&digest));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn noise_is_no_block(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&noise);
        let mut noise = noise;
        noise.insert(0, FORMAT);
        read_all(&noise);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_broken_block_is_an_error_or_another_block(
        all in prop::collection::vec(entry(), 1..3), flips in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let (blocks, _) = build(1, &all);
        GREATEST.set(0);
        for block in &blocks {
            // Every truncation. At the border between two entries what is left is a block.
            for end in 0..block.len() {
                read_all(&block[..end]);
            }
            // Every byte, in several ways.
            let mut broken = block.clone();
            for at in 0..block.len() {
                for change in [0x01, 0x80, 0x7f] {
                    broken[at] = block[at] ^ change;
                    read_all(&broken);
                }
                for value in [0, 0xff] {
                    broken[at] = value;
                    read_all(&broken);
                }
                broken[at] = block[at];
            }
            // A run of bytes that makes the greatest numbers.
            for at in 0..block.len().saturating_sub(10) {
                let mut broken = block.clone();
                broken[at..at + 9].fill(0xff);
                broken[at + 9] = 1;
                read_all(&broken);
            }
            for (at, value) in &flips {
                broken[at.index(block.len())] = *value;
            }
            read_all(&broken);
        }
        prop_assert!(GREATEST.get() < 1 << 20, "{} bytes at once", GREATEST.get());
    }
}

#[test]
fn every_cut_entry_is_an_error() {
    let store = MemoryStore::new();
    let db = support::open(store.handle());
    support::put(&db, json!({"_id": "a", "n": 1, "_attachments": {"f": {"data": "aGk="}}})).unwrap();
    let block = block_on(store.read(vec![1])).unwrap().remove(0).unwrap();
    for end in 2..block.len() {
        assert!(!read_all(&block[..end]), "cut at {end}");
        let error = open_log(vec![(1, block[..end].into())], &[]).err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "cut at {end}");
    }
}

/// A database over a log of these blocks.
fn open_log(blocks: Vec<(BlockNo, Bytes)>, contents: &[Vec<u8>]) -> settee::error::Result<Database> {
    block_on(Database::open(
        Rc::new(store_of(blocks, contents)),
        support::SeededPlatform::new(1),
        OpenOptions { auto_compaction: false, ..OpenOptions::new("log") },
    ))
}

fn store_of(blocks: Vec<(BlockNo, Bytes)>, contents: &[Vec<u8>]) -> MemoryStore {
    let store = MemoryStore::new();
    for (no, bytes) in blocks {
        let mut build = |_: &[_], _| Ok(Some(Batch { blocks: vec![bytes.clone()], ..Batch::default() }));
        block_on(store.append(no, &mut build)).unwrap();
    }
    let contents: Vec<_> =
        contents.iter().map(|bytes| (Digest::of(bytes), Content::from(bytes.clone()))).collect();
    let mut build = |_: &[_], _| Ok(Some(Batch { put_contents: contents.clone(), ..Batch::default() }));
    block_on(store.append(1_000_000, &mut build)).unwrap();
    store
}

fn rev(text: &str) -> Rev {
    text.parse().unwrap()
}

/// Two revisions in a line, of which only the newer has a body.
fn two_revisions(prev: Option<Location>) -> DocState {
    let mut tree = RevTree::new();
    tree.merge(&[rev("2-b"), rev("1-a")], false).unwrap();
    let leaf =
        StoredLeaf { rev: rev("2-b"), deleted: false, body: "{}".to_owned().into(), attachments: Vec::new() };
    DocState { seq: 1, id: "a".into(), tree, leaves: vec![leaf], prev }
}

#[test]
fn of_several_entries_the_highest_sequence_number_counts() {
    let newer = DocState { seq: 6, ..two_revisions(None) };
    let older = DocState { seq: 5, ..two_revisions(None) };
    for order in [[&newer, &older], [&older, &newer]] {
        let blocks = order.map(|doc| build(1, &[Entry::Doc(doc.clone())]).0.remove(0));
        let mut directory = Directory::default();
        for (no, block) in (1..).zip(&blocks) {
            directory.fold(no, block).unwrap();
        }
        let found = directory.find("a").unwrap();
        assert_eq!((found.seq(), directory.last_seq(), directory.doc_count()), (6, 6, 1));
        let place = order.iter().position(|doc| doc.seq == 6).unwrap() as BlockNo + 1;
        assert_eq!(found.at().block, place);
        // A copy that compaction made of it stands further back and is the one.
        directory.fold(3, &blocks[place as usize - 1]).unwrap();
        assert_eq!(directory.find("a").unwrap().at().block, 3);
    }
}

#[test]
fn a_history_that_leads_in_a_circle_has_an_end() {
    within_seconds(20, || {
        let (blocks, _) = build(1, &[Entry::Doc(two_revisions(Some(Location { block: 1, offset: 1 })))]);
        let db = open_log(vec![(1, blocks[0].as_slice().into())], &[]).unwrap();
        assert_eq!(support::get(&db, "a").unwrap()["_rev"], "2-b");
        let _ = support::get_with(&db, "a", json!({"rev": "1-a"}));
        let _ = support::get_with(&db, "a", json!({"revs_info": true}));
    });
}

#[test]
fn a_history_that_leads_nowhere_is_a_missing_body() {
    for at in [Location { block: 1, offset: 5000 }, Location { block: 99, offset: 1 }] {
        let (blocks, _) = build(1, &[Entry::Doc(two_revisions(Some(at)))]);
        let db = open_log(vec![(1, blocks[0].as_slice().into())], &[]).unwrap();
        assert_eq!(support::get(&db, "a").unwrap()["_rev"], "2-b");
        assert!(support::get_with(&db, "a", json!({"rev": "1-a"})).is_err());
    }
}

#[test]
fn a_generation_past_all_numbers_is_no_panic() {
    let varint = |mut value: u64| {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    };
    // flags, seq, id "a", winner 1-"a", prev 0 0; a tree of a root of the last generation and its child.
    let mut tree = vec![2, 4];
    tree.extend(varint(u64::MAX));
    tree.extend([1, b'r', 2, 1, b'a']);
    let mut entry = vec![0, 1, 1, b'a', 1, 1, b'a', 0, 0];
    entry.extend(varint(tree.len() as u64));
    entry.extend(tree);
    entry.extend([2, b'{', b'}', 0]);
    let mut builder = BlockBuilder::new(1);
    builder.push(&entry);
    let block = builder.finish().remove(0);
    assert!(!read_all(&block));
    assert_eq!(read_at(&block, 1).unwrap().doc().unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_block_that_is_gone_is_an_error_not_a_wait_for_ever() {
    within_seconds(20, || {
        let store = MemoryStore::new();
        let db = support::open(store.handle());
        let first = support::put(&db, json!({"_id": "a"})).unwrap();
        for n in 0..40 {
            support::put(&db, json!({"_id": format!("n{n}"), "x": "x".repeat(40_000)})).unwrap();
        }
        block_on(db.save()).unwrap();
        // Opened from the snapshot, so no block is read yet; then one goes behind everybody's back.
        let other = Rc::new(Forgetful { inner: store.handle(), forgets: Cell::new(false) });
        let db = block_on(Database::open(
            other.clone(),
            support::SeededPlatform::new(1),
            OpenOptions { auto_compaction: false, ..OpenOptions::new("test") },
        ))
        .unwrap();
        other.forgets.set(true);
        assert_eq!(support::get(&db, "a").unwrap_err().kind(), Kind::Corrupt);
        assert!(support::put(&db, json!({"_id": "a", "_rev": first})).is_err());
        let options = support::options(json!({"include_docs": true, "limit": 1}));
        assert!(block_on(db.all_docs(options).unwrap().next()).is_err());
        // The others are as they were.
        support::put(&db, json!({"_id": "new"})).unwrap();
        assert_eq!(support::get(&db, "n1").unwrap()["x"].as_str().unwrap().len(), 40_000);
    });
}

/// Has lost block 1.
struct Forgetful {
    inner: MemoryStore,
    forgets: Cell<bool>,
}

impl Store for Forgetful {
    fn append<'a>(
        &'a self,
        next: BlockNo,
        build: &'a mut settee::store::Builder<'_>,
    ) -> settee::error::Pending<'a, BlockNo> {
        self.inner.append(next, build)
    }

    fn read(&self, numbers: Vec<BlockNo>) -> settee::error::Pending<'_, Vec<Option<Bytes>>> {
        use futures::FutureExt;
        async move {
            let mut read = self.inner.read(numbers.clone()).await?;
            for (no, block) in numbers.into_iter().zip(&mut read) {
                if no == 1 && self.forgets.get() {
                    *block = None;
                }
            }
            Ok(read)
        }
        .boxed_local()
    }

    fn scan(&self, from: BlockNo, limit: u32) -> settee::error::Pending<'_, Vec<settee::store::Block>> {
        let from = if self.forgets.get() { from.max(2) } else { from };
        self.inner.scan(from, limit)
    }

    fn content(&self, digest: Digest) -> settee::error::Pending<'_, Option<Content>> {
        self.inner.content(digest)
    }

    fn content_digests(&self) -> settee::error::Pending<'_, Vec<Digest>> {
        self.inner.content_digests()
    }

    fn records(&self, names: Vec<&'static str>) -> settee::error::Pending<'_, Vec<Option<Bytes>>> {
        self.inner.records(names)
    }

    fn put_record(
        &self,
        name: &'static str,
        bytes: Bytes,
        only_if_absent: bool,
    ) -> settee::error::Pending<'_, Bytes> {
        self.inner.put_record(name, bytes, only_if_absent)
    }

    fn watch(&self, listener: Box<dyn Fn(settee::store::Signal)>) {
        self.inner.watch(listener);
    }

    fn close(&self) {
        self.inner.close();
    }

    fn destroy(&self) -> settee::error::Pending<'_, ()> {
        self.inner.destroy()
    }
}

// ---- Newer formats.

/// Blocks, header, contents.
type Everything = (Vec<(BlockNo, Vec<u8>)>, Vec<Option<Bytes>>, Vec<Digest>);

fn everything(store: &MemoryStore) -> Everything {
    let blocks = block_on(store.scan(1, 10_000)).unwrap();
    (
        blocks.into_iter().map(|block| (block.no, block.bytes.to_vec())).collect(),
        block_on(store.records(vec!["header"])).unwrap(),
        block_on(store.content_digests()).unwrap(),
    )
}

#[test]
fn a_database_of_a_newer_format_is_refused_and_left_alone() {
    let store = MemoryStore::new();
    let header = json!({"format": FORMAT + 1, "uuid": "00", "new": true}).to_string();
    block_on(store.put_record("header", header.as_bytes().into(), false)).unwrap();
    let before = everything(&store);
    let opened =
        Database::open(Rc::new(store.handle()), support::SeededPlatform::new(1), OpenOptions::new("test"));
    let error = block_on(opened).err().unwrap();
    assert_eq!((error.kind(), error.name()), (Kind::SchemaTooNew, "schema_too_new"));
    assert_eq!(everything(&store), before);
}

#[test]
fn a_block_of_a_newer_format_is_refused_and_left_alone() {
    let store = MemoryStore::new();
    let db = support::open(store.handle());
    let first = support::put(&db, json!({"_id": "a"})).unwrap();
    let newer: Bytes = vec![FORMAT + 1, 1, 2, 3].into();
    let mut build = |_: &[_], _| Ok(Some(Batch { blocks: vec![newer.clone()], ..Batch::default() }));
    block_on(store.append(2, &mut build)).unwrap();
    let before = everything(&store);
    // Whoever opens it now, and whoever had it open when a newer tab wrote there.
    let opened =
        Database::open(Rc::new(store.handle()), support::SeededPlatform::new(1), OpenOptions::new("test"));
    assert_eq!(block_on(opened).err().unwrap().kind(), Kind::SchemaTooNew);
    assert_eq!(support::get(&db, "a").unwrap_err().kind(), Kind::SchemaTooNew);
    let edit = json!({"_id": "a", "_rev": first, "n": 1});
    assert_eq!(support::put(&db, edit).unwrap_err().kind(), Kind::SchemaTooNew);
    assert_eq!(support::put(&db, json!({"_id": "b"})).unwrap_err().kind(), Kind::SchemaTooNew);
    assert_eq!(block_on(db.compact()).unwrap_err().kind(), Kind::SchemaTooNew);
    assert_eq!(everything(&store), before);
    let older: Bytes = vec![0].into();
    assert_eq!(open_log(vec![(1, older)], &[]).err().unwrap().kind(), Kind::Corrupt);
}

// ---- A log that must stay readable.

fn vector_of(format: u8) -> String {
    format!("{}/tests/vectors/log-v{format}.json", env!("CARGO_MANIFEST_DIR"))
}

/// What a reader must find.
fn found(db: &Database) -> Value {
    let all: Vec<Value> = support::changes(db, json!({"style": "all_docs"}));
    let docs: Vec<Value> = all
        .iter()
        .map(|row| {
            let options = json!({"open_revs": "all", "revs": true, "attachments": true});
            support::get_with(db, row["id"].as_str().unwrap(), options).unwrap()
        })
        .collect();
    let local = |id: &str| support::get(db, id).ok();
    let info = block_on(db.info()).unwrap();
    json!({
        "uuid": info.uuid,
        "doc_count": info.doc_count, "doc_del_count": info.doc_del_count, "update_seq": info.update_seq,
        "changes": all,
        "all_docs": support::all_docs(db, json!({"include_docs": true, "conflicts": true})),
        "docs": docs,
        "local": [local("_local/kept"), local("_local/removed")],
        "older": support::get_with(db, "edited", json!({"rev": "1-1e238d4d11873419e49eb1d4d0498f82"})).ok(),
        "revs_info": support::get_with(db, "edited", json!({"revs_info": true})).unwrap(),
    })
}

/// Wrote the newest vector, and but for what that brought the others too; kept to show how, and to write the next.
fn write_vector() -> (Value, Vec<Vec<u8>>) {
    let store = MemoryStore::new();
    let options = OpenOptions { auto_compaction: false, revs_limit: 4, ..OpenOptions::new("log") };
    let db = support::open_with(store.handle(), options);
    let put = |doc: Value| support::put(&db, doc).unwrap();
    let replicated = |docs: Value| assert!(support::bulk(&db, docs, false).iter().all(Result::is_ok));
    put(json!({"_id": "plain", "text": "é\u{1F600}\n\"", "n": [1, -2.5, null, true], "o": {}}));
    block_on(db.put(
        "{\"_id\":\"numbers\",\"big\":123456789012345678901234567890,\"one\":1.0}",
        &[],
        &Default::default(),
    ))
    .unwrap();
    let one = put(json!({"_id": "removed", "n": 1}));
    block_on(db.remove("removed", &one)).unwrap();
    let one = put(json!({"_id": "tombstone with a body", "n": 1}));
    put(json!({"_id": "tombstone with a body", "_rev": one, "_deleted": true, "why": "old"}));
    let one = put(json!({"_id": "again", "n": 1}));
    block_on(db.remove("again", &one)).unwrap();
    put(json!({"_id": "again", "n": 2}));
    let mut rev = put(json!({"_id": "long", "n": 0}));
    for n in 1..7 {
        rev = put(json!({"_id": "long", "_rev": rev, "n": n}));
    }
    let doc = |rev: &str, ids: &[&str], more: Value| {
        let start: u64 = rev.split_once('-').unwrap().0.parse().unwrap();
        let mut doc = json!({"_id": "conflict", "_rev": rev, "_revisions": {"start": start, "ids": ids}});
        doc.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        doc
    };
    replicated(json!([
        doc("3-c", &["c", "b", "a"], json!({"n": 1})),
        doc(
            "3-0123456789abcdef0123456789abcdef",
            &["0123456789abcdef0123456789abcdef", "b", "a"],
            json!({"n": 2})
        ),
        doc("2-x", &["x"], json!({"n": 3, "_deleted": true})),
        doc(
            "5-é \"z",
            &["é \"z", "y"],
            json!({"n": 4, "_deleted": true, "_attachments":
            {"gone": {"content_type": "text/plain", "revpos": 4, "data": "Z29uZQ=="}}})
        ),
    ]));
    let jpeg = Content::from((0..=255).collect::<Vec<u8>>());
    for id in ["photo", "the same photo"] {
        block_on(db.put_attachment(id, "thumb/é.jpg", None, jpeg.clone(), "image/jpeg")).unwrap();
    }
    let rev = support::get(&db, "photo").unwrap()["_rev"].as_str().unwrap().to_owned();
    block_on(db.put_attachment("photo", "empty", Some(&rev), Content::from(Vec::new()), "text/plain"))
        .unwrap();
    // Since format 2.
    put(json!({"_id": "packed", "x": {"v": 1, "c": "Qk-_".repeat(40)}}));
    put(json!({"_id": "_design/x", "views": {}}));
    put(json!({"_id": "_local/kept", "n": 1}));
    put(json!({"_id": "_local/kept", "_rev": "0-1", "n": 2}));
    put(json!({"_id": "_local/removed"}));
    block_on(db.remove("_local/removed", "0-1")).unwrap();
    block_on(db.compact()).unwrap();
    // After compaction, so that the numbers have a gap before; several in one block, and an older body.
    support::bulk(&db, json!([{"_id": "batch 1", "n": 1}, {"_id": "batch 2", "n": 2}]), true);
    let one = put(json!({"_id": "edited", "n": "before"}));
    put(json!({"_id": "edited", "_rev": one, "n": "after"}));
    put(json!({"_id": "_local/kept", "_rev": "0-2", "n": 3}));
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let blocks: Vec<Value> = block_on(store.scan(1, 1000))
        .unwrap()
        .iter()
        .map(|block| json!({"no": block.no, "bytes": base64(&block.bytes)}))
        .collect();
    let mut contents = Vec::new();
    for digest in block_on(store.content_digests()).unwrap() {
        let content = block_on(store.content(digest)).unwrap().unwrap();
        contents.push(block_on(content.bytes()).unwrap().to_vec());
    }
    let header = block_on(store.records(vec!["header"])).unwrap().remove(0).unwrap();
    let again = support::open(store.handle());
    let log = json!({
        "format": FORMAT,
        "header": String::from_utf8(header.to_vec()).unwrap(),
        "blocks": blocks,
        "contents": contents.iter().map(|bytes| base64(bytes)).collect::<Vec<_>>(),
        "expected": found(&again),
    });
    (log, contents)
}

#[test]
fn a_log_of_every_format_stays_readable() {
    let newest = vector_of(FORMAT);
    if std::env::var_os("SETTEE_WRITE_VECTOR").is_some() && !std::path::Path::new(&newest).exists() {
        let text = serde_json::to_string_pretty(&write_vector().0).unwrap();
        std::fs::write(newest, text + "\n").unwrap();
    }
    (1..=FORMAT).for_each(stays_readable);
}

fn stays_readable(format: u8) {
    let text = std::fs::read_to_string(vector_of(format)).unwrap();
    let vector: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(vector["format"], format);
    let bytes = |value: &Value| data_encoding::BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let blocks = vector["blocks"].as_array().unwrap().iter();
    let blocks: Vec<(BlockNo, Bytes)> = blocks
        .map(|block| (block["no"].as_u64().unwrap() as BlockNo, bytes(&block["bytes"]).into()))
        .collect();
    assert!(blocks.first().unwrap().0 > 1 && blocks.len() > 2, "the vector has lost its gap");
    let contents: Vec<Vec<u8>> = vector["contents"].as_array().unwrap().iter().map(bytes).collect();
    let store = store_of(blocks, &contents);
    let header = vector["header"].as_str().unwrap().as_bytes();
    block_on(store.put_record("header", header.into(), false)).unwrap();
    let db = support::open(store.handle());
    assert_eq!(found(&db), vector["expected"]);
    assert_ne!(vector["expected"]["older"], Value::Null);
    // And it lives on: edited, compacted, opened once more.
    let rev = support::get(&db, "photo").unwrap()["_rev"].clone();
    let edit = json!({"_id": "photo", "_rev": rev, "n": 1, "_attachments": {"thumb/é.jpg": {"stub": true}}});
    support::put(&db, edit).unwrap();
    block_on(db.compact()).unwrap();
    let again = found(&support::open(store.handle()));
    let expected = &vector["expected"];
    for part in ["uuid", "doc_count", "doc_del_count", "local"] {
        assert_eq!(again[part], expected[part], "{part}");
    }
    assert_eq!(again["docs"].as_array().unwrap().len(), expected["docs"].as_array().unwrap().len());
    for doc in expected["docs"].as_array().unwrap() {
        let is_there = again["docs"].as_array().unwrap().contains(doc);
        assert!(is_there || doc[0]["ok"]["_id"] == "photo", "{doc}");
    }
}
