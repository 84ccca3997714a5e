//! The replicator over peers that fail: in the middle, for good, with a forgotten checkpoint, with
//! documents they refuse. After each story both sides hold the same, and nothing was skipped.
#![cfg(not(target_arch = "wasm32"))]

mod support;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Poll,
};

use futures::{FutureExt, executor::LocalPool, future::poll_fn, task::LocalSpawnExt};
use serde_json::{Value, json};
use settee::{
    database::Database,
    error::{Error, Kind, Pending, Result},
    model::{Content, Rev, Seq},
    peer::{
        ChangesPage, ChangesQuery, Fetched, LocalDoc, MissingRevs, Peer, PeerInfo, ReplicatedAttachment,
        ReplicatedDoc,
    },
    replicate::{Event, Handle, Options, Phase, Status, Summary, replicate},
};
use support::*;

type Fault = Box<dyn Fn(&'static str, usize) -> Option<Error>>;
type Refusal = Box<dyn Fn(&ReplicatedDoc) -> Option<Error>>;

/// A database that fails as it is told.
struct Shaky {
    inner: RefCell<Database>,
    identity: &'static str,
    /// Every call, by name.
    calls: RefCell<Vec<&'static str>>,
    /// Asked before each call, with how many calls of that name there were.
    fault: RefCell<Fault>,
    refusal: RefCell<Refusal>,
}

impl Shaky {
    fn new(db: &Database, identity: &'static str) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(db.clone()),
            identity,
            calls: RefCell::default(),
            fault: RefCell::new(Box::new(|_, _| None)),
            refusal: RefCell::new(Box::new(|_| None)),
        })
    }

    fn failing(self: &Rc<Self>, fault: impl Fn(&'static str, usize) -> Option<Error> + 'static) {
        *self.fault.borrow_mut() = Box::new(fault);
    }

    fn well(self: &Rc<Self>) {
        self.failing(|_, _| None);
    }

    fn call(&self, name: &'static str) -> Result<Database> {
        let count = self.count(name);
        self.calls.borrow_mut().push(name);
        (self.fault.borrow())(name, count).map_or_else(|| Ok(self.inner.borrow().clone()), Err)
    }

    fn count(&self, name: &str) -> usize {
        self.calls.borrow().iter().filter(|call| **call == name).count()
    }
}

impl Peer for Shaky {
    fn identity(&self) -> Pending<'_, String> {
        async { Ok(self.identity.to_owned()) }.boxed_local()
    }
    fn info(&self) -> Pending<'_, PeerInfo> {
        async { Peer::info(&self.call("info")?).await }.boxed_local()
    }
    fn create(&self) -> Pending<'_, bool> {
        async { self.call("create")?.create().await }.boxed_local()
    }
    fn changes<'a>(
        &'a self,
        query: &'a ChangesQuery,
        since: &'a Seq,
        limit: usize,
        wait_ms: Option<u32>,
    ) -> Pending<'a, ChangesPage> {
        async move {
            let db = self.call(if wait_ms.is_some() { "wait" } else { "changes" })?;
            Peer::changes(&db, query, since, limit, wait_ms).await
        }
        .boxed_local()
    }
    fn revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Pending<'_, Vec<MissingRevs>> {
        async { Peer::revs_diff(&self.call("revs_diff")?, leaves).await }.boxed_local()
    }
    fn bulk_get(&self, wanted: Vec<MissingRevs>) -> Pending<'_, Vec<Fetched>> {
        async { Peer::bulk_get(&self.call("bulk_get")?, wanted).await }.boxed_local()
    }
    fn attachment<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        attachment: &'a ReplicatedAttachment,
    ) -> Pending<'a, Content> {
        async { Peer::attachment(&self.call("attachment")?, doc, attachment).await }.boxed_local()
    }
    fn wanted_attachments<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        ancestors: &'a [Rev],
    ) -> Pending<'a, Vec<usize>> {
        async { self.call("wanted")?.wanted_attachments(doc, ancestors).await }.boxed_local()
    }
    fn write_replicated(&self, docs: Vec<ReplicatedDoc>) -> Pending<'_, Vec<Result<()>>> {
        async move {
            let db = self.call("write")?;
            let mut outcomes = Vec::new();
            for doc in docs {
                let refused = (self.refusal.borrow())(&doc);
                outcomes.push(match refused {
                    Some(error) => Err(error),
                    None => db.write_replicated(vec![doc]).await?.remove(0),
                });
            }
            Ok(outcomes)
        }
        .boxed_local()
    }
    fn local_doc<'a>(&'a self, id: &'a str) -> Pending<'a, Option<LocalDoc>> {
        async { self.call("local_doc")?.local_doc(id).await }.boxed_local()
    }
    fn put_local_doc<'a>(&'a self, id: &'a str, doc: LocalDoc) -> Pending<'a, String> {
        async { self.call("put_local_doc")?.put_local_doc(id, doc).await }.boxed_local()
    }
}

/// A replication running by itself, and what it told.
struct Running {
    pool: LocalPool,
    handle: Handle,
    events: Rc<RefCell<Vec<String>>>,
    ended: Rc<RefCell<Option<Result<Summary>>>>,
}

impl Running {
    fn start(source: &Rc<Shaky>, target: &Rc<Shaky>, with: Value) -> Self {
        let events: Rc<RefCell<Vec<String>>> = Rc::default();
        let log = events.clone();
        let on_event = Rc::new(move |event: Event| {
            log.borrow_mut().push(match event {
                Event::Active => "active".to_owned(),
                Event::Paused(None) => "paused".to_owned(),
                Event::Paused(Some(error)) => format!("paused {}", error.name()),
                Event::Change(progress) => format!("change {}", progress.docs.len()),
                Event::Denied(failure) => format!("denied {} {}", failure.id, failure.name),
                Event::Checkpoint(seq) => format!("checkpoint {}", seq.0),
            });
        });
        let options: Options = serde_json::from_value(with).unwrap();
        let (handle, future) =
            replicate(source.clone(), target.clone(), SeededPlatform::new(5), options, on_event);
        let ended: Rc<RefCell<Option<Result<Summary>>>> = Rc::default();
        let end = ended.clone();
        let pool = LocalPool::new();
        pool.spawner().spawn_local(async move { *end.borrow_mut() = Some(future.await) }).unwrap();
        Self { pool, handle, events, ended }
    }

    /// Lets it run for some turns; the seeded platform's sleep is one.
    fn turns(&mut self, count: usize) {
        let left = Cell::new(count);
        self.pool.run_until(poll_fn(|context| {
            if left.replace(left.get().saturating_sub(1)) == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }));
    }

    fn end(mut self) -> (Result<Summary>, Vec<String>) {
        for _ in 0..200 {
            if self.ended.borrow().is_some() {
                break;
            }
            self.turns(50);
        }
        let ended = self.ended.borrow_mut().take().expect("it did not end");
        (ended, self.events.take())
    }
}

fn run(source: &Rc<Shaky>, target: &Rc<Shaky>, with: Value) -> (Result<Summary>, Vec<String>) {
    Running::start(source, target, with).end()
}

fn filled(count: usize) -> Database {
    let db = memory();
    for n in 0..count {
        put(&db, json!({"_id": format!("d{n:02}"), "n": n})).unwrap();
    }
    db
}

fn leaves(db: &Database) -> Vec<String> {
    let mut leaves: Vec<String> = changes(db, json!({"style": "all_docs"}))
        .iter()
        .map(|row| json!([row["id"], row["changes"], row["deleted"]]).to_string())
        .collect();
    leaves.sort();
    leaves
}

fn network() -> Error {
    Error::new(Kind::Network, "Failed to fetch")
}

#[test]
fn a_fault_anywhere_repeats_the_batch_and_loses_nothing() {
    let calls = ["info", "local_doc", "put_local_doc", "changes", "revs_diff", "bulk_get", "wanted", "write"];
    for name in calls.into_iter().chain(["attachment"]) {
        for nth in 0..4 {
            let (a, b) = (filled(10), memory());
            put(&b, json!({"_id": "_design/b"})).unwrap();
            futures::executor::block_on(a.put_attachment("att", "x", None, vec![7; 99].into(), "a/b"))
                .unwrap();
            let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
            for peer in [&source, &target] {
                peer.failing(move |call, count| (call == name && count == nth).then(network));
            }
            let options = json!({"batch_size": 3, "retry": true, "checkpoint_interval_ms": 0});
            let (ended, told) = run(&source, &target, options);
            let summary = ended.unwrap();
            assert!(summary.ok && summary.status == Status::Complete);
            assert_eq!(summary.docs_written, 11, "{name} {nth} {told:?}");
            assert_eq!(summary.doc_write_failures, 0);
            assert!(leaves(&a).iter().all(|leaf| leaves(&b).contains(leaf)), "{name} {nth}");
            let failed = source.count(name).max(target.count(name)) > nth;
            assert_eq!(
                told.iter().any(|event| event == "paused network_error"),
                failed,
                "{name} {nth} {told:?}"
            );
        }
    }
}

#[test]
fn without_retry_the_first_fault_ends_it_and_the_summary_stays() {
    let (a, b) = (filled(10), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    source.failing(|call, count| (call == "bulk_get" && count == 2).then(network));
    let running = Running::start(&source, &target, json!({"batch_size": 3, "batches_limit": 1}));
    let handle = running.handle.clone();
    assert_eq!(running.end().0.unwrap_err().kind(), Kind::Network);
    let state = handle.state();
    assert_eq!(
        (state.phase, state.summary.status, state.summary.ok),
        (Phase::Failed, Status::Aborting, false)
    );
    assert_eq!(state.summary.docs_written, 6);
    assert_eq!(state.summary.last_seq, Seq::from(6));
}

#[test]
fn what_waiting_does_not_mend_ends_it_even_with_retry() {
    for error in [
        Error::remote(401, "unauthorized", "x"),
        Error::remote(404, "not_found", "Database does not exist."),
        Error::new(Kind::InsufficientStorage, "full"),
    ] {
        let (source, target) = (Shaky::new(&filled(2), "a"), Shaky::new(&memory(), "b"));
        let fault = error.clone();
        target.failing(move |call, _| (call == "write").then(|| fault.clone()));
        assert_eq!(run(&source, &target, json!({"retry": true, "live": true})).0.unwrap_err(), error);
    }
}

#[test]
fn a_denied_document_blocks_no_other() {
    let (a, b) = (filled(6), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    *target.refusal.borrow_mut() = Box::new(|doc| {
        (doc.id == "d01")
            .then(|| Error::remote(403, "forbidden", "no"))
            .or_else(|| (doc.id == "d04").then(|| Error::remote(413, "document_too_large", "d04")))
    });
    let (ended, told) = run(&source, &target, json!({"batch_size": 2}));
    let summary = ended.unwrap();
    assert_eq!((summary.docs_read, summary.docs_written, summary.doc_write_failures), (6, 4, 2));
    assert_eq!((summary.ok, summary.errors.len(), summary.errors[0].status), (true, 2, 403));
    assert!(
        told.contains(&"denied d01 forbidden".to_owned())
            && told.contains(&"denied d04 document_too_large".to_owned())
    );
    // It is past them: another run does not try again.
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 0);
}

#[test]
fn an_outcome_that_may_pass_by_itself_holds_the_batch_but_keeps_what_was_written() {
    let (a, b) = (filled(4), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    let times = Cell::new(0);
    *target.refusal.borrow_mut() = Box::new(move |doc| {
        (doc.id == "d02" && times.replace(times.get() + 1) < 2).then(|| Error::remote(503, "busy", "later"))
    });
    let (ended, told) = run(&source, &target, json!({"retry": true}));
    assert_eq!(ended.unwrap().docs_written, 4);
    assert_eq!(leaves(&a), leaves(&b));
    let expected = ["active", "change 3", "paused busy", "paused busy", "active", "change 1", "checkpoint 4"];
    let told: Vec<&str> = told.iter().map(String::as_str).filter(|event| expected.contains(event)).collect();
    assert_eq!(
        told,
        ["active", "change 3", "paused busy", "active", "paused busy", "active", "change 1", "checkpoint 4"]
    );
}

#[test]
fn an_empty_target_is_not_asked_what_it_lacks() {
    let (source, target) = (Shaky::new(&filled(5), "a"), Shaky::new(&memory(), "b"));
    run(&source, &target, json!({"batch_size": 2})).0.unwrap();
    assert_eq!(target.count("revs_diff"), 0);
    put(&source.inner.borrow(), json!({"_id": "new"})).unwrap();
    run(&source, &target, json!({})).0.unwrap();
    assert_eq!(target.count("revs_diff"), 1);
}

#[test]
fn a_run_resumes_where_the_last_one_ended() {
    let (a, b) = (filled(9), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    source.failing(|call, count| (call == "changes" && count >= 2).then(network));
    run(&source, &target, json!({"batch_size": 3, "checkpoint_interval_ms": 0})).0.unwrap_err();
    source.well();
    let resumed = run(&source, &target, json!({"batch_size": 3})).0.unwrap();
    // The second batch was read before the fault; its checkpoint may or may not have been.
    assert!(resumed.docs_read <= 6, "{resumed:?}");
    assert_eq!(leaves(&a), leaves(&b));
    let calls = source.count("changes");
    assert_eq!(run(&source, &target, json!({"batch_size": 3})).0.unwrap().docs_read, 0);
    assert_eq!(source.count("changes"), calls + 1);
}

#[test]
fn a_side_that_forgot_its_checkpoint_is_started_over() {
    for source_forgets in [true, false] {
        let (a, b) = (filled(5), memory());
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        run(&source, &target, json!({})).0.unwrap();
        // The same address, another database: without checkpoint, and with what it holds now.
        let (forgetful, with) = if source_forgets { (&source, filled(7)) } else { (&target, memory()) };
        *forgetful.inner.borrow_mut() = with;
        run(&source, &target, json!({})).0.unwrap();
        assert_eq!(leaves(&source.inner.borrow()), leaves(&target.inner.borrow()), "{source_forgets}");
    }
}

#[test]
fn a_target_made_anew_in_the_middle_gets_everything() {
    let (a, first, second) = (filled(5), memory(), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&first, "b"));
    let mut running = Running::start(&source, &target, json!({"live": true, "checkpoint_interval_ms": 0}));
    running.turns(300);
    assert_eq!(leaves(&first), leaves(&a));
    *target.inner.borrow_mut() = second.clone();
    put(&a, json!({"_id": "later"})).unwrap();
    running.turns(600);
    assert_eq!(leaves(&second), leaves(&a));
    running.handle.cancel();
    assert_eq!(running.end().0.unwrap().status, Status::Cancelled);
}

/// A target that had everything anyway has no checkpoint worth writing for as long as nothing changes, and
/// the first one that is written must not vouch for another database.
#[test]
fn a_target_made_anew_before_its_first_checkpoint_gets_everything() {
    let (a, first, second) = (filled(5), memory(), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&first, "b"));
    run(&source, &Shaky::new(&first, "another name"), json!({})).0.unwrap();
    let with = json!({"live": true, "checkpoint_interval_ms": 3_600_000});
    let mut running = Running::start(&source, &target, with);
    running.turns(300);
    assert_eq!(running.handle.state().phase, Phase::Live);
    *target.inner.borrow_mut() = second.clone();
    put(&a, json!({"_id": "later"})).unwrap();
    running.turns(600);
    assert_eq!(leaves(&second), leaves(&a));
    running.handle.cancel();
    running.end().0.unwrap();
}

#[test]
fn a_source_that_is_only_read_has_its_checkpoint_on_the_target() {
    let (a, b) = (filled(5), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    source.failing(|call, _| (call == "put_local_doc").then(|| Error::remote(403, "forbidden", "read only")));
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 5);
    let told = run(&source, &target, json!({})).1;
    assert!(told.is_empty(), "{told:?}");
    // One that took a checkpoint before and does not now has thrown us out.
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "c"));
    source.failing(|call, count| {
        (call == "put_local_doc" && count > 0).then(|| Error::remote(401, "unauthorized", "expired"))
    });
    let ended = run(&source, &target, json!({"batch_size": 2, "checkpoint_interval_ms": 0})).0;
    assert_eq!(ended.unwrap_err().kind(), Kind::Unauthorized);
}

#[test]
fn two_tabs_may_write_one_checkpoint() {
    let (a, b) = (filled(30), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    let with = json!({"live": true, "batch_size": 3, "checkpoint_interval_ms": 0});
    let mut tabs = [Running::start(&source, &target, with.clone()), Running::start(&source, &target, with)];
    for n in 0..60 {
        if n % 5 == 0 {
            put(&a, json!({"_id": format!("later{n}")})).unwrap();
        }
        tabs.iter_mut().for_each(|tab| tab.turns(7));
    }
    tabs.iter_mut().for_each(|tab| tab.turns(500));
    assert_eq!(leaves(&a), leaves(&b));
    for tab in tabs {
        assert!(tab.ended.borrow().is_none());
        tab.handle.cancel();
        tab.end().0.unwrap();
    }
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 0);
}

#[test]
fn checkpoints_are_couchdbs() {
    let (a, b) = (filled(3), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    run(&source, &target, json!({})).0.unwrap();
    put(&a, json!({"_id": "more"})).unwrap();
    run(&source, &target, json!({})).0.unwrap();
    let id = settee::replicate::replication_id("a", "b", &Options::default());
    let read = |db: &Database| futures::executor::block_on(db.local_doc(&id)).unwrap().unwrap().body;
    let log = read(&a);
    assert_eq!(log, read(&b));
    assert_eq!((&log["source_last_seq"], &log["replication_id_version"]), (&json!(4), &json!(1)));
    assert_eq!(log["history"].as_array().unwrap().len(), 2);
    let newest = &log["history"][0];
    assert_eq!(newest["session_id"], log["session_id"]);
    for (member, value) in [
        ("start_last_seq", json!(3)),
        ("end_last_seq", json!(4)),
        ("recorded_seq", json!(4)),
        ("missing_checked", json!(1)),
        ("missing_found", json!(1)),
        ("docs_read", json!(1)),
        ("docs_written", json!(1)),
        ("doc_write_failures", json!(0)),
        ("start_time", json!("Thu, 01 Jan 1970 00:00:00 GMT")),
        ("end_time", json!("Thu, 01 Jan 1970 00:00:00 GMT")),
    ] {
        assert_eq!(newest[member], value, "{member}");
    }
}

#[test]
fn histories_are_capped() {
    let a = filled(1);
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    for n in 0..55 {
        put(&a, json!({"_id": format!("more{n}")})).unwrap();
        run(&source, &target, json!({})).0.unwrap();
    }
    let id = settee::replicate::replication_id("a", "b", &Options::default());
    let log = futures::executor::block_on(a.local_doc(&id)).unwrap().unwrap().body;
    assert_eq!(log["history"].as_array().unwrap().len(), 50);
}

#[test]
fn checkpoints_are_kept_where_they_are_asked_for() {
    let id = |with: &Value| {
        settee::replicate::replication_id("a", "b", &serde_json::from_value(with.clone()).unwrap())
    };
    for (checkpoint, kept) in
        [(json!(false), [false, false]), (json!("source"), [true, false]), (json!("target"), [false, true])]
    {
        let (a, b) = (filled(3), memory());
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        let with = json!({"checkpoint": checkpoint});
        run(&source, &target, with.clone()).0.unwrap();
        let has = |db: &Database| futures::executor::block_on(db.local_doc(&id(&with))).unwrap().is_some();
        assert_eq!([has(&a), has(&b)], kept);
        let asked = target.count("revs_diff");
        assert_eq!(run(&source, &target, with.clone()).0.unwrap().docs_read, 0);
        assert_eq!(target.count("revs_diff") > asked, checkpoint == json!(false));
    }
}

#[test]
fn a_missing_database_is_made_or_told() {
    let gone = |call: &'static str, count: usize| {
        (call == "info" && count == 0).then(|| Error::remote(404, "not_found", "Database does not exist."))
    };
    let (source, target) = (Shaky::new(&filled(2), "a"), Shaky::new(&memory(), "b"));
    target.failing(gone);
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_written, 2);
    assert_eq!(target.count("create"), 1);
    let (source, target) = (Shaky::new(&filled(2), "a"), Shaky::new(&memory(), "b"));
    target.failing(gone);
    assert_eq!(run(&source, &target, json!({"create_target": false})).0.unwrap_err().status(), 404);
    assert_eq!(target.count("create"), 0);
}

#[test]
fn live_waits_and_comes_back_by_itself_or_when_woken() {
    let (a, b) = (filled(1), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    let mut running = Running::start(&source, &target, json!({"live": true, "retry": true}));
    running.turns(200);
    assert_eq!(running.handle.state().phase, Phase::Live);
    source.failing(|_, _| Some(network()));
    running.turns(200);
    assert_eq!(running.handle.state().error.unwrap().kind(), Kind::Network);
    source.well();
    put(&a, json!({"_id": "while offline"})).unwrap();
    running.handle.wake();
    running.turns(200);
    assert_eq!(running.handle.state().phase, Phase::Live);
    assert!(running.handle.state().error.is_none());
    assert_eq!(leaves(&a), leaves(&b));
    let told = running.events.borrow().clone();
    let paused = told.iter().filter(|event| *event == "paused").count();
    assert!(paused == 2 && told.contains(&"paused network_error".to_owned()), "{told:?}");
    running.handle.cancel();
    let (ended, _) = running.end();
    assert_eq!(ended.unwrap().status, Status::Cancelled);
}

#[test]
fn a_stub_that_the_target_cannot_fill_comes_with_everything() {
    let (a, b) = (memory(), memory());
    let att = |id: &str, rev: Option<&str>, name: &str| {
        futures::executor::block_on(a.put_attachment(id, name, rev, name.as_bytes().to_vec().into(), "a/b"))
            .unwrap()
            .rev
    };
    let rev = att("p", None, "one");
    att("p", Some(&rev), "two");
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    // As if the target had promised an attachment that compaction has taken since.
    let times = Cell::new(0);
    *target.refusal.borrow_mut() = Box::new(move |doc| {
        let is_whole = doc.attachments.iter().all(|attachment| attachment.content.is_some());
        (!is_whole || times.replace(times.get() + 1) == 0).then(|| Error::new(Kind::MissingStub, "stub"))
    });
    let mut doc = get(&a, "p").unwrap();
    doc["caption"] = json!("x");
    put(&a, doc).unwrap();
    let summary = run(&source, &target, json!({})).0.unwrap();
    // Whole from the start and refused for a stub all the same is the document's own trouble.
    assert_eq!((summary.docs_written, summary.doc_write_failures), (0, 1));
    let (b, b2) = (memory(), memory());
    let (first, target) = (Shaky::new(&b2, "x"), Shaky::new(&b, "b"));
    run(&source, &first, json!({})).0.unwrap();
    run(&source, &target, json!({"doc_ids": ["p"]})).0.unwrap();
    let mut doc = get(&a, "p").unwrap();
    doc["caption"] = json!("y");
    put(&a, doc).unwrap();
    *target.refusal.borrow_mut() = Box::new(|doc| {
        let is_whole = doc.attachments.iter().all(|attachment| attachment.content.is_some());
        (!is_whole).then(|| Error::new(Kind::MissingStub, "stub"))
    });
    let before = source.count("attachment");
    assert_eq!(run(&source, &target, json!({"doc_ids": ["p"]})).0.unwrap().docs_written, 1);
    assert_eq!(source.count("attachment"), before + 2);
    assert_eq!(get(&b, "p").unwrap()["caption"], "y");
}

#[test]
fn an_attachment_that_cannot_be_had_denies_its_document_alone() {
    let a = filled(2);
    futures::executor::block_on(a.put_attachment("p", "x", None, vec![1].into(), "a/b")).unwrap();
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    source.failing(|call, _| (call == "attachment").then(Error::missing));
    let (ended, told) = run(&source, &target, json!({}));
    assert_eq!((ended.unwrap().docs_written, told.contains(&"denied p not_found".to_owned())), (2, true));
}

/// A login that runs out between a document and its attachment is no fault of the document's, and a
/// checkpoint past it would lose it.
#[test]
fn a_login_that_runs_out_at_an_attachment_denies_nothing() {
    let a = filled(2);
    futures::executor::block_on(a.put_attachment("p", "x", None, vec![1].into(), "a/b")).unwrap();
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    source.failing(|call, _| (call == "attachment").then(|| Error::remote(401, "unauthorized", "expired")));
    let (ended, told) = run(&source, &target, json!({}));
    assert_eq!(ended.unwrap_err().kind(), Kind::Unauthorized);
    assert!(!told.iter().any(|event| event.starts_with("denied")), "{told:?}");
    source.well();
    run(&source, &target, json!({})).0.unwrap();
    assert_eq!(leaves(&a), leaves(&target.inner.borrow()));
}

#[test]
fn winners_alone_go_over_if_asked() {
    let (a, b) = (memory(), memory());
    bulk(&a, json!([{"_id": "x", "_rev": "1-b"}, {"_id": "x", "_rev": "1-a"}]), false);
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    assert_eq!(run(&source, &target, json!({"style": "main_only"})).0.unwrap().docs_written, 1);
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_written, 1);
    assert_eq!(leaves(&a), leaves(&b));
}

/// Cancelled by its handle after any number of polls, it resolves as cancelled and the next run ends
/// where an undisturbed one does.
#[test]
fn cancelling_at_any_moment_leaves_nothing_half_recorded() {
    let a = filled(8);
    futures::executor::block_on(a.put_attachment("p", "x", None, vec![9; 70_000].into(), "a/b")).unwrap();
    let with = json!({"batch_size": 3, "checkpoint_interval_ms": 0, "live": true});
    for polls in 0..80 {
        let b = memory();
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        let mut running = Running::start(&source, &target, with.clone());
        running.turns(polls);
        running.handle.cancel();
        assert_eq!(running.end().0.unwrap().status, Status::Cancelled);
        run(&source, &target, json!({"batch_size": 3})).0.unwrap();
        assert_eq!(leaves(&a), leaves(&b), "after {polls} polls");
    }
}
