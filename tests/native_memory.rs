//! What the key directory and an index of `find` cost in memory, counted by the allocator.
#![cfg(not(target_arch = "wasm32"))]
#![allow(unsafe_code, reason = "a global allocator that counts can be written in no other way")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use futures::executor::block_on;
use serde_json::json;
use settee::{
    database::Database,
    log::{BlockBuilder, Directory, DocState, StoredLeaf},
    model::{Rev, RevId},
    revtree::RevTree,
};
use support::{SeededPlatform, bulk, memory};

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LIVE.try_with(|live| live.set(live.get() + layout.size() as isize));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A random id with the form of a UUID: 36 characters.
fn uuid(platform: &SeededPlatform) -> String {
    let (a, b) = (platform.next(), platform.next());
    let hex = format!("{a:016x}{b:016x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[test]
fn the_directory_takes_under_200_bytes_a_document() {
    const DOCS: usize = 100_000;
    let platform = SeededPlatform::new(7);
    let before = LIVE.get();
    let mut directory = Directory::default();
    for batch in 0..DOCS / 1000 {
        let first = directory.blocks().map(|(no, _)| no).max().unwrap_or(0) + 1;
        let mut builder = BlockBuilder::new(first);
        for n in 0..1000 {
            let rev = Rev { generation: 1, id: RevId::Hash([n as u8; 16]) };
            let mut tree = RevTree::new();
            tree.merge(std::slice::from_ref(&rev), false).unwrap();
            let leaf =
                StoredLeaf { rev, deleted: false, body: "{}".to_owned().into(), attachments: Vec::new() };
            let seq = (batch * 1000 + n + 1) as u64;
            builder.push_doc(&DocState { seq, id: uuid(&platform), tree, leaves: vec![leaf], prev: None });
        }
        for (bytes, no) in builder.finish().iter().zip(first..) {
            directory.fold(no, bytes).unwrap();
        }
    }
    let counted = (LIVE.get() - before) as usize / DOCS;
    let estimated = directory.size_bytes() / DOCS;
    println!("{counted} bytes a document by the allocator, {estimated} by the directory's own account");
    assert_eq!(directory.total_count(), DOCS as u64);
    assert!(counted < 200, "{counted} bytes a document");
    // Its own account is what a page can be shown; it may not be far off.
    assert!(estimated.abs_diff(counted) < 40, "{estimated} told, {counted} counted");
}

#[test]
fn an_entry_of_an_index_takes_its_values_and_little_more() {
    const DOCS: usize = 10_000;
    let find = |db: &Database, request: serde_json::Value| {
        let mut pages = db.find(&request.to_string()).unwrap();
        while block_on(pages.next()).unwrap().is_some() {}
    };
    let db = memory();
    for batch in 0..DOCS / 1000 {
        let doc =
            |n: usize| json!({"_id": format!("{n:036}"), "n": n * 7919 % DOCS, "text": format!("{n:020}")});
        bulk(&db, (batch * 1000..(batch + 1) * 1000).map(doc).collect(), true);
    }
    find(&db, json!({"selector": {}}));
    for (fields, limit) in [(json!(["n"]), 80), (json!(["text"]), 110)] {
        db.create_index(&json!({"index": {"fields": fields}}).to_string()).unwrap();
        let before = LIVE.get();
        find(&db, json!({"selector": {fields[0].as_str().unwrap(): null}}));
        let counted = (LIVE.get() - before) as usize / DOCS;
        println!("{counted} bytes an entry of {fields}");
        assert!(counted > 30 && counted < limit, "{counted} bytes an entry of {fields}");
    }
    assert_eq!(db.index_entries(), 2 * DOCS);
}
