//! Contents that stay in the browser.
//!
//! WebAssembly memory grows and never shrinks, so a large attachment is better left where it is: a
//! `Blob` that may lie on disk, or a `Uint8Array` in the JavaScript heap that is collected after use.

use std::{any::Any, rc::Rc};

use futures::FutureExt;
use js_sys::{Array, ArrayBuffer, Function, Reflect, Symbol, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag};

use super::{platform::next_turn, thrown::Thrown};
use crate::{
    error::{Error, Kind, Pending, Result},
    model::{Bytes, CONTENT_CHUNK_BYTES, Content, External},
    platform::Collector,
};

/// Up to here a content is taken into our memory and stored as an array; beyond, it stays outside and is
/// stored as a blob.
///
/// Chromium keeps values up to 64 KiB in the database proper and larger ones in files. Measured there
/// (one transaction each, ms for one): an array of 20 KB is written in 0.7 and read in 0.25, a blob of
/// that size in 2.3 and 0.6; of 500 KB, an array in 4.2 and 2.1, a blob in 3.0 and 0.5, or 1.7 with its
/// bytes.
const KEPT_INSIDE_BYTES: u64 = 60 * 1024;

/// A content that the browser holds: a `Blob`, or an array that only we hold.
pub struct BlobContent(Held);

enum Held {
    Blob(Blob),
    Array(Uint8Array),
}

impl BlobContent {
    /// Over a `Blob`, not copied.
    pub fn new(blob: Blob) -> Self {
        Self(Held::Blob(blob))
    }

    /// Over an array that nobody else writes to.
    pub(super) fn over_array(array: Uint8Array) -> Self {
        Self(Held::Array(array))
    }

    /// As it came: what IndexedDB and `fetch` take without copying it through our memory.
    pub(super) fn as_js(&self) -> &JsValue {
        match &self.0 {
            Held::Blob(blob) => blob,
            Held::Array(array) => array,
        }
    }

    /// The one inside a content, if it is one of ours.
    pub(super) fn of(external: &dyn External) -> Option<&Self> {
        external.as_any().downcast_ref()
    }

    async fn read_range(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        match &self.0 {
            Held::Blob(blob) => Ok(blob_array(blob, start, end).await?.to_vec()),
            Held::Array(array) => {
                if start > 0 {
                    // Reading an array never waits, so a caller that looks through a large one
                    // piece by piece would hold the page's only thread for all of it.
                    next_turn().await;
                }
                Ok(array.subarray(start as u32, end as u32).to_vec())
            }
        }
    }
}

impl External for BlobContent {
    fn size_bytes(&self) -> u64 {
        match &self.0 {
            Held::Blob(blob) => blob.size() as u64,
            Held::Array(array) => array.length().into(),
        }
    }

    fn read(&self, start: u64, end: u64) -> Pending<'_, Vec<u8>> {
        self.read_range(start, end).boxed_local()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Puts a content together as a blob of pieces, which a browser may keep on disk.
#[derive(Default)]
pub(super) struct BlobCollector {
    pieces: Vec<Blob>,
    /// What is not in a piece yet.
    rest: Vec<u8>,
}

impl BlobCollector {
    fn put_away(&mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.rest);
        self.pieces.push(blob_of(&Array::of1(&Uint8Array::new_from_slice(&rest)), "")?);
        Ok(())
    }
}

impl Collector for BlobCollector {
    fn push(&mut self, piece: Vec<u8>) -> Result<()> {
        if self.rest.is_empty() {
            self.rest = piece;
        } else {
            self.rest.extend_from_slice(&piece);
        }
        if self.rest.len() as u64 >= CONTENT_CHUNK_BYTES / 2 { self.put_away() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<Content> {
        if self.pieces.is_empty() && self.rest.len() as u64 <= KEPT_INSIDE_BYTES {
            return Ok(self.rest.into());
        }
        if !self.rest.is_empty() {
            self.put_away()?;
        }
        let pieces: Array = self.pieces.iter().collect();
        Ok(Content::External(Rc::new(BlobContent::new(blob_of(&pieces, "")?))))
    }
}

/// The bytes of a piece of a blob, in the JavaScript heap.
///
/// Fails when the blob is a file that has changed or gone since the person picked it.
async fn blob_array(blob: &Blob, start: u64, end: u64) -> Result<Uint8Array> {
    let piece = if start == 0 && end == blob.size() as u64 {
        blob.clone()
    } else {
        blob.slice_with_f64_and_f64(start as f64, end as f64).map_err(unreadable)?
    };
    Ok(Uint8Array::new(&JsFuture::from(piece.array_buffer()).await.map_err(unreadable)?))
}

fn unreadable(error: JsValue) -> Error {
    let thrown = Thrown::from(&error);
    Error::new(Kind::Unknown, format!("The browser could not read the file: {thrown}")).with_source(thrown)
}

/// A content of what a page gives: `Blob`, `File`, `ArrayBuffer`, any view of one, Node's `Buffer`.
///
/// A blob is kept as it is; bytes are copied, since their owner may write to them later.
///
/// Errors: 400 `bad_request` for anything else.
pub fn content_from_js(value: &JsValue) -> Result<Content> {
    if let Some(blob) = as_blob(value) {
        // A slice without its name and type: contents are bytes, and a file's name is nobody's business.
        let bare = blob.slice_with_f64_and_f64(0.0, blob.size()).map_err(unreadable)?;
        return Ok(Content::External(Rc::new(BlobContent::new(bare))));
    }
    let view = view_of(value).ok_or_else(|| {
        Error::bad_request(
            "The attachment's data must be base64 text, a Blob, a File, an ArrayBuffer or a view of one.",
        )
    })?;
    if u64::from(view.length()) <= KEPT_INSIDE_BYTES {
        return Ok(Content::Bytes(bytes_of(&view)));
    }
    let own = view.slice(0, view.length());
    Ok(Content::External(Rc::new(BlobContent::over_array(own))))
}

/// Another window's classes fail `instanceof`, so the class's tag decides.
fn tag_of(value: &JsValue) -> String {
    let tag = if value.is_object() { Reflect::get(value, &Symbol::to_string_tag()).ok() } else { None };
    tag.and_then(|tag| tag.as_string()).unwrap_or_default()
}

fn as_blob(value: &JsValue) -> Option<Blob> {
    let is_blob = value.has_type::<Blob>() || matches!(tag_of(value).as_str(), "Blob" | "File");
    is_blob.then(|| value.clone().unchecked_into())
}

/// A plain `Uint8Array` over the same memory: subclasses (`Buffer`) give `slice` another meaning.
fn view_of(value: &JsValue) -> Option<Uint8Array> {
    let get = |key: &str| Reflect::get(value, &key.into()).ok();
    let arguments = if ArrayBuffer::is_view(value) {
        Array::of3(&get("buffer")?, &get("byteOffset")?, &get("byteLength")?)
    } else if matches!(tag_of(value).as_str(), "ArrayBuffer" | "SharedArrayBuffer") {
        Array::of1(value)
    } else {
        return None;
    };
    // Through Reflect, because a detached buffer throws.
    let class: Function = Reflect::get(&js_sys::global(), &"Uint8Array".into()).ok()?.dyn_into().ok()?;
    Reflect::construct(&class, &arguments).ok()?.dyn_into().ok()
}

/// The bytes of an array, copied once.
pub(super) fn bytes_of(array: &Uint8Array) -> Bytes {
    let mut bytes: Bytes = std::iter::repeat_n(0, array.length() as usize).collect();
    if let Some(bytes) = Rc::get_mut(&mut bytes) {
        array.copy_to(bytes);
    }
    bytes
}

/// The content as a `Blob` of that media type; no bytes move if the browser holds them in one.
pub fn content_to_blob(content: &Content, media_type: &str) -> Result<Blob> {
    let part: JsValue = match content {
        Content::Bytes(bytes) => Uint8Array::new_from_slice(bytes).into(),
        Content::External(external) => match BlobContent::of(external.as_ref()).ok_or_else(foreign)? {
            BlobContent(Held::Blob(blob)) => {
                return blob
                    .slice_with_f64_and_f64_and_content_type(0.0, blob.size(), media_type)
                    .map_err(unreadable);
            }
            BlobContent(Held::Array(array)) => array.into(),
        },
    };
    blob_of(&Array::of1(&part), media_type)
}

/// A `Blob` of parts, which are blobs and arrays.
pub(super) fn blob_of(parts: &Array, media_type: &str) -> Result<Blob> {
    let options = BlobPropertyBag::new();
    options.set_type(media_type);
    Blob::new_with_blob_sequence_and_options(parts, &options).map_err(unreadable)
}

/// The content as a `Uint8Array` of the caller's own.
pub async fn content_to_uint8array(content: &Content) -> Result<Uint8Array> {
    match content {
        Content::Bytes(bytes) => Ok(Uint8Array::new_from_slice(bytes)),
        Content::External(external) => match BlobContent::of(external.as_ref()).ok_or_else(foreign)? {
            BlobContent(Held::Blob(blob)) => blob_array(blob, 0, blob.size() as u64).await,
            BlobContent(Held::Array(array)) => Ok(array.slice(0, array.length())),
        },
    }
}

/// What to hand to an API that takes blobs and arrays alike.
pub(super) fn content_to_part(content: &Content) -> Result<JsValue> {
    match content {
        Content::Bytes(bytes) => Ok(Uint8Array::new_from_slice(bytes).into()),
        Content::External(external) => {
            BlobContent::of(external.as_ref()).map(|content| content.as_js().clone()).ok_or_else(foreign)
        }
    }
}

/// Takes the bytes of a small blob, which is better stored as an array.
pub(super) async fn unblob_if_small(content: &mut Content) -> Result<()> {
    if let Content::External(external) = &*content
        && external.size_bytes() <= KEPT_INSIDE_BYTES
    {
        *content = Content::Bytes(content.bytes().await?);
    }
    Ok(())
}

/// What IndexedDB keeps best.
pub(super) fn content_to_stored(content: &Content) -> Result<JsValue> {
    if content.size_bytes() <= KEPT_INSIDE_BYTES {
        content_to_part(content)
    } else {
        content_to_blob(content, "").map(JsValue::from)
    }
}

/// The content of what [`content_to_stored`] gave once.
pub(super) fn content_of_stored(value: JsValue) -> Result<Content> {
    let held = match value.dyn_into::<Uint8Array>() {
        Ok(array) if u64::from(array.length()) <= KEPT_INSIDE_BYTES => {
            return Ok(Content::Bytes(bytes_of(&array)));
        }
        Ok(array) => BlobContent::over_array(array),
        Err(value) => BlobContent::new(as_blob(&value).ok_or_else(|| Error::corrupt("attachment"))?),
    };
    Ok(Content::External(Rc::new(held)))
}

/// There is no other implementation of [`External`] in a browser.
fn foreign() -> Error {
    Error::new(Kind::Unknown, "The content is held by something other than the browser.")
}
