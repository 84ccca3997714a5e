//! The changes feed of a server: read as it stands, or waited for on a line that stays open.
//!
//! ```text
//! continuous   one line for as long as it lives; the server writes a row for each change and an empty
//!              row now and then (the heartbeat). Kept between calls that go on where the last page ended.
//! long poll    a request for each page that is waited for.
//! ```
//!
//! Which of them works is found out by trying: what stands between may hold back what a line carries until
//! it ends (npm's pouchdb-server compresses it, some proxies collect it). A continuous line on which nothing
//! comes, not even an empty row, is given up for a while, and long polls are used. A line that was heard of
//! and falls silent for two and a half heartbeats is dead.
//!
//! Documents may come along with the rows (`include_docs`). The row has a document's winner and no history, so
//! it is complete where the winner is of the first generation: then it is its own history. With a filter
//! CouchDB gives the winner even where only another leaf passed, so the revision is compared.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
};

use futures::{
    FutureExt,
    future::{Either, select},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    RemoteDatabase, docs,
    http::{failure_of, garbled},
    transport::{Body, Request},
    url::encode,
};
use crate::{
    error::{Error, Kind, Result},
    model::{Content, Member, Rev, Seq},
    peer::{Along, Change, ChangesPage, ChangesQuery, ReplicatedDoc},
};

/// How many times as long a server may be silent while a filter passes over changes: CouchDB sends
/// nothing meanwhile.
const FILTERING_PATIENCE: u32 = 5;

/// How soon a continuous line has to show that it works. CouchDB sends an empty row at once when it has
/// told all there is, so that a server whose lines are held back costs a moment and not many heartbeats.
const FIRST_SIGN_MS: u32 = 3_000;

/// How long long polls are used once a continuous line did not work.
const POLLING_MS: f64 = 1_800_000.0;

/// What a page of a line has, at most, if it has more than one row.
const PAGE_BYTES: usize = 1 << 20;

/// A row of so many bytes that did not come whole is one with a document that is too large.
const LARGE_BYTES: usize = 65_536;

/// How many rows a page has that comes whole, with documents: nobody tells how large they are.
const ROWS_WITH_DOCS: usize = 25;

/// How long a line that nobody listened to gets to show that it lives.
const GRACE_MS: u32 = 1_000;

/// How a server is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Feed {
    /// Continuous where that works, else long polls.
    #[default]
    Auto,
    /// Continuous, whatever comes of it.
    Continuous,
    /// Long polls: no connection is held between two pages.
    Longpoll,
}

impl Member for Feed {
    const WHAT: &'static str = "`auto`, `continuous` or `longpoll`";

    fn of(value: Value) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(Self::Auto),
            "continuous" => Some(Self::Continuous),
            "longpoll" => Some(Self::Longpoll),
            _ => None,
        }
    }
}

/// What was learnt of a server by waiting for it, and the line that is open.
#[derive(Default)]
pub struct Listening {
    pub feed: Cell<Feed>,
    line: RefCell<Option<Line>>,
    /// Until then continuous lines are not tried.
    polling_until_ms: Cell<f64>,
    /// How long continuous lines were silent from the start, in calls that ended before that was enough.
    silent_ms: Cell<u32>,
    /// Whether anything came in answer to the last long poll.
    is_poll_heard: Cell<bool>,
    /// Whether much of it has come, and not all.
    is_laden: Cell<bool>,
    /// Whether heartbeats of long polls arrive while they wait.
    has_heartbeats: Cell<bool>,
    /// Until then rows come without documents: one was too large for this line.
    bare_until_ms: Cell<f64>,
}

/// A continuous feed that is open.
struct Line {
    /// What it was asked.
    question: String,
    /// Where the last page of it ended.
    next: Seq,
    body: Box<dyn Body>,
    /// What has arrived since.
    text: Vec<u8>,
    /// How many rows of that are whole.
    rows: usize,
    is_heard: bool,
    heard_ms: f64,
    /// Which life of the database it was opened in.
    life: u32,
}

/// The open line, in use. Goes back when it is dropped, also by a caller who waits no longer.
struct Held<'a> {
    listening: &'a Listening,
    line: Option<Line>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.listening.line.borrow_mut() = self.line.take();
    }
}

impl Listening {
    /// Closes the line, if one is open.
    pub fn hang_up(&self) {
        self.line.take();
    }
}

impl RemoteDatabase {
    pub(super) async fn read_changes(
        &self,
        query: &ChangesQuery,
        since: &Seq,
        limit: usize,
        wait_ms: Option<u32>,
    ) -> Result<ChangesPage> {
        let limit = limit.max(1);
        let Some(wait_ms) = wait_ms else { return self.read_page(query, since, limit).await };
        let listening = &self.listening;
        let is_continuous = match listening.feed.get() {
            Feed::Longpoll => false,
            Feed::Continuous => true,
            Feed::Auto => self.http.platform.now_ms() >= listening.polling_until_ms.get(),
        } && self.http.transport.can_stream();
        let waiting = if is_continuous {
            self.listen(query, since, limit).boxed_local()
        } else {
            listening.line.take();
            self.poll(query, since, limit).boxed_local()
        };
        match select(waiting, self.http.platform.sleep(wait_ms)).await {
            Either::Left((page, _)) => return page,
            // Gives the line back.
            Either::Right((_, waiting)) => drop(waiting),
        }
        if is_continuous {
            if !listening.line.borrow().as_ref().is_some_and(|line| line.is_heard) {
                listening.silent_ms.set(listening.silent_ms.get().saturating_add(wait_ms));
                if listening.silent_ms.get() >= self.first_sign_ms() {
                    self.poll_for_a_while();
                }
            }
        } else if listening.is_laden.get() {
            self.go_bare();
        } else if !listening.is_poll_heard.get() && self.http.transport.can_stream() {
            // Nothing at all: held back on the way, or the way is gone. A plain request tells.
            return self.read_page(query, since, limit).await;
        }
        Ok(empty(since))
    }

    async fn read_page(&self, query: &ChangesQuery, since: &Seq, limit: usize) -> Result<ChangesPage> {
        let request = self.changes_request(query, Some(limit), since, "");
        let life = self.channel.known.life();
        let is_plain = query.doc_ids.is_none() && query.selector.is_none() && query.filter.is_none();
        let patience = if is_plain { 1 } else { FILTERING_PATIENCE };
        let limit_ms = self.http.timeout_ms.saturating_mul(patience);
        let page = parse_changes(&self.http.text(request, Some(limit_ms)).await?)?;
        self.channel.known.note(life, &page.results);
        Ok(page)
    }

    /// The server keeps the line alive with heartbeats for as long as it takes: its own `timeout` would
    /// leave proxies a silent line to cut.
    async fn poll(&self, query: &ChangesQuery, since: &Seq, limit: usize) -> Result<ChangesPage> {
        let listening = &self.listening;
        listening.is_poll_heard.set(false);
        listening.is_laden.set(false);
        let life = self.channel.known.life();
        let limit_ms = || listening.has_heartbeats.get().then_some(self.silence_ms());
        let request = self.changes_request(query, Some(limit), since, "longpoll");
        let mut answer = self.http.open(request, limit_ms()).await?;
        listening.is_poll_heard.set(true);
        let mut text = Vec::new();
        while let Some(piece) = self.http.within(limit_ms(), answer.body.next()).await? {
            let piece = piece.bytes().await?;
            if !text.is_empty() && is_blank(&piece) {
                listening.has_heartbeats.set(true);
            }
            text.extend_from_slice(&piece);
            listening.is_laden.set(text.len() > LARGE_BYTES);
        }
        listening.is_laden.set(false);
        let page = parse_changes(std::str::from_utf8(&text).map_err(|_| garbled(""))?)?;
        self.channel.known.note(life, &page.results);
        Ok(page)
    }

    /// Waits on the line that is open, or a new one.
    async fn listen(&self, query: &ChangesQuery, since: &Seq, limit: usize) -> Result<ChangesPage> {
        let (http, silence_ms) = (&self.http, self.silence_ms());
        let request = self.changes_request(query, None, since, "continuous");
        let question = self.changes_request(query, None, &Seq::zero(), "");
        let question = format!("{} {}", question.url, body_text(&question));
        let line = self.listening.line.take();
        let line = line.filter(|line| line.question == question && line.next == *since);
        let mut held = Held { listening: &self.listening, line };
        if let Some(line) = &mut held.line
            && http.platform.now_ms() - line.heard_ms > f64::from(silence_ms)
        {
            // Nobody listened for long, or the device slept. On a line that lives something has arrived.
            match http.within(Some(GRACE_MS), line.body.next()).await {
                Ok(Some(piece)) => line.hear(&piece.bytes().await?, http.platform.now_ms()),
                _ => held.line = None,
            }
        }
        let mut is_again = false;
        loop {
            let Some(line) = &mut held.line else {
                let life = self.channel.known.life();
                let answer = match http.open(request.clone(), Some(self.first_sign_ms())).await {
                    Err(error) if is_no_way(&error) => {
                        self.poll_for_a_while();
                        return Ok(empty(since));
                    }
                    answer => answer?,
                };
                held.line = Some(Line {
                    question: question.clone(),
                    next: since.clone(),
                    body: answer.body,
                    text: Vec::new(),
                    rows: 0,
                    is_heard: false,
                    heard_ms: http.platform.now_ms(),
                    life,
                });
                continue;
            };
            // What arrives together is one page. Rows are taken off the line when no more is waited for,
            // so that a caller who leaves before takes none along.
            let rows = line.rows;
            let limit_ms = match rows {
                0 if line.is_heard => silence_ms,
                0 => self.first_sign_ms(),
                _ => 0,
            };
            let arrived = if rows == 0 || (rows < limit && line.text.len() < PAGE_BYTES) {
                http.within(Some(limit_ms), line.body.next()).await
            } else {
                Err(Error::new(Kind::Timeout, ""))
            };
            let was_heard = line.is_heard;
            match arrived {
                Ok(Some(piece)) => {
                    line.hear(&piece.bytes().await?, http.platform.now_ms());
                    self.listening.silent_ms.set(0);
                }
                ended if rows > 0 => {
                    let page = line.page(limit);
                    if let Ok(page) = &page {
                        self.channel.known.note(line.life, &page.results);
                    }
                    let is_over = !matches!(&ended, Err(error) if error.kind() == Kind::Timeout);
                    if is_over || page.is_err() {
                        held.line = None;
                    }
                    if page.as_ref().is_err_and(|error| error.kind() == Kind::Network) {
                        // This server does not know what a continuous feed is.
                        self.poll_for_a_while();
                    }
                    return page;
                }
                ended => {
                    if line.text.len() > LARGE_BYTES {
                        self.go_bare();
                    }
                    held.line = None;
                    let is_silent = matches!(&ended, Err(error) if error.kind() == Kind::Timeout);
                    if !is_silent && !is_again {
                        // Lines are cut for many reasons, by age for one; that is no fault yet.
                        is_again = true;
                        continue;
                    }
                    if was_heard {
                        return ended.map(|_| empty(since));
                    }
                    self.poll_for_a_while();
                    return Ok(empty(since));
                }
            }
        }
    }

    fn changes_request(
        &self,
        query: &ChangesQuery,
        limit: Option<usize>,
        since: &Seq,
        feed: &str,
    ) -> Request {
        let with_docs =
            query.include_docs && self.http.platform.now_ms() >= self.listening.bare_until_ms.get();
        let style = if query.is_main_only { "main_only" } else { "all_docs" };
        let mut path = format!("/_changes?style={style}");
        if let Some(limit) = limit {
            let limit = if with_docs { limit.min(ROWS_WITH_DOCS) } else { limit };
            path.push_str(&format!("&limit={limit}"));
        }
        path.push_str(&format!("&since={}", encode(&since.to_query())));
        if with_docs {
            path.push_str("&include_docs=true&att_encoding_info=true");
        }
        if !feed.is_empty() {
            path.push_str(&format!("&feed={feed}&heartbeat={}", self.heartbeat_ms));
        }
        let body = match query {
            ChangesQuery { doc_ids: Some(ids), .. } => {
                path.push_str("&filter=_doc_ids");
                Some(json!({ "doc_ids": ids }))
            }
            ChangesQuery { selector: Some(selector), .. } => {
                path.push_str("&filter=_selector");
                Some(json!({ "selector": selector }))
            }
            ChangesQuery { filter: Some(filter), .. } => {
                path.push_str(&format!("&filter={}", encode(filter)));
                None
            }
            _ => None,
        };
        if query.filter.is_some() {
            for (name, value) in &query.query_params {
                let value = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                path.push_str(&format!("&{}={}", encode(name), encode(&value)));
            }
        }
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.map(|body| ("application/json", vec![Content::from(body.to_string().into_bytes())]));
        let mut request = self.http.request(method, &path, body);
        request.waits = !feed.is_empty();
        request
    }

    /// A line that is silent for longer is dead: a heartbeat may be late, and one may be lost in a pause.
    fn silence_ms(&self) -> u32 {
        self.heartbeat_ms.saturating_mul(5) / 2
    }

    fn first_sign_ms(&self) -> u32 {
        self.silence_ms().min(FIRST_SIGN_MS)
    }

    /// What breaks off at one large document would break off there for ever.
    fn go_bare(&self) {
        self.listening.bare_until_ms.set(self.http.platform.now_ms() + POLLING_MS);
    }

    fn poll_for_a_while(&self) {
        self.listening.polling_until_ms.set(self.http.platform.now_ms() + POLLING_MS);
        self.listening.silent_ms.set(0);
    }
}

impl Line {
    fn hear(&mut self, bytes: &[u8], now_ms: f64) {
        (self.is_heard, self.heard_ms) = (true, now_ms);
        if is_blank(&self.text) {
            self.text.clear();
        }
        self.text.extend_from_slice(bytes);
        // A long row comes in many pieces.
        if bytes.contains(&b'\n') {
            self.count();
        }
    }

    fn count(&mut self) {
        let end = self.text.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        self.rows = self.text[..end].split(|&byte| byte == b'\n').filter(|row| !is_blank(row)).count();
    }

    /// Takes rows off the line. Errors: `network_error` for what is none; the server's for one that it
    /// ends the feed with.
    fn page(&mut self, limit: usize) -> Result<ChangesPage> {
        let (mut page, mut at) = (empty(&self.next), 0);
        while page.results.len() < limit
            && let Some(length) = self.text[at..].iter().position(|&byte| byte == b'\n')
        {
            let row = &self.text[at..at + length];
            at += length + 1;
            if is_blank(row) {
                continue;
            }
            let text = std::str::from_utf8(row).unwrap_or_default();
            match serde_json::from_str::<Row>(text) {
                Ok(row) => row.push_to(&mut page),
                Err(_) => {
                    let said: Value = serde_json::from_str(text).unwrap_or_default();
                    let has = |name: &str| said.get(name).is_some();
                    match (has("error"), has("last_seq") && !has("results")) {
                        (true, _) => return Err(failure_of(500, text)),
                        // The server ends the feed here.
                        (_, true) => {}
                        _ => return Err(garbled(text)),
                    }
                }
            }
        }
        self.text.drain(..at);
        self.count();
        if let Some(last) = page.results.last() {
            self.next = last.seq.clone();
            page.last_seq = last.seq.clone();
        }
        // Whatever else there is, the server would have sent.
        page.pending = (page.results.len() < limit).then_some(0);
        Ok(page)
    }
}

/// Whether a server that was asked for a continuous feed may do better when polled.
fn is_no_way(error: &Error) -> bool {
    error.kind() == Kind::Timeout || matches!(error.status(), 400 | 405 | 406 | 501)
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}

fn body_text(request: &Request) -> Cow<'_, str> {
    match request.body.first() {
        Some(Content::Bytes(bytes)) => String::from_utf8_lossy(bytes),
        _ => "".into(),
    }
}

/// A page that waiting in vain gives.
pub fn empty(since: &Seq) -> ChangesPage {
    let last_seq = since.clone();
    ChangesPage { results: Vec::new(), last_seq, pending: None, docs: Vec::new(), odd: Vec::new() }
}

#[derive(Deserialize)]
struct Row<'a> {
    seq: Seq,
    id: String,
    changes: Vec<Leaf>,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow, default)]
    doc: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Leaf {
    rev: AnyRev,
}

/// A revision of a server's. CouchDB takes from elsewhere what is no name of one (`1-`, `0-a`, a generation of twenty
/// digits): one such document must not stop a whole feed.
pub struct AnyRev(pub Option<Rev>);

impl<'de> Deserialize<'de> for AnyRev {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Cow::<str>::deserialize(deserializer)?.parse().ok()))
    }
}

impl Row<'_> {
    fn push_to(self, page: &mut ChangesPage) {
        let count = self.changes.len();
        let leaves: Vec<Rev> = self.changes.into_iter().filter_map(|leaf| leaf.rev.0).collect();
        if leaves.len() < count {
            page.odd.push(self.id.clone());
        }
        if let Some(doc) = self.doc {
            let json = doc.get();
            let is_whole = |doc: &ReplicatedDoc| {
                doc.id == self.id && doc.rev().generation == 1 && leaves.contains(doc.rev())
            };
            // One that cannot be read is asked for, and told of, as any other.
            page.docs.push(Along { doc: docs::from_json(json).ok().filter(is_whole), bytes: json.len() });
        }
        page.results.push(Change { seq: self.seq, id: self.id, leaves, deleted: self.deleted });
    }
}

/// A page of the feed, as `_changes` answers.
pub fn parse_changes(text: &str) -> Result<ChangesPage> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        results: Vec<Row<'a>>,
        last_seq: Seq,
        pending: Option<u64>,
    }
    let answer: Answer = serde_json::from_str(text).map_err(|_| garbled(text))?;
    if answer.last_seq.0.is_null() {
        return Err(garbled(text));
    }
    let mut page = ChangesPage { pending: answer.pending, ..empty(&answer.last_seq) };
    page.results.reserve(answer.results.len());
    answer.results.into_iter().for_each(|row| row.push_to(&mut page));
    Ok(page)
}
