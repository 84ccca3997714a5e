//! One IndexedDB transaction, as thin as it goes: requests are made in a row, and only what must be
//! waited for is.
//!
//! Not rexie's, for reasons of correctness seen in its source and by experiment (in speed the two are
//! equal within the noise): its requests are futures that do nothing until polled, so a batch cannot be
//! handed over in one go; its `done()` never resolves once a transaction has ended, and reports a
//! failed request as "unexpected JS type"; it does not keep the first error; and it has no durability.
//!
//! Continuing in a transaction after waiting works because a future that is woken by an event runs in
//! a microtask, before the browser takes the transaction for finished. Awaiting anything else (a
//! timer, `fetch`) between two requests would end it.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{Event, IdbObjectStore, IdbRequest, IdbTransaction};

use super::thrown::Thrown;
use crate::error::Error;

/// Why the work on a connection failed.
pub(super) enum Failure {
    /// The connection is gone and nothing was written: worth one more try on a new one.
    Dead(Thrown),
    /// What the browser threw.
    Thrown(Thrown),
    /// Ours.
    Ours(Error),
}

impl From<JsValue> for Failure {
    fn from(value: JsValue) -> Self {
        Self::Thrown(Thrown::from(&value))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Dead(thrown) | Failure::Thrown(thrown) => thrown.into_storage_error(),
            Failure::Ours(error) => error,
        }
    }
}

impl Failure {
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Dead(thrown) | Self::Thrown(thrown) if thrown.is(name))
    }
}

/// How far a transaction has come.
#[derive(Default)]
struct Progress {
    successes: u32,
    /// The first error: what follows it is only that everything else was aborted.
    first_error: Option<Thrown>,
    ended: bool,
    waker: Option<Waker>,
}

/// A transaction. Dropping it leaves it to end by itself, unheard.
pub(super) struct Transaction {
    inner: IdbTransaction,
    progress: Rc<RefCell<Progress>>,
    awaited: RefCell<Option<IdbRequest>>,
    listener: Closure<dyn FnMut(Event)>,
}

impl Transaction {
    pub(super) fn new(inner: IdbTransaction) -> Self {
        let progress = Rc::<RefCell<Progress>>::default();
        let (state, transaction) = (progress.clone(), inner.clone());
        let listener = Closure::new(move |event: Event| {
            let waker = {
                let mut state = state.borrow_mut();
                match event.type_().as_str() {
                    "success" => state.successes += 1,
                    "complete" => state.ended = true,
                    "error" => {
                        // A request's error bubbles to here; not prevented, it aborts the transaction,
                        // also one that is committing already. Stopped, so that Firefox does not
                        // report it to the page as an uncaught one.
                        event.stop_propagation();
                        let request = event.target().map(JsCast::unchecked_into::<IdbRequest>);
                        let error = request.and_then(|request| request.error().ok().flatten());
                        // `AbortError` here is an echo: the transaction knows why it was aborted.
                        if let Some(error) = error.map(|error| Thrown::from(error.as_ref()))
                            && !error.is("AbortError")
                        {
                            state.first_error.get_or_insert(error);
                        }
                    }
                    _ => {
                        state.ended = true;
                        let error = transaction.error().map(|error| Thrown::from(error.as_ref()));
                        let error = error.unwrap_or_else(|| Thrown::new("AbortError", "It was aborted."));
                        state.first_error.get_or_insert(error);
                    }
                }
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        let function = Some(listener.as_ref().unchecked_ref());
        inner.set_oncomplete(function);
        inner.set_onabort(function);
        inner.set_onerror(function);
        Self { inner, progress, awaited: RefCell::default(), listener }
    }

    /// An object store in its scope.
    pub(super) fn store(&self, name: &str) -> Result<IdbObjectStore, Failure> {
        Ok(self.inner.object_store(name)?)
    }

    /// Waits until this request has succeeded, and with it all those made before it.
    pub(super) async fn result(&self, request: &IdbRequest) -> Result<JsValue, Failure> {
        let before = self.progress.borrow().successes;
        request.set_onsuccess(Some(self.listener.as_ref().unchecked_ref()));
        *self.awaited.borrow_mut() = Some(request.clone());
        self.until(|progress| progress.successes > before).await?;
        request.set_onsuccess(None);
        Ok(request.result()?)
    }

    /// Waits until everything is written. `commit` first spares a round trip (a fifth of a small
    /// write's time): without it the browser waits for the last request's event to be handled, lest
    /// more requests come.
    pub(super) async fn committed(&self) -> Result<(), Failure> {
        // Throws where it has begun to end already, which is what we ask for. (Only web_sys calls it
        // deprecated.)
        #[allow(deprecated)]
        let _ = self.inner.commit();
        self.until(|progress| progress.ended).await
    }

    /// Takes back everything. An early return would not: what was requested so far would be written.
    pub(super) fn abort(&self) {
        // Throws if it has ended already.
        let _ = self.inner.abort();
    }

    async fn until(&self, enough: impl Fn(&Progress) -> bool) -> Result<(), Failure> {
        poll_fn(|context| {
            let mut progress = self.progress.borrow_mut();
            if progress.ended
                && let Some(thrown) = progress.first_error.clone()
            {
                // Only the browser's closing of the connection aborts with this one: whoever calls
                // [`Transaction::abort`] returns its own reason and does not come here.
                let dead = thrown.is("AbortError") || thrown.is("InvalidStateError");
                return Poll::Ready(Err(if dead { Failure::Dead(thrown) } else { Failure::Thrown(thrown) }));
            }
            if progress.first_error.is_none() && enough(&progress) {
                return Poll::Ready(Ok(()));
            }
            progress.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.inner.set_oncomplete(None);
        self.inner.set_onabort(None);
        self.inner.set_onerror(None);
        if let Some(request) = self.awaited.take() {
            request.set_onsuccess(None);
        }
    }
}
