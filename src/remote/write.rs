//! What is sent to a server.
//!
//! Documents without large attachments go together through `_bulk_docs`; one with a large attachment
//! goes alone, as `multipart/related`. A request that the server refuses as a whole because of one
//! document is halved until that one is found, as CouchDB's own replicator does.

use std::ops::Range;

use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    RemoteDatabase,
    docs::{self, Contents},
    http::{self, Refusal, failure_of, garbled, is_database_missing},
    multipart,
    url::doc_path,
};
use crate::{
    error::{Error, Pending, Result},
    model::{Content, Digest, Rev, hex},
    peer::{LocalDoc, Peer, ReplicatedDoc},
};

/// Larger attachments are never base64.
const INLINE_BYTES: u64 = 65_536;

/// Nor are those of a document that has more than this in all.
const INLINE_TOTAL_BYTES: u64 = 4 * INLINE_BYTES;

/// How long a `_bulk_docs` request gets, unless one document alone is longer. Under nginx's default
/// limit for bodies (1 MiB), which many a CouchDB stands behind, and long enough that the round trip
/// does not count.
const BULK_BYTES: usize = 1_000_000;

const BULK_HEAD: &str = "{\"new_edits\":false,\"docs\":[";

impl RemoteDatabase {
    pub(super) async fn write_docs(&self, docs: Vec<ReplicatedDoc>) -> Result<Vec<Result<()>>> {
        let mut outcomes: Vec<Result<()>> = docs.iter().map(|_| Ok(())).collect();
        let (alone, together): (Vec<usize>, Vec<usize>) =
            (0..docs.len()).partition(|&index| goes_alone(&docs[index]));

        let mut bulk = Bulk::default();
        for index in together {
            let json = docs::to_json(&docs[index], Contents::Inline).await?;
            if !bulk.texts.is_empty() && bulk.length + json.len() > BULK_BYTES {
                self.write_bulk(&docs, std::mem::take(&mut bulk), &mut outcomes).await?;
            }
            bulk.push(index, json);
        }
        self.write_bulk(&docs, bulk, &mut outcomes).await?;

        for index in alone {
            outcomes[index] = self.write_alone(&docs[index]).await?;
        }
        Ok(outcomes)
    }

    async fn write_bulk(
        &self,
        docs: &[ReplicatedDoc],
        bulk: Bulk,
        outcomes: &mut [Result<()>],
    ) -> Result<()> {
        let whole = 0..bulk.texts.len();
        let mut ranges = if whole.is_empty() { Vec::new() } else { vec![whole] };
        while let Some(range) = ranges.pop() {
            let indexes = &bulk.indexes[range.clone()];
            let about = |row: &Refused| indexes.iter().find(|&&index| row.is_about(&docs[index])).copied();
            let error = match self.post_docs(&bulk.texts[range.clone()]).await {
                Err(error) if !is_about_a_document(&error) => return Err(error),
                Err(error) => error,
                Ok(rows) => {
                    let nameless = rows.iter().find(|row| about(row).is_none());
                    let Some(row) = nameless else {
                        let refused = rows.iter().find(|row| row.error.needs_login());
                        if let Some(row) = refused
                            && !self.http.is_known(row.error.clone()).await?
                        {
                            ranges.push(range);
                            continue;
                        }
                        for row in rows {
                            about(&row)
                                .into_iter()
                                .for_each(|index| outcomes[index] = Err(row.error.clone()));
                        }
                        continue;
                    };
                    row.error.clone()
                }
            };
            if range.len() == 1 {
                outcomes[indexes[0]] = Err(error);
            } else {
                let middle = range.start + range.len() / 2;
                ranges.extend([middle..range.end, Range { start: range.start, end: middle }]);
            }
        }
        Ok(())
    }

    /// The rows of those that were refused. CouchDB gives no others with `new_edits=false`.
    async fn post_docs(&self, texts: &[String]) -> Result<Vec<Refused>> {
        let length = texts.iter().map(|text| text.len() + 1).sum::<usize>() + BULK_HEAD.len() + 2;
        let mut body = String::with_capacity(length);
        body.push_str(BULK_HEAD);
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str(text);
        }
        body.push_str("]}");
        let text = self.http.json("POST", "/_bulk_docs", Some(body)).await?;
        refused(&text)
    }

    /// One document with all its contents. The outer error is the server's or the login's, the inner
    /// one the document's.
    fn write_alone<'a>(&'a self, doc: &'a ReplicatedDoc) -> Pending<'a, Result<()>> {
        async move {
            let path = match doc_path(&doc.id) {
                Ok(path) => format!("{path}?new_edits=false"),
                Err(error) => return Ok(Err(error)),
            };
            let may_try = self.may_try(&self.no_multipart_until_ms);
            let mut outcome = match may_try {
                true => self.put_multipart(&path, doc).await,
                false => self.put_inline(&path, doc).await,
            };
            // A server that does not take the form says so with one of these. If it takes the same document
            // the plain way it was the form; if not, it was the document.
            if let Err(error) = &outcome
                && matches!(error.status(), 400 | 405 | 406 | 415 | 501)
                && may_try
            {
                outcome = self.put_inline(&path, doc).await;
                if outcome.is_ok() {
                    self.do_without(&self.no_multipart_until_ms);
                }
            }
            match outcome {
                Err(error) if error.needs_login() => {
                    // A validation function may refuse one document so, and an expired login everything, or what
                    // not everybody may do.
                    if !self.http.is_known(error.clone()).await? {
                        return self.write_alone(doc).await;
                    }
                    self.info().await?;
                    Ok(Err(error))
                }
                Err(error) if is_database_missing(&error) => Err(error),
                // CouchDB answers 500 to a content that is not what its digest says, each time.
                Err(error) if error.status() == 500 => Ok(Err(damage_of(doc).await?.unwrap_or(error))),
                outcome => Ok(outcome),
            }
        }
        .boxed_local()
    }

    async fn put_multipart(&self, path: &str, doc: &ReplicatedDoc) -> Result<()> {
        let mut random = [0; 16];
        self.http.platform.random_bytes(&mut random);
        let boundary = hex(&random);
        let json = docs::to_json(doc, Contents::Follow).await?;
        let body = multipart::body(&json, doc, &boundary);
        let content_type = format!("multipart/related; boundary=\"{boundary}\"");
        let request = self.http.request("PUT", path, Some((&content_type, body)));
        put_outcome(&self.http.text(request, Some(self.http.timeout_ms)).await?)
    }

    /// Holds the contents in memory, a third longer than they are.
    async fn put_inline(&self, path: &str, doc: &ReplicatedDoc) -> Result<()> {
        let json = docs::to_json(doc, Contents::Inline).await?;
        put_outcome(&self.http.json("PUT", path, Some(json)).await?)
    }

    pub(super) async fn write_local_doc(&self, id: &str, doc: LocalDoc) -> Result<String> {
        #[derive(Deserialize)]
        struct Written {
            rev: String,
        }
        let mut body = doc.body;
        if let Some(rev) = doc.rev {
            body.insert("_rev".to_owned(), rev.into());
        }
        let path = doc_path(&format!("_local/{id}"))?;
        let text = self.http.json("PUT", &path, Some(Value::Object(body).to_string())).await?;
        Ok(http::parse::<Written>(&text)?.rev)
    }
}

/// Documents on their way into one request.
#[derive(Default)]
struct Bulk {
    indexes: Vec<usize>,
    texts: Vec<String>,
    length: usize,
}

impl Bulk {
    fn push(&mut self, index: usize, json: String) {
        self.length += json.len() + 1;
        self.indexes.push(index);
        self.texts.push(json);
    }
}

/// A row of an answer, about a document that was refused.
struct Refused {
    id: String,
    rev: Option<Rev>,
    error: Error,
}

impl Refused {
    /// PouchDB's server names no revision.
    fn is_about(&self, doc: &ReplicatedDoc) -> bool {
        doc.id == self.id && self.rev.as_ref().is_none_or(|rev| rev == doc.rev())
    }
}

fn goes_alone(doc: &ReplicatedDoc) -> bool {
    // What has no address of its own goes with others, as base64.
    if doc_path(&doc.id).is_err() {
        return false;
    }
    let sizes =
        doc.attachments.iter().filter_map(|attachment| attachment.content.as_ref()).map(Content::size_bytes);
    let (mut total, mut largest) = (0, 0);
    for size in sizes {
        total += size;
        largest = largest.max(size);
    }
    largest > INLINE_BYTES || total > INLINE_TOTAL_BYTES
}

/// What is wrong with a document's contents: they are not what they were here any more.
async fn damage_of(doc: &ReplicatedDoc) -> Result<Option<Error>> {
    for attachment in doc.attachments.iter().filter(|attachment| !attachment.is_encoded) {
        if let Some(content) = &attachment.content
            && let Ok(digest) = attachment.digest.parse::<Digest>()
            && content.digest().await? != digest
        {
            let reason = format!("The attachment {} is damaged: its digest is another.", attachment.name);
            return Ok(Some(Error::bad_request(reason)));
        }
    }
    Ok(None)
}

/// Whether a refusal of a whole request may be one document's fault.
fn is_about_a_document(error: &Error) -> bool {
    matches!(error.status(), 400 | 409 | 412 | 413 | 415 | 422)
}

fn refused(text: &str) -> Result<Vec<Refused>> {
    #[derive(Deserialize)]
    struct Row {
        id: Option<String>,
        rev: Option<String>,
    }
    let rows: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| garbled(text))?;
    let mut refused = Vec::new();
    for row in rows {
        let Ok(refusal) = serde_json::from_str::<Refusal>(row.get()) else { continue };
        if refusal.error.is_empty() {
            continue;
        }
        let about: Row = serde_json::from_str(row.get()).map_err(|_| garbled(text))?;
        refused.push(Refused {
            id: about.id.unwrap_or_default(),
            rev: about.rev.and_then(|rev| rev.parse().ok()),
            error: refusal.into_error(),
        });
    }
    Ok(refused)
}

/// CouchDB answers an object, PouchDB's server the rows of those that were refused.
fn put_outcome(text: &str) -> Result<()> {
    if text.trim_start().starts_with('[') {
        return match refused(text)?.pop() {
            Some(refused) => Err(refused.error),
            None => Ok(()),
        };
    }
    let answer: Value = http::parse(text)?;
    if answer.get("error").is_some() { Err(failure_of(500, text)) } else { Ok(()) }
}
