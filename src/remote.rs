//! A CouchDB database over HTTP.
//!
//! [`RemoteDatabase`] speaks the replication protocol as [`Peer`] asks for it and knows everything
//! about CouchDB's paths, answers and errors; [`Transport`] sends and knows nothing of them. Servers
//! differ in what they offer (`_bulk_get`, `multipart/related`); what one refuses and takes another way
//! is done that way for a while.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::Rc,
};

use futures::{FutureExt, future::LocalBoxFuture};
use serde_json::{Map, Value};

use crate::{
    error::{Error, Kind, Pending, Result},
    model::{Content, Rev, Seq, options},
    peer::{
        ChangesPage, ChangesQuery, Fetched, LocalDoc, MissingRevs, Peer, PeerInfo, ReplicatedAttachment,
        ReplicatedDoc,
    },
    platform::Platform,
};

mod auth;
mod db_updates;
mod docs;
mod download;
mod feed;
mod http;
mod known;
mod multipart;
mod origin;
mod parts;
mod read;
mod replicator;
mod retry_after;
mod slots;
mod together;
mod transport;
mod url;
mod write;

use auth::Auth;
pub use auth::{Credentials, Login, Reason, Tokens, no_token};
use db_updates::DbUpdates;
use download::Part;
pub use feed::Feed;
use feed::Listening;
use http::Http;
pub use known::Known;
pub use origin::{Channel, Look, Move, Moves, Origin, Origins};
pub use replicator::ServerReplication;
pub use slots::{CONNECTIONS, Claim, Permit, Slots};
pub use transport::{Answer, Body, Request, Response, Transport};
use url::{Location, decode};

/// For the fuzz targets: the parsers of what a server answers.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod fuzz {
    use super::parts::{Part, Parts};
    pub use super::{feed::parse_changes, parts::boundary_of, read::parse_item};
    use crate::model::Content;

    /// Names and contents of the attachments in a `_bulk_get` answer, and whether it came whole.
    pub async fn attachments(body: &Content, boundary: &str) -> (Vec<(String, Content)>, bool) {
        let (mut parts, mut found) = (Parts::new(body, boundary), Vec::new());
        let mut outcome = parts.begin().await.map(|()| true);
        while let Ok(true) = outcome {
            outcome = parts.next(&mut found).await;
        }
        (found.into_iter().map(|Part { name, content }| (name, content)).collect(), outcome.is_ok())
    }
}

/// How often a server is asked to keep a waiting line alive: PouchDB's default. Proxies cut lines that
/// are silent for half a minute and more.
pub const HEARTBEAT_MS: u32 = 10_000;

/// How long a server may say nothing: CouchDB's replicator allows 30 s; a phone's network may sleep longer.
pub const CONNECTION_TIMEOUT_MS: u32 = 60_000;

/// How long what a server did not take is done another way. It may have been a fault of the moment, or of
/// somebody in between.
const LACKS_MS: f64 = 1_800_000.0;

/// What to send along with every request.
#[derive(Clone, Default)]
pub struct RemoteOptions {
    /// Headers of the caller's; one named `Authorization` takes the place of name and password.
    pub headers: BTreeMap<String, String>,
    /// Name and password; they go before those in the URL.
    pub auth: Option<Login>,
    /// Bearer tokens; they go before name and password.
    pub tokens: Option<Rc<dyn Tokens>>,
    /// How often the server keeps a waiting line alive, in milliseconds; [`HEARTBEAT_MS`] if this is no
    /// number. CouchDB's `true` means a default too, and a line that nobody keeps alive dies silently.
    pub heartbeat: Option<Value>,
    /// How long a server may say nothing before a request is given up with `timeout`, in milliseconds;
    /// [`CONNECTION_TIMEOUT_MS`] if absent. A body that is sent adds what a slow line takes for it; a
    /// line that waits for changes has its heartbeats instead.
    pub connection_timeout: Option<u32>,
    /// How many connections all databases on this server share; the last one said counts. [`CONNECTIONS`]
    /// if none was.
    pub connections: Option<usize>,
    /// The servers in use, for databases that are to share theirs; one that is given none shares nothing.
    pub origins: Option<Rc<Origins>>,
    /// How changes are waited for. A browser gives one server six connections over HTTP/1.1, and a
    /// continuous feed holds one; that is for who has many databases on a server to say.
    pub feed: Feed,
}

/// Shows no secrets: headers may be some.
impl fmt::Debug for RemoteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteOptions").field("headers", &self.headers.len()).finish_non_exhaustive()
    }
}

options!(RemoteOptions: headers, auth, heartbeat, connection_timeout, connections, feed);

/// One end of a replication: a database on a server.
pub struct RemoteDatabase {
    http: Http,
    heartbeat_ms: u32,
    channel: Rc<Channel>,
    listening: Listening,
    /// Downloads that broke off, the last one first.
    parts: RefCell<Vec<Part>>,
    /// Until then the server has no `_bulk_get`: revisions are fetched document by document.
    no_bulk_get_until_ms: Cell<f64>,
    /// Until then it answers `_bulk_get` as JSON alone: attachments are fetched one by one.
    no_parts_until_ms: Cell<f64>,
    /// How many bytes of attachments one such answer is to have.
    together_bytes: Cell<u64>,
    /// Until then it takes no `multipart/related`: large attachments go as base64 after all.
    no_multipart_until_ms: Cell<f64>,
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
        let login = options.auth.or(login).map(Credentials::Login);
        let credentials = options.tokens.map(Credentials::Tokens).or(login);
        let headers: Vec<(String, String)> = options.headers.into_iter().collect();
        let heartbeat_ms = options.heartbeat.as_ref().and_then(Value::as_u64);
        let heartbeat_ms = heartbeat_ms.and_then(|ms| u32::try_from(ms).ok()).unwrap_or(HEARTBEAT_MS);
        let timeout_ms = options.connection_timeout.unwrap_or(CONNECTION_TIMEOUT_MS);
        if timeout_ms == 0 || options.connections == Some(0) {
            let reason = "`connection_timeout` and `connections` are at least 1";
            return Err(Error::new(Kind::QueryParse, reason));
        }
        let (root, name) = url.rsplit_once('/').unwrap_or((&url, ""));
        // Who asks decides what may be asked, so another user is another origin. Not shown, not stored.
        let user = match &credentials {
            Some(Credentials::Login(login)) => login.username.clone(),
            Some(Credentials::Tokens(_)) => "bearer".to_owned(),
            None => headers.iter().flat_map(|(name, value)| [name.as_str(), value]).collect(),
        };
        let origin = options.origins.unwrap_or_default().get(root, &user, |slots| {
            let http = Http {
                transport: transport.clone(),
                platform: platform.clone(),
                url: root.to_owned(),
                auth: Auth::new(headers.clone(), credentials.clone()),
                slots: slots.clone(),
                is_visible: Rc::default(),
                distrusts_cache: Cell::default(),
                timeout_ms,
            };
            Origin::new(slots, platform.clone(), Some(Rc::new(DbUpdates { http, heartbeat_ms })))
        });
        let channel = origin.channel(&decode(name).unwrap_or_else(|_| name.to_owned()));
        if let Some(connections) = options.connections {
            channel.slots().set_limit(connections);
        }
        let listening = Listening::default();
        listening.feed.set(options.feed);
        Ok(Self {
            http: Http {
                transport,
                platform,
                auth: Auth::new(headers, credentials),
                slots: channel.slots().clone(),
                is_visible: channel.visibility(),
                distrusts_cache: Cell::default(),
                timeout_ms,
                url,
            },
            heartbeat_ms,
            channel,
            listening,
            parts: RefCell::default(),
            no_bulk_get_until_ms: Cell::default(),
            no_parts_until_ms: Cell::default(),
            together_bytes: Cell::new(together::FIRST_BYTES),
            no_multipart_until_ms: Cell::default(),
        })
    }

    /// Goes on with another login, from the next request on; a session or token is got when it is
    /// needed. For after a 401 ([`Error::needs_login`](crate::error::Error::needs_login)).
    pub fn log_in(&self, credentials: Credentials) {
        self.http.auth.log_in(credentials);
    }

    /// The same once the server has taken the login, and not if it refused: then all stays as it was.
    ///
    /// Errors: 401 or 403, the server's refusal; any other says that it could not be asked, and the login is
    /// used from now on.
    pub fn try_log_in(&self, credentials: Credentials) -> Pending<'_, ()> {
        async move {
            let other = self.http.with_login(credentials.clone());
            let judged = other.json("GET", "", None).await;
            if !judged.as_ref().is_err_and(|error| matches!(error.status(), 401 | 403)) {
                self.log_in(credentials);
                self.http.auth.take_over(other.auth);
            }
            match judged {
                // Whoever may ask has been let in.
                Err(error) if error.kind() != Kind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
        .boxed_local()
    }

    /// Puts a design document there, in place of one that says something else; whether it was not there like this.
    ///
    /// Shape:  `text` is the document, JSON without a revision.
    /// Errors: 403 `forbidden` if this login may not; what the server says.
    pub fn put_design<'a>(&'a self, id: &'a str, text: &'a str) -> Pending<'a, bool> {
        async move {
            let path = url::doc_path(id)?;
            let doc: Map<String, Value> = http::parse(text)?;
            let mut attempts = 3;
            let put = loop {
                let there: Map<String, Value> = match self.http.json("GET", &path, None).await {
                    Ok(there) => http::parse(&there)?,
                    Err(error) if error.kind() == Kind::NotFound && !http::is_database_missing(&error) => Map::new(),
                    Err(error) => return Err(error),
                };
                if !there.is_empty() && doc.iter().all(|(name, value)| there.get(name) == Some(value)) {
                    return Ok(false);
                }
                let mut doc = doc.clone();
                doc.extend(there.into_iter().filter(|(name, _)| name == "_rev"));
                let put = self.http.json("PUT", &path, Some(Value::Object(doc).to_string())).await;
                match &put {
                    // Somebody put one there meanwhile, most likely this one.
                    Err(error) if error.kind() == Kind::Conflict && attempts > 0 => attempts -= 1,
                    _ => break put,
                }
            };
            put.map(|_| true).map_err(|error| match error.status() {
                401 | 403 => Error::new(
                    Kind::Forbidden,
                    "Only an administrator of this database may set a rule on its server. Nothing was changed, and \
                     everything else goes on without it.",
                )
                .with_source(error),
                _ => error,
            })
        }
        .boxed_local()
    }

    /// Whether what was not taken before may be tried again.
    fn may_try(&self, until_ms: &Cell<f64>) -> bool {
        self.http.platform.now_ms() >= until_ms.get()
    }

    /// It was not taken, and another way was.
    fn do_without(&self, until_ms: &Cell<f64>) {
        until_ms.set(self.http.platform.now_ms() + LACKS_MS);
    }

    /// The user looks at this database, or no longer does: it goes first where many share few connections.
    pub fn set_visible(&self, is_visible: bool) {
        self.channel.set_visible(is_visible);
    }

    /// How changes are waited for from the next call on. A line that is open is closed by the first call
    /// that has no use for it.
    pub fn set_feed(&self, feed: Feed) {
        self.listening.feed.set(feed);
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

    fn filter_code<'a>(&'a self, filter: &'a str) -> Pending<'a, Option<String>> {
        self.read_filter_code(filter).boxed_local()
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
        async move {
            let look = match wait_ms {
                None => Look::Ask,
                Some(ms) => self.channel.look(ms).await,
            };
            if wait_ms.is_some() && look != Look::Wait {
                self.listening.hang_up();
            }
            if look == Look::Rest {
                return Ok(feed::empty(since));
            }
            let wait_ms = wait_ms.filter(|_| look == Look::Wait);
            let page = self.read_changes(query, since, limit, wait_ms).await?;
            if !page.results.is_empty() {
                self.channel.had_changes();
            }
            Ok(page)
        }
        .boxed_local()
    }

    fn rest(&self) {
        self.listening.hang_up();
        self.channel.rest();
    }

    fn doubted(&self) -> LocalBoxFuture<'_, ()> {
        self.channel.doubted().boxed_local()
    }

    fn doubt(&self) {
        self.channel.doubt();
    }

    fn revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Pending<'_, Vec<MissingRevs>> {
        self.read_revs_diff(leaves).boxed_local()
    }

    fn unknown(&self, leaves: Vec<(String, Vec<Rev>)>) -> Vec<(String, Vec<Rev>)> {
        self.channel.known.unknown(leaves)
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

    fn together_bytes(&self) -> u64 {
        if self.may_try(&self.no_parts_until_ms) { self.together_bytes.get() } else { 0 }
    }

    fn attachments<'a>(
        &'a self,
        wanted: &'a [(ReplicatedDoc, Vec<usize>)],
    ) -> LocalBoxFuture<'a, Vec<(usize, usize, Content)>> {
        self.fetch_together(wanted).boxed_local()
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
        // CouchDB keeps a revpos of 0 where whoever wrote it gave none.
        let is_wanted = |index: &usize| newest == 0 || doc.attachments[*index].revpos > newest;
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
