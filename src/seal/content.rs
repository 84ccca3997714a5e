//! What is sealed of a revision: its true id, its body as the caller wrote it, its manifest. And the form
//! that its revision id is made from, in which neither order nor white space nor escapes matter.

use super::{FileEntry, MAX_LOCAL_ID_BYTES, Refusal, manifest, parts::Parts};
use crate::model::{canonical, check_body, check_doc_id};

/// A revision's content, read.
pub(super) struct Content {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) files: Vec<FileEntry>,
}

/// Reads a core that was opened, and checks it as strictly as what is about to be sealed: it may have been
/// written by a faulty or hostile member.
pub(super) fn decode(core: &[u8]) -> Result<(Content, Vec<u8>, Vec<u8>), Refusal> {
    let content = split(core)?;
    let body_form = check(&content.id, &content.body)?;
    let manifest = manifest::encode(&content.files)?;
    Ok((content, body_form, manifest))
}

/// Reads a core that was checked before.
pub(super) fn split(core: &[u8]) -> Result<Content, Refusal> {
    let mut parts = Parts(core);
    let mut read = || Some((parts.text()?.to_owned(), parts.text()?.to_owned(), parts.next()?));
    let (id, body, files) = read().ok_or(Refusal::Malformed)?;
    parts.end().ok_or(Refusal::Malformed)?;
    Ok(Content { id, body, files: manifest::decode(files)? })
}

/// [`Refusal::BadDocument`] for an id that the database could not store.
pub(super) fn check_id(id: &str) -> Result<(), Refusal> {
    if id.len() > MAX_LOCAL_ID_BYTES || id.starts_with("_local/") || check_doc_id(id).is_err() {
        return Err(Refusal::BadDocument);
    }
    Ok(())
}

/// The canonical form of a body; [`Refusal::BadDocument`] if the database could not store it or the id.
pub(super) fn check(id: &str, body: &str) -> Result<Vec<u8>, Refusal> {
    check_id(id)?;
    check_body(body).map_err(|_| Refusal::BadDocument)?;
    canonical::form(body).map_err(|_| Refusal::BadDocument)
}
