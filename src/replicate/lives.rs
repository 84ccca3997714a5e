//! Whether both sides still are the databases that an attempt began with. One that was deleted and made anew
//! has the same address, and nobody tells who waits: a push that has nothing new never speaks with its target,
//! a feed that numbers its changes may never come to where we wait, and CouchDB 3.5 keeps a line to a database
//! alive that is no more.
//!
//! They are looked at after a wake-up, when somebody else found out ([`doubted`](crate::peer::Peer::doubted)),
//! when a feed goes backwards, and every five to twelve minutes. A server that says which life of a database it
//! is settles it with that. Of another one our own log must be there, a source that numbers its changes must
//! have come as far as we did, and a target must have something once we wrote to it. So only a target that keeps no
//! log of ours, does not tell its life and was filled by others after it was emptied goes unnoticed.

use std::cell::Cell;

use futures::{
    FutureExt,
    future::{LocalBoxFuture, select},
};
use serde_json::Value;

use super::{backoff::Pauses, checkpoint::Instances, control::Job};
use crate::{
    error::{Kind, Pending, Result},
    model::Seq,
};

/// The first look after an attempt began; each one after that waits twice as long, up to ten minutes.
const FIRST_LOOK_MS: u32 = 300_000;

/// See the module's page. For one attempt.
pub struct Lives<'a> {
    job: &'a Job,
    instances: Instances,
    interval_ms: Cell<u32>,
    /// `None` where both are here.
    next_ms: Cell<Option<f64>>,
}

impl<'a> Lives<'a> {
    /// Both sides were asked just now.
    pub fn new(job: &'a Job, instances: Instances) -> Self {
        let lives = Self { job, instances, interval_ms: Cell::new(FIRST_LOOK_MS), next_ms: Cell::default() };
        lives.plan();
        lives
    }

    fn plan(&self) {
        if !self.job.source.is_here() || !self.job.target.is_here() {
            let platform = &*self.job.platform;
            let pause_ms = Pauses::after_ms(platform, self.interval_ms.get());
            self.next_ms.set(Some(platform.now_ms() + f64::from(pause_ms)));
            self.interval_ms.set(self.interval_ms.get().saturating_mul(2));
        }
    }

    /// Resolves when there is reason to look.
    pub fn doubt(&self) -> LocalBoxFuture<'_, ()> {
        let job = self.job;
        let any = |one: LocalBoxFuture<'a, ()>, other| select(one, other).map(|_| ()).boxed_local();
        let mut doubt = any(job.source.doubted(), job.target.doubted());
        if let Some(next_ms) = self.next_ms.get() {
            // A clock that was set back is no reason to wait for hours, nor to begin to wait anew each time.
            let now_ms = job.platform.now_ms();
            let left_ms =
                (next_ms - now_ms).min(f64::from(self.interval_ms.get().min(2 * FIRST_LOOK_MS)) * 1.25);
            self.next_ms.set(Some(now_ms + left_ms));
            doubt = any(doubt, job.platform.sleep(left_ms as u32));
        }
        any(doubt, job.woken().boxed_local())
    }

    /// Whether one of them is another database now. `since` is how far the source's feed has been read.
    pub fn are_others(&'a self, since: &'a Seq) -> Pending<'a, bool> {
        async {
            self.plan();
            for side in [0, 1] {
                match self.is_another(side, since).await {
                    Ok(false) => {}
                    // The next attempt makes it, or says that it is gone.
                    Err(error) if error.kind() != Kind::NotFound => return Err(error),
                    _ => return Ok(true),
                }
            }
            Ok(false)
        }
        .boxed_local()
    }

    async fn is_another(&self, side: usize, since: &Seq) -> Result<bool> {
        let job = self.job;
        let peer = if side == 0 { &job.source } else { &job.target };
        if peer.is_here() {
            return Ok(false);
        }
        if self.instances[side].is_none() && job.has_logs.get()[side] {
            return Ok(peer.local_doc(&job.id().await?).await?.is_none());
        }
        let info = peer.info().await?;
        let is_renamed =
            info.instance_start_time.is_some() && info.instance_start_time != self.instances[side];
        let is_behind = match side {
            0 => goes_back(since, &info.update_seq),
            _ => info.is_empty() && job.update(|state| state.summary.docs_written > 0),
        };
        // CouchDB tells lives by the second in which they began.
        Ok(is_renamed || is_behind)
    }
}

/// Whether one place comes before the other, where places are numbers. Others cannot be compared, and servers
/// that have them begin anew by themselves when asked for one of another life.
pub fn goes_back(from: &Seq, to: &Seq) -> bool {
    from.0.as_u64().zip(to.0.as_u64()).is_some_and(|(from, to)| to < from)
}

/// Whether a place is known to come after another one of the same feed. CouchDB's texts begin with a number that grows
/// along it, a little loosely where a database has several shards.
pub fn comes_after(place: &Seq, other: &Seq) -> bool {
    let number = |seq: &Seq| match &seq.0 {
        Value::String(text) => text.split('-').next()?.parse().ok(),
        number => number.as_u64(),
    };
    number(other).zip(number(place)).is_some_and(|(other, place): (u64, u64)| place > other)
}
