//! The network of a simulation: links that are slow, break, swallow requests or their answers, and send
//! things twice; servers that are down, overloaded, or want a login. [`Wire`] is one replication's line to
//! one device; [`NetPeer`] is the database at its other end.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, LocalBoxFuture, select},
};
use serde_json::json;
use settee::{
    database::Database,
    error::{Error, Kind, Pending, Result},
    model::{Content, Rev, Seq},
    peer::{
        Along, ChangesPage, ChangesQuery, Fetched, LocalDoc, MissingRevs, Peer, PeerInfo,
        ReplicatedAttachment, ReplicatedDoc,
    },
    remote::Known,
};

use super::sim_time::{Owner, Sim};

/// How long a line that answers nothing is believed in.
const SILENCE_MS: u64 = 30_000;

/// A device as others see it.
pub struct Node {
    pub name: String,
    /// `None` while it is down.
    pub db: RefCell<Option<Database>>,
    /// Up, but the database is not there: deleted and not yet made again.
    pub is_absent: Cell<bool>,
    /// Somebody asked for the database to be made.
    pub is_wanted: Cell<bool>,
    pub owner: Cell<Owner>,
    /// Sequence numbers as CouchDB writes them: opaque, and those of another life of the database mean
    /// its beginning.
    pub has_opaque_seqs: bool,
}

/// The way between two devices.
#[derive(Default)]
pub struct Link {
    pub is_cut: Cell<bool>,
    /// What is under way across it.
    open: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Link {
    /// Everything that is under way is lost.
    pub fn tear(&self) {
        for line in self.open.take() {
            let _ = line.send(());
        }
    }

    fn torn(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut open = self.open.borrow_mut();
        open.retain(|line| !line.is_canceled());
        open.push(sender);
        receiver
    }
}

/// How bad the network is.
#[derive(Default)]
pub struct Net {
    /// Of a hundred exchanges, how many go wrong.
    pub faults: Cell<usize>,
    /// How long one way takes, at most.
    pub latency_ms: Cell<usize>,
    /// Exchanges that were neither waiting nor a look at who is there.
    pub activity: Cell<u64>,
}

/// What became of an exchange instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Network,
    Timeout,
    /// The line was silent for as long as the caller would wait for a change.
    Silence,
    Status(u16),
}

pub type Operation<T> = Rc<dyn Fn(Database) -> Pending<'static, T>>;

/// One replication's line to one device.
pub struct Wire {
    /// Whose it is, for the story.
    pub name: String,
    pub sim: Rc<Sim>,
    pub net: Rc<Net>,
    pub link: Rc<Link>,
    pub node: Rc<Node>,
    /// What the node is known to have, by all of this device that use it.
    pub known: Rc<Known>,
    pub calls: RefCell<BTreeMap<&'static str, u64>>,
    /// Failures that may pass by themselves, since the replication last told of one.
    pub untold: Cell<u64>,
    /// A checkpoint was refused: told or not, since a source may be public to read and no more.
    pub may_tell: Cell<bool>,
    pub faults: Cell<u64>,
    login_ms: Cell<u64>,
    late: RefCell<BTreeSet<(String, String)>>,
}

impl Wire {
    pub fn new(
        name: String,
        sim: &Rc<Sim>,
        net: &Rc<Net>,
        link: &Rc<Link>,
        node: &Rc<Node>,
        known: Rc<Known>,
    ) -> Rc<Self> {
        Rc::new(Self {
            name,
            known,
            sim: sim.clone(),
            net: net.clone(),
            link: link.clone(),
            node: node.clone(),
            calls: RefCell::default(),
            untold: Cell::new(0),
            may_tell: Cell::new(false),
            faults: Cell::new(0),
            login_ms: Cell::new(0),
            late: RefCell::default(),
        })
    }

    pub fn count(&self, call: &str) -> u64 {
        self.calls.borrow().get(call).copied().unwrap_or(0)
    }

    pub fn failed(&self, error: &Error) {
        if error.is_retryable() || error.needs_login() {
            self.untold.set(self.untold.get() + 1);
        }
        self.faults.set(self.faults.get() + 1);
    }

    /// One exchange. `Ok` is what the other end made of it, its own errors included.
    pub async fn exchange<T: 'static>(
        &self,
        call: &'static str,
        wait_ms: Option<u32>,
        operation: Operation<T>,
    ) -> Result<Result<T>, Fault> {
        *self.calls.borrow_mut().entry(call).or_default() += 1;
        if wait_ms.is_none() && !is_look(call) {
            self.net.activity.set(self.net.activity.get() + 1);
        }
        let answer = self.exchange_now(wait_ms, operation).await;
        self.sim.tell(|| {
            let shown = match &answer {
                Ok(Ok(_)) => "ok".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(fault) => format!("{fault:?}"),
            };
            format!("{} {call} at {}: {shown}", self.name, self.node.name)
        });
        answer
    }

    async fn exchange_now<T: 'static>(
        &self,
        wait_ms: Option<u32>,
        operation: Operation<T>,
    ) -> Result<Result<T>, Fault> {
        let sim = &self.sim;
        let goes_wrong = sim.percent(self.net.faults.get());
        let fate = if goes_wrong { sim.between(1, 9) } else { 0 };
        self.travel(fate == 9).await;
        if self.link.is_cut.get() {
            return Err(self.nothing(wait_ms).await);
        }
        if fate == 8 {
            self.login_ms.set(sim.passed_ms() + sim.between(100, 20_000) as u64);
        }
        if goes_wrong && sim.passed_ms() < self.login_ms.get() {
            return Err(Fault::Status(401));
        }
        match fate {
            1 => return Err(Fault::Network),
            2 => return Err(self.nothing(wait_ms).await),
            3 => return Err(self.refusal()),
            _ => {}
        }
        let torn = self.link.torn();
        let answer = self.serve(wait_ms.is_some(), &operation)?;
        let answer = match select(answer, torn).await {
            Either::Left((Ok(answer), _)) => answer,
            // It crashed.
            Either::Left((Err(_), _)) => return Err(Fault::Network),
            Either::Right(_) => return Err(self.nothing(wait_ms).await),
        };
        let answer = match fate {
            // Somebody on the way sends it once more, and one of the answers comes.
            4 => match self.serve(false, &operation)?.await {
                Ok(second) if sim.percent(50) && wait_ms.is_none() => second,
                _ => answer,
            },
            _ => answer,
        };
        self.travel(false).await;
        if self.link.is_cut.get() {
            return Err(self.nothing(wait_ms).await);
        }
        match fate {
            5 => Err(Fault::Network),
            6 => Err(self.nothing(wait_ms).await),
            7 => Err(self.refusal()),
            _ => Ok(answer),
        }
    }

    /// Hands it to the other end, which goes on with it whether or not anybody waits for the answer;
    /// unless it is a waiting line.
    fn serve<T: 'static>(
        &self,
        is_wait: bool,
        operation: &Operation<T>,
    ) -> Result<oneshot::Receiver<Result<T>>, Fault> {
        if self.node.is_absent.get() {
            return Err(Fault::Status(404));
        }
        let db = self.node.db.borrow().clone().ok_or(Fault::Network)?;
        let (mut sender, receiver) = oneshot::channel();
        let work = operation(db);
        self.sim.spawn(self.node.owner.get(), async move {
            if is_wait {
                let done = match select(work, sender.cancellation()).await {
                    Either::Left((done, _)) => done,
                    Either::Right(_) => return,
                };
                let _ = sender.send(done);
            } else {
                let _ = sender.send(work.await);
            }
        });
        Ok(receiver)
    }

    async fn travel(&self, is_slow: bool) {
        let most = self.net.latency_ms.get();
        let ms = if is_slow { self.sim.between(500, 12_000) } else { self.sim.between(1, most.max(1)) };
        self.sim.sleep(ms as u64).await;
    }

    /// Nobody answers: at once, or never.
    async fn nothing(&self, wait_ms: Option<u32>) -> Fault {
        if self.sim.percent(60) {
            return Fault::Network;
        }
        match wait_ms {
            Some(ms) => {
                self.sim.sleep(u64::from(ms)).await;
                Fault::Silence
            }
            None => {
                self.sim.sleep(SILENCE_MS).await;
                Fault::Timeout
            }
        }
    }

    fn refusal(&self) -> Fault {
        Fault::Status(self.sim.pick(&[500, 502, 503, 504, 429, 408]))
    }

    /// A place in the feed as this server writes it.
    pub fn write_seq(&self, seq: Seq, life: &str) -> Seq {
        if self.node.has_opaque_seqs { Seq(json!(format!("{}-{:.8}", seq.to_query(), life))) } else { seq }
    }

    /// Whether a revision is on its way between the server's own nodes: told as missing, once.
    fn is_late(&self, id: &str, rev: &Rev) -> bool {
        self.sim.percent(self.net.faults.get() / 2)
            && self.late.borrow_mut().insert((id.to_owned(), rev.to_string()))
    }
}

/// The winners of a page, as CouchDB's `include_docs` gives them: without a history, so that those of later
/// generations are of no use.
async fn along(db: &Database, page: &ChangesPage) -> Result<Vec<Along>> {
    let wanted = page.results.iter().map(|change| MissingRevs {
        id: change.id.clone(),
        revs: change.leaves[..1].to_vec(),
        possible_ancestors: Vec::new(),
    });
    let fetched = Peer::bulk_get(db, wanted.collect()).await?;
    let docs = fetched.into_iter().filter_map(|fetched| fetched.doc.ok());
    let is_first = |doc: &ReplicatedDoc| doc.rev().generation == 1;
    Ok(docs.map(|doc| Along { bytes: doc.body.len(), doc: Some(doc).filter(is_first) }).collect())
}

/// Whether it only asks who is there.
pub fn is_look(call: &str) -> bool {
    matches!(call, "info" | "local_doc")
}

/// A place in the feed as the database has it. That of another life is the beginning.
pub fn read_seq(seq: &Seq, life: &str) -> Seq {
    match seq.0.as_str().and_then(|text| text.split_once('-')) {
        Some((number, of)) if life.starts_with(of) => Seq(json!(number.parse::<u64>().unwrap())),
        Some(_) => Seq::zero(),
        None => seq.clone(),
    }
}

/// A database at the other end of a wire.
pub struct NetPeer(pub Rc<Wire>);

impl NetPeer {
    async fn call<T: 'static>(
        &self,
        call: &'static str,
        wait_ms: Option<u32>,
        operation: impl Fn(Database) -> Pending<'static, T> + 'static,
    ) -> Result<Option<T>> {
        let error = match self.0.exchange(call, wait_ms, Rc::new(operation)).await {
            Ok(Ok(answer)) => return Ok(Some(answer)),
            Ok(Err(error)) => error,
            Err(Fault::Silence) => return Ok(None),
            Err(Fault::Network) => Error::new(Kind::Network, "sim"),
            Err(Fault::Timeout) => Error::new(Kind::Timeout, "sim"),
            Err(Fault::Status(401)) => Error::remote(401, "unauthorized", "sim"),
            Err(Fault::Status(404)) => Error::remote(404, "not_found", "Database does not exist."),
            Err(Fault::Status(status)) => Error::remote(status, "sim", "sim"),
        };
        if call == "put_local_doc" && error.needs_login() {
            self.0.may_tell.set(true);
        } else {
            self.0.failed(&error);
        }
        Err(error)
    }

    async fn ask<T: 'static>(
        &self,
        call: &'static str,
        operation: impl Fn(Database) -> Pending<'static, T> + 'static,
    ) -> Result<T> {
        Ok(self.call(call, None, operation).await?.expect("only a wait is silent"))
    }
}

impl Peer for NetPeer {
    fn identity(&self) -> Pending<'_, String> {
        async { Ok(format!("http://{}/db", self.0.node.name)) }.boxed_local()
    }

    fn info(&self) -> Pending<'_, PeerInfo> {
        async {
            let (mut info, life) = self
                .ask("info", |db| {
                    async move { Ok((Peer::info(&db).await?, db.identity().await?)) }.boxed_local()
                })
                .await?;
            info.update_seq = self.0.write_seq(info.update_seq, &life);
            self.0.known.begin(None);
            Ok(info)
        }
        .boxed_local()
    }

    fn create(&self) -> Pending<'_, bool> {
        async {
            if self.0.node.is_absent.get() {
                self.0.node.is_wanted.set(true);
                while self.0.node.is_absent.get() {
                    self.0.sim.sleep(100).await;
                }
                return Ok(true);
            }
            self.ask("create", |_| async { Ok(false) }.boxed_local()).await
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
            let name = if wait_ms.is_some() { "wait" } else { "changes" };
            let is_cut_short = self.0.sim.percent(self.0.net.faults.get());
            let limit = if is_cut_short { limit.min(self.0.sim.between(1, 3)) } else { limit };
            let (query, asked) = (query.clone(), since.clone());
            let known_life = self.0.known.life();
            let answer = self
                .call(name, wait_ms, move |db| {
                    let (query, asked) = (query.clone(), asked.clone());
                    async move {
                        let life = db.identity().await?;
                        let since = read_seq(&asked, &life);
                        let mut page = Peer::changes(&db, &query, &since, limit, wait_ms).await?;
                        if query.include_docs {
                            page.docs = along(&db, &page).await?;
                        }
                        Ok((page, life))
                    }
                    .boxed_local()
                })
                .await?;
            let Some((mut page, life)) = answer else {
                return Ok(ChangesPage {
                    results: Vec::new(),
                    last_seq: since.clone(),
                    pending: None,
                    docs: Vec::new(),
                    odd: Vec::new(),
                });
            };
            self.0.known.note(known_life, &page.results);
            for change in &mut page.results {
                change.seq = self.0.write_seq(change.seq.clone(), &life);
            }
            page.last_seq = self.0.write_seq(page.last_seq, &life);
            Ok(page)
        }
        .boxed_local()
    }

    fn revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Pending<'_, Vec<MissingRevs>> {
        async move {
            let leaves = self.0.known.unknown(leaves);
            if leaves.is_empty() {
                return Ok(Vec::new());
            }
            self.ask("revs_diff", move |db| {
                let leaves = leaves.clone();
                async move { Peer::revs_diff(&db, leaves).await }.boxed_local()
            })
            .await
        }
        .boxed_local()
    }

    fn bulk_get(&self, wanted: Vec<MissingRevs>) -> Pending<'_, Vec<Fetched>> {
        async move {
            let mut fetched = self
                .ask("bulk_get", move |db| {
                    let wanted = wanted.clone();
                    async move { Peer::bulk_get(&db, wanted).await }.boxed_local()
                })
                .await?;
            for row in &mut fetched {
                if let Ok(doc) = &row.doc
                    && let Some(rev) = &row.rev
                    && self.0.is_late(&doc.id, rev)
                {
                    row.doc = Err(Error::missing());
                }
            }
            Ok(fetched)
        }
        .boxed_local()
    }

    fn attachment<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        attachment: &'a ReplicatedAttachment,
    ) -> Pending<'a, Content> {
        async move {
            let (doc, attachment) = (doc.clone(), attachment.clone());
            self.ask("attachment", move |db| {
                let (doc, attachment) = (doc.clone(), attachment.clone());
                async move { Peer::attachment(&db, &doc, &attachment).await }.boxed_local()
            })
            .await
        }
        .boxed_local()
    }

    fn together_bytes(&self) -> u64 {
        64
    }

    /// As many as come before something goes wrong.
    fn attachments<'a>(
        &'a self,
        wanted: &'a [(ReplicatedDoc, Vec<usize>)],
    ) -> LocalBoxFuture<'a, Vec<(usize, usize, Content)>> {
        async move {
            let mut came = Vec::new();
            for (place, (doc, indexes)) in wanted.iter().enumerate() {
                for &index in indexes {
                    match self.attachment(doc, &doc.attachments[index]).await {
                        Ok(content) => came.push((place, index, content)),
                        Err(error) => {
                            // What did not come is asked for once more, by itself; only that tells.
                            let is_counted = error.is_retryable() || error.needs_login();
                            let untold = &self.0.untold;
                            untold.set(untold.get().saturating_sub(u64::from(is_counted)));
                            return came;
                        }
                    }
                }
            }
            came
        }
        .boxed_local()
    }

    fn wanted_attachments<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        ancestors: &'a [Rev],
    ) -> Pending<'a, Vec<usize>> {
        async move {
            let (doc, ancestors) = (doc.clone(), ancestors.to_vec());
            self.ask("wanted", move |db| {
                let (doc, ancestors) = (doc.clone(), ancestors.clone());
                async move { db.wanted_attachments(&doc, &ancestors).await }.boxed_local()
            })
            .await
        }
        .boxed_local()
    }

    fn write_replicated(&self, docs: Vec<ReplicatedDoc>) -> Pending<'_, Vec<Result<()>>> {
        async move {
            let outcomes = self
                .ask("write", move |db| {
                    let docs = docs.clone();
                    async move { db.write_replicated(docs).await }.boxed_local()
                })
                .await?;
            // One of several nodes of the server was busy.
            let is_busy = self.0.sim.percent(self.0.net.faults.get() / 3);
            Ok(outcomes
                .into_iter()
                .map(|outcome| {
                    if is_busy && self.0.sim.percent(30) {
                        let error = Error::remote(503, "sim", "sim");
                        self.0.failed(&error);
                        return Err(error);
                    }
                    outcome
                })
                .collect())
        }
        .boxed_local()
    }

    fn local_doc<'a>(&'a self, id: &'a str) -> Pending<'a, Option<LocalDoc>> {
        async move {
            let id = id.to_owned();
            self.ask("local_doc", move |db| {
                let id = id.clone();
                async move { db.local_doc(&id).await }.boxed_local()
            })
            .await
        }
        .boxed_local()
    }

    fn put_local_doc<'a>(&'a self, id: &'a str, doc: LocalDoc) -> Pending<'a, String> {
        async move {
            let id = id.to_owned();
            self.ask("put_local_doc", move |db| {
                let (id, doc) = (id.clone(), doc.clone());
                async move { db.put_local_doc(&id, doc).await }.boxed_local()
            })
            .await
        }
        .boxed_local()
    }
}
