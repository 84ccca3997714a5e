//! Port: one HTTP exchange.

use futures::FutureExt;

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
    /// Straight from the server, past whatever caches lie in between: what they gave was damaged.
    pub is_fresh: bool,
    /// It waits for something to happen, so that its answer may take for ever.
    pub waits: bool,
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

/// What a server answered, its body still on the way. Dropping it aborts the exchange.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Those the platform shows; names in lower case.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: Box<dyn Body>,
}

impl Answer {
    /// The first header of that name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// A body that arrives in pieces.
pub trait Body {
    /// The next piece as soon as it is there; `None` after the last. Dropping the future loses nothing:
    /// the next call gives what it would have given.
    ///
    /// Errors: as [`Transport::send`], and nothing follows one.
    fn next(&mut self) -> Pending<'_, Option<Content>>;

    /// All of it as one content, in place of [`Body::next`].
    fn whole(&mut self) -> Pending<'_, Content> {
        async move {
            let mut bytes = Vec::new();
            while let Some(piece) = self.next().await? {
                bytes.extend_from_slice(&piece.bytes().await?);
            }
            Ok(bytes.into())
        }
        .boxed_local()
    }
}

/// Sends requests. Knows HTTP and nothing of CouchDB.
pub trait Transport {
    /// One exchange, however it ends: a status of 500 is a response. Dropping the future aborts it.
    ///
    /// Errors: `network_error` when there was no whole response; `cancelled` when it was aborted.
    fn send(&self, request: Request) -> Pending<'_, Response>;

    /// The same up to the headers; the body is read as it arrives. Without [`Transport::can_stream`] it
    /// comes in one piece, and the headers no sooner than that.
    fn open(&self, request: Request) -> Pending<'_, Answer> {
        async move {
            let Response { status, headers, body } = self.send(request).await?;
            Ok(Answer { status, headers, body: Box::new(Whole(Some(body))) })
        }
        .boxed_local()
    }

    /// Contents one after the other as one, outside our memory if the platform can.
    fn join(&self, contents: Vec<Content>) -> Pending<'_, Content> {
        async move {
            let mut bytes = Vec::new();
            for content in contents {
                bytes.extend_from_slice(&content.bytes().await?);
            }
            Ok(bytes.into())
        }
        .boxed_local()
    }

    /// Whether [`Transport::open`] gives pieces as they arrive.
    fn can_stream(&self) -> bool {
        false
    }
}

/// A body that is there.
struct Whole(Option<Content>);

impl Body for Whole {
    fn next(&mut self) -> Pending<'_, Option<Content>> {
        std::future::ready(Ok(self.0.take())).boxed_local()
    }
}
