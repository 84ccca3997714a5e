//! Reads what CouchDB answers to `_bulk_get` as `multipart/mixed`, with little of it in memory at once: the
//! contents of attachments are passed over by their length and stay where they are.
//!
//! ```text
//! --outer
//! X-Doc-Id: a                                      a document without attachments and an error are
//! Content-Type: multipart/related; boundary=inner  one text each: Content-Type: application/json
//!
//! --inner
//! Content-Type: application/json
//!
//! {"_id":"a",…,"_attachments":{"photo":{"follows":true,…}}}
//! --inner
//! Content-Disposition: attachment; filename="photo"
//! Content-Length: 123456
//!
//! …123,456 bytes…
//! --inner--
//! --outer--
//! ```

use futures::FutureExt;

use crate::{
    error::{Error, Kind, Pending, Result},
    model::Content,
};

/// How much is read at first to find what comes next, and at most in one go.
const STEP_BYTES: u64 = 4 << 10;
const MOST_STEP_BYTES: u64 = 128 << 10;

/// No headers or document between two contents are longer; what is was not CouchDB's.
const MOST_TEXT_BYTES: usize = 8 << 20;

/// Up to here a content is taken into memory, as reading it later costs more than that.
const SMALL_BYTES: u64 = 60 << 10;

/// An attachment that came.
pub struct Part {
    pub name: String,
    pub content: Content,
}

/// The boundary that a media type names, if it is a multipart's.
pub fn boundary_of(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/")) {
        return None;
    }
    let parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut boundaries = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    boundaries.next().map(|(_, value)| value.trim().trim_matches('"')).filter(|value| !value.is_empty())
}

/// Goes through an answer.
pub struct Parts<'a> {
    body: &'a Content,
    /// What was read of it and is not used up…
    window: Vec<u8>,
    /// …and where that ends.
    at: u64,
    step_bytes: u64,
    delimiter: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub fn new(body: &'a Content, boundary: &str) -> Self {
        // A delimiter begins with the end of the line before it; the first one may have no such line.
        let window = b"\r\n".to_vec();
        Self { body, window, at: 0, step_bytes: STEP_BYTES, delimiter: delimiter(boundary) }
    }

    /// To the first part.
    ///
    /// Errors: `network_error`, here and later: the answer broke off, or is not what its boundary promises.
    pub async fn begin(&mut self) -> Result<()> {
        let delimiter = self.delimiter.clone();
        self.until(&delimiter).await.map(drop)
    }

    /// The attachments of the next document, as far as they come; none where it is an error. False after the
    /// last one.
    pub async fn next(&mut self, found: &mut Vec<Part>) -> Result<bool> {
        if self.is_over().await? {
            return Ok(false);
        }
        let head = self.until(b"\r\n\r\n").await?;
        if let Some(inner) = header(&head, "content-type").as_deref().and_then(boundary_of) {
            self.window.insert(0, b'\n');
            self.window.insert(0, b'\r');
            self.attachments(&delimiter(inner), found).await?;
        }
        self.begin().await?;
        Ok(true)
    }

    async fn attachments(&mut self, delimiter: &[u8], found: &mut Vec<Part>) -> Result<()> {
        self.until(delimiter).await?;
        while !self.is_over().await? {
            let head = self.until(b"\r\n\r\n").await?;
            let length = header(&head, "content-length").and_then(|length| length.parse().ok());
            match (file_name(&head), length) {
                (Some(name), Some(length)) => {
                    let kind = header(&head, "content-type").unwrap_or_default();
                    let content = self.content(length, &kind).await?;
                    found.push(Part { name, content });
                    if self.take(delimiter.len()).await? != delimiter {
                        return Err(garbled());
                    }
                }
                (Some(name), None) => {
                    let content = self.until(delimiter).await?.into();
                    found.push(Part { name, content });
                }
                // The document, which is known.
                (None, _) => self.until(delimiter).await.map(drop)?,
            }
        }
        Ok(())
    }

    /// Whether the delimiter that was just read is the last one.
    async fn is_over(&mut self) -> Result<bool> {
        self.fill(2).await?;
        Ok(self.window.starts_with(b"--"))
    }

    async fn content(&mut self, length: u64, kind: &str) -> Result<Content> {
        let start = self.at - self.window.len() as u64;
        let end = start.checked_add(length).filter(|end| *end <= self.body.size_bytes()).ok_or_else(cut)?;
        if length <= SMALL_BYTES || end <= self.at {
            return Ok(self.take(length as usize).await?.into());
        }
        self.window.clear();
        (self.at, self.step_bytes) = (end, STEP_BYTES);
        self.body.slice(start, end, kind)
    }

    /// What comes before `marker`, which is used up too.
    fn until<'b>(&'b mut self, marker: &'b [u8]) -> Pending<'b, Vec<u8>> {
        async move {
            let mut looked = 0;
            loop {
                let found = self.window[looked..].windows(marker.len()).position(|window| window == marker);
                if let Some(found) = found {
                    let mut before = self.used(looked + found + marker.len());
                    before.truncate(looked + found);
                    return Ok(before);
                }
                looked = (self.window.len() + 1).saturating_sub(marker.len());
                if looked > MOST_TEXT_BYTES {
                    return Err(garbled());
                }
                self.fill(self.window.len() + 1).await?;
            }
        }
        .boxed_local()
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        self.fill(length).await?;
        Ok(self.used(length))
    }

    fn used(&mut self, length: usize) -> Vec<u8> {
        let rest = self.window.split_off(length);
        std::mem::replace(&mut self.window, rest)
    }

    /// Reads on until the window has so many bytes.
    fn fill(&mut self, length: usize) -> Pending<'_, ()> {
        async move {
            while self.window.len() < length {
                let lacking = (length - self.window.len()) as u64;
                let end = (self.at + self.step_bytes.max(lacking)).min(self.body.size_bytes());
                if end == self.at {
                    return Err(cut());
                }
                self.window.extend_from_slice(&self.body.read(self.at, end).await?);
                (self.at, self.step_bytes) = (end, (self.step_bytes * 2).min(MOST_STEP_BYTES));
            }
            Ok(())
        }
        .boxed_local()
    }
}

fn delimiter(boundary: &str) -> Vec<u8> {
    ["\r\n--", boundary].concat().into_bytes()
}

/// A header of a part; `name` in lower case.
fn header(head: &[u8], name: &str) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// CouchDB puts names between quotation marks as they are.
fn file_name(head: &[u8]) -> Option<String> {
    let disposition = header(head, "content-disposition")?;
    let (_, name) = disposition.split_once("filename=\"")?;
    name.rsplit_once('"').map(|(name, _)| name.to_owned())
}

fn cut() -> Error {
    Error::new(Kind::Network, "The server's answer broke off.")
}

fn garbled() -> Error {
    Error::new(Kind::Network, "The server's answer is not what its boundary promises.")
}
