//! The reference adapter: a store in memory, shared by all its handles as tabs share IndexedDB.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
};

use futures::FutureExt;

use super::{Block, BlockNo, Builder, Signal, Store};
use crate::{
    error::{Error, Pending, Result},
    model::{Bytes, Content, Digest},
};

type Watcher = Rc<dyn Fn(Signal)>;

#[derive(Default)]
struct Shared {
    /// In the order of their numbers.
    blocks: Vec<Block>,
    contents: HashMap<Digest, Content>,
    records: HashMap<&'static str, Bytes>,
    destroyed: bool,
    watchers: Vec<(usize, Watcher)>,
    handles: usize,
}

impl Shared {
    fn blocks_from(&self, no: BlockNo) -> &[Block] {
        &self.blocks[self.blocks.partition_point(|block| block.no < no)..]
    }
}

/// A store in memory. [`MemoryStore::handle`] opens it once more, like a second tab.
pub struct MemoryStore {
    shared: Rc<RefCell<Shared>>,
    number: usize,
    closed: Cell<bool>,
}

/// A way back to a memory store for as long as somebody holds a handle.
#[derive(Clone)]
pub struct WeakMemoryStore(Weak<RefCell<Shared>>);

impl WeakMemoryStore {
    /// Another handle, if the store still lives and was not destroyed.
    pub fn upgrade(&self) -> Option<MemoryStore> {
        let shared = self.0.upgrade()?;
        if shared.borrow().destroyed { None } else { Some(MemoryStore::over(shared)) }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::over(Rc::default())
    }

    fn over(shared: Rc<RefCell<Shared>>) -> Self {
        let number = {
            let mut shared = shared.borrow_mut();
            shared.handles += 1;
            shared.handles
        };
        Self { shared, number, closed: Cell::new(false) }
    }

    /// The same store, as another tab would see it.
    pub fn handle(&self) -> Self {
        Self::over(self.shared.clone())
    }

    /// A way back that does not keep the contents alive.
    pub fn downgrade(&self) -> WeakMemoryStore {
        WeakMemoryStore(Rc::downgrade(&self.shared))
    }

    /// A copy of what would survive a crash right now.
    pub fn fork(&self) -> Self {
        let now = self.shared.borrow();
        Self::over(Rc::new(RefCell::new(Shared {
            blocks: now.blocks.clone(),
            contents: now.contents.clone(),
            records: now.records.clone(),
            ..Shared::default()
        })))
    }

    /// The bytes of all blocks together.
    pub fn log_bytes(&self) -> usize {
        self.shared.borrow().blocks.iter().map(|block| block.bytes.len()).sum()
    }

    fn open(&self) -> Result<()> {
        if self.closed.get() || self.shared.borrow().destroyed { Err(Error::closed()) } else { Ok(()) }
    }

    fn tell_others(&self, signal: Signal) {
        let others: Vec<_> = {
            let shared = self.shared.borrow();
            let others = shared.watchers.iter().filter(|(number, _)| *number != self.number);
            others.map(|(_, watcher)| watcher.clone()).collect()
        };
        for watcher in others {
            watcher(signal);
        }
    }

    fn append_now(&self, next: BlockNo, build: &mut Builder<'_>) -> Result<BlockNo> {
        self.open()?;
        let (newer, next) = {
            let shared = self.shared.borrow();
            let newer = shared.blocks_from(next).to_vec();
            let next = newer.last().map_or(next, |last| last.no + 1);
            (newer, next)
        };
        let Some(batch) = build(&newer, next)? else { return Ok(next) };
        let after = {
            let mut shared = self.shared.borrow_mut();
            for range in batch.drop_blocks {
                shared.blocks.retain(|block| !range.contains(&block.no));
            }
            let mut no = next;
            for bytes in batch.blocks {
                shared.blocks.push(Block { no, bytes });
                no += 1;
            }
            for digest in batch.drop_contents {
                shared.contents.remove(&digest);
            }
            for (digest, content) in batch.put_contents {
                shared.contents.entry(digest).or_insert(content);
            }
            no
        };
        self.tell_others(Signal::Committed);
        Ok(after)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for MemoryStore {
    fn append<'a>(&'a self, next: BlockNo, build: &'a mut Builder<'_>) -> Pending<'a, BlockNo> {
        async move { self.append_now(next, build) }.boxed_local()
    }

    fn read(&self, numbers: Vec<BlockNo>) -> Pending<'_, Vec<Option<Bytes>>> {
        async move {
            self.open()?;
            let shared = self.shared.borrow();
            let block = |no| shared.blocks_from(no).first().filter(|block| block.no == no);
            Ok(numbers.into_iter().map(|no| block(no).map(|block| block.bytes.clone())).collect())
        }
        .boxed_local()
    }

    fn scan(&self, from: BlockNo, limit: u32) -> Pending<'_, Vec<Block>> {
        async move {
            self.open()?;
            let shared = self.shared.borrow();
            Ok(shared.blocks_from(from).iter().take(limit as usize).cloned().collect())
        }
        .boxed_local()
    }

    fn content(&self, digest: Digest) -> Pending<'_, Option<Content>> {
        async move {
            self.open()?;
            Ok(self.shared.borrow().contents.get(&digest).cloned())
        }
        .boxed_local()
    }

    fn content_digests(&self) -> Pending<'_, Vec<Digest>> {
        async move {
            self.open()?;
            Ok(self.shared.borrow().contents.keys().copied().collect())
        }
        .boxed_local()
    }

    fn records(&self, names: Vec<&'static str>) -> Pending<'_, Vec<Option<Bytes>>> {
        async move {
            self.open()?;
            let shared = self.shared.borrow();
            Ok(names.iter().map(|name| shared.records.get(name).cloned()).collect())
        }
        .boxed_local()
    }

    fn put_record(&self, name: &'static str, bytes: Bytes, only_if_absent: bool) -> Pending<'_, Bytes> {
        async move {
            self.open()?;
            let mut shared = self.shared.borrow_mut();
            if only_if_absent && let Some(there) = shared.records.get(name) {
                return Ok(there.clone());
            }
            shared.records.insert(name, bytes.clone());
            Ok(bytes)
        }
        .boxed_local()
    }

    fn watch(&self, listener: Box<dyn Fn(Signal)>) {
        let mut shared = self.shared.borrow_mut();
        shared.watchers.retain(|(number, _)| *number != self.number);
        shared.watchers.push((self.number, Rc::from(listener)));
    }

    fn close(&self) {
        self.closed.set(true);
        self.shared.borrow_mut().watchers.retain(|(number, _)| *number != self.number);
    }

    fn destroy(&self) -> Pending<'_, ()> {
        async move {
            self.open()?;
            {
                let mut shared = self.shared.borrow_mut();
                shared.destroyed = true;
                shared.blocks.clear();
                shared.contents.clear();
                shared.records.clear();
            }
            self.tell_others(Signal::Destroyed);
            self.close();
            Ok(())
        }
        .boxed_local()
    }
}
