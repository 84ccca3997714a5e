//! Contents that stay in the browser.
//!
//! WebAssembly memory grows and never shrinks, so a large attachment is better left where it is: a
//! `Blob` that may lie on disk, or a `Uint8Array` in the JavaScript heap that is collected after use.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::FutureExt;
use js_sys::{Array, ArrayBuffer, Function, Object, Reflect, Symbol, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag, ReadableStreamByobReader};

use super::{platform::next_turn, thrown::Thrown};
use crate::{
    error::{Error, Kind, Pending, Result},
    model::{self, Bytes, CONTENT_CHUNK_BYTES, Content, Digest, Digester, External},
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

/// How much of a content is in memory at once while its digest is made. Reading a blob of 500 KB took 3.5 ms
/// in pieces of 64 KiB and 1.8 in such of 128 or 256; as one array it takes 1.7 and leaves it to the collector.
const PIECE_BYTES: u32 = 128 * 1024;

/// After how many of them the page gets its turn.
const PIECES_IN_A_TURN: u32 = 8;

/// A content that the browser holds: a `Blob`, or an array that only we hold.
pub struct BlobContent {
    held: Held,
    /// Once it was asked for: the bytes never change.
    digest: Cell<Option<Digest>>,
}

enum Held {
    Blob(Blob),
    Array(Uint8Array),
}

impl BlobContent {
    /// Over a `Blob`, not copied.
    pub fn new(blob: Blob) -> Self {
        Self { held: Held::Blob(blob), digest: Cell::default() }
    }

    /// Over an array that nobody else writes to.
    pub(super) fn over_array(array: Uint8Array) -> Self {
        Self { held: Held::Array(array), digest: Cell::default() }
    }

    /// As it came: what IndexedDB and `fetch` take without copying it through our memory.
    pub(super) fn as_js(&self) -> &JsValue {
        match &self.held {
            Held::Blob(blob) => blob,
            Held::Array(array) => array,
        }
    }

    /// The one inside a content, if it is one of ours.
    pub(super) fn of(external: &dyn External) -> Option<&Self> {
        external.as_any().downcast_ref()
    }

    async fn read_range(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        match &self.held {
            Held::Blob(blob) => Ok(blob_array(blob, start as f64, end as f64).await?.to_vec()),
            Held::Array(array) => Ok(array.subarray(start as u32, end as u32).to_vec()),
        }
    }

    /// Through one small buffer: what the whole needs in our memory or in JavaScript's would stay there, in
    /// the one for good, in the other until much more has come together.
    async fn digest_once(&self) -> Result<Digest> {
        if let Some(known) = self.digest.get() {
            return Ok(known);
        }
        let mut digester = Digester::default();
        let mut pieces = Pieces::of(&self.held);
        for number in 1.. {
            let piece = pieces.next().await?;
            if piece.length() == 0 {
                break;
            }
            absorb(&piece, &mut digester);
            // A read that need not wait gives the page no turn.
            if number % PIECES_IN_A_TURN == 0 {
                next_turn().await;
            }
        }
        let digest = digester.finish();
        self.digest.set(Some(digest));
        Ok(digest)
    }
}

fn absorb(piece: &Uint8Array, digester: &mut Digester) {
    let mut bytes = [0; 8192];
    let mut at = 0;
    while at < piece.length() {
        let part = piece.subarray(at, at + bytes.len() as u32);
        let bytes = &mut bytes[..part.length() as usize];
        part.copy_to(bytes);
        digester.update(bytes);
        at += part.length();
    }
}

/// A content from its beginning, in pieces of [`PIECE_BYTES`] at most; after the last one, empty ones.
enum Pieces<'a> {
    /// What is read replaces the buffer it was read into; at the end there is none.
    Stream { reader: ReadableStreamByobReader, buffer: Option<ArrayBuffer>, left: f64 },
    /// An array, or a blob whose stream does not read into a buffer of ours.
    Slices { held: &'a Held, at: f64 },
}

thread_local! {
    /// Buffers to be used again: a new one each time would be collected late.
    static BUFFERS: RefCell<Vec<ArrayBuffer>> = const { RefCell::new(Vec::new()) };
}

impl<'a> Pieces<'a> {
    fn of(held: &'a Held) -> Self {
        if let Held::Blob(blob) = held
            && let Ok(reader) = byob_reader(&blob.stream())
        {
            let buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| ArrayBuffer::new(PIECE_BYTES));
            return Self::Stream { reader, buffer: Some(buffer), left: blob.size() };
        }
        Self::Slices { held, at: 0.0 }
    }

    async fn next(&mut self) -> Result<Uint8Array> {
        match self {
            Self::Stream { reader, buffer, left } => {
                let Some(own) = buffer.take() else { return Ok(Uint8Array::new_with_length(0)) };
                let view = Uint8Array::new(&own);
                let read = JsFuture::from(reader.read_with_array_buffer_view(&view));
                let read = read.await.map_err(unreadable)?;
                let piece: Uint8Array = Reflect::get(&read, &"value".into())
                    .unwrap_or_default()
                    .dyn_into()
                    .map_err(unreadable)?;
                *left -= f64::from(piece.length());
                if piece.length() == 0 {
                    if *left > 0.0 {
                        return Err(unreadable("It broke off.".into()));
                    }
                    BUFFERS.with_borrow_mut(|buffers| buffers.push(piece.buffer()));
                } else {
                    *buffer = Some(piece.buffer());
                }
                Ok(piece)
            }
            Self::Slices { held, at } => {
                let start = *at;
                *at += f64::from(PIECE_BYTES);
                match held {
                    Held::Array(array) => Ok(array.subarray(start as u32, *at as u32)),
                    Held::Blob(blob) => blob_array(blob, start, *at).await,
                }
            }
        }
    }
}

impl model::Pieces for Pieces<'_> {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Pending<'a, ()> {
        let read = async {
            let piece = self.next().await?;
            let start = out.len();
            out.resize(start + piece.length() as usize, 0);
            piece.copy_to(&mut out[start..]);
            Ok(())
        };
        read.boxed_local()
    }
}

/// Fails where a blob's stream is none of bytes.
fn byob_reader(stream: &JsValue) -> Result<ReadableStreamByobReader, JsValue> {
    let options = Object::new();
    Reflect::set(&options, &"mode".into(), &"byob".into())?;
    let get_reader: Function = Reflect::get(stream, &"getReader".into())?.dyn_into()?;
    Ok(get_reader.call1(stream, &options)?.unchecked_into())
}

impl External for BlobContent {
    fn size_bytes(&self) -> u64 {
        match &self.held {
            Held::Blob(blob) => blob.size() as u64,
            Held::Array(array) => array.length().into(),
        }
    }

    fn digest(&self) -> Pending<'_, Digest> {
        self.digest_once().boxed_local()
    }

    fn read(&self, start: u64, end: u64) -> Pending<'_, Vec<u8>> {
        self.read_range(start, end).boxed_local()
    }

    fn slice(&self, start: u64, end: u64, kind: &str) -> Result<Content> {
        let content = match &self.held {
            // With its type, so that whoever reads it need not slice it again.
            Held::Blob(blob) => Self::new(slice(blob, start as f64, end as f64, kind)?),
            Held::Array(array) => Self::over_array(array.slice(start as u32, end as u32)),
        };
        Ok(Content::External(Rc::new(content)))
    }

    fn pieces(&self) -> Box<dyn model::Pieces + '_> {
        Box::new(Pieces::of(&self.held))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Puts a content together as a blob of blobs, which a browser may keep on disk.
#[derive(Default)]
pub(super) struct BlobCollector {
    blobs: Vec<Blob>,
    /// What is not in a blob yet.
    pieces: Vec<Content>,
    bytes: u64,
}

impl BlobCollector {
    fn put_away(&mut self) -> Result<()> {
        let parts = self.pieces.drain(..).map(|piece| content_to_part(&piece)).collect::<Result<Array>>()?;
        self.bytes = 0;
        self.blobs.push(blob_of(&parts, "")?);
        Ok(())
    }
}

impl Collector for BlobCollector {
    fn push(&mut self, piece: Content) -> Result<()> {
        self.bytes += piece.size_bytes();
        self.pieces.push(piece);
        if self.bytes >= CONTENT_CHUNK_BYTES / 2 { self.put_away() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<Content> {
        if self.blobs.is_empty()
            && self.bytes <= KEPT_INSIDE_BYTES
            && let [Content::Bytes(bytes)] = &self.pieces[..]
        {
            return Ok(Content::Bytes(bytes.clone()));
        }
        if !self.pieces.is_empty() {
            self.put_away()?;
        }
        let blobs: Array = self.blobs.iter().collect();
        Ok(Content::External(Rc::new(BlobContent::new(blob_of(&blobs, "")?))))
    }
}

/// The bytes of a piece of a blob, in the JavaScript heap.
///
/// Fails when the blob is a file that has changed or gone since the person picked it.
async fn blob_array(blob: &Blob, start: f64, end: f64) -> Result<Uint8Array> {
    let piece = if start == 0.0 && end == blob.size() {
        blob.clone()
    } else {
        blob.slice_with_f64_and_f64(start, end).map_err(unreadable)?
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
    if let Some((blob, is_file)) = as_blob(value) {
        // A slice has no name: a file's is nobody's business.
        let nameless = if is_file { slice(&blob, 0.0, blob.size(), &blob.type_())? } else { blob };
        return Ok(Content::External(Rc::new(BlobContent::new(nameless))));
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

/// And whether it has a name.
fn as_blob(value: &JsValue) -> Option<(Blob, bool)> {
    let tag = tag_of(value);
    let is_blob = value.has_type::<Blob>() || matches!(tag.as_str(), "Blob" | "File");
    is_blob.then(|| (value.clone().unchecked_into(), tag != "Blob"))
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
            BlobContent { held: Held::Blob(blob), .. } if blob.type_() == media_type => {
                return Ok(blob.clone());
            }
            BlobContent { held: Held::Blob(blob), .. } => return slice(blob, 0.0, blob.size(), media_type),
            BlobContent { held: Held::Array(array), .. } => array.into(),
        },
    };
    blob_of(&Array::of1(&part), media_type)
}

/// A part of a blob, or all of it, as another type. Chromium waits for its browser process for that: a millisecond.
fn slice(blob: &Blob, start: f64, end: f64, media_type: &str) -> Result<Blob> {
    blob.slice_with_f64_and_f64_and_content_type(start, end, media_type).map_err(unreadable)
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
            BlobContent { held: Held::Blob(blob), .. } => blob_array(blob, 0.0, blob.size()).await,
            BlobContent { held: Held::Array(array), .. } => Ok(array.slice(0, array.length())),
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

/// What IndexedDB keeps best. A blob keeps the type it came with, which counts for nothing: who reads it says
/// which it is.
pub(super) fn content_to_stored(content: &Content) -> Result<JsValue> {
    let part = content_to_part(content)?;
    if content.size_bytes() <= KEPT_INSIDE_BYTES || part.has_type::<Blob>() {
        Ok(part)
    } else {
        blob_of(&Array::of1(&part), "").map(JsValue::from)
    }
}

/// The content of what [`content_to_stored`] gave once.
pub(super) fn content_of_stored(value: JsValue) -> Result<Content> {
    let held = match value.dyn_into::<Uint8Array>() {
        Ok(array) if u64::from(array.length()) <= KEPT_INSIDE_BYTES => {
            return Ok(Content::Bytes(bytes_of(&array)));
        }
        Ok(array) => BlobContent::over_array(array),
        Err(value) => BlobContent::new(as_blob(&value).ok_or_else(|| Error::corrupt("attachment"))?.0),
    };
    Ok(Content::External(Rc::new(held)))
}

/// There is no other implementation of [`External`] in a browser.
fn foreign() -> Error {
    Error::new(Kind::Unknown, "The content is held by something other than the browser.")
}
