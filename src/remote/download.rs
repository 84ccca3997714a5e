//! Large contents: fetched piece by piece, and taken up again where a line broke.
//!
//! A photo comes whole or not at all; a film over a train's network would never come so. Its pieces are put
//! together outside our memory, a megabyte at a time, and what has arrived is kept for the next attempt, also
//! when that is the next session's. The address names a revision, so that what is behind it does not change,
//! and the digest is checked in the end as for any other. (`If-Range` would ask the browser for leave that
//! CouchDB does not give pages of another origin; `Range` alone needs none.)

use super::{RemoteDatabase, http::Http};
use crate::{
    error::{Error, Kind, Result},
    model::{CONTENT_CHUNK_BYTES, Content},
};

/// What is not larger is fetched in one go: less work, and soon repeated.
pub const PIECEWISE_BYTES: u64 = 1 << 20;

/// How many downloads that broke off are remembered: as many as a replication has under way.
const MOST_PARTS: usize = 4;

/// After so many attempts to go on that got no answer at all, it may be the asking: older browsers let no page
/// ask another origin for a range.
const MOST_UNANSWERED: u32 = 3;

/// The beginning of a content.
pub struct Part {
    path: String,
    /// In order, each of about [`CONTENT_CHUNK_BYTES`].
    chunks: Vec<Content>,
    /// Pieces that are not yet a chunk.
    pieces: Vec<Content>,
    pieces_bytes: u64,
    bytes: u64,
    unanswered: u32,
}

impl RemoteDatabase {
    /// A content of about `size` bytes.
    pub(super) async fn download(&self, path: &str, size: u64) -> Result<Content> {
        if size <= PIECEWISE_BYTES || !self.http.transport.can_stream() {
            return self.http.download(path, size).await;
        }
        let known = self.parts.borrow().iter().position(|part| part.path == path);
        let mut part = match known {
            Some(at) => self.parts.borrow_mut().remove(at),
            None => Part::new(path),
        };
        let mut outcome = part.go_on(&self.http, size).await;
        // Once more at once, if that is what it needs: a line that broke says nothing of the next one.
        let goes_on = match &outcome {
            Ok(is_whole) => !is_whole,
            Err(error) => error.kind() == Kind::Network,
        };
        if goes_on {
            let (first, came) = (outcome, part.bytes);
            outcome = part.go_on(&self.http, size).await;
            if let (Ok(false), Ok(false)) = (&first, &outcome)
                && part.bytes <= came
            {
                // Nobody cuts at the same place twice: there is no more.
                outcome =
                    Err(Error::remote(502, "bad_gateway", "An attachment is shorter than it should be."));
            }
        }
        match outcome.and_then(|is_whole| if is_whole { Ok(()) } else { Err(broken()) }) {
            Ok(()) => part.whole(&self.http).await,
            Err(error) => {
                if error.is_retryable() && part.bytes > 0 {
                    let mut parts = self.parts.borrow_mut();
                    parts.truncate(MOST_PARTS - 1);
                    parts.insert(0, part);
                }
                Err(error)
            }
        }
    }
}

impl Part {
    fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            chunks: Vec::new(),
            pieces: Vec::new(),
            pieces_bytes: 0,
            bytes: 0,
            unanswered: 0,
        }
    }

    /// Fetches what is missing. Whether it is all there then; not if the answer ended early without a word, cut by
    /// somebody in between.
    async fn go_on(&mut self, http: &Http, size: u64) -> Result<bool> {
        if self.bytes == size {
            // All of it had come when the line broke.
            return Ok(true);
        }
        let mut request = http.content_request(&self.path);
        if self.bytes > 0 {
            request.headers.push(("Range".to_owned(), format!("bytes={}-", self.bytes)));
        }
        let mut answer = match http.open(request, Some(http.timeout_ms)).await {
            // It is not what it was, or somebody in between refuses ranges.
            Err(error) if self.bytes > 0 && !error.is_retryable() && !error.needs_login() => {
                *self = Self::new(&self.path);
                http.open(http.content_request(&self.path), Some(http.timeout_ms)).await?
            }
            Err(error) => {
                self.unanswered += 1;
                if self.unanswered >= MOST_UNANSWERED {
                    *self = Self::new(&self.path);
                }
                return Err(error);
            }
            Ok(answer) => answer,
        };
        self.unanswered = 0;
        if answer.status != 206 {
            // Whoever knows no ranges sends everything.
            *self = Self::new(&self.path);
        } else if let Some(range) = answer.header("content-range")
            && !range.starts_with(&format!("bytes {}-", self.bytes))
        {
            *self = Self::new(&self.path);
            return Err(broken());
        }
        while let Some(piece) = http.within(Some(http.timeout_ms), answer.body.next()).await? {
            self.bytes += piece.size_bytes();
            self.pieces_bytes += piece.size_bytes();
            self.pieces.push(piece);
            if self.pieces_bytes >= CONTENT_CHUNK_BYTES {
                self.pieces_bytes = 0;
                let chunk = http.transport.join(std::mem::take(&mut self.pieces)).await?;
                self.chunks.push(chunk);
            }
        }
        Ok(self.bytes >= size)
    }

    async fn whole(mut self, http: &Http) -> Result<Content> {
        self.chunks.append(&mut self.pieces);
        http.transport.join(self.chunks).await
    }
}

fn broken() -> Error {
    Error::new(Kind::Network, "The content broke off on its way.")
}
