//! One end of a replication.

use std::rc::Rc;

use js_sys::Function;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::{convert::options, failure};
use crate::{
    error::Result,
    peer::Peer,
    remote::RemoteDatabase,
    web::{FetchTransport, WebPlatform},
};

/// A database here or on a server.
#[wasm_bindgen(js_name = Peer)]
pub struct PeerHandle(pub(super) Rc<dyn Peer>);

#[wasm_bindgen(js_class = Peer)]
impl PeerHandle {
    /// The database at a URL, which may carry a name and password; they are sent as a header and shown
    /// nowhere. `fetch` in place of the platform's.
    #[wasm_bindgen(js_name = remote)]
    pub fn remote(
        url: String,
        given: JsValue,
        fetch: Option<Function>,
    ) -> std::result::Result<PeerHandle, JsValue> {
        open(&url, given, fetch).map_err(|error| failure::to_js(&error))
    }
}

fn open(url: &str, given: JsValue, fetch: Option<Function>) -> Result<PeerHandle> {
    let transport = Rc::new(FetchTransport::new(fetch));
    let remote = RemoteDatabase::new(transport, Rc::new(WebPlatform), url, options(given)?)?;
    Ok(PeerHandle(Rc::new(remote)))
}
