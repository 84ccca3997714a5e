//! The envelope: the member `x` of a sealed document, and the only one beside CouchDB's own.

use super::{Hash, Refusal, json::Members, text::push_base64url};
use crate::model::{BINARY_END, Body, Rev};

/// The format's version. Another one is refused, never guessed at.
const VERSION: u64 = 1;
/// The suite: XChaCha20-Poly1305, HMAC and HKDF with SHA-256, Ed25519.
pub(super) const SUITE: u8 = 1;

/// How it begins as JSON, with version and suite.
const HEAD: &str = r#"{"x":{"v":1,"s":1,"e":""#;
/// What stands before the ciphertext.
const LAST: &str = r#""c":""#;
/// What stands around the ciphertext and the parent there, and a little more.
const AROUND_BYTES: usize = 192;

/// An envelope, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Under which epoch of the channel it was sealed.
    pub epoch: [u8; 16],
    /// The revision it is based on.
    pub parent: Option<Rev>,
    /// One hash over all its ancestors.
    pub line: Hash,
    /// The nonce.
    pub nonce: [u8; 24],
    /// The ciphertext, with its tag.
    pub ciphertext: Vec<u8>,
}

impl Envelope {
    /// The generation of the revision it belongs to.
    pub(super) fn generation(&self) -> u64 {
        self.parent.as_ref().map_or(0, |parent| parent.generation) + 1
    }

    /// The document's body in its one written form.
    pub fn into_body(self) -> Body {
        let parent = self.parent.as_ref().map(Rev::to_string).unwrap_or_default();
        let mut out = String::with_capacity(parent.len() + AROUND_BYTES);
        out.push_str(HEAD);
        push_base64url(&self.epoch, &mut out);
        out.push_str(r#"","p":""#);
        out.push_str(&parent);
        for (name, bytes) in [("l", &self.line[..]), ("n", &self.nonce), ("c", &[])] {
            out.push_str("\",\"");
            out.push_str(name);
            out.push_str("\":\"");
            push_base64url(bytes, &mut out);
        }
        Body::binary(out, self.ciphertext)
    }

    /// Reads a body that is stored here; see [`Envelope::parse`].
    pub fn of_stored(body: &Body) -> Result<Self, Refusal> {
        match body.as_binary() {
            // It may be another member that ends a body of somebody else's writing.
            Some((head, ciphertext)) if head.ends_with(LAST) => {
                let empty = Self::parse(&[head, BINARY_END].concat())?;
                Ok(Self { ciphertext: ciphertext.to_vec(), ..empty })
            }
            _ => Self::parse(body),
        }
    }

    /// Reads a document's body (its members without an underscore). Members may stand in any order, since a
    /// server may write them anew; nothing else is left open.
    ///
    /// Errors: `not_sealed` (no envelope at all), `unknown_version`, `malformed`.
    pub fn parse(body: &str) -> Result<Self, Refusal> {
        let mut document = Members::parse(body).map_err(|_| {
            // What has no `x` was never sealed; that is another thing than sealed and damaged.
            if body.contains("\"x\"") { Refusal::Malformed } else { Refusal::NotSealed }
        })?;
        if !document.has("x") {
            return Err(Refusal::NotSealed);
        }
        let mut x = document.object("x")?;
        document.end()?;
        if x.number("v")? != VERSION || x.number("s")? != u64::from(SUITE) {
            return Err(Refusal::UnknownVersion);
        }
        let envelope = Self {
            epoch: x.array("e")?,
            parent: match x.text("p")? {
                "" => None,
                text => Some(read_rev(text)?),
            },
            line: x.array("l")?,
            nonce: x.array("n")?,
            ciphertext: x.bytes("c")?,
        };
        x.end()?;
        Ok(envelope)
    }
}

/// A revision as a sealed channel has them: 32 lower-case digits, in the one way of writing it.
fn read_rev(text: &str) -> Result<Rev, Refusal> {
    let rev: Rev = text.parse().map_err(|_| Refusal::Malformed)?;
    let written_so = rev.to_string() == text && matches!(rev.id, crate::model::RevId::Hash(_));
    if written_so { Ok(rev) } else { Err(Refusal::Malformed) }
}
