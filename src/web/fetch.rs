//! The transport over `fetch`, in pages, workers and Node.
//!
//! What it asks of the browser, and why:
//!
//! - **Credentials** `include`, as PouchDB does, so that a CouchDB session cookie works across
//!   origins; but `same-origin` once the request carries an `Authorization` of its own. A stale cookie
//!   of somebody else would win over it in CouchDB's default order of handlers, and a server that
//!   answers any origin (`*`) may only do so to requests without credentials.
//! - **Cache** left at its default. CouchDB marks its answers `must-revalidate`, so nothing stale is
//!   ever used; and `no-store` or `no-cache` make Chromium pass over its cache of preflights too
//!   (seen in 156), which would double the requests to another origin.
//! - **Bodies** that lie outside our memory go and come as blobs. Others are read piece by piece where
//!   the response has a stream; a `fetch` of the caller's may give one that has none.

use std::{cell::Cell, rc::Rc};

use futures::FutureExt;
use js_sys::{Array, Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Blob, Headers, RequestCache, RequestCredentials, RequestInit};

use super::{
    blob::{BlobContent, blob_of, bytes_of, content_to_part},
    platform::global,
    thrown::Thrown,
};
use crate::{
    error::{Error, Kind, Pending, Result},
    model::Content,
    remote::{Answer, Body, Request, Response, Transport},
};

/// Sends requests with the global `fetch`, or one that the caller brings.
#[derive(Clone, Default)]
pub struct FetchTransport {
    fetch: Option<Function>,
}

impl FetchTransport {
    /// With the caller's `fetch(url, init)`, or the global one; that is looked up at each request,
    /// so a page may replace it.
    pub fn new(fetch: Option<Function>) -> Self {
        Self { fetch }
    }

    fn call(&self, url: &str, init: &RequestInit) -> Result<JsFuture> {
        let (this, function) = match &self.fetch {
            Some(fetch) => (JsValue::UNDEFINED, fetch.clone()),
            None => {
                let fetch = global("fetch").and_then(|fetch| fetch.dyn_into().ok());
                (
                    js_sys::global().into(),
                    fetch.ok_or_else(|| Error::new(Kind::Network, "There is no fetch here."))?,
                )
            }
        };
        // A function of the caller's may throw, or return something that is no promise.
        let answer = function.call2(&this, &url.into(), init).map_err(|error| failed(&error))?;
        Ok(JsFuture::from(Promise::resolve(&answer)))
    }

    async fn start(&self, request: &Request) -> Result<FetchBody> {
        let controller = AbortController::new().map_err(|error| failed(&error))?;
        let init = init_of(request)?;
        init.set_signal(Some(&controller.signal()));
        let exchange = Exchange { controller, ended: Cell::new(false) };
        let response = self.call(&request.url, &init)?.await.map_err(|error| failed(&error))?;
        Ok(FetchBody {
            exchange,
            response,
            reader: JsValue::UNDEFINED,
            reading: None,
            keep_external: request.keep_external,
        })
    }

    async fn begin(&self, request: Request) -> Result<Answer> {
        let body = self.start(&request).await?;
        let (status, headers) = (status_of(&body.response)?, headers_of(&body.response));
        Ok(Answer { status, headers, body: Box::new(body) })
    }
}

impl Transport for FetchTransport {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        async move {
            let Answer { status, headers, mut body } = self.open(request).await?;
            Ok(Response { status, headers, body: body.whole().await? })
        }
        .boxed_local()
    }

    fn open(&self, request: Request) -> Pending<'_, Answer> {
        self.begin(request).boxed_local()
    }

    fn join(&self, contents: Vec<Content>) -> Pending<'_, Content> {
        let joined = || {
            let parts: Array = contents.iter().map(content_to_part).collect::<Result<_>>()?;
            Ok(Content::External(Rc::new(BlobContent::new(blob_of(&parts, "")?))))
        };
        std::future::ready(joined()).boxed_local()
    }

    fn can_stream(&self) -> bool {
        global("ReadableStream").is_some()
    }
}

/// Aborts the fetch when the future or body that waits for it is dropped, or fails half-way.
struct Exchange {
    controller: AbortController,
    ended: Cell<bool>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended.get() {
            self.controller.abort();
        }
    }
}

/// The body of a response that has begun.
struct FetchBody {
    exchange: Exchange,
    response: JsValue,
    /// A `ReadableStreamDefaultReader` once a piece was asked for.
    reader: JsValue,
    /// A piece that somebody began to wait for.
    reading: Option<JsFuture>,
    keep_external: bool,
}

impl FetchBody {
    async fn all(&self) -> Result<Content> {
        let content = if self.keep_external {
            let blob = body_of(&self.response, "blob").await?;
            Content::External(Rc::new(BlobContent::new(blob.unchecked_into::<Blob>())))
        } else {
            Content::Bytes(bytes_of(&Uint8Array::new(&body_of(&self.response, "arrayBuffer").await?)))
        };
        self.exchange.ended.set(true);
        Ok(content)
    }

    async fn piece(&mut self) -> Result<Option<Content>> {
        if self.exchange.ended.get() {
            return Ok(None);
        }
        if self.reader.is_undefined() {
            let stream = Reflect::get(&self.response, &"body".into()).unwrap_or_default();
            if Reflect::has(&stream, &"getReader".into()) != Ok(true) {
                return self.all().await.map(Some);
            }
            self.reader = call(&stream, "getReader").map_err(|error| failed(&error))?;
        }
        if self.reading.is_none() {
            let promise = call(&self.reader, "read").map_err(|error| failed(&error))?;
            self.reading = Some(JsFuture::from(Promise::resolve(&promise)));
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let read = reading.await;
        self.reading = None;
        let read = read.map_err(|error| failed(&error))?;
        match Reflect::get(&read, &"value".into()).unwrap_or_default().dyn_into::<Uint8Array>() {
            Ok(piece) if self.keep_external => {
                Ok(Some(Content::External(Rc::new(BlobContent::over_array(piece)))))
            }
            Ok(piece) => Ok(Some(Content::Bytes(bytes_of(&piece)))),
            Err(value) if value.is_undefined() => {
                self.exchange.ended.set(true);
                Ok(None)
            }
            Err(_) => Err(Error::new(Kind::Network, "What fetch gave is no stream of bytes.")),
        }
    }
}

impl Body for FetchBody {
    fn next(&mut self) -> Pending<'_, Option<Content>> {
        self.piece().boxed_local()
    }

    /// The browser keeps it as it likes: a blob of its own may lie on disk.
    fn whole(&mut self) -> Pending<'_, Content> {
        self.all().boxed_local()
    }
}

fn init_of(request: &Request) -> Result<RequestInit> {
    let headers = Headers::new().map_err(|error| failed(&error))?;
    for (name, value) in &request.headers {
        // It throws at characters that HTTP does not allow. Trying again would not help, so this is
        // no network error; the value may be a secret, so it is not repeated.
        headers
            .append(name, value)
            .map_err(|_| Error::bad_request(format!("The request header {name} has a bad name or value.")))?;
    }
    let has_login = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));

    let init = RequestInit::new();
    if request.is_fresh {
        init.set_cache(RequestCache::Reload);
    }
    init.set_method(request.method);
    init.set_headers(&headers);
    init.set_credentials(if has_login {
        RequestCredentials::SameOrigin
    } else {
        RequestCredentials::Include
    });
    match request.body.as_slice() {
        [] => {}
        [one] => init.set_body(&content_to_part(one)?),
        several => {
            let parts: Array = several.iter().map(content_to_part).collect::<Result<_>>()?;
            init.set_body(blob_of(&parts, "")?.as_ref());
        }
    }
    Ok(init)
}

fn status_of(response: &JsValue) -> Result<u16> {
    let status = Reflect::get(response, &"status".into()).ok().and_then(|status| status.as_f64());
    status
        .filter(|status| (100.0..1000.0).contains(status))
        .map(|status| status as u16)
        .ok_or_else(|| Error::new(Kind::Network, "What fetch gave is no response."))
}

/// Those that the browser shows; to another origin that is a few, unless the server exposes more.
fn headers_of(response: &JsValue) -> Vec<(String, String)> {
    let headers = Reflect::get(response, &"headers".into()).ok();
    let pairs = headers.and_then(|headers| js_sys::try_iter(&headers).ok().flatten());
    let pairs = pairs.into_iter().flatten().map_while(|pair| pair.ok());
    let pair_of = |pair: JsValue| {
        let pair: Array = pair.dyn_into().ok()?;
        Some((pair.get(0).as_string()?.to_ascii_lowercase(), pair.get(1).as_string()?))
    };
    pairs.filter_map(pair_of).collect()
}

/// The whole body, read by the response's method of that name.
async fn body_of(response: &JsValue, method: &str) -> Result<JsValue> {
    let promise = call(response, method).map_err(|error| failed(&error))?;
    JsFuture::from(Promise::resolve(&promise)).await.map_err(|error| failed(&error))
}

fn call(object: &JsValue, method: &str) -> Result<JsValue, JsValue> {
    Reflect::get(object, &method.into())?.dyn_into::<Function>()?.call0(object)
}

/// Why there is no response. Node puts the reason (refused, no such host) in `cause`.
fn failed(error: &JsValue) -> Error {
    let thrown = Thrown::from(error);
    let kind = match thrown.name.as_str() {
        "AbortError" => Kind::Cancelled,
        "TimeoutError" => Kind::Timeout,
        _ => Kind::Network,
    };
    let cause = if error.is_object() { Reflect::get(error, &"cause".into()).ok() } else { None };
    let reason = match cause.filter(JsValue::is_object) {
        Some(cause) => format!("No whole answer from the server: {thrown} ({})", Thrown::from(&cause)),
        None => format!("No whole answer from the server: {thrown}"),
    };
    Error::new(kind, reason).with_source(thrown)
}
