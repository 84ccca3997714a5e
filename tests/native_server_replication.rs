//! Replications that a server does by itself: what is asked of it, and what is made of its answers. They are those of
//! Apache CouchDB 3.5.0 and pouchdb-server 4.2.0 as recorded on 2026-11-21, shortened.
#![cfg(not(target_arch = "wasm32"))]

mod support;

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use futures::{FutureExt, executor::block_on};
use serde_json::{Value, json};
use settee::{
    error::{Error, Kind, Pending, Result},
    model::Content,
    remote::{Request, Response, ServerReplication, Transport},
};
use support::*;

const LOGINS: &str = "https://anna:s3cret@b.example/y";
const MADE: (u16, &str) = (201, r#"{"ok":true,"id":"job","rev":"1-a"}"#);
const CONFLICT: (u16, &str) = (409, r#"{"error":"conflict","reason":"Document update conflict."}"#);
const MISSING: (u16, &str) = (404, r#"{"error":"not_found","reason":"missing"}"#);

/// Gives the answers in order and keeps what was asked: method, path, body, authorization.
struct Script {
    answers: RefCell<VecDeque<(u16, String)>>,
    asked: RefCell<Vec<(String, String, Option<String>)>>,
}

impl Transport for Script {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        async move {
            let mut body = Vec::new();
            for piece in &request.body {
                body.extend_from_slice(&piece.bytes().await?);
            }
            let login = request.headers.iter().find(|(name, _)| name == "Authorization");
            let login = login.map(|(_, value)| value.clone());
            let path = request.url.strip_prefix("http://h:5984").unwrap_or(&request.url).to_owned();
            let body = String::from_utf8(body).unwrap();
            self.asked.borrow_mut().push((format!("{} {path}", request.method), body, login));
            match self.answers.borrow_mut().pop_front() {
                Some((0, _)) => Err(Error::new(Kind::Network, "Failed to fetch")),
                Some((status, body)) => {
                    let body = Content::from(body.into_bytes());
                    Ok(Response { status, headers: Vec::new(), body })
                }
                None => panic!("nobody expected this request: {:?}", self.asked.borrow().last()),
            }
        }
        .boxed_local()
    }
}

fn script(answers: &[(u16, &str)]) -> Rc<Script> {
    let answers = answers.iter().map(|(status, text)| (*status, (*text).to_owned())).collect();
    Rc::new(Script { answers: RefCell::new(answers), asked: RefCell::default() })
}

impl Script {
    fn asked(&self) -> Vec<String> {
        self.asked.borrow().iter().map(|(line, _, _)| line.clone()).collect()
    }

    fn body(&self, index: usize) -> Value {
        serde_json::from_str(&self.asked.borrow()[index].1).unwrap()
    }
}

fn start_at(script: &Rc<Script>, server: &str, job: Value) -> Result<ServerReplication> {
    let Value::Object(job) = job else { panic!("{job}") };
    let platform = SeededPlatform::new(1);
    block_on(ServerReplication::start(script.clone(), platform, server, job, Default::default()))
}

fn start(script: &Rc<Script>, job: Value) -> Result<ServerReplication> {
    start_at(script, "http://h:5984", job)
}

fn job() -> Value {
    json!({"_id": "job", "source": "https://a.example/x", "target": LOGINS, "continuous": true})
}

#[test]
fn it_is_a_document_of_the_servers() {
    let server = script(&[MADE]);
    let job = start_at(&server, "http://admin:pass@h:5984/", job()).unwrap();
    assert_eq!((job.id(), server.asked()), ("job", vec!["PUT /_replicator/job".to_owned()]));
    let sent = json!({"source": "https://a.example/x", "target": LOGINS, "continuous": true});
    assert_eq!(server.body(0), sent);
    assert_eq!(server.asked.borrow()[0].2.as_deref(), Some("Basic YWRtaW46cGFzcw=="));
    let no_server = |url: &str| start_at(&script(&[]), url, json!({})).err().unwrap();
    for url in ["", "couch", "ftp://h", "http://u:s3cret@h?x=1"] {
        let error = no_server(url);
        assert_eq!((error.status(), error.name()), (400, "bad_request"), "{url}");
        assert!(!error.to_string().contains("s3cret"));
    }
    assert_eq!(start(&script(&[]), json!({"_id": 7})).err().unwrap().status(), 400);
}

#[test]
fn the_same_request_is_the_same_document_whatever_the_login() {
    let ids = |job: Value| start(&script(&[MADE]), job).unwrap().id().to_owned();
    let plain = ids(json!({"source": "https://a.example/x", "target": "https://b.example/y"}));
    assert!(plain.starts_with("settee-") && plain.len() == 39, "{plain}");
    assert_eq!(ids(json!({"target": LOGINS, "source": "https://A.example:443/x/"})), plain);
    let auth = json!({"basic": {"username": "anna", "password": "s3cret"}});
    let end = json!({"url": "https://b.example/y", "auth": auth, "headers": {"x-token": "t"}});
    assert_eq!(ids(json!({"source": "https://a.example/x", "target": end})), plain);
    for other in [
        json!({"source": "https://a.example/x", "target": "https://b.example/z"}),
        json!({"source": "https://b.example/y", "target": "https://a.example/x"}),
        json!({"source": "https://a.example/x", "target": "https://b.example/y", "continuous": true}),
    ] {
        assert_ne!(ids(other), plain);
    }
}

#[test]
fn one_that_runs_is_left_to_run_and_one_that_is_over_starts_anew() {
    let there = |more: Value| {
        let mut doc = json!({"_id": "job", "_rev": "3-c", "owner": "anna", "source": {"url": "https://a.example/x/"},
            "target": "https://b.example/y", "continuous": true});
        doc.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        doc.to_string()
    };
    let triggered = (403, r#"{"error":"forbidden","reason":"Only the replicator can edit it."}"#);
    for (answer, state) in [
        (CONFLICT, json!({})),
        (triggered, json!({"_replication_state": "triggered", "_replication_id": "1"})),
    ] {
        let server = script(&[answer, (200, &there(state))]);
        start(&server, job()).unwrap();
        assert_eq!(server.asked(), ["PUT /_replicator/job", "GET /_replicator/job"]);
    }
    for state in ["completed", "failed", "error"] {
        for outcome in [MADE, CONFLICT] {
            let over = there(json!({"_replication_state": state, "_replication_stats": {}}));
            let server = script(&[CONFLICT, (200, &over), outcome]);
            start(&server, job()).unwrap();
            assert_eq!(server.asked()[2], "PUT /_replicator/job");
            let sent =
                json!({"_rev": "3-c", "source": "https://a.example/x", "target": LOGINS, "continuous": true});
            assert_eq!(server.body(2), sent);
        }
    }
    for other in [json!({"continuous": false}), json!({"target": "https://b.example/z"})] {
        let server = script(&[CONFLICT, (200, &there(other))]);
        let error = start(&server, job()).err().unwrap();
        assert_eq!((error.status(), error.name()), (409, "conflict"));
    }
}

const RUNNING: &str = r#"{"database":"_replicator","doc_id":"job","id":"c6+continuous","source":"https://a.example/x/",
    "target":"https://anna:s3cret@b.example/y/","state":"running","info":{"docs_read":1},"error_count":0}"#;
const COMPLETED: &str =
    r#"{"database":"_replicator","doc_id":"job","id":null,"state":"completed","info":{"docs_read":2}}"#;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn its_states_are_told_as_they_change_until_it_is_over() {
    let server = script(&[MADE, (200, RUNNING), (200, RUNNING), (200, RUNNING), (200, COMPLETED)]);
    let job = start(&server, job()).unwrap();
    let first = block_on(job.next(None)).unwrap().unwrap();
    assert_eq!(
        (&parsed(&first)["state"], &parsed(&first)["info"]),
        (&json!("running"), &json!({"docs_read": 1}))
    );
    assert_eq!(parsed(&first)["target"], "https://b.example/y/");
    let second = block_on(job.next(Some(&first))).unwrap().unwrap();
    assert_eq!(parsed(&second)["state"], "completed");
    assert_eq!(block_on(job.next(Some(&second))).unwrap(), None);
    assert_eq!(server.asked()[1..], ["GET /_scheduler/docs/_replicator/job"; 4].map(str::to_owned));
}

#[test]
fn one_that_was_cancelled_has_no_more_states() {
    let server = script(&[MADE, (200, RUNNING), MISSING, MISSING, MISSING, MISSING, (0, ""), (0, "")]);
    let job = start(&server, job()).unwrap();
    let seen = block_on(job.next(None)).unwrap();
    assert_eq!(block_on(job.next(seen.as_deref())).unwrap(), None);
    assert_eq!(block_on(job.status()).unwrap_err().status(), 404);
    assert_eq!(block_on(job.next(None)).unwrap_err().kind(), Kind::Network);
}

#[test]
fn a_server_without_a_scheduler_tells_its_state_in_the_document() {
    let refused = (401, r#"{"error":"unauthorized","reason":"You are not a server admin."}"#);
    for (no_scheduler, own, expected) in [
        (MISSING, json!({}), json!(["initializing", null])),
        (MISSING, json!({"_replication_state": "triggered"}), json!(["running", null])),
        // An answer without CORS headers is none to a browser.
        ((0, ""), json!({"_replication_state": "triggered"}), json!(["running", null])),
        (
            refused,
            json!({"_replication_state": "completed", "_replication_stats": {"docs_read": 3}}),
            json!(["completed", {"docs_read": 3}]),
        ),
        (
            MISSING,
            json!({"_replication_state": "error", "_replication_state_reason": format!("no {LOGINS}")}),
            json!(["failed", {"error": "no https://b.example/y"}]),
        ),
    ] {
        let mut doc = json!({"_id": "job", "_rev": "1-a", "source": "x", "target": LOGINS});
        doc.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let server = script(&[MADE, no_scheduler, (200, &doc.to_string())]);
        let job = start(&server, job()).unwrap();
        let text = block_on(job.status()).unwrap();
        assert!(!text.contains("s3cret") && !text.contains("anna"), "{text}");
        assert_eq!(json!([parsed(&text)["state"], parsed(&text)["info"]]), expected);
    }
}

#[test]
fn it_is_cancelled_even_while_the_server_writes_its_document() {
    let doc = |rev: &str| json!({"_id": "job", "_rev": rev}).to_string();
    let server = script(&[MADE, (200, &doc("1-a")), CONFLICT, (200, &doc("2-b")), (200, r#"{"ok":true}"#)]);
    let job = start(&server, job()).unwrap();
    block_on(job.cancel()).unwrap();
    let (get, delete) = ("GET /_replicator/job", "DELETE /_replicator/job?rev=");
    assert_eq!(
        server.asked()[1..],
        [get.to_owned(), format!("{delete}1-a"), get.to_owned(), format!("{delete}2-b")]
    );
    let server = script(&[MADE, MISSING]);
    assert_eq!(block_on(start(&server, json!({"_id": "job"})).unwrap().cancel()), Ok(()));
}

#[test]
fn errors_hold_no_logins() {
    let reason = json!({"error": "forbidden", "reason": format!("no way to {LOGINS}, <http://u:s3cret@h>")});
    let server = script(&[(403, &reason.to_string()), MISSING]);
    let error = start(&server, job()).err().unwrap();
    assert_eq!((error.status(), error.name()), (403, "forbidden"));
    assert_eq!(error.reason(), "no way to https://b.example/y, <http://h>");
}
