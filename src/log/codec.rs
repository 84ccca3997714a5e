//! Bytes out, bytes in: varints, strings, revisions. Reading is bounds-checked and never panics.

use crate::{
    error::{Error, Result},
    model::{Digest, Rev, RevId},
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
