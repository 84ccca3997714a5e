//! Bytes as text, and back in one way only: lower-case base32 and base64url, both without padding.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// RFC 4648's base32 in lower case: what a CouchDB attachment name and a URL both take as it is.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Lower-case base32.
pub(super) fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0u32, 0);
    let mut push =
        |value: u32| out.extend(LETTERS.get(value as usize & 31).map(|letter| char::from(*letter)));
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(held >> bits);
        }
    }
    if bits > 0 {
        push(held << (5 - bits));
    }
    out
}

/// The bytes that a base32 text stands for; `None` if another text stands for the same or it is none.
pub(super) fn unbase32(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0u32, 0);
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|own| *own == letter)?;
        held = held << 5 | value as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    (base32(&out) == text).then_some(out)
}

/// Base64url.
pub(super) fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The same at the end of a text.
pub(super) fn push_base64url(bytes: &[u8], out: &mut String) {
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// The bytes that a base64url text stands for; `None` if another text stands for the same or it is none.
pub(super) fn unbase64url(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// RFC 4648, section 10, in lower case and without padding.
    const BASE32: [(&str, &str); 7] = [
        ("", ""),
        ("f", "my"),
        ("fo", "mzxq"),
        ("foo", "mzxw6"),
        ("foob", "mzxw6yq"),
        ("fooba", "mzxw6ytb"),
        ("foobar", "mzxw6ytboi"),
    ];

    #[test]
    fn texts_have_one_form() {
        for (bytes, text) in BASE32 {
            assert_eq!(base32(bytes.as_bytes()), text);
            assert_eq!(unbase32(text).unwrap(), bytes.as_bytes());
        }
        // Spare bits, upper case, padding, a letter too many, other letters.
        for bad in ["mz", "MY", "my======", "mya", "a", "m1", "my ", "mzxr", "é"] {
            assert_eq!(unbase32(bad), None, "{bad}");
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(unbase64url("-_8").unwrap(), [0xfb, 0xff]);
        for bad in ["-_9", "+/8", "-_8=", "A", "-_ 8", "AAAAA"] {
            assert_eq!(unbase64url(bad), None, "{bad}");
        }
    }
}
