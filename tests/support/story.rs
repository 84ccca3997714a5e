//! A replication on a clock that moves only when a test moves it.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Poll, Waker},
};

use futures::{
    FutureExt,
    executor::block_on,
    future::{LocalBoxFuture, poll_fn},
};
use serde_json::json;
use settee::{
    database::Database,
    platform::Platform,
    replicate::{Handle, Phase, State},
};

use super::{
    shaky::{Running, Shaky},
    support::*,
};

pub const START_MS: f64 = 1_000_000.0;

/// A platform whose time stands still until it is told how much has passed.
pub struct Clock {
    pub now_ms: Cell<f64>,
    sleepers: Rc<RefCell<Vec<Waker>>>,
    random: Rc<SeededPlatform>,
}

impl Clock {
    pub fn new() -> Rc<Self> {
        let random = SeededPlatform::new(3);
        Rc::new(Self { now_ms: Cell::new(START_MS), sleepers: Rc::default(), random })
    }
}

/// A clock as a platform: the sleeps need it for longer than a call lasts.
pub struct Clocked(Rc<Clock>);

impl Platform for Clocked {
    fn now_ms(&self) -> f64 {
        self.0.now_ms.get()
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        self.0.random.random_bytes(bytes);
    }

    fn sleep(&self, ms: u32) -> LocalBoxFuture<'static, ()> {
        let clock = self.0.clone();
        let until_ms = clock.now_ms.get() + f64::from(ms);
        poll_fn(move |context| {
            if clock.now_ms.get() >= until_ms {
                return Poll::Ready(());
            }
            clock.sleepers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .boxed_local()
    }
}

pub struct Story {
    pub clock: Rc<Clock>,
    pub running: Running,
}

impl Story {
    pub fn start(source: &Rc<Shaky>, target: &Rc<Shaky>, with: serde_json::Value) -> Self {
        let clock = Clock::new();
        let running = Running::start_on(Rc::new(Clocked(clock.clone())), source, target, with);
        Self { clock, running }
    }

    pub fn turns(&mut self) {
        self.running.turns(300);
    }

    pub fn pass(&mut self, ms: u32) {
        self.clock.now_ms.set(self.clock.now_ms.get() + f64::from(ms));
        self.clock.sleepers.take().into_iter().for_each(Waker::wake);
        self.turns();
    }

    pub fn handle(&self) -> &Handle {
        &self.running.handle
    }

    pub fn state(&self) -> State {
        self.handle().state()
    }

    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Every phase that it is in from now on, as whoever listens sees it.
    pub fn phases(&self) -> Rc<RefCell<Vec<Phase>>> {
        let seen: Rc<RefCell<Vec<Phase>>> = Rc::default();
        let (log, handle) = (seen.clone(), self.handle().clone());
        self.handle().on_change(move || {
            let phase = handle.state().phase;
            if log.borrow().last() != Some(&phase) {
                log.borrow_mut().push(phase);
            }
        });
        seen
    }

    pub fn is_pushed(&self, id: &str) -> bool {
        block_on(self.handle().is_pushed(id)).unwrap()
    }

    pub fn told(&self, event: &str) -> usize {
        self.running.events.borrow().iter().filter(|told| *told == event).count()
    }
}

pub fn pair(source: &Database, target: &Database) -> (Rc<Shaky>, Rc<Shaky>) {
    (Shaky::new(source, "a"), Shaky::new(target, "b"))
}

pub fn live() -> serde_json::Value {
    json!({"live": true, "retry": true})
}

/// Two sides that are servers.
pub fn servers(source: &Database, target: &Database) -> (Rc<Shaky>, Rc<Shaky>) {
    let (source, target) = pair(source, target);
    is_life(&source, "1700000000");
    is_life(&target, "1700000001");
    (source, target)
}

pub fn is_life(peer: &Rc<Shaky>, instance: &str) {
    *peer.instance.borrow_mut() = Some(instance.to_owned());
}
