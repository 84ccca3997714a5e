//! Checkpoints: how far a replication has come, written on both sides in CouchDB's own form.
//!
//! ```text
//! _local/<replication id>
//! { "session_id": "S3", "source_last_seq": "41-…", "replication_id_version": 1,
//!   "history": [ {"session_id":"S3", "recorded_seq":"41-…", "start_last_seq":"17-…", …},
//!                {"session_id":"S2", "recorded_seq":"17-…", …}, … ] }        newest first, at most 50
//! ```
//!
//! Members of ours, which CouchDB passes over: `passed_seq`, on a source that is on this device, is how far it has
//! come since, for counting what is still to be sent; nothing resumes there. `source_instance` and `target_instance` say which life of a
//! database is spoken of, where it tells; a log of another life is not believed. Then what was denied (see
//! `denied.rs`).
//!
//! Both sides say the same unless something happened to one of them. A replication resumes where their
//! histories last agree, and from the beginning if they never do: a database that was deleted, evicted
//! or restored from a backup is noticed by what it does not remember.
//!
//! Source: `couch_replicator_scheduler_job.erl`, `compare_replication_logs/2` and `do_checkpoint/1`.

use std::{cell::RefCell, rc::Rc};

use serde_json::{Map, Value, json};

use super::{clock, denied::Denied, id::REPLICATION_ID_VERSION, options::Checkpoints, report::Summary};
use crate::{
    error::{Error, Kind, Result},
    model::Seq,
    peer::{LocalDoc, Peer},
};

/// How many sessions a checkpoint remembers; CouchDB's number.
const MAX_HISTORY: usize = 50;

/// How often a checkpoint that somebody else keeps writing is tried.
const MAX_TRIES: usize = 4;

/// What became of a checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It stands on every side that takes one, or said so already.
    Yes,
    /// A side does not remember what it was told before: it is another database now, and what this
    /// replication believes about it is void.
    Lost,
}

/// Which life of each side a checkpoint speaks of: the source's and the target's, where they say.
pub type Instances = [Option<String>; 2];

const PASSED: &str = "passed_seq";

const INSTANCES: [&str; 2] = ["source_instance", "target_instance"];

/// Whether one of them tells of another life than before.
pub fn has_changed(before: &Instances, now: &Instances) -> bool {
    before.iter().zip(now).any(|(before, now)| before.is_some() && now.is_some() && before != now)
}

/// The checkpoints of one replication.
pub struct Logs {
    id: String,
    instances: Instances,
    source: Side,
    target: Side,
    /// The sessions before this one that both sides know.
    history: Vec<Value>,
    session: String,
    started_ms: f64,
    /// Where this session began.
    start: Seq,
    recorded: Seq,
}

struct Side {
    peer: Rc<dyn Peer>,
    is_kept: bool,
    log: Option<LocalDoc>,
    /// What another tab's sessions had written there when we last met one. To leave it out would look
    /// to that tab as if the database had forgotten it.
    theirs: Vec<Value>,
    /// Whether this session wrote one here, so that the login may.
    was_written: bool,
    /// It takes a checkpoint whatever revision it names (CouchDB 2 and 3), and does not say which life of a
    /// database it is: one that was made anew would be told that it has everything.
    is_blind: bool,
}

impl Logs {
    /// Reads what both sides remember.
    ///
    /// Errors: whatever reading fails with; a side without a checkpoint is no error.
    pub async fn read(
        id: String,
        session: String,
        started_ms: f64,
        source: Rc<dyn Peer>,
        target: Rc<dyn Peer>,
        kept: Checkpoints,
        instances: Instances,
    ) -> Result<Self> {
        let source = Side::read(source, &id, kept.on_source());
        let target = Side::read(target, &id, kept.on_target());
        let (source, target) = futures::future::try_join(source, target).await?;
        let mut logs = Self {
            id,
            instances,
            source,
            target,
            history: Vec::new(),
            session,
            started_ms,
            start: Seq::zero(),
            recorded: Seq::zero(),
        };
        let (start, history) = match (&logs.source.log, &logs.target.log) {
            _ if logs.are_of_another_life() => (Seq::zero(), Vec::new()),
            (Some(source), Some(target)) => compare(&source.body, &target.body),
            (Some(log), None) if !logs.target.is_kept => alone(&log.body),
            (None, Some(log)) if !logs.source.is_kept => alone(&log.body),
            (None, Some(log)) => {
                let remembered = alone(&log.body);
                // Either the source lost its checkpoint, or it never takes one from us. Ask it.
                if logs.source_takes_one().await? { (Seq::zero(), Vec::new()) } else { remembered }
            }
            _ => (Seq::zero(), Vec::new()),
        };
        logs.start_at(start);
        logs.history = history;
        logs.mark_target().await?;
        Ok(logs)
    }

    /// Adds what both sides remember of documents that were denied. Where only some documents are to leave this device
    /// (`is_filtered`), the other side does not say which.
    pub fn load_denied(&self, denied: &mut Denied, is_filtered: bool) {
        if self.are_of_another_life() {
            return;
        }
        let is_believed = !(is_filtered && self.source.peer.is_here());
        let theirs = self.target.log.as_ref().filter(|_| is_believed);
        self.source.log.iter().chain(theirs).for_each(|log| denied.load(&log.body));
    }

    fn both(&self) -> impl Iterator<Item = &LocalDoc> {
        [&self.source.log, &self.target.log].into_iter().flatten()
    }

    fn are_of_another_life(&self) -> bool {
        self.both().any(|log| {
            let then = INSTANCES.map(|name| log.body.get(name).and_then(Value::as_str).map(str::to_owned));
            has_changed(&then, &self.instances)
        })
    }

    /// Where to go on from.
    pub fn start(&self) -> &Seq {
        &self.start
    }

    /// What the checkpoints say now.
    pub fn recorded(&self) -> &Seq {
        &self.recorded
    }

    /// Begins somewhere else.
    pub fn start_at(&mut self, seq: Seq) {
        self.recorded = seq.clone();
        self.start = seq;
    }

    /// Which of them would take a checkpoint of another life and not notice. A source elsewhere that does not
    /// tell its life gets a log that says nothing yet, as every target does: if it is made anew before the first
    /// checkpoint, that one finds it gone.
    pub async fn beware_of(&mut self, are_blind: [bool; 2]) -> Result<()> {
        [self.source.is_blind, self.target.is_blind] = are_blind;
        let is_nameless = self.instances[0].is_none() && !self.source.peer.is_here();
        if is_nameless && self.source.is_kept && self.source.log.is_none() {
            self.source_takes_one().await?;
        }
        Ok(())
    }

    /// Whether the source and the target have one of ours.
    pub fn are_there(&self) -> [bool; 2] {
        [&self.source, &self.target].map(|side| side.is_kept && side.log.is_some())
    }

    /// Whether the target takes a small write now, as far as that can be tried: the checkpoint as it stands.
    pub async fn is_target_well(&mut self) -> bool {
        let side = &mut self.target;
        let Some(log) = side.log.clone().filter(|_| side.is_kept && !side.is_blind) else {
            return side.peer.info().await.is_ok();
        };
        match side.peer.put_local_doc(&self.id, log.clone()).await {
            Ok(rev) => {
                side.log = Some(LocalDoc { rev: Some(rev), ..log });
                true
            }
            // Another tab was faster.
            Err(error) => error.kind() == Kind::Conflict,
        }
    }

    /// Whether there is a checkpoint to resume from.
    pub fn is_kept(&self) -> bool {
        self.source.is_kept || self.target.is_kept
    }

    /// Leaves a log that says nothing yet on a target without one. What is stored from now on is stored
    /// beside it: if the target is made anew before the first checkpoint, that one does not pass for a
    /// checkpoint of the new database.
    async fn mark_target(&mut self) -> Result<()> {
        if !self.target.is_kept || self.target.log.is_some() {
            return Ok(());
        }
        let body = self.body(&Seq::zero(), Vec::new());
        match self.target.peer.put_local_doc(&self.id, LocalDoc { rev: None, body: body.clone() }).await {
            Ok(rev) => self.target.log = Some(LocalDoc { rev: Some(rev), body }),
            // Another tab was faster.
            Err(error) if error.kind() == Kind::Conflict => {
                self.target.log = self.target.peer.local_doc(&self.id).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn source_takes_one(&mut self) -> Result<bool> {
        let body = self.body(&Seq::zero(), Vec::new());
        match self.source.peer.put_local_doc(&self.id, LocalDoc { rev: None, body: body.clone() }).await {
            Ok(rev) => {
                self.source.log = Some(LocalDoc { rev: Some(rev), body });
                Ok(true)
            }
            Err(error) if is_read_only(&error) => {
                self.source.is_kept = false;
                Ok(false)
            }
            // Another replication just wrote it: it takes them.
            Err(error) if error.kind() == Kind::Conflict => {
                self.source.log = self.source.peer.local_doc(&self.id).await?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes down that the target has everything up to `seq`. The caller made sure that it has.
    ///
    /// Atomic: no. The source's first, then the target's; what a crash in between leaves is two logs
    /// that differ, and resuming finds where they agree.
    pub async fn record(
        &mut self,
        seq: &Seq,
        summary: &Summary,
        denied: &RefCell<Denied>,
        checked: u64,
        found: u64,
        now_ms: f64,
    ) -> Result<Recorded> {
        if (*seq == self.recorded && !denied.borrow().is_news) || !self.is_kept() {
            return Ok(Recorded::Yes);
        }
        let entry = json!({
            "session_id": self.session,
            "start_time": clock::rfc1123(self.started_ms),
            "end_time": clock::rfc1123(now_ms),
            "start_last_seq": self.start,
            "end_last_seq": seq,
            "recorded_seq": seq,
            "missing_checked": checked,
            "missing_found": found,
            "docs_read": summary.docs_read,
            "docs_written": summary.docs_written,
            "doc_write_failures": summary.doc_write_failures,
        });
        let mut history = vec![entry];
        history.extend(self.history.iter().take(MAX_HISTORY - 1).cloned());
        let mut body = self.body(seq, history);
        denied.borrow().save(&mut body);
        for side in [&self.source, &self.target] {
            if side.is_kept
                && side.is_blind
                && side.log.is_some()
                && side.peer.local_doc(&self.id).await?.is_none()
            {
                return Ok(Recorded::Lost);
            }
        }
        if self.source.is_kept {
            match self.source.write(&self.id, &self.session, body.clone()).await {
                // A source that only lets us read: the target's checkpoint has to do. One that let us
                // write before has thrown us out, which is the caller's to know.
                Err(error) if is_read_only(&error) && !self.source.was_written => self.source.is_kept = false,
                // A device that is full must not keep what is on it from being saved elsewhere. The logs
                // differ then, which is safe.
                Err(error) if error.kind() == Kind::InsufficientStorage => {}
                Ok(Recorded::Lost) => return Ok(Recorded::Lost),
                result => {
                    result?;
                }
            }
        }
        if self.target.is_kept && self.target.write(&self.id, &self.session, body).await? == Recorded::Lost {
            return Ok(Recorded::Lost);
        }
        self.recorded = seq.clone();
        denied.borrow_mut().is_news = false;
        Ok(Recorded::Yes)
    }

    /// Writes down on a source on this device how far it has come, without a word to the other side: what is
    /// still to be sent is counted from there, also after a restart without a network.
    pub async fn note(&mut self, seq: &Seq) {
        if !self.source.is_kept || !self.source.peer.is_here() {
            return;
        }
        let new = || LocalDoc { rev: None, body: self.body(&self.recorded, self.history.clone()) };
        let mut log = self.source.log.clone().unwrap_or_else(new);
        if passed_seq(&log.body) == *seq {
            return;
        }
        log.body.insert(PASSED.to_owned(), seq.0.clone());
        // Another tab may be faster, or the device full: then a little more is counted.
        if let Ok(rev) = self.source.peer.put_local_doc(&self.id, log.clone()).await {
            self.source.log = Some(LocalDoc { rev: Some(rev), ..log });
        }
    }

    fn body(&self, seq: &Seq, history: Vec<Value>) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("session_id".to_owned(), self.session.as_str().into());
        body.insert("source_last_seq".to_owned(), seq.0.clone());
        body.insert("replication_id_version".to_owned(), REPLICATION_ID_VERSION.into());
        body.insert("history".to_owned(), history.into());
        for (instance, name) in self.instances.iter().zip(INSTANCES) {
            if let Some(instance) = instance {
                body.insert(name.to_owned(), instance.as_str().into());
            }
        }
        body
    }
}

impl Side {
    async fn read(peer: Rc<dyn Peer>, id: &str, is_kept: bool) -> Result<Self> {
        let log = if is_kept { peer.local_doc(id).await? } else { None };
        Ok(Self { peer, is_kept, log, theirs: Vec::new(), was_written: false, is_blind: false })
    }

    async fn write(&mut self, id: &str, session: &str, mut body: Map<String, Value>) -> Result<Recorded> {
        let is_ours = |entry: &Value| session_of(entry) == Some(session);
        for _ in 0..MAX_TRIES {
            if !self.theirs.is_empty() {
                // What they say is as true as what we say: ours goes on top.
                let mut merged: Vec<Value> = history(&body).into_iter().filter(is_ours).collect();
                merged.extend(self.theirs.iter().filter(|entry| !is_ours(entry)).cloned());
                merged.truncate(MAX_HISTORY);
                body.insert("history".to_owned(), merged.into());
            }
            let rev = self.log.as_ref().and_then(|log| log.rev.clone());
            match self.peer.put_local_doc(id, LocalDoc { rev, body: body.clone() }).await {
                Ok(rev) => {
                    self.log = Some(LocalDoc { rev: Some(rev), body });
                    self.was_written = true;
                    return Ok(Recorded::Yes);
                }
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => return Err(error),
            }
            // Either our own write arrived and its answer did not, or another tab runs the same
            // replication, or the database is a new one that knows nothing of it.
            let theirs = self.peer.local_doc(id).await?;
            let Some(theirs) = theirs else {
                if self.log.is_some() {
                    return Ok(Recorded::Lost);
                }
                continue;
            };
            let known = self.log.as_ref().map(|log| history(&log.body)).unwrap_or_default();
            let their_history = history(&theirs.body);
            let is_known = |entry: &Value| known.iter().any(|ours| session_of(ours) == session_of(entry));
            if !known.is_empty() && !their_history.iter().any(|entry| is_known(entry) || is_ours(entry)) {
                return Ok(Recorded::Lost);
            }
            self.theirs = their_history;
            self.log = Some(theirs);
        }
        // Whoever keeps winning records progress too. Ours is recorded next time.
        Ok(Recorded::Yes)
    }
}

/// A 4xx that says that this peer takes no writing from us; PouchDB goes on then too.
fn is_read_only(error: &Error) -> bool {
    matches!(error.status(), 401 | 403 | 405 | 501)
}

fn history(body: &Map<String, Value>) -> Vec<Value> {
    body.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn session_of(entry: &Value) -> Option<&str> {
    entry.get("session_id").and_then(Value::as_str)
}

/// How far the source's side says that it has come, whatever the other side was told.
pub fn passed_seq(log: &Map<String, Value>) -> Seq {
    log.get(PASSED).cloned().map_or_else(|| last_seq(log), Seq)
}

/// How far one side says that it has come.
pub fn last_seq(log: &Map<String, Value>) -> Seq {
    log.get("source_last_seq").cloned().map_or_else(Seq::zero, Seq)
}

/// Where to resume with one side's word alone.
fn alone(log: &Map<String, Value>) -> (Seq, Vec<Value>) {
    (last_seq(log), history(log))
}

/// Where two logs last agree, and the history up to there.
fn compare(source: &Map<String, Value>, target: &Map<String, Value>) -> (Seq, Vec<Value>) {
    let (sources, targets) = (history(source), history(target));
    let session = source.get("session_id").and_then(Value::as_str);
    if session.is_some() && session == target.get("session_id").and_then(Value::as_str) {
        if source.get("source_last_seq") == target.get("source_last_seq") {
            return alone(source);
        }
        // One session, two places: it ended between the two writes, or one side is a backup from the
        // middle of it. CouchDB trusts the source; but only the session's start is sure to be true of
        // both.
        let start = sources.first().and_then(|entry| entry.get("start_last_seq")).cloned();
        return (start.map_or_else(Seq::zero, Seq), sources.get(1..).unwrap_or_default().to_vec());
    }
    let recorded = |entry: &Value| entry.get("recorded_seq").cloned().map_or_else(Seq::zero, Seq);
    let knows = |entries: &[Value], entry: &Value| {
        session_of(entry).is_some() && entries.iter().any(|other| session_of(other) == session_of(entry))
    };
    // The newest session that both know: the sides take turns, as either may be ahead. The session may
    // have gone on after one of the entries was written, so the two may record different places; again
    // only its start is sure.
    for at in 0..sources.len().max(targets.len()) {
        for (mine, theirs) in [(&sources, &targets), (&targets, &sources)] {
            let Some(entry) = mine.get(at).filter(|entry| knows(theirs, entry)) else { continue };
            let other = theirs.iter().find(|other| session_of(other) == session_of(entry));
            let rest = mine[at..].to_vec();
            if other.map(recorded) == Some(recorded(entry)) {
                return (recorded(entry), rest);
            }
            let start = entry.get("start_last_seq").cloned().map_or_else(Seq::zero, Seq);
            return (start, mine.get(at + 1..).unwrap_or_default().to_vec());
        }
    }
    (Seq::zero(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(&str, u64, u64)]) -> Map<String, Value> {
        let history: Vec<Value> = entries
            .iter()
            .map(|(session, start, seq)| {
                json!({"session_id": session, "start_last_seq": start, "recorded_seq": seq})
            })
            .collect();
        let newest = entries.first().map(|entry| (entry.0, entry.2));
        let Value::Object(body) = json!({
            "session_id": newest.map(|newest| newest.0), "source_last_seq": newest.map(|newest| newest.1),
            "history": history,
        }) else {
            unreachable!()
        };
        body
    }

    fn start(source: &[(&str, u64, u64)], target: &[(&str, u64, u64)]) -> (Value, Vec<String>) {
        let (seq, history) = compare(&log(source), &log(target));
        (seq.0, history.iter().map(|entry| session_of(entry).unwrap_or("").to_owned()).collect())
    }

    #[test]
    fn logs_that_agree_are_believed() {
        let both = [("b", 5, 9), ("a", 0, 5)];
        assert_eq!(start(&both, &both), (json!(9), vec!["b".into(), "a".into()]));
    }

    #[test]
    fn one_side_ahead_goes_back_to_the_newest_common_session() {
        let (ahead, behind) = ([("c", 9, 12), ("b", 5, 9), ("a", 0, 5)], [("b", 5, 9), ("a", 0, 5)]);
        assert_eq!(start(&ahead, &behind).0, json!(9));
        assert_eq!(start(&behind, &ahead).0, json!(9));
        assert_eq!(
            start(&[("x", 9, 20), ("a", 0, 5)], &[("y", 9, 30), ("a", 0, 5)]),
            (json!(5), vec!["a".into()])
        );
    }

    #[test]
    fn one_session_at_two_places_goes_back_to_its_start() {
        assert_eq!(
            start(&[("b", 5, 9), ("a", 0, 5)], &[("b", 5, 7), ("a", 0, 5)]),
            (json!(5), vec!["a".into()])
        );
        assert_eq!(start(&[("c", 9, 12), ("b", 5, 9)], &[("b", 5, 7)]), (json!(5), vec![]));
    }

    #[test]
    fn logs_with_nothing_in_common_start_from_the_beginning() {
        assert_eq!(start(&[("b", 5, 9)], &[("a", 0, 5)]), (json!(0), vec![]));
        assert_eq!(start(&[], &[]), (json!(0), vec![]));
        assert_eq!(compare(&Map::new(), &log(&[("a", 0, 5)])).0, Seq::zero());
    }
}
