//! What a live change costs: documents that come along with the feed, what two replications of one sync know
//! of each other, checkpoints that are put off. Rows are those of Apache CouchDB 3.5.0, shortened.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;
#[path = "support/kit.rs"]
mod kit;
#[path = "support/sim.rs"]
mod sim;
mod support;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use fake_server::*;
use futures::{FutureExt, executor::block_on};
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions, options::PutOptions},
    error::{Error, Kind, Pending, Result},
    model::Seq,
    peer::{ChangesPage, ChangesQuery, Peer},
    remote::{Origins, RemoteDatabase, RemoteOptions, Request, Response, Transport},
    replicate::{Event, Handle, Options, Phase, replicate},
    store::MemoryStore,
};
use sim::{
    sim_http::Line,
    sim_time::{Sim, SimPlatform, WORLD},
};
use support::{get, put};

fn remote(clock: &Rc<Clock>, server: &Rc<FakeServer>, options: Value) -> RemoteDatabase {
    let options = serde_json::from_value(options).unwrap();
    let platform = Rc::new(FakePlatform(clock.clone()));
    RemoteDatabase::new(server.clone(), platform, "http://h:5984/db", options).unwrap()
}

async fn wait(db: &RemoteDatabase, since: &str) -> Result<ChangesPage> {
    let query = ChangesQuery { include_docs: true, ..ChangesQuery::default() };
    db.changes(&query, &Seq(json!(since)), 500, Some(60_000)).await
}

fn row(number: usize, revs: &[&str], doc: &str) -> String {
    let leaves: Vec<Value> = revs.iter().map(|rev| json!({"rev": rev})).collect();
    let leaves = json!(leaves);
    format!(r#"{{"seq":"{number}-g1A","id":"d{number}","changes":{leaves},"doc":{doc}}}"#)
}

const ROWS: [(&[&str], &str, Option<&str>); 9] = [
    // Byte for byte: the numbers' text, what is no ASCII, the body of a tombstone.
    (&["1-a"], r#"{"_id":"d0","_rev":"1-a","n":1.0,"é":[1180591620717411303424]}"#, Some("d0")),
    (&["1-b", "1-a"], r#"{"_id":"d1","_rev":"1-b","_deleted":true,"why":"x"}"#, Some("d1")),
    // With attachments: a stub, compressed on the server.
    (
        &["1-a"],
        r#"{"_id":"d2","_rev":"1-a","_attachments":{"x":{"content_type":"text/css","revpos":1,"digest":"md5-2B2M2Y8AsgTpgAmY7PhCfg==","length":9,"stub":true,"encoding":"gzip","encoded_length":7}}}"#,
        Some("d2"),
    ),
    // Its parent is not told.
    (&["2-b"], r#"{"_id":"d3","_rev":"2-b","n":2}"#, None),
    // The filter let another leaf pass.
    (&["1-a"], r#"{"_id":"d4","_rev":"1-b","n":2}"#, None),
    // The server could not open it, or sent what is none.
    (&["1-a"], "null", None),
    (&["1-a"], r#"{"error":"not_found","reason":"missing"}"#, None),
    (&["1-a"], r#"{"_id":"d8","_rev":"1-a"}"#, None),
    (&["1-a"], r#"{"_id":"d8","_rev":"1-a","_nonsense":1}"#, None),
];

fn check(page: &ChangesPage) {
    assert_eq!((page.results.len(), page.docs.len()), (9, 8));
    let whole: Vec<&str> =
        page.docs.iter().filter_map(|along| Some(along.doc.as_ref()?.id.as_str())).collect();
    assert_eq!(whole, ["d0", "d1", "d2"]);
    let doc = |at: usize| page.docs[at].doc.as_ref().unwrap();
    assert_eq!(doc(0).body, r#"{"n":1.0,"é":[1180591620717411303424]}"#);
    assert_eq!((doc(0).path.len(), doc(0).deleted, page.docs[0].bytes), (1, false, ROWS[0].1.len()));
    assert_eq!((doc(1).rev().to_string(), doc(1).deleted), ("1-b".to_owned(), true));
    assert_eq!(doc(1).body, r#"{"why":"x"}"#);
    assert!(doc(2).attachments[0].is_encoded && doc(2).attachments[0].content.is_none());
    assert_eq!((page.docs[3].bytes, page.last_seq.clone()), (ROWS[3].1.len(), Seq(json!("8-g1A"))));
}

#[test]
fn a_document_comes_along_where_the_row_tells_all_of_it() {
    let rows: Vec<String> = ROWS.iter().enumerate().map(|(n, (revs, doc, _))| row(n, revs, doc)).collect();
    let clock = Clock::new();
    let line = rows.join("\n") + "\n";
    let server = FakeServer::new(&clock, move |_, _| Reply::steps(200, vec![send(&line), Step::Hang]));
    check(&clock.run(wait(&remote(&clock, &server, json!({})), "0")).unwrap());
    let with = "&include_docs=true&att_encoding_info=true&feed=";
    assert_eq!(
        server.asked(),
        [format!("GET /db/_changes?style=all_docs&since=0{with}continuous&heartbeat=10000")]
    );
    let answer = format!("{{\"results\":[\n{}\n],\"last_seq\":\"8-g1A\",\"pending\":0}}", rows.join(",\r\n"));
    let server = FakeServer::new(&clock, move |_, _| reply(200, &answer));
    let db = remote(&clock, &server, json!({"feed": "longpoll"}));
    check(&clock.run(wait(&db, "0")).unwrap());
    // Nobody tells how large they are, so they are few.
    assert_eq!(
        server.asked(),
        [format!("GET /db/_changes?style=all_docs&limit=25&since=0{with}longpoll&heartbeat=10000")]
    );
    // As they come from who was not asked for them.
    let bare = ChangesQuery::default();
    assert!(clock.run(db.changes(&bare, &Seq::zero(), 500, None)).is_ok());
    assert_eq!(server.asked()[1], "GET /db/_changes?style=all_docs&limit=500&since=0");
}

fn large(number: usize, bytes: usize) -> String {
    let doc = json!({"_id": format!("d{number}"), "_rev": "1-a", "text": "x".repeat(bytes)}).to_string();
    row(number, &["1-a"], &doc) + "\n"
}

#[test]
fn large_documents_come_in_pieces_and_few_at_a_time() {
    let clock = Clock::new();
    let text: String = (0..8).map(|number| large(number, 300_000)).collect();
    let server = FakeServer::new(&clock, move |_, _| {
        // Ninety seconds for each of them: longer than one call waits.
        let mut steps = vec![send(&text[..100]), Step::Wait(45_000), send(&text[100..200_000])];
        steps.push(Step::Wait(20_000));
        steps.extend(text.as_bytes()[200_000..].chunks(65_536).map(|piece| Step::Send(piece.to_vec())));
        steps.push(Step::Hang);
        Reply::steps(200, steps)
    });
    let db = remote(&clock, &server, json!({"heartbeat": 60_000}));
    assert!(clock.run(wait(&db, "0")).unwrap().results.is_empty());
    let (mut seen, mut since) = (Vec::new(), "0".to_owned());
    while seen.iter().sum::<usize>() < 8 {
        let page = clock.run(wait(&db, &since)).unwrap();
        assert!(page.docs.iter().all(|along| along.doc.as_ref().unwrap().body.len() > 300_000));
        seen.push(page.docs.len());
        since = page.last_seq.0.as_str().unwrap().to_owned();
    }
    // A megabyte or so each.
    assert!(seen.len() > 1 && seen.iter().all(|&docs| docs <= 4), "{seen:?}");
    assert_eq!(server.requests.borrow().len(), 1);
}

#[test]
fn a_line_that_breaks_off_at_a_large_document_goes_on_without() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |request, _| {
        if request.url.contains("include_docs") {
            return Reply::steps(200, vec![send("\n"), send(&large(0, 300_000)[..100_000]), Step::Break]);
        }
        Reply::steps(200, vec![send(&row(0, &["1-a"], "null")), send("\n"), Step::Hang])
    });
    let db = remote(&clock, &server, json!({}));
    // The replicator comes again after what may pass.
    let page = clock.run(async {
        for _ in 0..3 {
            match wait(&db, "0").await {
                Ok(page) if !page.results.is_empty() => return page,
                Ok(_) => {}
                Err(error) => assert!(error.is_retryable()),
            }
        }
        panic!("it breaks off for ever");
    });
    assert_eq!((page.results.len(), page.docs.len()), (1, 0));
    // A long poll that does not come to its end in time.
    let server = FakeServer::new(&clock, |request, _| {
        if !request.url.contains("include_docs") {
            return reply(200, r#"{"results":[{"seq":1,"id":"d","changes":[{"rev":"1-a"}]}],"last_seq":1}"#);
        }
        let piece = |_| [send(&"x".repeat(10_000)), Step::Wait(5_000)];
        Reply::steps(200, (0..1_000).flat_map(piece).collect())
    });
    let db = remote(&clock, &server, json!({"feed": "longpoll"}));
    assert!(clock.run(wait(&db, "0")).unwrap().results.is_empty());
    assert_eq!(clock.run(wait(&db, "0")).unwrap().results.len(), 1);
}

/// A server that keeps what it was asked.
struct Asked {
    line: Line,
    asked: Rc<RefCell<Vec<String>>>,
    /// There is no network.
    is_cut: Rc<Cell<bool>>,
}

impl Transport for Asked {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        let path = request.url.splitn(5, '/').nth(4).unwrap_or("").to_owned();
        let has_docs = if path.contains("include_docs") { " with documents" } else { "" };
        let name = path.split(['?', '/']).next().unwrap_or("");
        self.asked.borrow_mut().push(format!("{name}{has_docs}"));
        if self.is_cut.get() {
            return async { Err(Error::new(Kind::Network, "There is no network.")) }.boxed_local();
        }
        self.line.send(request)
    }
}

fn open(sim: &Rc<Sim>) -> Database {
    let platform = SimPlatform::new(sim);
    block_on(Database::open(Rc::new(MemoryStore::new()), platform, OpenOptions::new("live"))).unwrap()
}

/// A live sync of a device with a server.
struct Story {
    sim: Rc<Sim>,
    device: Database,
    server: Database,
    asked: Rc<RefCell<Vec<String>>>,
    handles: Vec<Handle>,
    moved: Rc<Cell<usize>>,
    is_cut: Rc<Cell<bool>>,
    origins: Rc<Origins>,
}

impl Story {
    fn begin() -> Self {
        let sim = Sim::new(7, false);
        let (device, server, asked) = (open(&sim), open(&sim), Rc::<RefCell<Vec<String>>>::default());
        put(&server, json!({"_id": "old"})).unwrap();
        let (handles, moved, is_cut) = (Vec::new(), Rc::default(), Rc::default());
        let mut story = Self { sim, device, server, asked, handles, moved, is_cut, origins: Rc::default() };
        for is_push in [true, false] {
            story.replicate(is_push);
        }
        story.pass(20_000);
        assert!(get(&story.device, "old").is_ok());
        story.asked.take();
        story
    }

    fn replicate(&mut self, is_push: bool) {
        let options = RemoteOptions { origins: Some(self.origins.clone()), ..RemoteOptions::default() };
        let line = Line {
            sim: self.sim.clone(),
            server: self.server.clone(),
            traffic: Rc::default(),
            latency_ms: 20,
        };
        let transport = Rc::new(Asked { line, asked: self.asked.clone(), is_cut: self.is_cut.clone() });
        let platform = SimPlatform::new(&self.sim);
        let url = "https://couch.example/db";
        let remote: Rc<dyn Peer> = Rc::new(RemoteDatabase::new(transport, platform, url, options).unwrap());
        let local: Rc<dyn Peer> = Rc::new(self.device.clone());
        let (source, target) = if is_push { (local, remote) } else { (remote, local) };
        let with = Options { live: true, retry: true, ..Options::default() };
        let moved = self.moved.clone();
        let on_event = Rc::new(move |event: Event| {
            if let Event::Change(progress) = event {
                moved.set(moved.get() + progress.docs.len());
            }
        });
        let (handle, future) = replicate(source, target, SimPlatform::new(&self.sim), with, on_event);
        self.handles.push(handle);
        self.sim.spawn(WORLD, async move { future.map(|_| ()).await });
    }

    fn pass(&self, ms: u64) {
        self.sim.run_until(self.sim.passed_ms() + ms, &|| {});
    }

    /// What is asked for in ten seconds, but for lines that are asked anew.
    fn asks(&self, bare: bool) -> Vec<String> {
        self.pass(10_000);
        let mut asked = self.asked.take();
        let line = if bare { "_changes" } else { "_changes with documents" };
        assert_eq!(asked.iter().rfind(|name| name.starts_with("_changes")).map(String::as_str), Some(line));
        asked.retain(|name| !name.starts_with("_changes"));
        asked
    }

    fn edit(&self, db: &Database, id: &str, bytes: usize) {
        let mut doc = get(db, id).unwrap_or_else(|_| json!({"_id": id}));
        doc["text"] = "x".repeat(bytes).into();
        doc["n"] = json!(doc["n"].as_u64().unwrap_or(0) + 1);
        block_on(db.put(&doc.to_string(), &[], &PutOptions::default())).unwrap();
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        // The tasks hold the simulation that holds them.
        self.sim.kill(WORLD);
    }
}

#[test]
fn a_change_asks_for_nothing_in_vain() {
    let story = Story::begin();
    // There: it comes with the feed, and the push knows where it is from.
    story.edit(&story.server, "theirs", 300);
    assert_eq!(story.asks(false), ["_local"]);
    assert_eq!(get(&story.device, "theirs").unwrap()["n"], 1);
    // Its second revision has a history, which the feed does not tell.
    story.edit(&story.server, "theirs", 300);
    assert_eq!(story.asks(false), ["_bulk_get", "_local"]);
    // Here: it comes back, and is known.
    story.edit(&story.device, "ours", 300);
    assert_eq!(story.asks(false), ["_revs_diff", "_bulk_docs", "_local"]);
    story.edit(&story.device, "theirs", 300);
    assert_eq!(story.asks(false), ["_revs_diff", "_bulk_docs", "_local"]);
    assert_eq!((get(&story.server, "theirs").unwrap()["n"].clone(), story.moved.get()), (json!(3), 5));
    // What the push passed over is written down in the end; and then there is rest.
    story.edit(&story.server, "last", 300);
    story.pass(600_000);
    let local = story.asked.take().iter().filter(|name| *name == "_local").count();
    assert_eq!(local, 2);
    story.pass(600_000);
    let mut asked = story.asked.take();
    asked.retain(|name| !name.starts_with("_changes"));
    // Each direction looks now and then whether the database is still the same.
    assert!(asked.iter().all(String::is_empty) && asked.len() <= 4, "{asked:?}");
}

/// What came from the server is written down there late, but a page that is opened without it counts right.
#[test]
fn what_came_from_the_server_is_not_counted_as_still_to_be_sent() {
    let mut story = Story::begin();
    for n in 0..3 {
        story.edit(&story.server, &format!("theirs{n}"), 300);
        story.pass(1_000);
    }
    story.sim.kill(WORLD);
    story.edit(&story.device, "ours", 300);
    story.is_cut.set(true);
    story.handles.clear();
    story.replicate(true);
    story.pass(2_000);
    let state = story.handles[0].state();
    assert_eq!((state.phase, state.pending), (Phase::Offline, Some(1)));
}

#[test]
fn changes_in_a_row_share_a_checkpoint() {
    let story = Story::begin();
    for n in 0..20 {
        story.edit(&story.server, &format!("d{n}"), 300);
        story.pass(400);
    }
    assert_eq!(story.asks(false), ["_local", "_local", "_local"]);
    assert_eq!(story.moved.get(), 21);
}

/// Bytes that come in vain are not asked for any longer.
#[test]
fn documents_come_along_as_long_as_that_is_worth_it() {
    let story = Story::begin();
    // The device's own, large: one of them is enough.
    story.edit(&story.device, "ours", 20_000);
    story.asks(true);
    story.edit(&story.server, "theirs0", 300);
    assert_eq!(story.asks(true)[0], "_bulk_get");
    for n in 1..40 {
        story.edit(&story.server, &format!("theirs{n}"), 300);
        story.asked.take();
        story.pass(10_000);
    }
    assert_eq!(get(&story.device, "theirs39").unwrap()["n"], 1);
    story.edit(&story.server, "again", 300);
    assert!(!story.asks(false).contains(&"_bulk_get".to_owned()));
    // Documents that are edited over and over: a few kilobytes in vain, then no more.
    for _ in 0..30 {
        story.edit(&story.server, "theirs0", 2_000);
        story.asked.take();
        story.pass(10_000);
    }
    story.edit(&story.server, "theirs0", 2_000);
    assert_eq!(story.asks(true)[0], "_bulk_get");
    assert_eq!(get(&story.device, "theirs0").unwrap()["n"], 32);
}
