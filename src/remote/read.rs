//! What is asked of a server.

use std::collections::HashMap;

use futures::{StreamExt, stream};
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    RemoteDatabase, docs,
    feed::AnyRev,
    http::{self, Refusal, garbled, is_database_missing},
    url::{attachment_path, doc_path, encode},
};
use crate::{
    error::{Error, Kind, Result},
    model::{Content, Digest, Rev, Seq},
    peer::{Fetched, LocalDoc, MissingRevs, Peer, PeerInfo, ReplicatedAttachment, ReplicatedDoc},
};

/// How many documents are asked for at once where there is no `_bulk_get`. A browser gives one server
/// six connections over HTTP/1.1; the page and a waiting line need some.
const SINGLE_FETCHES: usize = 4;

/// How many revisions of a document fit into one URL: CouchDB's own replicator keeps to 7,000 bytes.
const REVS_IN_A_URL: usize = 100;

impl RemoteDatabase {
    pub(super) async fn read_info(&self) -> Result<PeerInfo> {
        #[derive(Deserialize)]
        struct Info {
            update_seq: Option<Value>,
            #[serde(default, deserialize_with = "text_if_any")]
            instance_start_time: Option<String>,
            #[serde(default)]
            doc_count: u64,
            doc_del_count: Option<u64>,
        }
        let text = self.http.json("GET", "", None).await?;
        let info: Info = http::parse(&text)?;
        let Some(update_seq) = info.update_seq else {
            return Err(Error::new(Kind::NotFound, "There is no CouchDB database at this address."));
        };
        // PouchDB's server does not count tombstones, so it may have some where it has no documents.
        let total_count = info.doc_del_count.map(|deleted| info.doc_count + deleted);
        // Seconds, as text, since CouchDB 3. Clusters before said "0"; CouchDB 1 (microseconds) and
        // PouchDB's server (milliseconds) say when they were started, which tells nothing of a database.
        let made = info.instance_start_time.filter(|time| time.len() == 10);
        self.channel.known.begin(made.as_deref());
        Ok(PeerInfo {
            update_seq: Seq(update_seq),
            doc_count: info.doc_count,
            total_count,
            instance_start_time: made,
        })
    }

    pub(super) async fn read_revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Result<Vec<MissingRevs>> {
        #[derive(Deserialize)]
        struct Missing {
            #[serde(default)]
            missing: Vec<AnyRev>,
            #[serde(default)]
            possible_ancestors: Vec<AnyRev>,
        }
        let leaves = self.channel.known.unknown(leaves);
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        let mut body = Vec::new();
        serde_json::Serializer::new(&mut body)
            .collect_map(leaves.iter().map(|(id, revs)| (id, revs)))
            .map_err(|_| Error::bad_request("Bad revisions"))?;
        let body = String::from_utf8(body).map_err(|_| Error::bad_request("Bad revisions"))?;
        let text = self.http.json("POST", "/_revs_diff", Some(body)).await?;
        let mut missing: HashMap<String, Missing> = http::parse(&text)?;
        let lacking = leaves.into_iter().filter_map(|(id, revs)| {
            let Missing { missing, possible_ancestors } = missing.remove(&id)?;
            let named = |revs: Vec<AnyRev>| revs.into_iter().filter_map(|rev| rev.0).collect::<Vec<Rev>>();
            let mut missing = named(missing);
            // What was not asked about is not the source's to give.
            missing.retain(|rev| revs.contains(rev));
            if missing.is_empty() {
                return None;
            }
            Some(MissingRevs { id, revs: missing, possible_ancestors: named(possible_ancestors) })
        });
        Ok(lacking.collect())
    }

    pub(super) async fn read_revisions(&self, wanted: Vec<MissingRevs>) -> Result<Vec<Fetched>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (mut fetched, mut is_refused) = (None, false);
        if self.may_try(&self.no_bulk_get_until_ms) {
            match self.bulk_get_once(&wanted).await {
                // Older servers take it for a document, or for nothing at all.
                Err(error)
                    if matches!(error.status(), 400 | 404 | 405 | 415 | 501)
                        && !is_database_missing(&error) =>
                {
                    is_refused = true;
                }
                answer => fetched = Some(answer?),
            }
        }
        let fetched = match fetched {
            Some(fetched) => fetched,
            None => self.fetch_singly(&wanted).await?,
        };
        if is_refused && fetched.iter().any(|fetched| fetched.doc.is_ok()) {
            self.do_without(&self.no_bulk_get_until_ms);
        } else if is_refused {
            // Nothing works: the database may be gone.
            self.info().await?;
        }
        let mut fetched = named(fetched, &wanted);
        // What is left out of an answer must not be left out of the replication.
        let mut at = 0;
        for MissingRevs { id, revs, .. } in wanted {
            // Answers mostly come in the order of the questions.
            let first = at;
            while fetched.get(at).is_some_and(|fetched| fetched.id == id) {
                at += 1;
            }
            if at == first && !fetched.iter().any(|fetched| fetched.id == id) {
                for rev in revs {
                    fetched.push(Fetched { id: id.clone(), rev: Some(rev), doc: Err(Error::missing()) });
                }
            }
        }
        Ok(fetched)
    }

    async fn fetch_singly(&self, wanted: &[MissingRevs]) -> Result<Vec<Fetched>> {
        let mut fetches = stream::iter(wanted).map(|wanted| self.open_revs(wanted)).buffered(SINGLE_FETCHES);
        let mut fetched = Vec::new();
        while let Some(some) = fetches.next().await {
            fetched.extend(some?);
        }
        Ok(fetched)
    }

    async fn bulk_get_once(&self, wanted: &[MissingRevs]) -> Result<Vec<Fetched>> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            results: Vec<Row<'a>>,
        }
        #[derive(Deserialize)]
        struct Row<'a> {
            id: String,
            #[serde(borrow)]
            docs: Vec<&'a RawValue>,
        }
        let docs: Vec<Value> = wanted
            .iter()
            .flat_map(|doc| doc.revs.iter().map(|rev| json!({ "id": doc.id, "rev": rev })))
            .collect();
        let body = json!({ "docs": docs }).to_string();
        let path = "/_bulk_get?revs=true&latest=true&att_encoding_info=true";
        let text = self.http.json("POST", path, Some(body)).await?;
        let answer: Answer = serde_json::from_str(&text).map_err(|_| garbled(&text))?;
        let mut fetched = Vec::with_capacity(answer.results.len());
        for row in answer.results {
            for item in row.docs {
                fetched.push(parse_item(&row.id, item.get())?);
            }
        }
        Ok(fetched)
    }

    async fn open_revs(&self, wanted: &MissingRevs) -> Result<Vec<Fetched>> {
        let mut fetched = Vec::with_capacity(wanted.revs.len());
        for revs in wanted.revs.chunks(REVS_IN_A_URL) {
            match self.open_some_revs(&wanted.id, revs).await {
                Ok(some) => fetched.extend(some),
                // This document's own trouble; the others go on. So may a 500 be, which whoever asked finds out.
                Err(error)
                    if matches!(error.status(), 400 | 403 | 404 | 500) && !is_database_missing(&error) =>
                {
                    let failed = |rev: &Rev| Fetched {
                        id: wanted.id.clone(),
                        rev: Some(rev.clone()),
                        doc: Err(error.clone()),
                    };
                    fetched.extend(revs.iter().map(failed));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fetched)
    }

    async fn open_some_revs(&self, id: &str, revs: &[Rev]) -> Result<Vec<Fetched>> {
        let path = format!(
            "{}?open_revs={}&revs=true&latest=true&att_encoding_info=true",
            doc_path(id)?,
            encode(&json!(revs).to_string())
        );
        let text = self.http.json("GET", &path, None).await?;
        let items: Vec<&RawValue> = serde_json::from_str(&text).map_err(|_| garbled(&text))?;
        items.into_iter().map(|item| parse_item(id, item.get())).collect()
    }

    /// Checked against what the document says of it, since a proxy may cut an answer short without
    /// anybody noticing. Where the server keeps it compressed, length and digest may be of that.
    pub(super) async fn read_attachment(
        &self,
        doc: &ReplicatedDoc,
        attachment: &ReplicatedAttachment,
    ) -> Result<Content> {
        let path =
            format!("{}?rev={}", attachment_path(&doc.id, &attachment.name)?, encode(&doc.rev().to_string()));
        let distrusts = &self.http.distrusts_cache;
        // There are no ranges of what is unpacked on the way.
        let content = match attachment.is_encoded {
            true => self.http.download(&path, attachment.length).await,
            false => self.download(&path, attachment.length).await,
        };
        // A cache may keep what was cut, and give it for ever.
        if content.as_ref().is_err_and(|error| error.kind() == Kind::Network || error.status() == 502) {
            distrusts.set(true);
        }
        let content = content?;
        let damaged = || {
            // As a bad gateway: it may pass, and if it never does it is this document's trouble alone.
            let reason =
                format!("The attachment {} of {} did not arrive as it was sent.", attachment.name, doc.id);
            Error::remote(502, "bad_gateway", reason)
        };
        if content.size_bytes() != attachment.length {
            distrusts.set(true);
            return Err(damaged());
        }
        // That of compressed bytes proves nothing here, nor one of another kind than CouchDB's.
        let digest = attachment.digest.parse::<Digest>().ok().filter(|_| !attachment.is_encoded);
        let Some(digest) = digest else { return Ok(content) };
        let first = content.digest().await?;
        if first == digest {
            distrusts.set(false);
            return Ok(content);
        }
        distrusts.set(true);
        // The same bytes twice are what the server has, and its digest is of another form of them: a
        // server may compress and not say so. Other bytes were damaged on the way.
        // In one go: what is put together from pieces may have the same wrong piece in it twice.
        let again = self.http.download(&path, attachment.length).await?;
        if again.size_bytes() != attachment.length {
            return Err(damaged());
        }
        let second = again.digest().await?;
        distrusts.set(second != digest && second != first);
        if second == digest || second == first { Ok(again) } else { Err(damaged()) }
    }

    /// `None` for CouchDB's own filters, and for one that is not there: the feed has an error for that.
    pub(super) async fn read_filter_code(&self, filter: &str) -> Result<Option<String>> {
        let Some((design, name)) = filter.split_once('/') else { return Ok(None) };
        match self.http.json("GET", &doc_path(&format!("_design/{design}"))?, None).await {
            Err(error) if error.kind() == Kind::NotFound && !is_database_missing(&error) => Ok(None),
            text => {
                let design: Value = http::parse(&text?)?;
                Ok(design["filters"][name].as_str().map(str::to_owned))
            }
        }
    }

    pub(super) async fn read_local_doc(&self, id: &str) -> Result<Option<LocalDoc>> {
        let text = match self.http.json("GET", &doc_path(&format!("_local/{id}"))?, None).await {
            Err(error) if error.kind() == Kind::NotFound && !is_database_missing(&error) => return Ok(None),
            text => text?,
        };
        let mut body: Map<String, Value> = http::parse(&text)?;
        body.remove("_id");
        let rev = body.remove("_rev").and_then(|rev| rev.as_str().map(str::to_owned));
        Ok(Some(LocalDoc { rev, body }))
    }
}

/// A failure under no name is that of every revision which was asked for and has no answer.
fn named(mut fetched: Vec<Fetched>, wanted: &[MissingRevs]) -> Vec<Fetched> {
    let is_nameless = |answer: &Fetched| answer.rev.is_none() && answer.doc.is_err();
    let is_answer = |answer: &Fetched, id: &str, rev: &Rev| {
        let has = |doc: &ReplicatedDoc| doc.path.contains(rev);
        answer.id == id && (answer.rev.as_ref() == Some(rev) || answer.doc.as_ref().is_ok_and(has))
    };
    let mut found: Vec<Fetched> = Vec::new();
    for answer in fetched.iter().filter(|answer| is_nameless(answer)) {
        for asked in wanted.iter().filter(|asked| asked.id == answer.id) {
            for rev in &asked.revs {
                if !fetched.iter().chain(&found).any(|other| is_answer(other, &asked.id, rev)) {
                    found.push(Fetched { rev: Some(rev.clone()), ..answer.clone() });
                }
            }
        }
    }
    fetched.retain(|answer| !is_nameless(answer));
    fetched.append(&mut found);
    fetched
}

/// A text; nothing of what is none.
fn text_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().map(str::to_owned))
}

/// One revision of a `_bulk_get` or `open_revs` answer: `{"ok":doc}`, `{"missing":"rev"}`,
/// `{"error":{"id","rev","error","reason"}}`, or PouchDB's server's `{"error":"name","reason":…}`.
pub fn parse_item(id: &str, json: &str) -> Result<Fetched> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        ok: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        missing: Option<String>,
        rev: Option<String>,
    }
    let item: Item = serde_json::from_str(json).map_err(|_| garbled(json))?;
    let fetched = |rev: Option<String>, doc| Fetched {
        id: id.to_owned(),
        rev: rev.and_then(|rev| rev.parse().ok()),
        doc,
    };
    if let Some(doc) = item.ok {
        let doc = docs::from_json(doc.get());
        // Of another document it is no answer.
        let doc = doc.and_then(|doc| if doc.id == id { Ok(doc) } else { Err(Error::missing()) });
        let rev = doc.as_ref().ok().map(|doc| doc.rev().to_string());
        return Ok(fetched(rev, doc));
    }
    if let Some(error) = item.error
        && error.get().starts_with('{')
    {
        let row: Item = serde_json::from_str(error.get()).map_err(|_| garbled(json))?;
        let refusal: Refusal = serde_json::from_str(error.get()).map_err(|_| garbled(json))?;
        return Ok(fetched(row.rev, Err(refusal.into_error())));
    }
    let error = match serde_json::from_str::<Refusal>(json) {
        Ok(refusal) if !refusal.error.is_empty() => refusal.into_error(),
        _ => Error::missing(),
    };
    Ok(fetched(item.missing.or(item.rev), Err(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_an_item_is_read() {
        let item = |json: &str| parse_item("a", json).unwrap();
        let ok = item(r#"{"ok":{"_id":"a","_rev":"1-a","n":1.0}}"#);
        assert_eq!(ok.doc.unwrap().body, r#"{"n":1.0}"#);
        // CouchDB 3.5
        let row = item(r#"{"error":{"id":"a","rev":"7-x","error":"not_found","reason":"missing"}}"#);
        assert_eq!(
            (row.rev.unwrap().to_string(), row.doc.unwrap_err().kind()),
            ("7-x".into(), Kind::NotFound)
        );
        let row =
            item(r#"{"error":{"id":"a","rev":"undefined","error":"internal_fabric_error","reason":"x"}}"#);
        assert!(row.rev.is_none() && row.doc.unwrap_err().is_retryable());
        // open_revs, and pouchdb-server 4.2's _bulk_get
        let row = item(r#"{"missing":"1-a"}"#);
        assert_eq!(
            (row.rev.unwrap().to_string(), row.doc.unwrap_err().kind()),
            ("1-a".into(), Kind::NotFound)
        );
        let row = item(r#"{"error":"forbidden","reason":"no"}"#);
        assert_eq!(row.doc.unwrap_err(), Error::remote(403, "forbidden", "no"));
        assert_eq!(item("{}").doc.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(parse_item("a", "[]").unwrap_err().kind(), Kind::Network);
    }
}
