//! A CouchDB database over a [`Store`].
//!
//! ```text
//! put, bulk_docs ─► write.rs ─► jobs ─► one commit: fold what others wrote, check, append
//! get, all_docs  ─► read.rs, all_docs.rs ─► directory ─► block cache ─► Store::read
//! changes        ─► changes.rs ─► directory; waits for the next commit, anyone's
//! find           ─► find.rs ─► an index in memory, kept up from the changes feed; or every document
//! conflicts      ─► conflicts.rs ─► a changes feed of what stands against what; resolve ─► edit.rs
//! compact        ─► compact.rs ─► commits that move live entries to the end
//! ```
//!
//! There is one line of commits. Calls that change something leave a job; whoever waits for one drives
//! the line, so everything that waits while a commit is under way goes into the next one together
//! (group commit), and a caller that gives up leaves no job half done.
//!
//! Other tabs write the same store. Their commits reach the directory in two ways: a commit of ours
//! that finds the log longer than it thought folds the rest in first; and a signal from the store marks
//! the directory stale, so that the next read or waiting feed looks. What is in memory is always a
//! prefix of the log.

mod ahead;
mod all_docs;
mod attachments;
mod cache;
mod changes;
mod channel;
mod compact;
mod conflicts;
mod edit;
mod find;
mod gate;
mod names;
pub mod options;
mod peer;
mod read;
mod render;
mod sealing;
mod view;
mod write;

pub use all_docs::AllDocs;
pub use changes::Changes;
pub use channel::CHANNEL;
pub use find::Find;
pub use gate::Quarantined;
pub use options::OpenOptions;
pub use render::Rendered;
pub use sealing::{KeySource, Keys};
pub use write::Written;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    task::Poll,
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, LocalBoxFuture, Shared, poll_fn, select},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    log::{Directory, FORMAT},
    model::{Bytes, hex, sort_by},
    platform::Platform,
    store::{Block, BlockNo, Signal, Store},
};
use ahead::Write;
use cache::BlockCache;
use view::{Opened, View};

/// Blocks looked through at a time when the log is read: four megabytes, some ten milliseconds' work.
const SCAN_BLOCKS: u32 = 256;

/// Blocks read on from one that a single read asked for; costs as much as one alone.
const READ_AHEAD_BLOCKS: u32 = 8;

const HEADER: &str = "header";

/// The record with the directory's snapshot.
const SNAPSHOT: &str = "snapshot";

/// Blocks read at opening that are worth a new snapshot.
const SNAPSHOT_BLOCKS: BlockNo = 32;

/// The record that says what a store is.
#[derive(Serialize, Deserialize)]
struct Header {
    /// [`FORMAT`] when the database was made. What knew nothing of sealing knew nothing of format 2.
    format: u8,
    /// Names this database for as long as it lives, in checkpoints above all.
    uuid: String,
    /// Whether it is a sealed channel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sealed: bool,
}

/// An open database. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Database {
    inner: Rc<Inner>,
}

struct Inner {
    store: Rc<dyn Store>,
    platform: Rc<dyn Platform>,
    options: OpenOptions,
    uuid: String,
    is_sealed: bool,
    /// How callers see the documents; `None` while a sealed channel is locked.
    view: RefCell<Option<View>>,
    state: RefCell<State>,
    jobs: RefCell<Vec<Job>>,
    /// Works off `jobs` while there are any. Whoever waits for a job polls it.
    line: RefCell<Option<Shared<LocalBoxFuture<'static, ()>>>>,
    /// How often we had reason to look at the log's end: somebody else committed, or a commit of ours
    /// failed in an unknown state.
    told: Cell<u64>,
    /// What `told` was when the last look began that has ended.
    looked: Cell<u64>,
    closed: RefCell<Option<Error>>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    /// The first block that the stored snapshot does not know.
    snapshot_next: Cell<BlockNo>,
    /// Commits since the last look at whether compaction is worth it.
    commits: Cell<u32>,
    held: Cell<gate::Room>,
    indexes: RefCell<find::Indexes>,
}

/// What is known of the log up to `next`.
#[derive(Default)]
struct State {
    directory: Directory,
    next: BlockNo,
    cache: BlockCache,
}

type Reply<T> = oneshot::Sender<Result<T>>;
type Answer<T> = oneshot::Receiver<Result<T>>;

enum Job {
    Write(Write),
    /// Answers with the last sequence number that there was then.
    Refresh {
        reply: Reply<u64>,
    },
    Compact {
        step: compact::Step,
        reply: Reply<()>,
    },
}

/// What [`Database::info`] tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// The name it was opened by.
    pub db_name: String,
    /// Documents whose winner is not a tombstone.
    pub doc_count: u64,
    /// Documents whose winner is a tombstone.
    pub doc_del_count: u64,
    /// The last sequence number given.
    pub update_seq: u64,
    /// Names this database for as long as it lives.
    pub uuid: String,
    /// Whether it compacts by itself.
    pub auto_compaction: bool,
    /// What the documents take; attachments not counted.
    pub sizes: Sizes,
    /// Revisions that did not pass the gate of a sealed channel; `None` for any other database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
}

/// Bytes in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// All of it.
    pub file: u64,
    /// What compaction would keep.
    pub active: u64,
}

impl Database {
    /// Opens the database that a store holds, making it if the store is empty.
    ///
    /// Errors: `schema_too_new` if a newer Settee wrote it, `corrupt`, and what the store says.
    pub async fn open(
        store: Rc<dyn Store>,
        platform: Rc<dyn Platform>,
        options: OpenOptions,
    ) -> Result<Self> {
        let mut records = store.records(vec![HEADER, SNAPSHOT]).await?;
        let snapshot = records.pop().flatten();
        let header = match records.pop().flatten() {
            Some(header) => header,
            None => {
                let mut uuid = [0; 16];
                platform.random_bytes(&mut uuid);
                let header = Header { format: FORMAT, uuid: hex(&uuid), sealed: options.sealed };
                let header = serde_json::to_vec(&header).map_err(|_| Error::corrupt("header"))?;
                // Another tab may be opening it for the first time too: the first header stays.
                store.put_record(HEADER, header.into(), true).await?
            }
        };
        let header: Header = serde_json::from_slice(&header).map_err(|_| Error::corrupt("header"))?;
        if header.format > FORMAT {
            return Err(crate::log::too_new());
        }
        if options.sealed && !header.sealed {
            return Err(Error::not_sealed());
        }
        let inner = Rc::new(Inner {
            store,
            platform,
            options,
            uuid: header.uuid,
            is_sealed: header.sealed,
            state: RefCell::new(State { next: 1, ..State::default() }),
            snapshot_next: Cell::new(1),
            view: RefCell::new((!header.sealed).then_some(View::AsStored)),
            jobs: RefCell::default(),
            line: RefCell::default(),
            told: Cell::new(0),
            looked: Cell::new(0),
            closed: RefCell::default(),
            waiting: RefCell::default(),
            commits: Cell::new(0),
            held: Cell::default(),
            indexes: RefCell::default(),
        });
        let weak = Rc::downgrade(&inner);
        inner.store.watch(Box::new(move |signal| {
            let Some(inner) = weak.upgrade() else { return };
            match signal {
                Signal::Committed => inner.told.set(inner.told.get() + 1),
                Signal::Destroyed => inner.end(Error::destroyed()),
            }
            inner.wake();
        }));
        // One that does not decode is worth nothing; the log itself says everything.
        if let Some((directory, next)) =
            snapshot.and_then(|snapshot| Directory::from_snapshot(&snapshot).ok())
        {
            *inner.state.borrow_mut() = State { directory, next, cache: BlockCache::default() };
            inner.snapshot_next.set(next);
        }
        let database = Self { inner };
        database.inner.catch_up().await?;
        Ok(database)
    }

    /// Whether a store holds a database.
    pub async fn exists(store: &dyn Store) -> Result<bool> {
        Ok(store.records(vec![HEADER]).await?.pop().flatten().is_some())
    }

    /// Stores a snapshot of the key directory, if the log has grown enough since the last one to make the
    /// next opening slow. To be called now and then when there is nothing else to do, and before closing.
    ///
    /// Atomic: an old snapshot, or none, is as good as a new one, only slower.
    pub async fn save(&self) -> Result<()> {
        self.inner.open()?;
        let (next, snapshot) = {
            let state = self.inner.state.borrow();
            if state.next < self.inner.snapshot_next.get().saturating_add(SNAPSHOT_BLOCKS) {
                return Ok(());
            }
            (state.next, state.directory.snapshot(state.next))
        };
        self.inner.store.put_record(SNAPSHOT, snapshot.into(), false).await?;
        self.inner.snapshot_next.set(next);
        Ok(())
    }

    /// Gives a sealed channel its keys, now and whenever its log has more to say; then looks at what was held
    /// for want of them.
    ///
    /// Errors: 403 `forbidden` if it is not sealed; what the source says of its log.
    pub async fn unlock(&self, source: Rc<dyn KeySource>) -> Result<()> {
        self.inner.open()?;
        if !self.inner.is_sealed {
            return Err(Error::not_sealed());
        }
        self.fresh().await?;
        let total = self.inner.state.borrow().directory.total_count() as u32;
        let opened = Opened::new(source, &self.channel_log().await?, total)?;
        self.inner.see(Some(View::Opened(Rc::new(opened))));
        self.inner.wake();
        self.retry_quarantine().await.map(drop)
    }

    /// Drops the keys of a sealed channel and everything plain that is in memory. Feeds end with `locked`;
    /// what was called before goes on. Nothing for a database that is not sealed.
    pub fn lock(&self) {
        if self.inner.is_sealed {
            self.inner.see(None);
            self.inner.wake();
        }
    }

    /// What the database says of itself.
    pub async fn info(&self) -> Result<Info> {
        self.fresh().await?;
        // Of a locked channel everything is counted.
        let view = self.view().unwrap_or(View::AsStored);
        let state = self.inner.state.borrow();
        let directory = &state.directory;
        let (file, active) = directory.log_bytes();
        let doc_count = view.doc_count(directory);
        Ok(Info {
            db_name: self.inner.options.name.clone(),
            doc_count,
            doc_del_count: view.total_count(directory) - doc_count,
            update_seq: directory.last_seq(),
            uuid: self.inner.uuid.clone(),
            auto_compaction: self.inner.options.auto_compaction,
            sizes: Sizes { file, active },
            quarantined: self.inner.is_sealed.then(|| self.held_count()),
        })
    }

    /// The bytes that the key directory takes in memory.
    pub fn directory_bytes(&self) -> usize {
        self.inner.state.borrow().directory.size_bytes()
    }

    /// Closes it. Feeds end; calls from now on fail with `store_closed`. Closing twice is nothing.
    pub fn close(&self) {
        self.inner.end(Error::closed());
        self.inner.store.close();
        self.inner.wake();
    }

    /// Deletes everything, for every tab, and closes.
    pub async fn destroy(&self) -> Result<()> {
        self.inner.open()?;
        self.inner.end(Error::destroyed());
        self.inner.wake();
        self.inner.store.destroy().await
    }

    /// Makes sure that what other tabs committed and told us of is in the directory.
    async fn fresh(&self) -> Result<()> {
        self.inner.open()?;
        if self.inner.is_stale() {
            self.refresh().await?;
        }
        self.renew().await
    }

    /// Looks at the log for what others appended.
    async fn refresh(&self) -> Result<()> {
        self.submit(|reply| Job::Refresh { reply }).await.map(drop)
    }

    /// Leaves a job in the line and waits for its answer, working off the line meanwhile.
    async fn submit<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        let mut answer = self.leave(job)?;
        self.answer(&mut answer).await
    }

    /// Leaves a job in the line. Whoever works off the line next does it before what comes later.
    fn leave<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<Answer<T>> {
        self.inner.open()?;
        let (reply, answer) = oneshot::channel();
        self.inner.jobs.borrow_mut().push(job(reply));
        Ok(answer)
    }

    /// Waits for a job's answer, working off the line meanwhile.
    async fn answer<T>(&self, answer: &mut Answer<T>) -> Result<T> {
        let mut caller = Caller { inner: &self.inner, has_answer: false };
        // Calls made in the same turn come in before the first commit.
        turn().await;
        // With what came before it; then there may be nothing left to work off.
        if let Ok(Some(done)) = answer.try_recv() {
            caller.has_answer = true;
            return done;
        }
        let line = self.line();
        let answer = match select(answer, line).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), answer)) => answer.await,
        };
        caller.has_answer = true;
        answer.unwrap_or_else(|_| Err(Error::closed()))
    }

    fn line(&self) -> Shared<LocalBoxFuture<'static, ()>> {
        let mut line = self.inner.line.borrow_mut();
        line.get_or_insert_with(|| {
            let inner = self.inner.clone();
            async move {
                loop {
                    let jobs = std::mem::take(&mut *inner.jobs.borrow_mut());
                    if jobs.is_empty() {
                        break;
                    }
                    inner.work_off(jobs).await;
                }
                *inner.line.borrow_mut() = None;
            }
            .boxed_local()
            .shared()
        })
        .clone()
    }
}

/// Who waits for a job. One who leaves may have been the only one to work off the line, with a commit
/// under way: then the next to read or to wait for a change goes on with it.
struct Caller<'a> {
    inner: &'a Inner,
    has_answer: bool,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if !self.has_answer {
            self.inner.doubt();
        }
    }
}

/// Lets everything else that is ready run first.
async fn turn() {
    let mut is_over = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Inner {
    /// Errors once the database is closed or destroyed.
    fn open(&self) -> Result<()> {
        match &*self.closed.borrow() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    fn end(&self, error: Error) {
        self.closed.borrow_mut().get_or_insert(error);
    }

    /// Wakes every feed that waits for a change.
    fn wake(&self) {
        for waiting in std::mem::take(&mut *self.waiting.borrow_mut()) {
            // A feed that was dropped meanwhile needs no waking.
            let _ = waiting.send(());
        }
    }

    /// A commit of ours may be in the log or not: whoever asks next looks.
    fn doubt(&self) {
        self.told.set(self.told.get() + 1);
        self.wake();
    }

    /// Whether the log may go on after what is in memory. A look that is under way changes nothing
    /// about it before its end.
    fn is_stale(&self) -> bool {
        self.told.get() != self.looked.get()
    }

    /// Resolves when anybody committed after this call, or the database was closed.
    fn next_change(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|sender| !sender.is_canceled());
        waiting.push(sender);
        receiver
    }

    async fn work_off(&self, jobs: Vec<Job>) {
        let mut writes = Vec::new();
        let mut refreshes = Vec::new();
        let mut steps = Vec::new();
        for job in jobs {
            match job {
                // Whoever left before it began does not get it done behind their back.
                Job::Write(write) if write.reply.is_canceled() => {}
                Job::Write(write) => writes.push(write),
                Job::Refresh { reply } => refreshes.push(reply),
                Job::Compact { step, reply } => steps.push((step, reply)),
            }
        }
        let later = ahead::for_later(&mut writes);
        self.jobs.borrow_mut().splice(..0, later.into_iter().map(Job::Write));
        if !refreshes.is_empty() {
            let result = self.catch_up().await;
            let result = result.map(|()| self.state.borrow().directory.last_seq());
            for reply in refreshes {
                let _ = reply.send(result.clone());
            }
        }
        for (step, reply) in steps {
            let done = self.compact_step(step).await;
            if done.is_err() {
                self.doubt();
            }
            let _ = reply.send(done);
        }
        if !writes.is_empty() {
            self.write(writes).await;
        }
    }

    /// Folds in what stands in the log after `next`. Only the line of jobs (and `open`) may call it.
    async fn catch_up(&self) -> Result<()> {
        let told = self.told.get();
        let next = self.state.borrow().next;
        self.scan_on().await?;
        self.looked.set(told);
        if self.state.borrow().next != next {
            // Feeds that looked while this went on.
            self.wake();
        }
        Ok(())
    }

    async fn scan_on(&self) -> Result<()> {
        loop {
            let from = self.state.borrow().next;
            let blocks = self.store.scan(from, SCAN_BLOCKS).await?;
            let is_last = blocks.len() < SCAN_BLOCKS as usize;
            self.state.borrow_mut().fold(blocks)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// The blocks of these numbers that there are, from the cache or the store.
    async fn blocks(&self, mut numbers: Vec<BlockNo>) -> Result<HashMap<BlockNo, Bytes>> {
        sort_by(&mut numbers, Ord::cmp);
        numbers.dedup();
        let mut found = HashMap::with_capacity(numbers.len());
        {
            let mut state = self.state.borrow_mut();
            numbers.retain(|&no| match state.cache.get(no) {
                Some(bytes) => {
                    found.insert(no, bytes);
                    false
                }
                None => true,
            });
        }
        if let [only] = numbers[..] {
            // One block alone is a random read: the neighbours come at the same price.
            let blocks = self.store.scan(only, READ_AHEAD_BLOCKS).await?;
            let mut state = self.state.borrow_mut();
            for block in blocks {
                // Blocks we do not know yet may not enter before the directory knows them.
                if block.no < state.next && !state.cache.contains(block.no) {
                    state.cache.insert(block.no, block.bytes.clone());
                }
                if block.no == only {
                    found.insert(only, block.bytes);
                }
            }
        } else if !numbers.is_empty() {
            let blocks = self.store.read(numbers.clone()).await?;
            let mut state = self.state.borrow_mut();
            for (no, bytes) in numbers.into_iter().zip(blocks) {
                if let Some(bytes) = bytes {
                    state.cache.insert(no, bytes.clone());
                    found.insert(no, bytes);
                }
            }
        }
        Ok(found)
    }
}

impl State {
    /// Takes in blocks from the log's end.
    fn fold(&mut self, blocks: Vec<Block>) -> Result<()> {
        for block in blocks {
            self.directory.fold(block.no, &block.bytes)?;
            self.next = block.no + 1;
            self.cache.insert(block.no, block.bytes);
        }
        Ok(())
    }
}
