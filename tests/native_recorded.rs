//! `RemoteDatabase` reads what a real CouchDB answered: the exchanges in `tests/vectors/couchdb/`, each
//! with the server's version and the day it was recorded (`record.mjs` there makes them).
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;
mod support;

use std::{cell::RefCell, collections::VecDeque, fs, path::Path, rc::Rc};

use data_encoding::BASE64;
use fake_server::*;
use futures::{FutureExt, executor::block_on};
use serde_json::{Value, json};
use settee::{
    error::{Error, Kind, Pending, Result},
    model::{Content, Digest, Rev, Seq},
    peer::{
        ChangesPage, ChangesQuery, Fetched, LocalDoc, MissingRevs, Peer, ReplicatedAttachment, ReplicatedDoc,
    },
    remote::{RemoteDatabase, RemoteOptions, Request, Response, ServerReplication, Transport},
};
use support::*;

/// Gives recorded answers in order, whatever is asked: how it is asked is `native_replicate_http`'s.
struct Recorded(RefCell<VecDeque<Response>>);

impl Transport for Recorded {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        let answer = self.0.borrow_mut().pop_front();
        async move { Ok(answer.unwrap_or_else(|| panic!("nothing was recorded for {request:?}"))) }
            .boxed_local()
    }
}

/// What one version of CouchDB said.
struct Server {
    version: String,
    exchanges: Value,
}

impl Server {
    fn response(&self, name: &str) -> Response {
        let exchange = &self.exchanges[name];
        if let Some(from) = exchange["film"].as_u64() {
            let body = film().split_off(from as usize);
            return Response { body: body.into(), ..self.head(name) };
        }
        let body = match &exchange["base64"] {
            Value::String(text) => BASE64.decode(text.as_bytes()).unwrap(),
            _ => exchange["body"]
                .as_str()
                .unwrap_or_else(|| panic!("{name} is not recorded"))
                .as_bytes()
                .to_vec(),
        };
        Response { body: Content::from(body), ..self.head(name) }
    }

    fn head(&self, name: &str) -> Response {
        let exchange = &self.exchanges[name];
        let headers = exchange["headers"].as_object().unwrap();
        let pair = |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap().to_owned());
        Response {
            status: exchange["status"].as_u64().unwrap() as u16,
            headers: headers.iter().map(pair).collect(),
            body: Content::from(Vec::new()),
        }
    }

    /// The answer on a line of a [`FakeServer`], in pieces of so many bytes.
    fn reply(&self, name: &str, piece_bytes: usize) -> Reply {
        let Response { status, headers, body: Content::Bytes(body) } = self.response(name) else { panic!() };
        let steps = body.chunks(piece_bytes).map(|piece| Step::Send(piece.to_vec())).collect();
        Reply { headers, ..Reply::steps(status, steps) }
    }

    /// A database that hears these answers.
    fn answers(&self, names: &[&str]) -> RemoteDatabase {
        let options: RemoteOptions = serde_json::from_value(json!({})).unwrap();
        let platform = SeededPlatform::new(5);
        RemoteDatabase::new(self.transport(names), platform, "http://h:5984/db", options).unwrap()
    }

    fn transport(&self, names: &[&str]) -> Rc<Recorded> {
        Rc::new(Recorded(RefCell::new(names.iter().map(|name| self.response(name)).collect())))
    }

    fn changes(&self, name: &str, wait_ms: Option<u32>) -> Result<ChangesPage> {
        block_on(self.answers(&[name]).changes(&ChangesQuery::default(), &Seq::zero(), 500, wait_ms))
    }

    /// The documents of a continuous feed's rows.
    fn said_lines(&self, name: &str) -> Vec<String> {
        let body = self.exchanges[name]["body"].as_str().unwrap();
        let rows = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
    }

    fn said(&self, name: &str) -> Value {
        serde_json::from_str(self.exchanges[name]["body"].as_str().unwrap()).unwrap()
    }
}

/// What `record.mjs` stores as an attachment that is too long to be kept in what was recorded.
fn film() -> Vec<u8> {
    (0..1_100_000_usize).map(|at| ((at * 7) % 251) as u8).collect()
}

/// Every version that is recorded.
fn servers() -> Vec<Server> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/couchdb");
    let mut servers = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut recorded: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            let version = recorded["server"]["version"].as_str().unwrap().to_owned();
            servers.push(Server { version, exchanges: recorded["exchanges"].take() });
        }
    }
    assert!(!servers.is_empty(), "no recorded answers were found");
    servers
}

fn revs(of: &str, count: usize) -> Vec<Rev> {
    vec![of.parse().unwrap(); count]
}

fn long(generation: u64, c: &str) -> Rev {
    format!("{generation}-{}", c.repeat(32)).parse().unwrap()
}

fn docs(server: &Server) -> Vec<Fetched> {
    let wanted = MissingRevs { id: "plain".into(), revs: revs("1-a", 1), possible_ancestors: Vec::new() };
    block_on(server.answers(&["bulk-get"]).bulk_get(vec![wanted])).unwrap()
}

fn small(id: &str, rev: Rev) -> ReplicatedDoc {
    ReplicatedDoc {
        id: id.into(),
        path: vec![rev],
        deleted: false,
        body: "{}".into(),
        attachments: Vec::new(),
    }
}

/// A document that is too large for `_bulk_docs`.
fn large(id: &str) -> ReplicatedDoc {
    let bytes = vec![b'x'; 100_000];
    let mut doc = docs(&servers()[0]).into_iter().find(|found| found.id == "files").unwrap().doc.unwrap();
    doc.id = id.into();
    doc.attachments.truncate(1);
    doc.attachments[0].length = bytes.len() as u64;
    doc.attachments[0].content = Some(Content::from(bytes));
    doc
}

#[test]
fn the_database_itself() {
    for server in servers() {
        let empty = block_on(server.answers(&["info-empty"]).info()).unwrap();
        assert_eq!((empty.doc_count, empty.total_count), (0, Some(0)), "{}", server.version);
        let info = block_on(server.answers(&["info"]).info()).unwrap();
        assert_eq!((info.doc_count, info.total_count), (5, Some(6)));
        assert_eq!(info.update_seq.0, server.said("info")["update_seq"]);
        let db = server.answers(&["create", "create-again"]);
        assert!(block_on(db.create()).unwrap());
        assert!(!block_on(db.create()).unwrap());
    }
}

#[test]
fn changes() {
    for server in servers() {
        let all = server.changes("changes", None).unwrap();
        assert_eq!(all.pending, Some(0), "{}", server.version);
        let find = |id: &str| all.results.iter().find(|change| change.id == id).unwrap();
        assert_eq!((all.results.len(), find("gone").deleted, find("plain").deleted), (6, true, false));
        assert_eq!(find("split").leaves, [long(2, "3"), long(2, "2")]);

        let (page, next) = (
            server.changes("changes-page", None).unwrap(),
            server.changes("changes-next-page", None).unwrap(),
        );
        assert_eq!((page.results.len(), page.pending, next.pending), (2, Some(4), Some(2)));
        assert_eq!(page.last_seq, page.results[1].seq);
        assert!(page.results.iter().all(|change| next.results.iter().all(|other| other.id != change.id)));

        let ids = |name: &str| -> Vec<String> {
            let mut ids: Vec<_> =
                server.changes(name, None).unwrap().results.into_iter().map(|c| c.id).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids("changes-doc-ids"), ["plain", "split"]);
        assert_eq!(
            (ids("changes-selector"), ids("changes-filter")),
            (vec!["fine".to_owned()], vec!["fine".to_owned()])
        );
        let error = server.changes("changes-filter-missing", None).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::NotFound, "missing json key: none"));

        // Heartbeats are line ends in the middle of the JSON.
        assert_eq!(server.changes("longpoll-timeout", Some(60_000)).unwrap().results.len(), 0);
        let woken = server.changes("longpoll", Some(60_000)).unwrap();
        assert_eq!((woken.results.len(), woken.results[0].id.as_str(), woken.pending), (1, "later", Some(0)));
    }
}

#[test]
fn what_is_missing() {
    for server in servers() {
        let (plain, unheard) = ((2, "b"), (1, "1"));
        let asked = vec![
            ("plain".to_owned(), vec![long(plain.0, plain.1), long(3, "c")]),
            ("split".to_owned(), vec![long(2, "2")]),
            ("unheard".to_owned(), vec![long(unheard.0, unheard.1)]),
        ];
        let missing = block_on(server.answers(&["revs-diff"]).revs_diff(asked)).unwrap();
        let shown: Vec<_> = missing
            .iter()
            .map(|m| (m.id.as_str(), m.revs.as_slice(), m.possible_ancestors.as_slice()))
            .collect();
        assert_eq!(
            shown,
            [("plain", &[long(3, "c")][..], &[long(2, "b")][..]), ("unheard", &[long(1, "1")][..], &[][..]),]
        );
    }
}

#[test]
fn revisions() {
    for server in servers() {
        let fetched = docs(&server);
        let outcomes: Vec<_> =
            fetched.iter().map(|f| (f.id.as_str(), f.rev.clone().unwrap(), f.doc.is_ok())).collect();
        assert_eq!(
            outcomes,
            [
                ("plain", long(2, "b"), true),
                ("split", long(2, "2"), true),
                ("split", long(2, "3"), true),
                ("gone", long(2, "d"), true),
                ("files", long(1, "f"), true),
                ("plain", long(9, "9"), false),
                ("unheard", long(1, "1"), false),
            ],
            "{}",
            server.version
        );
        let doc = |index: usize| fetched[index].doc.as_ref().unwrap();
        assert_eq!(doc(0).path, [long(2, "b"), long(1, "a")]);
        assert!(doc(0).body.contains("grüße 🌊") && doc(3).deleted && doc(3).body.contains("old"));
        assert_eq!(fetched[5].doc.as_ref().unwrap_err().kind(), Kind::NotFound);
        // In CouchDB an attachment that came without a `revpos` has 0.
        let files: Vec<_> =
            doc(4).attachments.iter().map(|a| (a.name.as_str(), a.revpos, a.length, a.is_encoded)).collect();
        assert_eq!(files, [("a.txt", 1, 1280, true), ("b.bin", 1, 300, false), ("no revpos", 0, 2, false)]);

        let wanted = MissingRevs { id: "split".into(), revs: revs("1-a", 3), possible_ancestors: Vec::new() };
        // A server that takes no `_bulk_get`, and open_revs in its place.
        let single =
            block_on(server.answers(&["not-acceptable-method", "open-revs"]).bulk_get(vec![wanted])).unwrap();
        let single: Vec<_> = single.iter().map(|f| (f.rev.clone().unwrap(), f.doc.is_ok())).collect();
        assert_eq!(single, [(long(2, "2"), true), (long(2, "3"), true), (long(9, "9"), false)]);
    }
}

#[test]
fn attachments() {
    for server in servers() {
        let doc = docs(&server).into_iter().find(|found| found.id == "files").unwrap().doc.unwrap();
        let get = |index: usize, name: &str| -> Result<Content> {
            block_on(server.answers(&[name]).attachment(&doc, &doc.attachments[index]))
        };
        let binary = block_on(get(1, "attachment").unwrap().digest()).unwrap();
        assert_eq!(binary, doc.attachments[1].digest.parse::<Digest>().unwrap(), "{}", server.version);
        assert_eq!(get(0, "attachment-compressed").unwrap().size_bytes(), 1280);
        assert_eq!(get(1, "attachment-missing").unwrap_err().kind(), Kind::NotFound);
        // A part of it is not it.
        assert!(get(1, "attachment-range").unwrap_err().is_retryable());
    }
}

#[test]
fn attachments_of_several_documents() {
    for server in servers() {
        let files = docs(&server).into_iter().find(|found| found.id == "files").unwrap().doc.unwrap();
        let with_binary = |id: &str, name: &str| {
            let binary = ReplicatedAttachment { name: name.into(), ..files.attachments[1].clone() };
            ReplicatedDoc { attachments: vec![binary], ..small(id, long(1, "1")) }
        };
        let wanted = vec![
            (files.clone(), vec![0, 1, 2]),
            (with_binary("unheard", "f"), vec![0]),
            (with_binary("plain", "f"), vec![0]),
            (with_binary("sent", "f"), vec![0]),
        ];
        let came = |answer: &str, wanted: &[(ReplicatedDoc, Vec<usize>)]| -> Vec<(usize, usize)> {
            let came = block_on(server.answers(&[answer]).attachments(wanted));
            for (place, index, content) in &came {
                let said = wanted[*place].0.attachments[*index].digest.parse::<Digest>().unwrap();
                assert_eq!(block_on(content.digest()).unwrap(), said, "{}", server.version);
            }
            came.into_iter().map(|(place, index, _)| (place, index)).collect()
        };
        // Not the compressed one, nor those of an error and of a document without any.
        assert_eq!(came("bulk-get-multipart", &wanted), [(0, 1), (0, 2), (3, 0)]);
        // The same form, from `open_revs`: its first delimiter begins no line.
        assert_eq!(came("open-revs-multipart", &wanted[..1]), [(0, 1), (0, 2)]);
        // JSON and errors are no such answer.
        for other in ["bulk-get", "database-missing", "unauthorized", "not-acceptable-method"] {
            assert_eq!(came(other, &wanted), []);
        }
    }
}

#[test]
fn refusals_of_documents() {
    for server in servers() {
        let write =
            |name: &str, docs: Vec<ReplicatedDoc>| block_on(server.answers(&[name]).write_replicated(docs));
        let given =
            vec![small("fine", long(1, "1")), small("refused", long(1, "4")), small("unknown", long(1, "5"))];
        assert_eq!(
            write("bulk-docs-forbidden", given.clone()).unwrap(),
            [
                Ok(()),
                Err(Error::remote(403, "forbidden", "not here")),
                Err(Error::remote(401, "unauthorized", "who are you"))
            ],
            "{}",
            server.version
        );
        assert_eq!(write("bulk-docs-replicated", given).unwrap(), [Ok(()), Ok(()), Ok(())]);
        let one = |name: &str| write(name, vec![small("stub", long(1, "6"))]).unwrap().remove(0).unwrap_err();
        assert_eq!(
            (one("bulk-docs-missing-stub").kind(), one("bulk-docs-malformed").status()),
            (Kind::MissingStub, 400)
        );
        assert_eq!(one("put-too-large").status(), 413);

        let put = |names: &[&str]| block_on(server.answers(names).write_replicated(vec![large("sent")]));
        assert_eq!(put(&["put-multipart"]).unwrap(), [Ok(())]);
        assert_eq!(put(&["put-forbidden"]).unwrap(), [Err(Error::remote(403, "forbidden", "not here"))]);
        assert_eq!(put(&["put-missing-stub"]).unwrap()[0].as_ref().unwrap_err().kind(), Kind::MissingStub);
        // A 401 may be the document's or the login's; who still sees the database is logged in.
        assert_eq!(
            put(&["put-unauthorized", "info"]).unwrap(),
            [Err(Error::remote(401, "unauthorized", "who are you"))]
        );
        assert_eq!(put(&["put-unauthorized", "unauthorized"]).unwrap_err().kind(), Kind::Unauthorized);
    }
}

#[test]
fn local_documents() {
    for server in servers() {
        let db =
            server.answers(&["local-missing", "local-put", "local", "local-other-rev", "local-put-again"]);
        assert_eq!(block_on(db.local_doc("session")).unwrap(), None, "{}", server.version);
        let body = json!({"history": []}).as_object().unwrap().clone();
        let put = |rev: Option<&str>| {
            block_on(
                db.put_local_doc("session", LocalDoc { rev: rev.map(str::to_owned), body: body.clone() }),
            )
        };
        assert_eq!(put(None).unwrap(), "0-1");
        let found = block_on(db.local_doc("session")).unwrap().unwrap();
        assert_eq!((found.rev.as_deref(), &found.body["source_last_seq"]), (Some("0-1"), &json!("1-x")));
        // CouchDB 3 takes any `_rev` of a local document: there are no conflicts among them.
        assert_eq!((put(Some("0-9")).unwrap(), put(Some("0-1")).unwrap()), ("0-10".into(), "0-2".into()));
    }
}

#[test]
fn errors_of_a_database() {
    for server in servers() {
        for (name, kind, reason) in [
            ("unauthorized", Kind::Unauthorized, "You are not authorized to access this db."),
            ("unauthorized-bad-password", Kind::Unauthorized, "Name or password is incorrect."),
            ("session-login-bad", Kind::Unauthorized, "Name or password is incorrect."),
            ("database-missing", Kind::NotFound, "Database does not exist."),
            ("doc-missing", Kind::NotFound, "missing"),
            ("doc-deleted", Kind::NotFound, "deleted"),
            ("put-conflict", Kind::Conflict, "Document update conflict."),
        ] {
            let error = block_on(server.answers(&[name]).info()).unwrap_err();
            assert_eq!((error.kind(), error.reason()), (kind, reason), "{name} of {}", server.version);
        }
        // The server's own front page is not a database.
        assert_eq!(block_on(server.answers(&["welcome"]).info()).unwrap_err().kind(), Kind::NotFound);
        // A missing local document is no error, a missing database is one.
        let error = block_on(server.answers(&["database-missing"]).local_doc("session")).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }
}

/// A line that stays open carries rows, and an empty one now and then, in whatever pieces.
#[test]
fn lines_that_stay_open() {
    for server in servers() {
        for (name, piece_bytes) in
            [("continuous-heartbeats", 1_000), ("continuous-heartbeats", 7), ("continuous", 50)]
        {
            let clock = Clock::new();
            let recorded = server.reply(name, piece_bytes);
            let transport = FakeServer::new(&clock, move |_, count| match count {
                0 => recorded.clone(),
                _ => Reply::steps(200, vec![Step::Hang]),
            });
            let platform = Rc::new(FakePlatform(clock.clone()));
            let options: RemoteOptions = serde_json::from_value(json!({"feed": "continuous"})).unwrap();
            let db = RemoteDatabase::new(transport, platform, "http://h:5984/db", options).unwrap();
            let mut ids = Vec::new();
            let mut since = Seq::zero();
            let expected = server.said_lines(name);
            while ids.len() < expected.len() {
                let page = clock.run(db.changes(&ChangesQuery::default(), &since, 500, Some(5_000))).unwrap();
                since = page.last_seq;
                ids.extend(page.results.into_iter().map(|change| change.id));
            }
            assert_eq!(ids, expected, "{name} of {}", server.version);
        }
    }
}

#[test]
fn the_code_of_a_filter() {
    for server in servers() {
        let code = |name: &str| block_on(server.answers(&["filter-code"]).filter_code(name)).unwrap();
        assert!(code("guard/even").unwrap().starts_with("function"), "{}", server.version);
        assert_eq!(code("guard/none"), None);
        assert_eq!(block_on(server.answers(&["doc-missing"]).filter_code("none/none")).unwrap(), None);
    }
}

/// What is over a megabyte is gone on with where it broke off, by a range that the server gives; one that it
/// does not give is asked for from the beginning.
#[test]
fn ranges() {
    for server in servers() {
        for (second, asked) in [("film-range", 2), ("film-range-beyond", 3)] {
            let clock = Clock::new();
            let mut broken = server.reply("film", 600_000);
            broken.steps[1] = Step::Break;
            let (rest, whole) = (server.reply(second, 100_000), server.reply("film", 100_000));
            let replies = [broken, rest, whole];
            let transport = FakeServer::new(&clock, move |_, count| replies[count].clone());
            let platform = Rc::new(FakePlatform(clock.clone()));
            let db = RemoteDatabase::new(transport.clone(), platform, "http://h:5984/db", Default::default())
                .unwrap();
            let mut doc = docs(&server).into_iter().find(|found| found.id == "files").unwrap().doc.unwrap();
            let digest = block_on(Content::from(film()).digest()).unwrap();
            doc.attachments.truncate(1);
            let film_stub = &mut doc.attachments[0];
            (film_stub.name, film_stub.is_encoded) = ("film.bin".into(), false);
            (film_stub.length, film_stub.digest) = (film().len() as u64, digest.to_string());
            let content = clock.run(db.attachment(&doc, &doc.attachments[0])).unwrap();
            assert_eq!(block_on(content.digest()).unwrap(), digest, "{second} of {}", server.version);
            assert_eq!(transport.header(1, "range").as_deref(), Some("bytes=600000-"));
            assert_eq!(transport.asked().len(), asked);
        }
    }
}

#[test]
fn sessions() {
    for server in servers() {
        let login = json!({"auth": {"type": "session", "username": "admin", "password": "secret"}});
        let open = |names: &[&str]| {
            let clock = Clock::new();
            let replies: Vec<_> = names.iter().map(|name| server.reply(name, 1_000)).collect();
            let transport = FakeServer::new(&clock, move |_, count| replies[count].clone());
            let options = serde_json::from_value(login.clone()).unwrap();
            let platform = Rc::new(FakePlatform(clock.clone()));
            let db = RemoteDatabase::new(transport.clone(), platform, "http://h:5984/db", options).unwrap();
            (clock, transport, db)
        };
        let (clock, transport, db) = open(&["session-login", "with-session"]);
        assert!(clock.run(db.info()).unwrap().doc_count > 0, "{}", server.version);
        assert_eq!(transport.asked(), ["POST /_session", "GET /db"]);
        assert_eq!(transport.header(1, "cookie").as_deref(), Some("AuthSession=recorded"));
        // The server has forgotten it: it is renewed, and the request repeated.
        let names = ["session-login", "with-session-expired", "session-login", "with-session"];
        let (clock, transport, db) = open(&names);
        assert!(clock.run(db.info()).is_ok());
        assert_eq!(transport.asked(), ["POST /_session", "GET /db", "POST /_session", "GET /db"]);
        let (clock, transport, db) = open(&["session-login-bad"]);
        let error = clock.run(db.info()).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Unauthorized, "Name or password is incorrect."));
        assert_eq!(transport.asked(), ["POST /_session"]);
    }
}

/// How a replication that the server does stands, as its scheduler and its document tell it.
#[test]
fn replications_of_the_servers_own() {
    for server in servers() {
        let job = json!({"_id": "job", "source": "http://127.0.0.1:5984/db", "target": "http://127.0.0.1:5984/empty"});
        let start = |names: &[&str]| {
            let Value::Object(job) = job.clone() else { unreachable!() };
            let (transport, platform) = (server.transport(names), SeededPlatform::new(1));
            block_on(ServerReplication::start(transport, platform, "http://h:5984", job, Default::default()))
        };
        let state = |name: &str| -> Value {
            let job = start(&["replicator-put", name]).unwrap();
            let status: Value = serde_json::from_str(&block_on(job.status()).unwrap()).unwrap();
            assert!(!status.to_string().contains("secret"));
            status
        };
        assert_eq!(state("scheduler-running")["state"], "running", "{}", server.version);
        assert!(state("scheduler-running")["info"]["docs_written"].as_u64() > Some(0));
        assert_eq!(state("scheduler-completed")["state"], "completed");
        let crashing = state("scheduler-crashing");
        assert_eq!((&crashing["state"], &crashing["error_count"]), (&json!("crashing"), &json!(1)));
        assert!(crashing["info"]["error"].as_str().unwrap().starts_with("db_not_found"));
        // Who may not ask the scheduler reads the document.
        let told = |name: &str| {
            let job = start(&["replicator-put", "scheduler-missing", name]).unwrap();
            block_on(job.status()).map(|status| serde_json::from_str::<Value>(&status).unwrap())
        };
        let completed = told("replicator-completed").unwrap();
        assert_eq!(completed["state"], "completed");
        assert!(completed["info"]["docs_written"].as_u64() > Some(0));
        assert_eq!(told("replicator-running").unwrap()["state"], "initializing");
        assert_eq!(told("replicator-missing").unwrap_err().kind(), Kind::NotFound);
        // One that is there stands for something else.
        assert_eq!(
            start(&["replicator-put-again", "replicator-crashing"]).err().unwrap().kind(),
            Kind::Conflict
        );
        let job = start(&["replicator-put", "replicator-running", "replicator-delete", "replicator-missing"])
            .unwrap();
        block_on(job.cancel()).unwrap();
        block_on(job.cancel()).unwrap();
    }
}
