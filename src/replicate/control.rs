//! The handle by which a replication is watched, woken and cancelled.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use super::report::Summary;
use crate::error::Error;

/// What a replication is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asking both sides who they are and reading checkpoints.
    Connecting,
    /// Moving documents.
    CatchingUp,
    /// Live and done so far: waiting for a change.
    Live,
    /// Waiting for the next attempt after a failure.
    Waiting,
    /// Over: all done.
    Complete,
    /// Over: cancelled.
    Cancelled,
    /// Over: an error that waiting does not mend.
    Failed,
}

/// How a replication stands, as a whole.
#[derive(Clone, Debug)]
pub struct State {
    /// What it is doing.
    pub phase: Phase,
    /// What it has done.
    pub summary: Summary,
    /// The last error, until the next success.
    pub error: Option<Error>,
}

/// Watches and steers a replication. Clones are the same handle.
#[derive(Clone)]
pub struct Handle {
    shared: Rc<Shared>,
}

impl Handle {
    /// Ends it: what is under way is dropped, the future resolves with status `cancelled`. What was
    /// stored stays; what a checkpoint says stays true. Idempotent.
    pub fn cancel(&self) {
        self.shared.cancelled.set(true);
        self.shared.cancel.raise();
    }

    /// Something changed for the better (online, visible again): a pause after a failure ends now, a
    /// waiting line is asked anew in case it died unnoticed, and pauses start small again.
    pub fn wake(&self) {
        self.shared.wake.raise();
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    pub(super) fn new(summary: Summary) -> Self {
        let state = State { phase: Phase::Connecting, summary, error: None };
        Self {
            shared: Rc::new(Shared {
                state: RefCell::new(state),
                cancelled: Cell::new(false),
                cancel: Signal::default(),
                wake: Signal::default(),
            }),
        }
    }

    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.borrow_mut())
    }

    pub(super) async fn cancelled(&self) {
        while !self.shared.cancelled.get() {
            self.shared.cancel.next().await;
        }
    }

    pub(super) fn woken(&self) -> impl Future<Output = ()> + '_ {
        self.shared.wake.next()
    }
}

struct Shared {
    state: RefCell<State>,
    cancelled: Cell<bool>,
    cancel: Signal,
    wake: Signal,
}

/// Something that happens now and then, for whoever waits at that moment.
#[derive(Default)]
struct Signal {
    count: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    fn raise(&self) {
        self.count.set(self.count.get() + 1);
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Resolves at the next [`Signal::raise`] after this call.
    fn next(&self) -> impl Future<Output = ()> + '_ {
        let seen = self.count.get();
        poll_fn(move |context| {
            if self.count.get() != seen {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            // The same task polls again and again while it waits for other things.
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}
