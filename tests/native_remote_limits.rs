//! `RemoteDatabase` against a server that is slow, silent or gone, on a clock of the test's own.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;

use std::rc::Rc;

use fake_server::*;
use serde_json::{Value, json};
use settee::{
    error::Kind,
    model::{Content, Seq},
    peer::{ChangesQuery, Peer, ReplicatedAttachment, ReplicatedDoc},
    platform::Platform,
    remote::{RemoteDatabase, Transport},
};

const INFO: &str = r#"{"update_seq":"7-x","doc_count":3,"doc_del_count":2}"#;

fn remote(clock: &Rc<Clock>, server: &Rc<FakeServer>, options: Value) -> RemoteDatabase {
    let options = serde_json::from_value(options).unwrap();
    let platform = Rc::new(FakePlatform(clock.clone()));
    RemoteDatabase::new(server.clone(), platform, "http://h:5984/db", options).unwrap()
}

fn elapsed<T>(clock: &Rc<Clock>, future: impl Future<Output = T>) -> (T, f64) {
    let platform = FakePlatform(clock.clone());
    let began = platform.now_ms();
    let result = clock.run(future);
    (result, platform.now_ms() - began)
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let clock = Clock::new();
    for (reply, ms) in [
        (Reply { before: vec![Step::Hang], ..reply(200, INFO) }, 60_000.0),
        (Reply::steps(200, vec![send("{\"update_"), Step::Wait(50_000), send("se"), Step::Hang]), 110_000.0),
        (Reply::steps(500, vec![Step::Hang]), 60_000.0),
    ] {
        let status = reply.status;
        let server = FakeServer::new(&clock, move |_, _| reply.clone());
        let (info, took_ms) = elapsed(&clock, remote(&clock, &server, json!({})).info());
        let error = info.unwrap_err();
        // A refusal whose words do not come is that refusal still.
        assert_eq!(error.kind(), if status == 200 { Kind::Timeout } else { Kind::Remote });
        assert!(error.is_retryable());
        assert_eq!((took_ms, server.open.get()), (ms, 0));
    }
    let server = FakeServer::new(&clock, |_, _| Reply { before: vec![Step::Hang], ..reply(200, INFO) });
    let (info, took_ms) = elapsed(&clock, remote(&clock, &server, json!({"connection_timeout": 500})).info());
    assert_eq!((info.unwrap_err().kind(), took_ms), (Kind::Timeout, 500.0));
}

#[test]
fn one_that_is_slow_is_not() {
    let clock = Clock::new();
    let mut steps: Vec<Step> =
        INFO.chars().flat_map(|c| [Step::Wait(59_000), send(&c.to_string())]).collect();
    steps.push(Step::Wait(59_000));
    let server = FakeServer::new(&clock, move |_, _| Reply::steps(200, steps.clone()));
    assert_eq!(clock.run(remote(&clock, &server, json!({})).info()).unwrap().doc_count, 3);
    // A filter may pass over a great deal before the first change.
    let page = r#"{"results":[],"last_seq":"9-x","pending":0}"#;
    let server =
        FakeServer::new(&clock, move |_, _| Reply { before: vec![Step::Wait(250_000)], ..reply(200, page) });
    let db = remote(&clock, &server, json!({}));
    let filtered = ChangesQuery { selector: Some(json!({})), ..ChangesQuery::default() };
    assert_eq!(clock.run(db.changes(&filtered, &Seq::zero(), 9, None)).unwrap().last_seq, Seq(json!("9-x")));
    let all = ChangesQuery::default();
    assert_eq!(clock.run(db.changes(&all, &Seq::zero(), 9, None)).unwrap_err().kind(), Kind::Timeout);
}

#[test]
fn what_is_large_has_longer() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |request, _| {
        let text = if request.method == "PUT" { r#"{"ok":true}"#.to_owned() } else { "x".repeat(800_000) };
        Reply { before: vec![Step::Wait(200_000)], ..reply(200, &text) }
    });
    let content = Content::from(vec![b'x'; 800_000]);
    let attachment = ReplicatedAttachment {
        name: "a".into(),
        content_type: "image/png".into(),
        revpos: 1,
        length: 800_000,
        digest: clock.run(content.digest()).unwrap().to_string(),
        is_encoded: false,
        content: Some(content),
    };
    let doc = ReplicatedDoc {
        id: "a".into(),
        path: vec!["1-a".parse().unwrap()],
        deleted: false,
        body: "{}".into(),
        attachments: vec![attachment.clone()],
    };
    let db = remote(&clock, &server, json!({}));
    assert_eq!(clock.run(db.write_replicated(vec![doc.clone()])).unwrap(), [Ok(())]);
    assert_eq!(clock.run(db.attachment(&doc, &attachment)).unwrap().size_bytes(), 800_000);
    assert_eq!(clock.run(db.info()).unwrap_err().kind(), Kind::Timeout);
}

#[test]
fn the_time_a_database_was_made_is_known_where_the_server_tells_it() {
    let clock = Clock::new();
    for (told, known) in [
        (json!("1795267417"), Some("1795267417")), // CouchDB 3.5.0
        (json!("0"), None),                        // CouchDB 2
        (json!("1795267417000"), None),            // pouchdb-server 4.2.0: when it was started
        (json!("1795267417000000"), None),         // CouchDB 1: when it was opened
        (json!(1_795_267_417), None),
        (Value::Null, None),
    ] {
        let info = json!({"update_seq": 1, "doc_count": 0, "instance_start_time": told}).to_string();
        let server = FakeServer::new(&clock, move |_, _| reply(200, &info));
        let info = clock.run(remote(&clock, &server, json!({})).info()).unwrap();
        assert_eq!(info.instance_start_time.as_deref(), known, "{told}");
    }
}

#[test]
fn an_answer_is_whole_or_an_error_however_it_is_cut() {
    let clock = Clock::new();
    for at in 0..INFO.len() {
        let steps = vec![send(&INFO[..at]), Step::Break];
        let server = FakeServer::new(&clock, move |_, _| Reply::steps(200, steps.clone()));
        let error = clock.run(remote(&clock, &server, json!({})).info()).unwrap_err();
        assert_eq!(error.kind(), Kind::Network, "{at}");
        assert!(server.can_stream() && server.open.get() == 0);
    }
}
