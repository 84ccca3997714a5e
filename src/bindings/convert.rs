//! Values on their way over the border.

use futures::{FutureExt, TryFutureExt, future::LocalBoxFuture};
use js_sys::{Array, JSON, Promise};
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::future_to_promise;

use super::failure;
use crate::{
    database::{Rendered, options},
    error::{Error, Kind, Result},
    model::Content,
    web,
};

/// A promise of what the future gives. Boxed before anything else is done with it, because the code around a future
/// is many times the box's cost, and there is one per method.
pub(super) fn promise(work: impl Future<Output = Result<JsValue>> + 'static) -> Promise {
    told(work.boxed_local())
}

fn told(work: LocalBoxFuture<'static, Result<JsValue>>) -> Promise {
    spawn(work.map_err(|error| failure::to_js(&error)).boxed_local())
}

/// The same for one whose error is JavaScript's already.
pub(super) fn spawn(work: LocalBoxFuture<'static, Result<JsValue, JsValue>>) -> Promise {
    future_to_promise(work)
}

/// Options as the core takes them; defaults where there are none. 400 `query_parse_error` names the one
/// that is unknown or has a bad value.
pub(super) fn options<T: DeserializeOwned + Default>(given: JsValue) -> Result<T> {
    if given.is_undefined() || given.is_null() {
        return Ok(T::default());
    }
    // As text they would lose what is no JSON (functions, for one) without a word.
    let value = serde_wasm_bindgen::from_value::<serde_json::Value>(given)
        .map_err(|error| Error::new(Kind::QueryParse, format!("Bad options: {error}")))?;
    options::parse(value)
}

/// A small result as a plain object.
pub(super) fn object(value: &impl Serialize) -> Result<JsValue> {
    JSON::parse(&json(value)?).map_err(|_| Error::new(Kind::Unknown, "A result could not be passed on"))
}

/// A result that is large or made of many parts: as JSON text, which JavaScript reads many times faster
/// than it takes an object member by member.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(Kind::Unknown, format!("A result could not be passed on: {error}")))
}

/// JSON text; with bytes beside it, an array of the text and of them as blobs.
pub(super) fn rendered(rendered: Rendered) -> Result<JsValue> {
    let json = JsValue::from(rendered.json);
    if rendered.contents.is_empty() {
        return Ok(json);
    }
    let parts = Array::of1(&json);
    for content in &rendered.contents {
        parts.push(web::content_to_blob(content, "")?.as_ref());
    }
    Ok(parts.into())
}

/// Bytes that came beside a document: each a `Blob` or a `Uint8Array`.
pub(super) fn contents(given: &Array) -> Result<Vec<Content>> {
    given.iter().map(|value| web::content_from_js(&value)).collect()
}
