//! Results that come in pages, so that no turn of the event loop gets long.

use std::{cell::RefCell, pin::pin, rc::Rc};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, Shared, select},
};
use js_sys::Promise;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::convert::{promise, rendered};
use crate::{
    database::{AllDocs, Changes, Find},
    error::{Error, Kind, Result},
};

/// A reader that one call at a time may use; it is put back when the call is through.
type Slot<T> = Rc<RefCell<Option<T>>>;

fn take<T>(slot: &Slot<T>) -> Result<T> {
    slot.borrow_mut().take().ok_or_else(|| Error::new(Kind::BadRequest, "The last page is still on its way"))
}

/// The rows of `allDocs`, or the documents of `find`.
#[wasm_bindgen]
pub struct Rows {
    rows: Slot<Reader>,
}

pub(super) enum Reader {
    AllDocs(AllDocs),
    Find(Find),
}

impl Rows {
    pub(super) fn new(reader: Reader) -> Self {
        Self { rows: Rc::new(RefCell::new(Some(reader))) }
    }
}

#[wasm_bindgen]
impl Rows {
    /// A promise of the JSON text `{total_rows, offset, update_seq?}`, or of `{warning?}`. Before the first page.
    #[wasm_bindgen(js_name = head)]
    pub fn head(&self) -> Promise {
        let slot = self.rows.clone();
        promise(async move {
            let mut rows = take(&slot)?;
            let head = match &mut rows {
                Reader::AllDocs(rows) => rows.head().await.map(JsValue::from_str),
                Reader::Find(docs) => docs.head().await.map(JsValue::from),
            };
            slot.replace(Some(rows));
            head
        })
    }

    /// A promise of the next rows as a JSON array's text; of `undefined` after the last.
    #[wasm_bindgen(js_name = next)]
    pub fn next(&self) -> Promise {
        let slot = self.rows.clone();
        promise(async move {
            let mut rows = take(&slot)?;
            let page = match &mut rows {
                Reader::AllDocs(rows) => rows.next().await,
                Reader::Find(docs) => docs.next().await,
            };
            slot.replace(Some(rows));
            page?.map_or(Ok(JsValue::UNDEFINED), rendered)
        })
    }
}

/// A changes feed.
#[wasm_bindgen]
pub struct Feed {
    changes: Slot<Changes>,
    place: Rc<RefCell<Place>>,
    cancel: RefCell<Option<oneshot::Sender<()>>>,
    cancelled: Shared<oneshot::Receiver<()>>,
}

/// Where a feed is, to be read while a page is on its way.
struct Place {
    last_seq: u64,
    pending: u64,
}

impl Place {
    fn of(changes: &Changes) -> Self {
        Self { last_seq: changes.last_seq(), pending: changes.pending() }
    }
}

impl Feed {
    pub(super) fn new(changes: Changes) -> Self {
        let (cancel, cancelled) = oneshot::channel();
        Self {
            place: Rc::new(RefCell::new(Place::of(&changes))),
            changes: Rc::new(RefCell::new(Some(changes))),
            cancel: RefCell::new(Some(cancel)),
            cancelled: cancelled.shared(),
        }
    }
}

#[wasm_bindgen]
impl Feed {
    /// A promise of the next entries as a JSON array's text. Of `undefined` when there are none now;
    /// with `wait`, when there will be none any more.
    #[wasm_bindgen(js_name = next)]
    pub fn next(&self, wait: bool) -> Promise {
        let (slot, place, cancelled) = (self.changes.clone(), self.place.clone(), self.cancelled.clone());
        promise(async move {
            if cancelled.peek().is_some() {
                return Ok(JsValue::UNDEFINED);
            }
            let mut changes = take(&slot)?;
            let page = match select(pin!(changes.next(wait)), cancelled).await {
                Either::Left((page, _)) => page,
                Either::Right(_) => return Ok(JsValue::UNDEFINED),
            };
            place.replace(Place::of(&changes));
            slot.replace(Some(changes));
            page?.map_or(Ok(JsValue::UNDEFINED), rendered)
        })
    }

    /// After which change the next page begins.
    #[wasm_bindgen(js_name = lastSeq, getter)]
    pub fn last_seq(&self) -> f64 {
        self.place.borrow().last_seq as f64
    }

    /// How many changes come after that.
    #[wasm_bindgen(js_name = pending, getter)]
    pub fn pending(&self) -> f64 {
        self.place.borrow().pending as f64
    }

    /// Ends it, also where a page is awaited. Idempotent.
    #[wasm_bindgen(js_name = cancel)]
    pub fn cancel(&self) {
        if let Some(cancel) = self.cancel.take() {
            // Fails only when nobody listens.
            let _ = cancel.send(());
        }
        self.changes.take();
    }
}
