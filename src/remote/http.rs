//! Requests under one database's URL, and what their answers mean.

use std::{cell::Cell, rc::Rc};

use futures::{
    FutureExt,
    future::{Either, LocalBoxFuture, select},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    auth::{Auth, Reason},
    retry_after::retry_after_ms,
    slots::{Claim, Permit, Slots},
    transport::{Answer, Body, Request, Transport},
};
use crate::{
    error::{Error, Kind, Pending, Result},
    model::Content,
    platform::Platform,
};

/// Slower than this a body is given up: a phone at the edge of its network that sends four at once.
const SLOWEST_BYTES_PER_MS: u64 = 4;

pub struct Http {
    pub transport: Rc<dyn Transport>,
    pub platform: Rc<dyn Platform>,
    /// The database's URL, without a slash at the end.
    pub url: String,
    pub auth: Auth,
    /// The server's connections: a request takes one until its answer is read or dropped.
    pub slots: Rc<Slots>,
    /// Whether the user looks at this database, so that it goes first.
    pub is_visible: Rc<Cell<bool>>,
    /// A content came damaged. A browser's cache keeps what was cut short, and would give it for ever.
    pub distrusts_cache: Cell<bool>,
    /// How long a server may say nothing at all.
    pub timeout_ms: u32,
}

impl Http {
    /// One exchange under the database's URL, JSON both ways; the answer's text.
    pub fn json(&self, method: &'static str, path: &str, body: Option<String>) -> Pending<'_, String> {
        let body = body.map(|body| ("application/json", vec![Content::from(body.into_bytes())]));
        self.text(self.request(method, path, body), Some(self.timeout_ms))
    }

    /// What asks for JSON under the database's URL.
    pub fn request(&self, method: &'static str, path: &str, body: Option<(&str, Vec<Content>)>) -> Request {
        let mut headers = vec![("Accept".to_owned(), "application/json".to_owned())];
        let body = match body {
            None => Vec::new(),
            Some((content_type, body)) => {
                headers.push(("Content-Type".to_owned(), content_type.to_owned()));
                body
            }
        };
        Request {
            method,
            url: format!("{}{path}", self.url),
            headers,
            body,
            keep_external: false,
            is_fresh: false,
            waits: false,
        }
    }

    /// One exchange that succeeded; the answer's text. Silence is a `timeout` after `limit_ms`.
    pub fn text(&self, request: Request, limit_ms: Option<u32>) -> Pending<'_, String> {
        async move {
            let answer = self.open(request, limit_ms).await?;
            self.text_of(answer, limit_ms).await
        }
        .boxed_local()
    }

    /// The start of an answer that succeeded: any status of 200 to 299.
    ///
    /// Errors: `timeout` if it does not come within `limit_ms` and what the request's body takes: nobody
    /// tells how much of that has been sent.
    pub fn open(&self, request: Request, limit_ms: Option<u32>) -> Pending<'_, Answer> {
        self.admitted(request, limit_ms).boxed_local()
    }

    async fn admitted(&self, request: Request, limit_ms: Option<u32>) -> Result<Answer> {
        let mut was_renewed = false;
        loop {
            let mut signed = request.clone();
            let attempt = self.sign(&mut signed.headers).await?;
            let answer = self.exchange(signed, limit_ms).await?;
            self.auth.note(&answer.headers, self.platform.now_ms());
            if (200..300).contains(&answer.status) {
                return Ok(answer);
            }
            let error = self.failure(answer).await;
            if !error.needs_login() || was_renewed || !self.renew(attempt, Reason::Rejected).await? {
                return Err(error);
            }
            was_renewed = true;
        }
    }

    /// See [`Http::open`]; any status, and as it stands.
    pub fn exchange(&self, request: Request, limit_ms: Option<u32>) -> Pending<'_, Answer> {
        let sent = request.body.iter().map(Content::size_bytes).sum();
        let limit_ms = limit_ms.map(|ms| ms.saturating_add(slowest_ms(sent)));
        async move {
            let claim = Claim { is_visible: self.is_visible.get(), is_line: request.waits };
            let permit = self.slots.acquire(claim).await;
            let Answer { status, headers, body } =
                self.within(limit_ms, self.transport.open(request)).await?;
            Ok(Answer { status, headers, body: Box::new(Held { body, _permit: permit }) })
        }
        .boxed_local()
    }

    /// What asks for a content, to be left outside our memory if the platform can.
    pub fn content_request(&self, path: &str) -> Request {
        let mut request = self.request("GET", path, None);
        request.headers = vec![("Accept".to_owned(), "*/*".to_owned())];
        request.keep_external = true;
        request.is_fresh = self.distrusts_cache.get();
        request
    }

    /// A content of about `size` bytes in one go.
    pub async fn download(&self, path: &str, size: u64) -> Result<Content> {
        let mut answer = self.open(self.content_request(path), Some(self.timeout_ms)).await?;
        self.within(Some(self.timeout_ms.saturating_add(slowest_ms(size))), answer.body.whole()).await
    }

    /// What comes in time.
    pub async fn within<T>(&self, limit_ms: Option<u32>, work: Pending<'_, T>) -> Result<T> {
        let Some(limit_ms) = limit_ms else { return work.await };
        match select(work, self.platform.sleep(limit_ms)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(Error::new(
                Kind::Timeout,
                format!("The server said nothing for {} seconds.", limit_ms.div_ceil(1000)),
            )),
        }
    }

    /// The whole body as text: an answer that is no UTF-8 broke off or never was CouchDB's.
    pub fn text_of(&self, mut answer: Answer, limit_ms: Option<u32>) -> Pending<'_, String> {
        async move {
            let mut text = Vec::new();
            while let Some(piece) = self.within(limit_ms, answer.body.next()).await? {
                text.extend_from_slice(&piece.bytes().await?);
            }
            String::from_utf8(text).map_err(|_| garbled(""))
        }
        .boxed_local()
    }

    /// The error that an answer stands for: its own words where it is CouchDB's, a sentence otherwise.
    pub fn failure(&self, mut answer: Answer) -> LocalBoxFuture<'_, Error> {
        async move {
            let (status, headers) = (answer.status, std::mem::take(&mut answer.headers));
            let text = self.text_of(answer, Some(self.timeout_ms)).await.unwrap_or_default();
            let retry_after = headers.iter().find(|(name, _)| name == "retry-after");
            let retry_after =
                retry_after.and_then(|(_, value)| retry_after_ms(value, self.platform.now_ms()));
            failure_of(status, &text).with_retry_after_ms(retry_after)
        }
        .boxed_local()
    }
}

/// A body that gives back its connection when it is dropped.
struct Held {
    body: Box<dyn Body>,
    _permit: Permit,
}

impl Body for Held {
    fn next(&mut self) -> Pending<'_, Option<Content>> {
        self.body.next()
    }

    fn whole(&mut self) -> Pending<'_, Content> {
        self.body.whole()
    }
}

/// How long a body of that length may take.
pub fn slowest_ms(bytes: u64) -> u32 {
    u32::try_from(bytes / SLOWEST_BYTES_PER_MS).unwrap_or(u32::MAX)
}

/// Reads JSON out of an answer that claims success. What does not parse is a broken line or somebody
/// in between (a hotel's login page), so it is worth another try: `network_error`.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| garbled(text))
}

/// See [`parse`].
pub fn garbled(text: &str) -> Error {
    let reason = if text.trim_start().starts_with('<') {
        "The answer is a web page where CouchDB's was expected; something stands in between."
    } else {
        "The server's answer is incomplete or not CouchDB's."
    };
    Error::new(Kind::Network, reason)
}

/// The error of a status and an answer's text.
pub fn failure_of(status: u16, text: &str) -> Error {
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) if !refusal.error.is_empty() => {
            let reason = refusal.reason_text();
            // A cookie that cannot be read, as another server on this host may have set it, is no login.
            if refusal.error == "bad_request" && reason.starts_with("Malformed AuthSession cookie") {
                return Error::remote(401, "unauthorized", reason);
            }
            // PouchDB's server answers 500 for what CouchDB answers 400; trying again does not help.
            if refusal.error == "doc_validation" {
                return Error::doc_validation(reason);
            }
            Error::remote(status, refusal.error, reason)
        }
        _ => {
            let name = match status {
                400 => "bad_request",
                401 => "unauthorized",
                403 => "forbidden",
                404 => "not_found",
                405 => "method_not_allowed",
                409 => "conflict",
                412 => "precondition_failed",
                413 => "too_large",
                415 => "bad_content_type",
                429 => "too_many_requests",
                503 => "service_unavailable",
                _ => "unknown_error",
            };
            Error::remote(status, name, format!("The server answered with status {status} and no reason."))
        }
    }
}

/// CouchDB's error body, or a row of a bulk answer.
#[derive(Deserialize)]
pub struct Refusal<'a> {
    #[serde(default)]
    pub error: String,
    /// Mostly text; a validation function may throw anything.
    #[serde(borrow, default)]
    pub reason: Option<&'a RawValue>,
}

impl Refusal<'_> {
    pub fn reason_text(&self) -> String {
        let Some(reason) = self.reason else { return String::new() };
        serde_json::from_str(reason.get()).unwrap_or_else(|_| reason.get().to_owned())
    }

    /// As the error of one document. Rows have no status, so the name decides.
    pub fn into_error(self) -> Error {
        let reason = self.reason_text();
        let status = match self.error.as_str() {
            "not_found" => 404,
            "unauthorized" => 401,
            "forbidden" => 403,
            "conflict" => 409,
            "missing_stub" => 412,
            "bad_request" | "doc_validation" | "illegal_docid" | "invalid" => 400,
            "too_large" | "document_too_large" | "attachment_too_large" | "request_entity_too_large" => 413,
            _ => 500,
        };
        Error::remote(status, self.error, reason)
    }
}

/// Whether a 404 means the database, and not something in it. CouchDB's words, old and new.
pub fn is_database_missing(error: &Error) -> bool {
    error.kind() == Kind::NotFound && matches!(error.reason(), "no_db_file" | "Database does not exist.")
}
