//! A replication that a server does by itself.

use std::rc::Rc;

use js_sys::{Function, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::convert::{options, promise};
use crate::{
    remote::{RemoteOptions, ServerReplication},
    web::{FetchTransport, TokenFunction, WebPlatform},
};

/// A replication that a server does by itself.
#[wasm_bindgen(js_name = ServerReplication)]
pub struct ServerHandle(Rc<ServerReplication>);

#[wasm_bindgen(js_class = ServerReplication)]
impl ServerHandle {
    /// Asks a server to replicate; a promise of this. `given` are what a database on a server is opened
    /// with; `fetch` in place of the platform's; `get_token` as for one.
    #[wasm_bindgen(js_name = start)]
    pub fn start(
        server: String,
        job: JsValue,
        given: JsValue,
        fetch: Option<Function>,
        get_token: Option<Function>,
    ) -> Promise {
        promise(async move {
            let transport = Rc::new(FetchTransport::new(fetch));
            let (job, mut options) = (options(job)?, options::<RemoteOptions>(given)?);
            options.tokens = get_token.map(|function| Rc::new(TokenFunction(function)) as _);
            let started = ServerReplication::start(transport, Rc::new(WebPlatform), &server, job, options);
            Ok(ServerHandle(Rc::new(started.await?)).into())
        })
    }

    /// Its document's id.
    #[wasm_bindgen(js_name = id, getter)]
    pub fn id(&self) -> String {
        self.0.id().to_owned()
    }

    /// A promise of the next status that is not the one seen, as JSON text; of `undefined` after the last.
    #[wasm_bindgen(js_name = next)]
    pub fn next(&self, seen: Option<String>) -> Promise {
        let replication = self.0.clone();
        promise(async move { Ok(replication.next(seen.as_deref()).await?.into()) })
    }

    /// Ends it.
    #[wasm_bindgen(js_name = cancel)]
    pub fn cancel(&self) -> Promise {
        let replication = self.0.clone();
        promise(async move { replication.cancel().await.map(|()| JsValue::UNDEFINED) })
    }
}
