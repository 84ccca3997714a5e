//! What a crash, a full disk, a lying disk, a cancelled caller and another tab may do to a database:
//! nothing that anybody was told is lost, and nothing is ever half there.
//!
//! `SETTEE_SEED` and `SETTEE_CASES` choose other cases, or one again.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/kit.rs"]
mod kit;
mod support;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::{executor::LocalPool, task::LocalSpawnExt};
use kit::{
    faulty_store::{Fault, FaultyStore, Weather},
    rng::{Rng, cases, note},
    world::{Climate, World, check, check_contents, open_over},
};
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions, options::parse},
    error::{Error, Kind},
    model::Content,
    store::{MemoryStore, Store},
};

#[test]
fn a_crash_after_any_write_leaves_exactly_what_was_written() {
    let name = "a_crash_after_any_write_leaves_exactly_what_was_written";
    for (count, steps, climate) in [
        (25, 60, Climate { compactions: 8, ids: 5, is_writing: true, ..Climate::default() }),
        (10, 60, Climate { tabs: 2, compactions: 8, ids: 5, is_writing: true, ..Climate::default() }),
        // Compaction by itself, in several steps of many blocks.
        (1, 330, Climate { auto_compaction: true, compactions: 1, is_writing: true, ..Climate::default() }),
    ] {
        cases(name, count, |rng| {
            let mut world = World::new(rng, climate);
            world.weather.keeps_forks.set(true);
            let mut states = vec![(world.root.fork(), world.model.clone())];
            for _ in 0..steps {
                let before = world.model.clone();
                world.step();
                let is_write = (world.model.seq, &world.model.locals) != (before.seq, &before.locals);
                for fork in world.weather.forks.take() {
                    // A step that writes does so in its first commit. Compaction shows nothing, and its
                    // first commits may leave older bodies where they are.
                    let mut model = if is_write { world.model.clone() } else { before.clone() };
                    model.maybe_compact();
                    states.push((fork, model));
                }
            }
            let every = if states.len() > 200 { 5 } else { 1 };
            for (at, (fork, model)) in states.iter().enumerate() {
                if at % every != 0 {
                    continue;
                }
                note(|| format!("reopened after commit {at}"));
                let db = open_over(fork.handle(), world.options.clone());
                check(&db, model);
                check_contents(fork, model);
            }
            // Life goes on from any of them.
            for _ in 0..3 {
                let at = world.rng.below(states.len());
                let (fork, model) = &states[at];
                (world.root, world.model) = (fork.fork(), model.clone());
                world.crash();
                for _ in 0..10 {
                    world.step();
                }
                world.check();
            }
        });
    }
}

#[test]
fn a_commit_that_fails_or_says_so_leaves_a_whole_database() {
    let name = "a_commit_that_fails_or_says_so_leaves_a_whole_database";
    for (count, climate) in [
        (60, Climate { faults: 15, compactions: 6, ids: 5, ..Climate::default() }),
        (30, Climate { faults: 15, compactions: 6, ids: 5, tabs: 2, restarts: 4, ..Climate::default() }),
        (3, Climate { faults: 10, auto_compaction: true, is_writing: true, ..Climate::default() }),
    ] {
        let steps = if climate.is_writing { 300 } else { 70 };
        cases(name, count, |rng| {
            let mut world = World::new(rng, climate);
            for step in 0..steps {
                world.step();
                if step % 35 == 34 {
                    world.weather.fault.set(None);
                    world.check();
                }
            }
            world.weather.fault.set(None);
            world.compact();
            world.check();
        });
    }
}

#[test]
fn after_a_write_that_was_done_but_not_admitted_the_writer_sees_it() {
    let weather = Weather::new(Rng(1));
    let store = MemoryStore::new();
    let db = open_over(FaultyStore::new(store.handle(), &weather), OpenOptions::new("test"));
    let first = support::put(&db, json!({"_id": "a", "n": 1})).unwrap();
    weather.fault.set(Some((0, Fault::After(Kind::Unknown))));
    let error = support::put(&db, json!({"_id": "a", "_rev": first, "n": 2})).unwrap_err();
    assert_eq!(error.kind(), Kind::Unknown);
    assert_eq!(support::get(&db, "a").unwrap()["n"], 2);
    assert_eq!(support::changes(&db, json!({})).len(), 1);
    assert_eq!(support::changes(&db, json!({"since": 1})).len(), 1);
}

#[test]
fn a_live_feed_tells_of_a_write_that_was_done_but_not_admitted() {
    let weather = Weather::new(Rng(1));
    let db = open_over(FaultyStore::new(MemoryStore::new(), &weather), OpenOptions::new("test"));
    let mut pool = LocalPool::new();
    let seen = spawn_feed(&pool, &db, json!({}));
    pool.run_until_stalled();
    weather.fault.set(Some((0, Fault::After(Kind::Unknown))));
    let writer = db.clone();
    pool.run_until(async move {
        writer.put("{\"_id\":\"a\"}", &[], &Default::default()).await.unwrap_err();
    });
    pool.run_until_stalled();
    assert_eq!(seen.borrow().len(), 1);
}

#[test]
fn a_full_disk_still_reads_deletes_and_compacts() {
    let weather = Weather::new(Rng(1));
    let store = MemoryStore::new();
    let db = open_over(FaultyStore::new(store.handle(), &weather), OpenOptions::new("test"));
    let mut revs = Vec::new();
    for n in 0..20 {
        let bytes = Content::from(vec![n as u8; 1000]);
        let written =
            futures::executor::block_on(db.put_attachment(&format!("d{n}"), "f", None, bytes, "image/jpeg"));
        revs.push(written.unwrap().rev);
    }
    for (n, rev) in revs.iter().enumerate() {
        let full = Fault::Before(Kind::InsufficientStorage);
        weather.fault.set(Some((0, full)));
        let error = support::put(&db, json!({"_id": format!("new{n}")})).unwrap_err();
        assert_eq!((error.status(), error.name()), (507, "insufficient_storage"));
        assert_eq!(support::get(&db, &format!("d{n}")).unwrap()["_rev"], json!(rev));
        weather.fault.set(None);
        futures::executor::block_on(db.remove(&format!("d{n}"), rev)).unwrap();
    }
    futures::executor::block_on(db.compact()).unwrap();
    assert!(futures::executor::block_on(store.content_digests()).unwrap().is_empty());
    let again = open_over(FaultyStore::new(store.handle(), &weather), OpenOptions::new("test"));
    let info = futures::executor::block_on(again.info()).unwrap();
    assert_eq!((info.doc_count, info.doc_del_count, info.update_seq), (0, 20, 40));
}

// ---- Many callers at once.

/// A future that is given up after so many polls.
struct GivenUp<F> {
    future: Pin<Box<F>>,
    polls_left: usize,
}

impl<F: Future> Future for GivenUp<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.future.as_mut().poll(context).map(Some)
    }
}

/// `None`: the caller lost patience and dropped the call.
async fn perhaps<F: Future>(polls: Option<usize>, future: F) -> Option<F::Output> {
    GivenUp { future: Box::pin(future), polls_left: polls.unwrap_or(usize::MAX) }.await
}

fn spawn_feed(pool: &LocalPool, db: &Database, options: Value) -> Rc<RefCell<Vec<Value>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut feed = db.changes(parse(options).unwrap()).unwrap();
    let log = seen.clone();
    let task = async move {
        loop {
            match feed.next(true).await {
                Ok(Some(rendered)) => {
                    assert!(log.borrow().len() < 10_000, "the feed tells without end");
                    log.borrow_mut().extend(serde_json::from_str::<Vec<Value>>(&rendered.json).unwrap());
                }
                Ok(None) => break,
                Err(error) => panic!("the feed failed: {error}"),
            }
        }
    };
    pool.spawner().spawn_local(task).unwrap();
    seen
}

/// Everything that can be seen, in an order that does not depend on who looks.
fn dump(db: &Database) -> Value {
    let feed = support::changes(db, json!({"style": "all_docs"}));
    let docs: Vec<Value> = feed
        .iter()
        .map(|row| {
            let id = row["id"].as_str().unwrap();
            support::get_with(db, id, json!({"open_revs": "all", "revs": true, "attachments": true})).unwrap()
        })
        .collect();
    let info = futures::executor::block_on(db.info()).unwrap();
    json!({"feed": feed, "docs": docs, "counts": [info.doc_count, info.doc_del_count, info.update_seq],
        "all": support::all_docs(db, json!({"include_docs": true}))})
}

fn check_feed(seen: &[Value], last: &[Value], since: u64) {
    let seqs: Vec<u64> = seen.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "not in order, or twice: {seqs:?}");
    let mut told: BTreeMap<&str, &Value> = BTreeMap::new();
    for row in seen {
        told.insert(row["id"].as_str().unwrap(), row);
    }
    let told: Vec<&Value> = {
        let mut told: Vec<_> = told.into_values().collect();
        told.sort_by_key(|row| row["seq"].as_u64());
        told
    };
    let expected: Vec<&Value> = last.iter().filter(|row| row["seq"].as_u64().unwrap() > since).collect();
    let mut expected = expected.into_iter();
    for (at, told) in told.iter().enumerate() {
        assert_eq!(Some(*told), expected.next(), "entry {at} told last, since {since}: {seen:#?}");
    }
    assert_eq!(expected.next(), None, "was not told");
}

/// What the tasks of a case share.
struct Crowd {
    tabs: Vec<Database>,
    rng: RefCell<Rng>,
    /// Of a hundred calls, how many are given up.
    impatience: usize,
    /// Revisions that a writer was told of.
    acknowledged: RefCell<Vec<(String, String)>>,
    /// Increments of the counter: told to have happened, and given up.
    counted: Cell<u64>,
    given_up: Cell<u64>,
    running: Cell<usize>,
}

impl Crowd {
    fn tab(&self) -> Database {
        self.rng.borrow_mut().pick(&self.tabs).clone()
    }

    fn below(&self, limit: usize) -> usize {
        self.rng.borrow_mut().below(limit)
    }

    fn patience(&self) -> Option<usize> {
        let mut rng = self.rng.borrow_mut();
        rng.percent(self.impatience).then(|| rng.below(12))
    }

    async fn put(&self, doc: Value) -> Option<Result<String, Error>> {
        let (db, text) = (self.tab(), doc.to_string());
        let options = Default::default();
        let written = perhaps(self.patience(), db.put(&text, &[], &options)).await?;
        if let Ok(written) = &written {
            self.acknowledged.borrow_mut().push((written.id.clone(), written.rev.clone()));
        }
        Some(written.map(|written| written.rev))
    }

    async fn get(&self, id: &str, options: Value) -> Option<Result<Value, Error>> {
        let (db, options) = (self.tab(), parse(options).unwrap());
        let got = perhaps(self.patience(), db.get(id, &options)).await?;
        Some(got.map(|got| serde_json::from_str(&got.json).unwrap()))
    }

    /// Adds one to the counter, however often somebody else was first.
    async fn count(&self) {
        loop {
            let Some(got) = self.get("counter", json!({})).await else { continue };
            let mut doc = match got {
                Ok(doc) => doc,
                Err(error) => {
                    assert_eq!(error.kind(), Kind::NotFound, "{error}");
                    json!({"_id": "counter", "n": 0})
                }
            };
            doc["n"] = json!(doc["n"].as_u64().unwrap() + 1);
            // The same number from two writers is the same edit and the same revision, once.
            doc["by"] = json!(self.rng.borrow_mut().next());
            match self.put(doc).await {
                Some(Ok(_)) => return self.counted.set(self.counted.get() + 1),
                Some(Err(error)) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
                None => return self.given_up.set(self.given_up.get() + 1),
            }
        }
    }

    async fn step(&self, task: usize) {
        match self.below(12) {
            0..4 => {
                let id = format!("d{}", self.below(6));
                let rev = match self.get(&id, json!({})).await {
                    Some(Ok(doc)) => doc["_rev"].clone(),
                    _ => Value::Null,
                };
                let deleted = !rev.is_null() && self.below(5) == 0;
                let doc = json!({"_id": id, "_rev": rev, "_deleted": deleted, "by": task,
                    "at": self.rng.borrow_mut().next()});
                if let Some(Err(error)) = self.put(doc).await {
                    assert_eq!(error.kind(), Kind::Conflict, "{error}");
                }
            }
            4..6 => self.count().await,
            6 => {
                let db = self.tab();
                let docs: Vec<Value> =
                    (0..4).map(|n| json!({"_id": format!("t{task}-{n}-{}", self.below(50))})).collect();
                let text = Value::from(docs).to_string();
                let options = Default::default();
                if let Some(rows) = perhaps(self.patience(), db.bulk_docs(&text, &[], &options)).await {
                    for (_, row) in rows.unwrap() {
                        match row {
                            Ok(written) => self.acknowledged.borrow_mut().push((written.id, written.rev)),
                            Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
                        }
                    }
                }
            }
            7 => {
                let db = self.tab();
                if let Some(done) = perhaps(self.patience(), db.compact()).await {
                    done.unwrap();
                }
            }
            8 => {
                let db = self.tab();
                let mut rows =
                    db.all_docs(parse(json!({"include_docs": true, "attachments": true})).unwrap()).unwrap();
                if let Some(piece) = perhaps(self.patience(), rows.next()).await {
                    piece.unwrap();
                }
                let options = parse(json!({"docs": [{"id": "photo"}], "attachments": true})).unwrap();
                if let Some(got) = perhaps(self.patience(), db.bulk_get(&options)).await {
                    assert!(got.unwrap().json.contains("\"ok\""));
                }
            }
            9 => self.photo().await,
            _ => {
                // Always there, so always seen, whatever moves about.
                for options in [
                    json!({}),
                    json!({"attachments": true}),
                    json!({"open_revs": "all", "attachments": true}),
                ] {
                    if let Some(got) = self.get("photo", options.clone()).await {
                        let got = got.unwrap_or_else(|error| panic!("{options}: {error}"));
                        assert!(got.to_string().contains("photo"));
                    }
                }
                let db = self.tab();
                let options = Default::default();
                if let Some(got) = perhaps(self.patience(), db.get_attachment("photo", "f", &options)).await {
                    assert_eq!(got.unwrap().0.size_bytes(), 100);
                }
            }
        }
    }

    /// Another picture in the place of the one before.
    async fn photo(&self) {
        let Some(Ok(doc)) = self.get("photo", json!({})).await else { return };
        let bytes = Content::from(vec![self.below(3) as u8; 100]);
        let db = self.tab();
        let put = db.put_attachment("photo", "f", doc["_rev"].as_str(), bytes, "image/jpeg");
        match perhaps(self.patience(), put).await {
            Some(Ok(written)) => self.acknowledged.borrow_mut().push((written.id, written.rev)),
            Some(Err(error)) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
            None => {}
        }
    }
}

fn crowd(name: &str, count: u64, tabs: usize, impatience: usize, auto_compaction: bool) {
    cases(name, count, |mut rng| {
        let root = MemoryStore::new();
        let weather = Weather::new(Rng(rng.next()));
        let options = OpenOptions { auto_compaction, ..OpenOptions::new("test") };
        let open = || open_over(FaultyStore::new(root.handle(), &weather), options.clone());
        let tabs: Vec<Database> = (0..tabs).map(|_| open()).collect();
        let photo = Content::from(vec![9; 100]);
        futures::executor::block_on(tabs[0].put_attachment("photo", "f", None, photo, "image/jpeg")).unwrap();
        weather.is_slow.set(true);
        let mut pool = LocalPool::new();
        let mut feeds = Vec::new();
        for tab in &tabs {
            feeds.push((spawn_feed(&pool, tab, json!({})), 0));
            feeds.push((spawn_feed(&pool, tab, json!({"include_docs": true, "attachments": true})), 0));
        }
        let crowd = Rc::new(Crowd {
            tabs: tabs.clone(),
            rng: RefCell::new(Rng(rng.next())),
            impatience,
            acknowledged: RefCell::default(),
            counted: Cell::new(0),
            given_up: Cell::new(0),
            running: Cell::new(0),
        });
        for task in 0..8 {
            let crowd = crowd.clone();
            crowd.running.set(crowd.running.get() + 1);
            let steps = 3 + rng.below(8);
            let work = async move {
                for _ in 0..steps {
                    crowd.step(task).await;
                }
                crowd.running.set(crowd.running.get() - 1);
            };
            pool.spawner().spawn_local(work).unwrap();
        }
        // Some feeds begin in the middle.
        for _ in 0..rng.below(400) {
            pool.try_run_one();
        }
        for tab in &tabs {
            // What is told as `now` is what this tab knows; all of it after what the log holds is new.
            let known = futures::executor::block_on(open().info()).unwrap().update_seq;
            feeds.push((spawn_feed(&pool, tab, json!({"since": known})), known));
        }
        pool.run_until_stalled();
        weather.tell(true);
        pool.run_until_stalled();
        assert_eq!(crowd.running.get(), 0, "somebody waits for ever");
        weather.is_slow.set(false);

        let whole = dump(&open());
        for tab in &tabs {
            let seen = dump(tab);
            for part in ["counts", "feed", "docs", "all"] {
                assert_eq!(seen[part], whole[part], "{part}");
            }
        }
        assert_eq!(dump(&open_over(root.fork(), options.clone())), whole);
        // Every write that was admitted is in the history.
        for (id, rev) in crowd.acknowledged.borrow().iter() {
            let asked = json!({id: [rev]}).to_string();
            assert_eq!(futures::executor::block_on(tabs[0].revs_diff(&asked)).unwrap(), "{}", "{id} {rev}");
        }
        let ids: BTreeSet<&str> =
            whole["feed"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        if ids.contains("counter") {
            let counter = support::get_with(&tabs[0], "counter", json!({"conflicts": true})).unwrap();
            let n = counter["n"].as_u64().unwrap();
            let (counted, given_up) = (crowd.counted.get(), crowd.given_up.get());
            assert!(counted <= n && n <= counted + given_up, "{counted} <= {n} <= {counted} + {given_up}");
            assert!(counter.get("_conflicts").is_none());
        } else {
            assert_eq!(crowd.counted.get(), 0);
        }
        let last = support::changes(&tabs[0], json!({}));
        for (seen, since) in &feeds {
            let mut seen = seen.borrow().clone();
            for row in &mut seen {
                row.as_object_mut().unwrap().remove("doc");
            }
            check_feed(&seen, &last, *since);
        }
        // Nobody who gave up holds the line.
        futures::executor::block_on(tabs[0].compact()).unwrap();
        assert_eq!(dump(&open())["docs"], whole["docs"]);
        tabs[0].close();
        pool.run_until_stalled();
    });
}

#[test]
fn many_callers_at_once_lose_nothing() {
    crowd("many_callers_at_once_lose_nothing", 60, 1, 0, false);
}

#[test]
fn callers_who_give_up_disturb_nobody() {
    crowd("callers_who_give_up_disturb_nobody", 60, 1, 30, true);
}

#[test]
fn two_tabs_at_once_lose_nothing_and_their_feeds_tell_all() {
    crowd("two_tabs_at_once_lose_nothing_and_their_feeds_tell_all", 80, 2, 0, true);
}

#[test]
fn two_tabs_with_callers_who_give_up() {
    crowd("two_tabs_with_callers_who_give_up", 60, 2, 20, false);
}
