//! Port: one end of a replication.
//!
//! Everything the replicator may ask of a database, and nothing else. Implemented twice: by
//! `database::Database` (over memory or IndexedDB) and by `remote::RemoteDatabase`
//! (over HTTP), so one replicator serves every pairing.

use futures::{
    FutureExt,
    future::{LocalBoxFuture, pending, ready},
};
use serde_json::{Map, Value};

use crate::{
    error::{Pending, Result},
    model::{Content, Rev, Seq},
};

/// What a peer says of itself.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Where its changes feed ends now.
    pub update_seq: Seq,
    /// Documents that are not deleted.
    pub doc_count: u64,
    /// Every document that its feed names, if known; 0 tells an empty database.
    pub total_count: Option<u64>,
    /// When the database was made, in the peer's own terms, if it says: two that differ are two databases
    /// of the same name.
    pub instance_start_time: Option<String>,
}

impl PeerInfo {
    /// Whether it has never had a document, and says so.
    pub fn is_empty(&self) -> bool {
        self.total_count == Some(0) || self.update_seq.0.as_u64() == Some(0)
    }
}

/// Which changes a replication asks for. The same question has the same fields on every peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangesQuery {
    /// Only these documents.
    pub doc_ids: Option<Vec<String>>,
    /// A Mango selector that the documents match.
    pub selector: Option<Value>,
    /// A filter function on the server, `ddoc/name`, and its parameters.
    pub filter: Option<String>,
    /// Parameters for `filter`, sent as they are.
    pub query_params: Map<String, Value>,
    /// Documents are to come along with their changes, where that spares the peer's user a request. A
    /// peer may leave it.
    pub include_docs: bool,
    /// Winners alone are asked for; other leaves may come all the same.
    pub is_main_only: bool,
}

/// One document's entry in a changes feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its place.
    pub seq: Seq,
    /// The document.
    pub id: String,
    /// Every leaf, the winner first in CouchDB's feeds (`style=all_docs`); of `is_main_only` it always is.
    pub leaves: Vec<Rev>,
    /// Whether the winner is a tombstone.
    pub deleted: bool,
}

/// A piece of a changes feed.
#[derive(Clone, Debug)]
pub struct ChangesPage {
    /// In order; may be empty.
    pub results: Vec<Change>,
    /// Where to go on; may lie past the last result when a filter passed over some.
    pub last_seq: Seq,
    /// How many changes come after this page, if the peer knows.
    pub pending: Option<u64>,
    /// Winners that came along, in any order.
    pub docs: Vec<Along>,
    /// Documents with leaves whose names are none here; those are not among the `results`.
    pub odd: Vec<String>,
}

/// A document that came along with its change.
#[derive(Clone, Debug)]
pub struct Along {
    /// The revision with its history; `None` where that is not told here.
    pub doc: Option<ReplicatedDoc>,
    /// What it weighed on the way, in bytes.
    pub bytes: usize,
}

/// What a target lacks of one document.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingRevs {
    /// The document.
    pub id: String,
    /// The revisions it lacks, of those asked about.
    pub revs: Vec<Rev>,
    /// Leaves it has that may be ancestors of those: attachments since then need not be sent.
    pub possible_ancestors: Vec<Rev>,
}

/// An attachment on its way from one peer to another.
#[derive(Clone, Debug)]
pub struct ReplicatedAttachment {
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub content_type: String,
    /// The generation in which it came to be as it is.
    pub revpos: u64,
    /// How many bytes its content has, uncompressed.
    pub length: u64,
    /// The source's digest, `md5-…`. Of the compressed bytes where `is_encoded`.
    pub digest: String,
    /// Whether the source keeps it compressed, so that its digest is not the content's.
    pub is_encoded: bool,
    /// The bytes; `None` is a stub.
    pub content: Option<Content>,
}

/// One revision of a document with its history, as replication moves it (`new_edits=false`).
#[derive(Clone, Debug)]
pub struct ReplicatedDoc {
    /// The document.
    pub id: String,
    /// The revision, then its ancestors, newest first, generations consecutive. Never empty.
    pub path: Vec<Rev>,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// A JSON object as text, without special members.
    pub body: String,
    /// By name.
    pub attachments: Vec<ReplicatedAttachment>,
}

impl ReplicatedDoc {
    /// The revision itself.
    pub fn rev(&self) -> &Rev {
        &self.path[0]
    }
}

/// What became of one requested revision.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The document asked for.
    pub id: String,
    /// The revision asked for, where the source says which.
    pub rev: Option<Rev>,
    /// The revision, or why not.
    pub doc: Result<ReplicatedDoc>,
}

/// A `_local/` document: not replicated, kept for checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalDoc {
    /// Its revision, `0-N`; sent back on the next write.
    pub rev: Option<String>,
    /// Its members, without `_id` and `_rev`.
    pub body: Map<String, Value>,
}

/// One end of a replication.
pub trait Peer {
    /// A name for the replication id: the same for the same database for as long as it lives, without
    /// credentials. A local database gives its uuid, a remote one its URL.
    fn identity(&self) -> Pending<'_, String>;

    /// Whether it answers without a network, so that it may be asked while the other side is away.
    fn is_here(&self) -> bool {
        false
    }

    /// What the peer says of itself; 404 `not_found` if there is no such database.
    fn info(&self) -> Pending<'_, PeerInfo>;

    /// Whether this and the other end may be copies of one another; asked where no checkpoint says so.
    fn may_meet<'a>(&'a self, _other: &'a dyn Peer) -> Pending<'a, ()> {
        async { Ok(()) }.boxed_local()
    }

    /// Makes the database if it is not there. True if it did.
    fn create(&self) -> Pending<'_, bool>;

    /// At most `limit` changes after `since`, without waiting; with `wait_ms`, waits for the first one
    /// for about so long, then returns an empty page. Dropping the future stops it.
    fn changes<'a>(
        &'a self,
        query: &'a ChangesQuery,
        since: &'a Seq,
        limit: usize,
        wait_ms: Option<u32>,
    ) -> Pending<'a, ChangesPage>;

    /// Nobody waits for its changes for now: lets go of what was held open for that.
    fn rest(&self) {}

    /// Resolves when somebody else who uses it has reason to think that it was deleted and made anew.
    fn doubted(&self) -> LocalBoxFuture<'_, ()> {
        pending().boxed_local()
    }

    /// It was deleted and made anew: whoever else uses it may want to look.
    fn doubt(&self) {}

    /// How many revisions are kept aside here because they did not prove themselves, once that is another
    /// number than `seen`. A peer that keeps nothing aside never says.
    fn quarantined(&self, _seen: u64) -> LocalBoxFuture<'_, u64> {
        pending().boxed_local()
    }

    /// The code of a filter function (`ddoc/name`), if it is one of this peer's: under another code the same
    /// name is another question.
    fn filter_code<'a>(&'a self, _filter: &'a str) -> Pending<'a, Option<String>> {
        async { Ok(None) }.boxed_local()
    }

    /// What the peer lacks; documents it lacks nothing of are left out.
    fn revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Pending<'_, Vec<MissingRevs>>;

    /// Of these, what the peer is not known to have without asking it.
    fn unknown(&self, leaves: Vec<(String, Vec<Rev>)>) -> Vec<(String, Vec<Rev>)> {
        leaves
    }

    /// The revisions named, with history and attachment stubs (`revs=true&latest=true`). A revision that
    /// was followed by others comes as its leaves.
    fn bulk_get(&self, wanted: Vec<MissingRevs>) -> Pending<'_, Vec<Fetched>>;

    /// An attachment's bytes, decoded. `Content::External` where they are best left outside our memory.
    fn attachment<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        attachment: &'a ReplicatedAttachment,
    ) -> Pending<'a, Content>;

    /// How many bytes of attachments come best in one go; 0 where each comes by itself.
    fn together_bytes(&self) -> u64 {
        0
    }

    /// Those attachments of several documents (each with the indexes of what is wanted) that come better
    /// together: the place of the document in `wanted`, the attachment's index, and its bytes. What is not
    /// among them, and every error, is for [`Peer::attachment`].
    fn attachments<'a>(
        &'a self,
        _wanted: &'a [(ReplicatedDoc, Vec<usize>)],
    ) -> LocalBoxFuture<'a, Vec<(usize, usize, Content)>> {
        ready(Vec::new()).boxed_local()
    }

    /// Which of a document's attachments this peer needs the bytes of, by index, before
    /// [`Peer::write_replicated`] can take it. `ancestors` are the ones [`Peer::revs_diff`] named.
    fn wanted_attachments<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        ancestors: &'a [Rev],
    ) -> Pending<'a, Vec<usize>>;

    /// Stores revisions as they are (`new_edits=false`). One outcome each, in order; the outer error is
    /// for the whole call. 412 `missing_stub` for one whose stub the peer cannot fill.
    fn write_replicated(&self, docs: Vec<ReplicatedDoc>) -> Pending<'_, Vec<Result<()>>>;

    /// The `_local/` document of this id (without the prefix), if there is one.
    fn local_doc<'a>(&'a self, id: &'a str) -> Pending<'a, Option<LocalDoc>>;

    /// Writes a `_local/` document; returns its new revision. 409 `conflict` if `doc.rev` is not the
    /// current one.
    fn put_local_doc<'a>(&'a self, id: &'a str, doc: LocalDoc) -> Pending<'a, String>;
}
