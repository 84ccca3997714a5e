//! A line to [`super::sim_http`]'s server that breaks, and what a session there is worth. It carries long polls
//! and continuous feeds, of which it may hold back what comes, cut them, or let them fall silent.
#![allow(dead_code)]

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, pending, select},
};
use serde_json::{Value, json};
use settee::{
    database::Database,
    error::{Error, Kind, Pending, Result},
    model::Content,
    remote::{Answer, Body, Request, Response, Transport},
};

use super::{
    sim_http::serve,
    sim_time::{Sim, WORLD},
};

/// A server, and how the way there is.
pub struct Server {
    pub sim: Rc<Sim>,
    pub db: Database,
    /// Of a hundred exchanges, how many go wrong.
    pub faults: Cell<usize>,
    pub latency_ms: usize,
    pub is_cut: Cell<bool>,
    /// Nobody gets in with this password.
    pub is_locked: Cell<bool>,
    /// How much went wrong so far.
    pub broken: Cell<u64>,
    sessions: Cell<u64>,
    /// Sessions before this one have ended.
    oldest: Cell<u64>,
    /// What is under way.
    open: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Server {
    pub fn new(sim: &Rc<Sim>, db: Database) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            db,
            faults: Cell::new(sim.pick(&[0, 3, 10, 25])),
            latency_ms: sim.pick(&[1, 30, 400]),
            is_cut: Cell::default(),
            is_locked: Cell::default(),
            broken: Cell::default(),
            sessions: Cell::default(),
            oldest: Cell::default(),
            open: RefCell::default(),
        })
    }

    /// Everything that is under way is lost, with a word or without.
    pub fn tear(&self) {
        self.broken.set(self.broken.get() + 1);
        for line in self.open.take() {
            let _ = line.send(());
        }
    }

    /// Whoever is logged in is so no more.
    pub fn log_out(&self) {
        self.broken.set(self.broken.get() + 1);
        self.oldest.set(self.sessions.get() + 1);
    }

    /// How often somebody logged in.
    pub fn sessions(&self) -> u64 {
        self.sessions.get()
    }

    /// Resolves when the line breaks.
    fn torn(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut open = self.open.borrow_mut();
        open.retain(|line| !line.is_canceled());
        open.push(sender);
        receiver
    }

    /// A broken line: an error, or nothing at all.
    async fn gone<T>(&self) -> Result<T> {
        self.broken.set(self.broken.get() + 1);
        if self.sim.percent(40) {
            pending::<()>().await;
        }
        Err(Error::new(Kind::Network, "The line broke."))
    }

    async fn travel(&self) {
        self.sim.sleep(self.sim.between(1, self.latency_ms) as u64).await;
    }

    fn is_in(&self, request: &Request) -> bool {
        let cookie = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        let session = cookie.and_then(|(_, value)| value.strip_prefix("AuthSession=")?.parse::<u64>().ok());
        session.is_some_and(|session| session >= self.oldest.get())
    }

    /// One request as the server does it, which goes on whoever waits for it.
    async fn work(self: &Rc<Self>, request: Request) -> Response {
        let (sender, receiver) = oneshot::channel();
        let server = self.clone();
        self.sim.spawn(WORLD, async move {
            let response = serve(&server.db, request).await;
            let _ = sender.send(response);
        });
        receiver.await.unwrap()
    }

    async fn session(self: &Rc<Self>, request: &Request) -> Response {
        if request.method == "POST" {
            if self.is_locked.get() {
                self.broken.set(self.broken.get() + 1);
                return response(
                    401,
                    json!({"error": "unauthorized", "reason": "Name or password is incorrect."}),
                );
            }
            self.sessions.set(self.sessions.get() + 1);
            let cookie =
                format!("AuthSession={}; Version=1; Path=/; HttpOnly; Max-Age=600", self.sessions.get());
            let mut made = response(200, json!({"ok": true, "name": "user"}));
            made.headers.push(("set-cookie".to_owned(), cookie));
            return made;
        }
        let name = if self.is_in(request) { json!("user") } else { Value::Null };
        response(200, json!({"ok": true, "userCtx": {"name": name}}))
    }

    async fn answer(self: &Rc<Self>, mut request: Request) -> Result<Response> {
        let fate = if self.sim.percent(self.faults.get()) { self.sim.between(1, 7) } else { 0 };
        self.travel().await;
        if self.is_cut.get() || fate == 1 {
            return self.gone().await;
        }
        self.broken.set(self.broken.get() + u64::from(fate > 0));
        if request.url.ends_with("/_session") {
            return Ok(self.session(&request).await);
        }
        if !self.is_in(&request) {
            return Ok(response(401, json!({"error": "unauthorized", "reason": "You are not logged in."})));
        }
        match fate {
            2 => {
                // The server gets a part of the body, and may not take it for the whole.
                let mut bytes = Vec::new();
                for piece in &request.body {
                    bytes.extend_from_slice(&piece.bytes().await?);
                }
                if !bytes.is_empty() {
                    bytes.truncate(self.sim.below(bytes.len()));
                    request.body = vec![Content::from(bytes)];
                    self.work(request).await;
                }
                return self.gone().await;
            }
            3 => {
                let status = self.sim.pick(&[500, 502, 503, 504, 429]);
                return Ok(response(status, json!({"error": "sim", "reason": "sim"})));
            }
            4 => self.sim.sleep(self.sim.between(500, 12_000) as u64).await,
            _ => {}
        }
        let done = select(self.work(request).boxed_local(), self.torn()).await;
        let mut response = match done {
            Either::Left((response, _)) => response,
            Either::Right(_) => return self.gone().await,
        };
        self.travel().await;
        match fate {
            5 => self.gone().await,
            6 => {
                // Somebody in between ends it early, without a word.
                let mut bytes = response.body.bytes().await?.to_vec();
                bytes.truncate(self.sim.below(bytes.len().max(1)));
                response.body = bytes.into();
                Ok(response)
            }
            7 => Ok(Response {
                status: 504,
                headers: Vec::new(),
                body: Content::from(b"<h1>late</h1>".to_vec()),
            }),
            _ => Ok(response),
        }
    }
}

fn response(status: u16, json: Value) -> Response {
    Response { status, headers: Vec::new(), body: Content::from(json.to_string().into_bytes()) }
}

/// One device's line.
pub struct Line {
    pub name: String,
    pub server: Rc<Server>,
    /// Whether what comes is given as it comes.
    pub streams: bool,
}

impl Transport for Line {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        self.server.answer(request).boxed_local()
    }

    fn open(&self, request: Request) -> Pending<'_, Answer> {
        async move {
            crate::kit::rng::note(|| {
                format!(
                    "{} {} {} {:.150}",
                    self.name,
                    self.server.sim.passed_ms(),
                    request.method,
                    request.url
                )
            });
            let is_feed = self.streams && request.url.contains("feed=continuous");
            if !is_feed {
                let Response { status, headers, body } = self.send(request).await?;
                let body = Pieces(vec![body]);
                return Ok(Answer { status, headers, body: Box::new(body) });
            }
            let server = self.server.clone();
            let fate = if server.sim.percent(server.faults.get()) { server.sim.between(1, 4) } else { 0 };
            server.travel().await;
            if server.is_cut.get() || fate == 1 {
                return server.gone().await;
            }
            if !server.is_in(&request) {
                let refusal =
                    response(401, json!({"error": "unauthorized", "reason": "You are not logged in."}));
                let body = Box::new(Pieces(vec![refusal.body]));
                return Ok(Answer { status: 401, headers: Vec::new(), body });
            }
            let value = |name: &str| {
                let pairs = request.url.split(['?', '&']);
                pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).next().map(str::to_owned)
            };
            let lives_ms = if fate > 1 { server.sim.between(1, 60_000) as u64 } else { u64::MAX };
            server.broken.set(server.broken.get() + u64::from(fate > 0));
            let body = Feed {
                torn: server.torn().shared(),
                ends_ms: server.sim.passed_ms().saturating_add(lives_ms),
                is_silent: fate == 2,
                since: value("since").unwrap(),
                with_docs: request.url.contains("include_docs=true"),
                heartbeat_ms: value("heartbeat").unwrap().parse().unwrap(),
                is_begun: false,
                server,
                request,
            };
            Ok(Answer { status: 200, headers: Vec::new(), body: Box::new(body) })
        }
        .boxed_local()
    }

    fn can_stream(&self) -> bool {
        self.streams
    }
}

struct Pieces(Vec<Content>);

impl Body for Pieces {
    fn next(&mut self) -> Pending<'_, Option<Content>> {
        std::future::ready(Ok(self.0.pop())).boxed_local()
    }
}

/// A continuous feed.
struct Feed {
    server: Rc<Server>,
    request: Request,
    since: String,
    with_docs: bool,
    heartbeat_ms: u64,
    is_begun: bool,
    /// When it breaks by itself, and whether nothing tells so.
    ends_ms: u64,
    is_silent: bool,
    torn: futures::future::Shared<oneshot::Receiver<()>>,
}

impl Feed {
    /// Rows, or an empty one after a heartbeat.
    async fn rows(&mut self) -> Result<Vec<u8>> {
        let kind = if self.is_begun { "&feed=longpoll" } else { "" };
        let docs = if self.with_docs { "&include_docs=true" } else { "" };
        let (head, _) = self.request.url.split_once('?').unwrap();
        let url = format!("{head}?style=all_docs&since={}{docs}{kind}", self.since);
        let asked = serve(&self.server.db, Request { url, ..self.request.clone() });
        let heartbeat = self.server.sim.sleep(self.heartbeat_ms);
        let page = match select(asked.boxed_local(), heartbeat).await {
            Either::Left((page, _)) => page,
            Either::Right(_) => return Ok(b"\n".to_vec()),
        };
        let page: Value = serde_json::from_slice(&page.body.bytes().await?).unwrap();
        self.is_begun = true;
        self.since = page["last_seq"].as_str().unwrap().to_owned();
        let rows = page["results"].as_array().unwrap().iter();
        let text: String = rows.map(|row| format!("{row}\n")).collect();
        Ok(if text.is_empty() { b"\n".to_vec() } else { text.into_bytes() })
    }
}

impl Body for Feed {
    fn next(&mut self) -> Pending<'_, Option<Content>> {
        async move {
            let server = self.server.clone();
            let left_ms = self.ends_ms.saturating_sub(server.sim.passed_ms());
            let (is_silent, torn) = (self.is_silent, self.torn.clone());
            let ends = async {
                match left_ms {
                    _ if left_ms > 1 << 40 => drop(torn.await),
                    _ => drop(select(torn, server.sim.sleep(left_ms)).await),
                }
            };
            let broke = match select(ends.boxed_local(), self.rows().boxed_local()).await {
                Either::Right((rows, _)) => return rows.map(|rows| Some(Content::from(rows))),
                Either::Left(_) => is_silent || server.sim.percent(40),
            };
            if broke {
                pending::<()>().await;
            }
            if server.sim.percent(50) { Ok(None) } else { Err(Error::new(Kind::Network, "The line broke.")) }
        }
        .boxed_local()
    }
}
