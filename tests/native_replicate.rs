//! The replicator over two local databases: one pairing of several, and the one that needs no network.
#![cfg(not(target_arch = "wasm32"))]

mod support;

use std::{cell::RefCell, rc::Rc};

use futures::{executor::LocalPool, task::LocalSpawnExt};
use serde_json::{Value, json};
use settee::{
    database::Database,
    model::Content,
    peer::Peer,
    replicate::{Event, Handle, Options, Status, Summary, replicate},
    store::MemoryStore,
};
use support::*;

fn options(json: Value) -> Options {
    serde_json::from_value(json).unwrap()
}

type Events = Rc<RefCell<Vec<String>>>;

/// Replicates to the end; the summary and what was told.
fn run(source: &Database, target: &Database, with: Value) -> (Summary, Vec<String>) {
    let mut pool = LocalPool::new();
    let (handle, future, events) = start(source, target, with);
    let summary = pool.run_until(future).unwrap();
    drop(handle);
    let told = events.borrow().clone();
    (summary, told)
}

fn start(
    source: &Database,
    target: &Database,
    with: Value,
) -> (Handle, impl Future<Output = settee::error::Result<Summary>> + 'static, Events) {
    let events: Events = Rc::default();
    let log = events.clone();
    let on_event = Rc::new(move |event: Event| {
        log.borrow_mut().push(match event {
            Event::Active => "active".to_owned(),
            Event::Paused(error) => format!("paused {:?}", error.map(|e| e.name().to_owned())),
            Event::Change(progress) => format!("change {}", progress.docs.len()),
            Event::Denied(failure) => format!("denied {}", failure.id),
            Event::Checkpoint(seq) => format!("checkpoint {}", seq.0),
        });
    });
    let peer = |db: &Database| -> Rc<dyn Peer> { Rc::new(db.clone()) };
    let (handle, future) =
        replicate(peer(source), peer(target), SeededPlatform::new(9), options(with), on_event);
    (handle, future, events)
}

fn leaves(db: &Database) -> Vec<Value> {
    let rows = changes(db, json!({"style": "all_docs"}));
    let mut leaves: Vec<Value> =
        rows.iter().map(|row| json!([row["id"], row["changes"], row["deleted"]])).collect();
    leaves.sort_by_key(Value::to_string);
    leaves
}

/// Lets the pool's tasks run for a number of turns. The seeded platform's sleep is one turn, so a waiting
/// line never stands still.
fn turns(pool: &mut LocalPool, count: usize) {
    let mut left = count;
    pool.run_until(futures::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    }));
}

#[test]
fn everything_goes_over_once() {
    let (a, b) = (memory(), memory());
    for n in 0..25 {
        put(&a, json!({"_id": format!("d{n:02}"), "n": n})).unwrap();
    }
    bulk(
        &a,
        json!([
            {"_id": "x", "_rev": "2-b", "_revisions": {"start": 2, "ids": ["b", "a"]}},
            {"_id": "x", "_rev": "2-c", "_revisions": {"start": 2, "ids": ["c", "a"]}, "_deleted": true},
        ]),
        false,
    );
    let (summary, told) = run(&a, &b, json!({"batch_size": 10}));
    assert_eq!((summary.docs_read, summary.docs_written, summary.status), (27, 27, Status::Complete));
    assert_eq!(leaves(&a), leaves(&b));
    assert_eq!(told.iter().filter(|event| event.starts_with("change")).count(), 3, "{told:?}");
    // Once more from where it ended: nothing moves.
    let (summary, told) = run(&a, &b, json!({}));
    assert_eq!((summary.docs_read, summary.docs_written), (0, 0));
    assert!(told.is_empty(), "{told:?}");
    // And back: b has what a has.
    assert_eq!(run(&b, &a, json!({})).0.docs_written, 0);
}

/// What is written in an empty database while it fills goes there and comes back as what it has.
#[test]
fn what_is_written_during_the_first_catch_up_is_not_stored_twice() {
    let (there, here) = (memory(), memory());
    for n in 0..30 {
        put(&there, json!({"_id": format!("d{n:02}")})).unwrap();
    }
    let mut pool = LocalPool::new();
    let with = json!({"batch_size": 5, "batches_limit": 1});
    let (_handle, pull, told) = start(&there, &here, with);
    let pull = pool.spawner().spawn_local_with_handle(pull).unwrap();
    while futures::executor::block_on(here.info()).unwrap().doc_count < 5 {
        turns(&mut pool, 1);
    }
    put(&here, json!({"_id": "mine"})).unwrap();
    let before = futures::executor::block_on(here.info()).unwrap().doc_count;
    assert!(before < 31);
    assert_eq!(run(&here, &there, json!({})).0.docs_written, 1);
    let summary = pool.run_until(pull).unwrap();
    assert_eq!((summary.docs_read, summary.docs_written), (30, 30), "{:?}", told.borrow());
    assert_eq!(leaves(&there), leaves(&here));
}

#[test]
fn a_target_that_lost_its_checkpoint_gets_everything_again() {
    let a = memory();
    for n in 0..5 {
        put(&a, json!({"_id": format!("d{n}")})).unwrap();
    }
    let first = memory();
    assert_eq!(run(&a, &first, json!({})).0.docs_written, 5);
    // Another database under the same circumstances: its own uuid, so its own checkpoint.
    let second = memory();
    assert_eq!(run(&a, &second, json!({})).0.docs_written, 5);
}

#[test]
fn attachments_go_over_and_known_contents_do_not_move_again() {
    let (a, b) = (memory(), memory());
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 7) as u8).collect();
    let put_att = |db: &Database, id: &str, name: &str, rev: Option<&str>| {
        let content = Content::from(bytes.clone());
        futures::executor::block_on(db.put_attachment(id, name, rev, content, "image/jpeg")).unwrap().rev
    };
    let rev = put_att(&a, "p", "original", None);
    put_att(&a, "p", "thumb", Some(&rev));
    assert_eq!(run(&a, &b, json!({})).0.docs_written, 1);
    let with = json!({"attachments": true});
    assert_eq!(get_with(&a, "p", with.clone()).unwrap(), get_with(&b, "p", with).unwrap());
    // An edit beside them goes over with stubs alone.
    let mut doc = get(&a, "p").unwrap();
    doc["caption"] = json!("x");
    put(&a, doc).unwrap();
    assert_eq!(run(&a, &b, json!({})).0.docs_written, 1);
    assert_eq!(get(&b, "p").unwrap()["caption"], "x");
    assert_eq!(get(&b, "p").unwrap()["_attachments"]["thumb"]["revpos"], 2);
}

#[test]
fn a_live_replication_follows_and_ends_when_cancelled() {
    let (a, b) = (memory(), memory());
    put(&a, json!({"_id": "before"})).unwrap();
    let mut pool = LocalPool::new();
    let (handle, future, events) = start(&a, &b, json!({"live": true}));
    let ended: Rc<RefCell<Option<Summary>>> = Rc::default();
    let end = ended.clone();
    pool.spawner().spawn_local(async move { *end.borrow_mut() = Some(future.await.unwrap()) }).unwrap();
    turns(&mut pool, 200);
    assert!(get(&b, "before").is_ok());
    for n in 0..3 {
        let rev = put(&a, json!({"_id": format!("live{n}")})).unwrap();
        turns(&mut pool, 200);
        assert_eq!(get(&b, &format!("live{n}")).unwrap()["_rev"], json!(rev));
    }
    assert!(events.borrow().iter().any(|event| event == "paused None"));
    handle.cancel();
    turns(&mut pool, 50);
    assert_eq!(ended.borrow().as_ref().unwrap().status, Status::Cancelled);
    assert_eq!(ended.borrow().as_ref().unwrap().docs_written, 4);
}

#[test]
fn filters_and_since_choose_what_goes_over() {
    let a = memory();
    for n in 0..6 {
        put(&a, json!({"_id": format!("d{n}"), "even": n % 2 == 0})).unwrap();
    }
    let target = |with: Value| {
        let b = memory();
        run(&a, &b, with);
        ids(&all_docs(&b, json!({}))).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(target(json!({"doc_ids": ["d1", "d5", "nope"]})), ["d1", "d5"]);
    // A filter leaves pages short or empty with more behind them.
    assert_eq!(target(json!({"doc_ids": ["d5"], "batch_size": 1})), ["d5"]);
    assert_eq!(target(json!({"selector": {"even": true}})), ["d0", "d2", "d4"]);
    assert_eq!(target(json!({"since": 4})), ["d4", "d5"]);
    assert!(target(json!({"since": "now"})).is_empty());
    assert_eq!(target(json!({"doc_ids": ["d1"], "filter": "_doc_ids"})), ["d1"]);
    assert_eq!(target(json!({"selector": {"even": true}, "filter": "_selector"})), ["d0", "d2", "d4"]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_happens() {
    let (a, b) = (memory(), memory());
    put(&a, json!({"_id": "a"})).unwrap();
    for with in [
        json!({"doc_ids": ["a"], "selector": {"n": 1}}),
        json!({"doc_ids": ["a"], "filter": "d/f"}),
        json!({"selector": {"n": 1}, "filter": "_doc_ids"}),
        json!({"batch_size": 0}),
        json!({"batches_limit": 0}),
        json!({"timeout": 0}),
        json!({"heartbeat": 0, "live": true, "retry": true}),
        json!({"filter": "d/f"}),
        json!({"selector": {"$bad": 1}}),
    ] {
        let (_handle, future, _) = start(&a, &b, with.clone());
        let error = LocalPool::new().run_until(future).unwrap_err();
        assert_eq!(error.status(), 400, "{with}");
    }
    assert!(leaves(&b).is_empty());
}

/// Cancelled anywhere and started again, it ends where an undisturbed one does.
#[test]
fn a_replication_may_be_dropped_at_any_moment() {
    let a = memory();
    for n in 0..12 {
        let rev = put(&a, json!({"_id": format!("d{n}")})).unwrap();
        if n % 3 == 0 {
            futures::executor::block_on(a.remove(&format!("d{n}"), &rev)).unwrap();
        }
    }
    for polls in 0..60 {
        let store = MemoryStore::new();
        let b = open(store.handle());
        let (handle, future, _) = start(&a, &b, json!({"batch_size": 3, "checkpoint_interval_ms": 0}));
        let mut pool = LocalPool::new();
        pool.spawner()
            .spawn_local(async move {
                let _ = future.await;
            })
            .unwrap();
        turns(&mut pool, polls);
        drop(pool);
        drop(handle);
        run(&a, &b, json!({"batch_size": 3}));
        assert_eq!(leaves(&a), leaves(&b), "after {polls} polls");
    }
}
