//! Requests under one database's URL, and what their answers mean.

use std::rc::Rc;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    retry_after::retry_after_ms,
    transport::{Request, Response, Transport},
};
use crate::{
    error::{Error, Kind, Result},
    model::Content,
    platform::Platform,
};

pub struct Http {
    pub transport: Rc<dyn Transport>,
    pub platform: Rc<dyn Platform>,
    /// The database's URL, without a slash at the end.
    pub url: String,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
}

impl Http {
    /// One exchange under the database's URL, JSON both ways; the answer's text.
    pub async fn json(&self, method: &'static str, path: &str, body: Option<String>) -> Result<String> {
        let body = body.map(|body| ("application/json", vec![Content::from(body.into_bytes())]));
        let response = self.send(method, path, body, false).await?;
        text(response).await
    }

    /// One exchange that succeeded: any status of 200 to 299.
    pub async fn send(
        &self,
        method: &'static str,
        path: &str,
        body: Option<(&str, Vec<Content>)>,
        keep_external: bool,
    ) -> Result<Response> {
        let mut headers = self.headers.clone();
        let accept = if keep_external { "*/*" } else { "application/json" };
        headers.push(("Accept".to_owned(), accept.to_owned()));
        let body = match body {
            None => Vec::new(),
            Some((content_type, body)) => {
                headers.push(("Content-Type".to_owned(), content_type.to_owned()));
                body
            }
        };
        let url = format!("{}{path}", self.url);
        let response = self.transport.send(Request { method, url, headers, body, keep_external }).await?;
        if (200..300).contains(&response.status) { Ok(response) } else { Err(self.failure(response).await) }
    }

    /// The error that an answer stands for: its own words where it is CouchDB's, a sentence otherwise.
    async fn failure(&self, response: Response) -> Error {
        let status = response.status;
        let retry_after = response.header("retry-after");
        let retry_after = retry_after.and_then(|value| retry_after_ms(value, self.platform.now_ms()));
        let text = text(response).await.unwrap_or_default();
        failure_of(status, &text).with_retry_after_ms(retry_after)
    }
}

/// A body as text: an answer that is no UTF-8 broke off or never was CouchDB's.
pub async fn text(response: Response) -> Result<String> {
    let bytes = response.body.bytes().await?;
    std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| garbled(""))
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
