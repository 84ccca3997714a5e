//! A small CouchDB over a database in memory: the requests that a replication makes, answered in the
//! server's form and at its length. And a line to it that counts.
#![allow(dead_code)]

use std::{cell::Cell, rc::Rc};

use base64ct::{Base64, Encoding as _};
use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use settee::{
    database::{
        Database,
        options::{AttachmentOptions, BulkDocsOptions, BulkGetOptions, GetOptions, parse},
    },
    error::{Error, Pending, Result},
    model::{Content, Seq},
    peer::{ChangesQuery, LocalDoc, Peer},
    remote::{Request, Response, Transport},
};

use super::sim_time::Sim;

/// What follows the number in a sequence number of CouchDB 3.5 with two shards, by length.
const OPAQUE: &str = "g1AAAACbeJzLYWBgYMpgTmHgz8tPSTV0MDQy1zMAQsMcoARTIkOS_P___7MymBMZc4EC7MmJKSmJqWaYynEak6QAJJPsoaYwgE1JM0wxNjY3YOAswaLBFLsGxgMSgYglQOMacBiTBwA";

const DAY_MS: u32 = 86_400_000;

/// What went over a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub requests: u64,
    /// Bodies, request lines and headers of ours.
    pub up_bytes: u64,
    /// Bodies, and what CouchDB sends as headers.
    pub down_bytes: u64,
}

impl Traffic {
    pub fn since(&self, before: Traffic) -> Traffic {
        Traffic {
            requests: self.requests - before.requests,
            up_bytes: self.up_bytes - before.up_bytes,
            down_bytes: self.down_bytes - before.down_bytes,
        }
    }

    /// One of so many.
    pub fn of(&self, count: usize) -> Traffic {
        let count = count as u64;
        Traffic {
            requests: self.requests / count,
            up_bytes: self.up_bytes / count,
            down_bytes: self.down_bytes / count,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.up_bytes + self.down_bytes
    }
}

/// Counts what goes over it.
pub struct Line {
    pub sim: Rc<Sim>,
    pub server: Database,
    pub traffic: Rc<Cell<Traffic>>,
    pub latency_ms: u64,
}

impl Transport for Line {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        async move {
            let head: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            let body: u64 = request.body.iter().map(Content::size_bytes).sum();
            let mut traffic = self.traffic.get();
            traffic.requests += 1;
            traffic.up_bytes += body + (request.method.len() + request.url.len() + head + 13) as u64;
            self.traffic.set(traffic);
            self.sim.sleep(self.latency_ms).await;
            let response = serve(&self.server, request).await;
            self.sim.sleep(self.latency_ms).await;
            let mut traffic = self.traffic.get();
            // Cache-Control, Content-Type, Date, Server, X-Couch-Request-ID, X-CouchDB-Body-Time: 270 bytes.
            traffic.down_bytes += response.body.size_bytes() + 270;
            self.traffic.set(traffic);
            Ok(response)
        }
        .boxed_local()
    }
}

/// One request, answered.
pub async fn serve(db: &Database, request: Request) -> Response {
    let answer = match answer(db, request).await {
        Ok(answer) => answer,
        Err(error) => {
            let status = if error.status() == 0 { 500 } else { error.status() };
            (status, json!({"error": error.name(), "reason": error.reason()}).to_string().into_bytes())
        }
    };
    Response { status: answer.0, headers: Vec::new(), body: Content::from(answer.1) }
}

async fn answer(db: &Database, request: Request) -> Result<(u16, Vec<u8>)> {
    let path =
        request.url.splitn(4, '/').nth(3).and_then(|path| path.split_once('/')).map_or("", |path| path.1);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let option = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let mut bytes = Vec::new();
    for piece in &request.body {
        bytes.extend_from_slice(&piece.bytes().await?);
    }
    let body = String::from_utf8_lossy(&bytes).into_owned();
    let ok = |json: String| Ok((200, json.into_bytes()));
    match (request.method, path) {
        ("GET", "") => {
            let (info, of_us) = (Peer::info(db).await?, db.info().await?);
            ok(json!({
                "db_name": "channel", "purge_seq": format!("0-{OPAQUE}"), "update_seq": seq_out(&info.update_seq),
                "sizes": {"file": of_us.sizes.file, "external": of_us.sizes.active, "active": of_us.sizes.active},
                "props": {}, "doc_del_count": of_us.doc_del_count, "doc_count": info.doc_count,
                "disk_format_version": 8, "compact_running": false,
                "cluster": {"q": 2, "n": 1, "w": 1, "r": 1}, "instance_start_time": "1790000000",
            })
            .to_string())
        }
        ("GET", "_changes") => {
            let since = option("since").map_or_else(Seq::zero, |since| seq_in(&since));
            let limit = option("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
            let wait_ms = (option("feed").as_deref() == Some("longpoll")).then_some(DAY_MS);
            let page = Peer::changes(db, &ChangesQuery::default(), &since, limit, wait_ms).await?;
            let mut rows = Vec::with_capacity(page.results.len());
            for row in &page.results {
                let leaves: Vec<Value> = row.leaves.iter().map(|rev| json!({"rev": rev})).collect();
                let mut out = json!({"seq": seq_out(&row.seq), "id": row.id, "changes": leaves});
                if option("include_docs").is_some() {
                    // A tombstone too.
                    let winner: GetOptions = parse(json!({"rev": row.leaves[0].to_string()}))?;
                    let doc = db.get(&row.id, &winner).await?;
                    out["doc"] = serde_json::from_str(&doc.json).map_err(|_| malformed())?;
                }
                rows.push(out);
            }
            let end = json!({"results": rows, "last_seq": seq_out(&page.last_seq), "pending": page.pending});
            ok(end.to_string())
        }
        ("POST", "_revs_diff") => ok(db.revs_diff(&body).await?),
        ("POST", "_bulk_get") => {
            let mut options: BulkGetOptions = parse(serde_json::from_str(&body).map_err(|_| malformed())?)?;
            (options.revs, options.latest) = (true, true);
            ok(db.bulk_get(&options).await?.json)
        }
        ("POST", "_bulk_docs") => {
            #[derive(Deserialize)]
            struct Bulk<'a> {
                #[serde(borrow)]
                docs: &'a RawValue,
            }
            let bulk: Bulk = serde_json::from_str(&body).map_err(|_| malformed())?;
            let options = BulkDocsOptions { new_edits: Some(false) };
            let rows = db.bulk_docs(bulk.docs.get(), &[], &options).await?;
            let refused = rows.into_iter().filter_map(|(id, row)| {
                row.err().map(|error| json!({"id": id, "error": error.name(), "reason": error.reason()}))
            });
            ok(Value::from(refused.collect::<Vec<_>>()).to_string())
        }
        ("GET", path) if path.starts_with("_local/") => {
            let doc = db.local_doc(&path[7..]).await?.ok_or_else(Error::missing)?;
            let mut body = doc.body;
            body.insert("_id".to_owned(), path.into());
            body.insert("_rev".to_owned(), doc.rev.into());
            ok(Value::Object(body).to_string())
        }
        ("PUT", path) if path.starts_with("_local/") => {
            let mut body: serde_json::Map<String, Value> =
                serde_json::from_str(&body).map_err(|_| malformed())?;
            let rev = body.remove("_rev").and_then(|rev| rev.as_str().map(str::to_owned));
            let rev = db.put_local_doc(&path[7..], LocalDoc { rev, body }).await?;
            Ok((201, json!({"ok": true, "id": path, "rev": rev}).to_string().into_bytes()))
        }
        ("GET", path) if path.contains('/') => {
            let (id, name) = path.split_once('/').ok_or_else(malformed)?;
            let options = AttachmentOptions { rev: option("rev").map(|rev| decoded(&rev)) };
            let (content, _) = db.get_attachment(&decoded(id), &decoded(name), &options).await?;
            Ok((200, content.bytes().await?.to_vec()))
        }
        ("PUT", path) if !path.starts_with('_') => {
            let content_type =
                request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let boundary = content_type.and_then(|(_, value)| value.split("boundary=").nth(1));
            let doc = match boundary {
                Some(boundary) => related(&bytes, boundary.trim_matches('"'))?,
                None => serde_json::from_slice(&bytes).map_err(|_| malformed())?,
            };
            let options = BulkDocsOptions { new_edits: Some(false) };
            let mut rows = db.bulk_docs(&json!([doc]).to_string(), &[], &options).await?;
            match rows.pop() {
                Some((_, Err(error))) => Err(error),
                _ => Ok((
                    201,
                    json!({"ok": true, "id": decoded(path), "rev": doc["_rev"]}).to_string().into_bytes(),
                )),
            }
        }
        (method, path) => Err(Error::bad_request(format!("this server knows no {method} {path}"))),
    }
}

/// A document of `multipart/related` with its attachments inside; nothing of one that broke off.
fn related(body: &[u8], boundary: &str) -> Result<Value> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let find = |from: &[u8], what: &[u8]| from.windows(what.len()).position(|window| window == what);
    let first = body.strip_prefix(&delimiter[2..]).ok_or_else(malformed)?;
    let json_at = find(first, b"\r\n\r\n").ok_or_else(malformed)? + 4;
    let json_end = json_at + find(&first[json_at..], &delimiter).ok_or_else(malformed)?;
    let mut doc: Value = serde_json::from_slice(&first[json_at..json_end]).map_err(|_| malformed())?;
    let mut rest = &first[json_end + delimiter.len()..];
    let attachments = doc["_attachments"].as_object_mut().into_iter().flat_map(|all| all.values_mut());
    for attachment in attachments.filter(|attachment| attachment["follows"] == true) {
        let length = attachment["length"].as_u64().ok_or_else(malformed)? as usize;
        let start = find(rest, b"\r\n\r\n").ok_or_else(malformed)? + 4;
        let bytes = rest.get(start..start + length).ok_or_else(malformed)?;
        let after = rest[start + length..].strip_prefix(&delimiter[..]).ok_or_else(malformed)?;
        let members = attachment.as_object_mut().ok_or_else(malformed)?;
        members.remove("follows");
        members.insert("data".to_owned(), Base64::encode_string(bytes).into());
        rest = after;
    }
    if rest.starts_with(b"--") { Ok(doc) } else { Err(malformed()) }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let code = (*first == b'%').then(|| more.get(..2)).flatten();
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn malformed() -> Error {
    Error::bad_request("invalid UTF-8 JSON")
}

fn seq_out(seq: &Seq) -> String {
    format!("{}-{OPAQUE}", seq.to_query())
}

fn seq_in(text: &str) -> Seq {
    Seq(json!(text.split('-').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)))
}
