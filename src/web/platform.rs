//! Time, randomness and sleep from the global object of a page, a worker or Node.

use std::{cell::RefCell, collections::VecDeque, future::ready};

use futures::{FutureExt, channel::oneshot, future::LocalBoxFuture};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Date, Function, Math, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Crypto, MessageChannel, MessagePort};
use zeroize::Zeroizing;

use super::{blob::BlobCollector, cipher::cipher};
use crate::{
    error::{Error, Kind, Pending, Result},
    platform::{Cipher, Collector, Platform, sha256},
};

/// The longest that a browser's timer can wait: a longer one would fire at once.
const LONGEST_TIMEOUT_MS: u32 = i32::MAX as u32;

/// `crypto.getRandomValues` refuses to fill more at once.
const MOST_RANDOM_BYTES: usize = 65_536;

/// The machine that the browser shows us.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebPlatform;

impl Platform for WebPlatform {
    fn now_ms(&self) -> f64 {
        Date::now()
    }

    fn random_bytes(&self, bytes: &mut [u8]) {
        if !fill(bytes) {
            // Every platform we name has it. One that does not still gets ids that differ.
            bytes.fill_with(|| (Math::random() * 256.0) as u8);
        }
    }

    fn secret_bytes(&self, bytes: &mut [u8]) -> Result<()> {
        if fill(bytes) { Ok(()) } else { Err(Error::remote(0, "no_randomness", NO_RANDOMNESS)) }
    }

    fn sha256(&self, bytes: &[u8]) -> Pending<'static, [u8; 32]> {
        // It reads the bytes before it returns. Where a page is not secure there is none.
        let subtle = global("crypto").map(|crypto| crypto.unchecked_into::<Crypto>().subtle());
        let begun = subtle.and_then(|subtle| subtle.digest_with_str_and_u8_array("SHA-256", bytes).ok());
        let Some(begun) = begun else { return Box::pin(ready(Ok(sha256(bytes)))) };
        let made = async {
            let hash = JsFuture::from(begun).await.ok().map(|hash| Uint8Array::new(&hash).to_vec());
            hash.and_then(|hash| hash.try_into().ok()).ok_or_else(|| Error::new(Kind::Unknown, NO_HASH))
        };
        made.boxed_local()
    }

    fn cipher(&self, key: &[u8; 32]) -> Pending<'static, Box<dyn Cipher>> {
        let key = Zeroizing::new(*key);
        async move { Ok(cipher(&key).await) }.boxed_local()
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(BlobCollector::default())
    }

    fn sleep(&self, ms: u32) -> LocalBoxFuture<'static, ()> {
        match ms {
            0 => next_turn().boxed_local(),
            ms => TimeoutFuture::new(ms.min(LONGEST_TIMEOUT_MS)).boxed_local(),
        }
    }
}

const NO_HASH: &str = "crypto.subtle.digest failed.";

const NO_RANDOMNESS: &str = "There is no crypto.getRandomValues here, and nothing else makes keys.";

/// Whether `crypto.getRandomValues` filled it all.
fn fill(bytes: &mut [u8]) -> bool {
    let Some(crypto) = global("crypto").map(JsCast::unchecked_into::<Crypto>) else { return false };
    let mut pieces = bytes.chunks_mut(MOST_RANDOM_BYTES);
    pieces.all(|piece| crypto.get_random_values_with_u8_array(piece).is_ok())
}

/// A member of the global object that is there.
pub(super) fn global(name: &str) -> Option<JsValue> {
    let value = Reflect::get(&js_sys::global(), &name.into()).ok()?;
    (!value.is_undefined() && !value.is_null()).then_some(value)
}

/// Resolves in a later task of the event loop, so that input and painting get their turn.
///
/// Not by `setTimeout`: browsers clamp nested ones to 4 ms, which would turn work that yields a
/// thousand times into seconds of waiting. A message to ourselves has no such limit. Node has
/// `setImmediate`, and there an open `MessageChannel` would keep the process from ending.
pub(super) async fn next_turn() {
    let (done, turn) = oneshot::channel();
    let asked = match global("setImmediate").and_then(|it| it.dyn_into::<Function>().ok()) {
        Some(set_immediate) => {
            // The one that waits may have been dropped by then.
            let callback = Closure::once_into_js(move || done.send(()).unwrap_or_default());
            set_immediate.call1(&JsValue::UNDEFINED, &callback).is_ok()
        }
        None => TURNS.with(|turns| turns.wait(done)),
    };
    if !asked || turn.await.is_err() {
        TimeoutFuture::new(0).await;
    }
}

thread_local! {
    static TURNS: Turns = Turns::new();
}

/// One channel to ourselves, made once; each message resolves one waiter.
struct Turns {
    waiters: RefCell<VecDeque<oneshot::Sender<()>>>,
    to_us: Option<(MessagePort, Closure<dyn FnMut()>)>,
}

impl Turns {
    fn new() -> Self {
        let to_us = MessageChannel::new().ok().map(|channel| {
            let closure = Closure::new(|| {
                let waiter = TURNS.with(|turns| turns.waiters.borrow_mut().pop_front());
                if let Some(waiter) = waiter {
                    // It may have stopped waiting.
                    let _ = waiter.send(());
                }
            });
            channel.port1().set_onmessage(Some(closure.as_ref().unchecked_ref()));
            (channel.port2(), closure)
        });
        Self { waiters: RefCell::default(), to_us }
    }

    fn wait(&self, done: oneshot::Sender<()>) -> bool {
        let Some((port, _)) = &self.to_us else { return false };
        self.waiters.borrow_mut().push_back(done);
        if port.post_message(&JsValue::NULL).is_err() {
            self.waiters.borrow_mut().pop_back();
            return false;
        }
        true
    }
}
