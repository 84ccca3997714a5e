//! A CouchDB database over HTTP.
//!
//! [`RemoteDatabase`] speaks the replication protocol as [`Peer`] asks for it and knows everything
//! about CouchDB's paths, answers and errors; [`Transport`] sends and knows nothing of them. Servers
//! differ in what they offer (`_bulk_get`, `multipart/related`); what one refuses is done another way
//! and remembered for as long as the object lives.

use std::{cell::Cell, collections::BTreeMap, fmt, rc::Rc};

use futures::FutureExt;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{Kind, Pending, Result},
    model::{Content, Rev, Seq, base64},
    peer::{
        ChangesPage, ChangesQuery, Fetched, LocalDoc, MissingRevs, Peer, PeerInfo, ReplicatedAttachment,
        ReplicatedDoc,
    },
    platform::Platform,
};

mod docs;
mod http;
mod multipart;
mod read;
mod replicator;
mod transport;
mod url;
mod write;

use http::Http;
pub use replicator::ServerReplication;
pub use transport::{Request, Response, Transport};
use url::Location;

/// How often a server is asked to keep a waiting line alive: PouchDB's default. Proxies cut lines that
/// are silent for half a minute and more.
pub const HEARTBEAT_MS: u32 = 10_000;

/// What to send along with every request.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteOptions {
    /// Headers of the caller's; one named `Authorization` takes the place of name and password.
    pub headers: BTreeMap<String, String>,
    /// Name and password; they go before those in the URL.
    pub auth: Option<Login>,
    /// How often the server keeps a waiting line alive, in milliseconds; [`HEARTBEAT_MS`] if this is no
    /// number. CouchDB's `true` means a default too, and a line that nobody keeps alive dies silently.
    pub heartbeat: Option<Value>,
}

/// Shows no secrets: headers may be some.
impl fmt::Debug for RemoteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteOptions").field("headers", &self.headers.len()).finish_non_exhaustive()
    }
}

/// A name and password.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// One end of a replication: a database on a server.
pub struct RemoteDatabase {
    http: Http,
    platform: Rc<dyn Platform>,
    heartbeat_ms: u32,
    /// The server has no `_bulk_get`: revisions are fetched document by document.
    lacks_bulk_get: Cell<bool>,
    /// The server takes no `multipart/related`: large attachments go as base64 after all.
    lacks_multipart: Cell<bool>,
}

impl RemoteDatabase {
    /// The database at `url`, `http(s)://[name:password@]host[:port]/[path/]database`. Sends nothing.
    ///
    /// Errors: 400 `bad_request` if that is no address of a database; the reason does not repeat it.
    pub fn new(
        transport: Rc<dyn Transport>,
        platform: Rc<dyn Platform>,
        url: &str,
        options: RemoteOptions,
    ) -> Result<Self> {
        let Location { url, login } = Location::parse(url)?;
        let mut headers: Vec<(String, String)> = options.headers.into_iter().collect();
        let login = options.auth.or(login);
        let has_login = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if let Some(Login { username, password }) = login
            && !has_login
        {
            let value = format!("Basic {}", base64(format!("{username}:{password}").as_bytes()));
            headers.push(("Authorization".to_owned(), value));
        }
        let heartbeat_ms = options.heartbeat.as_ref().and_then(Value::as_u64);
        let heartbeat_ms = heartbeat_ms.and_then(|ms| u32::try_from(ms).ok()).unwrap_or(HEARTBEAT_MS);
        Ok(Self {
            http: Http { transport, url, headers },
            platform,
            heartbeat_ms,
            lacks_bulk_get: Cell::new(false),
            lacks_multipart: Cell::new(false),
        })
    }

    /// Where it is, without name and password.
    pub fn url(&self) -> &str {
        &self.http.url
    }
}

/// Shows no secrets.
impl fmt::Debug for RemoteDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteDatabase({})", self.url())
    }
}

impl Peer for RemoteDatabase {
    fn identity(&self) -> Pending<'_, String> {
        async { Ok(self.http.url.clone()) }.boxed_local()
    }

    fn info(&self) -> Pending<'_, PeerInfo> {
        self.read_info().boxed_local()
    }

    fn create(&self) -> Pending<'_, bool> {
        async {
            match self.http.json("PUT", "", None).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == Kind::FileExists || error.status() == 412 => Ok(false),
                Err(error) => Err(error),
            }
        }
        .boxed_local()
    }

    fn changes<'a>(
        &'a self,
        query: &'a ChangesQuery,
        since: &'a Seq,
        limit: usize,
        wait_ms: Option<u32>,
    ) -> Pending<'a, ChangesPage> {
        self.read_changes(query, since, limit, wait_ms).boxed_local()
    }

    fn revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Pending<'_, Vec<MissingRevs>> {
        self.read_revs_diff(leaves).boxed_local()
    }

    fn bulk_get(&self, wanted: Vec<MissingRevs>) -> Pending<'_, Vec<Fetched>> {
        self.read_revisions(wanted).boxed_local()
    }

    fn attachment<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        attachment: &'a ReplicatedAttachment,
    ) -> Pending<'a, Content> {
        self.read_attachment(doc, attachment).boxed_local()
    }

    /// What came after the newest ancestor that the server has; it fills the stubs of the rest from
    /// that ancestor.
    fn wanted_attachments<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        ancestors: &'a [Rev],
    ) -> Pending<'a, Vec<usize>> {
        let newest = ancestors.iter().filter(|rev| doc.path.contains(rev)).map(|rev| rev.generation).max();
        let newest = newest.unwrap_or(0);
        let is_wanted = |index: &usize| doc.attachments[*index].revpos > newest;
        let wanted = (0..doc.attachments.len()).filter(is_wanted).collect();
        async move { Ok(wanted) }.boxed_local()
    }

    fn write_replicated(&self, docs: Vec<ReplicatedDoc>) -> Pending<'_, Vec<Result<()>>> {
        self.write_docs(docs).boxed_local()
    }

    fn local_doc<'a>(&'a self, id: &'a str) -> Pending<'a, Option<LocalDoc>> {
        self.read_local_doc(id).boxed_local()
    }

    fn put_local_doc<'a>(&'a self, id: &'a str, doc: LocalDoc) -> Pending<'a, String> {
        self.write_local_doc(id, doc).boxed_local()
    }
}
