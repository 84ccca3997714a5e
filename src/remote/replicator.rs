//! Replication between two databases that a server does by itself: its `_replicator` documents.
//!
//! CouchDB 3 tells how one stands at `_scheduler/docs`; older servers and pouchdb-server write it into the
//! document, and CouchDB does so at its end. Written against `couch_replicator_httpd.erl` and
//! `couch_replicator_doc_processor.erl` of Apache CouchDB 3.5.0 and against pouchdb-replicator 4.2.0.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::{RemoteDatabase, RemoteOptions, Transport, http, url};
use crate::{
    error::{Error, Kind, Result},
    model::{canonical, hex},
    platform::Platform,
};

/// How often a server is asked whether something happened.
const POLL_MS: u32 = 2_000;

/// A replication that a server does, under a document's name in its `_replicator` database.
pub struct ServerReplication {
    docs: RemoteDatabase,
    scheduler: RemoteDatabase,
    platform: Rc<dyn Platform>,
    id: String,
    path: String,
}

impl ServerReplication {
    /// Asks a server to replicate, with a document in its `_replicator` database.
    ///
    /// `job` is that document: `source` and `target` (each a URL, which may hold a login, or
    /// `{url, auth?, headers?}`), `continuous` and what else CouchDB knows. Without an `_id` it gets one made
    /// of all that but the logins, so the same request is the same document from every device. If it is there
    /// it is left to run; one that is over starts anew, with the logins given now. One that is tried again and
    /// again for want of the right login has to be cancelled first.
    ///
    /// Errors: 400 `bad_request` if `server` is no address; 409 `conflict` if the `_id` stands for another
    /// replication; what the server says, without logins.
    pub async fn start(
        transport: Rc<dyn Transport>,
        platform: Rc<dyn Platform>,
        server: &str,
        mut job: Map<String, Value>,
        options: RemoteOptions,
    ) -> Result<Self> {
        let server = server.trim().trim_end_matches('/');
        let at = |path: &str, options| {
            RemoteDatabase::new(transport.clone(), platform.clone(), &format!("{server}{path}"), options)
        };
        let docs = at("/_replicator", options.clone())?;
        let scheduler = at("/_scheduler", options)?;
        let id = match job.remove("_id") {
            None => format!("settee-{}", hex(&canonical::digest(&description(&job, &job).to_string())?.0)),
            Some(Value::String(id)) => id,
            Some(_) => return Err(Error::bad_request("Document id must be a string")),
        };
        let path = url::doc_path(&id)?;
        let replication = Self { docs, scheduler, platform, id, path };
        replication.put(&mut job).await.map_err(without_logins)?;
        Ok(replication)
    }

    async fn put(&self, job: &mut Map<String, Value>) -> Result<()> {
        let Err(error) = self.docs.http.json("PUT", &self.path, Some(text_of(job))).await else {
            return Ok(());
        };
        // pouchdb-server looks at who may write it before it looks at the revision.
        if !matches!(error.kind(), Kind::Conflict | Kind::Forbidden) {
            return Err(error);
        }
        let there: Map<String, Value> = match self.docs.http.json("GET", &self.path, None).await {
            Err(missing) if missing.kind() == Kind::NotFound => return Err(error),
            there => http::parse(&there?)?,
        };
        if description(&there, job) != description(job, job) {
            return Err(error);
        }
        if !is_over(state_in(&there)) {
            return Ok(());
        }
        job.extend(there.into_iter().filter(|(name, _)| name == "_rev"));
        match self.docs.http.json("PUT", &self.path, Some(text_of(job))).await {
            // Somebody else started it anew.
            Err(error) if error.kind() != Kind::Conflict => Err(error),
            _ => Ok(()),
        }
    }

    /// Its document's id in `_replicator`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it stands.
    ///
    /// Shape:  JSON text, CouchDB's own: `{"state","info","last_updated",…}`; `state` is `initializing`,
    /// `running`, `pending`, `crashing` or `error` (it will be tried again), `failed` or `completed` (it is
    /// over); `info` has counts, or `error` with the reason. Without logins.
    /// Errors: 404 `not_found` once it is cancelled; what the server says.
    pub async fn status(&self) -> Result<String> {
        let told =
            match self.scheduler.http.json("GET", &format!("/docs/_replicator{}", self.path), None).await {
                // No scheduler (and then perhaps an answer that a browser does not show), or one for admins alone.
                Err(error) if error.status() < 500 => {
                    self.docs.http.json("GET", &self.path, None).await.and_then(|text| status_of(&text))
                }
                told => told.and_then(|text| http::parse::<Value>(&text).map(|value| value.to_string())),
            };
        told.map(|text| hide_logins(&text)).map_err(without_logins)
    }

    /// The next status that is not the one seen last; `None` after the one that it ended with, and once it
    /// was cancelled. Asks every two seconds.
    pub async fn next(&self, seen: Option<&str>) -> Result<Option<String>> {
        if let Some(seen) = seen
            && is_over(http::parse::<Map<String, Value>>(seen)?.get("state").and_then(Value::as_str))
        {
            return Ok(None);
        }
        loop {
            match self.status().await {
                Ok(status) if Some(&*status) != seen => return Ok(Some(status)),
                Ok(_) => {}
                Err(error) if error.kind() == Kind::NotFound && seen.is_some() => return Ok(None),
                Err(error) => return Err(error),
            }
            self.platform.sleep(POLL_MS).await;
        }
    }

    /// Ends it and takes its document away. One that is gone already is no error.
    pub async fn cancel(&self) -> Result<()> {
        loop {
            // The server writes the document too.
            let done = async {
                let doc: Map<String, Value> =
                    http::parse(&self.docs.http.json("GET", &self.path, None).await?)?;
                let rev = doc.get("_rev").and_then(Value::as_str).unwrap_or_default();
                self.docs.http.json("DELETE", &format!("{}?rev={}", self.path, url::encode(rev)), None).await
            };
            match done.await {
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) if error.kind() == Kind::NotFound => return Ok(()),
                done => return done.map(drop).map_err(without_logins),
            }
        }
    }
}

fn text_of(job: &Map<String, Value>) -> String {
    Value::Object(job.clone()).to_string()
}

/// What a document says of those members that `job` has, its ends by their addresses alone: a server may
/// show no logins.
fn description(doc: &Map<String, Value>, job: &Map<String, Value>) -> Value {
    let mut members = Map::new();
    for name in job.keys().filter(|name| !name.starts_with('_')) {
        let mut value = doc.get(name).cloned().unwrap_or_default();
        if name == "source" || name == "target" {
            let address = value.get("url").unwrap_or(&value).as_str().unwrap_or_default();
            let parsed = url::Location::parse(address).map(|location| location.url);
            value = parsed.unwrap_or_else(|_| hide_logins(address)).into();
        }
        members.insert(name.clone(), value);
    }
    members.into()
}

/// The state that the document itself tells, as the scheduler would call it.
fn state_in(doc: &Map<String, Value>) -> Option<&str> {
    let state = doc.get("_replication_state").and_then(Value::as_str);
    state.map(|state| match state {
        "triggered" => "running",
        // Who has no scheduler does not try again.
        "error" => "failed",
        state => state,
    })
}

fn is_over(state: Option<&str>) -> bool {
    matches!(state, Some("completed" | "failed"))
}

fn status_of(text: &str) -> Result<String> {
    let doc: Map<String, Value> = http::parse(text)?;
    let member = |name: &str| doc.get(name).unwrap_or(&Value::Null);
    let (reason, stats) = (member("_replication_state_reason"), member("_replication_stats"));
    let info = if reason.is_null() { stats.to_string() } else { format!("{{\"error\":{reason}}}") };
    let state = state_in(&doc).unwrap_or("initializing");
    let (id, time) = (member("_id"), member("_replication_state_time"));
    Ok(format!(
        "{{\"doc_id\":{id},\"state\":{},\"info\":{info},\"last_updated\":{time}}}",
        Value::from(state)
    ))
}

/// A text without the names and passwords of the addresses in it.
fn hide_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || "/\"'\\<>,".contains(c)).unwrap_or(part.len());
        let login = part[..end].rfind('@').map_or(0, |at| at + 1);
        out.push_str("://");
        out.push_str(&part[login..]);
    }
    out
}

fn without_logins(error: Error) -> Error {
    let reason = hide_logins(error.reason());
    if reason == error.reason() { error } else { Error::remote(error.status(), error.name(), reason) }
}
