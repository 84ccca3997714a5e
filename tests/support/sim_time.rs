//! Time and tasks of a simulation: a clock that jumps to the next timer, and a scheduler that lets chance
//! choose which of the tasks that are ready goes on. The same seed makes the same story, poll by poll.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    future::Future,
    pin::Pin,
    rc::{Rc, Weak},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{FutureExt, future::LocalBoxFuture};
use settee::platform::Platform;

use crate::kit::rng::Rng;

/// Whose task it is: one life of one device. When the device crashes its tasks are gone, wherever they
/// stood.
pub type Owner = u64;

/// Owns what no crash touches.
pub const WORLD: Owner = 0;

/// When every simulation begins, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_790_000_000_000;

/// More polls than this in one millisecond are a loop.
const AT_ONCE: u64 = 1_000_000;

struct TaskWaker {
    id: u64,
    is_queued: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap().push(self.id);
        }
    }
}

struct Task {
    owner: Owner,
    waker: Arc<TaskWaker>,
    /// `None` while it is being polled.
    future: Option<LocalBoxFuture<'static, ()>>,
}

#[derive(Default)]
struct Timer {
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A moment, an order among equal moments, and whom to wake.
struct Due(u64, u64, Weak<Timer>);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// One simulation.
pub struct Sim {
    now_ms: Cell<u64>,
    rng: RefCell<Rng>,
    tasks: RefCell<HashMap<u64, Task>>,
    next_task: Cell<u64>,
    owners: Cell<Owner>,
    frozen: RefCell<HashSet<Owner>>,
    ready: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BinaryHeap<Reverse<Due>>>,
    next_timer: Cell<u64>,
    polls: Cell<u64>,
    /// A moment, and how many polls it has had.
    at_once: Cell<(u64, u64)>,
    hash: Cell<u64>,
    /// The last things that happened, for whoever reads a failure.
    story: RefCell<Option<Vec<String>>>,
}

impl Sim {
    pub fn new(seed: u64, tells: bool) -> Rc<Self> {
        // Neighbouring seeds shall not begin alike.
        let mut rng = Rng(seed.wrapping_mul(0xd6e8_feb8_6659_fd93));
        rng.next();
        Rc::new(Self {
            now_ms: Cell::new(BEGIN_MS),
            rng: RefCell::new(rng),
            tasks: RefCell::default(),
            next_task: Cell::new(1),
            owners: Cell::new(WORLD),
            frozen: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            polls: Cell::new(0),
            at_once: Cell::default(),
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
            story: RefCell::new(tells.then(Vec::new)),
        })
    }

    /// Milliseconds since the simulation began.
    pub fn passed_ms(&self) -> u64 {
        self.now_ms.get() - BEGIN_MS
    }

    pub fn polls(&self) -> u64 {
        self.polls.get()
    }

    pub fn below(&self, limit: usize) -> usize {
        self.rng.borrow_mut().below(limit)
    }

    /// From `low` to `high`, both inclusive.
    pub fn between(&self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn percent(&self, chance: usize) -> bool {
        self.rng.borrow_mut().percent(chance)
    }

    pub fn pick<T: Clone>(&self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// Another source of chance, for one who shall not disturb this one.
    pub fn split(&self) -> Rng {
        Rng(self.rng.borrow_mut().next())
    }

    pub fn new_owner(&self) -> Owner {
        self.owners.set(self.owners.get() + 1);
        self.owners.get()
    }

    /// Adds to what two runs of one seed must have in common.
    pub fn mix(&self, value: u64) {
        self.hash.set((self.hash.get() ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(29));
    }

    pub fn hash(&self) -> u64 {
        self.hash.get()
    }

    /// Tells what happened, if anybody listens.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut *self.story.borrow_mut() {
            let ms = self.passed_ms();
            story.push(format!("{:>6}.{:03} {:.300}", ms / 1000, ms % 1000, what()));
        }
    }

    pub fn story(&self) -> Vec<String> {
        self.story.borrow().clone().unwrap_or_default()
    }

    pub fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + 'static) {
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let waker = Arc::new(TaskWaker { id, is_queued: AtomicBool::new(true), ready: self.ready.clone() });
        let task = Task { owner, waker, future: Some(future.boxed_local()) };
        self.tasks.borrow_mut().insert(id, task);
        self.ready.lock().unwrap().push(id);
    }

    /// Drops every task of an owner where it stands. Not to be called by one of them.
    pub fn kill(&self, owner: Owner) {
        self.frozen.borrow_mut().remove(&owner);
        let gone: BTreeMap<u64, Task> = {
            let mut tasks = self.tasks.borrow_mut();
            let ids: Vec<u64> =
                tasks.iter().filter(|(_, task)| task.owner == owner).map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| Some((id, tasks.remove(&id)?))).collect()
        };
        // In the order they began, so that what dropping wakes is woken in the same order each time.
        drop(gone);
    }

    /// A device that sleeps: nothing of it runs, its timers are late.
    pub fn freeze(&self, owner: Owner) {
        self.frozen.borrow_mut().insert(owner);
    }

    pub fn thaw(&self, owner: Owner) {
        self.frozen.borrow_mut().remove(&owner);
    }

    pub fn sleep(self: &Rc<Self>, ms: u64) -> LocalBoxFuture<'static, ()> {
        let timer: Rc<Timer> = Rc::default();
        let no = self.next_timer.get();
        self.next_timer.set(no + 1);
        let due = Due(self.now_ms.get() + ms, no, Rc::downgrade(&timer));
        self.timers.borrow_mut().push(Reverse(due));
        Sleep(timer).boxed_local()
    }

    /// Runs until this many milliseconds have passed since the beginning. `on_idle` is called when
    /// nothing is ready, before the clock is moved.
    pub fn run_until(&self, until_ms: u64, on_idle: &dyn Fn()) {
        loop {
            while let Some(id) = self.next_ready() {
                self.poll(id);
            }
            on_idle();
            if let Some(id) = self.next_ready() {
                self.poll(id);
                continue;
            }
            let until = BEGIN_MS + until_ms;
            let due = loop {
                match self.timers.borrow_mut().pop() {
                    // Nobody waits for it any more.
                    Some(Reverse(Due(_, _, timer))) if timer.strong_count() == 0 => {}
                    due => break due,
                }
            };
            match due {
                Some(Reverse(due)) if due.0 <= until => {
                    self.now_ms.set(self.now_ms.get().max(due.0));
                    if let Some(timer) = due.2.upgrade() {
                        timer.is_over.set(true);
                        if let Some(waker) = timer.waker.take() {
                            waker.wake();
                        }
                    }
                }
                due => {
                    if let Some(due) = due {
                        self.timers.borrow_mut().push(due);
                    }
                    self.now_ms.set(until.max(self.now_ms.get()));
                    return;
                }
            }
        }
    }

    fn next_ready(&self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap();
        if ready.is_empty() {
            return None;
        }
        let frozen = self.frozen.borrow();
        let from = self.below(ready.len());
        if frozen.is_empty() {
            return Some(ready.swap_remove(from));
        }
        let tasks = self.tasks.borrow();
        let count = ready.len();
        let at = (0..count)
            .map(|step| (from + step) % count)
            .find(|&at| tasks.get(&ready[at]).is_none_or(|task| !frozen.contains(&task.owner)))?;
        Some(ready.swap_remove(at))
    }

    fn poll(&self, id: u64) {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else { return };
            task.waker.is_queued.store(false, Ordering::Relaxed);
            let Some(future) = task.future.take() else { return };
            (future, task.waker.clone())
        };
        self.polls.set(self.polls.get() + 1);
        let (now, count) = self.at_once.get();
        let count = if now == self.now_ms.get() { count + 1 } else { 0 };
        self.at_once.set((self.now_ms.get(), count));
        assert!(count < AT_ONCE, "something goes on and on at {}", self.passed_ms());
        self.mix(id ^ (self.now_ms.get() << 20));
        let waker = Waker::from(waker);
        let is_over = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let done = {
            let mut tasks = self.tasks.borrow_mut();
            match tasks.get_mut(&id) {
                Some(task) if !is_over => {
                    task.future = Some(future);
                    None
                }
                _ => Some((tasks.remove(&id), future)),
            }
        };
        drop(done);
    }
}

struct Sleep(Rc<Timer>);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.is_over.get() {
            return Poll::Ready(());
        }
        *self.0.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// One device's view of the machine: a clock that may be wrong and be put right, and its own chance.
pub struct SimPlatform {
    sim: Rc<Sim>,
    rng: RefCell<Rng>,
    pub skew_ms: Cell<f64>,
}

impl SimPlatform {
    pub fn new(sim: &Rc<Sim>) -> Rc<Self> {
        Rc::new(Self { sim: sim.clone(), rng: RefCell::new(sim.split()), skew_ms: Cell::new(0.0) })
    }
}

impl Platform for SimPlatform {
    fn now_ms(&self) -> f64 {
        self.sim.now_ms.get() as f64 + self.skew_ms.get()
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        let mut rng = self.rng.borrow_mut();
        for byte in bytes {
            *byte = rng.next() as u8;
        }
    }

    fn sleep(&self, ms: u32) -> LocalBoxFuture<'static, ()> {
        if ms == 0 {
            return crate::kit::faulty_store::turn().boxed_local();
        }
        self.sim.sleep(u64::from(ms))
    }
}
