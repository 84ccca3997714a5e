//! `RemoteDatabase` against a scripted server: what is asked, word for word, and what is made of the
//! answers. Answers are those of Apache CouchDB 3.5.0's `chttpd_db.erl` and of pouchdb-server 4.2.0 as
//! recorded on 2026-11-20, shortened.
#![cfg(not(target_arch = "wasm32"))]

mod support;

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use futures::{FutureExt, executor::block_on};
use serde_json::{Value, json};
use settee::{
    error::{Error, Kind, Pending, Result},
    model::{Content, Digest, Rev, Seq},
    peer::{ChangesQuery, LocalDoc, MissingRevs, Peer, ReplicatedAttachment, ReplicatedDoc},
    remote::{RemoteDatabase, RemoteOptions, Request, Response, Transport},
};
use support::*;

/// Gives the answers in order and keeps the requests.
#[derive(Default)]
struct Script {
    answers: RefCell<VecDeque<(u16, Vec<u8>)>>,
    /// Of every answer.
    headers: Vec<(String, String)>,
    requests: RefCell<Vec<Request>>,
    /// Nothing is ever answered when the answers have run out.
    is_silent: bool,
}

impl Transport for Script {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        self.requests.borrow_mut().push(request);
        async {
            let answer = self.answers.borrow_mut().pop_front();
            match answer {
                Some((0, _)) => Err(Error::new(Kind::Network, "Failed to fetch")),
                Some((status, body)) => {
                    Ok(Response { status, headers: self.headers.clone(), body: Content::from(body) })
                }
                None if self.is_silent => futures::future::pending().await,
                None => panic!("nobody expected this request: {:?}", self.requests.borrow().last()),
            }
        }
        .boxed_local()
    }
}

impl Script {
    fn new(answers: &[(u16, &str)]) -> Rc<Self> {
        let answers = answers.iter().map(|(status, body)| (*status, body.as_bytes().to_vec())).collect();
        Rc::new(Self { answers: RefCell::new(answers), ..Self::default() })
    }

    /// `METHOD /path?query` of each request, without the server.
    fn asked(&self) -> Vec<String> {
        let requests = self.requests.borrow();
        let line = |request: &Request| {
            format!(
                "{} {}",
                request.method,
                request.url.strip_prefix("http://h:5984").unwrap_or(&request.url)
            )
        };
        requests.iter().map(line).collect()
    }

    fn body(&self, index: usize) -> String {
        let mut bytes = Vec::new();
        for piece in &self.requests.borrow()[index].body {
            bytes.extend_from_slice(&block_on(piece.bytes()).unwrap());
        }
        String::from_utf8(bytes).unwrap()
    }

    fn json(&self, index: usize) -> Value {
        serde_json::from_str(&self.body(index)).unwrap()
    }

    fn header(&self, index: usize, name: &str) -> Option<String> {
        let requests = self.requests.borrow();
        let found = requests[index].headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }
}

fn remote(script: &Rc<Script>) -> RemoteDatabase {
    open_url(script, "http://h:5984/db", json!({})).unwrap()
}

fn open_url(script: &Rc<Script>, url: &str, options: Value) -> Result<RemoteDatabase> {
    let options: RemoteOptions = serde_json::from_value(options).unwrap();
    RemoteDatabase::new(script.clone(), SeededPlatform::new(3), url, options)
}

fn rev(text: &str) -> Rev {
    text.parse().unwrap()
}

fn missing(id: &str, revs: &[&str]) -> MissingRevs {
    MissingRevs {
        id: id.into(),
        revs: revs.iter().map(|text| rev(text)).collect(),
        possible_ancestors: vec![],
    }
}

fn doc(id: &str, body: &str) -> ReplicatedDoc {
    ReplicatedDoc {
        id: id.into(),
        path: vec![rev("2-b"), rev("1-a")],
        deleted: false,
        body: body.into(),
        attachments: Vec::new(),
    }
}

fn attachment(name: &str, bytes: usize) -> ReplicatedAttachment {
    let bytes = vec![b'x'; bytes];
    ReplicatedAttachment {
        name: name.into(),
        content_type: "image/png".into(),
        revpos: 2,
        length: bytes.len() as u64,
        digest: Digest::of(&bytes).to_string(),
        is_encoded: false,
        content: Some(Content::from(bytes)),
    }
}

#[test]
fn a_login_in_the_url_becomes_a_header_and_is_shown_nowhere() {
    let script =
        Script::new(&[(401, r#"{"error":"unauthorized","reason":"Name or password is incorrect."}"#)]);
    let db =
        open_url(&script, "http://an%20na:s%C3%A9cret@H:5984/db/", json!({"headers": {"X-A": "1"}})).unwrap();
    let error = block_on(db.info()).unwrap_err();
    assert_eq!(
        (error.status(), error.name(), error.reason()),
        (401, "unauthorized", "Name or password is incorrect.")
    );
    assert_eq!(script.asked(), ["GET /db"]);
    assert_eq!(script.header(0, "authorization").unwrap(), "Basic YW4gbmE6c8OpY3JldA==");
    assert_eq!(script.header(0, "x-a").unwrap(), "1");
    assert_eq!(block_on(db.identity()).unwrap(), "http://h:5984/db");
    let shown = format!("{db:?} {error:?} {error}");
    assert!(!shown.contains("cret") && !shown.contains("na@"), "{shown}");

    // What the caller says goes before the URL, a header of its own before both.
    let script = Script::new(&[(200, "{}"), (200, "{}")]);
    let auth = json!({"auth": {"username": "a", "password": "b"}});
    let _ = block_on(open_url(&script, "http://x:y@h/db", auth.clone()).unwrap().info());
    let mut with_header = auth;
    with_header["headers"] = json!({"authorization": "Bearer t"});
    let _ = block_on(open_url(&script, "http://x:y@h/db", with_header).unwrap().info());
    assert_eq!(script.header(0, "authorization").unwrap(), "Basic YTpi");
    assert_eq!(script.header(1, "authorization").unwrap(), "Bearer t");
}

#[test]
fn errors_keep_the_servers_words_or_get_a_sentence() {
    for (status, body, kind, name, reason) in [
        (
            404,
            r#"{"error":"not_found","reason":"Database does not exist."}"#,
            Kind::NotFound,
            "not_found",
            "Database does not exist.",
        ),
        (403, r#"{"error":"forbidden","reason":{"why":1}}"#, Kind::Forbidden, "forbidden", r#"{"why":1}"#),
        (
            502,
            "<html><h1>Bad Gateway</h1></html>",
            Kind::Remote,
            "unknown_error",
            "The server answered with status 502 and no reason.",
        ),
        (429, "", Kind::Remote, "too_many_requests", "The server answered with status 429 and no reason."),
        (
            200,
            "<html>Welcome to our hotel</html>",
            Kind::Network,
            "network_error",
            "The answer is a web page where CouchDB's was expected; something stands in between.",
        ),
        (
            200,
            r#"{"update_seq":"1-x","doc_c"#,
            Kind::Network,
            "network_error",
            "The server's answer is incomplete or not CouchDB's.",
        ),
        (
            200,
            r#"{"couchdb":"Welcome"}"#,
            Kind::NotFound,
            "not_found",
            "There is no CouchDB database at this address.",
        ),
    ] {
        let error = block_on(remote(&Script::new(&[(status, body)])).info()).unwrap_err();
        assert_eq!((error.kind(), error.name(), error.reason()), (kind, name, reason), "{body}");
    }
}

#[test]
fn a_server_says_when_to_come_back() {
    for (status, retry_after, ms) in [
        (429, "7", Some(7_000)),
        (503, "Thu, 01 Jan 1970 00:01:00 GMT", Some(60_000)),
        (401, "1", Some(1_000)),
        (500, "soon", None),
    ] {
        let headers = vec![("retry-after".to_owned(), retry_after.to_owned())];
        let script = Script { headers, ..Script::default() };
        script.answers.borrow_mut().push_back((status, Vec::new()));
        let error = block_on(remote(&Rc::new(script)).info()).unwrap_err();
        assert_eq!((error.retry_after_ms(), error.needs_login()), (ms, status == 401), "{retry_after}");
    }
}

#[test]
fn info_knows_an_empty_database_where_it_can() {
    let total = |body: &str| block_on(remote(&Script::new(&[(200, body)])).info()).unwrap().total_count;
    assert_eq!(total(r#"{"update_seq":"0-g1AA","doc_count":0,"doc_del_count":0}"#), Some(0));
    assert_eq!(total(r#"{"update_seq":"7-g1AA","doc_count":3,"doc_del_count":2}"#), Some(5));
    assert_eq!(total(r#"{"update_seq":9,"doc_count":0}"#), None);
}

#[test]
fn create_says_whether_it_did() {
    let script = Script::new(&[
        (201, r#"{"ok":true}"#),
        (
            412,
            r#"{"error":"file_exists","reason":"The database could not be created, the file already exists."}"#,
        ),
        (401, r#"{"error":"unauthorized","reason":"You are not a server admin."}"#),
    ]);
    let db = remote(&script);
    assert!(block_on(db.create()).unwrap());
    assert!(!block_on(db.create()).unwrap());
    assert_eq!(block_on(db.create()).unwrap_err().kind(), Kind::Unauthorized);
    assert_eq!(script.asked(), ["PUT /db"; 3]);
}

#[test]
fn changes_are_asked_as_the_question_needs() {
    let page = r#"{"results":[
{"seq":"1-g1A","id":"a","changes":[{"rev":"2-b"},{"rev":"2-a"}]},
{"seq":"3-g1C","id":"_design/d","changes":[{"rev":"1-a"}],"deleted":true}
],
"last_seq":"3-g1C","pending":4}
"#;
    let script = Script::new(&[(200, page); 6]);
    let db = remote(&script);
    let ask = |query: ChangesQuery, since: Value, wait_ms| {
        block_on(db.changes(&query, &Seq(since), 50, wait_ms)).unwrap()
    };
    let answer = ask(ChangesQuery::default(), json!(0), None);
    assert_eq!((answer.results.len(), answer.last_seq, answer.pending), (2, Seq(json!("3-g1C")), Some(4)));
    assert_eq!(answer.results[0].leaves, [rev("2-b"), rev("2-a")]);
    assert!(answer.results[1].deleted);
    ask(ChangesQuery { doc_ids: Some(vec!["a&b".into()]), ..ChangesQuery::default() }, json!("3-a+/="), None);
    ask(ChangesQuery { selector: Some(json!({"x": 1})), ..ChangesQuery::default() }, json!(7), None);
    let query_params = json!({"a": "x y", "n": [1]}).as_object().cloned().unwrap();
    ask(ChangesQuery { filter: Some("d/f".into()), query_params, ..ChangesQuery::default() }, json!(7), None);
    ask(ChangesQuery::default(), json!(7), Some(1000));
    ask(ChangesQuery { is_main_only: true, ..ChangesQuery::default() }, json!(7), None);
    assert_eq!(
        script.asked(),
        [
            "GET /db/_changes?style=all_docs&limit=50&since=0",
            "POST /db/_changes?style=all_docs&limit=50&since=3-a%2B%2F%3D&filter=_doc_ids",
            "POST /db/_changes?style=all_docs&limit=50&since=7&filter=_selector",
            "GET /db/_changes?style=all_docs&limit=50&since=7&filter=d%2Ff&a=x%20y&n=%5B1%5D",
            "GET /db/_changes?style=all_docs&limit=50&since=7&feed=longpoll&heartbeat=10000",
            "GET /db/_changes?style=main_only&limit=50&since=7",
        ]
    );
    assert_eq!(script.json(1), json!({"doc_ids": ["a&b"]}));
    assert_eq!(script.json(2), json!({"selector": {"x": 1}}));
}

#[test]
fn the_code_of_a_filter_function_is_read_where_there_is_one() {
    let missing = r#"{"error":"not_found","reason":"missing"}"#;
    let script = Script::new(&[
        (200, r#"{"_id":"_design/a","filters":{"mine":"function () {}"}}"#),
        (200, r#"{"_id":"_design/a","views":{}}"#),
        (404, missing),
        (404, r#"{"error":"not_found","reason":"Database does not exist."}"#),
    ]);
    let db = remote(&script);
    let code = |filter: &str| block_on(db.filter_code(filter));
    assert_eq!(code("a b/mine").unwrap().as_deref(), Some("function () {}"));
    assert_eq!((code("a/none").unwrap(), code("none/mine").unwrap()), (None, None));
    assert_eq!(code("a/mine").unwrap_err().kind(), Kind::NotFound);
    // CouchDB's own have none that could change.
    assert_eq!(code("_view").unwrap(), None);
    let asked = ["GET /db/_design/a%20b", "GET /db/_design/a", "GET /db/_design/none", "GET /db/_design/a"];
    assert_eq!(script.asked(), asked);
}

#[test]
fn a_line_with_nothing_to_say_is_hung_up_in_the_end() {
    let script = Rc::new(Script { is_silent: true, ..Script::default() });
    let db = open_url(&script, "http://h:5984/db", json!({"heartbeat": 5000})).unwrap();
    let page = block_on(db.changes(&ChangesQuery::default(), &Seq(json!("9-x")), 10, Some(60_000))).unwrap();
    assert!(page.results.is_empty() && page.last_seq == Seq(json!("9-x")));
    assert!(script.asked()[0].ends_with("&feed=longpoll&heartbeat=5000"));
}

#[test]
fn pouchdb_servers_long_poll_is_read_too() {
    let script = Script::new(&[(
        200,
        "\n\n{\"results\":[\n{\"id\":\"a\",\"changes\":[{\"rev\":\"1-a\"}],\"seq\":4}\n],\n\"last_seq\":4}\n",
    )]);
    let page =
        block_on(remote(&script).changes(&ChangesQuery::default(), &Seq::zero(), 9, Some(10))).unwrap();
    assert_eq!((page.results.len(), page.last_seq, page.pending), (1, Seq(json!(4)), None));
}

#[test]
fn revs_diff_leaves_out_what_is_there() {
    let script = Script::new(&[(200, r#"{"b":{"missing":["3-c"],"possible_ancestors":["2-b"]}}"#)]);
    let asked = vec![("a".to_owned(), vec![rev("1-a")]), ("b".to_owned(), vec![rev("3-c"), rev("2-b")])];
    let found = block_on(remote(&script).revs_diff(asked)).unwrap();
    assert_eq!(script.json(0), json!({"a": ["1-a"], "b": ["3-c", "2-b"]}));
    assert_eq!(
        found,
        [MissingRevs { id: "b".into(), revs: vec![rev("3-c")], possible_ancestors: vec![rev("2-b")] }]
    );
}

/// Who fills an empty database asks nothing, and what others write there meanwhile comes along by a pull.
#[test]
fn what_the_feed_named_is_known_without_asking() {
    let script = Script::new(&[
        (200, r#"{"update_seq":"0-x","doc_count":0,"doc_del_count":0,"instance_start_time":"1790000000"}"#),
        (
            200,
            r#"{"results":[{"seq":"1-x","id":"a","changes":[{"rev":"1-a"}]}],"last_seq":"1-x","pending":0}"#,
        ),
    ]);
    let remote = remote(&script);
    assert!(block_on(remote.info()).unwrap().is_empty());
    let leaves = || vec![("a".to_owned(), vec![rev("1-a")]), ("b".to_owned(), vec![rev("1-b")])];
    assert_eq!(remote.unknown(leaves()), leaves());
    block_on(remote.changes(&ChangesQuery::default(), &Seq::zero(), 9, None)).unwrap();
    assert_eq!(remote.unknown(leaves()), leaves()[1..]);
    assert_eq!(script.asked().len(), 2);
}

#[test]
fn bulk_get_copies_documents_byte_for_byte_and_names_what_is_missing() {
    let script = Script::new(&[(
        200,
        r#"{"results": [
        {"id": "a", "docs": [{"ok":{"_id":"a","_rev":"2-b","n":1.0,"big":1180591620717411303424,"_revisions":{"start":2,"ids":["b","a"]}}}]},
        {"id": "b", "docs": [{"error":{"id":"b","rev":"7-x","error":"not_found","reason":"missing"}}]}]}"#,
    )]);
    let fetched =
        block_on(remote(&script).bulk_get(vec![missing("a", &["2-b"]), missing("b", &["7-x"])])).unwrap();
    assert_eq!(script.asked(), ["POST /db/_bulk_get?revs=true&latest=true&att_encoding_info=true"]);
    assert_eq!(script.json(0), json!({"docs": [{"id": "a", "rev": "2-b"}, {"id": "b", "rev": "7-x"}]}));
    let doc = fetched[0].doc.as_ref().unwrap();
    assert_eq!(doc.body, r#"{"n":1.0,"big":1180591620717411303424}"#);
    assert_eq!(doc.path, [rev("2-b"), rev("1-a")]);
    assert_eq!(
        (fetched[1].rev.clone(), fetched[1].doc.as_ref().unwrap_err().kind()),
        (Some(rev("7-x")), Kind::NotFound)
    );
}

#[test]
fn a_server_without_bulk_get_is_asked_document_by_document_from_then_on() {
    let one = r#"[{"ok":{"_id":"a/b","_rev":"1-a"}},{"missing":"9-z"}]"#;
    let script = Script::new(&[
        (405, r#"{"error":"method_not_allowed","reason":"Only PUT,DELETE,GET allowed"}"#),
        (200, one),
        (404, r#"{"error":"not_found","reason":"missing"}"#),
        (200, one),
    ]);
    let db = remote(&script);
    let fetched =
        block_on(db.bulk_get(vec![missing("a/b", &["1-a", "9-z"]), missing("c", &["1-c"])])).unwrap();
    let ok: Vec<bool> = fetched.iter().map(|fetched| fetched.doc.is_ok()).collect();
    assert_eq!(ok, [true, false, false]);
    block_on(db.bulk_get(vec![missing("a/b", &["1-a"])])).unwrap();
    let asked = script.asked();
    assert_eq!(
        asked[1],
        "GET /db/a%2Fb?open_revs=%5B%221-a%22%2C%229-z%22%5D&revs=true&latest=true&att_encoding_info=true"
    );
    assert!(asked[3].starts_with("GET /db/a%2Fb?"));
    // A database that is gone has not lost _bulk_get alone.
    let script = Script::new(&[(404, r#"{"error":"not_found","reason":"no_db_file"}"#)]);
    assert_eq!(
        block_on(remote(&script).bulk_get(vec![missing("a", &["1-a"])])).unwrap_err().kind(),
        Kind::NotFound
    );
}

#[test]
fn attachments_are_checked_when_they_arrive() {
    let (name, bytes) = ("dir/pic ü.png", "x".repeat(9));
    let mut stub = attachment(name, 9);
    stub.content = None;
    let doc = doc("a", "{}");
    let script = Script::new(&[
        (200, &bytes),
        (200, "xxxxxxxx"),
        (200, "yyyyyyyyy"),
        (200, "zzzzzzzzz"),
        (200, "yyyyyyyyy"),
        (200, &bytes),
        (200, "ccccccccc"),
        (200, "ccccccccc"),
        (200, "yyyyyyy"),
        (200, "yyyyyyyyy"),
        (404, r#"{"error":"not_found","reason":"Document is missing attachment"}"#),
    ]);
    let db = remote(&script);
    assert_eq!(block_on(db.attachment(&doc, &stub)).unwrap().size_bytes(), 9);
    assert_eq!(script.asked(), ["GET /db/a/dir/pic%20%C3%BC.png?rev=2-b"]);
    assert!(script.requests.borrow()[0].keep_external);
    // Too short; damaged, and damaged otherwise when asked for once more.
    for _ in 0..2 {
        assert!(block_on(db.attachment(&doc, &stub)).unwrap_err().is_retryable());
    }
    // Damaged once. Then the same bytes twice: what the server has, under a digest of another form.
    for right in [b"xxxxxxxxx", b"ccccccccc"] {
        let content = block_on(db.attachment(&doc, &stub)).unwrap();
        assert_eq!(&*block_on(content.bytes()).unwrap(), right);
    }
    // Kept compressed: the digest is of the compressed bytes, the length is not.
    stub.is_encoded = true;
    assert!(block_on(db.attachment(&doc, &stub)).unwrap_err().is_retryable());
    assert_eq!(block_on(db.attachment(&doc, &stub)).unwrap().size_bytes(), 9);
    assert_eq!(block_on(db.attachment(&doc, &stub)).unwrap_err().kind(), Kind::NotFound);
    stub.name = "..".into();
    assert_eq!(block_on(db.attachment(&doc, &stub)).unwrap_err().kind(), Kind::BadRequest);
}

#[test]
fn the_bytes_of_older_attachments_stay_where_they_are() {
    let db = remote(&Script::new(&[]));
    let mut doc = doc("a", "{}");
    doc.attachments = vec![attachment("new", 1), attachment("old", 1)];
    doc.attachments[1].revpos = 1;
    let wanted = |ancestors: &[Rev]| block_on(db.wanted_attachments(&doc, ancestors)).unwrap();
    assert_eq!(wanted(&[]), [0, 1]);
    assert_eq!(wanted(&[rev("1-a")]), [0]);
    // A leaf of another branch is no ancestor.
    assert_eq!(wanted(&[rev("1-z")]), [0, 1]);
}

#[test]
fn small_documents_go_together_and_rows_are_refusals() {
    let script =
        Script::new(&[(201, r#"[{"id":"b","rev":"2-b","error":"forbidden","reason":"no b here"}]"#)]);
    let mut with_small = doc("a", r#"{"n":1.0}"#);
    with_small.attachments = vec![attachment("s", 3)];
    let outcomes =
        block_on(remote(&script).write_replicated(vec![with_small, doc("b", "{}"), doc("c", "{}")])).unwrap();
    assert_eq!(outcomes, [Ok(()), Err(Error::remote(403, "forbidden", "no b here")), Ok(())]);
    assert_eq!(script.asked(), ["POST /db/_bulk_docs"]);
    let digest = Digest::of(b"xxx");
    assert_eq!(
        script.body(0),
        format!(
            "{{\"new_edits\":false,\"docs\":[{{\"_id\":\"a\",\"_rev\":\"2-b\",\"_revisions\":{{\"start\":2,\"ids\":[\"b\",\"a\"]}},\
             \"_attachments\":{{\"s\":{{\"content_type\":\"image/png\",\"revpos\":2,\"digest\":\"{digest}\",\"data\":\"eHh4\"}}}},\"n\":1.0}},\
             {{\"_id\":\"b\",\"_rev\":\"2-b\",\"_revisions\":{{\"start\":2,\"ids\":[\"b\",\"a\"]}}}},\
             {{\"_id\":\"c\",\"_rev\":\"2-b\",\"_revisions\":{{\"start\":2,\"ids\":[\"b\",\"a\"]}}}}]}}"
        )
    );
}

#[test]
fn requests_stay_under_a_megabyte() {
    let script = Script::new(&[(201, "[]"); 3]);
    let body = format!("{{\"t\":\"{}\"}}", "x".repeat(400_000));
    let docs = (0..5).map(|n| doc(&format!("d{n}"), &body)).collect();
    assert!(block_on(remote(&script).write_replicated(docs)).unwrap().iter().all(Result::is_ok));
    assert_eq!(script.asked().len(), 3);
    assert!((0..3).all(|index| script.body(index).len() < 1 << 20));
}

#[test]
fn one_document_that_spoils_a_request_is_found_by_halves() {
    let stub = (412, r#"{"error":"missing_stub","reason":"A pre-existing attachment stub wasn't found"}"#);
    let script = Script::new(&[stub, (201, "[]"), stub, (201, "[]"), stub]);
    let docs = ["a", "b", "c", "d"].map(|id| doc(id, "{}")).to_vec();
    let outcomes = block_on(remote(&script).write_replicated(docs)).unwrap();
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(Error::kind)).collect();
    assert_eq!(kinds, [None, None, None, Some(Kind::MissingStub)]);
    let sent = |index| script.json(index)["docs"].as_array().unwrap().len();
    assert_eq!([sent(0), sent(1), sent(2), sent(3), sent(4)], [4, 2, 2, 1, 1]);
    // What pouchdb-server answers 500 is a document's fault too, and not one that time mends.
    let script =
        Script::new(&[(500, r#"{"error":"doc_validation","reason":"Bad special document member: _foo"}"#)]);
    let outcomes = block_on(remote(&script).write_replicated(vec![doc("a", "{}")])).unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), Kind::DocValidation);
    // The server's trouble and the login's are everybody's.
    for (status, kind) in [(503, Kind::Remote), (401, Kind::Unauthorized), (0, Kind::Network)] {
        let script = Script::new(&[(status, "")]);
        let error =
            block_on(remote(&script).write_replicated(vec![doc("a", "{}"), doc("b", "{}")])).unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn a_large_attachment_travels_as_it_is() {
    let script = Script::new(&[(201, r#"{"ok":true,"id":"a b","rev":"2-b"}"#)]);
    let mut large = doc("a b", r#"{"n":1}"#);
    large.attachments = vec![attachment("big", 70_000), attachment("old", 5)];
    large.attachments[1].content = None;
    assert_eq!(block_on(remote(&script).write_replicated(vec![large.clone()])).unwrap(), [Ok(())]);
    assert_eq!(script.asked(), ["PUT /db/a%20b?new_edits=false"]);
    let content_type = script.header(0, "content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/related; boundary=\"").unwrap().trim_end_matches('"');
    assert_eq!(boundary.len(), 32);
    let body = script.body(0);
    assert!(
        body.starts_with(&format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n{{\"_id\":\"a b\""))
    );
    assert!(body.contains("\"length\":70000,\"follows\":true}"), "{}", &body[..400]);
    assert!(
        body.contains("\"length\":5,\"stub\":true}") && body.contains("\r\nContent-Length: 70000\r\n\r\nxxx")
    );
    assert!(body.ends_with(&format!("\r\n--{boundary}--")));
    // The content itself, not a copy of it.
    let Some(Content::Bytes(given)) = &large.attachments[0].content else { panic!() };
    let requests = script.requests.borrow();
    assert!(
        requests[0].body.iter().any(|piece| matches!(piece, Content::Bytes(sent) if Rc::ptr_eq(sent, given)))
    );
}

/// `..` is a directory to every URL parser, but a document's id to CouchDB.
#[test]
fn a_document_without_an_address_goes_inline_however_large() {
    let script = Script::new(&[(201, "[]")]);
    let mut large = doc("..", "{}");
    large.attachments = vec![attachment("big", 70_000)];
    assert_eq!(block_on(remote(&script).write_replicated(vec![large])).unwrap(), [Ok(())]);
    assert_eq!(script.asked(), ["POST /db/_bulk_docs"]);
    assert!(script.body(0).len() > 93_000);
}

#[test]
fn a_server_that_takes_no_multipart_gets_base64_from_then_on() {
    let script = Script::new(&[(415, ""), (201, "[]"), (201, "[]")]);
    let db = remote(&script);
    let mut large = doc("a", "{}");
    large.attachments = vec![attachment("big", 70_000)];
    for _ in 0..2 {
        assert_eq!(block_on(db.write_replicated(vec![large.clone()])).unwrap(), [Ok(())]);
    }
    assert_eq!(script.header(1, "content-type").unwrap(), "application/json");
    assert!(script.json(1)["_attachments"]["big"]["data"].is_string());
    assert_eq!(script.asked().len(), 3);
    // Refused either way it is the document, and nothing is learnt about the server.
    let bad = (
        400,
        r#"{"error":"bad_request","reason":"Attachment name '_x' starts with prohibited character '_'"}"#,
    );
    let script = Script::new(&[bad, bad, (201, r#"{"ok":true,"id":"a","rev":"2-b"}"#)]);
    let db = remote(&script);
    assert_eq!(
        block_on(db.write_replicated(vec![large.clone()])).unwrap()[0].as_ref().unwrap_err().status(),
        400
    );
    block_on(db.write_replicated(vec![large])).unwrap()[0].as_ref().unwrap();
    assert!(script.header(2, "content-type").unwrap().starts_with("multipart"));
}

#[test]
fn what_becomes_of_a_document_alone() {
    let mut large = doc("a", "{}");
    large.attachments = vec![attachment("big", 70_000)];
    let write = |answers: &[(u16, &str)]| {
        block_on(remote(&Script::new(answers)).write_replicated(vec![large.clone()]))
    };
    // pouchdb-server answers rows.
    let outcome = write(&[(201, r#"[{"id":"a","error":"forbidden","reason":"no"}]"#)]).unwrap();
    assert_eq!(outcome[0], Err(Error::remote(403, "forbidden", "no")));
    assert_eq!(
        write(&[(403, r#"{"error":"forbidden","reason":"no"}"#)]).unwrap()[0],
        Err(Error::remote(403, "forbidden", "no"))
    );
    assert_eq!(write(&[(413, "")]).unwrap()[0].as_ref().unwrap_err().status(), 413);
    // A 401 is the document's if the login still works, and everybody's if not.
    let refused = (401, r#"{"error":"unauthorized","reason":"not yours"}"#);
    let outcome = write(&[refused, (200, r#"{"update_seq":1,"doc_count":1}"#)]).unwrap();
    assert_eq!(outcome[0].as_ref().unwrap_err().reason(), "not yours");
    assert_eq!(write(&[refused, refused]).unwrap_err().kind(), Kind::Unauthorized);
    assert_eq!(
        write(&[(404, r#"{"error":"not_found","reason":"Database does not exist."}"#)]).unwrap_err().kind(),
        Kind::NotFound
    );
}

#[test]
fn local_documents_come_and_go() {
    let script = Script::new(&[
        (404, r#"{"error":"not_found","reason":"missing"}"#),
        (200, r#"{"_id":"_local/x y","_rev":"0-3","n":1}"#),
        (201, r#"{"ok":true,"id":"_local/x y","rev":"0-4"}"#),
        (409, r#"{"error":"conflict","reason":"Document update conflict."}"#),
        (404, r#"{"error":"not_found","reason":"Database does not exist."}"#),
    ]);
    let db = remote(&script);
    assert_eq!(block_on(db.local_doc("x y")).unwrap(), None);
    let found = block_on(db.local_doc("x y")).unwrap().unwrap();
    assert_eq!((found.rev.as_deref(), &found.body["n"], found.body.len()), (Some("0-3"), &json!(1), 1));
    assert_eq!(block_on(db.put_local_doc("x y", found.clone())).unwrap(), "0-4");
    assert_eq!(script.json(2), json!({"_rev": "0-3", "n": 1}));
    let first = LocalDoc { rev: None, body: found.body };
    assert_eq!(block_on(db.put_local_doc("x y", first)).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(block_on(db.local_doc("x y")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(script.asked()[0], "GET /db/_local/x%20y");
}
