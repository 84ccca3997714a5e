//! Bytes out, bytes in: varints, strings, revisions. Reading is bounds-checked and never panics.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    error::{Error, Result},
    model::{BINARY_END, Body, Digest, Rev, RevId},
};

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Shorter ones are not worth it.
const LEAST_PACKED: usize = 128;

/// What stands before a text's base64url, and that, if it looks like one that is packed.
fn head_and_code(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_suffix(BINARY_END)?;
    let (head, code) = inner.split_at(inner.rfind('"')? + 1);
    (code.len() >= LEAST_PACKED).then_some((head, code))
}

/// Whether [`put_packed`] is worth trying. That is a quarter less to write, which takes longer than this does.
pub(super) fn is_packable(body: &Body) -> bool {
    body.as_binary().is_some() || head_and_code(body).is_some()
}

/// A body: what stands before its base64url, and the bytes; or a zero and the text as it is.
pub(super) fn put_packed(out: &mut Vec<u8>, body: &Body) {
    if let Some((head, bytes)) = body.as_binary() {
        put_str(out, head);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
        return;
    }
    let start = out.len();
    if let Some((head, code)) = head_and_code(body) {
        put_str(out, head);
        put_varint(out, (code.len() * 3 / 4) as u64);
        // What is no base64url, or not in its one form, stays text.
        if BASE64_URL_SAFE_NO_PAD.decode_vec(code, out).is_ok() {
            return;
        }
    }
    out.truncate(start);
    out.push(0);
    put_str(out, body);
}

/// A revision id: a zero and 16 bytes, or the length of a text (never zero) and the text.
pub(super) fn put_rev_id(out: &mut Vec<u8>, id: &RevId) {
    match id {
        RevId::Hash(hash) => {
            out.push(0);
            out.extend_from_slice(hash);
        }
        RevId::Text(text) => put_str(out, text),
    }
}

pub(super) fn put_rev(out: &mut Vec<u8>, rev: &Rev) {
    put_varint(out, rev.generation);
    put_rev_id(out, &rev.id);
}

/// Reads what the functions above wrote; `corrupt` for anything else.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or_else(|| Error::corrupt("log"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| Error::corrupt("log"))?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::corrupt("log"))
    }

    pub(super) fn length(&mut self) -> Result<usize> {
        usize::try_from(self.varint()?).map_err(|_| Error::corrupt("log"))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| Error::corrupt("log"))
    }

    pub(super) fn str(&mut self) -> Result<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Error::corrupt("log"))
    }

    pub(super) fn packed(&mut self) -> Result<Body> {
        let head = self.str()?;
        if head.is_empty() {
            return Ok(self.str()?.to_owned().into());
        }
        let length = self.length()?;
        Ok(Body::binary(head.to_owned(), self.take(length)?.to_vec()))
    }

    pub(super) fn rev_id(&mut self) -> Result<RevId> {
        match self.length()? {
            0 => Ok(RevId::Hash(self.hash()?)),
            length => {
                let text = std::str::from_utf8(self.take(length)?);
                Ok(RevId::Text(text.map_err(|_| Error::corrupt("log"))?.into()))
            }
        }
    }

    pub(super) fn rev(&mut self) -> Result<Rev> {
        Ok(Rev { generation: self.varint()?, id: self.rev_id()? })
    }

    pub(super) fn hash(&mut self) -> Result<[u8; 16]> {
        let mut hash = [0; 16];
        hash.copy_from_slice(self.take(16)?);
        Ok(hash)
    }

    pub(super) fn digest(&mut self) -> Result<Digest> {
        Ok(Digest(self.hash()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_in_base64url_is_stored_in_binary() {
        let stored = |text: &str| {
            let mut out = Vec::new();
            put_packed(&mut out, &text.to_owned().into());
            let read = Input::new(&out, 0).packed().unwrap();
            assert_eq!(&*read, text);
            let mut again = Vec::new();
            put_packed(&mut again, &read);
            assert_eq!(again, out);
            out.len()
        };
        let of = |code: &str| format!(r#"{{"x":{{"v":1,"c":"{code}"}}}}"#);
        let long = "Qk-_".repeat(100);
        assert_eq!(stored(&of(&long)), of("").len() + 300 - BINARY_END.len() + 1 + 2);
        // Too short, of another alphabet, padded, with spare bits, of a length that no bytes have, nothing of the kind.
        let short = "Qk-_".repeat(31);
        for code in
            [short, long.replace('_', "/"), format!("{long}Qg=="), format!("{long}Qh"), format!("{long}Q")]
        {
            let text = of(&code);
            assert!(stored(&text) > text.len(), "{code}");
        }
        for text in ["", "{}", "\"}}", "{\"a\":1}"] {
            assert_eq!(stored(text), text.len() + 2);
        }
    }
}
