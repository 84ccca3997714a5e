//! `RemoteDatabase` at a server that answers oddly: once, halfway, or about somebody else. Answers are those of
//! Apache CouchDB 3.5.0 as seen on 2026-11-21 where they are CouchDB's.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;

use std::{cell::Cell, rc::Rc};

use fake_server::*;
use futures::FutureExt;
use serde_json::{Value, json};
use settee::{
    error::{Error, Kind},
    model::{Content, Digest, Rev, Seq},
    peer::{ChangesQuery, MissingRevs, Peer, ReplicatedAttachment, ReplicatedDoc},
    remote::{Credentials, Login, RemoteDatabase, Request},
};

const INFO: &str = r#"{"update_seq":"7-x","doc_count":3,"doc_del_count":2}"#;
const GONE: &str = r#"{"error":"not_found","reason":"gone fishing"}"#;
const REFUSED: &str = r#"{"error":"unauthorized","reason":"please log in"}"#;

fn open(clock: &Rc<Clock>, server: &Rc<FakeServer>, options: Value) -> RemoteDatabase {
    let options = serde_json::from_value(options).unwrap();
    RemoteDatabase::new(server.clone(), Rc::new(FakePlatform(clock.clone())), "http://h:5984/db", options)
        .unwrap()
}

fn body(request: &Request) -> String {
    let pieces: Vec<Vec<u8>> =
        request.body.iter().map(|piece| piece.bytes().now_or_never().unwrap().unwrap().to_vec()).collect();
    String::from_utf8(pieces.concat()).unwrap()
}

fn rev(text: &str) -> Rev {
    text.parse().unwrap()
}

fn missing(id: &str) -> MissingRevs {
    MissingRevs { id: id.into(), revs: vec![rev("1-a")], possible_ancestors: vec![] }
}

fn doc(id: &str) -> ReplicatedDoc {
    let (path, body) = (vec![rev("1-a")], "{}".to_owned());
    ReplicatedDoc { id: id.into(), path, deleted: false, body, attachments: Vec::new() }
}

fn with_photo(id: &str, bytes: &[u8], digest: &[u8]) -> ReplicatedDoc {
    let photo = ReplicatedAttachment {
        name: "photo".into(),
        content_type: "image/png".into(),
        revpos: 1,
        length: bytes.len() as u64,
        digest: Digest::of(digest).to_string(),
        is_encoded: false,
        content: Some(Content::from(bytes.to_vec())),
    };
    ReplicatedDoc { attachments: vec![photo], ..doc(id) }
}

/// A server without the one, or with a fault in front of it.
fn without(clock: &Rc<Clock>, path_of_it: &'static str, is_out: &Rc<Cell<bool>>) -> Rc<FakeServer> {
    let is_out = is_out.clone();
    FakeServer::new(clock, move |request, _| match path(request) {
        "/db" => reply(200, INFO),
        asked if asked.contains(path_of_it) && is_out.get() => reply(400, r#"{"error":"bad_request"}"#),
        asked if asked.contains("_bulk_get") => {
            reply(200, r#"{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a"}}]}]}"#)
        }
        _ if header(request, "content-type").is_some_and(|kind| kind.contains(path_of_it))
            && is_out.get() =>
        {
            reply(415, r#"{"error":"bad_content_type"}"#)
        }
        _ if request.method == "PUT" => reply(201, r#"{"ok":true,"id":"a","rev":"1-a"}"#),
        _ => reply(200, r#"[{"ok":{"_id":"a","_rev":"1-a"}}]"#),
    })
}

#[test]
fn what_a_server_did_not_take_once_is_tried_again_later() {
    let (clock, is_out) = (Clock::new(), Rc::new(Cell::new(true)));
    let server = without(&clock, "_bulk_get", &is_out);
    let db = open(&clock, &server, json!({}));
    let bulk_gets = || server.asked().iter().filter(|asked| asked.contains("_bulk_get")).count();
    let get = || clock.run(db.bulk_get(vec![missing("a")])).unwrap()[0].doc.is_ok();
    assert!(get() && get());
    assert_eq!(bulk_gets(), 1);
    is_out.set(false);
    clock.freeze(31 * 60_000);
    assert!(get() && get());
    assert_eq!(bulk_gets(), 3);

    is_out.set(true);
    let server = without(&clock, "multipart", &is_out);
    let db = open(&clock, &server, json!({}));
    let photo = || with_photo("a", &[7; 70_000], &[7; 70_000]);
    let put = || clock.run(db.write_replicated(vec![photo()])).unwrap()[0].is_ok();
    assert!(put() && put());
    is_out.set(false);
    clock.freeze(31 * 60_000);
    assert!(put());
    let kinds: Vec<bool> = (0..server.requests.borrow().len())
        .map(|index| server.header(index, "content-type").unwrap().contains("multipart"))
        .collect();
    assert_eq!(kinds, [true, false, false, true]);
}

#[test]
fn what_works_no_other_way_either_was_not_bulk_get() {
    for is_db_gone in [true, false] {
        let clock = Clock::new();
        let server = FakeServer::new(&clock, move |request, _| match path(request) {
            "/db" if !is_db_gone => reply(200, INFO),
            _ => reply(404, GONE),
        });
        let db = open(&clock, &server, json!({}));
        let fetched = clock.run(db.bulk_get(vec![missing("a")]));
        if is_db_gone {
            assert_eq!(fetched.unwrap_err().reason(), "gone fishing");
            continue;
        }
        assert_eq!(fetched.unwrap()[0].doc.as_ref().unwrap_err().kind(), Kind::NotFound);
        clock.run(db.bulk_get(vec![missing("a")])).unwrap();
        assert_eq!(server.asked().iter().filter(|asked| asked.contains("_bulk_get")).count(), 2);
    }
}

/// It would be passed over for ever.
#[test]
fn a_document_left_out_of_an_answer_is_missing() {
    for answer in [r#"{"results":[]}"#, r#"{"results":[{"id":"a","docs":[]}]}"#] {
        let clock = Clock::new();
        let server = FakeServer::new(&clock, move |_, _| reply(200, answer));
        let db = open(&clock, &server, json!({}));
        let fetched = clock.run(db.bulk_get(vec![missing("a"), missing("b")])).unwrap();
        let told: Vec<_> = fetched
            .iter()
            .map(|row| (row.id.as_str(), row.rev.clone(), row.doc.as_ref().unwrap_err().status()))
            .collect();
        assert_eq!(told, [("a", Some(rev("1-a")), 404), ("b", Some(rev("1-a")), 404)]);
    }
}

/// CouchDB names no revision, or none that is one, where it failed at a document; and a server may give another
/// document. Either is an answer about the revisions that have no other.
#[test]
fn a_failure_under_no_name_is_that_of_what_was_asked() {
    for (docs, expected) in [
        (r#"{"error":{"id":"a","rev":"undefined","error":"internal_fabric_error","reason":"oops"}}"#, 500),
        (r#"{"error":{"id":"a","error":"internal_server_error","reason":"oops"}}"#, 500),
        (r#"{"ok":{"_id":"x","_rev":"7-x"}}"#, 404),
    ] {
        let good = r#"{"ok":{"_id":"a","_rev":"3-c","_revisions":{"start":3,"ids":["c","b"]}}}"#;
        let answer = format!(r#"{{"results":[{{"id":"a","docs":[{docs},{good},{docs}]}}]}}"#);
        let clock = Clock::new();
        let server = FakeServer::new(&clock, move |_, _| reply(200, &answer));
        let asked = MissingRevs { revs: vec![rev("1-a"), rev("2-b"), rev("3-z")], ..missing("a") };
        let fetched = clock.run(open(&clock, &server, json!({})).bulk_get(vec![asked])).unwrap();
        let told: Vec<_> = fetched
            .iter()
            .map(|row| {
                (row.rev.clone().unwrap(), row.doc.as_ref().map_or_else(|error| error.status(), |_| 200))
            })
            .collect();
        assert_eq!(told, [(rev("3-c"), 200), (rev("1-a"), expected), (rev("3-z"), expected)], "{docs}");
    }
}

#[test]
fn what_was_not_asked_about_is_not_missing() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| {
        reply(200, r#"{"a":{"missing":["9-z","1-a"]},"b":{"missing":["9-z"]},"x":{"missing":["1-a"]}}"#)
    });
    let asked = ["a", "b"].map(|id| (id.to_owned(), vec![rev("1-a")]));
    let lacking = clock.run(open(&clock, &server, json!({})).revs_diff(asked.to_vec())).unwrap();
    assert_eq!(lacking, [missing("a")]);
}

/// CouchDB 3.5 takes each of these with `new_edits: false`, from anybody who may write there.
const ODD: [&str; 4] =
    ["1-", "0-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "9999999999999999-b", "99999999999999999999-b"];

#[test]
fn a_revision_whose_name_is_none_stops_no_feed() {
    let rows = |odd: &str| {
        [
            r#"{"seq":"1-x","id":"a","changes":[{"rev":"1-a"}]}"#.to_owned(),
            format!(r#"{{"seq":"2-x","id":"b","changes":[{{"rev":"{odd}"}},{{"rev":"2-b"}}]}}"#),
            format!(r#"{{"seq":"3-x","id":"c","changes":[{{"rev":"{odd}"}}]}}"#),
        ]
    };
    for odd in ODD {
        for wait_ms in [None, Some(5_000)] {
            let clock = Clock::new();
            let server = FakeServer::new(&clock, move |request, _| {
                let (rows, is_line) = (rows(odd), path(request).contains("feed=continuous"));
                match is_line {
                    true => Reply::steps(200, vec![send(&format!("{}\n", rows.join("\n"))), Step::Hang]),
                    false => reply(
                        200,
                        &format!(r#"{{"results":[{}],"last_seq":"3-x","pending":0}}"#, rows.join(",")),
                    ),
                }
            });
            let db = open(&clock, &server, json!({}));
            let page = clock.run(db.changes(&ChangesQuery::default(), &Seq::zero(), 9, wait_ms)).unwrap();
            let told: Vec<_> = page.results.iter().map(|row| (row.id.as_str(), row.leaves.clone())).collect();
            assert_eq!(told, [("a", vec![rev("1-a")]), ("b", vec![rev("2-b")]), ("c", vec![])]);
            assert_eq!((page.odd, page.last_seq), (vec!["b".to_owned(), "c".to_owned()], Seq(json!("3-x"))));
        }
    }
}

#[test]
fn nor_does_it_keep_a_document_from_being_sent() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| {
        let odd = json!(ODD.iter().chain(&["1-b"]).collect::<Vec<_>>());
        reply(200, &json!({"a": {"missing": ["1-a"], "possible_ancestors": odd}}).to_string())
    });
    let asked = vec![("a".to_owned(), vec![rev("1-a")])];
    let lacking = clock.run(open(&clock, &server, json!({})).revs_diff(asked)).unwrap();
    assert_eq!(lacking, [MissingRevs { possible_ancestors: vec![rev("1-b")], ..missing("a") }]);
}

/// It proves nothing of the one that was asked for, which must not be taken for sent.
#[test]
fn another_document_in_the_place_of_one_is_none() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| {
        reply(
            200,
            r#"{"results":[{"id":"a","docs":[{"ok":{"_id":"b","_rev":"1-a"}}]},{"id":"b","docs":[{"ok":{"_id":"b","_rev":"1-a"}}]}]}"#,
        )
    });
    let db = open(&clock, &server, json!({}));
    let fetched = clock.run(db.bulk_get(vec![missing("a"), missing("b")])).unwrap();
    let told: Vec<_> =
        fetched.iter().map(|row| (row.id.as_str(), row.rev.clone(), row.doc.is_ok())).collect();
    assert_eq!(told, [("b", Some(rev("1-a")), true), ("a", Some(rev("1-a")), false)]);
}

#[test]
fn a_page_without_a_place_to_go_on_from_is_none() {
    for last_seq in ["", r#","last_seq":null"#] {
        let clock = Clock::new();
        let page = format!(r#"{{"results":[]{last_seq}}}"#);
        let server = FakeServer::new(&clock, move |_, _| reply(200, &page));
        let db = open(&clock, &server, json!({}));
        let page = clock.run(db.changes(&ChangesQuery::default(), &Seq::from(3), 9, None));
        assert_eq!(page.unwrap_err().kind(), Kind::Network);
    }
}

/// A row that says nothing of whom it means must not be taken for a success of all.
#[test]
fn a_refusal_that_names_nobody_is_somebodys() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |request, _| match body(request).contains("\"bad\"") {
        true => reply(201, r#"[{"error":"unknown_error","reason":"badarg"}]"#),
        false => reply(201, "[]"),
    });
    let db = open(&clock, &server, json!({}));
    let docs = ["a", "b", "bad", "c"].map(doc).to_vec();
    let outcomes = clock.run(db.write_replicated(docs)).unwrap();
    let refused: Vec<bool> = outcomes.iter().map(|outcome| outcome.is_err()).collect();
    assert_eq!(refused, [false, false, true, false]);
}

/// A database that everybody may read, with a validation function that wants a login and never lets `un` in.
struct Public {
    /// Who has a session now.
    sessions: Cell<u32>,
    can_log_in: Cell<bool>,
}

fn public(clock: &Rc<Clock>, state: &Rc<Public>) -> Rc<FakeServer> {
    let state = state.clone();
    FakeServer::new(clock, move |request, _| {
        let cookie = header(request, "cookie").unwrap_or_default();
        let is_known = header(request, "authorization").is_some()
            || cookie.contains(&format!("AuthSession={}", state.sessions.get()));
        let name = if is_known { json!("anna") } else { Value::Null };
        match (request.method, path(request)) {
            ("POST", "/_session") if state.can_log_in.get() => reply(200, r#"{"ok":true,"name":"anna"}"#)
                .with_header("set-cookie", &format!("AuthSession={}; Max-Age=600", state.sessions.get())),
            ("POST", "/_session") => reply(401, REFUSED),
            ("GET", "/_session") => {
                reply(200, &json!({"ok": true, "userCtx": {"name": name, "roles": []}}).to_string())
            }
            ("POST", "/db/_bulk_docs") => {
                let sent: Value = serde_json::from_str(&body(request)).unwrap();
                let ids = sent["docs"].as_array().unwrap().iter().map(|doc| doc["_id"].as_str().unwrap());
                let rows = ids.filter(|id| !is_known || *id == "un").map(
                    |id| json!({"id": id, "rev": "1-a", "error": "unauthorized", "reason": "please log in"}),
                );
                reply(201, &Value::from(rows.collect::<Vec<_>>()).to_string())
            }
            ("PUT", asked) if !is_known || asked.contains("/un") => reply(401, REFUSED),
            ("PUT", _) => reply(201, r#"{"ok":true,"id":"a","rev":"1-a"}"#),
            _ => reply(200, INFO),
        }
    })
}

#[test]
fn a_401_about_a_document_is_the_documents_if_the_server_knows_us() {
    let large = |id: &str| with_photo(id, &[7; 70_000], &[7; 70_000]);
    for login in [json!({}), json!({"username": "anna", "password": "x"}), session()] {
        let clock = Clock::new();
        let state = Rc::new(Public { sessions: Cell::new(1), can_log_in: Cell::new(true) });
        let server = public(&clock, &state);
        let is_nobody = login == json!({});
        let db = open(&clock, &server, if is_nobody { json!({}) } else { json!({"auth": login}) });
        let docs = vec![doc("a"), doc("un"), large("b"), large("un2")];
        let write = || clock.run(db.write_replicated(docs.clone()));
        let refused = |outcomes: Vec<Result<(), Error>>| -> Vec<bool> {
            outcomes
                .iter()
                .map(|outcome| outcome.as_ref().is_err_and(|error| error.status() == 401))
                .collect()
        };
        // Who has no login to lose is refused document by document.
        let expected = if is_nobody { [true; 4] } else { [false, true, false, true] };
        assert_eq!(refused(write().unwrap()), expected, "{login}");
        if login["type"] != "session" {
            continue;
        }
        // The server forgot the session: it is not the documents.
        state.sessions.set(2);
        clock.freeze(20_000);
        assert_eq!(refused(write().unwrap()), expected);
        state.sessions.set(3);
        state.can_log_in.set(false);
        clock.freeze(20_000);
        assert!(write().unwrap_err().needs_login());
        // Alone, too.
        state.can_log_in.set(true);
        clock.freeze(20_000);
        assert_eq!(
            refused(clock.run(db.write_replicated(vec![large("b"), large("un2")])).unwrap()),
            [false, true]
        );
        state.sessions.set(4);
        state.can_log_in.set(false);
        clock.freeze(20_000);
        assert!(clock.run(db.write_replicated(vec![large("b")])).unwrap_err().needs_login());
    }
}

fn session() -> Value {
    json!({"type": "session", "username": "anna", "password": "x"})
}

/// CouchDB 3.5 answers so to a cookie that is none, which another program on the same host may have set.
#[test]
fn a_cookie_that_cannot_be_read_is_a_missing_login() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| {
        let reason = "Malformed AuthSession cookie. Please clear your cookies.";
        reply(400, &json!({"error": "bad_request", "reason": reason}).to_string())
    });
    let db = open(&clock, &server, json!({}));
    assert!(clock.run(db.write_replicated(vec![doc("a"), doc("b")])).unwrap_err().needs_login());
    assert!(clock.run(db.bulk_get(vec![missing("a")])).unwrap_err().needs_login());
}

/// CouchDB 3.5 answers 500 `function_clause`, each time.
#[test]
fn a_content_that_is_damaged_here_is_its_documents_trouble() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| {
        reply(500, r#"{"error":"unknown_error","reason":"function_clause","ref":2873541556}"#)
    });
    let db = open(&clock, &server, json!({}));
    let docs = vec![with_photo("a", &[7; 70_000], b"other"), with_photo("b", &[7; 70_000], &[7; 70_000])];
    let outcomes = clock.run(db.write_replicated(docs)).unwrap();
    let error = outcomes[0].as_ref().unwrap_err();
    assert_eq!((error.status(), error.is_retryable()), (400, false));
    assert!(error.reason().contains("The attachment photo is damaged"), "{error}");
    assert_eq!(outcomes[1].as_ref().unwrap_err().status(), 500);
}

#[test]
fn a_login_counts_once_the_server_took_it() {
    let clock = Clock::new();
    let is_away = Rc::new(Cell::new(false));
    let away = is_away.clone();
    let server = FakeServer::new(&clock, move |request, _| {
        let right = "Basic YW5uYTpyaWdodA=="; // anna:right
        match header(request, "authorization") {
            _ if away.get() => Reply { before: vec![Step::Break], ..Reply::default() },
            Some(login) if login == right => reply(200, INFO),
            _ => reply(401, r#"{"error":"unauthorized","reason":"Name or password is incorrect."}"#),
        }
    });
    let db = open(&clock, &server, json!({}));
    let log_in = |password: &str| {
        let login = Login { username: "anna".into(), password: password.into(), is_session: false };
        clock.run(db.try_log_in(Credentials::Login(login)))
    };
    assert_eq!(log_in("wrong").unwrap_err().reason(), "Name or password is incorrect.");
    log_in("right").unwrap();
    clock.run(db.info()).unwrap();
    // One that is refused leaves the one before.
    assert_eq!(log_in("wrong").unwrap_err().status(), 401);
    clock.run(db.info()).unwrap();
    // Nobody can say: it is told, and used.
    is_away.set(true);
    assert_eq!(log_in("wrong").unwrap_err().kind(), Kind::Network);
    is_away.set(false);
    assert_eq!(clock.run(db.info()).unwrap_err().status(), 401);
}
