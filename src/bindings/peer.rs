//! One end of a replication.

use std::rc::Rc;

use js_sys::{Function, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::{
    convert::{options, promise},
    failure,
};
use crate::{
    database::Database,
    error::Result,
    peer::Peer,
    remote::{Credentials, Origins, RemoteDatabase, RemoteOptions},
    seal::{GUARD_ID, guard_document},
    web::{FetchTransport, TokenFunction, WebPlatform},
};

thread_local! {
    /// The servers in use on this page, whose connections every replication shares.
    static ORIGINS: Rc<Origins> = Rc::default();
}

/// A database here or on a server.
#[wasm_bindgen(js_name = Peer)]
pub struct PeerHandle {
    pub(super) peer: Rc<dyn Peer>,
    /// The same, if it is on a server.
    remote: Option<Rc<RemoteDatabase>>,
    /// The same, if it is a sealed channel here.
    pub(super) sealed: Option<Database>,
}

impl PeerHandle {
    pub(super) fn local(database: Database) -> Self {
        let sealed = Some(database.clone()).filter(Database::is_sealed);
        Self { peer: Rc::new(database), remote: None, sealed }
    }
}

#[wasm_bindgen(js_class = Peer)]
impl PeerHandle {
    /// The database at a URL, which may carry a name and password; they are sent as a header and shown
    /// nowhere. `fetch` in place of the platform's; `get_token({ reason })` gives bearer tokens.
    #[wasm_bindgen(js_name = remote)]
    pub fn remote(
        url: String,
        given: JsValue,
        fetch: Option<Function>,
        get_token: Option<Function>,
    ) -> std::result::Result<PeerHandle, JsValue> {
        open(&url, given, fetch, get_token).map_err(|error| failure::to_js(&error))
    }

    /// The user looks at this database, or no longer does: it goes first. Nothing happens to one that is here.
    #[wasm_bindgen(js_name = setVisible)]
    pub fn set_visible(&self, is_visible: bool) {
        if let Some(remote) = &self.remote {
            remote.set_visible(is_visible);
        }
    }

    /// Goes on with another login: `{ auth: { username, password, type? } }`, or bearer tokens; a promise
    /// that the server took it. Nothing happens to a database that is here.
    #[wasm_bindgen(js_name = login)]
    pub fn log_in(&self, given: JsValue, get_token: Option<Function>) -> Promise {
        let remote = self.remote.clone();
        promise(async move {
            let credentials = match get_token {
                Some(function) => Some(Credentials::Tokens(Rc::new(TokenFunction(function)))),
                None => options::<RemoteOptions>(given)?.auth.map(Credentials::Login),
            };
            if let (Some(remote), Some(credentials)) = (remote, credentials) {
                remote.try_log_in(credentials).await?;
            }
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Puts the guard of sealed channels on the server; a promise of whether it was not there as it is now.
    #[wasm_bindgen(js_name = installGuard)]
    pub fn install_guard(&self) -> Promise {
        let remote = self.remote.clone();
        promise(async move {
            let Some(remote) = remote else { return Ok(false.into()) };
            Ok(remote.put_design(GUARD_ID, &guard_document()).await?.into())
        })
    }
}

fn open(
    url: &str,
    given: JsValue,
    fetch: Option<Function>,
    get_token: Option<Function>,
) -> Result<PeerHandle> {
    let transport = Rc::new(FetchTransport::new(fetch));
    let mut options = options::<RemoteOptions>(given)?;
    options.origins = Some(ORIGINS.with(Rc::clone));
    options.tokens = get_token.map(|function| Rc::new(TokenFunction(function)) as _);
    let remote = Rc::new(RemoteDatabase::new(transport, Rc::new(WebPlatform), url, options)?);
    Ok(PeerHandle { peer: remote.clone(), remote: Some(remote), sealed: None })
}
