//! What is sealed of a revision: its true id, its body as the caller wrote it, its manifest. And the form
//! that its revision id is made from, in which neither order nor white space nor escapes matter.

use super::{
    FileEntry, MAX_LOCAL_ID_BYTES, Refusal, manifest,
    parts::{Parts, enc},
};
use crate::model::{canonical, check_body, check_doc_id};

/// A revision's content, read.
pub(super) struct Content {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) files: Vec<FileEntry>,
}

/// A revision's content in its two forms.
pub(super) struct Forms {
    /// As it is sealed: `enc(id, body, manifest)`.
    pub(super) core: Vec<u8>,
    /// The body as its revision id is made from it.
    pub(super) body_form: Vec<u8>,
    /// The manifest as it stands in `core`.
    pub(super) manifest: Vec<u8>,
}

/// The forms of a content; [`Refusal::BadDocument`] if the database could not store it. `form` is the body's
/// where that was checked before.
pub(super) fn encode(
    id: &str,
    body: &str,
    form: Option<Vec<u8>>,
    files: &[FileEntry],
) -> Result<Forms, Refusal> {
    let body_form = match form {
        Some(form) => check_id(id).map(|()| form)?,
        None => check(id, body)?,
    };
    let manifest = manifest::encode(files)?;
    Ok(Forms { core: enc(&[id.as_bytes(), body.as_bytes(), &manifest]), body_form, manifest })
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

fn check_id(id: &str) -> Result<(), Refusal> {
    if id.len() > MAX_LOCAL_ID_BYTES || id.starts_with("_local/") || check_doc_id(id).is_err() {
        return Err(Refusal::BadDocument);
    }
    Ok(())
}

fn check(id: &str, body: &str) -> Result<Vec<u8>, Refusal> {
    check_id(id)?;
    check_body(body).map_err(|_| Refusal::BadDocument)?;
    canonical::form(body).map_err(|_| Refusal::BadDocument)
}
