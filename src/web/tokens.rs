//! A page's `getToken` as the port [`Tokens`].

use futures::FutureExt;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use super::thrown::Thrown;
use crate::{
    error::{Error, Kind, Pending, Result},
    remote::{Reason, Tokens, no_token},
};

/// Asks `getToken({ reason })` for a text or a promise of one.
pub struct TokenFunction(pub Function);

impl TokenFunction {
    async fn ask(&self, reason: Reason) -> Result<String> {
        let call = || {
            let asked = Object::new();
            Reflect::set(&asked, &"reason".into(), &reason.as_str().into())?;
            self.0.call1(&JsValue::UNDEFINED, &asked)
        };
        let promise = call().map_err(|error| refused(&error))?;
        let token = JsFuture::from(Promise::resolve(&promise)).await.map_err(|error| refused(&error))?;
        let token = token.as_string().filter(|token| !token.trim().is_empty());
        token.ok_or_else(|| no_token("getToken gave no text"))
    }
}

impl Tokens for TokenFunction {
    fn get_token(&self, reason: Reason) -> Pending<'_, String> {
        self.ask(reason).boxed_local()
    }
}

/// What `fetch` throws without a network is worth another try; anything else means that nobody logs in.
fn refused(error: &JsValue) -> Error {
    let thrown = Thrown::from(error);
    match thrown.name.as_str() {
        "TypeError" | "TimeoutError" | "network_error" | "timeout" => {
            Error::new(Kind::Network, format!("getToken failed: {thrown}"))
        }
        _ => no_token(&thrown.to_string()),
    }
    .with_source(thrown)
}
