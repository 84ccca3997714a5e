//! The replication itself: attempts, and what happens in one.

use std::{cell::Cell, rc::Rc};

use futures::{
    FutureExt, StreamExt,
    future::{Either, join, select},
    pin_mut,
};

use super::{
    Event, Handle, Options, Phase, Progress, Status, Summary,
    backoff::Pauses,
    checkpoint::{Logs, Recorded},
    clock,
    feed::{Batch, Feed, Item},
    id::replication_id,
    report::DocRev,
    transfer::Transfer,
};
use crate::{
    error::{Error, Kind, Result},
    model::{Seq, hex},
    peer::Peer,
    platform::Platform,
};

/// Starts to replicate `source` into `target`. Nothing happens until the future is polled; dropping it
/// ends the replication where it stands, as [`Handle::cancel`] does.
///
/// With `retry`, what may pass by itself (no network, a server that is overloaded or restarting) is
/// waited out. Everything else ends it: no login, no database, no room.
///
/// Errors: the one that ended it. [`Handle::state`] still has the summary then.
/// Atomic: each document on its own; a checkpoint is written only after everything it speaks for.
pub fn replicate(
    source: Rc<dyn Peer>,
    target: Rc<dyn Peer>,
    platform: Rc<dyn Platform>,
    options: Options,
    on_event: Rc<dyn Fn(Event)>,
) -> (Handle, impl Future<Output = Result<Summary>> + 'static) {
    let handle = Handle::new(Summary {
        ok: true,
        status: Status::Active,
        start_time: clock::iso8601(platform.now_ms()),
        end_time: None,
        docs_read: 0,
        docs_written: 0,
        doc_write_failures: 0,
        errors: Vec::new(),
        last_seq: Seq::zero(),
        pending: None,
    });
    let replication = Replication {
        source,
        target,
        platform,
        options,
        handle: handle.clone(),
        on_event,
        told: Cell::new(Told::Nothing),
    };
    (handle, replication.run())
}

struct Replication {
    source: Rc<dyn Peer>,
    target: Rc<dyn Peer>,
    platform: Rc<dyn Platform>,
    options: Options,
    handle: Handle,
    on_event: Rc<dyn Fn(Event)>,
    /// The last of `active` and `paused` that was told, so that neither is told twice.
    told: Cell<Told>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Active,
    Done,
    Failed,
}

/// Why an attempt ended before its work did.
enum Halt {
    Failed(Error),
    /// A side forgot its checkpoint: what was agreed at the start no longer holds.
    Lost,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Replication {
    async fn run(self) -> Result<Summary> {
        let outcome = {
            let cancelled = self.handle.cancelled().boxed_local();
            match select(cancelled, self.attempts().boxed_local()).await {
                Either::Left(_) => None,
                Either::Right((outcome, _)) => Some(outcome),
            }
        };
        let (phase, status) = match &outcome {
            None => (Phase::Cancelled, Status::Cancelled),
            Some(Ok(())) => (Phase::Complete, Status::Complete),
            Some(Err(_)) => (Phase::Failed, Status::Aborting),
        };
        let end_time = clock::iso8601(self.platform.now_ms());
        let error = outcome.and_then(Result::err);
        let summary = self.handle.update(|state| {
            state.phase = phase;
            state.error = error.clone();
            state.summary.ok = error.is_none();
            state.summary.status = status;
            state.summary.end_time = Some(end_time);
            state.summary.clone()
        });
        error.map_or(Ok(summary), Err)
    }

    async fn attempts(&self) -> Result<()> {
        let mut pauses = Pauses::new(self.options.back_off.clone());
        // How far the work has come, for the next attempt where no checkpoint says it.
        let mut position = None;
        loop {
            self.enter(Phase::Connecting);
            let error = match self.attempt(&mut pauses, &mut position).await {
                Ok(()) => return Ok(()),
                Err(Halt::Lost) => {
                    position = None;
                    self.platform.sleep(pauses.next_ms(&*self.platform)).await;
                    continue;
                }
                Err(Halt::Failed(error)) => error,
            };
            if !self.options.retry || !error.is_retryable() {
                return Err(error);
            }
            self.handle.update(|state| {
                state.phase = Phase::Waiting;
                state.error = Some(error.clone());
            });
            // Before the caller is told, who may wake us at once.
            let woken = self.handle.woken().boxed_local();
            self.told.set(Told::Failed);
            self.tell(Event::Paused(Some(error)));
            let pause = self.platform.sleep(pauses.next_ms(&*self.platform));
            if let Either::Right(_) = select(pause, woken).await {
                pauses.reset();
            }
        }
    }

    async fn attempt(&self, pauses: &mut Pauses, position: &mut Option<Seq>) -> Result<(), Halt> {
        let (source, target) = (&*self.source, &*self.target);
        let is_target_empty = self.is_target_empty().await?;
        let mut logs = self.logs().await?;
        let start = self.start(&logs, position.as_ref()).await?;
        if start != *logs.start() {
            logs.start_at(start.clone());
        }
        *position = Some(start.clone());
        self.handle.update(|state| state.summary.last_seq = start.clone());
        self.enter(Phase::CatchingUp);

        let feed = Feed {
            source,
            target,
            platform: &*self.platform,
            options: &self.options,
            handle: &self.handle,
            query: self.options.query(),
            is_target_empty,
        };
        let items = feed.items(start);
        pin_mut!(items);
        let (mut checked, mut found) = (0, 0);
        let mut recorded_ms = self.platform.now_ms();
        let mut has_news = false;
        let mut item = items.next().await;
        loop {
            let (is_due, next) = match item {
                Some(Ok(Item::Batch(batch))) => {
                    (checked, found) = (checked + batch.checked, found + batch.found);
                    let last_seq = batch.last_seq.clone();
                    has_news |= !batch.fetched.is_empty();
                    let (stored, next) = join(self.store(batch), items.next()).await;
                    stored?;
                    *position = Some(last_seq);
                    pauses.reset();
                    (self.is_due(recorded_ms), Some(next))
                }
                // Changes that the target had anyway, as what another replication just brought here, are
                // not worth a checkpoint each.
                Some(Ok(Item::CaughtUp)) => {
                    (has_news || !self.options.live || self.is_due(recorded_ms), None)
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            };
            if is_due {
                let (seq, summary) =
                    (position.clone().unwrap_or_else(Seq::zero), self.handle.state().summary);
                (recorded_ms, has_news) = (self.platform.now_ms(), false);
                let is_news = seq != *logs.recorded();
                match logs.record(&seq, &summary, checked, found, recorded_ms).await? {
                    Recorded::Lost => return Err(Halt::Lost),
                    Recorded::Yes if is_news && logs.is_kept() => self.tell(Event::Checkpoint(seq)),
                    Recorded::Yes => {}
                }
            }
            item = match next {
                Some(next) => next,
                None => {
                    pauses.reset();
                    self.caught_up();
                    items.next().await
                }
            };
        }
    }

    /// Whether the target has never had a document. Makes it if it is not there.
    async fn is_target_empty(&self) -> Result<bool> {
        match self.target.info().await {
            Ok(info) => Ok(info.total_count == Some(0)),
            Err(error) if error.kind() == Kind::NotFound && self.options.create_target => {
                self.target.create().await
            }
            Err(error) => Err(error),
        }
    }

    async fn logs(&self) -> Result<Logs> {
        let (source, target) = (self.source.identity().await?, self.target.identity().await?);
        let id = replication_id(&source, &target, &self.options);
        let mut session = [0; 16];
        self.platform.random_bytes(&mut session);
        Logs::read(
            id,
            hex(&session),
            self.platform.now_ms(),
            self.source.clone(),
            self.target.clone(),
            self.options.checkpoint,
        )
        .await
    }

    /// Where to begin: where the caller says, else where the checkpoints say. A later attempt goes on
    /// where the one before came to if there is nothing better.
    async fn start(&self, logs: &Logs, position: Option<&Seq>) -> Result<Seq> {
        match (&self.options.since, position) {
            (Some(_), Some(position)) => Ok(position.clone()),
            (Some(since), None) if since.0 == "now" => Ok(self.source.info().await?.update_seq),
            (Some(since), None) => Ok(since.clone()),
            (None, Some(position)) if !logs.is_kept() => Ok(position.clone()),
            (None, _) => Ok(logs.start().clone()),
        }
    }

    async fn store(&self, batch: Batch) -> Result<()> {
        if !batch.fetched.is_empty() {
            self.enter(Phase::CatchingUp);
            if self.told.replace(Told::Active) != Told::Active {
                self.tell(Event::Active);
            }
        }
        let (last_seq, pending) = (batch.last_seq.clone(), batch.pending);
        let transfer = Transfer {
            source: &*self.source,
            target: &*self.target,
            platform: &*self.platform,
            on_stored: &|docs| self.tell_stored(docs),
            on_refused: &|failure| self.tell(Event::Denied(failure)),
            handle: &self.handle,
        };
        let stored = transfer.store(batch).await?;
        self.handle.update(|state| {
            state.summary.last_seq = last_seq;
            state.summary.pending = pending;
        });
        if !stored.is_empty() {
            self.tell_stored(stored);
        }
        Ok(())
    }

    /// Whether the last checkpoint is so long ago that another is worth its requests. A clock that was
    /// set back is no reason to wait for hours.
    fn is_due(&self, recorded_ms: f64) -> bool {
        let interval_ms = f64::from(self.options.checkpoint_interval_ms);
        !(0.0..interval_ms).contains(&(self.platform.now_ms() - recorded_ms))
    }

    fn caught_up(&self) {
        self.handle.update(|state| {
            state.phase = Phase::Live;
            state.error = None;
            state.summary.pending = Some(0);
        });
        if self.options.live && self.told.replace(Told::Done) != Told::Done {
            self.tell(Event::Paused(None));
        }
    }

    fn enter(&self, phase: Phase) {
        self.handle.update(|state| state.phase = phase);
    }

    fn tell_stored(&self, docs: Vec<DocRev>) {
        let summary = self.handle.update(|state| {
            state.error = None;
            state.summary.clone()
        });
        self.tell(Event::Change(Progress { summary, docs }));
    }

    /// Nothing of ours is borrowed here: the listener may cancel, wake or ask for the state.
    fn tell(&self, event: Event) {
        (self.on_event)(event);
    }
}
