//! Port: one HTTP exchange.

use crate::{error::Pending, model::Content};

/// What to ask a server.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `DELETE`.
    pub method: &'static str,
    /// Absolute, without credentials.
    pub url: String,
    /// In order; names in any case.
    pub headers: Vec<(String, String)>,
    /// Sent one after the other; empty sends no body. Contents are sent from where they lie.
    pub body: Vec<Content>,
    /// Leaves the response's body outside our memory ([`Content::External`]) where the platform can.
    pub keep_external: bool,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Those the platform shows; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Content,
}

impl Response {
    /// The first header of that name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Sends requests. Knows HTTP and nothing of CouchDB.
pub trait Transport {
    /// One exchange, however it ends: a status of 500 is a response. Dropping the future aborts it.
    ///
    /// Errors: `network_error` when there was no whole response; `cancelled` when it was aborted.
    fn send(&self, request: Request) -> Pending<'_, Response>;
}
