//! What all databases of one server share while they wait for changes.
//!
//! Few channels each have a waiting request of their own. More than there are connections for would keep
//! everything else waiting, so then one request stands for all, if the server tells this user which of its
//! databases moved ([`Moves`]); otherwise the visible ones wait as far as there are connections, and the rest
//! are asked in turn, the busy ones more often.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, LocalBoxFuture, Shared, pending, select},
};
use serde_json::Value;

use super::{
    known::Known,
    slots::{CONNECTIONS, Slots},
};
use crate::{error::Pending, platform::Platform};

/// Between two questions about one of many channels, times their number: fifty are each asked every four
/// and a half seconds, eleven questions a second in all, however many they are.
const TURN_MS: f64 = 90.0;

/// However few they are: a change arrives within five seconds.
const SHORTEST_TURN_MS: f64 = 4_500.0;

/// A channel that is visible, or had changes lately, is asked so many times as often.
const FAVOUR: f64 = 3.0;

/// How long a channel counts as busy after a change.
const BUSY_MS: f64 = 20_000.0;

/// A server that does not tell which databases moved is asked for it again after this time.
const MOVES_AGAIN_MS: f64 = 600_000.0;

/// The same where it does and the line broke.
const MOVES_BROKEN_MS: f64 = 5_000.0;

/// A channel of which nothing was told for so long is asked all the same: a server may forget to tell.
const UNTOLD_MS: f64 = 600_000.0;

/// Port: which databases moved, from a feed that stands for all of them. CouchDB's `_db_updates`, where
/// the user may read it.
pub trait Moves {
    /// Where that feed ends now.
    ///
    /// Errors: any, where there is none or this user may not read it.
    fn now(&self) -> Pending<'_, Value>;

    /// Those that moved after `since`, and where to go on. Waits until one does.
    fn after<'a>(&'a self, since: &'a Value) -> Pending<'a, (Vec<Move>, Value)>;
}

/// What a feed of moves tells.
#[derive(Clone, Debug)]
pub struct Move {
    /// The database that moved.
    pub name: String,
    /// It was made or deleted, so that it may be another one of that name.
    pub is_other: bool,
}

/// How a channel is to look for changes.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// By a waiting request of its own.
    Wait,
    /// By asking now, without waiting.
    Ask,
    /// Not at all: the time is over and it did not move.
    Rest,
}

/// The servers that are in use, so that databases on one share its [`Origin`].
#[derive(Default)]
pub struct Origins {
    slots: RefCell<HashMap<String, Weak<Slots>>>,
    origins: RefCell<HashMap<(String, String), Weak<Origin>>>,
}

impl Origins {
    /// The server at `root` as `user` sees it; made by `make` if it is in use by nobody. Users of one server
    /// share its connections.
    pub fn get(&self, root: &str, user: &str, make: impl FnOnce(Rc<Slots>) -> Rc<Origin>) -> Rc<Origin> {
        let mut origins = self.origins.borrow_mut();
        origins.retain(|_, origin| origin.strong_count() > 0);
        let key = (root.to_owned(), user.to_owned());
        if let Some(origin) = origins.get(&key).and_then(Weak::upgrade) {
            return origin;
        }
        let host: String = root.split_inclusive('/').take(3).collect();
        let host = host.trim_end_matches('/').to_owned();
        let mut all = self.slots.borrow_mut();
        all.retain(|_, slots| slots.strong_count() > 0);
        let slots = all.get(&host).and_then(Weak::upgrade).unwrap_or_else(|| Slots::new(CONNECTIONS));
        all.insert(host, Rc::downgrade(&slots));
        let origin = make(slots);
        origins.insert(key, Rc::downgrade(&origin));
        origin
    }
}

/// One server, for one user. See the module's page.
pub struct Origin {
    slots: Rc<Slots>,
    platform: Rc<dyn Platform>,
    channels: RefCell<Vec<Weak<Channel>>>,
    moves: Option<Rc<dyn Moves>>,
    /// Whether the feed of moves runs, so that who was not told has not moved.
    is_told: Cell<bool>,
    /// When to try that feed, at the earliest.
    moves_at_ms: Cell<f64>,
    telling: RefCell<Option<Shared<LocalBoxFuture<'static, ()>>>>,
}

/// One database's part of an [`Origin`].
pub struct Channel {
    origin: Rc<Origin>,
    name: String,
    /// What the database there is known to have, shared by all who use it.
    pub known: Rc<Known>,
    is_visible: Rc<Cell<bool>>,
    /// Whether it ever waited for changes. One that does not is no channel to care for.
    is_live: Cell<bool>,
    /// It may have changed since it was asked.
    is_due: Cell<bool>,
    /// It was last told to wait by itself, and holds a connection for that.
    has_line: Cell<bool>,
    asked_ms: Cell<f64>,
    moved_ms: Cell<f64>,
    bell: RefCell<Option<oneshot::Sender<()>>>,
    /// It may be another database now, which nobody has looked into yet.
    is_doubted: Cell<bool>,
    doubts: RefCell<Option<oneshot::Sender<()>>>,
}

impl Origin {
    /// A server whose connections are `slots`. `moves` where it may tell which databases moved.
    pub fn new(slots: Rc<Slots>, platform: Rc<dyn Platform>, moves: Option<Rc<dyn Moves>>) -> Rc<Self> {
        Rc::new(Self {
            slots,
            platform,
            channels: RefCell::default(),
            moves,
            is_told: Cell::new(false),
            moves_at_ms: Cell::new(f64::MIN),
            telling: RefCell::default(),
        })
    }

    /// The database of this name, as the server spells it in its feed of moves.
    pub fn channel(self: &Rc<Self>, name: &str) -> Rc<Channel> {
        let others = self.channels.borrow().iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
        let same = others.iter().find(|channel| channel.name == name);
        let channel = Rc::new(Channel {
            origin: self.clone(),
            name: name.to_owned(),
            known: same.map_or_else(Rc::default, |channel| channel.known.clone()),
            is_visible: Rc::default(),
            is_live: Cell::new(false),
            is_due: Cell::new(true),
            has_line: Cell::new(false),
            asked_ms: Cell::new(f64::MIN),
            moved_ms: Cell::new(f64::MIN),
            bell: RefCell::default(),
            is_doubted: Cell::default(),
            doubts: RefCell::default(),
        });
        self.channels.borrow_mut().push(Rc::downgrade(&channel));
        channel
    }

    fn all(&self) -> Vec<Rc<Channel>> {
        let mut channels = self.channels.borrow_mut();
        channels.retain(|channel| channel.strong_count() > 0);
        channels.iter().filter_map(Weak::upgrade).collect()
    }

    fn live(&self) -> Vec<Rc<Channel>> {
        self.all().into_iter().filter(|channel| channel.is_live.get()).collect()
    }

    /// Ends the feed of moves where nobody is left to listen for.
    fn settle(&self) {
        if self.live().is_empty() {
            let telling = self.telling.take();
            self.is_told.set(false);
            drop(telling);
        }
    }

    /// Resolves never, but keeps the feed of moves going, if there is one, as long as somebody polls it.
    fn telling(self: &Rc<Self>) -> LocalBoxFuture<'static, ()> {
        let Some(moves) = self.moves.clone() else { return pending().boxed_local() };
        let mut telling = self.telling.borrow_mut();
        if telling.is_none() && self.platform.now_ms() < self.moves_at_ms.get() {
            return pending().boxed_local();
        }
        let shared = telling.get_or_insert_with(|| {
            tell(Rc::downgrade(self), self.platform.clone(), moves).boxed_local().shared()
        });
        // One that has ended must not end who waits beside it.
        shared.clone().then(|()| pending()).boxed_local()
    }

    fn moved(&self, moves: &[Move]) {
        for channel in self.all() {
            for one in moves.iter().filter(|one| one.name == channel.name) {
                if channel.is_live.get() {
                    channel.moved();
                }
                if one.is_other {
                    channel.be_doubted();
                }
            }
        }
    }
}

/// Listens for moves until the origin is gone or the feed fails.
async fn tell(origin: Weak<Origin>, platform: Rc<dyn Platform>, moves: Rc<dyn Moves>) {
    let mut again_ms = MOVES_AGAIN_MS;
    if let Ok(mut since) = moves.now().await {
        again_ms = MOVES_BROKEN_MS;
        // What moved before the feed began is found by asking everybody once.
        let Some(now) = origin.upgrade() else { return };
        now.is_told.set(true);
        now.live().iter().for_each(|channel| channel.moved());
        drop(now);
        while let Ok((moved, next)) = moves.after(&since).await {
            let Some(now) = origin.upgrade() else { return };
            now.moved(&moved);
            since = next;
        }
    }
    let Some(origin) = origin.upgrade() else { return };
    origin.is_told.set(false);
    origin.moves_at_ms.set(platform.now_ms() + again_ms);
    origin.telling.take();
    // They waited to be told.
    origin.live().iter().for_each(|channel| channel.moved());
}

impl Channel {
    /// The user looks at this one, or no longer does.
    pub fn set_visible(&self, is_visible: bool) {
        if self.is_visible.replace(is_visible) != is_visible {
            self.moved();
        }
    }

    /// Whether the user looks at it, as long as it lives.
    pub fn visibility(&self) -> Rc<Cell<bool>> {
        self.is_visible.clone()
    }

    /// Its server's connections.
    pub fn slots(&self) -> &Rc<Slots> {
        &self.origin.slots
    }

    /// Nobody waits for it any more, or for now: it is no channel to care for.
    pub fn rest(&self) {
        self.is_live.set(false);
        self.has_line.set(false);
        self.is_due.set(true);
        self.origin.settle();
    }

    /// It had changes when it was asked, so that more may follow soon.
    pub fn had_changes(&self) {
        self.moved_ms.set(self.origin.platform.now_ms());
    }

    /// It was found to be another database: whoever else uses it wants to look.
    pub fn doubt(&self) {
        let others = self.origin.all();
        let others = others.iter().filter(|other| other.name == self.name && !std::ptr::eq(&***other, self));
        others.for_each(|other| other.be_doubted());
    }

    fn be_doubted(&self) {
        self.is_doubted.set(true);
        if let Some(bell) = self.doubts.take() {
            // Nobody may wait just now; then the next one looks.
            let _ = bell.send(());
        }
    }

    /// Resolves when it may be another database, as others found.
    pub async fn doubted(&self) {
        while !self.is_doubted.take() {
            let (bell, rung) = oneshot::channel();
            *self.doubts.borrow_mut() = Some(bell);
            if rung.await.is_err() {
                // Somebody else waits in our place.
                pending::<()>().await;
            }
        }
    }

    /// It may have moved: whoever waits looks at once.
    fn moved(&self) {
        self.is_due.set(true);
        if let Some(bell) = self.bell.take() {
            // Nobody may wait just now; then the next one looks.
            let _ = bell.send(());
        }
    }

    /// Tells how to look for changes when it is time to, after `wait_ms` at the latest. A future that is
    /// dropped leaves the channel due: whoever drops it has been woken, and wants to know now.
    pub async fn look(&self, wait_ms: u32) -> Look {
        let origin = &self.origin;
        self.is_live.set(true);
        let until_ms = origin.platform.now_ms() + f64::from(wait_ms);
        loop {
            let others = origin.live();
            let lines = origin.slots.lines();
            let is_seen = self.is_visible.get() && !origin.is_told.get();
            self.has_line.set(false);
            let taken = others.iter().filter(|channel| channel.has_line.get()).count();
            if others.len() <= lines || (is_seen && taken < lines) {
                self.has_line.set(true);
                return Look::Wait;
            }
            let now_ms = origin.platform.now_ms();
            if self.is_due.take() {
                self.asked_ms.set(now_ms);
                return Look::Ask;
            }
            // In case this future is dropped.
            self.is_due.set(true);
            let is_told = origin.is_told.get();
            let next_ms =
                if is_told { until_ms } else { self.asked_ms.get() + self.turn_ms(others.len(), now_ms) };
            drop(others);
            let (bell, rung) = oneshot::channel();
            *self.bell.borrow_mut() = Some(bell);
            let pause = origin.platform.sleep((next_ms - now_ms).clamp(0.0, f64::from(wait_ms)) as u32);
            let woken = select(rung, select(pause, origin.telling())).await;
            let is_rested = matches!(woken, Either::Right(_)) && is_told;
            if is_rested && origin.platform.now_ms() - self.asked_ms.get() < UNTOLD_MS {
                self.is_due.set(false);
                return Look::Rest;
            }
        }
    }

    fn turn_ms(&self, channels: usize, now_ms: f64) -> f64 {
        let turn = (TURN_MS * channels as f64).max(SHORTEST_TURN_MS);
        let is_busy = now_ms - self.moved_ms.get() < BUSY_MS;
        if self.is_visible.get() || is_busy { turn / FAVOUR } else { turn }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.origin.settle();
    }
}
