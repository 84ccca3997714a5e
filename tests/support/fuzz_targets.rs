//! The parsers of what comes from outside: those of `src/seal`, and of documents, feeds and blocks.

use std::collections::BTreeMap;

use futures::executor::block_on;
use serde_json::value::RawValue;
use settee::{
    log::{BlockBuilder, Directory, DocState, StoredLeaf, entries, read_at},
    model::{Content, Draft, Rev, Seq, canonical, check_body},
    remote::fuzz as remote,
    revtree::RevTree,
    seal::fuzz::{TARGETS, Target},
};

pub fn targets() -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().chain(OTHERS)
}

const OTHERS: &[Target] = &[
    Target { name: "draft", seeds: drafts, run: draft },
    Target { name: "body", seeds: drafts, run: body },
    Target { name: "changes", seeds: pages, run: changes },
    Target { name: "item", seeds: items, run: item },
    Target { name: "block", seeds: blocks, run: block },
    Target { name: "seq", seeds: seqs, run: seq },
    Target { name: "parts", seeds: answers, run: parts },
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn drafts() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"_id":"a","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]},"_deleted":false,"n":1.0,"t":"x\u00e9\ud83d\ude00"}"#,
        r#"{"_id":"é","_attachments":{"f":{"content_type":"a/b","data":"aGVsbG8="},"g":{"stub":true,"revpos":2,"length":5,"digest":"md5-XUFAKrxLKna5cZ2REBfFkg=="}},"a":[{"b":[[],{}]},null,-1e5]}"#,
        r#"{"x":{"v":1},"y":"\u0000\n\t\/","z":1e400}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn draft(bytes: &[u8]) {
    let Some(Ok(draft)) = text(bytes).map(|json| Draft::parse(json, &[])) else { return };
    let _ = (draft.parent(), draft.body_digest());
    // What is left of it is an object without special members.
    let again = Draft::parse(&draft.body, &[]).unwrap();
    assert_eq!((again.body, again.id, again.rev), (draft.body, None, None));
}

fn body(bytes: &[u8]) {
    let Some(json) = text(bytes) else { return };
    let (checked, form) = (check_body(json), canonical::form(json));
    if let (Ok(()), Ok(form)) = (checked, form) {
        // Its numbers are texts to us: a reader that makes numbers of them has a largest one.
        let object = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(json);
        assert!(object.is_ok(), "{object:?}");
        assert_eq!(canonical::form(&format!(" {json}\n")).unwrap(), form);
    }
}

fn pages() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"results":[{"seq":"1-g","id":"a","changes":[{"rev":"1-a"},{"rev":"2-b"}],"deleted":true},{"seq":2,"id":"b","changes":[{"rev":"1-x"}],"doc":{"_id":"b","_rev":"1-x","n":1}}],"last_seq":"2-g","pending":0}"#,
        r#"{"results":[],"last_seq":0}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn changes(bytes: &[u8]) {
    let Some(Ok(page)) = text(bytes).map(remote::parse_changes) else { return };
    assert!(page.results.len() <= bytes.len());
}

fn items() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"ok":{"_id":"a","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"n":1.0}}"#,
        r#"{"error":{"id":"a","rev":"7-x","error":"not_found","reason":"missing"}}"#,
        r#"{"missing":"1-a"}"#,
        r#"{"error":"forbidden","reason":"no"}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn item(bytes: &[u8]) {
    let Some(Ok(fetched)) = text(bytes).map(|json| remote::parse_item("a", json)) else { return };
    if let Ok(doc) = fetched.doc {
        assert_eq!(doc.path.first(), Some(doc.rev()));
        check_path(&doc.path);
    }
}

fn check_path(path: &[Rev]) {
    let steps = path.windows(2).all(|pair| pair[0].generation == pair[1].generation + 1);
    assert!(steps && path.last().is_some_and(|rev| rev.generation > 0));
}

fn blocks() -> Vec<Vec<u8>> {
    let mut tree = RevTree::new();
    let path: Vec<Rev> = ["2-b", "1-a"].map(|rev| rev.parse().unwrap()).into();
    tree.merge(&path, false).unwrap();
    let leaf = StoredLeaf {
        rev: path[0].clone(),
        deleted: false,
        body: r#"{"n":1}"#.to_owned().into(),
        attachments: Vec::new(),
    };
    let mut builder = BlockBuilder::new(1);
    builder.push_doc(&DocState { seq: 1, id: "a".into(), tree, leaves: vec![leaf], prev: None });
    builder.push_local("checkpoint", 2, "{}");
    builder.finish()
}

fn block(bytes: &[u8]) {
    let _ = Directory::default().fold(1, bytes);
    for offset in 0..bytes.len().min(64) {
        if let Ok(entry) = read_at(bytes, offset as u32) {
            let _ = entry.doc();
        }
    }
    if let Ok(found) = entries(bytes) {
        assert!(found.take_while(Result::is_ok).count() <= bytes.len());
    }
}

fn seqs() -> Vec<Vec<u8>> {
    let large = format!("[{}]", "9".repeat(81));
    vec![b"12".to_vec(), br#""12-abc""#.to_vec(), b"[1,\"x\"]".to_vec(), large.into_bytes()]
}

fn seq(bytes: &[u8]) {
    let Some(Ok(seq)) = text(bytes).map(serde_json::from_str::<Seq>) else { return };
    // A fraction, or what is too large for 64 bits, may be read as its neighbour; no server counts in them.
    fn is_exact(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Array(items) => items.iter().all(is_exact),
            serde_json::Value::Object(members) => members.values().all(is_exact),
            other => !other.is_f64(),
        }
    }
    if !is_exact(&seq.0) {
        return;
    }
    let written = serde_json::to_string(&seq).unwrap();
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Seq>(&written).unwrap()).unwrap(), written);
}

/// A media type, a line's end, and the answer. Contents that are short, that are sliced, that come without a length
/// or twice, after white space, with what looks like a boundary in them; an error beside them.
fn answers() -> Vec<Vec<u8>> {
    let content = |length: usize| -> Vec<u8> { (0..length).map(|at| b"\r\n--in-"[at % 7]).collect() };
    let headed = |name: &str, length: usize| {
        let head = format!(
            "\r\n--in\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
             Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), &content(length)].concat()
    };
    let mixed = |documents: &[&[u8]]| {
        let mut out = b"multipart/mixed; boundary=\"out\"\n".to_vec();
        for document in documents {
            out.extend_from_slice(b"\r\n--out\r\n");
            out.extend_from_slice(document);
        }
        out.extend_from_slice(b"\r\n--out--");
        out
    };
    let error: &[u8] =
        b"Content-Type: application/json; error=\"true\"\r\n\r\n{\"id\":\"a\",\"error\":\"not_found\"}";
    let of = |files: &[Vec<u8>]| {
        let head = b"X-Doc-Id: a\r\nContent-Type: multipart/related; boundary=\"in\"\r\n\r\n--in\r\n\
            Content-Type: application/json\r\n\r\n{\"_id\":\"a\"}";
        [head.as_slice(), &files.concat(), b"\r\n--in--"].concat()
    };
    let no_length =
        b"\r\n--in\r\ncontent-disposition: attachment; filename=\"a \"b\"\"\r\n\r\nhello".to_vec();
    let small = of(&[headed("a", 3), headed("\u{e9}", 0), no_length]);
    vec![
        mixed(&[&small]),
        mixed(&[error, &of(&[]), &small, error]),
        mixed(&[&of(&[headed("a", 70_000), headed("b", 5000)]), &small]),
        b"Multipart/Related;charset=x;boundary=b\n--b--".to_vec(),
    ]
}

fn parts(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (kind, body) = (text(&bytes[..at]).unwrap_or_default(), &bytes[at + 1..]);
    let Some(boundary) = remote::boundary_of(kind) else { return };
    let content = Content::from(body.to_vec());
    let (found, is_whole) = block_on(remote::attachments(&content, boundary));
    let mut expected = Vec::new();
    assert_eq!(is_whole, whole(body, &delimiter(boundary), &mut expected).is_some());
    assert_eq!(found.len(), expected.len());
    for ((name, content), (other, bytes)) in found.iter().zip(&expected) {
        assert_eq!(name, other);
        assert_eq!(&*block_on(content.read(0, content.size_bytes())).unwrap(), *bytes);
    }
    assert!(expected.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= body.len());
}

fn delimiter(boundary: &str) -> Vec<u8> {
    format!("\r\n--{boundary}").into_bytes()
}

/// The bytes before a marker, with all of the answer at hand; the marker is used up too.
fn until<'a>(rest: &mut &'a [u8], marker: &[u8]) -> Option<&'a [u8]> {
    let at = rest.windows(marker.len()).position(|window| window == marker)?;
    let before = &rest[..at];
    *rest = &rest[at + marker.len()..];
    Some(before)
}

/// To behind a delimiter, of which the line's end may be missing here.
fn begin(rest: &mut &[u8], delimiter: &[u8]) -> Option<()> {
    match rest.strip_prefix(&delimiter[2..]) {
        Some(after) => *rest = after,
        None => drop(until(rest, delimiter)?),
    }
    Some(())
}

/// What `src/remote/parts.rs` has to find, with all of the answer at hand. `None` where it breaks off.
fn whole<'a>(mut rest: &'a [u8], outer: &[u8], found: &mut Vec<(String, &'a [u8])>) -> Option<()> {
    let header = |head: &[u8], name: &str| {
        let head = String::from_utf8_lossy(head).into_owned();
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    begin(&mut rest, outer)?;
    while rest.get(..2)? != b"--" {
        let head = until(&mut rest, b"\r\n\r\n")?;
        let kind = header(head, "content-type").unwrap_or_default();
        if let Some(inner) = remote::boundary_of(&kind).map(delimiter) {
            begin(&mut rest, &inner)?;
            while rest.get(..2)? != b"--" {
                let head = until(&mut rest, b"\r\n\r\n")?;
                let disposition = header(head, "content-disposition").unwrap_or_default();
                let name = disposition.split_once("filename=\"").and_then(|(_, name)| name.rsplit_once('"'));
                let length = header(head, "content-length").and_then(|length| length.parse::<u64>().ok());
                let (Some((name, _)), Some(length)) = (name, length) else {
                    let before = until(&mut rest, &inner)?;
                    found.extend(name.map(|(name, _)| (name.to_owned(), before)));
                    continue;
                };
                let (content, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                found.push((name.to_owned(), content));
                rest = after.strip_prefix(&inner[..])?;
            }
        }
        until(&mut rest, outer)?;
    }
    Some(())
}
