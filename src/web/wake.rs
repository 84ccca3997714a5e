//! When it is worth trying again at once: the network came back, or a person looks at the page.
//!
//! Timers are throttled in a hidden page and stop in a sleeping machine, so a retry that only waits
//! would come minutes late.

use std::rc::Rc;

use gloo_events::EventListener;
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::EventTarget;

use super::platform::global;

/// Listens for as long as it lives.
#[must_use = "dropping it stops listening"]
pub struct WakeGuard {
    _listeners: Vec<EventListener>,
}

/// Calls `callback` when the browser comes back online, and where there is a page, when it is shown,
/// restored, thawed or focused. Several of these come together, so the callback should be cheap to repeat.
///
/// Workers know `online` alone, Node none of them.
pub fn on_wake(callback: impl Fn() + 'static) -> WakeGuard {
    let callback = Rc::new(callback);
    let mut listeners = Vec::new();
    let scope = js_sys::global();
    if Reflect::has(&scope, &"addEventListener".into()).unwrap_or(false) {
        let scope: EventTarget = scope.unchecked_into();
        let document = global("document").map(JsCast::unchecked_into::<EventTarget>);
        let names: &[&'static str] =
            if document.is_some() { &["online", "pageshow", "focus"] } else { &["online"] };
        for &name in names {
            let callback = callback.clone();
            listeners.push(EventListener::new(&scope, name, move |_| callback()));
        }
        if let Some(document) = document {
            for name in ["visibilitychange", "resume"] {
                let (page, callback): (JsValue, _) = (document.clone().into(), callback.clone());
                listeners.push(EventListener::new(&document, name, move |_| {
                    let state = Reflect::get(&page, &"visibilityState".into()).ok();
                    let is_seen = state.and_then(|state| state.as_string()).as_deref() == Some("visible");
                    if is_seen || name == "resume" {
                        callback();
                    }
                }));
            }
        }
    }
    WakeGuard { _listeners: listeners }
}
