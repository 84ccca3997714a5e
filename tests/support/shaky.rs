//! A peer that fails as it is told, and a replication that runs turn by turn.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Poll,
};

use futures::{
    FutureExt,
    channel::oneshot,
    executor::LocalPool,
    future::{LocalBoxFuture, poll_fn},
    task::LocalSpawnExt,
};
use serde_json::{Value, json};
use settee::{
    database::Database,
    error::{Error, Kind, Pending, Result},
    model::{Content, Rev, Seq},
    peer::{
        ChangesPage, ChangesQuery, Fetched, LocalDoc, MissingRevs, Peer, PeerInfo, ReplicatedAttachment,
        ReplicatedDoc,
    },
    platform::Platform,
    replicate::{Event, Handle, Options, Summary, replicate},
};

use super::support::*;

type Fault = Box<dyn Fn(&'static str, usize) -> Option<Error>>;
type Chosen = Box<dyn Fn(&str) -> bool>;
type Refusal = Box<dyn Fn(&ReplicatedDoc) -> Option<Error>>;

/// A database that fails as it is told.
pub struct Shaky {
    pub inner: RefCell<Database>,
    identity: &'static str,
    /// Every call, by name.
    pub calls: RefCell<Vec<&'static str>>,
    /// Asked before each call, with how many calls of that name there were.
    fault: RefCell<Fault>,
    pub refusal: RefCell<Refusal>,
    /// A write that has a document of this name in it fails as a whole.
    pub poison: Cell<Option<&'static str>>,
    /// Those that it cannot give.
    pub unreadable: RefCell<Chosen>,
    /// What it calls its life, if it is on a server; databases here have none.
    pub instance: RefCell<Option<String>>,
    /// It is on a server all the same.
    pub is_away: Cell<bool>,
    /// Takes a checkpoint whatever revision it names, and has opaque sequence numbers, as CouchDB 2 and 3.
    pub is_lenient: Cell<bool>,
    /// Waiting in vain says where its feed ends, though that is before the place asked for.
    pub goes_back: Cell<bool>,
    /// Waiting is answered at once with what was told before.
    pub repeats: Cell<bool>,
    /// Somebody else found out that it may be another database.
    pub doubts: RefCell<Vec<oneshot::Sender<()>>>,
    /// How often we found out.
    pub doubted: Cell<u32>,
}

impl Shaky {
    pub fn new(db: &Database, identity: &'static str) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(db.clone()),
            identity,
            calls: RefCell::default(),
            fault: RefCell::new(Box::new(|_, _| None)),
            refusal: RefCell::new(Box::new(|_| None)),
            poison: Cell::default(),
            unreadable: RefCell::new(Box::new(|_| false)),
            instance: RefCell::default(),
            is_away: Cell::default(),
            is_lenient: Cell::default(),
            goes_back: Cell::default(),
            repeats: Cell::default(),
            doubts: RefCell::default(),
            doubted: Cell::default(),
        })
    }

    pub fn failing(self: &Rc<Self>, fault: impl Fn(&'static str, usize) -> Option<Error> + 'static) {
        *self.fault.borrow_mut() = Box::new(fault);
    }

    pub fn well(self: &Rc<Self>) {
        self.failing(|_, _| None);
    }

    fn call(&self, name: &'static str) -> Result<Database> {
        let count = self.count(name);
        self.calls.borrow_mut().push(name);
        (self.fault.borrow())(name, count).map_or_else(|| Ok(self.inner.borrow().clone()), Err)
    }

    pub fn count(&self, name: &str) -> usize {
        self.calls.borrow().iter().filter(|call| **call == name).count()
    }
}

impl Peer for Shaky {
    fn identity(&self) -> Pending<'_, String> {
        async { Ok(self.identity.to_owned()) }.boxed_local()
    }
    fn is_here(&self) -> bool {
        self.instance.borrow().is_none() && !self.is_away.get()
    }
    fn info(&self) -> Pending<'_, PeerInfo> {
        async {
            let instance_start_time = self.instance.borrow().clone();
            let mut info = PeerInfo { instance_start_time, ..Peer::info(&self.call("info")?).await? };
            if self.is_lenient.get() {
                info.update_seq = Seq(json!(format!("{}-opaque", info.update_seq.to_query())));
            }
            Ok(info)
        }
        .boxed_local()
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
            if self.repeats.get() && wait_ms.is_some() {
                assert!(self.count("wait") < 1_000, "it is asked without a pause");
                let page = Peer::changes(&db, query, &Seq::zero(), limit, None).await?;
                return Ok(ChangesPage { last_seq: since.clone(), ..page });
            }
            let mut page = Peer::changes(&db, query, since, limit, wait_ms).await?;
            if self.goes_back.get() && page.results.is_empty() {
                page.last_seq = Peer::info(&db).await?.update_seq;
            }
            Ok(page)
        }
        .boxed_local()
    }
    fn revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Pending<'_, Vec<MissingRevs>> {
        async { Peer::revs_diff(&self.call("revs_diff")?, leaves).await }.boxed_local()
    }
    fn bulk_get(&self, wanted: Vec<MissingRevs>) -> Pending<'_, Vec<Fetched>> {
        async {
            let mut fetched = Peer::bulk_get(&self.call("bulk_get")?, wanted).await?;
            for row in fetched.iter_mut().filter(|row| (self.unreadable.borrow())(&row.id)) {
                row.doc = Err(broken());
            }
            Ok(fetched)
        }
        .boxed_local()
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
            if docs.iter().any(|doc| self.poison.get() == Some(&doc.id)) {
                return Err(broken());
            }
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
        async {
            let db = self.call("put_local_doc")?;
            let mut doc = doc;
            if self.is_lenient.get() {
                doc.rev = db.local_doc(id).await?.and_then(|there| there.rev);
            }
            db.put_local_doc(id, doc).await
        }
        .boxed_local()
    }
    fn doubted(&self) -> LocalBoxFuture<'_, ()> {
        let (bell, rung) = oneshot::channel();
        self.doubts.borrow_mut().push(bell);
        rung.map(|_| ()).boxed_local()
    }
    fn doubt(&self) {
        self.doubted.set(self.doubted.get() + 1);
    }
}

/// A replication running by itself, and what it told.
pub struct Running {
    pub pool: LocalPool,
    pub handle: Handle,
    pub events: Rc<RefCell<Vec<String>>>,
    pub ended: Rc<RefCell<Option<Result<Summary>>>>,
}

impl Running {
    pub fn start(source: &Rc<Shaky>, target: &Rc<Shaky>, with: Value) -> Self {
        Self::start_on(SeededPlatform::new(5), source, target, with)
    }

    pub fn start_on(platform: Rc<dyn Platform>, source: &Rc<Shaky>, target: &Rc<Shaky>, with: Value) -> Self {
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
        let (handle, future) = replicate(source.clone(), target.clone(), platform, options, on_event);
        let ended: Rc<RefCell<Option<Result<Summary>>>> = Rc::default();
        let end = ended.clone();
        let pool = LocalPool::new();
        pool.spawner().spawn_local(async move { *end.borrow_mut() = Some(future.await) }).unwrap();
        Self { pool, handle, events, ended }
    }

    /// Lets it run for some turns; the seeded platform's sleep is one.
    pub fn turns(&mut self, count: usize) {
        let left = Cell::new(count);
        self.pool.run_until(poll_fn(|context| {
            if left.replace(left.get().saturating_sub(1)) == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }));
    }

    pub fn end(mut self) -> (Result<Summary>, Vec<String>) {
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

pub fn run(source: &Rc<Shaky>, target: &Rc<Shaky>, with: Value) -> (Result<Summary>, Vec<String>) {
    Running::start(source, target, with).end()
}

pub fn filled(count: usize) -> Database {
    let db = memory();
    for n in 0..count {
        put(&db, json!({"_id": format!("d{n:02}"), "n": n})).unwrap();
    }
    db
}

pub fn leaves(db: &Database) -> Vec<String> {
    let mut leaves: Vec<String> = changes(db, json!({"style": "all_docs"}))
        .iter()
        .map(|row| json!([row["id"], row["changes"], row["deleted"]]).to_string())
        .collect();
    leaves.sort();
    leaves
}

pub fn broken() -> Error {
    Error::remote(500, "unknown_error", "function_clause")
}

pub fn network() -> Error {
    Error::new(Kind::Network, "Failed to fetch")
}
