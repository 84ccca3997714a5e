//! `enc`: several strings of bytes as one, each after its length (4 bytes, big-endian). Two different lists
//! never give the same bytes.

/// `enc(parts)`.
pub(super) fn enc(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    write_part(parts, &mut |bytes| out.extend_from_slice(bytes));
    out
}

/// `enc` of a list that was made elsewhere.
pub(super) fn enc_list<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    enc(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

/// Hands `enc(parts)` over piece by piece, for hashes.
pub(super) fn write_part(parts: &[&[u8]], write: &mut dyn FnMut(&[u8])) {
    for part in parts {
        // What is sealed is held in memory whole, and wasm addresses less than 4 GiB.
        write(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        write(part);
    }
}

/// Reads back what [`enc`] wrote.
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Parts<'a> {
    /// The next part; `None` where there is none or it is cut off.
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }

    /// The next part, which has N bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.next()?.try_into().ok()
    }

    /// The next part as a number of 8 bytes, big-endian.
    pub(super) fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.array()?))
    }

    /// The next part as text.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.next()?).ok()
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// All the parts that are left.
    pub(super) fn rest(mut self) -> Option<Vec<&'a [u8]>> {
        let mut out = Vec::new();
        while !self.0.is_empty() {
            out.push(self.next()?);
        }
        Some(out)
    }
}
