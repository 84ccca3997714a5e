//! A store that behaves as badly as the port allows: it makes callers wait, tells of others' commits
//! late, builds a commit twice as IndexedDB does, fails on demand, and keeps what a crash would leave.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::FutureExt;
use settee::{
    error::{Error, Kind, Pending},
    model::{Bytes, Content, Digest},
    store::{Block, BlockNo, Builder, MemoryStore, Signal, Store},
};

use super::rng::Rng;

/// How an append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written, and the store says so.
    Before(Kind),
    /// Everything was written, and the store says that it was not.
    After(Kind),
}

type Late = (Rc<dyn Fn(Signal)>, Signal);

/// What goes wrong, for all handles of one store.
#[derive(Default)]
pub struct Weather {
    /// Calls wait for some turns of the executor, and signals come late.
    pub is_slow: Cell<bool>,
    /// Keeps a copy of the store after every append that wrote something.
    pub keeps_forks: Cell<bool>,
    pub forks: RefCell<Vec<MemoryStore>>,
    /// Appends to go until one fails, and how.
    pub fault: Cell<Option<(u32, Fault)>>,
    /// How many appends failed.
    pub faults: Cell<u32>,
    /// How many appends wrote something.
    pub commits: Cell<u32>,
    rng: RefCell<Option<Rng>>,
    late: RefCell<Vec<Late>>,
}

impl Weather {
    pub fn new(rng: Rng) -> Rc<Self> {
        Rc::new(Self { rng: RefCell::new(Some(rng)), ..Self::default() })
    }

    fn turns(&self) -> usize {
        if !self.is_slow.get() {
            return 0;
        }
        self.rng.borrow_mut().as_mut().map_or(0, |rng| rng.below(4))
    }

    async fn wait(&self) {
        for _ in 0..self.turns() {
            turn().await;
        }
        self.tell(false);
    }

    /// Tells some of the signals that are under way, or all.
    pub fn tell(&self, all: bool) {
        loop {
            if self.late.borrow().is_empty() {
                return;
            }
            if !all && self.rng.borrow_mut().as_mut().is_some_and(|rng| rng.percent(60)) {
                return;
            }
            let (listener, signal) = self.late.borrow_mut().remove(0);
            listener(signal);
        }
    }
}

/// Lets everything else that is ready run first.
pub async fn turn() {
    let mut is_over = false;
    futures::future::poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

pub struct FaultyStore {
    pub inner: MemoryStore,
    pub weather: Rc<Weather>,
}

impl FaultyStore {
    pub fn new(inner: MemoryStore, weather: &Rc<Weather>) -> Self {
        Self { inner, weather: weather.clone() }
    }
}

impl Store for FaultyStore {
    fn append<'a>(&'a self, next: BlockNo, build: &'a mut Builder<'_>) -> Pending<'a, BlockNo> {
        async move {
            self.weather.wait().await;
            let fault = match self.weather.fault.get() {
                Some((0, fault)) => {
                    self.weather.fault.set(None);
                    Some(fault)
                }
                Some((left, fault)) => {
                    self.weather.fault.set(Some((left - 1, fault)));
                    None
                }
                None => None,
            };
            // As IndexedDB does it: build in the belief that nobody else wrote, and find out by writing.
            let mut first = Some(build(&[], next));
            self.weather.wait().await;
            if let Some(Fault::Before(kind)) = fault {
                self.weather.faults.set(self.weather.faults.get() + 1);
                return Err(Error::new(kind, "injected"));
            }
            let mut wrote = false;
            let mut build = |newer: &[Block], first_no: BlockNo| {
                let batch = match first.take() {
                    Some(Ok(Some(batch))) if newer.is_empty() && !batch.blocks.is_empty() => Ok(Some(batch)),
                    Some(Ok(None)) if newer.is_empty() => Ok(None),
                    Some(Err(error)) if newer.is_empty() => Err(error),
                    _ => build(newer, first_no),
                };
                wrote = matches!(batch, Ok(Some(_)));
                batch
            };
            let after = self.inner.append(next, &mut build).await?;
            if wrote {
                self.weather.commits.set(self.weather.commits.get() + 1);
                if self.weather.keeps_forks.get() {
                    self.weather.forks.borrow_mut().push(self.inner.fork());
                }
            }
            self.weather.wait().await;
            if let Some(Fault::After(kind)) = fault {
                self.weather.faults.set(self.weather.faults.get() + 1);
                return Err(Error::new(kind, "injected"));
            }
            Ok(after)
        }
        .boxed_local()
    }

    fn read(&self, numbers: Vec<BlockNo>) -> Pending<'_, Vec<Option<Bytes>>> {
        async move {
            self.weather.wait().await;
            let read = self.inner.read(numbers).await;
            self.weather.wait().await;
            read
        }
        .boxed_local()
    }

    fn scan(&self, from: BlockNo, limit: u32) -> Pending<'_, Vec<Block>> {
        async move {
            self.weather.wait().await;
            let scanned = self.inner.scan(from, limit).await;
            self.weather.wait().await;
            scanned
        }
        .boxed_local()
    }

    fn content(&self, digest: Digest) -> Pending<'_, Option<Content>> {
        async move {
            self.weather.wait().await;
            self.inner.content(digest).await
        }
        .boxed_local()
    }

    fn content_digests(&self) -> Pending<'_, Vec<Digest>> {
        async move {
            self.weather.wait().await;
            let digests = self.inner.content_digests().await;
            self.weather.wait().await;
            digests
        }
        .boxed_local()
    }

    fn records(&self, names: Vec<&'static str>) -> Pending<'_, Vec<Option<Bytes>>> {
        async move {
            self.weather.wait().await;
            self.inner.records(names).await
        }
        .boxed_local()
    }

    fn put_record(&self, name: &'static str, bytes: Bytes, only_if_absent: bool) -> Pending<'_, Bytes> {
        async move {
            self.weather.wait().await;
            self.inner.put_record(name, bytes, only_if_absent).await
        }
        .boxed_local()
    }

    fn watch(&self, listener: Box<dyn Fn(Signal)>) {
        let weather = Rc::downgrade(&self.weather);
        let listener: Rc<dyn Fn(Signal)> = Rc::from(listener);
        self.inner.watch(Box::new(move |signal| match weather.upgrade() {
            Some(weather) if weather.is_slow.get() => {
                weather.late.borrow_mut().push((listener.clone(), signal));
            }
            _ => listener(signal),
        }));
    }

    fn close(&self) {
        self.inner.close();
    }

    fn destroy(&self) -> Pending<'_, ()> {
        self.inner.destroy()
    }
}
