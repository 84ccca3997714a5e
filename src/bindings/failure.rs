//! Errors as JavaScript sees them.

use std::cell::RefCell;

use js_sys::{Array, Function, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use crate::error::Error;

thread_local! {
    static MAKE_ERROR: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// Errors are made by this function from now on.
pub(super) fn use_constructor(make_error: Function) {
    MAKE_ERROR.with_borrow_mut(|held| *held = Some(make_error));
}

/// The error as an object of the caller's class; a plain `Error` where there is none yet.
pub(super) fn to_js(error: &Error) -> JsValue {
    let make = MAKE_ERROR.with_borrow(Clone::clone);
    let cause = std::error::Error::source(error).map_or(JsValue::UNDEFINED, cause);
    let fields = Array::of4(&error.status().into(), &error.name().into(), &error.reason().into(), &cause);
    make.and_then(|make| make.apply(&JsValue::UNDEFINED, &fields).ok())
        .unwrap_or_else(|| js_sys::Error::new(error.reason()).into())
}

fn cause(source: &(dyn std::error::Error + 'static)) -> JsValue {
    js_sys::Error::new(&source.to_string()).into()
}

/// Sets a member of an object that was made here; nothing happens to anything else.
pub(super) fn set(object: &JsValue, name: &str, value: &JsValue) {
    if object.is_object() {
        // Fails only for frozen objects and proxies, which ours are not.
        let _ = Reflect::set(object.unchecked_ref(), &name.into(), value);
    }
}
