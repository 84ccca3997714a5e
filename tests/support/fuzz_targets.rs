//! The parsers of what comes from outside: those of `src/seal`, and of documents, feeds and blocks.

use settee::{
    log::{BlockBuilder, Directory, DocState, StoredLeaf, entries, read_at},
    model::{Draft, Rev, Seq, canonical, check_body},
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
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn drafts() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"_id":"a","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]},"_deleted":false,"n":1.0,"t":"x\u00e9\ud83d\ude00"}"#,
        r#"{"_id":"é","_attachments":{"f":{"content_type":"a/b","data":"aGVsbG8="},"g":{"stub":true,"revpos":2,"length":5,"digest":"md5-XUFAKrxLKna5cZ2REBfFkg=="}},"a":[{"b":[[],{}]},null,-1e5]}"#,
        r#"{"x":{"v":1},"y":"\u0000\n\t\/"}"#,
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
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(value.is_object());
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
        body: r#"{"n":1}"#.into(),
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
    vec![b"12".to_vec(), br#""12-abc""#.to_vec(), b"[1,\"x\"]".to_vec()]
}

fn seq(bytes: &[u8]) {
    let Some(Ok(seq)) = text(bytes).map(serde_json::from_str::<Seq>) else { return };
    // A fraction may be read as its neighbour; no server counts in them.
    if seq.0.is_f64() {
        return;
    }
    let written = serde_json::to_string(&seq).unwrap();
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Seq>(&written).unwrap()).unwrap(), written);
}
