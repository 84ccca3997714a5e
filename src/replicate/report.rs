//! What a replication tells: events on the way, a summary at the end. Fields are PouchDB's.

use serde::Serialize;

use crate::{
    error::Error,
    model::{Rev, Seq},
};

/// At most so many failures are kept in a summary, the newest; a live replication would gather them
/// for months. [`Event::Denied`] tells each.
pub const MAX_FAILURES_KEPT: usize = 100;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// There is work: it started, or a change came after a pause.
    Active,
    /// Everything there is has been done (`None`, live only), or the next attempt waits (`Some`).
    Paused(Option<Error>),
    /// Documents were stored.
    Change(Progress),
    /// The target or the source refused a document; the others go on.
    Denied(Failure),
    /// A checkpoint was written on every side that takes one.
    Checkpoint(Seq),
}

/// A revision that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DocRev {
    /// The document.
    #[serde(rename = "_id")]
    pub id: String,
    /// The revision.
    #[serde(rename = "_rev")]
    pub rev: Rev,
    /// Whether it is a tombstone.
    #[serde(rename = "_deleted", skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// A document that did not go over.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The document.
    pub id: String,
    /// The revision, if it is known.
    pub rev: Option<Rev>,
    /// CouchDB's name of the error.
    #[serde(rename = "error")]
    pub name: String,
    /// CouchDB's reason.
    pub reason: String,
    /// The HTTP status that goes with it.
    pub status: u16,
}

impl Failure {
    pub(super) fn new(id: &str, rev: Option<&Rev>, error: &Error) -> Self {
        Self {
            id: id.to_owned(),
            rev: rev.cloned(),
            name: error.name().to_owned(),
            reason: error.reason().to_owned(),
            status: error.status(),
        }
    }
}

/// How a replication stands or ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on.
    #[default]
    Active,
    /// All was done.
    Complete,
    /// The caller cancelled it.
    Cancelled,
    /// It ended with an error.
    Aborting,
}

/// What a replication has done since it started.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// False if it ended with an error. Documents that were denied leave it true, as in PouchDB.
    pub ok: bool,
    /// How it stands or ended.
    pub status: Status,
    /// When it started, ISO 8601.
    pub start_time: String,
    /// When it ended, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// Revisions the source gave.
    pub docs_read: u64,
    /// Revisions the target stored.
    pub docs_written: u64,
    /// Revisions that did not go over.
    pub doc_write_failures: u64,
    /// Why not: the newest [`MAX_FAILURES_KEPT`].
    pub errors: Vec<Failure>,
    /// Up to where the target has everything, in the source's feed.
    pub last_seq: Seq,
    /// How many changes are still to come, if the source knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
}

/// The summary so far, and what was stored last.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    /// Since the start.
    #[serde(flatten)]
    pub summary: Summary,
    /// What was stored just now.
    pub docs: Vec<DocRev>,
}
