//! The nouns of CouchDB's document model. Plain data: no I/O, no clock.

mod body;
pub mod canonical;
mod content;
mod draft;
mod given;
mod rev;
mod seq;
mod sort;
mod text;

pub use body::{BINARY_END, Body};
pub use content::{Bytes, CONTENT_CHUNK_BYTES, Content, Digest, Digester, External, Pieces};
pub use draft::{
    Draft, DraftAttachment, check_attachment_name, check_body, check_doc_id, push_json_string, split_array,
    text_at,
};
pub(crate) use given::options;
pub use given::{Given, Member};
pub use rev::{Rev, RevId};
pub use seq::Seq;
pub(crate) use sort::sort_by;
pub use text::{base64, hex, unbase64, unhex};
