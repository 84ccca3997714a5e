//! The handle by which a replication is watched and steered, and the state it tells.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use serde::Serialize;

use super::{
    checkpoint::{self, Instances},
    denied::{Denied, Retry},
    feed::{FETCH_DOCS, Worth},
    id::replication_id,
    options::Options,
    report::Summary,
    suspects::Suspects,
};
use crate::{
    error::{Error, Result},
    model::Seq,
    peer::{ChangesQuery, Peer},
    platform::Platform,
};

/// How many changes a question about one document looks at in one go.
const LOOK_UP_PAGE: usize = 1_000;

/// What a replication is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Asking both sides who they are and reading checkpoints.
    Connecting,
    /// Moving documents.
    CatchingUp,
    /// Live and done so far: waiting for a change.
    Live,
    /// No CouchDB was reached: no network, no server, or something else that answers in its place.
    /// Tried again by back-off and at wake-ups, until then this phase stays.
    Offline,
    /// The server was reached and answered badly or too late (5xx, 429, 408, no answer in time). Tried
    /// again by back-off, and not before it said.
    Waiting,
    /// 401: somebody has to log in. Goes on after [`Handle::resume`], a wake-up or by back-off.
    NeedsAuth,
    /// Held by [`Handle::pause`] (no error), or the target has no room (507, the error says so): then
    /// tried again by back-off, at wake-ups and after [`Handle::resume`].
    Paused,
    /// Over: all done or cancelled; the summary's status says which.
    Stopped,
    /// Over: an error that waiting does not mend.
    Failed,
}

/// How a replication stands, as a whole.
#[derive(Clone, Debug)]
pub struct State {
    /// What it is doing.
    pub phase: Phase,
    /// Since when, milliseconds since 1970. Attempts that fail in the same way do not begin it anew.
    pub since_ms: f64,
    /// How many changes are still to go over, with those under way; `None` if nobody knows. A source on
    /// this device is counted while nothing moves, too. With a selector or a list of documents it is at
    /// most so many.
    pub pending: Option<u64>,
    /// Bytes of documents and attachments that the target stored.
    pub bytes: u64,
    /// What it has done.
    pub summary: Summary,
    /// The last error, until the next success.
    pub error: Option<Error>,
    /// When the next attempt comes by itself, milliseconds since 1970; `None` while it runs or waits for
    /// nothing.
    pub retry_at_ms: Option<f64>,
    /// How many revisions the sealed channel at its end keeps aside because they did not prove themselves.
    /// Of two such ends, the sum.
    pub quarantined: u64,
}

/// Watches and steers a replication. Clones are the same handle.
#[derive(Clone)]
pub struct Handle {
    job: Rc<Job>,
}

impl Handle {
    /// Ends it: what is under way is dropped, the future resolves with status `cancelled`. What was
    /// stored stays; what a checkpoint says stays true. Idempotent.
    pub fn cancel(&self) {
        self.job.cancelled.set(true);
        self.job.steer.raise();
    }

    /// Something changed for the better (online, visible again): a pause after a failure ends now, a
    /// waiting line is asked anew in case it died unnoticed, and pauses start small again. A pause that
    /// the server asked for (`Retry-After`) is kept.
    pub fn wake(&self) {
        self.job.wake.raise();
    }

    /// Holds it until [`Handle::resume`]: what is under way is dropped, as [`Handle::cancel`] does, and
    /// comes again from the last checkpoint. Idempotent.
    pub fn pause(&self) {
        self.job.held.set(true);
        self.job.steer.raise();
    }

    /// Goes on after [`Handle::pause`], a login or when there is room again. Wakes it if it was not
    /// paused. Documents that were denied are tried once more: if there are any, what is under way is
    /// dropped and it begins at the last checkpoint.
    pub fn resume(&self) {
        self.job.held.set(false);
        self.job.resumed.set(true);
        self.job.retry_denied.set(Retry::All);
        self.job.anew.set(!self.job.denied.borrow().is_empty());
        self.job.steer.raise();
        self.job.wake.raise();
    }

    /// How it stands. From now on the listener is told of the next change.
    pub fn state(&self) -> State {
        self.job.is_told.set(false);
        self.job.state.borrow().clone()
    }

    /// Tells `listener` when the state has changed: once, and again only after [`Handle::state`] was
    /// called, so that many changes in a row are told together. It may call back. One listener; a second
    /// one takes the first one's place.
    pub fn on_change(&self, listener: impl Fn() + 'static) {
        *self.job.listener.borrow_mut() = Some(Rc::new(listener));
    }

    /// Whether nothing of a document is left to go over: every change of it has been dealt with and none
    /// was denied. A document that the source does not have has nothing left either; one that this
    /// replication does not ask for never goes over. Before the first attempt got through, the source's
    /// checkpoint answers.
    ///
    /// Errors: whatever asking the source fails with.
    pub async fn is_pushed(&self, id: &str) -> Result<bool> {
        let job = &*self.job;
        if job.options.doc_ids.as_ref().is_some_and(|ids| !ids.iter().any(|known| known == id)) {
            return Ok(false);
        }
        let place = job.last_place().await?;
        let (is_denied, unsure_from) = {
            let denied = job.denied.borrow();
            (denied.has(id), denied.from.clone())
        };
        if is_denied {
            return Ok(false);
        }
        let query = ChangesQuery { doc_ids: Some(vec![id.to_owned()]), ..job.options.query() };
        let is_unsure = unsure_from.is_some();
        let mut since = unsure_from.unwrap_or(place);
        loop {
            let mut page = job.source.changes(&query, &since, LOOK_UP_PAGE, None).await?;
            if let Some(change) = page.results.pop() {
                // More documents were denied than are remembered one by one: the target knows.
                return Ok(
                    is_unsure && job.target.revs_diff(vec![(change.id, change.leaves)]).await?.is_empty()
                );
            }
            if page.pending.is_none_or(|pending| pending == 0) || page.last_seq == since {
                return Ok(true);
            }
            since = page.last_seq;
        }
    }

    pub(super) fn new(job: &Rc<Job>) -> Self {
        Self { job: job.clone() }
    }
}

/// A replication's question, and what its handle and its work share.
pub(super) struct Job {
    pub source: Rc<dyn Peer>,
    pub target: Rc<dyn Peer>,
    pub platform: Rc<dyn Platform>,
    pub options: Options,
    /// Up to where the target has everything, once an attempt knows.
    pub place: RefCell<Option<Seq>>,
    /// How many documents the next request for revisions names.
    pub fetch_docs: Cell<usize>,
    /// Whether documents are asked for along with changes.
    pub worth: Cell<Worth>,
    pub denied: RefCell<Denied>,
    pub suspects: RefCell<Suspects>,
    /// Which life of both sides that place and those documents are of.
    pub instances: RefCell<Instances>,
    /// Whether each side remembers this replication, as far as the attempt knows.
    pub has_logs: Cell<[bool; 2]>,
    /// Under which name it found its checkpoints last.
    pub known_id: RefCell<String>,
    /// What of it the next attempt tries again.
    pub retry_denied: Cell<Retry>,
    state: RefCell<State>,
    listener: RefCell<Option<Rc<dyn Fn()>>>,
    is_told: Cell<bool>,
    cancelled: Cell<bool>,
    held: Cell<bool>,
    /// The attempt under way is to be dropped for another one.
    anew: Cell<bool>,
    /// Set by [`Handle::resume`], for a pause after a failure to know.
    pub resumed: Cell<bool>,
    steer: Signal,
    wake: Signal,
}

impl Job {
    pub fn new(
        source: Rc<dyn Peer>,
        target: Rc<dyn Peer>,
        platform: Rc<dyn Platform>,
        options: Options,
        summary: Summary,
    ) -> Self {
        let state = State {
            phase: Phase::Connecting,
            since_ms: platform.now_ms(),
            pending: None,
            bytes: 0,
            summary,
            error: None,
            retry_at_ms: None,
            quarantined: 0,
        };
        Self {
            source,
            target,
            platform,
            options,
            place: RefCell::default(),
            fetch_docs: Cell::new(FETCH_DOCS),
            worth: Cell::default(),
            denied: RefCell::default(),
            suspects: RefCell::default(),
            instances: RefCell::default(),
            has_logs: Cell::default(),
            known_id: RefCell::default(),
            retry_denied: Cell::new(Retry::Light),
            state: RefCell::new(state),
            listener: RefCell::default(),
            is_told: Cell::new(false),
            cancelled: Cell::new(false),
            held: Cell::new(false),
            anew: Cell::new(false),
            resumed: Cell::new(false),
            steer: Signal::default(),
            wake: Signal::default(),
        }
    }

    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let out = change(&mut self.state.borrow_mut());
        if !self.is_told.replace(true) {
            let listener = self.listener.borrow().clone();
            listener.inspect(|listener| listener());
        }
        out
    }

    pub fn enter(&self, phase: Phase) {
        if self.phase() != phase {
            let since_ms = self.platform.now_ms();
            self.update(|state| (state.phase, state.since_ms) = (phase, since_ms));
        }
    }

    pub async fn cancelled(&self) {
        while !self.cancelled.get() {
            self.steer.next().await;
        }
    }

    /// Resolves when what is under way is to be dropped. True if it is held then.
    pub async fn interrupted(&self) -> bool {
        loop {
            if self.held.get() || self.anew.take() {
                return self.held.get();
            }
            self.steer.next().await;
        }
    }

    /// Resolves when it is not held.
    pub async fn resumed(&self) {
        while self.held.get() {
            self.steer.next().await;
        }
    }

    pub fn woken(&self) -> impl Future<Output = ()> + '_ {
        self.wake.next()
    }

    pub async fn id(&self) -> Result<String> {
        let (source, target) = (self.source.identity().await?, self.target.identity().await?);
        let code = match self.options.filter_function() {
            Some(filter) => self.source.filter_code(filter).await?,
            None => None,
        };
        let id = replication_id(&source, &target, &self.options, code.as_deref());
        if self.known_id.replace(id.clone()) != id {
            // Its filter function was edited: what it left out may count now.
            self.place.take();
        }
        Ok(id)
    }

    /// Up to where the target has everything, as far as can be told without asking it.
    pub async fn last_place(&self) -> Result<Seq> {
        if let Some(place) = &*self.place.borrow() {
            return Ok(place.clone());
        }
        if self.options.checkpoint.on_source()
            && let Some(log) = self.source.local_doc(&self.id().await?).await?
        {
            self.denied.borrow_mut().load(&log.body);
            return Ok(checkpoint::passed_seq(&log.body));
        }
        Ok(self.options.since.clone().filter(|since| since.0 != "now").unwrap_or_else(Seq::zero))
    }
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
