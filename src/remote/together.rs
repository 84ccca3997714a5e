//! Attachments of several documents in one answer.
//!
//! A request costs CouchDB and a browser more than half a megabyte does: 100 photos come in two thirds of the time
//! when they come ten at a time, as `multipart/mixed` from `_bulk_get`. Documents without attachments would
//! not: that form takes CouchDB a quarter longer than JSON. So a document comes first, with stubs, and tells
//! which contents are wanted, how long they are, and what they must be.
//!
//! The answer is left outside our memory and only looked into. What does not come so, or not as it should,
//! is fetched by itself: large contents, which go on where a line broke; compressed ones, of which nothing
//! proves that they are whole.

use serde_json::{Value, json};

use super::{
    RemoteDatabase,
    download::PIECEWISE_BYTES,
    http::{is_database_missing, slowest_ms},
    parts::{Parts, boundary_of},
};
use crate::{
    error::{Error, Result},
    model::{Content, Digest},
    peer::{ReplicatedAttachment, ReplicatedDoc},
};

/// How many bytes of contents are asked for at first…
pub const FIRST_BYTES: u64 = 2 << 20;
/// …and later, as many as come in about this time, so that little is lost when a slow line breaks…
const ANSWER_MS: f64 = 5_000.0;
/// …but no fewer than this…
const LEAST_BYTES: u64 = 1 << 20;
/// …and no more: the browser keeps all of it until the last of it is stored.
const MOST_BYTES: u64 = 5 << 20;

/// A line that broke gets so much time to prove itself with one content after the other.
const BROKEN_MS: f64 = 60_000.0;

/// What may come in vain beside what is wanted, or the quarter of that.
const VAIN_BYTES: u64 = 2_000;

impl RemoteDatabase {
    /// See [`Peer::attachments`](crate::peer::Peer::attachments).
    pub(super) async fn fetch_together(
        &self,
        wanted: &[(ReplicatedDoc, Vec<usize>)],
    ) -> Vec<(usize, usize, Content)> {
        let places: Vec<usize> = (0..wanted.len()).filter(|&place| comes_along(&wanted[place])).collect();
        let contents: usize = places.iter().map(|&place| wanted[place].1.len()).sum();
        let mut came = Vec::with_capacity(contents);
        if contents < 2 || !self.may_try(&self.no_parts_until_ms) {
            return came;
        }
        let began_ms = self.http.platform.now_ms();
        let docs: Vec<&ReplicatedDoc> = places.iter().map(|&place| &wanted[place].0).collect();
        let size = docs.iter().flat_map(|doc| &doc.attachments).map(|attachment| attachment.length).sum();
        match self.answer_in_parts(&docs, size).await {
            Ok(None) => self.do_without(&self.no_parts_until_ms),
            // Older servers, and who stands in between.
            Err(error) if matches!(error.status(), 400 | 404 | 405 | 406 | 415 | 501) => {
                if !is_database_missing(&error) {
                    self.do_without(&self.no_parts_until_ms);
                }
            }
            // The next request says so too.
            Err(error) if error.needs_login() => {}
            Err(_) => self.be_careful(),
            Ok(Some((boundary, body))) => {
                let took_ms = self.http.platform.now_ms() - began_ms;
                let fits = (size as f64 * ANSWER_MS / took_ms.max(1.0)) as u64;
                let twice = 2 * self.together_bytes.get();
                self.together_bytes.set(fits.min(twice).clamp(LEAST_BYTES, MOST_BYTES));
                if read(&body, &boundary, wanted, &places, &mut came).await.is_err() {
                    self.be_careful();
                }
            }
        }
        came
    }

    fn be_careful(&self) {
        self.together_bytes.set(FIRST_BYTES);
        self.no_parts_until_ms.set(self.http.platform.now_ms() + BROKEN_MS);
    }

    /// Its boundary and body; none from a server that answers in another form.
    async fn answer_in_parts(
        &self,
        docs: &[&ReplicatedDoc],
        size: u64,
    ) -> Result<Option<(String, Content)>, Error> {
        let rows: Vec<Value> = docs.iter().map(|doc| json!({ "id": doc.id, "rev": doc.rev() })).collect();
        let body = vec![Content::from(json!({ "docs": rows }).to_string().into_bytes())];
        let mut request = self.http.request("POST", "/_bulk_get", Some(("application/json", body)));
        // Attachments come along in this form alone: with a name for it, they would come as base64 too.
        request.headers[0].1 = "multipart/mixed".to_owned();
        request.keep_external = true;
        let mut answer = self.http.open(request, Some(self.http.timeout_ms)).await?;
        let boundary = answer.header("content-type").and_then(boundary_of).map(str::to_owned);
        let Some(boundary) = boundary else { return Ok(None) };
        let limit_ms = self.http.timeout_ms.saturating_add(slowest_ms(size));
        let body = self.http.within(Some(limit_ms), answer.body.whole()).await?;
        Ok(Some((boundary, body)))
    }
}

/// Takes what is wanted and is what its digest says. CouchDB answers in the order of the questions, and if
/// somebody does not, digests tell.
async fn read(
    body: &Content,
    boundary: &str,
    wanted: &[(ReplicatedDoc, Vec<usize>)],
    places: &[usize],
    came: &mut Vec<(usize, usize, Content)>,
) -> Result<()> {
    let mut parts = Parts::new(body, boundary);
    let mut found = Vec::new();
    parts.begin().await?;
    for &place in places {
        let outcome = parts.next(&mut found).await;
        let (doc, indexes) = &wanted[place];
        for &index in indexes {
            let attachment = &doc.attachments[index];
            let Some(part) = found.iter().find(|part| part.name == attachment.name) else { continue };
            if part.content.size_bytes() == attachment.length
                && digest_of(attachment) == Some(part.content.digest().await?)
            {
                came.push((place, index, part.content.clone()));
            }
        }
        found.clear();
        if !outcome? {
            break;
        }
    }
    Ok(())
}

/// Whether a document's contents are worth to be asked for together with those of others: all of them come.
fn comes_along((doc, wanted): &(ReplicatedDoc, Vec<usize>)) -> bool {
    let (mut useful, mut vain) = (0, doc.body.len() as u64);
    for (index, attachment) in doc.attachments.iter().enumerate() {
        if attachment.length > PIECEWISE_BYTES {
            return false;
        }
        let is_useful = digest_of(attachment).is_some() && wanted.contains(&index);
        *(if is_useful { &mut useful } else { &mut vain }) += attachment.length;
    }
    useful > 0 && vain <= VAIN_BYTES.max(useful / 4)
}

/// That of its bytes, if it tells anything.
fn digest_of(attachment: &ReplicatedAttachment) -> Option<Digest> {
    attachment.digest.parse().ok().filter(|_| !attachment.is_encoded)
}
