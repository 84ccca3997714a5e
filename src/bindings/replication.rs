//! A replication under way.

use std::rc::Rc;

use futures::FutureExt;
use js_sys::{Function, JSON, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::{
    convert::{json, options, promise, spawn},
    failure,
    peer::PeerHandle,
};
use crate::{
    database::Database,
    error::{Error, Kind, Result},
    replicate::{self, BackOff, Event, Handle, Options, State},
    web,
};

/// A replication under way.
#[wasm_bindgen]
pub struct Replication {
    handle: Handle,
    done: Promise,
}

#[wasm_bindgen]
impl Replication {
    /// A promise of the summary; the error it fails with has the summary in `result`.
    #[wasm_bindgen(js_name = done)]
    pub fn done(&self) -> Promise {
        self.done.clone()
    }

    /// How it stands: `{phase, since, pending, docsRead, docsWritten, docWriteFailures, bytes, error,
    /// retryAt, quarantined}`, with `null` for what is unknown or not there. `tell("status")` is called once when it
    /// has changed since.
    #[wasm_bindgen(js_name = status)]
    pub fn status(&self) -> JsValue {
        let State { phase, since_ms, pending, bytes, summary, error, retry_at_ms, quarantined } =
            self.handle.state();
        let phase = serde_json::to_value(phase).unwrap_or_default();
        let number = |number: Option<f64>| number.map_or(JsValue::NULL, JsValue::from);
        let status = js_sys::Object::new().into();
        for (name, value) in [
            ("phase", phase.as_str().unwrap_or_default().into()),
            ("since", since_ms.into()),
            ("pending", number(pending.map(|pending| pending as f64))),
            ("docsRead", (summary.docs_read as f64).into()),
            ("docsWritten", (summary.docs_written as f64).into()),
            ("docWriteFailures", (summary.doc_write_failures as f64).into()),
            ("bytes", (bytes as f64).into()),
            ("error", error.map_or(JsValue::NULL, |error| failure::to_js(&error))),
            ("retryAt", number(retry_at_ms)),
            ("quarantined", (quarantined as f64).into()),
        ] {
            failure::set(&status, name, &value);
        }
        status
    }

    /// Holds it until [`Replication::resume`].
    #[wasm_bindgen(js_name = pause)]
    pub fn pause(&self) {
        self.handle.pause();
    }

    /// Goes on, at once; also after a login, and with what was denied.
    #[wasm_bindgen(js_name = resume)]
    pub fn resume(&self) {
        self.handle.resume();
    }

    /// A promise of whether nothing of a document is left to go over.
    #[wasm_bindgen(js_name = isPushed)]
    pub fn is_pushed(&self, id: String) -> Promise {
        let handle = self.handle.clone();
        promise(async move { Ok(handle.is_pushed(&id).await?.into()) })
    }

    /// Ends it; the promise resolves.
    #[wasm_bindgen(js_name = cancel)]
    pub fn cancel(&self) {
        self.handle.cancel();
    }
}

/// The `doc_ids` of a replication's options as they are stored and go over, if there are any: what
/// [`replicate`] takes. Throws for what is asked of a sealed channel that cannot be done.
#[wasm_bindgen(js_name = storedIds)]
pub fn stored_ids(
    source: &PeerHandle,
    target: &PeerHandle,
    given: JsValue,
) -> std::result::Result<Option<Vec<String>>, JsValue> {
    stored(source, target, given).map_err(|error| failure::to_js(&error))
}

fn stored(source: &PeerHandle, target: &PeerHandle, given: JsValue) -> Result<Option<Vec<String>>> {
    let options = options::<Options>(given)?;
    let is_chosen = options.selector.is_some() || options.filter_function().is_some();
    if is_chosen && target.sealed.is_some() && source.sealed.is_none() {
        return Err(Error::new(
            Kind::QueryParse,
            "Nobody but you can look into a sealed channel: what is pulled is chosen with `doc_ids` alone.",
        ));
    }
    let channels: Vec<_> = [source, target].into_iter().filter_map(|end| end.sealed.as_ref()).collect();
    let channel = channels.iter().find(|channel| !channel.is_locked()).or(channels.first());
    match (options.doc_ids, channel) {
        (Some(names), Some(channel)) => channel.stored_ids(&names).map(Some),
        (names, _) => Ok(names),
    }
}

/// Starts to replicate. `back_off_function(last_ms)` gives the pause before the next attempt;
/// `tell(type, detail)` is called for what happens, at any moment: it must leave before it calls back.
#[wasm_bindgen(js_name = replicate)]
pub fn replicate(
    source: &PeerHandle,
    target: &PeerHandle,
    given: JsValue,
    back_off_function: Option<Function>,
    tell: Function,
) -> std::result::Result<Replication, JsValue> {
    let mut options = options::<Options>(given).map_err(|error| failure::to_js(&error))?;
    if source.sealed.is_some() || target.sealed.is_some() {
        options.beside = Some(Database::LOG);
    }
    if let Some(function) = back_off_function {
        options.back_off = BackOff::new(move |last_ms| pause_ms(&function, last_ms));
    }
    let telling = tell.clone();
    let on_event = Rc::new(move |event: Event| {
        if let Ok((name, detail)) = event_to_js(&event) {
            // Only queues; what the caller's listeners throw ends up in the event loop.
            let _ = telling.call2(&JsValue::UNDEFINED, &name.into(), &detail);
        }
    });
    let platform = Rc::new(web::WebPlatform);
    let (handle, replicating) =
        replicate::replicate(source.peer.clone(), target.peer.clone(), platform, options, on_event);
    handle.on_change(move || {
        let _ = tell.call1(&JsValue::UNDEFINED, &"status".into());
    });
    let steering = handle.clone();
    let waking = handle.clone();
    let work = async move {
        let guard = web::on_wake(move || waking.wake());
        let outcome = replicating.await;
        drop(guard);
        // It holds what holds us.
        steering.on_change(|| ());
        match outcome {
            Ok(summary) => parsed(&json(&summary)).map_err(|error| failure::to_js(&error)),
            Err(error) => {
                let error = failure::to_js(&error);
                if let Ok(summary) = parsed(&json(&steering.state().summary)) {
                    failure::set(&error, "result", &summary);
                }
                Err(error)
            }
        }
    };
    Ok(Replication { handle, done: spawn(work.boxed_local()) })
}

/// A caller's own pause; a function that throws or gives no number is one that asks for a second.
fn pause_ms(function: &Function, last_ms: u32) -> u32 {
    let next = function.call1(&JsValue::UNDEFINED, &last_ms.into()).ok().and_then(|next| next.as_f64());
    // `as` saturates, and makes 0 of NaN.
    next.map_or(1_000, |ms| ms as u32)
}

fn event_to_js(event: &Event) -> Result<(&'static str, JsValue)> {
    Ok(match event {
        Event::Active => ("active", JsValue::UNDEFINED),
        Event::Paused(None) => ("paused", JsValue::UNDEFINED),
        Event::Paused(Some(error)) => ("paused", failure::to_js(error)),
        Event::Change(progress) => ("change", parsed(&json(progress))?),
        Event::Denied(denied) => ("denied", parsed(&json(denied))?),
        Event::Checkpoint(seq) => ("checkpoint", parsed(&json(&serde_json::json!({ "checkpoint": seq })))?),
    })
}

/// Through text: a progress names hundreds of documents.
fn parsed(text: &Result<String>) -> Result<JsValue> {
    let text = text.as_ref().map_err(Clone::clone)?;
    JSON::parse(text).map_err(|_| Error::corrupt("report"))
}
