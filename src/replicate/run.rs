//! The replication itself: attempts, and what happens in one.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::{
    FutureExt,
    future::{Either, pending, select},
};

use super::{
    Event, Handle, Options, Phase, Progress, Status, Summary,
    backoff::{MAX_ASKED_MS, Pauses},
    checkpoint::{Instances, Logs, Recorded, has_changed},
    clock,
    control::Job,
    denied::Retry,
    feed::{Batch, Feed, Item},
    lives::{Lives, comes_after, goes_back},
    report::DocRev,
    transfer::Transfer,
};
use crate::{
    error::{Error, Kind, Result},
    model::{Seq, hex},
    peer::{ChangesQuery, Peer, PeerInfo},
    platform::Platform,
};

/// So many times as rare is a checkpoint without news: five minutes where the other is five seconds.
const WITHOUT_NEWS: f64 = 60.0;

/// A login that was refused is not tried again before this, unless somebody comes back to the page: CouchDB locks an
/// account for five minutes after five wrong passwords from one address, and pushing and pulling are two.
const REFUSED_MS: u32 = 150_000;

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

/// Starts to replicate `source` into `target`. Nothing happens until the future is polled; dropping it
/// ends the replication where it stands, as [`Handle::cancel`] does.
///
/// With `retry`, what may pass by itself (no network, a server that is overloaded or restarting), a login
/// that is missing and a device that is full are waited out; [`Phase`] says how. Everything else ends it.
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
    let summary = Summary {
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
    };
    let job = Rc::new(Job::new(source, target, platform, options, summary));
    let handle = Handle::new(&job);
    let replication =
        Replication { job, on_event, told: Cell::new(Told::Nothing), not_before_ms: Cell::new(0.0) };
    (handle, replication.run())
}

struct Replication {
    job: Rc<Job>,
    on_event: Rc<dyn Fn(Event)>,
    /// The last of `active` and `paused` that was told, so that neither is told twice.
    told: Cell<Told>,
    /// The server asked not to be asked before.
    not_before_ms: Cell<f64>,
}

/// Who both sides are, at the start of an attempt.
struct Met {
    /// It has never had a document.
    is_target_empty: bool,
    instances: Instances,
    /// They would take a checkpoint of another life and not notice.
    are_blind: [bool; 2],
    /// Where the source's feed ends, if it is not here.
    end: Option<Seq>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Active,
    Done,
    Failed,
}

/// How a failure is waited out; `None` for one that waiting does not mend.
fn phase_of(error: &Error) -> Option<Phase> {
    match error.kind() {
        Kind::Network => Some(Phase::Offline),
        Kind::InsufficientStorage => Some(Phase::Paused),
        _ if error.needs_login() => Some(Phase::NeedsAuth),
        _ if error.is_retryable() => Some(Phase::Waiting),
        _ => None,
    }
}

/// A login that is missing or a device that is full may show only when something is to be stored, so an
/// attempt that connects does not end these phases.
fn is_stuck(phase: Phase) -> bool {
    matches!(phase, Phase::NeedsAuth | Phase::Paused)
}

impl Replication {
    async fn run(self) -> Result<Summary> {
        let mut held = self.count_held().boxed_local();
        let outcome = {
            let cancelled = select(self.job.cancelled().boxed_local(), &mut held);
            match select(cancelled, self.unless_paused().boxed_local()).await {
                Either::Left(_) => None,
                Either::Right((outcome, _)) => Some(outcome),
            }
        };
        // What came last is counted too.
        let _ = (&mut held).now_or_never();
        self.job.source.rest();
        let (phase, status) = match &outcome {
            None => (Phase::Stopped, Status::Cancelled),
            Some(Ok(())) => (Phase::Stopped, Status::Complete),
            Some(Err(_)) => (Phase::Failed, Status::Aborting),
        };
        let end_time = clock::iso8601(self.job.platform.now_ms());
        let error = outcome.and_then(Result::err);
        let summary = self.job.update(|state| {
            state.error = error.clone();
            state.retry_at_ms = None;
            state.summary.ok = error.is_none();
            state.summary.status = status;
            state.summary.end_time = Some(end_time);
            state.summary.clone()
        });
        self.job.enter(phase);
        error.map_or(Ok(summary), Err)
    }

    async fn unless_paused(&self) -> Result<()> {
        self.job.options.check()?;
        let mut pauses = Pauses::new(self.job.options.back_off.clone());
        loop {
            let interrupted = self.job.interrupted().boxed_local();
            let is_held = match select(interrupted, self.attempts(&mut pauses).boxed_local()).await {
                Either::Right((outcome, _)) => return outcome,
                Either::Left((is_held, _)) => is_held,
            };
            self.job.update(|state| (state.error, state.retry_at_ms) = (None, None));
            if is_held {
                self.job.source.rest();
                self.job.enter(Phase::Paused);
                let resumed = self.job.resumed().boxed_local();
                self.told.set(Told::Failed);
                self.tell(Event::Paused(None));
                select(resumed, self.count_pending().boxed_local()).await;
            }
            self.job.enter(Phase::Connecting);
        }
    }

    async fn attempts(&self, pauses: &mut Pauses) -> Result<()> {
        let job = &*self.job;
        loop {
            // For who pauses and resumes while a server wants to be left alone. A clock that was set back
            // is no reason to wait for hours.
            let early_ms = self.not_before_ms.get() - job.platform.now_ms();
            if early_ms > 0.0 {
                job.enter(Phase::Waiting);
                job.update(|state| state.retry_at_ms = Some(self.not_before_ms.get()));
                job.platform.sleep((early_ms as u32).min(2 * MAX_ASKED_MS)).await;
                job.update(|state| state.retry_at_ms = None);
                job.enter(Phase::Connecting);
            }
            let error = match self.attempt(pauses).await {
                Ok(()) => return Ok(()),
                Err(Halt::Lost) => {
                    job.place.take();
                    job.source.doubt();
                    job.target.doubt();
                    job.platform.sleep(pauses.next_ms(&*job.platform)).await;
                    continue;
                }
                Err(Halt::Failed(error)) => error,
            };
            // The place to look for denied ones from is one that somebody else wrote into a checkpoint.
            if error.status() == 400 && job.denied.borrow_mut().drop_replay() {
                job.place.take();
                continue;
            }
            match phase_of(&error).filter(|_| job.options.retry) {
                Some(phase) => self.wait(phase, error, pauses).await,
                None => return Err(error),
            }
        }
    }

    /// The pause after a failure.
    async fn wait(&self, phase: Phase, error: Error, pauses: &mut Pauses) {
        let job = &*self.job;
        job.source.rest();
        let mut pause_ms = pauses.next_ms(&*job.platform);
        if phase == Phase::NeedsAuth && !pauses.are_custom() {
            pause_ms = pause_ms.max(REFUSED_MS);
        }
        let asked_ms = error.retry_after_ms().map(|ms| Pauses::after_ms(&*job.platform, ms));
        pause_ms = pause_ms.max(asked_ms.unwrap_or(0));
        let retry_at_ms = job.platform.now_ms() + f64::from(pause_ms);
        let retry = if phase == Phase::NeedsAuth { Retry::All } else { Retry::Failed };
        job.retry_denied.set(job.retry_denied.get().max(retry));
        job.update(|state| {
            state.error = Some(error.clone());
            state.retry_at_ms = Some(retry_at_ms);
        });
        job.enter(phase);
        // Before the caller is told, who may wake us at once.
        let woken = job.woken().boxed_local();
        job.resumed.set(false);
        self.told.set(Told::Failed);
        self.tell(Event::Paused(Some(error)));
        let over = job.platform.sleep(pause_ms);
        let waiting = async {
            if asked_ms.is_some() {
                self.not_before_ms.set(retry_at_ms);
                over.await;
                self.not_before_ms.set(0.0);
            } else if let Either::Right(_) = select(over, woken).await {
                pauses.reset();
            }
        };
        select(waiting.boxed_local(), self.count_pending().boxed_local()).await;
        job.update(|state| state.retry_at_ms = None);
        if job.resumed.take() {
            job.enter(Phase::Connecting);
        }
    }

    /// Keeps the number of pending changes true while nothing moves, where that costs no network: what is
    /// written meanwhile counts. Never ends.
    async fn count_pending(&self) {
        let job = &*self.job;
        let counting = async {
            let since = job.last_place().await?;
            let query = job.options.query();
            loop {
                let end = job.source.info().await?.update_seq;
                let page = job.source.changes(&query, &since, 1, None).await?;
                let pending = page.pending.map(|pending| pending + page.results.len() as u64);
                job.update(|state| state.pending = pending);
                let any = ChangesQuery::default();
                job.source.changes(&any, &end, 1, Some(job.options.timeout_ms)).await?;
            }
        };
        if job.source.is_here() {
            // A source that fails is the next attempt's to tell.
            let _: Result<()> = counting.await;
        }
        pending().await
    }

    /// Keeps the number of revisions true that its ends keep aside. Never ends.
    async fn count_held(&self) {
        let count = async |side: &dyn Peer| {
            let mut seen = 0;
            loop {
                let now = side.quarantined(seen).await;
                self.job.update(|state| state.quarantined = state.quarantined - seen + now);
                seen = now;
            }
        };
        futures::future::join(count(&*self.job.source), count(&*self.job.target)).await;
    }

    async fn attempt(&self, pauses: &mut Pauses) -> Result<(), Halt> {
        let job = &*self.job;
        let Met { is_target_empty, instances, are_blind, end } = self.meet().await?;
        let mut logs = self.logs(instances.clone()).await?;
        logs.beware_of(are_blind).await?;
        job.has_logs.set(logs.are_there());
        if job.place.borrow().is_none() {
            logs.load_denied(&mut job.denied.borrow_mut(), job.options.is_filtered());
        }
        if is_target_empty && !job.options.checkpoint.on_target() && job.options.since.is_none() {
            // What was stored there is gone, or there never was anything.
            job.place.take();
            logs.start_at(Seq::zero());
        }
        if *logs.start() == Seq::zero() {
            job.source.may_meet(&*job.target).await?;
            job.target.may_meet(&*job.source).await?;
        }
        let mut start = self.start(&logs).await?;
        if end.is_some_and(|end| goes_back(&start, &end)) {
            // That was another database.
            start = Seq::zero();
        }
        if start != *logs.start() {
            logs.start_at(start.clone());
        }
        job.place.replace(Some(start.clone()));
        job.update(|state| state.summary.last_seq = start.clone());
        if !is_stuck(job.phase()) {
            job.enter(Phase::CatchingUp);
        }

        let feed = Feed {
            source: &*job.source,
            target: &*job.target,
            platform: &*job.platform,
            options: &job.options,
            job,
            query: job.options.query(),
            is_target_empty: Cell::new(is_target_empty),
            lives: Lives::new(job, instances),
            is_lost: Cell::new(false),
            is_first_stored: Cell::new(false),
            first: RefCell::new(job.denied.borrow_mut().take(job.retry_denied.get())),
        };
        let mut is_retrying = !feed.first.borrow().is_empty();
        if !is_retrying {
            job.retry_denied.set(Retry::None);
        }
        let (mut has_news, mut is_settled) = (false, false);
        let mut items = feed.items(start);
        let (mut checked, mut found) = (0, 0);
        let mut recorded_ms = job.platform.now_ms();
        loop {
            let item = {
                // What was put off is written when it is due, if nothing comes before that.
                let is_behind = job.place.borrow().as_ref() != Some(logs.recorded());
                let due = match is_behind && logs.is_kept() && job.options.live {
                    true => job.platform.sleep(self.due_in_ms(recorded_ms, has_news)),
                    false => pending().boxed_local(),
                };
                match select(items.next(), due).await {
                    Either::Left((item, _)) => item,
                    Either::Right(_) => Some(Ok(Item::Due)),
                }
            };
            let step = async {
                let mut is_caught_up = false;
                let is_due = match item {
                    Some(Ok(Item::Batch(batch))) => {
                        (checked, found) = (checked + batch.checked, found + batch.found);
                        let last_seq = batch.last_seq.clone();
                        let has_docs = !batch.fetched.is_empty();
                        has_news |= has_docs;
                        let stored = self.store(batch).await;
                        feed.is_first_stored.set(true);
                        let accused = job.suspects.borrow().accused();
                        if let Some(is_read) = accused {
                            let is_well = match is_read {
                                true => job.source.info().await.is_ok(),
                                false => logs.is_target_well().await,
                            };
                            job.suspects.borrow_mut().judge(is_well);
                        }
                        stored?;
                        if has_docs {
                            job.suspects.borrow_mut().went_through();
                        }
                        if std::mem::take(&mut is_retrying) {
                            job.denied.borrow_mut().went_through();
                            job.retry_denied.set(Retry::None);
                        }
                        job.place.replace(Some(last_seq));
                        pauses.reset();
                        self.due_in_ms(recorded_ms, has_news || !is_settled) == 0
                    }
                    Some(Ok(Item::CaughtUp)) => {
                        is_caught_up = true;
                        !is_settled || self.due_in_ms(recorded_ms, has_news) == 0
                    }
                    Some(Ok(Item::Due)) => true,
                    Some(Err(error)) => return Err(error.into()),
                    None if feed.is_lost.get() => return Err(Halt::Lost),
                    None => return Ok(true),
                };
                if is_due {
                    let seq = job.place.borrow().clone().unwrap_or_else(Seq::zero);
                    let summary = job.update(|state| state.summary.clone());
                    (recorded_ms, has_news) = (job.platform.now_ms(), false);
                    let is_news = seq != *logs.recorded();
                    match logs.record(&seq, &summary, &job.denied, checked, found, recorded_ms).await? {
                        Recorded::Lost => return Err(Halt::Lost),
                        Recorded::Yes if is_news && logs.is_kept() => self.tell(Event::Checkpoint(seq)),
                        Recorded::Yes => {}
                    }
                    job.has_logs.set(logs.are_there());
                    job.denied.borrow_mut().replay = None;
                }
                if is_caught_up && !is_due {
                    let place = job.place.borrow().clone();
                    logs.note(&place.unwrap_or_else(Seq::zero)).await;
                }
                if is_caught_up {
                    is_settled = true;
                    pauses.reset();
                    self.caught_up();
                }
                Ok(false)
            };
            if items.beside(step.boxed_local()).await? {
                return Ok(());
            }
        }
    }

    /// Asks both sides who they are. Makes the target if it is not there.
    async fn meet(&self) -> Result<Met> {
        let job = &*self.job;
        let (mut instances, mut are_blind, mut end) = (Instances::default(), [false; 2], None);
        let mut note = |side: usize, info: &PeerInfo| {
            instances[side].clone_from(&info.instance_start_time);
            are_blind[side] = info.instance_start_time.is_none() && info.update_seq.0.is_string();
        };
        if !job.source.is_here() {
            let info = job.source.info().await?;
            note(0, &info);
            end = Some(info.update_seq);
        }
        let is_target_empty = match job.target.info().await {
            Ok(info) => {
                note(1, &info);
                info.is_empty()
            }
            Err(error) if error.kind() == Kind::NotFound && job.options.create_target => {
                job.target.create().await?
            }
            Err(error) => return Err(error),
        };
        let before = job.instances.replace(instances.clone());
        if has_changed(&before, &instances) {
            job.place.take();
            job.denied.take();
            job.source.doubt();
            job.target.doubt();
        }
        for (known, before) in job.instances.borrow_mut().iter_mut().zip(before) {
            *known = known.take().or(before);
        }
        Ok(Met { is_target_empty, instances, are_blind, end })
    }

    async fn logs(&self, instances: Instances) -> Result<Logs> {
        let job = &*self.job;
        let mut session = [0; 16];
        job.platform.random_bytes(&mut session);
        Logs::read(
            job.id().await?,
            hex(&session),
            job.platform.now_ms(),
            job.source.clone(),
            job.target.clone(),
            job.options.checkpoint,
            instances,
        )
        .await
    }

    /// Where to begin: where the caller says, else where the checkpoints say. A later attempt goes on
    /// where the one before came to if there is nothing better. Where too many documents were denied to
    /// name them, the feed is read again from the first.
    async fn start(&self, logs: &Logs) -> Result<Seq> {
        let job = &*self.job;
        {
            let mut denied = job.denied.borrow_mut();
            if job.retry_denied.get() > Retry::Failed
                && let Some(from) = denied.from.take()
            {
                (denied.replay, denied.is_news) = (Some(from), true);
            }
            // An honest one comes before what the checkpoints agree on. Another would leave out what lies between.
            if denied.replay.as_ref().is_some_and(|replay| comes_after(replay, logs.start())) {
                denied.drop_replay();
            }
            if let Some(replay) = &denied.replay {
                return Ok(replay.clone());
            }
        }
        let place = job.place.borrow().clone();
        match (&job.options.since, place) {
            (Some(_), Some(place)) => Ok(place),
            (Some(since), None) if since.0 == "now" => Ok(job.source.info().await?.update_seq),
            (Some(since), None) => Ok(since.clone()),
            (None, Some(place)) if !logs.is_kept() => Ok(place),
            (None, _) => Ok(logs.start().clone()),
        }
    }

    async fn store(&self, batch: Batch) -> Result<()> {
        let job = &*self.job;
        let has_news = !batch.fetched.is_empty();
        let (last_seq, pending) = (batch.last_seq.clone(), batch.pending);
        if has_news {
            if !is_stuck(job.phase()) {
                self.go_on();
            }
            let coming = batch.fetched.len() as u64;
            job.update(|state| state.pending = pending.map(|pending| pending + coming));
        }
        let transfer = Transfer {
            job,
            on_stored: &|docs| self.tell_stored(docs),
            on_refused: &|failure| self.tell(Event::Denied(failure)),
        };
        let stored = transfer.store(batch).await?;
        job.update(|state| {
            state.summary.last_seq = last_seq;
            state.summary.pending = pending;
            if has_news || pending.is_some() {
                state.pending = pending;
            }
        });
        if !stored.is_empty() {
            self.tell_stored(stored);
        }
        Ok(())
    }

    /// How long until the last checkpoint is so long ago that another is worth its requests. One that tells
    /// only of what the target had anyway, as what another replication has just brought here, is worth them
    /// rarely: not to have it costs one `_revs_diff` for each page of changes, at the next start. A clock that
    /// was set back is no reason to wait for hours.
    fn due_in_ms(&self, recorded_ms: f64, has_news: bool) -> u32 {
        let interval_ms = f64::from(self.job.options.checkpoint_interval_ms);
        let interval_ms = if has_news { interval_ms } else { interval_ms * WITHOUT_NEWS };
        let passed_ms = self.job.platform.now_ms() - recorded_ms;
        if (0.0..interval_ms).contains(&passed_ms) { (interval_ms - passed_ms) as u32 } else { 0 }
    }

    fn caught_up(&self) {
        self.job.update(|state| {
            state.error = None;
            state.pending = Some(0);
            state.summary.pending = Some(0);
        });
        self.job.enter(Phase::Live);
        if self.job.options.live && self.told.replace(Told::Done) != Told::Done {
            self.tell(Event::Paused(None));
        }
    }

    /// Documents move.
    fn go_on(&self) {
        self.job.enter(Phase::CatchingUp);
        if self.told.replace(Told::Active) != Told::Active {
            self.tell(Event::Active);
        }
    }

    fn tell_stored(&self, docs: Vec<DocRev>) {
        self.go_on();
        let summary = self.job.update(|state| {
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
