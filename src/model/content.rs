//! The bytes of attachments, wherever they lie, and the digest that names them.

use std::{any::Any, fmt, rc::Rc, str::FromStr};

use md5::{Digest as _, Md5};

use crate::error::{Error, Pending, Result};

/// Bytes in our memory that several may hold.
pub type Bytes = Rc<[u8]>;

/// How much of a content is collected in memory at once before it is put away.
pub const CONTENT_CHUNK_BYTES: u64 = 1 << 20;

/// How much of bytes in memory is a piece.
const BYTES_IN_A_PIECE: usize = 128 * 1024;

/// CouchDB's name for an attachment's bytes: `md5-` and the MD5 in base64.
///
/// ```
/// use settee::model::Digest;
/// assert_eq!(Digest::of(b"hello").to_string(), "md5-XUFAKrxLKna5cZ2REBfFkg==");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Md5::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "md5-{}", super::base64(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::bad_request("Invalid attachment digest");
        let base64 = text.strip_prefix("md5-").ok_or_else(bad)?;
        let bytes = super::unbase64(base64).ok_or_else(bad)?;
        Ok(Self(bytes.try_into().map_err(|_| bad())?))
    }
}

/// Makes a [`Digest`] of bytes that come in pieces.
#[derive(Default)]
pub struct Digester(Md5);

impl Digester {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Bytes that lie outside our memory: a browser's `Blob`, for one.
pub trait External {
    /// How many bytes there are.
    fn size_bytes(&self) -> u64;
    /// Their digest, with no more than a piece of them in memory at once.
    fn digest(&self) -> Pending<'_, Digest>;
    /// The bytes from `start` (inclusive) to `end` (exclusive).
    fn read(&self, start: u64, end: u64) -> Pending<'_, Vec<u8>>;
    /// All of them, from the beginning.
    fn pieces(&self) -> Box<dyn Pieces + '_>;
    /// So that the adapter that made it can take it back without copying.
    fn as_any(&self) -> &dyn Any;
}

/// A content that is read from its beginning to its end.
pub trait Pieces {
    /// Appends the next piece, of no more than is well held in memory, to `out`; nothing at the end.
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Pending<'a, ()>;
}

impl Pieces for &[u8] {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Pending<'a, ()> {
        let (piece, rest) = self.split_at(self.len().min(BYTES_IN_A_PIECE));
        out.extend_from_slice(piece);
        *self = rest;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// An attachment's bytes. Cloning copies a pointer.
#[derive(Clone)]
pub enum Content {
    /// In our own memory.
    Bytes(Bytes),
    /// Held by the platform, read piece by piece.
    External(Rc<dyn External>),
}

impl Content {
    /// The bytes that a base64 text stands for; `None` where it is none, padding included.
    pub fn from_base64(text: &str) -> Option<Self> {
        super::unbase64(text).map(Self::from)
    }

    /// How many bytes there are.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::External(external) => external.size_bytes(),
        }
    }

    /// Its digest.
    pub async fn digest(&self) -> Result<Digest> {
        match self {
            Self::Bytes(bytes) => Ok(Digest::of(bytes)),
            Self::External(external) => external.digest().await,
        }
    }

    /// Its bytes in pieces.
    pub fn pieces(&self) -> Box<dyn Pieces + '_> {
        match self {
            Self::Bytes(bytes) => Box::new(&bytes[..]),
            Self::External(external) => external.pieces(),
        }
    }

    /// All its bytes, in memory. For contents that are known to be small.
    pub async fn bytes(&self) -> Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::External(external) => Ok(external.read(0, external.size_bytes()).await?.into()),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.size_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_and_write() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), "md5-1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for bad in [
            "",
            "md5-",
            "md5-abc",
            "sha1-1B2M2Y8AsgTpgAmY7PhCfg==",
            "md5-1B2M2Y8AsgTpgAmY7PhCfg==".trim_end_matches('='),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
