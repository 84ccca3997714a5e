//! Attachments of several documents in one answer: as far as it came whole, and never in place of something else.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;

use std::rc::Rc;

use fake_server::*;
use futures::FutureExt;
use serde_json::{Value, json};
use settee::{
    model::{Content, Digest},
    peer::{Peer, ReplicatedAttachment, ReplicatedDoc},
    remote::{RemoteDatabase, RemoteOptions, Request},
};

const MULTIPART: &str = "multipart/mixed; boundary=\"--out\"";

/// Longer than what is read at a time, with what looks like a boundary inside.
fn photo(n: u8) -> Vec<u8> {
    let mut bytes = [n, b'\r', b'\n', b'-', b'-', b'-', b'-', 7].repeat(9_000);
    bytes.extend_from_slice(b"\r\n----in\r\n\r\n----out--\r\n");
    bytes
}

type Files<'a> = &'a [(&'a str, Vec<u8>)];

fn doc(id: &str, files: Files) -> ReplicatedDoc {
    let attachment = |(name, bytes): &(&str, Vec<u8>)| ReplicatedAttachment {
        name: (*name).into(),
        content_type: "image/jpeg".into(),
        revpos: 1,
        length: bytes.len() as u64,
        digest: Digest::of(bytes).to_string(),
        is_encoded: false,
        content: None,
    };
    ReplicatedDoc {
        id: id.into(),
        path: vec!["1-a".parse().unwrap()],
        deleted: false,
        body: "{}".into(),
        attachments: files.iter().map(attachment).collect(),
    }
}

/// A document's part, as CouchDB 3.5.0 writes it.
fn part(id: &str, files: Files) -> Vec<u8> {
    let mut out = format!(
        "\r\n----out\r\nX-Doc-Id: {id}\r\nX-Rev-Id: 1-a\r\nContent-Type: multipart/related; boundary=--in\r\n\r\n\
         ----in\r\nContent-Type: application/json\r\n\r\n{{\"_id\":\"{id}\"}}\r\n----in"
    )
    .into_bytes();
    for (name, bytes) in files {
        let length = bytes.len();
        out.extend_from_slice(
            format!(
                "\r\nContent-Disposition: attachment; filename=\"{name}\"\r\nContent-Type: image/jpeg\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
            .as_bytes(),
        );
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n----in");
    }
    out.extend_from_slice(b"--");
    out
}

const MISSING: &[u8] = b"\r\n----out\r\nContent-Type: application/json; error=\"true\"\r\n\r\n{\"rev\":\"1-a\",\"error\":\"not_found\",\"reason\":\"missing\"}";
const END: &[u8] = b"\r\n----out--\r\n";

struct Story {
    clock: Rc<Clock>,
    server: Rc<FakeServer>,
    db: RemoteDatabase,
}

impl Story {
    fn new(handler: impl Fn(&Request, usize) -> Reply + 'static) -> Self {
        let clock = Clock::new();
        let server = FakeServer::new(&clock, handler);
        let platform = Rc::new(FakePlatform(clock.clone()));
        let db = RemoteDatabase::new(server.clone(), platform, "http://h:5984/db", RemoteOptions::default());
        Self { clock, server, db: db.unwrap() }
    }

    /// A server that answers so.
    fn answers(kind: &'static str, body: Vec<u8>) -> Self {
        Self::new(move |_, _| {
            Reply::steps(200, vec![Step::Send(body.clone())]).with_header("content-type", kind)
        })
    }

    /// Asks for everything; which attachments came. They are what their digests say.
    fn came(&self, docs: &[ReplicatedDoc]) -> Vec<(usize, usize)> {
        let wanted: Vec<(ReplicatedDoc, Vec<usize>)> =
            docs.iter().map(|doc| (doc.clone(), (0..doc.attachments.len()).collect())).collect();
        let came = self.clock.run(self.db.attachments(&wanted));
        for (place, index, content) in &came {
            let bytes = content.bytes().now_or_never().unwrap().unwrap();
            assert_eq!(Digest::of(&bytes).to_string(), docs[*place].attachments[*index].digest);
        }
        assert_eq!(self.server.open.get(), 0, "a line was left open");
        came.into_iter().map(|(place, index, _)| (place, index)).collect()
    }
}

fn body_of(request: &Request) -> Value {
    let bytes: Vec<u8> = request
        .body
        .iter()
        .flat_map(|piece: &Content| piece.bytes().now_or_never().unwrap().unwrap().to_vec())
        .collect();
    serde_json::from_slice(&bytes).unwrap()
}

/// Two documents with three photos, and the answer about them with an error in the middle.
fn three() -> (Vec<ReplicatedDoc>, Vec<u8>) {
    let (a, c): (Files, Files) = (&[("p \"1\"; ü", photo(1)), ("small", vec![2; 3_000])], &[("p", photo(3))]);
    let docs = vec![doc("a", a), doc("b", &[("p", photo(2))]), doc("c", c)];
    (docs, [&part("a", a), MISSING, &part("c", c), END].concat())
}

#[test]
fn those_that_come_well_together_are_asked_for_together() {
    let (mut docs, body) = three();
    // By themselves: what is large, compressed, has no digest of bytes, or lies in a document that is longer.
    let mut film = doc("film", &[("p", photo(1))]);
    film.attachments[0].length = (1 << 20) + 1;
    let mut compressed = doc("compressed", &[("p", photo(1))]);
    compressed.attachments[0].is_encoded = true;
    let mut nameless = doc("nameless", &[("p", photo(1))]);
    nameless.attachments[0].digest = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=".into();
    let mut long = doc("long", &[("p", photo(1))]);
    long.body = format!("{{\"text\":\"{}\"}}", "x".repeat(20_000));
    docs.splice(1..1, [film, compressed, nameless, long]);
    let story = Story::answers(MULTIPART, body);
    assert_eq!(story.came(&docs), [(0, 0), (0, 1), (6, 0)]);
    assert_eq!(story.server.asked(), ["POST /db/_bulk_get"]);
    assert_eq!(story.server.header(0, "accept").unwrap(), "multipart/mixed");
    let rows = ["a", "b", "c"].map(|id| json!({"id": id, "rev": "1-a"}));
    assert_eq!(body_of(&story.server.requests.borrow()[0]), json!({ "docs": rows }));

    // One alone has a request of its own, which goes on where it broke.
    assert_eq!(story.came(&docs[6..]), []);
    assert_eq!(story.server.asked().len(), 1);
}

#[test]
fn what_came_whole_is_kept_wherever_the_answer_ends() {
    let (docs, body) = three();
    let heads = (0..body.len()).filter(|at| *at < 300 || at % 1_499 == 0 || at + 500 > body.len());
    let mut counts = [0; 4];
    for end in heads {
        let story = Story::answers(MULTIPART, body[..end].to_vec());
        let came = story.came(&docs);
        let all = [(0, 0), (0, 1), (2, 0)];
        assert_eq!(came, all[..came.len()], "{end}");
        counts[came.len()] += 1;
        // Somebody in between cut it: for a minute each comes by itself.
        let is_whole = end + "--\r\n".len() >= body.len();
        assert_eq!(story.db.together_bytes() == 0, !is_whole, "{end}");
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_content_that_is_not_what_its_digest_says_is_left_out_alone() {
    let (docs, body) = three();
    let at = body.windows(3).position(|window| window == [1, b'\r', b'\n']).unwrap();
    let mut damaged = body.clone();
    damaged[at + 7] ^= 1;
    assert_eq!(Story::answers(MULTIPART, damaged).came(&docs), [(0, 1), (2, 0)]);
    // Another's in its place, as from somebody who answers in another order.
    let (a, c): (Files, Files) = (&[("p \"1\"; ü", photo(1)), ("small", vec![2; 3_000])], &[("p", photo(3))]);
    let other = [&part("c", c), MISSING, &part("a", a), END].concat();
    assert_eq!(Story::answers(MULTIPART, other).came(&docs), []);
}

#[test]
fn what_is_no_such_answer_gives_nothing_and_does_no_harm() {
    let (docs, body) = three();
    let swap = |from: &str, to: &str| -> Vec<u8> {
        let (from, mut out, mut rest) = (from.as_bytes(), Vec::new(), &body[..]);
        while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(to.as_bytes());
            rest = &rest[at + from.len()..];
        }
        [&out, rest].concat()
    };
    for (body, kept) in [
        (swap("----out", "----none"), 0),
        (swap("----in", "----none"), 0),
        (swap("boundary=--in", "boundary="), 0),
        // Found by their ends, which lie inside.
        (swap("Content-Length", "X-Length"), 1),
        (swap("Content-Length: ", "Content-Length: 1"), 0),
        (swap("Content-Length: ", "Content-Length: 18446744073709551615"), 1),
        (swap("Content-Length: ", "Content-Length: -"), 1),
        (swap("filename=", "name="), 0),
        (swap("\r\n\r\n", "\r\n"), 0),
        (Vec::new(), 0),
        (b"<html>".to_vec(), 0),
        (vec![b'\r'; 9 << 20], 0),
    ] {
        let story = Story::answers(MULTIPART, body);
        assert_eq!(story.came(&docs).len(), kept);
    }
}

#[test]
fn a_server_that_answers_in_another_form_is_not_asked_for_half_an_hour() {
    let (docs, body) = three();
    let refusal = r#"{"error":"not_acceptable","reason":"no"}"#;
    for (status, kind) in [(200, "application/json"), (200, "text/html"), (200, "multipart/mixed"), (406, "")]
    {
        let body = body.clone();
        let story = Story::new(move |_, count| match count {
            0 if status == 200 => reply(200, r#"{"results":[]}"#).with_header("content-type", kind),
            0 => reply(status, refusal),
            _ => Reply::steps(200, vec![Step::Send(body.clone())]).with_header("content-type", MULTIPART),
        });
        assert_eq!(story.came(&docs), []);
        assert_eq!(story.db.together_bytes(), 0);
        story.clock.freeze(1_799_000);
        assert_eq!((story.came(&docs).len(), story.server.asked().len()), (0, 1), "{status} {kind}");
        story.clock.freeze(2_000);
        assert!(story.db.together_bytes() > 0);
        assert_eq!(story.came(&docs).len(), 3);
    }
}

#[test]
fn a_line_that_breaks_is_tried_again_after_a_minute() {
    let (docs, body) = three();
    let missing = r#"{"error":"not_found","reason":"Database does not exist."}"#;
    for (status, step) in [(200, Step::Break), (503, send("")), (404, send(missing))] {
        let (body, half) = (body.clone(), body[..body.len() / 2].to_vec());
        let story = Story::new(move |_, count| match count {
            0 if status == 200 => Reply::steps(200, vec![Step::Send(half.clone()), step.clone()])
                .with_header("content-type", MULTIPART),
            0 => Reply::steps(status, vec![step.clone()]),
            _ => Reply::steps(200, vec![Step::Send(body.clone())]).with_header("content-type", MULTIPART),
        });
        assert_eq!(story.came(&docs), []);
        // A database that is not there says nothing of what its server can.
        story.clock.freeze(59_000);
        assert_eq!(story.db.together_bytes() > 0, status == 404);
        story.clock.freeze(2_000);
        assert!(story.db.together_bytes() > 0);
        assert_eq!(story.came(&docs).len(), 3, "{status}");
    }
}

#[test]
fn as_much_is_asked_for_at_once_as_comes_in_a_few_seconds() {
    let (docs, body) = three();
    let size: u64 = docs.iter().flat_map(|doc| &doc.attachments).map(|attachment| attachment.length).sum();
    for (took_ms, times, least, most) in [
        (10, 1, 4 << 20, 4 << 20),
        (10, 5, 5 << 20, 5 << 20),
        (30_000, 2, 1 << 20, 1 << 20),
        (400, 3, size * 12, size * 13),
    ] {
        let body = body.clone();
        let story = Story::new(move |_, _| {
            Reply::steps(200, vec![Step::Wait(took_ms), Step::Send(body.clone())])
                .with_header("content-type", MULTIPART)
        });
        for _ in 0..times {
            assert_eq!(story.came(&docs).len(), 3);
        }
        let bytes = story.db.together_bytes();
        assert!((least..=most).contains(&bytes), "{took_ms} {bytes}");
    }
}
